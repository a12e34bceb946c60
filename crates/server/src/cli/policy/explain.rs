//! `portcullis policy explain`: the decision, and what every rule had to say.

use anyhow::anyhow;
use policy::rules::Explanation;
use policy::{PrincipalId, RoleName, ServerName, Traits};
use serde_json::{Value, json};
use store::Store;

use super::super::arguments::{self, Unusable};
use super::super::{Common, Exit, now, output};
use super::Explain;
use super::question::{self, Question, Word};

pub(super) fn explain(common: &Common, asked: &Explain) -> anyhow::Result<Exit> {
    let loaded = common.load_settings()?;
    let question = question(&loaded, asked)?;
    let rules = &loaded.gateway.rules;
    let told = rules.explain(&question.principal, &question.subject(), &question.facts());
    let word = Word::of(&told.decision, told.is_seen);
    if common.json {
        output::json(&in_json(&question, word, &told))?;
    } else {
        output::data(in_words(&question, word, &told).as_bytes())?;
    }
    Ok(Exit::Done)
}

fn question(loaded: &crate::config::Loaded, asked: &Explain) -> anyhow::Result<Question> {
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
    let server = asked.server.as_deref().map(ServerName::new).transpose();
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
        server: server.map_err(|error| anyhow!(unusable(error.to_string())))?,
        upstream,
        name,
        traits: Traits::default(),
        arguments: Some(Value::Object(arguments)),
        client: asked.client.clone(),
        now,
    })
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

fn in_json(question: &Question, word: Word, told: &Explanation) -> Value {
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
    })
}
