//! What happened: that it is recorded, that the record can be trusted, and that somebody notices.

use jiff::Timestamp;

use super::super::Chain;
use super::super::measure::{Measure, Verdict, listed};

/// The audit log.
pub(in crate::compliance) static AUDIT: Measure = Measure {
    id: "audit",
    title: "Every call and every act of administration leaves a record",
    does: "Who, through which credential and client, what, by which rule, with whose consent, which definition, how it ended, when and how long: a record before the upstream sees the call, and one before the caller sees the answer. No place in the log, no call.",
    keys: &["audit.mode"],
    tests: &[
        "testkit/tests/it/killed.rs::whatever_kills_the_gate_the_log_has_what_was_answered_and_what_was_begun",
        "store/src/store/tests.rs::a_full_queue_refuses_within_the_wait_and_loses_nothing",
        "testkit/tests/it/recorded.rs::every_act_of_the_reference_is_recorded_somewhere",
        "testkit/tests/it/disk.rs::a_full_disk_refuses_calls_until_there_is_room",
        "store/src/audit/tests.rs::what_a_gate_left_behind_is_unknown_and_what_lives_is_left_alone",
    ],
    queries: &[
        "portcullis audit tail -n 20",
        "portcullis audit search --outcome unknown",
    ],
    judge: |gate| {
        const REMEDY: &str = "audit.mode = \"durable\"";
        match gate.value("audit.mode") {
            None | Some("durable") => Verdict::on(
                "a record is on the disk before its call has an effect, and before it is answered",
            ),
            Some("relaxed") => Verdict::partly(
                "a record counts as written once it is on its way to the disk: a crash loses the last ones, though their calls were answered",
                REMEDY,
            ),
            Some(mode) => Verdict::off(format!("calls leave no trace (`{mode}`)"), REMEDY),
        }
    },
};

/// The proof.
pub(in crate::compliance) static TAMPER_EVIDENCE: Measure = Measure {
    id: "tamper-evidence",
    title: "A record that was changed, moved, added or taken away shows",
    does: "Records are a hash chain and a Merkle tree; each minute, and each thousand records, the gate signs for both (Ed25519). `audit verify` needs an export and a public key, no gate, and says where something is wrong; one record can be proved without the others.",
    keys: &["audit.mode"],
    tests: &[
        "observe/src/audit/verify/tests.rs::a_thousand_changes_are_all_found_where_they_are",
        "observe/src/audit/verify/tests.rs::a_log_that_was_written_anew_is_not_the_one_that_was_signed",
        "observe/src/audit/verify/tests.rs::one_record_is_proved_without_the_others",
        "store/src/audit/merkle/tests.rs::roots_are_those_of_certificate_transparency",
    ],
    queries: &[
        "portcullis audit key",
        "portcullis audit export --output log.jsonl",
        "portcullis audit verify log.jsonl --key key.txt",
    ],
    judge: |gate| {
        if matches!(gate.value("audit.mode"), Some("danger_off")) {
            return Verdict::off(
                "there is no record to prove anything with",
                "audit.mode = \"durable\"",
            );
        }
        match gate.facts.map(|facts| &facts.chain) {
            None => Verdict::on("it cannot be switched off; there is no database yet to verify"),
            Some(Chain::Holds { verified: 0, .. }) => {
                Verdict::on("it cannot be switched off; nothing was recorded yet")
            }
            Some(Chain::Holds { verified, unsigned }) => Verdict::on(format!(
                "the last {verified} records were verified for this report, and are as they were recorded; {unsigned} of them are not signed for yet"
            )),
            Some(Chain::Broken { why }) => Verdict::off(
                format!("the log is NOT as it was recorded: {why}"),
                "find out who had access to the database; compare with checkpoints and exports kept elsewhere",
            ),
            Some(Chain::Unchecked { why }) => Verdict::partly(
                format!("it is on, and the log could not be verified for this report: {why}"),
                "run the report as the gate's user, with its master key",
            ),
        }
    },
};

/// Checkpoints elsewhere.
pub(in crate::compliance) static CHECKPOINTS_ELSEWHERE: Measure = Measure {
    id: "checkpoints-elsewhere",
    title: "The log's end cannot be cut off unseen",
    does: "A checkpoint that is kept on another machine shows when the log's end is missing or all of it was written anew. Whoever has the machine can otherwise go back to an older copy.",
    keys: &["audit.checkpoints_to"],
    tests: &[
        "observe/src/audit/verify/tests.rs::an_end_that_was_cut_off_is_found_by_a_checkpoint_from_elsewhere",
        "testkit/tests/it/privacy.rs::checkpoints_are_written_to_a_folder_elsewhere_and_an_end_that_was_cut_off_is_found_by_them",
    ],
    queries: &["portcullis audit checkpoint"],
    judge: |gate| match gate.value("audit.checkpoints_to") {
        Some(folder) => Verdict::on(format!(
            "each checkpoint is written to `{folder}` as well; whether that is another machine's is for you to see"
        )),
        None => Verdict::off(
            "checkpoints are in the same database as the records",
            "audit.checkpoints_to = \"/mnt/elsewhere\", or `portcullis audit checkpoint` on a schedule",
        ),
    },
};

