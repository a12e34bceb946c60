//! What a call is held to on its way: people's consent, limits, and the upstreams behind.

use upstream::Kind;

use super::super::measure::{Measure, Verdict, count, listed};

/// More calls in a second than this, allowed to one principal, hold nobody back.
const CALLS_PER_SECOND_MAX: u128 = 1000;

/// Consent.
pub(in crate::compliance) static CONSENT: Measure = Measure {
    id: "consent",
    title: "A person agrees before something is destroyed",
    does: "Calls of tools that call themselves destructive, and whatever a rule says, are asked about. The yes is for principal, entry, definition and arguments as they were shown, for one call unless told otherwise, and ends; questions are bounded in number.",
    keys: &[
        "consent.destructive",
        "consent.private",
        "consent.expires",
        "consent.open_max",
        "consent.per_hour",
        "virtual_servers.*.consent.destructive",
        "roles.*.ask",
    ],
    tests: &[
        "testkit/tests/it/consent.rs::what_an_upstream_calls_destructive_is_asked_about_unless_the_config_says_otherwise",
        "testkit/tests/it/consent.rs::another_definition_is_another_question",
        "testkit/tests/it/consent.rs::a_flood_of_questions_is_cut_off",
        "gateway/src/consents/tests.rs::what_means_the_same_is_the_same_question_and_nothing_else",
        "cases/consent/destructive.md",
    ],
    queries: &["portcullis consent list --all"],
    judge: |gate| {
        const REMEDY: &str = "consent.destructive = \"ask\"";
        let gateway = &gate.loaded.gateway;
        let lax: Vec<String> = gateway
            .servers
            .iter()
            .filter(|(_, server)| !server.asks_destructive)
            .map(|(name, _)| name.to_string())
            .collect();
        match (gateway.consent.asks_destructive, lax.as_slice()) {
            (true, []) => Verdict::on("destructive calls are asked about"),
            (true, lax) => Verdict::partly(
                format!("not asked about through the virtual server {}", listed(lax)),
                "virtual_servers.NAME.consent.destructive = \"ask\"",
            ),
            (false, _) => Verdict::off(
                "destructive calls go through unasked; only rules with `ask` ask",
                REMEDY,
            ),
        }
    },
};

/// Questions of upstreams to clients.
pub(in crate::compliance) static QUESTIONS: Measure = Measure {
    id: "questions",
    title: "Servers ask only what may be asked, and whom",
    does: "A server's question (sampling, elicitation, roots) reaches the client of the call that it belongs to, if that client declared it can answer and no rule denies it. State that a client carries opens for its principal, call and time alone, once.",
    keys: &["roles.*.deny", "upstreams.*.sessions"],
    tests: &[
        "testkit/tests/it/asking.rs::what_a_client_cannot_do_is_not_asked_of_it",
        "testkit/tests/it/asking.rs::a_state_is_good_once_for_its_call_its_principal_and_a_while",
        "testkit/tests/it/asking.rs::no_two_principals_share_a_conversation_unless_the_upstream_is_declared_shared",
    ],
    queries: &[],
    judge: |_| Verdict::on("it cannot be switched off"),
};

