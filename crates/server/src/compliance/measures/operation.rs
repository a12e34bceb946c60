//! How the gate is run: changes, failures, copies, and what it is built from.

use super::super::measure::{Measure, Verdict, listed};

/// Changes.
pub(in crate::compliance) static CHANGES: Measure = Measure {
    id: "changes",
    title: "A bad change changes nothing",
    does: "A config is checked as a whole before it holds: unknown keys, wrong values, secrets that are not there. A bad one is refused with file and line, and what ran goes on; a good one takes over without losing a call.",
    keys: &[],
    tests: &[
        "testkit/tests/it/lifecycle.rs::a_reload_that_cannot_be_done_changes_nothing",
        "testkit/tests/it/lifecycle.rs::a_reload_adds_and_removes_upstreams_and_drops_nothing",
        "server/src/config/tests.rs::unknown_keys_are_told_with_the_nearest_known_one",
    ],
    queries: &[
        "portcullis config show",
        "portcullis policy simulate --since 7d",
    ],
    judge: |_| Verdict::on("it cannot be switched off"),
};

/// Failures.
pub(in crate::compliance) static RESILIENCE: Measure = Measure {
    id: "resilience",
    title: "One failure stays one failure",
    does: "An upstream that dies, hangs or floods ends its own calls and nobody else's, and is started again with growing pauses. No call is sent twice. Stopping loses no call in flight.",
    keys: &[
        "drain.timeout",
        "upstreams.*.timeout",
        "upstreams.*.connect_timeout",
        "limits.concurrency.adaptive",
    ],
    tests: &[
        "testkit/tests/it/faults.rs::a_death_ends_the_open_calls_within_a_second_and_no_others",
        "testkit/tests/it/faults.rs::a_process_killed_from_outside_comes_back",
        "testkit/tests/it/lifecycle.rs::draining_loses_no_call_in_flight",
    ],
    queries: &["portcullis audit search --outcome failed"],
    judge: |_| Verdict::on("it cannot be switched off"),
};

/// Several gates.
pub(in crate::compliance) static REDUNDANCY: Measure = Measure {
    id: "redundancy",
    title: "Another gate goes on when one is gone",
    does: "Several gates can share one PostgreSQL, with one audit log, and rate limits through Redis. That the database itself outlives a machine is its operator's.",
    keys: &[
        "store.postgres",
        "shared.redis.url",
        "shared.redis.fail",
        "data_dir",
    ],
    tests: &[
        "testkit/tests/it/limits.rs::three_gates_share_one_limit_and_each_goes_on_alone_without_redis",
        "testkit/tests/it/sinks.rs::one_gate_sends_and_the_others_wait_for_it",
    ],
    queries: &[],
    judge: |gate| match (gate.value("store.postgres"), &gate.loaded.shared) {
        (Some(_), Some(_)) => Verdict::on(
            "database and rate limits can be shared with other gates; whether there are any, the config does not say",
        ),
        (Some(_), None) => Verdict::partly(
            "the database can be shared with other gates; each counts rate limits by itself",
            "shared.redis.url = \"rediss://…\"",
        ),
        (None, Some(_)) => Verdict::partly(
            "rate limits are shared; records, keys and accounts are in a file of this machine",
            "store.postgres = \"postgres://…\"",
        ),
        (None, None) => Verdict::off(
            "this gate stands alone: all it keeps is in a file of this machine",
            "store.postgres = \"postgres://…\" and a second gate",
        ),
    },
};

/// Backups.
pub(in crate::compliance) static BACKUP: Measure = Measure {
    id: "backup",
    title: "What is kept can be brought back",
    does: "`portcullis backup create` copies all that the gate keeps, of one moment and while gates work, into a file that a passphrase seals; `verify` tries it in a place that is thrown away, and checks the audit log in it. Nothing makes backups by itself.",
    keys: &["data_dir", "store.postgres"],
    tests: &[
        "store/src/dump/tests.rs::a_dump_is_of_one_moment",
        "store/src/dump/tests.rs::a_dump_that_was_cut_or_changed_leaves_nothing_behind",
        "store/src/dump/tests.rs::what_one_database_held_another_holds_of_whichever_kind",
    ],
    queries: &[
        "portcullis audit search --method admin/backup.create -n 1",
        "portcullis backup verify monday.backup --passphrase-file phrase.txt",
    ],
    judge: |_| {
        Verdict::partly(
            "a backup is made when somebody makes one; the audit log says when that was",
            "run `portcullis backup create`, and now and then `backup verify`, on a schedule",
        )
    },
};

/// Durable state.
pub(in crate::compliance) static DURABILITY: Measure = Measure {
    id: "durability",
    title: "What was confirmed outlives a crash",
    does: "One writer, group commit, and nothing is confirmed before it is on the disk. A database of a newer version is refused, not damaged.",
    keys: &["audit.mode"],
    tests: &[
        "testkit/tests/it/killed.rs::whatever_kills_the_gate_the_log_has_what_was_answered_and_what_was_begun",
        "testkit/tests/it/disk.rs::a_disk_that_fails_to_sync_refuses_calls_until_it_does_not",
        "store/src/store/tests.rs::a_newer_or_altered_database_is_refused",
        "store/src/store/tests.rs::a_commit_that_fails_is_tried_again",
    ],
    queries: &[],
    judge: |gate| match gate.value("audit.mode") {
        None | Some("durable") => Verdict::on("nothing is confirmed before it is on the disk"),
        Some(_) => Verdict::partly(
            "but for the last records of the audit log",
            "audit.mode = \"durable\"",
        ),
    },
};

/// Supply chain.
pub(in crate::compliance) static SUPPLY_CHAIN: Measure = Measure {
    id: "supply-chain",
    title: "What it is built from is known",
    does: "One binary from a pinned toolchain and a committed lockfile; licences, sources and banned crates are checked (`deny.toml`). Releases have no SBOM and no signature yet, and packages that upstreams are installed from are not checked.",
    keys: &["upstreams.*.stdio"],
    tests: &[],
    queries: &[],
    judge: |_| {
        Verdict::partly(
            "dependencies are pinned and checked; there is no SBOM, no signed release, and no check of what upstreams are installed from",
            "pin the versions and hashes of upstreams' packages where you install them",
        )
    },
};

/// Doubts about the config.
pub(in crate::compliance) static CONFIG_DOUBTS: Measure = Measure {
    id: "config-doubts",
    title: "The config says nothing that does nothing",
    does: "What a config says and what has no effect as it stands (a rule about an upstream that there is not, say) is told at the start, and here.",
    keys: &[],
    tests: &["server/src/config/tests.rs::what_does_nothing_is_told_and_stops_no_gate"],
    queries: &["portcullis check"],
    judge: |gate| {
        let doubts = gate.loaded.doubts.iter();
        let doubts: Vec<String> = doubts.map(|doubt| doubt.complaint.key.clone()).collect();
        match doubts.as_slice() {
            [] => Verdict::on("there is no such thing in it"),
            doubts => Verdict::partly(
                format!("{} does nothing as it stands", listed(doubts)),
                "`portcullis check` says why",
            ),
        }
    },
};
