//! `portcullis policy test`: a table of cases, each with what is expected of the rules.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use policy::rules::About;
use policy::{PrincipalId, RoleName, Scopes, Traits};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::{Common, Exit, now, output};
use super::question::{self, Question, Word};
use crate::config::Loaded;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    case: Vec<RawCase>,
}

/// One case, as people write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCase {
    name: Option<String>,
    principal: Option<String>,
    roles: Vec<String>,
    claims: Map<String, Value>,
    scopes: Option<Vec<String>>,
    client: String,
    now: Option<toml::Value>,
    server: Option<String>,
    tool: Option<String>,
    prompt: Option<String>,
    resource: Option<String>,
    completion: Option<String>,
    subscription: Option<String>,
    task: Option<String>,
    method: Option<String>,
    sampling: Option<String>,
    admin: Option<String>,
    args: Map<String, Value>,
    traits: RawTraits,
    expect: Option<String>,
    rule: Option<String>,
}

/// What the server says of a tool.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTraits {
    read_only: Option<bool>,
    destructive: Option<bool>,
    idempotent: Option<bool>,
    open_world: Option<bool>,
    private: bool,
}

/// How one came out.
pub(super) struct Outcome {
    name: String,
    expected: String,
    pub(super) found: String,
    rule: Option<String>,
    is_good: bool,
}

pub(super) fn test(common: &Common, file: &Path) -> anyhow::Result<Exit> {
    let loaded = common.load_settings()?;
    let size = fs::metadata(file).with_context(|| format!("{} cannot be read", file.display()))?;
    if size.len() > FILE_BYTES_MAX {
        bail!("{} is larger than {FILE_BYTES_MAX} bytes", file.display());
    }
    let text =
        fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let outcomes = outcomes(&text, &loaded)
        .with_context(|| format!("{} is no table of cases", file.display()))?;
    if outcomes.is_empty() {
        bail!("{} has no [[case]]", file.display());
    }
    for doubt in &loaded.doubts {
        output::say(format!("note: {doubt}"));
    }
    tell(common, &outcomes)?;
    if outcomes.iter().all(|outcome| outcome.is_good) {
        Ok(Exit::Done)
    } else {
        Ok(Exit::Failed)
    }
}

fn tell(common: &Common, outcomes: &[Outcome]) -> anyhow::Result<()> {
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.is_good).collect();
    if common.json {
        let rows = outcomes.iter().map(|outcome| {
            json!({
                "case": outcome.name,
                "expected": outcome.expected,
                "found": outcome.found,
                "rule": outcome.rule,
                "passed": outcome.is_good,
            })
        });
        output::json(&rows.collect::<Vec<_>>())?;
    } else if !failed.is_empty() {
        let rows = failed.iter().map(|outcome| {
            let rule = outcome.rule.clone().unwrap_or_else(|| "no rule".to_owned());
            vec![
                outcome.name.clone(),
                outcome.expected.clone(),
                outcome.found.clone(),
                rule,
            ]
        });
        let rows: Vec<_> = rows.collect();
        output::data(
            output::table(&["case", "expected", "found", "decided by"], &rows).as_bytes(),
        )?;
    }
    let (good, all) = (outcomes.len() - failed.len(), outcomes.len());
    output::say(format!("{good} of {all} cases came out as expected"));
    Ok(())
}

/// How each case of a file comes out.
pub(super) fn outcomes(text: &str, loaded: &Loaded) -> Result<Vec<Outcome>, toml::de::Error> {
    let cases = toml::from_str::<RawFile>(text)?.case;
    let numbered = cases.iter().enumerate();
    Ok(numbered
        .map(|(index, case)| outcome(index, case, loaded))
        .collect())
}

