//! What a person writes behind `when` and `unless`: read, checked, and taken apart.
//!
//! An expression is checked as far as it can be without a call: its grammar, the names it uses, the constants in it,
//! and the types of all that does not come from arguments or claims, whose types nobody knows. What it says of a call
//! is [`super`].

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr as _;
use std::sync::{Arc, LazyLock};

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, UnaryOp, Var};
use cedar_policy::{Expression, ParseErrors, Policy, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic as _;

use super::super::rule::Effect;
use super::words::{self, Action, SCHEMA};
use crate::nearest;

/// Longest expression that is read.
const EXPRESSION_BYTES_MAX: usize = 4096;
/// How deep brackets may be nested: reading them costs stack.
const BRACKETS_MAX: usize = 64;
/// How much of an expression stands in a rule's name.
const SHOWN_CHARACTERS_MAX: usize = 160;

/// When a rule holds: an expression that must be true, one that must not, or both.
#[derive(Debug, Clone)]
pub struct Condition {
    when: Option<Written>,
    unless: Option<Written>,
}

#[derive(Debug, Clone)]
struct Written {
    text: Arc<str>,
    read: Arc<Expr>,
}

/// Why a text is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", place.map(|place| format!("at character {place}: ")).unwrap_or_default())]
pub struct ConditionError {
    /// Which text: `when` or `unless`.
    pub clause: &'static str,
    /// Where in it, counted from 1; `None`: the text as a whole, or nobody can say.
    pub place: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

impl Condition {
    /// Reads both texts; `None` if there is neither.
    ///
    /// # Errors
    /// What is wrong with the first that is wrong.
    pub fn parse(when: Option<&str>, unless: Option<&str>) -> Result<Option<Self>, ConditionError> {
        let read = |clause: &'static str, text: Option<&str>| {
            text.map(|text| Written::parse(clause, text)).transpose()
        };
        let (when, unless) = (read("when", when)?, read("unless", unless)?);
        Ok((when.is_some() || unless.is_some()).then_some(Self { when, unless }))
    }

    /// The clauses of its policy.
    pub(super) fn clauses(&self) -> Vec<Clause> {
        let when = self
            .when
            .iter()
            .map(|when| Clause::When(Arc::clone(&when.read)));
        let unless = self
            .unless
            .iter()
            .map(|unless| Clause::Unless(Arc::clone(&unless.read)));
        when.chain(unless).collect()
    }

    /// The clauses that must hold whatever the arguments are: the parts that do not look at them. For a rule that
    /// permits, where these fail it never holds.
    pub(super) fn clauses_without_arguments(&self) -> Vec<Clause> {
        parts(&self.clauses(), |part| !Needs::of(part).args.is_some())
    }

    /// What it looks at.
    pub(super) fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for written in self.when.iter().chain(&self.unless) {
            needs.add(&written.read);
        }
        needs
    }
}

/// As it stands in the config, on one line.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut texts = Vec::new();
        for (word, written) in [("when", &self.when), ("unless", &self.unless)] {
            let Some(written) = written else { continue };
            let words: Vec<&str> = written.text.split_whitespace().collect();
            let text = words.join(" ");
            let shown: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
            let rest = if shown.len() < text.len() { "…" } else { "" };
            texts.push(format!("{word} {shown}{rest}"));
        }
        f.write_str(&texts.join(" "))
    }
}

impl Written {
    fn parse(clause: &'static str, text: &str) -> Result<Self, ConditionError> {
        let wrong = |place, reason: String| ConditionError {
            clause,
            place,
            reason,
        };
        if text.trim().is_empty() {
            return Err(wrong(None, "there is no expression".to_owned()));
        }
        if text.len() > EXPRESSION_BYTES_MAX {
            let reason = format!("an expression has at most {EXPRESSION_BYTES_MAX} bytes");
            return Err(wrong(None, reason));
        }
        if let Some(place) = too_deep(text) {
            let reason = format!("brackets are nested deeper than {BRACKETS_MAX}");
            return Err(wrong(Some(place), reason));
        }
        // Alone, so that no text closes the braces that stand around it below and goes on with something else.
        Expression::from_str(text).map_err(|errors| in_words(&errors, text, wrong))?;
        let source = format!("permit(principal, action, resource) when {{\n{text}\n}};");
        let policy = Policy::parse(None, source)
            .map_err(|_errors| wrong(None, "it is no condition of a rule".to_owned()))?;
        let policy = policy
            .to_pst()
            .map_err(|error| wrong(None, error.to_string()))?;
        let [Clause::When(read)] = policy.body().clauses().as_slice() else {
            return Err(wrong(None, "it is more than one condition".to_owned()));
        };
        let mut faults = Vec::new();
        look_over(read, &mut faults);
        if let Some(reason) = faults.into_iter().next() {
            return Err(wrong(None, reason));
        }
        check_types(read).map_err(|reason| wrong(None, reason))?;
        Ok(Self {
            text: Arc::from(text.trim()),
            read: Arc::clone(read),
        })
    }
}

