//! `[screening]`, for the whole and for virtual servers, and `[flows]`: what is looked for in what passes, and which
//! data may flow where.

use std::borrow::Cow;

use gateway::FlowSettings;
use policy::Pattern;
use policy::config::{Complaints, size};
use policy::screen::{Action, Allowed, Kind, Kinds, Settings, Treatment};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::check::{all, wait};
use super::raw::{SizeOrOff, Span};

/// Values that may pass, and bytes of each.
const ALLOW_MAX: usize = 1000;
const ALLOW_BYTES_MAX: usize = 512;
/// What is written where something can be switched off.
const OFF: &str = "off";

/// What is looked for in what passes the gate, and what is done about it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScreening {
    /// Kinds that are not looked for anywhere.
    pub ignore: Option<Vec<RawKind>>,
    /// Secrets and personal data that may pass: values, or patterns of them such as `*@example.com`.
    pub allow: Option<Vec<String>>,
    /// What phrases that give a model orders must weigh together to count; a plain "ignore all previous instructions" weighs 3.
    #[schemars(range(min = 1, max = 100))]
    pub threshold: Option<u32>,
    /// Definitions of tools, prompts and resources, as clients see them. What is refused is withheld.
    pub definitions: Option<RawTreatment>,
    /// What upstreams tell models about themselves. What is refused is left out.
    pub instructions: Option<RawTreatment>,
    /// What is sent to upstreams, before rules and people decide about it.
    pub arguments: Option<RawTreatment>,
    /// Results, errors and events on their way to clients.
    pub results: Option<RawTreatment>,
}

/// What is done about what is found in one place.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTreatment {
    /// Control characters, escape sequences of terminals, bidirectional overrides, characters without width, tags, private use: `strip` leaves them out, `refuse` refuses all of it, `flag` records it.
    pub invisible: Option<RawInvisible>,
    /// Keys, tokens, passwords: `redact` puts `[redacted: kind]` in their place.
    pub secrets: Option<RawSensitive>,
    /// Addresses, accounts, cards, telephone numbers of people.
    pub personal: Option<RawSensitive>,
    /// Phrases that give a model orders: `wrap` says around a text that it is data, `block` refuses all of it.
    pub injection: Option<RawInjection>,
    /// What has more bytes is refused.
    pub max: Option<SizeOrOff>,
}

/// What is done about what nobody sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawInvisible {
    Off,
    Flag,
    Strip,
    Refuse,
}

/// What is done about what is not for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawSensitive {
    Off,
    Flag,
    Redact,
    Refuse,
}

/// What is done about orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawInjection {
    Off,
    Flag,
    Wrap,
    Block,
}

/// The word for a kind of find.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct RawKind(String);

impl JsonSchema for RawKind {
    fn schema_name() -> Cow<'static, str> {
        "Kind".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        json_schema!({ "type": "string", "enum": words })
    }
}

/// Which data may flow where.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFlows {
    /// Entries that yield private data, as patterns such as `mail.*`.
    pub private: Vec<String>,
    /// Entries that yield what strangers have written, such as `web.*`.
    pub untrusted: Vec<String>,
    /// Entries that can carry data out, such as `mail.send`. Who has seen both private data and what strangers wrote has a person asked before each call of them.
    pub sends: Vec<String>,
    /// A tool that says `openWorldHint` of itself yields what strangers have written.
    pub open_world: bool,
    /// How long what somebody has seen counts.
    pub window: Span,
}

/// What a virtual server has in the place of that.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOwnFlows {
    /// Replaces `flows.private`.
    pub private: Option<Vec<String>>,
    /// Replaces `flows.untrusted`.
    pub untrusted: Option<Vec<String>>,
    /// Replaces `flows.sends`: with an empty list nobody is asked here.
    pub sends: Option<Vec<String>>,
    /// Replaces `flows.open_world`.
    pub open_world: Option<bool>,
    /// Replaces `flows.window`.
    pub window: Option<Span>,
}

impl RawScreening {
    /// What it says, and what holds around it where it says nothing.
    pub(super) fn settings(
        &self,
        around: &Settings,
        complaints: &mut Complaints,
    ) -> Option<Settings> {
        let kinds = match &self.ignore {
            Some(ignored) => kinds(ignored, complaints),
            None => Some(around.kinds),
        };
        let allow = match &self.allow {
            Some(values) => allow(values, complaints),
            None => Some(around.allow.clone()),
        };
        let mut place = |key: &str, raw: &Option<RawTreatment>, around: Treatment| match raw {
            Some(raw) => complaints.at(key, |complaints| raw.treatment(around, complaints)),
            None => Some(around),
        };
        let definitions = place("definitions", &self.definitions, around.definitions);
        let instructions = place("instructions", &self.instructions, around.instructions);
        let arguments = place("arguments", &self.arguments, around.arguments);
        let results = place("results", &self.results, around.results);
        Some(Settings {
            definitions: definitions?,
            instructions: instructions?,
            arguments: arguments?,
            results: results?,
            kinds: kinds?,
            allow: allow?,
            threshold: self.threshold.unwrap_or(around.threshold),
        })
    }
}