/// Rate limits.
pub(in crate::compliance) static RATE_LIMITS: Measure = Measure {
    id: "rate-limits",
    title: "Nobody calls without measure",
    does: "Calls of tools and reads of resources are counted per principal; further limits by role, entry, upstream or all together can be named. A refusal says when to come back.",
    keys: &[
        "limits.tool_call.max",
        "limits.tool_call.per",
        "limits.resource_access.max",
        "limits.resource_access.per",
        "limits.rules.*.max",
        "shared.redis.url",
        "shared.redis.fail",
    ],
    tests: &[
        "gateway/src/limits/tests.rs::the_narrowest_limit_is_named_and_the_others_are_untouched",
        "testkit/tests/it/limits.rs::three_gates_share_one_limit_and_each_goes_on_alone_without_redis",
        "testkit/tests/it/limits.rs::health_metrics_and_administration_never_wait_behind_calls",
        "cases/limit/tool-call.md",
        "cases/limit/resource-access.md",
    ],
    queries: &["portcullis audit search --outcome refused"],
    judge: |gate| {
        let limits = &gate.loaded.gateway.limits;
        let too_many = |limit: &policy::Limit| {
            u128::from(limit.max.get()) * 1_000_000_000
                > CALLS_PER_SECOND_MAX * limit.per.as_nanos()
        };
        let mut wide = Vec::new();
        for (key, rule) in [
            ("limits.tool_call", &limits.tool_call),
            ("limits.resource_access", &limits.resource_access),
        ] {
            if too_many(&rule.limit) {
                wide.push(key.to_owned());
            }
        }
        match wide.as_slice() {
            [] => Verdict::on(format!(
                "two limits per principal, and {}",
                count(limits.rules.len(), "further limit")
            )),
            wide if wide.len() == 2 && limits.rules.is_empty() => Verdict::off(
                format!(
                    "{} let through more than {CALLS_PER_SECOND_MAX} calls in a second: that holds nobody back",
                    listed(wide)
                ),
                "limits.tool_call = { max = 100, per = \"60s\" }",
            ),
            wide => Verdict::partly(
                format!(
                    "{} lets through more than {CALLS_PER_SECOND_MAX} calls in a second",
                    listed(wide)
                ),
                "limits.tool_call = { max = 100, per = \"60s\" }",
            ),
        }
    },
};

/// Quotas.
pub(in crate::compliance) static QUOTAS: Measure = Measure {
    id: "quotas",
    title: "What a day or a month may cost has an end",
    does: "Calls, bytes and cost units can have quotas per day and month that outlive restarts.",
    keys: &[
        "limits.quotas.*.calls",
        "limits.quotas.*.bytes",
        "limits.quotas.*.cost",
    ],
    tests: &[
        "gateway/src/limits/quotas/tests.rs::what_was_used_outlives_the_gate_and_is_shared_by_processes",
        "testkit/tests/it/limits.rs::a_quota_outlives_the_gate_and_begins_anew_at_midnight",
        "cases/limit/quota.md",
    ],
    queries: &["portcullis audit search --outcome refused"],
    judge: |gate| match gate.loaded.gateway.limits.quotas.len() {
        0 => Verdict::off(
            "there is no quota",
            "limits.quotas.NAME = { per = \"principal\", calls = 10000, every = \"day\" }",
        ),
        quotas => Verdict::on(format!("there is {}", count(quotas, "quota"))),
    },
};

/// Bounds.
pub(in crate::compliance) static BOUNDS: Measure = Measure {
    id: "bounds",
    title: "Everything has a bound and every wait an end",
    does: "Connections, bodies, queues, sessions, streams, calls at once per principal and upstream, and every wait. Principals are served in turn; health and administration never wait behind calls.",
    keys: &[
        "http.body_max",
        "http.header_timeout",
        "http.body_timeout",
        "http.connections_max",
        "limits.in_flight_max",
        "limits.concurrency.per_principal",
        "limits.concurrency.per_upstream",
        "sessions.max",
        "sessions.per_principal",
        "upstreams.*.timeout",
    ],
    tests: &[
        "gateway/src/limits/places/tests.rs::a_flood_does_not_double_what_anothers_call_takes",
        "testkit/tests/it/hostile.rs::a_line_of_a_gibibyte_costs_little_memory_and_nobody_else_anything",
        "store/src/store/tests.rs::a_full_queue_refuses_within_the_wait_and_loses_nothing",
        "cases/door/body-too-large.md",
        "cases/limit/in-flight.md",
    ],
    queries: &["portcullis audit search --outcome refused"],
    judge: |gate| {
        let limits = &gate.loaded.gateway.limits;
        Verdict::on(format!(
            "{} connections and {} calls at once, {} of one principal",
            gate.loaded.http.connections_max,
            limits.in_flight_max,
            limits.concurrency.per_principal
        ))
    },
};

