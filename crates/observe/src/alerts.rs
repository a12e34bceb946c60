//! Alerts: whether the gate is as it should be, looked at again and again, and somebody told when it is not and when it is
//! again.
//!
//! What is measured and what components say of themselves is held against [`Rule`]s ([`judge`]); what breaks one becomes an
//! alert ([`book`]); each receiver is told once, and again after a while ([`ledger`]), in its own form ([`message`],
//! [`receiver`]). With nobody to tell, alerts are logged, counted and listed all the same. The rules are `server`'s to read
//! from the config. Start at [`Alerts`].

mod book;
mod judge;
mod ledger;
mod message;
mod receiver;
mod rule;
mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use policy::Clock;
use store::audit::text::hex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::book::{Book, Changes};
use self::judge::{Judge, Seen};
use self::ledger::Ledger;
use self::message::{Message, time};
use crate::Metrics;
use crate::health::{Dependency, Health};
use crate::metrics::Metric;

pub use self::book::{Alert, Labels};
pub use self::receiver::{Place, Receiver};
pub use self::rule::{Rule, RuleRow, RuleSettings, Severity, Threshold, reference};

/// An Alertmanager is told so often of what fires.
const RESEND: Duration = Duration::from_secs(60);
/// Bytes of a message's id.
const ID_LEN: usize = 16;
/// What a test of the receivers is called.
const TEST: &str = "PortcullisTest";
/// Which gate it is, among an alert's labels.
pub const INSTANCE: &str = "instance";

/// What the config says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often rules are looked at.
    pub every: Duration,
    /// After so long a receiver is told again of what still fires.
    pub repeat: Duration,
    /// Labels of all alerts of this gate.
    pub labels: Labels,
    /// The rules that are on.
    pub rules: BTreeMap<Rule, RuleSettings>,
    /// Who is told.
    pub receivers: Vec<Receiver>,
}

impl Default for Settings {
    fn default() -> Self {
        let rules = Rule::ALL.iter().map(|rule| (*rule, rule.row().usual));
        Self {
            every: Duration::from_secs(10),
            repeat: Duration::from_hours(4),
            labels: Labels::new(),
            rules: rules.collect(),
            receivers: Vec::new(),
        }
    }
}

/// The alerts of one gate. Cloning is cheap, and clones see the same.
#[derive(Clone)]
pub struct Alerts {
    inner: Arc<Inner>,
}

struct Inner {
    /// Where the gate is, for links and as what tells it from others.
    base: String,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    health: Health,
    client: net::Client,
    /// Not held while anything is waited for.
    kept: Mutex<Kept>,
    /// Tells the task of other settings.
    changed: Notify,
}

/// What outlives a task that has to begin anew.
struct Kept {
    settings: Arc<Settings>,
    judge: Judge,
    book: Book,
    ledgers: BTreeMap<(String, String), Ledger>,
}

/// A message that was sent, and what became of it.
struct Sent {
    to: (String, String),
    alerts: Vec<Alert>,
    /// When it was sent: what it says is as of then.
    at: policy::Instant,
    done: Result<(), String>,
}

impl Alerts {
    /// None yet. `base` is where the gate is reached, without a slash at its end. Adds what it knows to the metrics.
    #[must_use]
    pub fn new(
        settings: Settings,
        base: String,
        (metrics, health): (&Metrics, &Health),
        client: net::Client,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let kept = Kept {
            judge: Judge::new(clock.now()),
            book: Book::default(),
            ledgers: BTreeMap::new(),
            settings: Arc::new(settings),
        };
        let inner = Arc::new(Inner {
            base,
            clock,
            metrics: metrics.clone(),
            health: health.clone(),
            client,
            kept: Mutex::new(kept),
            changed: Notify::new(),
        });
        let known = Arc::downgrade(&inner);
        metrics.at_scrape(move |samples| {
            let Some(inner) = known.upgrade() else { return };
            let kept = inner.kept.lock();
            for rule in Rule::ALL {
                let of = |alert: &&Alert| alert.rule == Some(*rule);
                let firing = kept.book.firing().filter(of).count();
                samples.count(Metric::AlertsFiring, &[rule.row().alert], firing);
            }
        });
        Self { inner }
    }

