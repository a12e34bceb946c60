//! `[roles.NAME]`: who holds a role, and what its rules allow, ask for and deny.
//!
//! Reads the two forms of a rule, a pattern and a table; what they come to together is `policy`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use policy::config::{Complaints, duration};
use policy::rules::{About, Condition, Effect, Remember, Role, Rule, Target, Terms};
use policy::{PrincipalId, RoleName, Rules};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::check::all;
use super::keys::role;

/// The longest that a yes may be remembered.
const REMEMBER_MAX: Duration = Duration::from_hours(365 * 24);
/// Longest reason, in characters: it stands in every record of its rule.
const REASON_CHARACTERS_MAX: usize = 200;

/// One role.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRole {
    /// Principals that have the role.
    #[serde(default)]
    pub members: Vec<String>,
    /// Entries they may see and use. A pattern such as `files.read_*`, `*`, or `SERVER/files.*` for what is reached
    /// through a virtual server only; or a table: one of `tool`, `prompt`, `resource`, `completion`, `subscription`,
    /// `task`, `method`, `sampling`, `admin` and `any` with a pattern, and `when` and `unless` with a condition in Cedar,
    /// as `{ tool = "tickets.update", when = 'context.args.priority != "p0"', reason = "P0 is for people on call" }`.
    /// A pattern alone never speaks of `admin` (actions of the admin API, as `{ admin = "keys.*" }`) or `sampling` (what
    /// upstreams ask of the client's model, which is allowed where the upstream is, unless a rule says otherwise).
    #[serde(default)]
    pub allow: Vec<RawRule>,
    /// Entries they may use once a person has said yes. Tables may say how long a yes holds at most,
    /// `remember = "once"`, `"session"` or `"7d"`; who may say it, `approvers = ["security"]`; and that it must be
    /// somebody else, `other_person = true`.
    #[serde(default)]
    pub ask: Vec<RawRule>,
    /// Entries they may not, whatever any role allows or asks for. A condition that cannot be judged denies.
    #[serde(default)]
    pub deny: Vec<RawRule>,
}

/// A rule: a pattern, or a table.
#[derive(Debug)]
pub(super) enum RawRule {
    Pattern(String),
    Table(Box<RawRuleTable>),
}

impl RawRule {
    /// The pattern of entries that it is about; `None` if it is about none.
    pub(super) fn entries(&self) -> Option<&str> {
        match self {
            Self::Pattern(text) => Some(text),
            Self::Table(table) => {
                let mut targets = table.targets().into_iter();
                targets.find_map(|(about, text)| (about != About::Admin).then_some(text))
            }
        }
    }
}

/// The long form of a rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRuleTable {
    /// Entries of every kind.
    any: Option<String>,
    /// Tools, and the tasks that their calls come to.
    tool: Option<String>,
    /// Prompts, and the completion of their arguments.
    prompt: Option<String>,
    /// Resources: to read them, to be told of their changes, completion in their templates.
    resource: Option<String>,
    /// Completion only.
    completion: Option<String>,
    /// Being told of changes of resources only.
    subscription: Option<String>,
    /// Tasks only.
    task: Option<String>,
    /// Methods of extensions.
    method: Option<String>,
    /// What upstreams ask of the client's model.
    sampling: Option<String>,
    /// Actions of the admin API, such as `keys.create`.
    admin: Option<String>,
    /// A Cedar expression that must be true for the rule to hold.
    when: Option<String>,
    /// A Cedar expression that must not be true for the rule to hold.
    unless: Option<String>,
    /// Why there is such a rule; stands in records.
    reason: Option<String>,
    /// How long a yes holds at most: `once`, `session` or a duration.
    remember: Option<String>,
    /// Roles whose members may say yes.
    approvers: Option<Vec<String>>,
    /// Whether it must be somebody else than who asks.
    other_person: Option<bool>,
}

impl RawRuleTable {
    /// What it is about, as often as it says so.
    fn targets(&self) -> Vec<(About, &str)> {
        let about = |about| match about {
            About::Any => &self.any,
            About::Tool => &self.tool,
            About::Prompt => &self.prompt,
            About::Resource => &self.resource,
            About::Completion => &self.completion,
            About::Subscription => &self.subscription,
            About::Task => &self.task,
            About::Method => &self.method,
            About::Sampling => &self.sampling,
            About::Admin => &self.admin,
        };
        let said = About::ALL.into_iter();
        said.filter_map(|one| Some((one, about(one).as_deref()?)))
            .collect()
    }
}