/// Inventory.
pub(in crate::compliance) static INVENTORY: Measure = Measure {
    id: "inventory",
    title: "Only servers that the config names can be reached",
    does: "Upstreams are those of the config, with alias, address and definitions; there is no way to add one from outside, and the admin API starts none.",
    keys: &[
        "upstreams.*.url",
        "upstreams.*.stdio",
        "upstreams.*.native",
        "builtins",
    ],
    tests: &[
        "testkit/tests/it/lifecycle.rs::a_reload_adds_and_removes_upstreams_and_drops_nothing",
        "cases/resolve/unnamed-tool.md",
    ],
    queries: &["portcullis tools list", "portcullis pin list"],
    judge: |gate| Verdict::on(count(gate.loaded.upstreams.len(), "upstream")),
};

/// Child processes.
pub(in crate::compliance) static CHILDREN: Measure = Measure {
    id: "children",
    title: "Servers on this machine start clean and end with the gate",
    does: "No shell: a program and its arguments as the config has them, a scrubbed environment, only the variables that are named. No process of theirs outlives the gate.",
    keys: &["upstreams.*.stdio", "upstreams.*.cwd"],
    tests: &[
        "testkit/tests/it/lifecycle.rs::a_gate_that_is_killed_leaves_no_upstream",
        "testkit/tests/it/faults.rs::what_an_upstream_leaves_behind_ends_with_it",
    ],
    queries: &[],
    judge: |gate| {
        let children = gate.loaded.upstreams.iter();
        match children
            .filter(|spec| matches!(spec.kind, Kind::Stdio(_)))
            .count()
        {
            0 => Verdict::on("no upstream is a process on this machine; it would hold for each"),
            children => Verdict::on(format!(
                "it holds for {}",
                count(children, "server over stdio")
            )),
        }
    },
};

/// Sandbox.
pub(in crate::compliance) static SANDBOX: Measure = Measure {
    id: "sandbox",
    title: "Servers on this machine are locked in",
    does: "The gate has no sandbox of its own: a server over stdio runs as the gate's user, and may do what that user may.",
    keys: &["upstreams.*.stdio"],
    tests: &[],
    queries: &[],
    judge: |gate| {
        let children = gate.loaded.upstreams.iter();
        match children
            .filter(|spec| matches!(spec.kind, Kind::Stdio(_)))
            .count()
        {
            0 => {
                Verdict::on("there is nothing to lock in: no upstream is a process on this machine")
            }
            _ => Verdict::not_built(
                "a server over stdio runs as the gate's user and may do what that user may",
                "name the container runtime as its command, or run the gate itself in a container",
            ),
        }
    },
};

/// Files.
pub(in crate::compliance) static FILES: Measure = Measure {
    id: "files",
    title: "The file tools stay in their folders",
    does: "Paths are resolved beneath the roots that the config names, whatever links and dots are in them; writing is off unless said.",
    keys: &["upstreams.*.roots", "upstreams.*.write"],
    tests: &[
        "upstream/src/native/files/tests.rs::nothing_outside_a_root_is_reached_by_any_path",
        "upstream/src/native/files/tests.rs::writing_is_offered_only_when_allowed",
        "cases/native/files.md",
    ],
    queries: &["portcullis audit search --upstream files"],
    judge: |gate| match gate
        .names("upstreams.*.write", |value| value == "true")
        .as_slice()
    {
        [] => Verdict::on("no file tool may write"),
        writers => Verdict::on(format!("{} may write, beneath its roots", listed(writers))),
    },
};

/// Servers past the gate.
pub(in crate::compliance) static SHADOW_SERVERS: Measure = Measure {
    id: "shadow-servers",
    title: "Servers that people run past the gate are found",
    does: "The gate does not look for listeners on the network, and does not see what does not go through it. `portcullis import` finds the servers that clients on one machine are set up with.",
    keys: &[],
    tests: &[],
    queries: &["portcullis import --dry-run"],
    judge: |_| {
        Verdict::not_built(
            "nothing looks for servers past the gate",
            "a network scanner, and firewalls that let agents reach the gate alone",
        )
    },
};
