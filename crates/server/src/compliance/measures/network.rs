//! What crosses the network, in and out.

use std::net::SocketAddr;

use upstream::{Kind, native};

use super::super::measure::{Measure, Verdict, is_here, listed};

/// TLS of the listeners.
pub(in crate::compliance) static TLS: Measure = Measure {
    id: "tls",
    title: "Nobody reaches the gate over a network in the clear",
    does: "Listeners that other machines can reach speak TLS 1.2 or 1.3 with authenticated, forward-secret ciphers. A gate that would listen there in the clear does not start unless the config says so in as many words.",
    keys: &[
        "listen",
        "tls.certificate",
        "tls.min_version",
        "tls.loopback_plaintext",
        "http.danger_exposed_plaintext",
    ],
    tests: &[
        "testkit/tests/it/tls.rs::older_versions_and_weaker_ciphers_get_an_alert",
        "testkit/tests/it/tls.rs::versions_1_2_and_1_3_are_spoken_over_http_1_and_2",
        "server/src/config/tests/tls.rs::an_address_that_others_reach_needs_tls_or_a_word_about_plaintext",
    ],
    queries: &[],
    judge: |gate| {
        let spoken = gate.loaded.tls_spoken;
        let clear: Vec<String> = gate
            .exposed()
            .filter(|address| !spoken.at(*address))
            .map(|address| address.to_string())
            .collect();
        match (clear.as_slice(), gate.exposed().count()) {
            ([], 0) => Verdict::on(
                "it listens on loopback addresses alone, which no other machine reaches",
            ),
            ([], _) => Verdict::on("every address that other machines reach speaks TLS"),
            (clear, _) => Verdict::off(
                format!(
                    "{} can be reached from elsewhere in the clear",
                    listed(clear)
                ),
                "tls.certificate and tls.key, or have a proxy on this machine end TLS and listen on loopback",
            ),
        }
    },
};

/// TLS to upstreams.
pub(in crate::compliance) static TLS_UPSTREAM: Measure = Measure {
    id: "tls-upstream",
    title: "Upstreams are reached over TLS",
    does: "Certificates of upstreams are verified, always; a pinned key or a client certificate can be asked for besides.",
    keys: &["upstreams.*.url", "upstreams.*.tls.pin"],
    tests: &[
        "testkit/tests/it/tls.rs::upstreams_are_reached_with_a_certificate_over_https_and_wss",
        "testkit/tests/it/tls.rs::an_upstream_whose_key_is_not_pinned_hears_nothing",
        "net/src/tls/tests.rs::a_certificate_that_is_not_trusted_or_not_for_this_host_ends_it",
    ],
    queries: &[],
    judge: |gate| {
        let remote: Vec<_> = gate
            .loaded
            .upstreams
            .iter()
            .filter_map(|spec| match &spec.kind {
                Kind::Http(http) if !is_here(&http.url) => Some((spec.id.to_string(), &http.url)),
                Kind::Http(_) | Kind::Stdio(_) | Kind::Native(_) | Kind::Provider(_) => None,
            })
            .collect();
        let clear: Vec<String> = remote
            .iter()
            .filter(|(_, url)| !matches!(url.scheme(), "https" | "wss"))
            .map(|(alias, _)| alias.clone())
            .collect();
        match (clear.as_slice(), remote.len()) {
            ([], 0) => Verdict::on("no upstream is on another machine"),
            ([], _) => Verdict::on("every upstream on another machine is reached over TLS"),
            (clear, all) if clear.len() < all => Verdict::partly(
                format!("{} on another machine in the clear", listed(clear)),
                "an https URL in upstreams.NAME.url",
            ),
            (clear, _) => Verdict::off(
                format!("{} on another machine in the clear", listed(clear)),
                "an https URL in upstreams.NAME.url",
            ),
        }
    },
};

/// TLS to everything else.
pub(in crate::compliance) static TLS_SERVICES: Measure = Measure {
    id: "tls-services",
    title: "Databases, receivers and mail servers are reached over TLS",
    does: "What the gate sends to another machine besides calls goes over TLS: to its database, a shared Redis, receivers of the audit log, of traces, of metrics and of alerts, a mail server, a webhook for consents. It goes in the clear only where the config says so in as many words.",
    keys: &[
        "store.danger_plaintext",
        "shared.redis.danger_plaintext",
        "audit.sinks.*.danger_plaintext",
        "telemetry.traces.danger_plaintext",
        "telemetry.metrics.danger_plaintext",
        "alerts.receivers.*.danger_plaintext",
        "mail.danger_plaintext",
        "consent.webhook.danger_plaintext",
    ],
    tests: &[
        "testkit/tests/it/sinks.rs::syslog_over_tls_is_for_whom_the_authority_vouches_alone",
        "testkit/tests/it/postgres.rs::a_server_elsewhere_is_spoken_to_under_tls_and_no_password_is_shown",
    ],
    queries: &[],
    judge: |gate| {
        // By how they end, so that none is forgotten.
        let clear: Vec<String> = gate
            .shown
            .iter()
            .filter(|one| one.key.ends_with(".danger_plaintext") && one.value == "true")
            .map(|one| one.key.clone())
            .collect();
        match clear.as_slice() {
            [] => Verdict::on("nothing is sent to another machine in the clear"),
            clear => Verdict::partly(
                format!("{} lets it be sent in the clear", listed(clear)),
                "set it to false, and use TLS there",
            ),
        }
    },
};

