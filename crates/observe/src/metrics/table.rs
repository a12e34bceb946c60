//! The one list of metrics: what is not in it cannot be exported, and `docs/reference/metrics.md` is made from it.

use std::fmt::Write as _;

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the gate ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often something lay within which bounds.
    Histogram,
    /// Always 1; what it tells is in its labels.
    Info,
}

impl Kind {
    /// Its word in the reference and in both formats.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// What a metric is told apart by. Its values come from a closed set: no word of a client's is ever among them.
#[derive(Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name in Prometheus.
    pub name: &'static str,
    /// The attribute's name in OpenTelemetry's conventions, if they have it.
    pub attribute: Option<&'static str>,
    /// Where its values come from, for the reference.
    pub of: &'static str,
}

impl Label {
    const fn new(name: &'static str, of: &'static str) -> Self {
        let attribute = None;
        Self {
            name,
            attribute,
            of,
        }
    }

    const fn attribute(name: &'static str, attribute: &'static str, of: &'static str) -> Self {
        let attribute = Some(attribute);
        Self {
            name,
            attribute,
            of,
        }
    }
}

const VERSION: Label = Label::new("version", "this program's");
const METHOD: Label = Label::new(
    "method",
    "a method that [audit records](audit.md#methods) have: one of MCP, `extension`, `other`, or another act such as `gate/started` or `admin/keys.list`",
);
const STATUS_CODE: Label = Label::new(
    "status_code",
    "an HTTP status that [errors](errors.md) has, 200, or 499 for a call that its client gave up",
);
const STAGE: Label = Label::new(
    "stage",
    "`resolve`, `limit`, `validate`, `authorize`, `consent`, `dispatch`, `screen`, `record`",
);
const UPSTREAM: Label = Label::new("upstream", "an alias from the config");
const DECISION: Label = Label::new(
    "decision",
    "`allow`, `ask`, `deny` (a rule says so), `unseen` (no rule names it, or there is no such entry), `withheld`, or `-` where no rule was asked",
);
const REASON: Label = Label::new("reason", "a row of [errors](errors.md)");
const LIMIT_KEY: Label = Label::new(
    "limit_key",
    "a limit's or quota's name: built in, or from the config",
);
const USER_ID: Label = Label::new("user_id", "`-`: a name each would be a series each");
const SCREENED_KIND: Label = Label::new("kind", "a kind that screening looks for");
const UPSTREAM_OUTCOME: Label = Label::new(
    "outcome",
    "`ok`, `tool_error`, `error` (it answered with one), `timeout`, `unavailable`, `gone`, `credential`, `protocol`, `cancelled`",
);
const PUSH_OUTCOME: Label = Label::new("outcome", "`ok`, `partly`, `failed`");
const OUTCOME: Label = Label::new("outcome", "`ok` or `failed`");
const CREDENTIAL: Label = Label::new(
    "kind",
    "`none`, `key`, `bearer`, `dpop`, `certificate`, or `malformed`",
);
const AUTH_OUTCOME: Label = Label::new(
    "outcome",
    "`ok`, `missing`, `malformed`, `unknown`, `invalid`, `expired`, `revoked`, `proof`, `unavailable`",
);
const CONSENT: Label = Label::new("answer", "`asked`, and then `granted` or `refused`");
const ENTRY_KIND: Label = Label::new("kind", "`tool`, `prompt`, `resource`, `resource_template`");
const TASK: Label = Label::new("task", "a background task, as in `/health`");
const SINK: Label = Label::new("sink", "a sink's name from the config");
const RUNTIME: Label = Label::new("runtime", "`main` or `http`");
const CERTIFICATE: Label = Label::new("certificate", "`listener`, the one that clients are shown");
const ALERT: Label = Label::new("alert", "an alert that [alerts](alerts.md) lists");

