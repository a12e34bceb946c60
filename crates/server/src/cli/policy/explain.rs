//! `portcullis policy explain`: the decision, and what every rule had to say.

use policy::rules::{Explanation, Said, Spoken, Why};
use policy::{Decision, PrincipalId, RoleName, Traits};
use serde_json::{Value, json};
use store::Store;

use super::super::arguments::{self, Unusable};
use super::super::{Common, Exit, now, output};
use super::question::{self, Question, Word};
use super::{Explain, What};
use crate::config::Loaded;

pub(super) fn explain(common: &Common, asked: &Explain) -> anyhow::Result<Exit> {
    let loaded = common.load_settings()?;
    let question = question(&loaded, asked)?;
    let rules = &loaded.gateway.rules;
    let told = rules.explain(&question.principal, &question.subject(), &question.facts());
    let word = Word::of(&told.decision, told.is_seen);
    let notes = notes(&loaded, asked, &question, &told);
    if common.json {
        output::json(&in_json(&question, word, &told, &notes))?;
    } else {
        output::data(in_words(&question, word, &told).as_bytes())?;
        for note in notes {
            output::say(format!("note: {note}"));
        }
    }
    Ok(Exit::Done)
}

fn question(loaded: &Loaded, asked: &Explain) -> anyhow::Result<Question> {
    let unusable = |reason: String| Unusable(reason);
    let id = PrincipalId::new(&asked.principal)
        .map_err(|error| unusable(format!("`{}`: {error}", asked.principal)))?;
    let path = loaded.database();
    let store = path.exists().then(|| Store::open(&path)).transpose()?;
    let mut roles = question::roles_of(loaded, store.as_ref(), &id)?;
    for name in &asked.roles {
        let role = RoleName::new(name).map_err(|error| unusable(format!("`{name}`: {error}")))?;
        roles.insert(role);
    }
    let about = asked.kind.about();
    let (upstream, name) = question::pair(about, &asked.entry).map_err(unusable)?;
    let (verb, kind) = question::verb_and_kind(about, &name);
    let server = asked.server.as_deref();
    let server = server
        .map(|name| question::server(loaded, name))
        .transpose();
    let words = &asked.arguments;
    let arguments = arguments::object(words, &mut std::io::stdin().lock())?;
    let claims = arguments::object(&asked.claims, &mut std::io::empty())?;
    let now = match asked.now.as_deref().map(str::parse::<jiff::Timestamp>) {
        None => now(),
        Some(Ok(when)) => when.into(),
        Some(Err(_)) => {
            return Err(
                Unusable("--now wants a time such as 2026-12-24T18:00:00Z".to_owned()).into(),
            );
        }
    };
    Ok(Question {
        principal: question::somebody(id, roles, claims),
        verb,
        kind,
        server: server.map_err(unusable)?,
        upstream,
        name,
        traits: Traits::default(),
        arguments: Some(Value::Object(arguments)),
        client: asked.client.clone(),
        now,
    })
}

/// What else to know: rules are not all that decides, and some of what they look at is not known here.
fn notes(loaded: &Loaded, asked: &Explain, question: &Question, told: &Explanation) -> Vec<String> {
    let mut notes = Vec::new();
    if asked.kind != What::Admin && !question::has_upstream(loaded, &question.upstream) {
        notes.push(format!(
            "the config has no upstream `{}`; whether an upstream has the entry is not looked at here",
            question.upstream
        ));
    }
    let looks_at = loaded
        .gateway
        .rules
        .unrecorded(&question.principal, &question.subject());
    if looks_at.hints {
        notes.push(
            "a rule looks at what the upstream says of the tool, which is not known here: taken for one that changes and destroys".to_owned(),
        );
    }
    let may_ask = question::asks_destructive(loaded, question.server.as_ref());
    if matches!(told.decision, Decision::Allow(_)) && asked.kind == What::Tool && may_ask {
        notes.push(
            "a person is asked all the same if the upstream says that the tool destroys (consent.destructive)".to_owned(),
        );
    }
    let mut private = loaded.gateway.consent.private.iter();
    let is_read = matches!(asked.kind, What::Resource | What::Subscription);
    if matches!(told.decision, Decision::Allow(_))
        && is_read
        && private.any(|mark| mark.matches(&question.upstream, &question.name))
    {
        notes.push("a person is asked all the same: it is private (consent.private)".to_owned());
    }
    let is_missing = |rule: &Spoken| matches!(rule.said, Said::Unclear(Why::Missing));
    if told.rules.iter().any(is_missing) {
        notes.push(
            "where something may be left out, ask first whether it is there: `context.args has NAME && context.args.NAME == …`".to_owned(),
        );
    }
    notes
}

fn in_words(question: &Question, word: Word, told: &Explanation) -> String {
    let roles: Vec<&str> = question
        .principal
        .roles
        .iter()
        .map(RoleName::as_str)
        .collect();
    let entry = format!("{}.{}", question.upstream, question.name);
    let why = match question::rule(&told.decision) {
        Some(rule) => rule,
        None if roles.is_empty() => "it has no role".to_owned(),
        None => "no rule of its roles allows it".to_owned(),
    };
    let mut lines = vec![
        format!("{}: {entry} for {}", word.as_str(), question.principal.id),
        format!("because: {why}"),
        format!("roles: {}", or_none(&roles)),
    ];
    if !told.undefined.is_empty() {
        let names: Vec<&str> = told.undefined.iter().map(RoleName::as_str).collect();
        let names = names.join(", ");
        lines.push(format!("roles that the config does not define: {names}"));
    }
    let rows: Vec<Vec<String>> = told
        .rules
        .iter()
        .map(|rule| {
            let mark = if rule.won { "*" } else { "" };
            vec![
                mark.to_owned(),
                rule.rule.to_string(),
                rule.said.to_string(),
            ]
        })
        .collect();
    let mut text = lines.join("\n") + "\n";
    if !rows.is_empty() {
        text.push('\n');
        text += &output::table(&["", "rule", "what it says"], &rows);
    }
    text
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn in_json(question: &Question, word: Word, told: &Explanation, notes: &[String]) -> Value {
    let rules = told.rules.iter().map(|rule| {
        json!({
            "rule": rule.rule.to_string(),
            "effect": rule.effect.as_str(),
            "says": rule.said.to_string(),
            "decides": rule.won,
            "cedar": rule.cedar,
        })
    });
    json!({
        "principal": question.principal.id.as_str(),
        "roles": question.principal.roles.iter().map(RoleName::as_str).collect::<Vec<_>>(),
        "undefined_roles": told.undefined.iter().map(RoleName::as_str).collect::<Vec<_>>(),
        "upstream": question.upstream.as_str(),
        "name": question.name,
        "decision": word.as_str(),
        "rule": question::rule(&told.decision),
        "rules": rules.collect::<Vec<_>>(),
        "notes": notes,
    })
}