/// Host and Origin.
pub(in crate::compliance) static ORIGINS: Measure = Measure {
    id: "origins",
    title: "Web pages and rebound names do not get in",
    does: "Every path checks Host and, of browsers, Origin against a list: DNS rebinding and pages of other sites are refused before anything is read.",
    keys: &[
        "http.allowed_hosts",
        "http.allowed_origins",
        "http.public_url",
    ],
    tests: &[
        "testkit/tests/it/tls.rs::no_path_is_reached_by_a_foreign_host_or_from_a_foreign_page",
        "server/src/http/origin.rs::only_names_that_can_mean_this_gate_pass",
        "cases/door/origin.md",
        "cases/door/host.md",
    ],
    queries: &[],
    judge: |_| Verdict::on("it cannot be switched off; the lists only name more"),
};

/// Listening on little.
pub(in crate::compliance) static LISTENERS: Measure = Measure {
    id: "listeners",
    title: "It listens where it was told to, and nowhere else",
    does: "Addresses are listed in the config, loopback unless said otherwise; every path is a row of one table that says who may come in, and what is in no row does not exist.",
    keys: &["listen", "http.danger_exposed_plaintext"],
    tests: &[
        "testkit/tests/it/routes.rs::every_route_has_its_row_and_every_row_its_route",
        "server/src/config/tests/tls.rs::an_address_that_others_reach_needs_tls_or_a_word_about_plaintext",
    ],
    queries: &[],
    judge: |gate| {
        let addresses: Vec<String> = gate
            .loaded
            .listen
            .iter()
            .map(SocketAddr::to_string)
            .collect();
        Verdict::on(format!("it listens on {}", listed(&addresses)))
    },
};

/// SSRF.
pub(in crate::compliance) static EGRESS: Measure = Measure {
    id: "egress",
    title: "What strangers name is not fetched from inside",
    does: "One room opens all connections. A URL that came from outside is fetched over https, from public addresses alone, checked after resolution and at each redirect, within bounds of size and time.",
    keys: &[
        "upstreams.*.private",
        "auth.server.danger_private_client_documents",
    ],
    tests: &[
        "net/src/fetch/tests.rs::a_url_from_outside_does_not_reach_inside",
        "net/src/guard/tests.rs::special_v4_addresses_are_closed_from_first_to_last",
        "net/src/fetch/tests.rs::nothing_leads_from_https_to_http",
        "upstream/src/native/fetch/tests.rs::this_machine_is_not_reached_unless_allowed",
    ],
    queries: &["portcullis audit search --upstream fetch"],
    judge: |gate| {
        let mut open: Vec<String> = gate
            .loaded
            .upstreams
            .iter()
            .filter(|spec| {
                matches!(
                    spec.kind,
                    Kind::Native(native::Spec::Fetch { private: true })
                )
            })
            .map(|spec| format!("upstreams.{}.private", spec.id))
            .collect();
        if gate.loaded.auth.authority.danger_private_client_documents {
            open.push("auth.server.danger_private_client_documents".to_owned());
        }
        match open.as_slice() {
            [] => Verdict::on("only public addresses are reached for what others name"),
            open => Verdict::partly(
                format!("{} opens private addresses", listed(open)),
                "set it to false",
            ),
        }
    },
};

/// What a child process may reach.
pub(in crate::compliance) static EGRESS_OF_CHILDREN: Measure = Measure {
    id: "egress-of-children",
    title: "Servers started by the gate reach no network of their own accord",
    does: "The gate does not confine the network of a server over stdio: it reaches whatever its user may reach.",
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
                Verdict::on("there is nothing to confine: no upstream is a process on this machine")
            }
            _ => Verdict::not_built(
                "a server over stdio reaches whatever its user may reach",
                "run the gate in a container or network namespace with an egress policy",
            ),
        }
    },
};

/// Requests of clients go no further.
pub(in crate::compliance) static NO_PASSTHROUGH: Measure = Measure {
    id: "no-passthrough",
    title: "Clients' credentials end at the gate",
    does: "Nothing that a client presents reaches an upstream. What lets the gate in at an upstream is chosen by the config alone: a secret, client credentials, token exchange, or what each principal connected.",
    keys: &[
        "upstreams.*.credential.oauth",
        "upstreams.*.credential.bearer",
    ],
    tests: &[
        "testkit/tests/it/credentials.rs::no_credential_of_a_client_reaches_an_upstream",
        "auth/src/outbound/tests.rs::a_token_is_never_sent_to_another_address_of_the_same_name",
        "auth/src/outbound/tests.rs::an_issuer_is_compared_letter_by_letter_before_anything_is_redeemed",
    ],
    queries: &[],
    judge: |_| Verdict::on("it cannot be switched off"),
};

/// No crossing.
pub(in crate::compliance) static ISOLATION: Measure = Measure {
    id: "isolation",
    title: "Nobody gets a byte of another's answers",
    does: "Answers find their request by ids that the gate makes. Sessions, streams, tasks, links and questions belong to the principal who began them, and look unknown to anybody else.",
    keys: &["upstreams.*.sessions"],
    tests: &[
        "testkit/tests/it/crossing.rs::no_byte_of_one_principal_reaches_another",
        "testkit/tests/it/streams.rs::nobody_resumes_what_is_another_sessions_or_principals",
        "gateway/src/tasks/tests.rs::an_id_opens_for_its_principal_alone_and_after_a_restart",
        "testkit/tests/it/revocation.rs::a_session_is_not_continued_with_another_kind_of_credential",
    ],
    queries: &[],
    judge: |gate| match gate
        .names("upstreams.*.sessions", |value| value.contains("\"shared\""))
        .as_slice()
    {
        [] => Verdict::on("it cannot be switched off"),
        shared => Verdict::on(format!(
            "it cannot be switched off; the config has all clients share one conversation with {}",
            listed(shared)
        )),
    },
};
