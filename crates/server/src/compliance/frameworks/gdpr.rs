//! The GDPR. Numbers are those of its articles.

use super::super::measures::{
    access::*, calls::*, content::*, data::*, network::*, operation::*, trail::*,
};
use super::{Control, Section};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "Principles",
        controls: &[
            control!(
                "Art. 5(1)(a), (b)",
                "Processing is lawful, fair, open, and for a stated purpose.",
                [],
                "The controller's: why agents may use which data is yours to say."
            ),
            control!(
                "Art. 5(1)(c)",
                "No more data than are needed.",
                [MINIMAL_RECORDS, LEAST_PRIVILEGE, SCREEN_PERSONAL],
                "Which tools agents need is yours to say."
            ),
            control!(
                "Art. 5(1)(d)",
                "Data are right.",
                [],
                "Data are upstreams'; the gate keeps none but records, which say what was, and are not corrected."
            ),
            control!(
                "Art. 5(1)(e)",
                "Data are kept no longer than needed.",
                [RETENTION, ERASURE],
                "What upstreams keep is theirs."
            ),
            control!(
                "Art. 5(1)(f)",
                "Data are safe from strangers, loss and change.",
                [
                    AUTHENTICATION,
                    LEAST_PRIVILEGE,
                    TLS,
                    TLS_SERVICES,
                    ISOLATION,
                    SEALED,
                    AT_REST,
                    DURABILITY
                ],
                ""
            ),
            helps!(
                "Art. 5(2)",
                "The controller can show it.",
                [AUDIT, TAMPER_EVIDENCE, CHECKPOINTS_ELSEWHERE],
                "This report shows what the gate does, not that all of it is lawful."
            ),
            control!(
                "Art. 6 to 11",
                "There is a ground for processing; special data have more.",
                [],
                "The controller's. `consent` in this program asks whether a call may be made; that is no consent of a data subject."
            ),
        ],
    },
    Section {
        title: "Rights of people",
        controls: &[
            control!("Art. 12 to 14", "People are told.", [], "The controller's."),
            helps!(
                "Art. 15",
                "People see what is kept of them.",
                [SUBJECT_RECORDS],
                "Of principals, in the gate's records; what upstreams keep is theirs to tell."
            ),
            control!(
                "Art. 16",
                "What is wrong is put right.",
                [],
                "Not covered: records are not rewritten. Accounts can be changed."
            ),
            control!(
                "Art. 17",
                "What is kept of people is erased when they may ask for it.",
                [ERASURE, RETENTION, LEGAL_HOLD],
                "Whether they may is the controller's to decide."
            ),
            helps!(
                "Art. 18, 19",
                "Processing is restricted, and recipients hear of changes.",
                [REVOCATION],
                "An account can be shut out; recipients are yours to tell."
            ),
            helps!(
                "Art. 20",
                "People take their data along.",
                [SUBJECT_RECORDS],
                "Of the gate's records alone, as JSON."
            ),
            helps!(
                "Art. 21, 22",
                "People object, and are not judged by machines alone.",
                [CONSENT, SECOND_PERSON],
                "A person can be put before any call; which calls decide about people is yours to say."
            ),
        ],
    },
    Section {
        title: "Controller and processor",
        controls: &[
            control!(
                "Art. 24",
                "Measures fit the risk.",
                [],
                "The controller's; this report can be a part of it."
            ),
            control!(
                "Art. 25",
                "Protection is built in and on by default.",
                [
                    LEAST_PRIVILEGE,
                    MINIMAL_RECORDS,
                    CONSENT,
                    PINS,
                    NO_DEFAULT_CREDENTIALS
                ],
                ""
            ),
            helps!(
                "Art. 28",
                "Processors are bound.",
                [INVENTORY],
                "Contracts with those who run upstreams are yours; the gate knows which there are."
            ),
            control!(
                "Art. 29",
                "Whoever acts, acts as instructed.",
                [LEAST_PRIVILEGE, CONSENT],
                ""
            ),
            helps!(
                "Art. 30",
                "There is a record of processing activities.",
                [INVENTORY, AUDIT],
                "The record of what is processed, why and for whom is the controller's to write; the gate's log says what happened."
            ),
        ],
    },
    Section {
        title: "Safety of processing",
        controls: &[
            control!(
                "Art. 32(1)(a)",
                "Data are encrypted and pseudonymised.",
                [
                    TLS,
                    TLS_UPSTREAM,
                    TLS_SERVICES,
                    SEALED,
                    AT_REST,
                    SCREEN_PERSONAL
                ],
                ""
            ),
            control!(
                "Art. 32(1)(b)",
                "Systems stay confidential, whole, available and resilient.",
                [
                    AUTHENTICATION,
                    ISOLATION,
                    BOUNDS,
                    RATE_LIMITS,
                    RESILIENCE,
                    FLOWS
                ],
                ""
            ),
            control!(
                "Art. 32(1)(c)",
                "Access to data comes back soon after an incident.",
                [BACKUP, REDUNDANCY],
                "Exercise it."
            ),
            helps!(
                "Art. 32(1)(d)",
                "Measures are tested regularly.",
                [CHANGES, CONFIG_DOUBTS],
                "The named tests run against each version of the gate; testing your own setup is yours."
            ),
            control!(
                "Art. 32(4)",
                "Whoever has access acts as instructed.",
                [ADMINISTRATION, AUDIT],
                ""
            ),
            helps!(
                "Art. 33",
                "Breaches are told to the authority within 72 hours.",
                [ALERTS, AUDIT, TAMPER_EVIDENCE],
                "Telling is the controller's; the log says what was reached, and by whom."
            ),
            helps!(
                "Art. 34",
                "Breaches are told to the people.",
                [SUBJECT_RECORDS],
                "Telling is the controller's."
            ),
            control!(
                "Art. 35, 36",
                "Risky processing is assessed beforehand.",
                [],
                "The controller's; agents with tools often need it."
            ),
            control!(
                "Art. 37 to 39",
                "There is a data protection officer where needed.",
                [],
                "The controller's."
            ),
            helps!(
                "Art. 44 to 49",
                "Data leave the Union only as they may.",
                [INVENTORY, FLOWS],
                "Where an upstream is, the gate does not know: say so in your own inventory, and leave out those that may not get data."
            ),
        ],
    },
];
