//! MCP Security, by the Coalition for Secure AI. Numbers are those of its classes of threats.

use super::super::measures::{
    access::*, calls::*, content::*, data::*, network::*, operation::*, trail::*,
};
use super::{Control, Section};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "Who may do what",
        controls: &[
            control!(
                "T1",
                "Callers are not who they say: weak, stolen, relayed or misdirected credentials.",
                [
                    AUTHENTICATION,
                    TOKENS,
                    BOUND_TOKENS,
                    PASSWORDS,
                    SECOND_FACTOR,
                    KEY_LIFE,
                    REVOCATION,
                    NO_PASSTHROUGH,
                    NO_DEFAULT_CREDENTIALS
                ],
                ""
            ),
            control!(
                "T2",
                "Callers may more than they should, or nobody asks.",
                [
                    LEAST_PRIVILEGE,
                    CONSENT,
                    SECOND_PERSON,
                    ADMINISTRATION,
                    ISOLATION
                ],
                "Roles are yours to write and review."
            ),
            control!(
                "T9",
                "Trust goes too far: models and people agree to what they should not.",
                [CONSENT, SECOND_PERSON, QUESTIONS, FLOWS, LEAST_PRIVILEGE],
                "What a person agrees to, a person must understand."
            ),
        ],
    },
    Section {
        title: "What is in messages",
        controls: &[
            control!(
                "T3",
                "What comes in is not checked.",
                [STRICT_PARSING, VALIDATION, FILES, CHILDREN],
                "What tools do with arguments that fit is their makers'."
            ),
            control!(
                "T4",
                "Data are taken for orders: poisoned definitions, results and resources.",
                [SCREEN_INJECTION, SCREEN_INVISIBLE, PINS, QUARANTINE, FLOWS],
                "No search knows every such text: rules, consent and flows hold where it does not."
            ),
            control!(
                "T5",
                "Secrets and personal data get out.",
                [
                    SCREEN_SECRETS,
                    SCREEN_PERSONAL,
                    FLOWS,
                    NO_LEAKS,
                    SEALED,
                    REFERENCES,
                    MINIMAL_RECORDS,
                    AT_REST
                ],
                ""
            ),
            control!(
                "T6",
                "Definitions and servers change or pass for others unseen.",
                [PINS, QUARANTINE, NAMES, TAMPER_EVIDENCE],
                "Manifests that their makers signed are not asked for."
            ),
        ],
    },
    Section {
        title: "Connections and surroundings",
        controls: &[
            control!(
                "T7",
                "Sessions and transports are taken over.",
                [
                    TLS,
                    TLS_UPSTREAM,
                    TLS_SERVICES,
                    ISOLATION,
                    QUESTIONS,
                    STRICT_PARSING,
                    BOUND_TOKENS
                ],
                ""
            ),
            control!(
                "T8",
                "Servers are reached by whom they should not be, or reach what they should not.",
                [
                    LISTENERS,
                    ORIGINS,
                    EGRESS,
                    EGRESS_OF_CHILDREN,
                    SANDBOX,
                    CHILDREN
                ],
                ""
            ),
            control!(
                "T10",
                "Resources and money run out.",
                [BOUNDS, RATE_LIMITS, QUOTAS, RESILIENCE],
                ""
            ),
            helps!(
                "T11",
                "What it is made of, or started from, is not what it should be.",
                [SUPPLY_CHAIN, PINS, INVENTORY, CHANGES],
                "Packages of upstreams are yours to pin."
            ),
            control!(
                "T12",
                "Nobody can say what happened.",
                [
                    AUDIT,
                    TAMPER_EVIDENCE,
                    CHECKPOINTS_ELSEWHERE,
                    SIEM,
                    ALERTS,
                    TRACES,
                    STRANGERS,
                    RETENTION
                ],
                ""
            ),
        ],
    },
];
