//! What is kept, for how long, and who can read it.

use super::super::measure::{Measure, Verdict, count, days, listed};
use crate::vault::Source;

/// A key that seals secrets and is older than this wants to be replaced.
const SEALING_DAYS_MAX: u64 = 365;
/// What stands for a secret that is in the config itself.
const HIDDEN: &str = "(hidden)";

/// Secrets are sealed.
pub(in crate::compliance) static SEALED: Measure = Measure {
    id: "sealed-secrets",
    title: "Secrets in the database are sealed",
    does: "Secrets, tokens for upstreams, one-time password seeds and signing keys are sealed with AES-256-GCM, each for its place; keys that seal are wrapped under a master key. Of passwords, API keys and sessions only keyed hashes are kept.",
    keys: &["secrets.master_key", "store.postgres", "data_dir"],
    tests: &[
        "auth/src/vault/tests.rs::what_was_sealed_opens_for_its_purpose_and_key_alone",
        "auth/src/vault/tests.rs::a_value_that_was_moved_to_another_row_does_not_open",
        "auth/src/accounts/tests.rs::the_database_file_has_no_secret_in_clear",
        "auth/src/authority/tests.rs::nothing_that_is_secret_is_kept_in_the_clear",
    ],
    queries: &["portcullis secret list"],
    judge: |gate| match &gate.loaded.master_key {
        Source::Own(_) if gate.value("store.postgres").is_some() => {
            Verdict::on("the master key is on this machine, and the database is a PostgreSQL")
        }
        Source::Own(path) => Verdict::partly(
            format!(
                "the master key lies beside the database, at {}: who copies the folder has both",
                path.display()
            ),
            "secrets.master_key = { command = [\"/usr/bin/kms-decrypt\", \"…\"] }, or { file = \"…\" } elsewhere",
        ),
        Source::File(_) | Source::Env { .. } | Source::Command(_) => {
            Verdict::on("the master key is kept apart from the database")
        }
    },
};

/// The rest of the database is not.
pub(in crate::compliance) static AT_REST: Measure = Measure {
    id: "encryption-at-rest",
    title: "The whole database is encrypted on the disk",
    does: "The gate does not encrypt the database as a whole: names, audit records and notes are in it in the clear. Its files are for the gate's user alone; a PostgreSQL is as well kept as its operator keeps it.",
    keys: &["data_dir", "store.postgres"],
    tests: &["store/src/store/tests.rs::nobody_else_may_read_the_files"],
    queries: &[],
    judge: |_| {
        Verdict::not_built(
            "audit records, names and notes are in the database in the clear",
            "encrypt the disk that the database is on",
        )
    },
};

/// Rotation of what seals.
pub(in crate::compliance) static SEALING_ROTATION: Measure = Measure {
    id: "sealing-rotation",
    title: "Keys that seal are replaced",
    does: "The key that seals can be replaced while the gate runs, and everything is sealed anew; another master key can take over. Retired keys that sign tokens verify until their tokens have ended.",
    keys: &["secrets.master_key"],
    tests: &[
        "auth/src/vault/tests.rs::after_a_rotation_everything_is_sealed_anew_and_hashes_stay",
        "auth/src/vault/tests.rs::readers_see_their_values_all_through_rotations",
        "auth/src/authority/tests.rs::a_replaced_signing_key_verifies_until_its_tokens_have_ended",
    ],
    queries: &["portcullis secret list"],
    judge: |gate| {
        let made = gate.facts.and_then(|facts| facts.sealing_key_at);
        match made.map(|at| days(gate.age(at.into()))) {
            None => Verdict::on("nothing is sealed yet"),
            Some(days) if days > SEALING_DAYS_MAX => Verdict::partly(
                format!("the key that seals is {days} days old"),
                "portcullis secret rotate",
            ),
            Some(days) => Verdict::on(format!(
                "the key that seals is {} old",
                count(usize::try_from(days).unwrap_or(usize::MAX), "day")
            )),
        }
    },
};

/// No secrets in the config.
pub(in crate::compliance) static REFERENCES: Measure = Measure {
    id: "secret-references",
    title: "Secrets do not stand in config files",
    does: "A secret is a reference: to the environment, a file that nobody else may read, or the sealed store. Placeholders are refused.",
    keys: &["secrets.master_key"],
    tests: &[
        "server/src/config/tests/secrets.rs::no_form_of_a_config_says_a_secret",
        "server/src/config/tests/tls.rs::a_key_that_others_can_read_is_refused_whatever_is_in_it",
    ],
    queries: &["portcullis config show"],
    judge: |gate| {
        let literal: Vec<String> = gate
            .shown
            .iter()
            .filter(|one| one.value == HIDDEN && !one.key.ends_with(".hash"))
            .map(|one| one.key.clone())
            .collect();
        match literal.as_slice() {
            [] => Verdict::on("no secret stands in the config itself"),
            literal => Verdict::partly(
                format!("{} may be a secret in the clear", listed(literal)),
                "portcullis secret set NAME, and { secret = \"NAME\" } in the config",
            ),
        }
    },
};