/// What every role is checked against.
struct Known<'a> {
    roles: Vec<&'a str>,
    servers: &'a BTreeSet<String>,
}

/// All rules, if nothing is wrong with any.
pub(super) fn rules(
    raw: &BTreeMap<String, RawRole>,
    servers: &BTreeSet<String>,
    complaints: &mut Complaints,
) -> Option<Rules> {
    let roles = raw.keys().map(String::as_str);
    let known = Known {
        roles: roles.chain([Rules::OWNER]).collect(),
        servers,
    };
    let checked: Vec<Option<Role>> = raw
        .iter()
        .map(|(name, raw)| complaints.at(name, |complaints| one(name, raw, &known, complaints)))
        .collect();
    let roles: Option<Vec<Role>> = checked.into_iter().collect();
    complaints.keep(Rules::new(roles?), "")
}

fn one(name: &str, raw: &RawRole, known: &Known<'_>, complaints: &mut Complaints) -> Option<Role> {
    let is_empty = raw.allow.is_empty() && raw.ask.is_empty() && raw.deny.is_empty();
    if name == Rules::OWNER && !is_empty {
        complaints.add(
            "is built in and allows everything",
            "leave out its `allow`, `ask` and `deny`; it can have members",
        );
        return None;
    }
    let name = complaints.keep(RoleName::new(name), "");
    let members = complaints.at("members", |complaints| {
        all(&raw.members, complaints, |text, complaints| {
            complaints.keep(PrincipalId::new(text), "")
        })
    });
    let mut list = |effect: Effect, rules: &[RawRule]| {
        complaints.at(effect.as_str(), |complaints| {
            let checked: Vec<Option<Rule>> = rules
                .iter()
                .enumerate()
                .map(|(index, raw)| {
                    complaints.at(index.to_string(), |complaints| {
                        rule(effect, raw, known, complaints)
                    })
                })
                .collect();
            checked.into_iter().collect::<Option<Vec<Rule>>>()
        })
    };
    let (allow, ask, deny) = (
        list(Effect::Allow, &raw.allow),
        list(Effect::Ask, &raw.ask),
        list(Effect::Deny, &raw.deny),
    );
    Some(Role {
        name: name?,
        members: members?.into_iter().collect(),
        allow: allow?,
        ask: ask?,
        deny: deny?,
    })
}

fn rule(
    effect: Effect,
    raw: &RawRule,
    known: &Known<'_>,
    complaints: &mut Complaints,
) -> Option<Rule> {
    let table = match raw {
        RawRule::Pattern(text) => {
            return target(About::Any, text, known, complaints).map(Rule::from);
        }
        RawRule::Table(table) => table,
    };
    let targets = table.targets();
    let target = match targets.as_slice() {
        [(about, text)] => complaints.at(about.as_str(), |complaints| {
            target(*about, text, known, complaints)
        }),
        several => {
            let kinds = About::ALL.map(About::as_str).join(", ");
            complaints.add(
                if several.is_empty() {
                    "does not say what it is about"
                } else {
                    "is about more than one kind of thing"
                },
                format!("write one of {kinds} with a pattern, and a rule for each"),
            );
            None
        }
    };
    let condition = condition(table, complaints);
    let reason = reason(table, complaints);
    let terms = terms(effect, table, known, complaints);
    Some(Rule {
        target: target?,
        condition: condition?,
        reason: reason?,
        terms: terms?,
    })
}

fn target(
    about: About,
    text: &str,
    known: &Known<'_>,
    complaints: &mut Complaints,
) -> Option<Target> {
    let parsed = Target::parse(about, text);
    // What stands before a slash is a virtual server.
    if let (Err(error), Some((alias, entry))) = (&parsed, text.split_once('/'))
        && !text.contains('.')
        && !entry.is_empty()
    {
        complaints.add(
            error.to_string(),
            format!("or did you mean `{alias}.{entry}`?"),
        );
        return None;
    }
    let target = complaints.keep(parsed, "")?;
    let server = target.server.as_ref().map(policy::ServerName::as_str);
    if let Some(server) = server.filter(|server| !known.servers.contains(*server)) {
        complaints.add(
            format!("there is no virtual server `{server}`"),
            format!("add a [virtual_servers.{server}]"),
        );
        return None;
    }
    Some(target)
}

