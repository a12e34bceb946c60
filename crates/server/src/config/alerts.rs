//! `[alerts]`: when somebody is told that the gate is not as it should be, and who, from what people write to
//! [`observe::alerts::Settings`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use net::mail::{self, Mailer};
use observe::alerts::{
    INSTANCE, Place, Receiver, Rule, RuleSettings, Settings, Severity, Threshold,
};
use policy::config::{Complaints, duration, size};
use schemars::JsonSchema;
use serde::Deserialize;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::check::{Checker, span, wait};
use super::raw::{Raw, Secret, Span};
use super::shape::nearest;

/// Fewer bytes are no secret to sign with.
const SECRET_MIN: usize = 16;
/// Longest name of a receiver, and longest value of a label, in bytes.
const TEXT_MAX: usize = 64;
/// How often rules may be looked at.
const EVERY_MAX: Duration = Duration::from_secs(60);
/// A receiver is not told more often than that.
const REPEAT_MIN: Duration = Duration::from_secs(60);
/// Over which times may be counted.
const WINDOW_MIN: Duration = Duration::from_secs(60);
const WINDOW_MAX: Duration = Duration::from_hours(1);
/// Most mailboxes of one receiver.
const MAILBOXES_MAX: usize = 32;
/// Labels that alerts have by themselves.
const OWN: [&str; 9] = [
    "alertname",
    "severity",
    "upstream",
    "certificate",
    "dependency",
    "of",
    "sink",
    "task",
    INSTANCE,
];
const EXAMPLE: &str = "write for example \"https://alerts.example.com/hook\"";

/// When somebody is told that the gate is not as it should be, and who.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlerts {
    /// How often the rules are looked at; `10s` unless said, at most `1m`.
    pub every: Option<Span>,
    /// After so long a receiver is told again of what still fires; `4h` unless said. An Alertmanager is told each minute, and repeats as it likes.
    pub repeat: Option<Span>,
    /// Labels of all alerts of this gate, as `cluster = "eu"`. Each also has `instance`, by which gates are told apart.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Who is told, by a name of your choice; each has exactly one of `webhook`, `alertmanager` and `email`. With nobody to tell, alerts are in the log, in `/v1/alerts` and in the metrics.
    #[serde(default)]
    pub receivers: BTreeMap<String, RawReceiver>,
    /// Rules that are not to be as they are, by name: [alerts](alerts.md) lists them all.
    #[serde(default)]
    pub rules: BTreeMap<String, RawRule>,
}

/// Somebody who is told.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReceiver {
    /// An address that takes a POST as Alertmanager sends it to webhooks (version 4), signed as the Standard Webhooks specification has it.
    pub webhook: Option<String>,
    /// With `webhook`: what messages are signed with: HMAC-SHA256, at least 16 bytes.
    pub secret: Option<Secret>,
    /// The base URL of an Alertmanager, as `https://alertmanager.example.com:9093`.
    pub alertmanager: Option<String>,
    /// Mail addresses; each gets a mail of its own, and `mail` says how it leaves.
    pub email: Option<Vec<String>>,
    /// Of nothing less urgent it is told; `info` unless said: everything.
    pub severity: Option<RawSeverity>,
    /// With an `https` address: a PEM file with the authorities that may have signed its certificate, in place of those of the operating system.
    pub ca: Option<String>,
    /// Sends alerts over the network in the clear. With an `http` address, which needs it but on this machine.
    #[serde(default)]
    pub danger_plaintext: bool,
}

/// How urgent something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawSeverity {
    Info,
    Warning,
    Critical,
}

/// One rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    /// `false` switches it off.
    pub enabled: Option<bool>,
    /// From where on it is broken, in the unit of the rule's own: `"5%"`, `"10s"`, `"2GiB"`, `"3"`.
    pub threshold: Option<String>,
    /// Over which time is counted, from `1m` to `1h`; with rules that count.
    pub window: Option<Span>,
    /// How long it has to be broken before anybody is told.
    #[serde(rename = "for")]
    pub hold: Option<Span>,
    /// How urgent that is.
    pub severity: Option<RawSeverity>,
}