/// No leaks.
pub(in crate::compliance) static NO_LEAKS: Measure = Measure {
    id: "no-leaks",
    title: "No secret is in a log, an answer, a metric or a record",
    does: "Secrets are types that cannot be printed. Arguments and results are never logged. Clients are never shown an address, a path or a cause.",
    keys: &["log.level"],
    tests: &[
        "testkit/tests/it/canaries.rs::no_secret_is_where_it_does_not_belong",
        "testkit/tests/it/slices/silence.rs::no_answer_names_what_its_reader_may_not_see",
        "auth/src/vault/tests.rs::no_debug_form_says_a_key",
    ],
    queries: &[],
    judge: |_| Verdict::on("it cannot be switched off"),
};

/// Data minimisation in records.
pub(in crate::compliance) static MINIMAL_RECORDS: Measure = Measure {
    id: "minimal-records",
    title: "Records hold no more than is needed",
    does: "A record says who, what, when, why and how it ended. Of arguments it has a digest; results are not in it at all. Arguments themselves are kept only where the config says so, without secrets and personal data as far as these can be told, or sealed for an auditor.",
    keys: &["audit.arguments", "audit.keep", "audit.auditor"],
    tests: &[
        "testkit/tests/it/canaries.rs::no_secret_is_where_it_does_not_belong",
        "observe/src/audit/keeping/tests.rs::nothing_is_kept_unless_the_config_says_so",
        "observe/src/audit/keeping/tests.rs::secrets_and_personal_data_are_not_in_what_is_kept_redacted",
        "observe/src/audit/sealing/tests.rs::what_is_sealed_for_an_auditor_opens_with_its_key_alone",
    ],
    queries: &["portcullis audit tail -n 5 --json"],
    judge: |gate| match (gate.value("audit.arguments"), gate.value("audit.keep")) {
        (None | Some("digest"), None | Some("[]")) => {
            Verdict::on("of arguments only a digest is kept")
        }
        (Some("sealed"), None | Some("[]")) => {
            Verdict::on("arguments are kept sealed: only the auditor can read them")
        }
        _ => Verdict::on(
            "arguments of some entries are kept, redacted or sealed, as the config says",
        ),
    },
};

/// What somebody did.
pub(in crate::compliance) static SUBJECT_RECORDS: Measure = Measure {
    id: "subject-records",
    title: "What is recorded of a person can be handed out",
    does: "`portcullis audit subject` writes out all records of a person, and those about it. These are the gate's own records: what upstreams keep of a person is theirs to tell.",
    keys: &[],
    tests: &[
        "testkit/tests/it/privacy.rs::a_person_is_erased_from_the_log_and_the_log_is_verified_as_before",
        "store/src/audit/tests.rs::a_tail_is_the_last_rows_or_the_next_ones",
    ],
    queries: &["portcullis audit subject carol --out carol.jsonl"],
    judge: |_| Verdict::on("it is there on request"),
};

/// Erasure.
pub(in crate::compliance) static ERASURE: Measure = Measure {
    id: "erasure",
    title: "What is recorded of a person can be erased",
    does: "`portcullis audit erase` takes out of the records of a person, and of those about it, all that says whose they are. The chain commits to that part by a salted hash, so that the log can be verified as before. What is under a legal hold stays. Copies that were sent on or exported are not reached.",
    keys: &[],
    tests: &[
        "testkit/tests/it/privacy.rs::a_person_is_erased_from_the_log_and_the_log_is_verified_as_before",
        "store/src/audit/erase/tests.rs::all_records_of_a_person_and_about_it_are_erased_and_the_log_holds",
        "store/src/audit/erase/tests.rs::a_hold_keeps_all_of_it",
    ],
    queries: &["portcullis audit search --method admin/audit.erase"],
    judge: |_| Verdict::on("it is there on request"),
};

/// Retention.
pub(in crate::compliance) static RETENTION: Measure = Measure {
    id: "retention",
    title: "Records are kept as long as they should be, and no longer",
    does: "Records that are older than the config says are taken off the log's front, unless they are under a legal hold; what is left can be verified as before.",
    keys: &["audit.retention.keep"],
    tests: &[
        "testkit/tests/it/privacy.rs::records_past_their_time_go_and_what_is_left_is_verified",
        "store/src/audit/prune/tests.rs::what_is_left_is_proved_as_before_and_the_log_goes_on",
        "store/src/audit/prune/tests.rs::a_row_under_a_hold_stays_and_all_behind_it",
    ],
    queries: &["portcullis audit tail -n 1"],
    judge: |gate| match gate.value("audit.retention.keep") {
        Some(span) => Verdict::on(format!("records are kept for {span}")),
        None => Verdict::off(
            "records are kept for ever",
            "audit.retention.keep = \"365d\"",
        ),
    },
};

/// Legal hold.
pub(in crate::compliance) static LEGAL_HOLD: Measure = Measure {
    id: "legal-hold",
    title: "Records that a court may want stay",
    does: "Records of a person or a time can be put under a hold: then they are neither taken off the log nor erased until the hold is ended. Who put it there, and why, is kept.",
    keys: &[],
    tests: &[
        "store/src/audit/erase/tests.rs::a_hold_keeps_all_of_it",
        "store/src/audit/prune/tests.rs::a_row_under_a_hold_stays_and_all_behind_it",
    ],
    queries: &["portcullis audit hold list"],
    judge: |gate| match gate.facts.map(|facts| facts.holds) {
        Some(0) | None => Verdict::on("it is there on request"),
        Some(holds) => Verdict::on(format!("{} in force", count(holds, "hold"))),
    },
};