/// Where brackets are nested too deep, as a character counted from 1. Brackets in texts count too: who needs them?
fn too_deep(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    text.chars().enumerate().find_map(|(index, c)| {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        (depth > BRACKETS_MAX).then_some(index + 1)
    })
}

/// The first of the parser's errors, without its drawing: what, where, and what it would have liked.
fn in_words(
    errors: &ParseErrors,
    text: &str,
    wrong: impl Fn(Option<usize>, String) -> ConditionError,
) -> ConditionError {
    let Some(error) = errors.iter().next() else {
        return wrong(None, "it is no expression".to_owned());
    };
    let label = error.labels().and_then(|mut labels| labels.next());
    let place = label.as_ref().map(|label| {
        let before = text.get(..label.offset()).unwrap_or(text);
        before.chars().count() + 1
    });
    let mut reason = error.to_string();
    // An expectation that lists the whole grammar helps nobody.
    if let Some(expected) = label.as_ref().and_then(|label| label.label())
        && expected.matches(',').count() < 6
    {
        reason = format!("{reason}, {expected}");
    }
    if let Some(help) = error.help() {
        reason = format!("{reason} ({help})");
    }
    wrong(place, reason)
}

/// Which members of the request an expression looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) args: Args,
    /// Members of `context` besides the arguments.
    pub(super) context: BTreeSet<&'static str>,
    /// Whether it looks at the principal at all.
    pub(super) is_personal: bool,
    /// Members of `principal`.
    pub(super) principal: BTreeSet<&'static str>,
    /// Whether it asks which roles the principal is in, or who it is as a whole.
    pub(super) roles: bool,
    /// Whether it looks at the entry at all.
    pub(super) entry: bool,
    /// Whether it looks at what the entry's server says of it.
    pub(super) hints: bool,
}

/// Which arguments an expression looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Args {
    #[default]
    None,
    /// Those of these names; others need not be looked at, however large they are.
    Named(BTreeSet<String>),
    All,
}

impl Args {
    pub(super) fn is_some(&self) -> bool {
        *self != Self::None
    }

    fn and(&mut self, name: Option<&str>) {
        match (&mut *self, name) {
            (Self::All, _) => {}
            (_, None) => *self = Self::All,
            (Self::None, Some(name)) => *self = Self::Named(BTreeSet::from([name.to_owned()])),
            (Self::Named(names), Some(name)) => {
                names.insert(name.to_owned());
            }
        }
    }
}

impl Needs {
    pub(super) fn of(expr: &Expr) -> Self {
        let mut needs = Self::default();
        needs.add(expr);
        needs
    }

    /// Nothing but what an entry is and what is done with it.
    pub(super) fn is_settled(&self) -> bool {
        !self.args.is_some() && self.context.is_empty() && !self.is_personal
    }

    pub(super) fn union(&mut self, other: &Self) {
        match &other.args {
            Args::None => {}
            Args::Named(names) => names.iter().for_each(|name| self.args.and(Some(name))),
            Args::All => self.args = Args::All,
        }
        self.context.extend(&other.context);
        self.principal.extend(&other.principal);
        self.is_personal |= other.is_personal;
        self.roles |= other.roles;
        self.entry |= other.entry;
        self.hints |= other.hints;
    }