impl From<RawSeverity> for Severity {
    fn from(raw: RawSeverity) -> Self {
        match raw {
            RawSeverity::Info => Self::Info,
            RawSeverity::Warning => Self::Warning,
            RawSeverity::Critical => Self::Critical,
        }
    }
}

/// How mail leaves.
#[derive(Clone, Copy)]
enum Way<'a> {
    /// Nothing is said of it.
    None,
    /// What is said of it cannot be; that is complained of already.
    Wrong,
    By(&'a Arc<Mailer>),
}

impl Checker<'_> {
    /// What `[alerts]` says. `mailer` is what `[mail]` came to.
    pub(super) fn alerts(
        &self,
        raw: &Raw,
        mailer: Option<&Arc<Mailer>>,
        complaints: &mut Complaints,
    ) -> Option<Settings> {
        let way = match (&raw.mail, mailer) {
            (None, _) => Way::None,
            (Some(_), None) => Way::Wrong,
            (Some(_), Some(mailer)) => Way::By(mailer),
        };
        let raw = &raw.alerts;
        complaints.at("alerts", |complaints| {
            let usual = Settings::default();
            let every = match &raw.every {
                Some(raw) => within(raw, "every", Duration::ZERO..=EVERY_MAX, complaints),
                None => Some(usual.every),
            };
            let repeat = match &raw.repeat {
                Some(raw) => within(raw, "repeat", REPEAT_MIN..=Duration::MAX, complaints),
                None => Some(usual.repeat),
            };
            let labels = complaints.at("labels", |complaints| labels(&raw.labels, complaints));
            let rules = complaints.at("rules", |complaints| rules(&raw.rules, complaints));
            let receivers: Option<Vec<Vec<Receiver>>> = complaints.at("receivers", |complaints| {
                let each = raw.receivers.iter().map(|(name, raw)| {
                    complaints.at(name, |complaints| self.receiver(name, raw, way, complaints))
                });
                // All of them, so that all complaints are told.
                let each: Vec<_> = each.collect();
                each.into_iter().collect()
            });
            Some(Settings {
                every: every?,
                repeat: repeat?,
                labels: labels?,
                rules: rules?,
                receivers: receivers?.concat(),
            })
        })
    }

    /// One for each mailbox.
    fn receiver(
        &self,
        name: &str,
        raw: &RawReceiver,
        way: Way<'_>,
        complaints: &mut Complaints,
    ) -> Option<Vec<Receiver>> {
        let is_of_name = |char: char| char.is_ascii_alphanumeric() || "-_".contains(char);
        if name.is_empty() || name.len() > TEXT_MAX || !name.chars().all(is_of_name) {
            complaints.add(
                "is no name of a receiver",
                "use up to 64 of a-z, A-Z, 0-9, `-` and `_`",
            );
            return None;
        }
        let tls = match &raw.ca {
            Some(path) => complaints.at("ca", |complaints| {
                let key = format!("alerts.receivers.{name}.ca");
                let authorities = self.file(path, &key, complaints)?;
                let settings = net::TlsSettings {
                    authorities: Some(&authorities),
                    ..net::TlsSettings::default()
                };
                complaints.keep(net::Tls::new(&settings), "").map(Some)
            }),
            None => Some(None),
        };
        if raw.secret.is_some() && raw.webhook.is_none() {
            complaints.at("secret", |complaints| {
                complaints.add("signs nothing", "it goes with `webhook`");
            });
            return None;
        }
        let places = match (&raw.webhook, &raw.alertmanager, &raw.email) {
            (Some(url), None, None) => {
                let url = complaints.at("webhook", |complaints| {
                    address(url, raw.danger_plaintext, complaints)
                });
                let secret = self.signing(name, raw.secret.as_ref(), complaints);
                vec![Place::Webhook {
                    url: url?,
                    secret: secret?,
                    tls: tls?,
                }]
            }
            (None, Some(url), None) => {
                let url = complaints.at("alertmanager", |complaints| {
                    address(url, raw.danger_plaintext, complaints)
                });
                vec![Place::Alertmanager {
                    url: url?,
                    tls: tls?,
                }]
            }
            (None, None, Some(to)) => {
                if raw.ca.is_some() || raw.danger_plaintext {
                    complaints.add(
                        "says how mail leaves",
                        "that is `mail`'s: write `ca` and `danger_plaintext` there",
                    );
                    return None;
                }
                complaints.at("email", |complaints| mailboxes(to, way, complaints))?
            }
            _ => {
                complaints.add(
                    "exactly one of `webhook`, `alertmanager` and `email` is needed",
                    "",
                );
                return None;
            }
        };
        let severity = raw.severity.map_or(Severity::Info, Severity::from);
        let receiver = |place| Receiver {
            name: name.to_owned(),
            severity,
            place,
        };
        Some(places.into_iter().map(receiver).collect())
    }

    fn signing(
        &self,
        name: &str,
        raw: Option<&Secret>,
        complaints: &mut Complaints,
    ) -> Option<Zeroizing<Vec<u8>>> {
        complaints.at("secret", |complaints| {
            let hint = "write secret = { env = \"…\" }; `openssl rand -hex 32` makes a good one";
            let Some(raw) = raw else {
                complaints.add("is missing: messages are signed", hint);
                return None;
            };
            let path = format!("alerts.receivers.{name}.secret");
            let secret = Zeroizing::new(self.secret("secret", raw, &path, complaints)?);
            if secret.len() < SECRET_MIN {
                let hint = format!("use at least {SECRET_MIN} bytes: `openssl rand -hex 32`");
                complaints.add("is too short to sign with", hint);
                return None;
            }
            Some(Zeroizing::new(secret.as_bytes().to_vec()))
        })
    }
}

