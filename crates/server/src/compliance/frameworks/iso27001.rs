//! ISO/IEC 27001:2022. Numbers are those of its Annex A.

use super::super::measures::{
    access::*, calls::*, content::*, data::*, network::*, operation::*, trail::*,
};
use super::{Control, Section};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "Organisational controls (5)",
        controls: &[
            control!(
                "5.1, 5.2, 5.4 to 5.6",
                "Policies, responsibilities, and ties to authorities and groups.",
                [],
                "The organisation's."
            ),
            control!(
                "5.3",
                "Duties that conflict are kept apart.",
                [SECOND_PERSON, ADMINISTRATION],
                "Who has which duty is yours."
            ),
            control!(
                "5.7",
                "Threats are known.",
                [],
                "The organisation's; the gate has no feed of threats."
            ),
            helps!(
                "5.9",
                "There is an inventory of what is there.",
                [INVENTORY, PINS],
                "Of what is behind the gate alone."
            ),
            helps!(
                "5.10",
                "How information may be used is said and held to.",
                [LEAST_PRIVILEGE, CONSENT],
                "The policy is yours."
            ),
            helps!(
                "5.12, 5.13",
                "Information is classified and labelled.",
                [FLOWS],
                "Labels of entries alone; classifying is yours."
            ),
            control!(
                "5.14",
                "Information that is passed on is protected.",
                [TLS, TLS_UPSTREAM, TLS_SERVICES, SCREEN_SECRETS, FLOWS],
                "Agreements with others are yours."
            ),
            control!(
                "5.15",
                "Access follows rules.",
                [LEAST_PRIVILEGE, AUTHENTICATION],
                "The rules are yours to write and review."
            ),
            control!(
                "5.16",
                "Identities have a life from beginning to end.",
                [AUTHENTICATION, REVOCATION, NO_DEFAULT_CREDENTIALS],
                "Joining and leaving are your process."
            ),
            control!(
                "5.17",
                "What proves an identity is handed out and kept safely.",
                [PASSWORDS, KEY_LIFE, SEALED, REFERENCES],
                ""
            ),
            control!(
                "5.18",
                "Rights are given, reviewed and taken back.",
                [LEAST_PRIVILEGE, REVOCATION],
                "The review is yours."
            ),
            helps!(
                "5.19 to 5.22",
                "Suppliers, and what is bought from them, are safe.",
                [SUPPLY_CHAIN, PINS],
                "Contracts and assessments are yours."
            ),
            helps!(
                "5.23",
                "Cloud services are chosen and used safely.",
                [TLS_UPSTREAM, TLS_SERVICES, NO_PASSTHROUGH],
                "The choice is yours."
            ),
            helps!(
                "5.24 to 5.27",
                "Incidents are planned for, judged, answered and learned from.",
                [AUDIT, ALERTS, REVOCATION],
                "Plan and people are yours."
            ),
            control!(
                "5.28",
                "Evidence is collected so that it counts.",
                [TAMPER_EVIDENCE, CHECKPOINTS_ELSEWHERE, LEGAL_HOLD],
                "Whether a court takes it is for the court."
            ),
            helps!(
                "5.29, 5.30",
                "It goes on while things go wrong.",
                [RESILIENCE, REDUNDANCY, BACKUP],
                "The plan is yours."
            ),
            control!(
                "5.31, 5.32, 5.35, 5.36",
                "Law, property, reviews, and whether rules are kept.",
                [],
                "The organisation's; this report can be a part of a review."
            ),
            control!(
                "5.33",
                "Records are protected from loss, change and strangers.",
                [DURABILITY, TAMPER_EVIDENCE, RETENTION, LEGAL_HOLD],
                ""
            ),
            helps!(
                "5.34",
                "Personal data are protected.",
                [MINIMAL_RECORDS, SCREEN_PERSONAL, ERASURE],
                "See the report on the GDPR."
            ),
            control!(
                "5.37",
                "How things are run is written down.",
                [],
                "The gate's own pages are in docs/; your procedures are yours."
            ),
        ],
    },
    Section {
        title: "People and places (6, 7)",
        controls: &[
            control!(
                "6",
                "Screening, terms, training, discipline and the end of employment.",
                [],
                "The organisation's."
            ),
            control!(
                "7",
                "Buildings, rooms, machines and media.",
                [],
                "The organisation's or its provider's."
            ),
        ],
    },
    Section {
        title: "Technological controls (8)",
        controls: &[
            control!(
                "8.1",
                "Devices of users are protected.",
                [],
                "The organisation's."
            ),
            helps!(
                "8.2",
                "Privileged rights are few and watched.",
                [ADMINISTRATION, SECOND_FACTOR, SECOND_PERSON],
                "Who is an owner is yours."
            ),
            control!(
                "8.3",
                "Access to information is restricted.",
                [LEAST_PRIVILEGE, ISOLATION, FILES],
                ""
            ),
            control!(
                "8.4",
                "Source code is protected.",
                [],
                "The organisation's."
            ),
            control!(
                "8.5",
                "Who signs in proves it safely.",
                [
                    AUTHENTICATION,
                    PASSWORDS,
                    SECOND_FACTOR,
                    TOKENS,
                    BOUND_TOKENS
                ],
                ""
            ),
            helps!(
                "8.6",
                "There is enough capacity.",
                [BOUNDS, RATE_LIMITS, METRICS],
                "Planning is yours."
            ),
            helps!(
                "8.7",
                "Malicious software is kept out.",
                [
                    SANDBOX,
                    PINS,
                    QUARANTINE,
                    SCREEN_INJECTION,
                    SCREEN_INVISIBLE
                ],
                "The gate knows texts that mislead models, and no viruses: files are not scanned."
            ),
            helps!(
                "8.8",
                "Weaknesses are known and closed.",
                [SUPPLY_CHAIN],
                "Updates are yours to install."
            ),
            control!(
                "8.9",
                "Configuration is known, safe and watched.",
                [CHANGES, CONFIG_DOUBTS, REFERENCES],
                "Keep it in version control."
            ),
            control!(
                "8.10",
                "Information is deleted when it is not needed.",
                [RETENTION, ERASURE],
                ""
            ),
            control!(
                "8.11",
                "Data are masked.",
                [SCREEN_SECRETS, SCREEN_PERSONAL, MINIMAL_RECORDS],
                ""
            ),
            control!(
                "8.12",
                "Data do not leak.",
                [FLOWS, SCREEN_SECRETS, NO_LEAKS, EGRESS],
                ""
            ),
            control!(
                "8.13",
                "There are copies.",
                [BACKUP],
                "Where they are kept is yours."
            ),
            control!(
                "8.14",
                "There is a second of what must not fail.",
                [REDUNDANCY],
                ""
            ),
            control!(
                "8.15",
                "What happens is recorded, and records are protected.",
                [AUDIT, TAMPER_EVIDENCE, STRANGERS, CHECKPOINTS_ELSEWHERE],
                ""
            ),
            helps!(
                "8.16",
                "Somebody watches.",
                [METRICS, ALERTS, SIEM, HEALTH],
                "Somebody has to look."
            ),
            control!(
                "8.17",
                "Clocks agree.",
                [],
                "Records have the machine's time, and an order that does not hang on it; have the machine keep its time by NTP."
            ),
            helps!(
                "8.18",
                "Powerful programs are restricted.",
                [ADMINISTRATION],
                "Commands of `portcullis` on the machine itself may do what their user may: restrict who signs in there."
            ),
            helps!(
                "8.19",
                "Software is installed under control.",
                [SUPPLY_CHAIN, CHILDREN],
                "Installing is yours."
            ),
            helps!(
                "8.20 to 8.22",
                "Networks are safe and apart.",
                [TLS, LISTENERS, ORIGINS, EGRESS, EGRESS_OF_CHILDREN],
                "Networks are yours."
            ),
            helps!(
                "8.23",
                "What is fetched from the web is filtered.",
                [EGRESS, SCREEN_INJECTION],
                "There is no list of bad sites."
            ),
            control!(
                "8.24",
                "Cryptography is used well.",
                [
                    TLS,
                    TLS_UPSTREAM,
                    TLS_SERVICES,
                    SEALED,
                    SEALING_ROTATION,
                    AT_REST
                ],
                "The cryptographic module is AWS-LC, not in its FIPS build."
            ),
            helps!(
                "8.25 to 8.31",
                "Software is developed, tested and kept apart from production.",
                [SUPPLY_CHAIN],
                "Of the gate: its tests and decisions are in its repository. Of your own systems: yours."
            ),
            helps!(
                "8.32",
                "Changes are controlled.",
                [CHANGES, PINS],
                "Approval is yours."
            ),
            control!(
                "8.33, 8.34",
                "Test data and audits do no harm.",
                [],
                "The organisation's; this report starts nothing and changes nothing."
            ),
        ],
    },
];