/// SIEM.
pub(in crate::compliance) static SIEM: Measure = Measure {
    id: "siem",
    title: "Records reach a system that watches",
    does: "Records are sent on to receivers: syslog, Splunk, Elastic, OpenTelemetry, any server over HTTP, or files; as our own JSON, ECS or OCSF. Nothing of it is on a call's way; a receiver that was away gets what it missed.",
    keys: &[
        "audit.sinks.*.kind",
        "audit.sinks.*.url",
        "audit.sinks.*.path",
        "audit.sinks.*.format",
    ],
    tests: &[
        "testkit/tests/it/sinks.rs::what_a_receiver_missed_it_gets_once_it_is_back_also_from_the_next_gate",
        "testkit/tests/it/sinks.rs::a_real_receiver_of_syslog_understands_every_message",
        "testkit/tests/it/sinks.rs::what_is_sent_as_ocsf_is_that",
    ],
    queries: &["portcullis audit sinks"],
    judge: |gate| {
        const REMEDY: &str =
            "audit.sinks.siem = { kind = \"syslog\", url = \"tls://siem.example.com:6514\" }";
        const LOOK: &str = "`portcullis audit sinks` says why";
        let all = gate.names("audit.sinks.*.kind", |_| true);
        let files = gate.names("audit.sinks.*.kind", |kind| kind == "\"file\"");
        match (all.len(), files.len()) {
            (0, _) => Verdict::off("records stay in the gate's database", REMEDY),
            (all, files) if all == files => Verdict::partly(
                "records are written to files of this machine; who collects those is for you to say",
                REMEDY,
            ),
            (count, _) => {
                let sinks = gate.facts.into_iter().flat_map(|facts| &facts.sinks);
                let (failing, since): (Vec<String>, Vec<Timestamp>) = sinks
                    .filter(|sink| all.contains(&sink.name))
                    .filter_map(|sink| Some((sink.name.clone(), sink.failing_since?)))
                    .unzip();
                let Some(since) = since.into_iter().min() else {
                    return Verdict::on(format!("records are sent to {}", listed(&all)));
                };
                let why = format!("nothing gets to {} (since {since})", listed(&failing));
                if failing.len() < count {
                    Verdict::partly(why, LOOK)
                } else {
                    Verdict::off(why, LOOK)
                }
            }
        }
    },
};

/// Logs.
pub(in crate::compliance) static LOGS: Measure = Measure {
    id: "logs",
    title: "The gate says what becomes of it",
    does: "One line per event, in JSON where nobody sits before it; levels say who should look, and when.",
    keys: &["log.level", "log.format"],
    tests: &[
        "testkit/tests/it/logs.rs::nobody_forges_a_line",
        "testkit/tests/it/canaries.rs::no_secret_is_where_it_does_not_belong",
    ],
    queries: &[],
    judge: |gate| match gate.value("log.level") {
        Some("off") => Verdict::off("nothing is logged", "log.level = \"info\""),
        Some("error") => Verdict::partly("only errors are logged", "log.level = \"info\""),
        Some(level) => Verdict::on(format!("logged is `{level}`")),
        None => Verdict::on("it is logged as by default"),
    },
};

/// Metrics.
pub(in crate::compliance) static METRICS: Measure = Measure {
    id: "metrics",
    title: "What it does is counted",
    does: "`/metrics` in the form of Prometheus, for whoever is known to the gate, whatever his roles: calls by outcome, waiting times, places, queues, upstreams. Labels come from closed sets, never from clients' words.",
    keys: &[],
    tests: &[
        "testkit/tests/it/metrics.rs::every_metric_of_the_list_has_a_number_and_no_label_is_a_clients_word",
        "testkit/tests/it/limits.rs::health_metrics_and_administration_never_wait_behind_calls",
    ],
    queries: &[],
    judge: |_| Verdict::on("it cannot be switched off; who scrapes it is for you to say"),
};