// OpenTelemetry, semantic conventions for MCP. Attributes whose values clients or upstreams choose (tool, prompt, resource,
// session, address) are left to traces.
const MCP_METHOD: Label = Label::attribute(
    "mcp_method_name",
    "mcp.method.name",
    "a method of MCP, or `other`",
);
const MCP_ERROR: Label = Label::attribute(
    "error_type",
    "error.type",
    "empty for success; a JSON-RPC code of ours or MCP's; `tool_error` and `cancelled`; of an upstream that gave no answer, its `outcome`; else `_OTHER`",
);
const MCP_REVISION: Label = Label::attribute(
    "mcp_protocol_version",
    "mcp.protocol.version",
    "a revision of MCP that is spoken here, or empty",
);
const MCP_TRANSPORT: Label = Label::attribute(
    "network_transport",
    "network.transport",
    "`tcp`, `pipe`, or empty inside of this process",
);
const MCP_PROTOCOL: Label = Label::attribute(
    "network_protocol_name",
    "network.protocol.name",
    "`http`, `websocket`, or empty",
);
const MCP_OPERATION: Label = Label::attribute(
    "gen_ai_operation_name",
    "gen_ai.operation.name",
    "`execute_tool` for `tools/call`, else empty",
);

/// What the reference and both formats say of a metric.
#[derive(Debug)]
pub struct Row {
    /// The name of its series, the way a query has it; a histogram's without `_bucket`, `_count` and `_sum`.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// What it is told apart by, in their order.
    pub labels: &'static [&'static Label],
    /// What it tells.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $metric:ident $kind:ident $name:literal [$($label:ident),*])+) => {
        /// Every metric there is, in the order of the page.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric { $($(#[doc = $help])+ $metric,)+ }

        impl Metric {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$metric,)+];

            /// What is known of it.
            #[must_use]
            pub fn row(self) -> &'static Row {
                match self {
                    $(Self::$metric => const {
                        &Row {
                            name: $name,
                            kind: Kind::$kind,
                            labels: &[$(&$label),*],
                            help: concat!($($help),+).trim_ascii(),
                        }
                    },)+
                }
            }
        }
    };
}