    /// Takes over other settings. Alerts of rules that are off are over; a receiver that stays is not told again.
    pub fn reload(&self, settings: Settings) {
        self.inner.kept.lock().settings = Arc::new(settings);
        self.inner.changed.notify_one();
    }

    /// Those that fire or might, by their labels.
    #[must_use]
    pub fn list(&self) -> Vec<Alert> {
        self.inner.kept.lock().book.all().cloned().collect()
    }

    /// Looks and tells until `stop`.
    pub async fn run(&self, stop: &CancellationToken) {
        let inner = &*self.inner;
        let mut on_their_way: FuturesUnordered<BoxFuture<'_, Sent>> = FuturesUnordered::new();
        // What is on its way when a task ends is not known to have arrived: it is sent again.
        let mut busy: Vec<(String, String)> = Vec::new();
        let mut look_at = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = inner.changed.notified() => {
                    inner.look();
                    look_at = Instant::now() + inner.every();
                }
                () = sleep_until(look_at) => {
                    inner.look();
                    look_at = Instant::now() + inner.every();
                }
                Some(sent) = on_their_way.next() => {
                    busy.retain(|to| *to != sent.to);
                    inner.settle(sent);
                }
            }
            for (receiver, message) in inner.due(&busy) {
                let to = key(&receiver);
                busy.push(to.clone());
                on_their_way.push(Box::pin(async move {
                    let (at, now) = (inner.clock.now(), inner.clock.wall());
                    let done = receiver::send(&receiver, &message, &inner.client, now).await;
                    Sent {
                        to,
                        alerts: message.alerts,
                        at,
                        done,
                    }
                }));
            }
        }
    }
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts").finish_non_exhaustive()
    }
}

impl Inner {
    fn every(&self) -> Duration {
        self.kept.lock().settings.every
    }

    /// Holds everything against the rules.
    fn look(&self) {
        // Gathered without the lock: the metrics ask for what is under it.
        let seen = Seen {
            groups: self.metrics.snapshot(),
            dependencies: self.health.dependencies(),
            now: self.clock.now(),
            wall: self.clock.wall(),
        };
        let changes = self.kept.lock().look(&seen, &self.base);
        for alert in changes.begun {
            let of = of(&alert);
            tracing::warn!(
                alert = alert.name(),
                severity = alert.severity.word(),
                of,
                value = alert.value,
                "an alert fires"
            );
        }
        for alert in changes.over {
            tracing::info!(alert = alert.name(), of = of(&alert), "an alert is over");
        }
        let names: Vec<String> = {
            let kept = self.kept.lock();
            let names = kept.settings.receivers.iter();
            names.map(|receiver| receiver.name.clone()).collect()
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.health.keep_only(Dependency::AlertReceiver, &names);
    }

    /// What is to be said now, to those who are not just being told something.
    fn due(&self, busy: &[(String, String)]) -> Vec<(Receiver, Message)> {
        let now = self.clock.now();
        let mut kept = self.kept.lock();
        let settings = Arc::clone(&kept.settings);
        let mut all = Vec::new();
        for receiver in &settings.receivers {
            let to = key(receiver);
            if busy.contains(&to) {
                continue;
            }
            let repeat = if receiver.place.wants_repeats() {
                RESEND
            } else {
                settings.repeat
            };
            let (alerts, number) = kept.due(receiver, &to, repeat, now);
            if !alerts.is_empty() {
                let id = id(&alerts, number);
                let base = self.base.clone();
                all.push((receiver.clone(), Message { id, base, alerts }));
            }
        }
        all
    }

    fn settle(&self, sent: Sent) {
        let now = self.clock.now();
        let mut kept = self.kept.lock();
        let Some(ledger) = kept.ledgers.get_mut(&sent.to) else {
            return;
        };
        match sent.done {
            Ok(()) => ledger.taken(&sent.alerts, sent.at),
            Err(why) => ledger.failed(why, now),
        }
        // A receiver is down as long as one of its mailboxes is.
        let (name, _) = &sent.to;
        let mut own = kept.ledgers.iter().filter(|((of, _), _)| of == name);
        let trouble = own.find_map(|(_, ledger)| ledger.trouble().map(str::to_owned));
        let is_known = kept.settings.receivers.iter().any(|one| one.name == *name);
        drop(kept);
        if !is_known {
            return;
        }
        let component = self.health.dependency_of(Dependency::AlertReceiver, name);
        match trouble {
            None => component.ok(None),
            Some(why) => component.down(&why),
        }
    }
}

impl Kept {
    fn look(&mut self, seen: &Seen, base: &str) -> Changes {
        let settings = Arc::clone(&self.settings);
        let mut common = settings.labels.clone();
        common
            .entry(INSTANCE.to_owned())
            .or_insert_with(|| base.to_owned());
        let findings = self.judge.look(&settings.rules, seen);
        let at = (seen.now, seen.wall);
        let changes = self.book.note(findings, &settings.rules, &common, at);
        let known: Vec<_> = settings.receivers.iter().map(key).collect();
        self.ledgers.retain(|to, _| known.contains(to));
        for receiver in &settings.receivers {
            let ledger = self.ledgers.entry(key(receiver)).or_default();
            let over = changes.over.iter();
            over.filter(|alert| alert.severity >= receiver.severity)
                .for_each(|alert| ledger.over(alert));
        }
        changes
    }