/// Alerts.
pub(in crate::compliance) static ALERTS: Measure = Measure {
    id: "alerts",
    title: "Somebody is told when something is wrong",
    does: "Rules on errors, latency, memory, disk, certificates, changed definitions, upstreams, the audit log and its receivers are looked at all the time; who is named is told once, again while it lasts, and when it is over: a webhook, an Alertmanager, or mail.",
    keys: &[
        // Not where they are told: the path of a webhook is often all that protects it.
        "alerts.receivers.*.severity",
        "alerts.rules.*.enabled",
    ],
    tests: &[
        "observe/src/alerts/tests.rs::a_receiver_is_told_once_and_again_after_a_while_and_when_it_is_over",
        "observe/src/alerts/tests.rs::a_receiver_that_was_away_is_told_once_of_what_it_missed",
        "testkit/tests/it/metrics.rs::each_alert_fires_when_it_should_and_says_what_to_do",
    ],
    queries: &["portcullis alerts test"],
    judge: |gate| {
        let kinds = ["webhook", "alertmanager", "email"];
        let told: Vec<String> = kinds
            .iter()
            .flat_map(|kind| gate.names(&format!("alerts.receivers.*.{kind}"), |_| true))
            .collect();
        let silent = gate.names("alerts.rules.*.enabled", |value| value == "false");
        match (told.as_slice(), silent.as_slice()) {
            ([], _) => Verdict::off(
                "nobody is told: alerts are in the log, in /v1/alerts and in the metrics alone",
                "alerts.receivers.ops = { webhook = \"https://alerts.example.com/hook\", secret = { env = \"ALERTS_SECRET\" } }",
            ),
            (told, []) => Verdict::on(format!("{} is told", listed(told))),
            (told, silent) => Verdict::partly(
                format!("{} is told, and not of {}", listed(told), listed(silent)),
                "alerts.rules.NAME.enabled = true",
            ),
        }
    },
};

/// Traces.
pub(in crate::compliance) static TRACES: Measure = Measure {
    id: "traces",
    title: "A call can be followed through all systems",
    does: "A call joins the trace of its caller, and the upstream gets it; the trace's id is in the record. Spans can go to a collector (OTLP). No secret, no argument and no answer is in a span; of a client's words the id of its request and the `tracestate` that it sent are.",
    keys: &[
        "telemetry.traces.endpoint",
        "telemetry.traces.ratio",
        "telemetry.traces.principal",
    ],
    tests: &[
        "testkit/tests/it/traces.rs::a_trace_is_joined_from_headers_and_from_meta_and_passed_on_in_both",
        "testkit/tests/it/traces.rs::no_secret_and_no_word_of_a_client_is_in_a_span",
        "testkit/tests/it/traces.rs::without_a_collector_a_trace_is_passed_on_as_it_came_and_is_in_the_record",
    ],
    queries: &["portcullis audit search --json -n 10"],
    judge: |gate| match gate.value("telemetry.traces.endpoint") {
        Some(_) => Verdict::on("spans go to the collector that the config names"),
        None => Verdict::partly(
            "traces are passed on and recorded; the gate sends no spans of its own",
            "telemetry.traces.endpoint = \"http://127.0.0.1:4318\"",
        ),
    },
};

/// Health.
pub(in crate::compliance) static HEALTH: Measure = Measure {
    id: "health",
    title: "Whether it works can be asked",
    does: "`/livez` and `/readyz` for probes, which say no when the log takes no records; `/health` for those who are known. `portcullis check` tries every upstream for real.",
    keys: &["listen"],
    tests: &[
        "testkit/tests/it/health.rs::every_dependency_and_every_task_says_how_it_is",
        "testkit/tests/it/health.rs::why_something_is_down_is_for_owners",
        "testkit/tests/it/check.rs::what_is_there_is_good_and_what_is_not_says_why_and_what_to_do",
    ],
    queries: &["portcullis check"],
    judge: |_| Verdict::on("it cannot be switched off"),
};

/// Strangers.
pub(in crate::compliance) static STRANGERS: Measure = Measure {
    id: "strangers",
    title: "Knocking is recorded, and cannot flood the log",
    does: "Requests without or with a bad credential are recorded, within a measure for each address.",
    keys: &["audit.mode"],
    tests: &[
        "testkit/tests/it/admin.rs::strangers_that_knock_all_the_time_are_refused_each_time_and_recorded_within_a_measure",
        "server/src/http/strangers.rs::one_address_fills_its_own_measure_and_gets_another_a_second_later",
    ],
    queries: &["portcullis audit search --outcome refused --json"],
    judge: |gate| match gate.value("audit.mode") {
        Some("danger_off") => Verdict::off("calls leave no trace", "audit.mode = \"durable\""),
        _ => Verdict::on("it goes with the audit log"),
    },
};