fn mailboxes(to: &[String], way: Way<'_>, complaints: &mut Complaints) -> Option<Vec<Place>> {
    let mailer = match way {
        Way::By(mailer) => mailer,
        Way::Wrong => return None,
        Way::None => {
            complaints.add("there is no way for mail to leave", "add a [mail]");
            return None;
        }
    };
    if to.is_empty() || to.len() > MAILBOXES_MAX {
        let hint = format!("write from one to {MAILBOXES_MAX} addresses");
        complaints.add(format!("{} addresses", to.len()), hint);
        return None;
    }
    super::check::all(to, complaints, |to, complaints| {
        if !mail::is_address(to) {
            complaints.add(
                format!("`{to}` is not a mail address"),
                "write for example \"ops@example.com\"",
            );
            return None;
        }
        Some(Place::Mail {
            mailer: Arc::clone(mailer),
            to: to.clone(),
        })
    })
}

fn address(text: &str, in_the_clear: bool, complaints: &mut Complaints) -> Option<Url> {
    let url = Url::parse(text).ok().and_then(|url| {
        let host = Host::parse(url.host_str()?).ok()?;
        matches!(url.scheme(), "https" | "http").then_some((url, host))
    });
    let Some((url, host)) = url else {
        complaints.add("is no http address", EXAMPLE);
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        complaints.add("has a user or password in it, which are not sent", EXAMPLE);
        return None;
    }
    if url.scheme() == "http" && !net::is_here(&host) && !in_the_clear {
        complaints.add(
            "sends alerts over the network in the clear",
            "use https, or write danger_plaintext = true beside it",
        );
        return None;
    }
    Some(url)
}

fn labels(
    raw: &BTreeMap<String, String>,
    complaints: &mut Complaints,
) -> Option<BTreeMap<String, String>> {
    let mut is_whole = true;
    for (name, value) in raw {
        let starts_well = name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_');
        let is_of_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
        let wrong = if !starts_well || !name.chars().all(is_of_name) {
            Some(("is no name of a label", "use a-z, A-Z, 0-9 and `_`"))
        } else if OWN.contains(&name.as_str()) && name != INSTANCE {
            Some(("is a label that alerts have by themselves", "take another"))
        } else if value.is_empty() || value.len() > TEXT_MAX || value.contains(char::is_control) {
            Some(("has no value that goes on one line", "use 1 to 64 bytes"))
        } else {
            None
        };
        if let Some((reason, hint)) = wrong {
            complaints.at(name, |complaints| complaints.add(reason, hint));
            is_whole = false;
        }
    }
    is_whole.then(|| raw.clone())
}

