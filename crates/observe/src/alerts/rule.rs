//! The rules there are, with what holds unless the config says otherwise. `docs/reference/alerts.md` is made from this.
//!
//! Whether one is broken is [`super::judge`]'s.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

/// How urgent it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look tomorrow.
    Warning,
    /// Somebody should wake up.
    Critical,
}

impl Severity {
    /// Its word in labels.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// From where on a rule is broken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// A part of a whole, from 0 to 1.
    Share(f64),
    /// A time.
    Time(Duration),
    /// Bytes.
    Size(u64),
    /// How many.
    Count(u32),
    /// It is broken or it is not.
    None,
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "{}%", share * 100.0),
            Self::Time(time) => f.write_str(&span(*time)),
            Self::Size(bytes) => f.write_str(&size(*bytes)),
            Self::Count(count) => write!(f, "{count}"),
            Self::None => Ok(()),
        }
    }
}

/// What is known of a rule.
#[derive(Debug)]
pub struct RuleRow {
    /// Its name in the config.
    pub word: &'static str,
    /// The alert's name, `alertname` among its labels.
    pub alert: &'static str,
    /// What it is about, in one sentence without a full stop.
    pub summary: &'static str,
    /// What to do about it.
    pub advice: &'static str,
    /// What holds unless the config says otherwise.
    pub usual: RuleSettings,
}

/// How a rule is applied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RuleSettings {
    /// From where on it is broken.
    pub threshold: Threshold,
    /// Over which time; of rules that look at what happens, not at how things are.
    pub window: Option<Duration>,
    /// How long it has to be broken before anybody is told.
    pub hold: Duration,
    /// How urgent that is.
    pub severity: Severity,
}

macro_rules! rules {
    ($($rule:ident $word:literal $alert:literal $severity:ident $threshold:expr, $window:expr, $hold:literal;
       $summary:literal; $advice:literal)+) => {
        /// Every rule there is, in the order of the page.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $(#[doc = $summary] $rule,)+ }

        impl Rule {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$rule,)+];

            /// What is known of it.
            #[must_use]
            pub fn row(self) -> &'static RuleRow {
                match self {
                    $(Self::$rule => const {
                        &RuleRow {
                            word: $word,
                            alert: $alert,
                            summary: $summary,
                            advice: $advice,
                            usual: RuleSettings {
                                threshold: $threshold,
                                window: $window,
                                hold: Duration::from_secs($hold),
                                severity: Severity::$severity,
                            },
                        }
                    })+
                }
            }
        }
    };
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_hours(24);