    fn due(
        &mut self,
        receiver: &Receiver,
        to: &(String, String),
        repeat: Duration,
        now: policy::Instant,
    ) -> (Vec<Alert>, u64) {
        let Some(ledger) = self.ledgers.get_mut(to) else {
            return (Vec::new(), 0);
        };
        let firing = self.book.firing();
        let firing = firing.filter(|alert| alert.severity >= receiver.severity);
        (ledger.due(firing, repeat, now), ledger.next())
    }
}

/// Sends each of these receivers one message that says that it is a test, and tells what became of it.
pub async fn test(
    receivers: &[Receiver],
    base: &str,
    client: &net::Client,
    now: SystemTime,
) -> Vec<(String, Result<(), String>)> {
    let alert = Alert {
        rule: None,
        labels: Labels::from([
            ("alertname".to_owned(), TEST.to_owned()),
            ("severity".to_owned(), Severity::Info.word().to_owned()),
            (INSTANCE.to_owned(), base.to_owned()),
        ]),
        severity: Severity::Info,
        value: "a test".to_owned(),
        starts_at: now,
        ends_at: None,
        is_firing: true,
    };
    let alerts = vec![alert];
    let message = Message {
        id: id(&alerts, 0),
        base: base.to_owned(),
        alerts,
    };
    let mut all = Vec::new();
    for receiver in receivers {
        let done = receiver::send(receiver, &message, client, now).await;
        all.push((receiver.name.clone(), done));
    }
    all
}

/// A receiver of the same name elsewhere is another one.
fn key(receiver: &Receiver) -> (String, String) {
    (receiver.name.clone(), receiver.place.key())
}

/// By which a message is known that comes twice: another if it says anything else, or says it again.
fn id(alerts: &[Alert], number: u64) -> String {
    let mut text = number.to_string();
    for alert in alerts {
        let (starts_at, ends_at) = (Some(alert.starts_at), alert.ends_at);
        let [starts_at, ends_at] = [starts_at, ends_at].map(|at| at.map_or("-".to_owned(), time));
        text.extend([" ", &alert.fingerprint(), " ", &starts_at, " ", &ends_at]);
    }
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    hex(digest.as_ref().get(..ID_LEN).unwrap_or_default())
}

/// What an alert is about, for the log.
fn of(alert: &Alert) -> String {
    let own = alert.labels.iter();
    let own = own.filter(|(name, _)| !["alertname", "severity", INSTANCE].contains(&name.as_str()));
    own.map(|(_, value)| value.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests;