    fn add(&mut self, expr: &Expr) {
        match expr {
            Expr::GetAttr { expr: of, attr } if is_args(of) => return self.args.and(Some(attr)),
            Expr::HasAttr { expr: of, attrs } if is_args(of) => {
                return self.args.and(Some(attrs.first()));
            }
            _ if is_args(expr) => return self.args.and(None),
            Expr::GetAttr { expr: of, attr } => {
                if let Expr::Var(var) = &**of {
                    return self.member(var, attr);
                }
            }
            Expr::HasAttr { expr: of, attrs } => {
                if let Expr::Var(var) = &**of {
                    return match (var, attrs.first().as_str()) {
                        (Var::Context, words::ARGS) => {
                            self.args
                                .and(attrs.get(1).map(cedar_policy::pst::SmolStr::as_str));
                        }
                        (var, attr) => self.member(var, attr),
                    };
                }
            }
            Expr::Var(Var::Principal) => (self.is_personal, self.roles) = (true, true),
            Expr::Var(Var::Resource) => self.entry = true,
            _ => {}
        }
        for child in children(expr) {
            self.add(child);
        }
    }

    fn member(&mut self, var: &Var, attr: &str) {
        let known = |names: &[&'static str]| names.iter().find(|name| **name == attr).copied();
        match var {
            Var::Context => self.context.extend(known(words::CONTEXT)),
            Var::Principal => {
                self.is_personal = true;
                self.principal.extend(known(words::PRINCIPAL));
            }
            Var::Resource => {
                self.entry = true;
                self.hints |= words::HINTS.contains(&attr);
            }
            Var::Action => {}
        }
    }
}

/// `context.args`.
fn is_args(expr: &Expr) -> bool {
    matches!(expr, Expr::GetAttr { expr, attr }
        if **expr == Expr::Var(Var::Context) && attr == words::ARGS)
}

/// What an expression consists of, one level down.
fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::UnaryOp { expr, .. }
        | Expr::GetAttr { expr, .. }
        | Expr::HasAttr { expr, .. }
        | Expr::Like { expr, .. } => vec![expr],
        Expr::BinaryOp { left, right, .. } => vec![left, right],
        Expr::Is { expr, in_expr, .. } => {
            let inside = in_expr.iter().map(|inside| &**inside);
            std::iter::once(&**expr).chain(inside).collect()
        }
        Expr::IfThenElse {
            cond,
            then_expr,
            else_expr,
        } => vec![cond, then_expr, else_expr],
        Expr::Set(items) => items.iter().map(|item| &**item).collect(),
        Expr::Record(members) => members.values().map(|member| &**member).collect(),
        // Literals, variables, and what `look_over` refuses.
        _ => Vec::new(),
    }
}

/// The parts of clauses that are joined by "and", those that are `wanted`.
fn parts(clauses: &[Clause], wanted: impl Fn(&Expr) -> bool + Copy) -> Vec<Clause> {
    fn split<'e>(expr: &'e Arc<Expr>, at: BinaryOp, into: &mut Vec<&'e Arc<Expr>>) {
        match &**expr {
            Expr::BinaryOp { op, left, right } if *op == at => {
                split(left, at, into);
                split(right, at, into);
            }
            _ => into.push(expr),
        }
    }
    let mut kept = Vec::new();
    for clause in clauses {
        let mut found = Vec::new();
        match clause {
            Clause::When(expr) => split(expr, BinaryOp::And, &mut found),
            // Not (this or that) is: not this, and not that.
            Clause::Unless(expr) => split(expr, BinaryOp::Or, &mut found),
        }
        let found = found.into_iter().filter(|part| wanted(part)).cloned();
        kept.extend(found.map(|part| match clause {
            Clause::When(_) => Clause::When(part),
            Clause::Unless(_) => Clause::Unless(part),
        }));
    }
    kept
}