metrics! {
    /// Version of this program
    Build Info "portcullis_build_info" [VERSION]
    /// Whether calls can be taken and recorded
    Ready Gauge "portcullis_ready" []

    /// Time from a request's arrival to the end of its reply, its record on the disk included
    RequestDuration Histogram "mcp_request_duration_seconds" [METHOD, STATUS_CODE]
    /// Time that calls spend in each stage of their way
    StageDuration Histogram "portcullis_stage_duration_seconds" [STAGE]
    /// Calls that came and are not answered yet
    CallsInFlight Gauge "portcullis_calls_in_flight" []
    /// Calls that wait for a place among those in flight
    CallsWaiting Gauge "portcullis_calls_waiting" []
    /// What the rules said of calls
    Decisions Counter "portcullis_decisions_total" [DECISION]
    /// Calls and requests that got no answer, by why
    Rejections Counter "portcullis_rejections_total" [REASON]
    /// Calls refused by a rate limit, a quota or a bound on calls in flight
    LimitHits Counter "mcp_rate_limit_hits_total" [LIMIT_KEY, USER_ID]
    /// What screening found, by kind
    Screened Counter "portcullis_screened_total" [SCREENED_KIND]
    /// Requests for a person's consent that this process made, and answers to some that it took
    Consents Counter "portcullis_consents_total" [CONSENT]
    /// Calls that wait for a person's consent
    ConsentsWaiting Gauge "portcullis_consents_waiting" []

    /// OpenTelemetry `mcp.server.operation.duration`: requests of clients, from arrival to answer
    ServerOperationDuration Histogram "mcp_server_operation_duration_seconds" [MCP_METHOD, MCP_ERROR, MCP_OPERATION, MCP_REVISION, MCP_PROTOCOL, MCP_TRANSPORT]
    /// OpenTelemetry `mcp.server.session.duration`: sessions and conversations of clients, when they end
    ServerSessionDuration Histogram "mcp_server_session_duration_seconds" [MCP_PROTOCOL, MCP_TRANSPORT]
    /// OpenTelemetry `mcp.client.operation.duration`: requests to upstreams, from sending to answer
    ClientOperationDuration Histogram "mcp_client_operation_duration_seconds" [MCP_METHOD, MCP_ERROR, MCP_OPERATION, MCP_REVISION, MCP_PROTOCOL, MCP_TRANSPORT]
    /// OpenTelemetry `mcp.client.session.duration`: connections to upstreams, when they end
    ClientSessionDuration Histogram "mcp_client_session_duration_seconds" [MCP_REVISION, MCP_PROTOCOL, MCP_TRANSPORT]

    /// Whether the upstream is connected; nothing of one that waits for somebody to connect to it
    UpstreamUp Gauge "portcullis_upstream_up" [UPSTREAM]
    /// How often the upstream was started again
    UpstreamRestarts Counter "portcullis_upstream_restarts_total" [UPSTREAM]
    /// Time that the upstream took to answer, by how that ended
    UpstreamRequestDuration Histogram "portcullis_upstream_request_duration_seconds" [UPSTREAM, UPSTREAM_OUTCOME]
    /// Calls that the upstream is at
    UpstreamCalls Gauge "portcullis_upstream_calls_in_flight" [UPSTREAM]
    /// Conversations with a legacy upstream, one for each kind of client
    UpstreamLanes Gauge "portcullis_upstream_lanes" [UPSTREAM]
    /// Definitions that nobody has approved as they are
    PinsWithheld Gauge "portcullis_pins_withheld" [UPSTREAM]
    /// Entries that upstreams offer and clients may see
    CatalogEntries Gauge "portcullis_catalog_entries" [ENTRY_KIND]
    /// Connections to upstreams and other services that are kept for the next request
    PoolIdle Gauge "portcullis_pool_connections_idle" []
    /// Connections that were opened to upstreams and other services
    PoolOpened Counter "portcullis_pool_connections_opened_total" []

    /// Open connections of clients
    Connections Gauge "portcullis_connections" []
    /// As many connections of clients as are taken
    ConnectionsMax Gauge "portcullis_connections_max" []
    /// Connections of clients that could not be accepted: no file descriptor left, say
    ConnectionsFailed Counter "portcullis_connections_failed_total" []
    /// TLS handshakes of clients that failed
    HandshakesFailed Counter "portcullis_tls_handshakes_failed_total" []
    /// When a certificate ends, in seconds since 1970
    CertificateExpiry Gauge "portcullis_certificate_expiry_timestamp_seconds" [CERTIFICATE]
    /// Sessions and conversations of clients
    Sessions Gauge "portcullis_sessions" []
    /// Streams on which clients are told of changes
    Streams Gauge "portcullis_streams" []
    /// Resources that clients watch
    Subscriptions Gauge "portcullis_subscriptions" []
    /// Calls that are parked until their client answers a question
    Parked Gauge "portcullis_calls_parked" []

    /// Tries to prove who is calling
    AuthAttempts Counter "portcullis_auth_attempts_total" [CREDENTIAL, AUTH_OUTCOME]
    /// Fetches of the keys of issuers
    JwksFetches Counter "portcullis_jwks_fetches_total" [OUTCOME]

    /// Whether rate limits are counted where they should be: in the shared store, or in memory if there is none
    SharedUp Gauge "portcullis_shared_up" []
    /// Takes from rate limits that were counted in this process alone, or refused, because the shared store was away
    SharedWithout Counter "portcullis_shared_without_total" []
    /// Buckets of rate limits that are kept in memory
    LimiterKeys Gauge "portcullis_limiter_keys" []
    /// Counters of quotas that are kept in memory
    QuotaKeys Gauge "portcullis_quota_keys" []
    /// Compiled schemas that are kept
    SchemaCacheEntries Gauge "portcullis_schema_cache_entries" []
    /// Size of the schemas that are kept compiled, as text
    SchemaCacheBytes Gauge "portcullis_schema_cache_bytes" []
    /// Schemas that were there compiled when a call needed them
    SchemaCacheHits Counter "portcullis_schema_cache_hits_total" []
    /// Schemas that had to be compiled when a call needed them
    SchemaCacheMisses Counter "portcullis_schema_cache_misses_total" []
    /// Results that are kept for their readers, because they were too long
    Results Gauge "portcullis_results_kept" []
    /// Size of the results that are kept
    ResultsBytes Gauge "portcullis_results_kept_bytes" []

    /// Whether the audit log takes records
    AuditWritable Gauge "portcullis_audit_writable" []
    /// Calls that wait for their record to be on the disk
    AuditWaiting Gauge "portcullis_audit_waiting" []
    /// Places in the writer's queue that are taken
    AuditQueue Gauge "portcullis_audit_queue" []
    /// Age of the oldest record that is not in the log yet; 0 if there is none
    AuditLag Gauge "portcullis_audit_lag_seconds" []
    /// Calls refused because the audit log had no place
    AuditRefused Counter "portcullis_audit_refused_total" []
    /// Refused requests of strangers that were too many to be recorded one by one
    RefusalsUnrecorded Counter "portcullis_refusals_unrecorded_total" []
    /// Spans that the collector took
    SpansSent Counter "portcullis_spans_sent_total" []
    /// Spans that were lost: the collector did not take them in time, or more waited than there is room for
    SpansDropped Counter "portcullis_spans_dropped_total" []
    /// Pushes of these metrics to the collector of `telemetry.metrics`
    MetricPushes Counter "portcullis_metric_pushes_total" [PUSH_OUTCOME]
    /// Records that were written
    AuditRecords Counter "portcullis_audit_records_total" []
    /// Records in the log
    AuditSize Gauge "portcullis_audit_log_records" []
    /// Records that no checkpoint covers yet
    AuditUnsigned Gauge "portcullis_audit_unsigned_records" []
    /// When the last checkpoint was signed, in seconds since 1970; 0 if there is none
    AuditCheckpoint Gauge "portcullis_audit_checkpoint_timestamp_seconds" []
    /// Time that a commit to the database took
    CommitDuration Histogram "portcullis_store_commit_duration_seconds" []
    /// Time that a write to the journal took, for which calls wait
    JournalDuration Histogram "portcullis_audit_journal_duration_seconds" []
    /// Writes to the journal that failed: for ten seconds each record waits for the database
    JournalFailures Counter "portcullis_audit_journal_failures_total" []
    /// How much was written in one commit
    CommitSize Histogram "portcullis_store_commit_size" []
    /// Commits that failed and were tried again
    CommitFailures Counter "portcullis_store_commit_failures_total" []
    /// Records that a sink has not got yet
    SinkLag Gauge "portcullis_audit_sink_lag_records" [SINK]
    /// Tries to send to a sink that failed
    SinkErrors Counter "portcullis_audit_sink_errors_total" [SINK]
    /// Records that a sink's receiver refused for what is in them
    SinkRefused Counter "portcullis_audit_sink_refused_total" [SINK]

    /// How often a task that runs beside the calls ended and was begun anew
    TaskRestarts Counter "portcullis_task_restarts_total" [TASK]
    /// Alerts that fire
    AlertsFiring Gauge "portcullis_alerts_firing" [ALERT]
    /// Threads that run tasks
    RuntimeWorkers Gauge "portcullis_runtime_workers" [RUNTIME]
    /// Tasks that live
    RuntimeTasks Gauge "portcullis_runtime_tasks" [RUNTIME]
    /// Tasks that wait for a thread, but for those that wait at one of them
    RuntimeQueue Gauge "portcullis_runtime_queue" [RUNTIME]
    /// Room left where the database is
    DataDirFree Gauge "portcullis_data_dir_free_bytes" []
    /// Room there, in all
    DataDirSize Gauge "portcullis_data_dir_size_bytes" []

    /// Processor time of this process
    ProcessCpu Counter "process_cpu_seconds_total" []
    /// Open file descriptors of this process
    ProcessFds Gauge "process_open_fds" []
    /// As many file descriptors as this process may have
    ProcessFdsMax Gauge "process_max_fds" []
    /// Memory of this process that is in RAM
    ProcessResident Gauge "process_resident_memory_bytes" []
    /// Address space of this process
    ProcessVirtual Gauge "process_virtual_memory_bytes" []
    /// Threads of this process
    ProcessThreads Gauge "process_threads" []
    /// When this process began, in seconds since 1970
    ProcessStart Gauge "process_start_time_seconds" []
}