fn kinds(ignored: &[RawKind], complaints: &mut Complaints) -> Option<Kinds> {
    complaints.at("ignore", |complaints| {
        let ignored = ignored.iter().map(|RawKind(word)| {
            let kind = Kind::parse(word);
            if kind.is_none() {
                complaints.add(
                    format!("`{word}` is no kind"),
                    "see the reference of settings",
                );
            }
            kind
        });
        let ignored: Vec<Option<Kind>> = ignored.collect();
        let ignored: Option<Vec<Kind>> = ignored.into_iter().collect();
        Some(ignored?.into_iter().fold(Kinds::ALL, Kinds::without))
    })
}

fn allow(values: &[String], complaints: &mut Complaints) -> Option<Vec<Allowed>> {
    complaints.at("allow", |complaints| {
        let fits = |value: &String| !value.is_empty() && value.len() <= ALLOW_BYTES_MAX;
        if values.len() > ALLOW_MAX || !values.iter().all(fits) {
            complaints.add(
                format!(
                    "at most {ALLOW_MAX} values of at most {ALLOW_BYTES_MAX} bytes can be allowed"
                ),
                "patterns with `*` stand for many",
            );
            return None;
        }
        // It would allow everything, which `off` says as well, and more plainly.
        if values.iter().any(|value| value.chars().all(|c| c == '*')) {
            complaints.add(
                "`*` allows everything",
                "write `off` where nothing is to be done",
            );
            return None;
        }
        Some(values.iter().map(|value| Allowed::new(value)).collect())
    })
}

impl RawTreatment {
    fn treatment(&self, around: Treatment, complaints: &mut Complaints) -> Option<Treatment> {
        let bytes_max = match &self.max {
            Some(max) if max.0.trim() == OFF => Some(None),
            Some(max) => complaints.at("max", |complaints| {
                let bytes = complaints.keep(size(&max.0), "or write \"off\"")?;
                Some(usize::try_from(bytes).ok())
            }),
            None => Some(around.bytes_max),
        };
        Some(Treatment {
            invisible: self
                .invisible
                .map_or(around.invisible, |action| match action {
                    RawInvisible::Off => Action::Off,
                    RawInvisible::Flag => Action::Flag,
                    RawInvisible::Strip => Action::Mend,
                    RawInvisible::Refuse => Action::Refuse,
                }),
            secrets: self.secrets.map_or(around.secrets, sensitive),
            personal: self.personal.map_or(around.personal, sensitive),
            injection: self
                .injection
                .map_or(around.injection, |action| match action {
                    RawInjection::Off => Action::Off,
                    RawInjection::Flag => Action::Flag,
                    RawInjection::Wrap => Action::Mend,
                    RawInjection::Block => Action::Refuse,
                }),
            bytes_max: bytes_max?,
        })
    }
}

fn sensitive(action: RawSensitive) -> Action {
    match action {
        RawSensitive::Off => Action::Off,
        RawSensitive::Flag => Action::Flag,
        RawSensitive::Redact => Action::Mend,
        RawSensitive::Refuse => Action::Refuse,
    }
}

impl RawFlows {
    /// What `[flows]` says.
    pub(super) fn settings(&self, complaints: &mut Complaints) -> Option<FlowSettings> {
        let private = patterns("private", &self.private, complaints);
        let untrusted = patterns("untrusted", &self.untrusted, complaints);
        let sends = patterns("sends", &self.sends, complaints);
        let window = wait(&self.window, "window", complaints);
        Some(FlowSettings {
            private: private?,
            untrusted: untrusted?,
            sends: sends?,
            open_world: self.open_world,
            window: window?,
        })
    }
}

impl RawOwnFlows {
    /// What it says, and what holds around it where it says nothing.
    pub(super) fn settings(
        &self,
        around: &FlowSettings,
        complaints: &mut Complaints,
    ) -> Option<FlowSettings> {
        let mut own = |key: &str, raw: &Option<Vec<String>>, around: &[Pattern]| match raw {
            Some(texts) => patterns(key, texts, complaints),
            None => Some(around.to_vec()),
        };
        let private = own("private", &self.private, &around.private);
        let untrusted = own("untrusted", &self.untrusted, &around.untrusted);
        let sends = own("sends", &self.sends, &around.sends);
        let window = match &self.window {
            Some(window) => wait(window, "window", complaints),
            None => Some(around.window),
        };
        Some(FlowSettings {
            private: private?,
            untrusted: untrusted?,
            sends: sends?,
            open_world: self.open_world.unwrap_or(around.open_world),
            window: window?,
        })
    }
}

fn patterns(key: &str, texts: &[String], complaints: &mut Complaints) -> Option<Vec<Pattern>> {
    complaints.at(key, |complaints| {
        all(texts, complaints, |text, complaints| {
            complaints.keep(Pattern::parse(text), "")
        })
    })
}
