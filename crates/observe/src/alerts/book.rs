//! Which alerts there are: each goes from pending, while it is not known whether it is more than a moment, to firing, and
//! is over once it has been well for a while.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use policy::Instant;

use super::judge::{Finding, Verdict};
use super::rule::{Rule, RuleSettings, Severity};

/// So long something has to be well before its alert is over: what comes back at once was never gone.
const CALM: Duration = Duration::from_secs(60);

/// Names and values that tell one alert from all others, as Alertmanager has it.
pub type Labels = BTreeMap<String, String>;

/// An alert as it is, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// `None`: no rule's, but a test of who is told.
    pub rule: Option<Rule>,
    /// What tells it from others; its name and severity are among them.
    pub labels: Labels,
    /// How urgent it is.
    pub severity: Severity,
    /// How it was when it was last looked at, in words.
    pub value: String,
    /// Since when it fires; while it is pending, since when it might.
    pub starts_at: SystemTime,
    /// Since when it is over.
    pub ends_at: Option<SystemTime>,
    /// Whether somebody is to be told.
    pub is_firing: bool,
}

impl Alert {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }

    /// A number made of the labels, as Prometheus and Alertmanager make it: FNV-1a.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        const START: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let bytes = self.labels.iter().flat_map(|(name, value)| {
            let end = std::iter::once(0xff);
            let name = name.bytes().chain(end.clone());
            name.chain(value.bytes()).chain(end)
        });
        let hash = bytes.fold(START, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(PRIME)
        });
        format!("{hash:016x}")
    }
}

/// What became of alerts in one look.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) begun: Vec<Alert>,
    pub(super) over: Vec<Alert>,
}

/// All alerts that are not over.
#[derive(Debug, Default)]
pub(super) struct Book {
    all: BTreeMap<Labels, Entry>,
}

#[derive(Debug)]
struct Entry {
    alert: Alert,
    /// Since when it breaks its rule, of one that is pending.
    since: Instant,
    /// Since when it is well, of one that fires and is.
    calm: Option<Instant>,
}

impl Book {
    /// Takes note of what was found. `common` are the labels that all alerts of this gate have.
    pub(super) fn note(
        &mut self,
        findings: Vec<Finding>,
        rules: &BTreeMap<Rule, RuleSettings>,
        common: &Labels,
        (now, wall): (Instant, SystemTime),
    ) -> Changes {
        let (mut changes, mut next) = (Changes::default(), BTreeMap::new());
        for finding in findings {
            let Some(settings) = rules.get(&finding.rule) else {
                continue;
            };
            let labels = labels(&finding, settings.severity, common);
            let entry = match (self.all.remove(&labels), finding.verdict) {
                (Some(entry), _) => entry,
                (None, Verdict::Bad) => Entry {
                    alert: Alert {
                        rule: Some(finding.rule),
                        labels: labels.clone(),
                        severity: settings.severity,
                        value: String::new(),
                        starts_at: wall,
                        ends_at: None,
                        is_firing: false,
                    },
                    since: now,
                    calm: None,
                },
                (None, Verdict::Near | Verdict::Good) => continue,
            };
            if let Some(entry) = entry.step(finding, settings.hold, (now, wall), &mut changes) {
                next.insert(labels, entry);
            }
        }
        // What nothing was found about is gone, or nobody asks for it any more.
        for (_, entry) in std::mem::replace(&mut self.all, next) {
            entry.end(wall, &mut changes);
        }
        changes
    }

    /// Those that fire or might.
    pub(super) fn all(&self) -> impl Iterator<Item = &Alert> {
        self.all.values().map(|entry| &entry.alert)
    }

    /// Those that fire.
    pub(super) fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.all().filter(|alert| alert.is_firing)
    }
}

impl Entry {
    /// What it is after this; `None`: over, or never anything.
    fn step(
        mut self,
        finding: Finding,
        hold: Duration,
        (now, wall): (Instant, SystemTime),
        changes: &mut Changes,
    ) -> Option<Self> {
        self.alert.value = finding.value;
        match (self.alert.is_firing, finding.verdict) {
            (false, Verdict::Near | Verdict::Good) => return None,
            (false, Verdict::Bad) => {
                if now.since(self.since) >= hold {
                    (self.alert.is_firing, self.alert.starts_at) = (true, wall);
                    changes.begun.push(self.alert.clone());
                }
            }
            (true, Verdict::Bad | Verdict::Near) => self.calm = None,
            (true, Verdict::Good) => {
                let calm = *self.calm.get_or_insert(now);
                if now.since(calm) >= CALM {
                    self.end(wall, changes);
                    return None;
                }
            }
        }
        Some(self)
    }

    fn end(mut self, wall: SystemTime, changes: &mut Changes) {
        if self.alert.is_firing {
            self.alert.ends_at = Some(wall);
            changes.over.push(self.alert);
        }
    }
}

fn labels(finding: &Finding, severity: Severity, common: &Labels) -> Labels {
    let mut labels = common.clone();
    let own = finding.subject.iter().cloned().chain([
        ("alertname", finding.rule.row().alert.to_owned()),
        ("severity", severity.word().to_owned()),
    ]);
    labels.extend(own.map(|(name, value)| (name.to_owned(), value)));
    labels
}
