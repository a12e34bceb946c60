//! The question as a form that clients show (MCP, "Elicitation"), and what its answer means.

use std::time::Duration;

use policy::Remember;
use serde_json::{Value, json};
use wire::json;

use super::question::Question;
use super::shown;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a yes may hold, where a rule lets it hold that long.
const SPANS: [Duration; 4] = [
    HOUR,
    DAY,
    Duration::from_secs(7 * 24 * 3600),
    Duration::from_secs(30 * 24 * 3600),
];
const NO: &str = "no";
/// The form's only field.
const FIELD: &str = "answer";

/// What a person said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Yes(Remember),
    No,
    /// The form was closed.
    Nothing,
}

/// The parameters of an elicitation, fit for every revision that has them.
pub(crate) fn form(question: &Question) -> String {
    let subject = &question.subject;
    let message = format!(
        "Allow `{}` of `{}`?\n\nThe call, as the caller wrote it: {}\n\nAsked because of the rule `{}`.",
        shown::name(&subject.entry),
        shown::name(&subject.upstream),
        question.shown,
        shown::name(&subject.rule),
    );
    let choices = choices_of(question);
    let mut words = vec![NO.to_owned()];
    words.extend(choices.into_iter().map(|(word, _)| word));
    json!({
        "message": message,
        "requestedSchema": {
            "type": "object",
            "properties": { FIELD: { "type": "string", "title": "Allow it?", "enum": words } },
            "required": [FIELD],
        },
    })
    .to_string()
}

/// Reads an elicitation's result; `None` if it is none of what was offered.
pub(crate) fn said(question: &Question, result: &[u8]) -> Option<Said> {
    match json::text(result, "action")?.as_str() {
        "accept" => {}
        "decline" => return Some(Said::No),
        "cancel" => return Some(Said::Nothing),
        _ => return None,
    }
    let content: Value = serde_json::from_str(json::member(result, "content").ok()??.get()).ok()?;
    let word = content.get(FIELD)?.as_str()?;
    if word == NO {
        return Some(Said::No);
    }
    let (_, hold) = choices_of(question)
        .into_iter()
        .find(|(own, _)| own == word)?;
    Some(Said::Yes(hold))
}

fn choices_of(question: &Question) -> Vec<(String, Remember)> {
    choices(question.terms.longest, question.conversation.is_some())
}

/// The ways to say yes that a rule allows, in words.
pub(super) fn choices(longest: Remember, is_in_session: bool) -> Vec<(String, Remember)> {
    let mut choices = vec![("once".to_owned(), Remember::Once)];
    if longest >= Remember::Session && is_in_session {
        choices.push(("this session".to_owned(), Remember::Session));
    }
    if let Remember::For(longest) = longest {
        let mut spans: Vec<Duration> = SPANS.into_iter().filter(|span| *span <= longest).collect();
        if spans.is_empty() {
            spans.push(longest);
        }
        let choice = |span| (format!("for {}", words(span)), Remember::For(span));
        choices.extend(spans.into_iter().map(choice));
    }
    choices
}

/// A length of time, in words.
pub(crate) fn words(span: Duration) -> String {
    let units = [
        (DAY, "day"),
        (HOUR, "hour"),
        (Duration::from_secs(60), "minute"),
    ];
    let whole = units.into_iter().find_map(|(unit, word)| {
        let count = span.as_secs() / unit.as_secs();
        (count > 0 && span.as_secs().is_multiple_of(unit.as_secs())).then_some((count, word))
    });
    let (count, word) = whole.unwrap_or((span.as_secs(), "second"));
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {word}{plural}")
}