impl Metric {
    /// The family's name in OpenMetrics: without what a sample's name has at its end.
    pub(super) fn family(self) -> &'static str {
        let name = self.row().name;
        let end = match self.row().kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        name.strip_suffix(end).unwrap_or(name)
    }

    /// Its unit, if its name ends in one.
    #[must_use]
    pub fn unit(self) -> Option<&'static str> {
        let family = self.family();
        let of = |unit: &&str| family.ends_with(&format!("_{unit}"));
        ["seconds", "bytes"].into_iter().find(of)
    }

    /// Its name in OTLP: that of OpenTelemetry's conventions, if it is one of theirs; else its own, without the `_total` of
    /// a counter.
    #[must_use]
    pub fn instrument(self) -> &'static str {
        match self {
            Self::ServerOperationDuration => "mcp.server.operation.duration",
            Self::ServerSessionDuration => "mcp.server.session.duration",
            Self::ClientOperationDuration => "mcp.client.operation.duration",
            Self::ClientSessionDuration => "mcp.client.session.duration",
            _ if self.row().kind == Kind::Counter => self.family(),
            _ => self.row().name,
        }
    }
}

/// `docs/reference/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\nGenerated from `crates/observe/src/metrics/table.rs` by `cargo xtask bless`; do not edit.\n\n\
         What `GET /metrics` answers, all of it: in OpenMetrics 1.0 for who asks for `application/openmetrics-text`, as \
         Prometheus does, and in Prometheus' text format 0.0.4 for everybody else. It wants a credential, as all that is \
         not a health check. The same goes to the collector of `telemetry.metrics`, if the config names one: \
         [metrics](../concepts/metrics.md) tells what it is called there. A histogram has `_bucket`, `_count` and `_sum` behind its name. No label is ever a word of a \
         client's or an upstream's: where its values come from stands below. Rules and a dashboard that use them are in \
         `deploy/`, what to do when a rule fires in [alerts](../concepts/alerts.md).\n\n\
         | metric | type | labels | what it tells |\n|---|---|---|---|\n",
    );
    let mut labels: Vec<&Label> = Vec::new();
    for row in Metric::ALL.iter().map(|metric| metric.row()) {
        let names = row.labels.iter().map(|label| format!("`{}`", label.name));
        let names = names.collect::<Vec<_>>().join(", ");
        // Writing to a String cannot fail.
        let _written = writeln!(
            page,
            "| `{}` | {} | {names} | {} |",
            row.name,
            row.kind.word(),
            row.help
        );
        for label in row.labels {
            if !labels.contains(label) {
                labels.push(label);
            }
        }
    }
    page.push_str("\n## Labels\n\n| label | OpenTelemetry | values |\n|---|---|---|\n");
    for label in labels {
        let attribute = label.attribute.map(|name| format!("`{name}`"));
        let attribute = attribute.unwrap_or_default();
        let _written = writeln!(page, "| `{}` | {attribute} | {} |", label.name, label.of);
    }
    page
}