/// Complains of names that mean nothing, and of constants that never work.
fn look_over(expr: &Expr, faults: &mut Vec<String>) {
    match expr {
        Expr::Var(Var::Context) => faults.push(format!(
            "`context` is looked at by its members: {}",
            listed(&words::context())
        )),
        Expr::GetAttr { expr: of, attr } if matches!(**of, Expr::Var(_)) => {
            return check_member(of, attr, faults);
        }
        Expr::HasAttr { expr: of, attrs } if matches!(**of, Expr::Var(_)) => {
            return check_member(of, attrs.first(), faults);
        }
        Expr::UnaryOp { op, expr: of } => {
            if let (
                UnaryOp::Datetime | UnaryOp::Decimal | UnaryOp::Duration | UnaryOp::Ip,
                Expr::Literal(Literal::String(text)),
            ) = (op, &**of)
                && super::value::constant(*op, text).is_none()
            {
                faults.push(format!("`{text}` is no {op}"));
            }
        }
        Expr::BinaryOp {
            op: BinaryOp::Less | BinaryOp::LessEq | BinaryOp::Greater | BinaryOp::GreaterEq,
            left,
            right,
        } => {
            let texts = [left, right].into_iter().filter_map(|side| match &**side {
                Expr::Literal(Literal::String(text)) => Some(format!("\"{text}\"")),
                Expr::Literal(Literal::Bool(yes)) => Some(yes.to_string()),
                _ => None,
            });
            faults.extend(texts.map(|text| {
                format!("{text} cannot be less or greater: numbers, datetimes and durations can")
            }));
        }
        Expr::Literal(Literal::EntityUID(uid)) => {
            let kind = uid.ty.to_string();
            if kind == words::ACTION {
                let actions = Action::NAMES;
                if !actions.contains(&uid.eid.as_str()) {
                    faults.push(unknown(&uid.to_string(), &uid.eid, &actions));
                }
            } else {
                check_type(&kind, faults);
            }
        }
        Expr::Is { entity_type, .. } => check_type(&entity_type.to_string(), faults),
        Expr::Slot(_) | Expr::Unknown { .. } => {
            faults.push("it has a place left open".to_owned());
        }
        _ => {}
    }
    for child in children(expr) {
        look_over(child, faults);
    }
}

fn check_type(name: &str, faults: &mut Vec<String>) {
    if !words::TYPES.contains(&name) {
        faults.push(unknown(name, name, words::TYPES));
    }
}

fn check_member(of: &Expr, attr: &str, faults: &mut Vec<String>) {
    let (var, known) = match of {
        Expr::Var(Var::Context) => ("context", words::context()),
        Expr::Var(Var::Principal) => ("principal", words::PRINCIPAL.to_vec()),
        Expr::Var(Var::Resource) => ("resource", words::RESOURCE.to_vec()),
        _ => {
            return faults
                .push("`action` has no members; write action == Action::\"use\"".to_owned());
        }
    };
    if !known.contains(&attr) {
        faults.push(unknown(&format!("{var}.{attr}"), attr, &known));
    }
}

fn unknown(shown: &str, word: &str, known: &[&str]) -> String {
    match nearest::nearest(word, known.iter().copied()) {
        Some(near) => format!("there is no `{shown}`; did you mean `{near}`?"),
        None => format!("there is no `{shown}`; there are {}", listed(known)),
    }
}

fn listed(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

static VALIDATOR: LazyLock<Option<Validator>> = LazyLock::new(|| {
    let (schema, _warnings) = Schema::from_cedarschema_str(SCHEMA).ok()?;
    Some(Validator::new(schema))
});

/// Holds the parts whose types are known against the schema.
fn check_types(read: &Arc<Expr>) -> Result<(), String> {
    let is_known = |part: &Expr| {
        let needs = Needs::of(part);
        !needs.args.is_some() && !needs.principal.contains(words::CLAIMS)
    };
    let clauses = parts(&[Clause::When(Arc::clone(read))], is_known);
    if clauses.is_empty() {
        return Ok(());
    }
    let validator = VALIDATOR.as_ref().ok_or("types cannot be checked")?;
    let policy = super::finished(super::anything(0, Effect::Allow), clauses);
    let policy = policy.map_err(|error| error.to_string())?;
    let set = PolicySet::from_policies([policy]).map_err(|error| error.to_string())?;
    let found = validator.validate(&set, ValidationMode::Strict);
    let Some(error) = found.validation_errors().next() else {
        return Ok(());
    };
    // "for policy `policy0`, unexpected type: …": there is only one.
    let text = error.to_string();
    let text = text
        .split_once("`, ")
        .map_or(text.as_str(), |(_, text)| text);
    let help = error.help().map(|help| format!(" ({help})"));
    Err(format!("{text}{}", help.unwrap_or_default()))
}
