//! The NSA's recommendations on MCP, numbered in their order.

use super::super::measures::{access::*, calls::*, content::*, network::*, trail::*};
use super::{Control, Section};

pub(super) const SECTIONS: &[Section] = &[Section {
    title: "Recommendations",
    controls: &[
        control!(
            "1",
            "A proxy filters what goes out, and keeps data from getting lost.",
            [
                EGRESS,
                EGRESS_OF_CHILDREN,
                SCREEN_SECRETS,
                SCREEN_PERSONAL,
                FLOWS,
                NO_PASSTHROUGH
            ],
            "What servers on other machines reach is theirs."
        ),
        control!(
            "2",
            "Servers run in a sandbox.",
            [SANDBOX, CHILDREN, FILES],
            ""
        ),
        helps!(
            "3",
            "Messages are signed, end, and cannot be replayed.",
            [BOUND_TOKENS, TLS, QUESTIONS],
            "Messages themselves are not signed: MCP has no form for it. What is signed are proofs of possession, and what clients carry for the gate."
        ),
        control!(
            "4",
            "What comes back is filtered.",
            [
                SCREEN_SECRETS,
                SCREEN_PERSONAL,
                SCREEN_INVISIBLE,
                VALIDATION
            ],
            ""
        ),
        control!(
            "5",
            "Names that collide and definitions that drift are noticed.",
            [NAMES, PINS, QUARANTINE],
            ""
        ),
        control!(
            "6",
            "What happens is recorded, and reaches a system that watches.",
            [
                AUDIT,
                TAMPER_EVIDENCE,
                CHECKPOINTS_ELSEWHERE,
                SIEM,
                LOGS,
                TRACES
            ],
            ""
        ),
        control!(
            "7",
            "Open listeners are looked for.",
            [LISTENERS, INVENTORY, SHADOW_SERVERS],
            "The gate says where it listens itself."
        ),
        control!(
            "8",
            "What comes in is checked, and its rate limited.",
            [VALIDATION, STRICT_PARSING, RATE_LIMITS, BOUNDS, QUOTAS],
            ""
        ),
        control!(
            "9",
            "Orders hidden in data are noticed.",
            [SCREEN_INJECTION, SCREEN_INVISIBLE, FLOWS],
            "It is a heuristic."
        ),
    ],
}];