// `Some(None)`: there is none, and nothing wrong with that.
fn condition(table: &RawRuleTable, complaints: &mut Complaints) -> Option<Option<Condition>> {
    let (when, unless) = (table.when.as_deref(), table.unless.as_deref());
    let each = [Condition::parse(when, None), Condition::parse(None, unless)];
    let mut is_whole = true;
    for error in each.into_iter().filter_map(Result::err) {
        is_whole = false;
        complaints.at(error.clause, |complaints| {
            let text = if error.clause == "when" { when } else { unless };
            complaints.add(error.to_string(), in_cedar(text.unwrap_or_default()));
        });
    }
    if !is_whole {
        return None;
    }
    complaints.keep(Condition::parse(when, unless), "")
}

/// How Cedar writes what people write otherwise; empty if it is none of that.
fn in_cedar(text: &str) -> &'static str {
    let has_word = |wanted: &str| text.split_whitespace().any(|word| word == wanted);
    let has_fraction = text.as_bytes().windows(3).any(|three| {
        matches!(three, [whole, b'.', part] if whole.is_ascii_digit() && part.is_ascii_digit())
    });
    if has_word("and") || has_word("or") || has_word("not") {
        "write `&&`, `||` and `!`"
    } else if text.trim_start().starts_with("args.") || text.contains(" args.") {
        "write `context.args.NAME`"
    } else if has_fraction && !text.contains('"') {
        "write `context.args.NAME.greaterThan(decimal(\"1.5\"))`, or `lessThan`"
    } else {
        ""
    }
}

fn reason(
    table: &RawRuleTable,
    complaints: &mut Complaints,
) -> Option<Option<std::sync::Arc<str>>> {
    let Some(reason) = table.reason.as_deref() else {
        return Some(None);
    };
    if reason.chars().count() > REASON_CHARACTERS_MAX || reason.contains(char::is_control) {
        complaints.at("reason", |complaints| {
            complaints.add(
                format!("is not one line of at most {REASON_CHARACTERS_MAX} characters"),
                "it stands in every record of this rule",
            );
        });
        return None;
    }
    Some(Some(reason.into()))
}

fn terms(
    effect: Effect,
    table: &RawRuleTable,
    known: &Known<'_>,
    complaints: &mut Complaints,
) -> Option<Terms> {
    let mut terms = Terms::default();
    if effect != Effect::Ask {
        let given = [
            ("remember", table.remember.is_some()),
            ("approvers", table.approvers.is_some()),
            ("other_person", table.other_person.is_some()),
        ];
        let mut is_whole = true;
        for (key, _) in given.into_iter().filter(|(_, is_there)| *is_there) {
            is_whole = false;
            complaints.at(key, |complaints| {
                complaints.add("is for rules that ask a person", "move the rule to `ask`");
            });
        }
        return is_whole.then_some(terms);
    }
    let longest = match &table.remember {
        Some(text) => complaints.at("remember", |complaints| remember(text, complaints)),
        None => Some(terms.longest),
    };
    let approvers = match &table.approvers {
        Some(list) => complaints.at("approvers", |complaints| {
            all(list, complaints, |text, complaints| {
                role(text, &known.roles, complaints)
            })
        }),
        None => Some(Vec::new()),
    };
    terms.longest = longest?;
    terms.approvers = approvers?.into_iter().collect();
    terms.other_person = table.other_person.unwrap_or_default();
    Some(terms)
}

fn remember(text: &str, complaints: &mut Complaints) -> Option<Remember> {
    match text {
        "once" => return Some(Remember::Once),
        "session" => return Some(Remember::Session),
        _ => {}
    }
    let long = complaints.keep(duration(text), "or write \"once\" or \"session\"")?;
    if long.is_zero() || long > REMEMBER_MAX {
        complaints.add(
            format!("`{text}` is out of range"),
            "write \"once\", \"session\", or up to \"365d\"",
        );
        return None;
    }
    Some(Remember::For(long))
}

impl JsonSchema for RawRule {
    fn schema_name() -> Cow<'static, str> {
        "Rule".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<RawRuleTable>();
        json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }
}

impl<'de> Deserialize<'de> for RawRule {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct PatternOrTable;
        impl<'de> Visitor<'de> for PatternOrTable {
            type Value = RawRule;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pattern or a table")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawRule, E> {
                Ok(RawRule::Pattern(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawRule, A::Error> {
                let table = RawRuleTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawRule::Table(Box::new(table)))
            }
        }
        from.deserialize_any(PatternOrTable)
    }
}