/// The rules that are on.
fn rules(
    raw: &BTreeMap<String, RawRule>,
    complaints: &mut Complaints,
) -> Option<BTreeMap<Rule, RuleSettings>> {
    let mut rules = Settings::default().rules;
    let mut is_whole = true;
    for (name, raw) in raw {
        complaints.at(name, |complaints| {
            let Some(known) = Rule::find(name) else {
                let names: Vec<&str> = Rule::ALL.iter().map(|rule| rule.row().word).collect();
                let hint = match nearest(name, &names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are {}", names.join(", ")),
                };
                complaints.add("is no rule", hint);
                is_whole = false;
                return;
            };
            match rule(raw, known.row().usual, complaints) {
                None => is_whole = false,
                Some(settings) if raw.enabled.unwrap_or(true) => {
                    rules.insert(known, settings);
                }
                Some(_) => {
                    rules.remove(&known);
                }
            }
        });
    }
    is_whole.then_some(rules)
}

fn rule(raw: &RawRule, usual: RuleSettings, complaints: &mut Complaints) -> Option<RuleSettings> {
    let threshold = match &raw.threshold {
        Some(text) => complaints.at("threshold", |complaints| {
            threshold(text, usual.threshold, complaints)
        }),
        None => Some(usual.threshold),
    };
    let window = match (&raw.window, usual.window) {
        (None, window) => Some(window),
        (Some(raw), Some(_)) => {
            within(raw, "window", WINDOW_MIN..=WINDOW_MAX, complaints).map(Some)
        }
        (Some(_), None) => {
            complaints.at("window", |complaints| {
                complaints.add("this rule counts nothing", "leave it out");
            });
            None
        }
    };
    let hold = match &raw.hold {
        Some(raw) => span(raw, "for", complaints),
        None => Some(usual.hold),
    };
    Some(RuleSettings {
        threshold: threshold?,
        window: window?,
        hold: hold?,
        severity: raw.severity.map_or(usual.severity, Severity::from),
    })
}

/// In the same unit as `usual`.
fn threshold(text: &str, usual: Threshold, complaints: &mut Complaints) -> Option<Threshold> {
    let (read, hint) = match usual {
        Threshold::Share(_) => (
            share(text).map(Threshold::Share),
            "write for example \"5%\"",
        ),
        Threshold::Time(_) => (duration(text).map(Threshold::Time), ""),
        Threshold::Size(_) => (size(text).map(Threshold::Size), ""),
        Threshold::Count(_) => {
            let count = text.trim().parse().map(Threshold::Count);
            let count = count.map_err(|_no_number| format!("`{text}` is not a number"));
            (count, "write for example \"3\"")
        }
        Threshold::None => {
            let why = "this rule is broken or it is not: there is no threshold";
            (Err(why.to_owned()), "leave it out")
        }
    };
    complaints.keep(read, hint)
}

/// A share in percent.
fn share(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').map(str::trim);
    let percent = number.and_then(|number| number.parse::<f64>().ok());
    match percent.filter(|percent| (0.0..=100.0).contains(percent)) {
        Some(percent) => Ok(percent / 100.0),
        None => Err(format!("`{text}` is not a part of the whole")),
    }
}

fn within(
    raw: &Span,
    key: &str,
    range: std::ops::RangeInclusive<Duration>,
    complaints: &mut Complaints,
) -> Option<Duration> {
    let long = wait(raw, key, complaints)?;
    if !range.contains(&long) {
        let (min, max) = (range.start().as_secs(), range.end().as_secs());
        let hint = match (*range.start(), *range.end()) {
            (_, Duration::MAX) => format!("write at least \"{min}s\""),
            (Duration::ZERO, _) => format!("write at most \"{max}s\""),
            _ => format!("write from \"{min}s\" to \"{max}s\""),
        };
        complaints.at(key, |complaints| complaints.add("is out of range", hint));
        return None;
    }
    Some(long)
}
