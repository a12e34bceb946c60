//! What Cedar is told of a call: arguments, claims, the principal and the entry as its values.
//!
//! Nothing is rounded or left out to make it fit: a number that Cedar has no type for is a thing of its own, which
//! equals itself and fails every comparison. A `null` is told in both its readings, one after the other; which of the
//! two answers counts is [`super`]'s affair.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use cedar_policy::pst::UnaryOp;
use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, EvalResult, Expression,
    Request, RestrictedExpression, eval_expression,
};
use serde_json::{Map, Number, Value};

use super::super::{Facts, Subject, SubjectKind, Traits};
use super::condition::{Args, Needs};
use super::words;
use crate::{Pattern, Principal};

/// How many values arguments or claims may consist of for conditions to look at them.
const VALUES_MAX: usize = 10_000;
/// How deep they may be nested.
const DEPTH_MAX: usize = 64;
/// Digits behind the point that Cedar's decimals have, as a power of ten.
const DECIMAL_MAX: f64 = 922_337_203_685_477.0;

/// What a `null` means: servers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nulls {
    /// A value that is there.
    Kept,
    /// A member that is left out.
    Dropped,
}

/// Why a call cannot be told to Cedar: its arguments are more than conditions look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

/// The name of one thing.
pub(super) fn uid(kind: &'static str, id: &str) -> EntityUid {
    let known = KINDS.iter().find(|(known, _)| *known == kind);
    let (_, kind) = known.unwrap_or(&KINDS[0]);
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// All types that things are of, read once.
static KINDS: LazyLock<Vec<(&str, EntityTypeName)>> = LazyLock::new(|| {
    let ours = [words::PATTERN, words::SERVER, words::ACTION, words::NUMBER];
    let all = ours.iter().chain(words::TYPES);
    let named = |kind: &&'static str| (*kind, kind.parse().expect("our types are names"));
    all.map(named).collect()
});

/// An entry, a member of each pattern that matches it.
pub(super) fn entry(subject: &Subject<'_>, patterns: &[&Pattern]) -> Result<Entity, TooMuch> {
    let (kind, word) = words::kind(subject.kind);
    let Hints {
        read_only,
        destructive,
        idempotent,
        open_world,
    } = Hints::of(subject.kind, subject.traits);
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let mut members: HashMap<String, RestrictedExpression> = [
        ("upstream", text(subject.upstream.as_str())),
        ("name", text(subject.name)),
        ("kind", text(word)),
        ("read_only", RestrictedExpression::new_bool(read_only)),
        ("destructive", RestrictedExpression::new_bool(destructive)),
        ("idempotent", RestrictedExpression::new_bool(idempotent)),
        ("open_world", RestrictedExpression::new_bool(open_world)),
        (
            "private",
            RestrictedExpression::new_bool(subject.traits.private),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(server) = subject.server {
        members.insert("server".to_owned(), text(server.as_str()));
    }
    let mut groups: HashSet<EntityUid> = patterns
        .iter()
        .map(|pattern| uid(words::PATTERN, &pattern.to_string()))
        .collect();
    if let Some(server) = subject.server {
        groups.insert(uid(words::SERVER, server.as_str()));
    }
    let id = format!("{}.{}", subject.upstream, subject.name);
    Entity::new(uid(kind, &id), members, groups).map_err(|_error| TooMuch)
}

/// The hints of a tool, with the protocol's word on what holds where its server says nothing. To get a prompt or read
/// a resource changes nothing, whatever they are.
struct Hints {
    read_only: bool,
    destructive: bool,
    idempotent: bool,
    open_world: bool,
}

impl Hints {
    fn of(kind: SubjectKind, traits: Traits) -> Self {
        let only_reads = matches!(kind, SubjectKind::Prompt | SubjectKind::Resource);
        let read_only = traits.read_only.unwrap_or(only_reads);
        Self {
            read_only,
            destructive: traits.destructive.unwrap_or(!read_only),
            idempotent: traits.idempotent.unwrap_or(read_only),
            open_world: traits.open_world.unwrap_or(true),
        }
    }
}

/// A principal with its roles, and of its other members those that are needed.
pub(super) fn principal(principal: &Principal, needs: &Needs) -> Result<Entity, TooMuch> {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let mut members = HashMap::with_capacity(needs.principal.len());
    for name in &needs.principal {
        let value = match *name {
            "id" => text(principal.id.as_str()),
            "roles" => RestrictedExpression::new_set(
                principal.roles.iter().map(|role| text(role.as_str())),
            ),
            "credential" => text(principal.credential.kind()),
            "scopes" => RestrictedExpression::new_set(
                principal.scopes.iter().map(|scope| text(scope.as_str())),
            ),
            // An issuer that says `null` of somebody says nothing.
            _ => Values::new(Nulls::Dropped).record(principal.claims.iter())?,
        };
        members.insert((*name).to_owned(), value);
    }
    let roles = needs.roles.then_some(&principal.roles);
    let roles: HashSet<EntityUid> = roles
        .into_iter()
        .flatten()
        .map(|role| uid(words::ROLE, role.as_str()))
        .collect();
    let id = uid(words::PRINCIPALS, principal.id.as_str());
    Entity::new(id, members, roles).map_err(|_error| TooMuch)
}

/// What is known of a call, of that what is needed. Arguments that are not known are none here: no rule that looks at
/// them is asked then.
pub(super) fn context(
    subject: &Subject<'_>,
    facts: &Facts<'_>,
    needs: &Needs,
    nulls: Nulls,
) -> Result<Context, TooMuch> {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let mut members = Vec::with_capacity(4);
    for name in &needs.context {
        let value = match *name {
            "client" => Some(text(facts.client)),
            "server" => subject.server.map(|server| text(server.as_str())),
            _ => Some(moment(facts.now)),
        };
        members.extend(value.map(|value| ((*name).to_owned(), value)));
    }
    let no_arguments = Map::new();
    let arguments = match facts.arguments {
        Some(Value::Object(arguments)) => arguments,
        _ => &no_arguments,
    };
    let mut values = Values::new(nulls);
    let arguments = match &needs.args {
        Args::None => None,
        Args::Named(names) => {
            let named = arguments.iter().filter(|(name, _)| names.contains(*name));
            Some(values.record(named)?)
        }
        Args::All => Some(values.record(arguments.iter())?),
    };
    members.extend(arguments.map(|arguments| (words::ARGS.to_owned(), arguments)));
    Context::from_pairs(members).map_err(|_error| TooMuch)
}

/// Whether there is a `null` among the arguments that are looked at.
pub(super) fn has_nulls(arguments: Option<&Value>, needs: &Args) -> bool {
    fn anywhere(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Array(items) => items.iter().any(anywhere),
            Value::Object(members) => members.values().any(anywhere),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }
    let Some(Value::Object(arguments)) = arguments else {
        return false;
    };
    match needs {
        Args::None => false,
        Args::Named(names) => names
            .iter()
            .filter_map(|name| arguments.get(name))
            .any(anywhere),
        Args::All => arguments.values().any(anywhere),
    }
}

/// JSON as Cedar's values, as long as there is room.
struct Values {
    nulls: Nulls,
    room: usize,
}

impl Values {
    fn new(nulls: Nulls) -> Self {
        Self {
            nulls,
            room: VALUES_MAX,
        }
    }

    fn record<'v>(
        &mut self,
        members: impl Iterator<Item = (&'v String, &'v Value)>,
    ) -> Result<RestrictedExpression, TooMuch> {
        self.members(members, 0)
    }

    fn members<'v>(
        &mut self,
        members: impl Iterator<Item = (&'v String, &'v Value)>,
        depth: usize,
    ) -> Result<RestrictedExpression, TooMuch> {
        let mut told = Vec::new();
        for (name, value) in members {
            if !(value.is_null() && self.nulls == Nulls::Dropped) {
                told.push((name.clone(), self.value(value, depth + 1)?));
            }
        }
        RestrictedExpression::new_record(told).map_err(|_error| TooMuch)
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<RestrictedExpression, TooMuch> {
        self.room = self.room.checked_sub(1).ok_or(TooMuch)?;
        if depth > DEPTH_MAX {
            return Err(TooMuch);
        }
        Ok(match value {
            Value::Null => RestrictedExpression::new_entity_uid(uid(words::NULL, "null")),
            Value::Bool(yes) => RestrictedExpression::new_bool(*yes),
            Value::Number(number) => self::number(number),
            Value::String(text) => RestrictedExpression::new_string(text.clone()),
            Value::Array(items) => {
                let items: Vec<_> = items
                    .iter()
                    .map(|item| self.value(item, depth + 1))
                    .collect::<Result<_, _>>()?;
                RestrictedExpression::new_set(items)
            }
            Value::Object(members) => self.members(members.iter(), depth)?,
        })
    }
}

/// A whole number is a whole number however it is written; with up to four digits behind the point it is a decimal.
fn number(number: &Number) -> RestrictedExpression {
    let of_its_own = |text: &str| RestrictedExpression::new_entity_uid(uid(words::NUMBER, text));
    if let Some(whole) = number.as_i64() {
        return RestrictedExpression::new_long(whole);
    }
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else {
        return of_its_own(&number.to_string());
    };
    // Printed without an exponent, so what has no point is whole.
    let text = format!("{float}");
    if let Ok(whole) = text.parse::<i64>() {
        return RestrictedExpression::new_long(whole);
    }
    let digits = text.split_once('.').map_or(0, |(_, digits)| digits.len());
    if (1..=4).contains(&digits) && float.abs() < DECIMAL_MAX {
        return RestrictedExpression::new_decimal(text);
    }
    of_its_own(&text)
}

/// A moment, to the second. To put one into Cedar's words takes half as long as a decision, so the latest is kept.
fn moment(now: SystemTime) -> RestrictedExpression {
    static LATEST: ArcSwapOption<(u64, RestrictedExpression)> = ArcSwapOption::const_empty();
    // Before 1970 it is never.
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if let Some(latest) = &*LATEST.load()
        && latest.0 == seconds
    {
        return latest.1.clone();
    }
    let moment = RestrictedExpression::new_datetime(datetime(seconds));
    LATEST.store(Some(Arc::new((seconds, moment.clone()))));
    moment
}

/// Seconds since 1970 as `2026-11-22T08:15:00Z`, a form of Cedar's datetimes.
fn datetime(since: u64) -> String {
    let (days, rest) = (since / 86_400, since % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day counted from 1970-01-01, in eras of 400 years that start in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (
        era * 400 + year + u64::from(month <= 2),
        month,
        day_of_month,
    )
}

/// The value of a constant such as `datetime("2026-11-22")`, if it has one.
pub(super) fn constant(kind: UnaryOp, text: &str) -> Option<EvalResult> {
    let call = match kind {
        UnaryOp::Datetime => Expression::new_datetime(text),
        UnaryOp::Decimal => Expression::new_decimal(text),
        UnaryOp::Duration => Expression::new_duration(text),
        UnaryOp::Ip => Expression::new_ip(text),
        _ => return None,
    };
    evaluated(&call)
}

/// The value of an expression that looks at nothing.
fn evaluated(expression: &Expression) -> Option<EvalResult> {
    let nobody = uid(words::NULL, "null");
    let action = uid(words::ACTION, "use");
    let request = Request::new(nobody.clone(), action, nobody, Context::empty(), None);
    eval_expression(&request.ok()?, &Entities::empty(), expression).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn told(value: &Value) -> String {
        let Value::Object(members) = value else {
            panic!("an object is wanted");
        };
        let told = Values::new(Nulls::Kept).record(members.iter()).unwrap();
        Context::from_pairs([("args".to_owned(), told)])
            .unwrap()
            .get("args")
            .unwrap()
            .to_string()
    }

    #[test]
    fn numbers_stay_what_they_are() {
        assert_eq!(told(&json!({"n": 100})), r#"{"n": 100}"#);
        assert_eq!(told(&json!({"n": 100.0})), r#"{"n": 100}"#);
        assert_eq!(told(&json!({"n": -0.0})), r#"{"n": 0}"#);
        assert_eq!(told(&json!({"n": 0.1})), r#"{"n": decimal("0.1")}"#);
        assert_eq!(told(&json!({"n": -1.5})), r#"{"n": decimal("-1.5")}"#);
        assert_eq!(told(&json!({"n": 0.12345})), r#"{"n": Number::"0.12345"}"#);
        assert_eq!(
            told(&json!({"n": u64::MAX})),
            r#"{"n": Number::"18446744073709551615"}"#
        );
        assert!(told(&json!({"n": 1e300})).contains("Number"));
        assert_eq!(told(&json!({"n": 1e15})), r#"{"n": 1000000000000000}"#);
    }

    #[test]
    fn what_looks_like_an_escape_is_a_record() {
        let value = json!({"x": {"__entity": {"type": "Role", "id": "owner"}}});
        assert_eq!(
            told(&value),
            r#"{"x": {"__entity": {"id": "owner", "type": "Role"}}}"#
        );
    }

    #[test]
    fn too_many_values_and_too_deep_ones_are_not_told() {
        let wide = json!({"x": vec![1; VALUES_MAX]});
        let mut deep = json!(1);
        for _ in 0..DEPTH_MAX {
            deep = json!([deep]);
        }
        for value in [wide, json!({"x": deep})] {
            let told = Values::new(Nulls::Kept).record(value.as_object().unwrap().iter());
            assert_eq!(told.err(), Some(TooMuch));
        }
    }

    proptest! {
        #[test]
        fn a_datetime_is_read_as_the_same_moment(seconds in 0u64..200_000_000_000) {
            let text = datetime(seconds);
            prop_assume!(text.len() == 20); // a year of four digits
            let since = format!("datetime(\"{text}\").durationSince(datetime(\"1970-01-01\")).toSeconds()");
            let read = evaluated(&since.parse().unwrap()).unwrap().to_string();
            prop_assert_eq!(read, seconds.to_string());
        }

        #[test]
        fn a_moment_is_told_to_the_second(seconds in 0u64..2_000_000_000, nanos in 0u32..1_000_000_000) {
            let told = |now| {
                let now = Context::from_pairs([("now".to_owned(), moment(now))]).unwrap();
                now.get("now").unwrap().to_string()
            };
            let whole = UNIX_EPOCH + Duration::from_secs(seconds);
            let expected = told(whole);
            // Another in between, so that what was kept is another's.
            let next = told(whole + Duration::from_secs(1));
            prop_assert_ne!(&next, &expected);
            prop_assert_eq!(told(whole + Duration::new(0, nanos)), expected);
        }
    }
}
