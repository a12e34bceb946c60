//! SOC 2. Numbers are those of the Trust Services Criteria.

use super::super::measures::{
    access::*, calls::*, content::*, data::*, network::*, operation::*, trail::*,
};
use super::{Control, Section};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "Governance (CC1 to CC5, CC9)",
        controls: &[
            control!(
                "CC1 to CC5",
                "How the organisation is led, what it tells, which risks it sees, and who watches over its controls.",
                [],
                "Policies, people, risk assessment and internal audit are the organisation's."
            ),
            helps!(
                "CC9",
                "Risks of interruption and of suppliers are treated.",
                [INVENTORY],
                "Insurance, contracts and the assessment of those who run upstreams are the organisation's."
            ),
        ],
    },
    Section {
        title: "Access (CC6)",
        controls: &[
            control!(
                "CC6.1",
                "Only who should gets to systems and data; both are protected accordingly.",
                [
                    AUTHENTICATION,
                    LEAST_PRIVILEGE,
                    PASSWORDS,
                    SECOND_FACTOR,
                    TOKENS,
                    SEALED,
                    ISOLATION,
                    NO_DEFAULT_CREDENTIALS
                ],
                "Who is in which role is yours to decide and to review."
            ),
            helps!(
                "CC6.2",
                "Users are registered before they get in, and leave when they should.",
                [REVOCATION, KEY_LIFE],
                "Who asks for, grants and reviews an account is your process."
            ),
            control!(
                "CC6.3",
                "Rights follow from roles, with as little as needed and duties apart.",
                [LEAST_PRIVILEGE, ADMINISTRATION, SECOND_PERSON],
                "Regular review of who has which role is yours."
            ),
            control!(
                "CC6.4",
                "Buildings and machines are locked.",
                [],
                "Physical access is the organisation's or its provider's."
            ),
            control!(
                "CC6.5",
                "What is no longer used holds no data any more.",
                [ERASURE, RETENTION],
                "Wiping of disks is yours."
            ),
            control!(
                "CC6.6",
                "Whoever is outside is kept outside.",
                [TLS, ORIGINS, LISTENERS, STRANGERS, EGRESS],
                "Firewalls in front of the gate are yours."
            ),
            control!(
                "CC6.7",
                "Data are protected on their way and go only where they may.",
                [
                    TLS,
                    TLS_UPSTREAM,
                    TLS_SERVICES,
                    NO_PASSTHROUGH,
                    SCREEN_SECRETS,
                    FLOWS
                ],
                "What upstreams do with what they get is theirs."
            ),
            control!(
                "CC6.8",
                "Unauthorised and malicious software is prevented and found.",
                [PINS, QUARANTINE, NAMES, SANDBOX, SUPPLY_CHAIN],
                "Protection of the machine itself is yours."
            ),
        ],
    },
    Section {
        title: "Operation (CC7)",
        controls: &[
            helps!(
                "CC7.1",
                "Changes that open a weakness are noticed.",
                [PINS, CONFIG_DOUBTS, CHANGES],
                "Scanning for vulnerabilities is yours."
            ),
            control!(
                "CC7.2",
                "Anomalies are noticed.",
                [LOGS, METRICS, ALERTS, SIEM, SCREEN_INJECTION],
                "Somebody has to look."
            ),
            helps!(
                "CC7.3",
                "What was noticed is judged.",
                [AUDIT, TAMPER_EVIDENCE, TRACES],
                "Who judges is yours."
            ),
            helps!(
                "CC7.4",
                "Incidents are answered to.",
                [REVOCATION, TAMPER_EVIDENCE],
                "The plan, and who acts on it, is yours."
            ),
            control!(
                "CC7.5",
                "Operation is restored after an incident.",
                [BACKUP, DURABILITY, RESILIENCE],
                "The plan and its exercise are yours."
            ),
        ],
    },
    Section {
        title: "Change (CC8)",
        controls: &[helps!(
            "CC8.1",
            "Changes are authorised, tested, approved and documented.",
            [CHANGES, PINS, AUDIT],
            "Review and approval of changes to the config, before they reach the gate, are yours: keep it in version control."
        )],
    },
    Section {
        title: "Availability (A1)",
        controls: &[
            control!(
                "A1.1",
                "There is enough room for what is to come.",
                [BOUNDS, RATE_LIMITS, QUOTAS, METRICS],
                "Planning is yours."
            ),
            control!(
                "A1.2",
                "Surroundings, copies and a second site keep it available.",
                [BACKUP, REDUNDANCY, RESILIENCE, HEALTH],
                "Power, sites and storage are yours."
            ),
            control!(
                "A1.3",
                "Recovery is exercised.",
                [],
                "Restoring is an exercise of yours; the gate does not exercise it by itself."
            ),
        ],
    },
    Section {
        title: "Confidentiality (C1)",
        controls: &[
            control!(
                "C1.1",
                "Confidential data are known as such and kept so.",
                [
                    SCREEN_SECRETS,
                    FLOWS,
                    AT_REST,
                    SEALED,
                    NO_LEAKS,
                    MINIMAL_RECORDS
                ],
                "What is confidential is yours to say: labels in `flows`, patterns in `consent.private`."
            ),
            control!(
                "C1.2",
                "Confidential data are destroyed when they are not needed.",
                [RETENTION, ERASURE],
                "What upstreams keep is theirs."
            ),
        ],
    },
    Section {
        title: "Processing integrity (PI1)",
        controls: &[
            control!(
                "PI1.1",
                "What is processed is described.",
                [VALIDATION, PINS],
                "What the data mean is yours."
            ),
            control!(
                "PI1.2",
                "What comes in is complete and right.",
                [VALIDATION, STRICT_PARSING],
                ""
            ),
            control!(
                "PI1.3",
                "Processing does what it should.",
                [CONSENT, ISOLATION, RESILIENCE],
                "What tools do is their makers'."
            ),
            control!(
                "PI1.4",
                "What goes out is complete, right and reaches whom it should.",
                [VALIDATION, ISOLATION],
                ""
            ),
            control!(
                "PI1.5",
                "What is stored stays as it was.",
                [DURABILITY, TAMPER_EVIDENCE],
                ""
            ),
        ],
    },
    Section {
        title: "Privacy (P)",
        controls: &[
            helps!(
                "P1 to P3",
                "People are told, agree, and only what is needed is collected.",
                [MINIMAL_RECORDS],
                "Notice and agreement are the organisation's."
            ),
            control!(
                "P4",
                "Personal data are used, kept and destroyed as was said.",
                [RETENTION, ERASURE],
                "What was said is yours."
            ),
            helps!(
                "P5",
                "People see and correct what is kept of them.",
                [SUBJECT_RECORDS],
                "Of the gate's records alone; correction is made by a new record, as the log is not rewritten."
            ),
            helps!(
                "P6",
                "Data go to others only as was said, and breaches are told.",
                [FLOWS, SCREEN_PERSONAL, AUDIT],
                "Contracts and notices are yours."
            ),
            control!(
                "P7, P8",
                "Data are right, and complaints are heard.",
                [],
                "The organisation's."
            ),
        ],
    },
];