rules! {
    Errors "errors" "PortcullisErrors" Critical
        Threshold::Share(0.05), Some(MINUTE.saturating_mul(5)), 120;
        "Calls fail, by the gate's fault or an upstream's";
        "`portcullis audit tail` names the upstream and why; refusals by rules and limits are not among these"
    Latency "latency" "PortcullisLatency" Warning
        Threshold::Time(Duration::from_secs(10)), Some(MINUTE.saturating_mul(5)), 300;
        "The slowest hundredth of the calls is slow";
        "compare the stages in `portcullis_stage_duration_seconds`: in `dispatch` it is an upstream, in `record` the disk"
    Memory "memory" "PortcullisMemory" Warning
        Threshold::Size(2 << 30), None, 600;
        "The gate uses much memory";
        "compare `portcullis_sessions`, `portcullis_results_kept_bytes` and `portcullis_calls_in_flight` with what they were; lower `sessions.max` or `calls.result_max`"
    AuditDown "audit_down" "PortcullisAuditDown" Critical
        Threshold::None, None, 0;
        "The audit log takes no records, so the gate takes no calls";
        "the log says why: a full disk, a folder that cannot be written, a database that is gone. It heals by itself"
    AuditLag "audit_lag" "PortcullisAuditLag" Warning
        Threshold::Time(Duration::from_secs(5)), None, 60;
        "Calls wait long for their record to be on the disk";
        "the disk is slow or busy: see `portcullis_store_commit_duration_seconds`"
    CheckpointStale "checkpoint_stale" "PortcullisCheckpointStale" Warning
        Threshold::Time(MINUTE.saturating_mul(15)), None, 300;
        "The audit log has records that no checkpoint covers";
        "the log says why it is not signed; the master key may be missing"
    SinkBehind "sink_behind" "PortcullisSinkBehind" Warning
        Threshold::Count(10_000), None, 600;
        "A receiver of audit records is far behind";
        "`/health` says what it answered last; nothing is lost, what it has not got is kept"
    SinkRefused "sink_refused" "PortcullisSinkRefused" Warning
        Threshold::Count(1), Some(MINUTE.saturating_mul(15)), 0;
        "A receiver of audit records refuses some for what is in them";
        "the gate's log names them by `seq`; mend the receiver. They are in the audit log alone, and `portcullis audit export` has them"
    PinWithheld "pin_withheld" "PortcullisPinWithheld" Warning
        Threshold::None, None, 0;
        "An upstream offers definitions that nobody has approved; they are withheld";
        "`portcullis pin diff` shows what changed; approve it if it was meant, else find out who changed the upstream"
    UpstreamDown "upstream_down" "PortcullisUpstreamDown" Critical
        Threshold::None, None, 120;
        "An upstream is not connected";
        "`/health` says why; `portcullis check` tries it for real"
    CertificateExpiring "certificate_expiring" "PortcullisCertificateExpiring" Warning
        Threshold::Time(DAY.saturating_mul(14)), None, 0;
        "A certificate ends soon";
        "put a new one in its place; it is taken over without a restart"
    CertificateEnding "certificate_ending" "PortcullisCertificateEnding" Critical
        Threshold::Time(DAY.saturating_mul(3)), None, 0;
        "A certificate ends within days, or has ended";
        "put a new one in its place; it is taken over without a restart"
    Disk "disk" "PortcullisDisk" Critical
        Threshold::Share(0.1), None, 300;
        "Little room is left where the database is";
        "without room there are no records, and without records no calls: free some, or set `audit.retention`"
    DependencyDown "dependency_down" "PortcullisDependencyDown" Warning
        Threshold::None, None, 120;
        "Something that the gate uses is down";
        "`/health` says why, to owners"
    TaskRestarting "task_restarting" "PortcullisTaskRestarting" Warning
        Threshold::Count(3), Some(MINUTE.saturating_mul(15)), 0;
        "A task beside the calls ends again and again";
        "a mistake in the gate: the log has a line for each time; please report it"
}

impl Rule {
    /// The rule of that name.
    #[must_use]
    pub fn find(word: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|rule| rule.row().word == word)
    }
}

/// A time the way the config has it.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    for (unit, name) in [(86_400, "d"), (3600, "h"), (60, "m")] {
        if seconds >= unit && seconds.is_multiple_of(unit) {
            return format!("{}{name}", seconds / unit);
        }
    }
    if time.subsec_millis() > 0 {
        return format!("{}ms", time.as_millis());
    }
    format!("{seconds}s")
}

/// A size the way the config has it.
pub(super) fn size(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

/// `docs/reference/alerts.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Alerts\n\nGenerated from `crates/observe/src/alerts/rule.rs` by `cargo xtask bless`; do not edit.\n\n\
         The rules that a gate judges itself by, and what holds unless `[alerts.rules.RULE]` says otherwise. Who is told, \
         and how, is in [notifications](../concepts/notifications.md).\n\n\
         | rule | alert | threshold | window | for | severity | what it says | what to do |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for row in Rule::ALL.iter().map(|rule| rule.row()) {
        let RuleSettings {
            threshold,
            window,
            hold,
            severity,
        } = row.usual;
        let window = window.map(span).unwrap_or_default();
        // Writing to a String cannot fail.
        let _written = writeln!(
            page,
            "| `{}` | `{}` | {threshold} | {window} | {} | {} | {} | {} |",
            row.word,
            row.alert,
            span(hold),
            severity.word(),
            row.summary,
            row.advice,
        );
    }
    page
}