fn outcome(index: usize, case: &RawCase, loaded: &Loaded) -> Outcome {
    let rules = &loaded.gateway.rules;
    let expected = case.expect.clone().unwrap_or_else(|| "-".to_owned());
    let unnamed = || match targets(case).first() {
        Some((about, text)) => format!("{}: {} {text}", index + 1, about.as_str()),
        None => (index + 1).to_string(),
    };
    let name = case.name.clone().unwrap_or_else(unnamed);
    let answered = expectation(case).and_then(|word| Ok((word, question(case, loaded)?)));
    match answered {
        Err(reason) => Outcome {
            name,
            expected,
            found: format!("not asked: {reason}"),
            rule: None,
            is_good: false,
        },
        Ok((word, question)) => {
            let (found, rule) = question.answer(rules);
            let fits = |rule: &String| {
                case.rule
                    .as_ref()
                    .is_none_or(|start| rule.starts_with(start.as_str()))
            };
            let is_rule = rule.as_ref().map_or(case.rule.is_none(), fits);
            Outcome {
                name,
                expected: match &case.rule {
                    Some(rule) => format!("{expected} by {rule}"),
                    None => expected,
                },
                found: found.as_str().to_owned(),
                is_good: found == word && is_rule,
                rule,
            }
        }
    }
}

fn expectation(case: &RawCase) -> Result<Word, String> {
    let words = Word::ALL.map(Word::as_str).join(", ");
    let Some(text) = &case.expect else {
        return Err(format!("`expect` is missing; write one of {words}"));
    };
    Word::parse(text).ok_or_else(|| format!("`expect = \"{text}\"` is none of {words}"))
}

fn targets(case: &RawCase) -> Vec<(About, &str)> {
    let all = [
        (About::Tool, &case.tool),
        (About::Prompt, &case.prompt),
        (About::Resource, &case.resource),
        (About::Completion, &case.completion),
        (About::Subscription, &case.subscription),
        (About::Task, &case.task),
        (About::Method, &case.method),
        (About::Sampling, &case.sampling),
        (About::Admin, &case.admin),
    ];
    let given = all.into_iter();
    given
        .filter_map(|(about, text)| Some((about, text.as_deref()?)))
        .collect()
}

fn question(case: &RawCase, loaded: &Loaded) -> Result<Question, String> {
    let rules = &loaded.gateway.rules;
    let targets = targets(case);
    let [(about, text)] = targets.as_slice() else {
        return Err("exactly one of tool, prompt, resource, completion, subscription, task, method, sampling and admin is needed".to_owned());
    };
    let (upstream, name) = question::pair(*about, text)?;
    // A case about a mistyped name would come out as hidden, and pass.
    if *about != About::Admin && !question::has_upstream(loaded, &upstream) {
        return Err(format!("the config has no upstream `{upstream}`"));
    }
    let (verb, kind) = question::verb_and_kind(*about, &name);
    let wrong = |text: &str, error: &dyn std::fmt::Display| format!("`{text}`: {error}");
    let id = case.principal.as_deref().unwrap_or("somebody");
    let id = PrincipalId::new(id).map_err(|error| wrong(id, &error))?;
    let mut roles = rules.roles_of(&id);
    for text in &case.roles {
        let role = RoleName::new(text).map_err(|error| wrong(text, &error))?;
        if !rules.defines(&role) {
            return Err(format!("there is no role `{role}`"));
        }
        roles.insert(role);
    }
    let server = case.server.as_deref();
    let server = server.map(|name| question::server(loaded, name));
    let mut principal = question::somebody(id, roles, case.claims.clone());
    if let Some(scopes) = &case.scopes {
        let known = |word: &&String| !Scopes::parse(word).is_empty();
        if let Some(word) = scopes.iter().find(|word| !known(word)) {
            return Err(format!("`{word}` is no scope of the gate"));
        }
        principal.scopes = Scopes::parse(&scopes.join(" "));
    }
    Ok(Question {
        principal,
        verb,
        kind,
        server: server.transpose()?,
        upstream,
        name,
        traits: Traits {
            read_only: case.traits.read_only,
            destructive: case.traits.destructive,
            idempotent: case.traits.idempotent,
            open_world: case.traits.open_world,
            private: case.traits.private,
        },
        arguments: Some(Value::Object(case.args.clone())),
        client: case.client.clone(),
        now: match &case.now {
            None => now(),
            Some(written) => {
                // With quotes or without.
                let text = match written {
                    toml::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let when = text.parse::<jiff::Timestamp>();
                when.map_err(|_none| {
                    format!(
                        "`{text}` is no time with its zone; write for example 2026-12-24T18:00:00Z"
                    )
                })?
                .into()
            }
        },
    })
}
