//! The page of log events: every event that the rooms log, read from their sources.
//!
//! The sources are the one place that has them all. They are read as tokens, so that an event inside of another macro
//! (`tokio::select!`) is found too; tests and what is only built for them are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::str::FromStr as _;

use anyhow::{Result, anyhow, bail};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use super::File;

pub(super) const NAME: &str = "logs.md";
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// Members that each line has; a field of that name would hide one.
const RESERVED: [&str; 4] = ["timestamp", "level", "target", "message"];
const ROOMS: [&str; 9] = [
    "wire", "policy", "net", "store", "auth", "upstream", "observe", "gateway", "server",
];

/// One event, as the source has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    pub(super) target: String,
    /// Its place in [`LEVELS`].
    pub(super) level: usize,
    pub(super) message: String,
    pub(super) fields: Vec<String>,
}

/// The page, from all sources.
pub(super) fn page(files: &[File]) -> Result<String> {
    let mut all = BTreeSet::new();
    for file in files {
        let Some(module) = module(&file.path) else {
            continue;
        };
        let found = events(&module, &file.text);
        all.extend(found.map_err(|error| anyhow!("{}: {error:#}", file.path))?);
    }
    let mut by_target: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in &all {
        by_target.entry(&event.target).or_default().push(event);
    }
    let mut page = HEAD.to_owned();
    for (target, mut events) in by_target {
        events.sort_by_key(|event| (event.level, &event.message));
        let _whole = write!(
            page,
            "\n## `{target}`\n\n| level | message | fields |\n|---|---|---|\n"
        );
        for event in events {
            let fields: Vec<String> = event
                .fields
                .iter()
                .map(|field| format!("`{field}`"))
                .collect();
            let level = LEVELS.get(event.level).copied().unwrap_or_default();
            let message = event.message.replace('|', "\\|");
            let _whole = writeln!(page, "| {level} | {message} | {} |", fields.join(", "));
        }
    }
    Ok(page)
}

const HEAD: &str = "# Log events

Made from the sources by `cargo xtask bless`; do not edit.

A line is one event. As JSON it is an object with `timestamp` (RFC 3339, UTC), `level`, `message`, the fields of the event
and `target`; as text it has the same but `target`. Text in braces is filled in. Levels: `error`: someone should wake up;
`warn`: someone should look tomorrow; `info`: the state changed; `debug`: one call's story. Filters (`log.level`,
`PUT /v1/logs/level`) name targets or what they begin with: `info,upstream=debug`. Line breaks and control characters in a
field are escaped, and a field longer than 8 KiB is cut. Libraries log events of their own below `debug` and `trace`.
";

/// The module that a source file is; `None` for what is no product, or a test.
pub(super) fn module(path: &str) -> Option<String> {
    let (room, file) = path.strip_prefix("crates/")?.split_once("/src/")?;
    if !ROOMS.contains(&room) {
        return None;
    }
    let file = file.strip_suffix(".rs")?;
    let mut parts: Vec<&str> = file.split('/').collect();
    if parts.contains(&"tests") {
        return None;
    }
    if matches!(parts.last(), Some(&("lib" | "mod" | "main"))) {
        parts.pop();
    }
    parts.insert(0, room);
    Some(parts.join("::"))
}

/// The events of one source file.
pub(super) fn events(module: &str, text: &str) -> Result<Vec<Event>> {
    let stream = TokenStream::from_str(text).map_err(|error| anyhow!("{error}"))?;
    let mut found = Vec::new();
    walk(module, stream, &mut found)?;
    Ok(found)
}

fn walk(module: &str, stream: TokenStream, found: &mut Vec<Event>) -> Result<()> {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut is_for_tests = false;
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else {
            // `#[cfg(test)] mod tests;` has no body here.
            is_for_tests &= !is_punct(Some(token), ';');
            continue;
        };
        if let (Some(level), true) = (
            level_of(&tokens, at),
            group.delimiter() == Delimiter::Parenthesis,
        ) {
            found.push(event(module, level, group)?);
        }
        match group.delimiter() {
            Delimiter::Bracket if group.stream().to_string().replace(' ', "") == "cfg(test)" => {
                is_for_tests = true;
            }
            Delimiter::Brace if is_for_tests => is_for_tests = false,
            Delimiter::Parenthesis | Delimiter::Bracket | Delimiter::Brace | Delimiter::None => {
                walk(module, group.stream(), found)?;
            }
        }
    }
    Ok(())
}

/// The level, if the group at this place is what `error!` and its like are given.
fn level_of(tokens: &[TokenTree], at: usize) -> Option<usize> {
    let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
    let (Some(TokenTree::Ident(name)), true) = (before(2), is_punct(before(1), '!')) else {
        return None;
    };
    let name = name.to_string();
    LEVELS.iter().position(|level| *level == name)
}

fn event(module: &str, level: usize, group: &Group) -> Result<Event> {
    let mut event = Event {
        target: module.to_owned(),
        level,
        message: String::new(),
        fields: Vec::new(),
    };
    for argument in arguments(group.stream()) {
        match argument.as_slice() {
            [TokenTree::Ident(word), colon, TokenTree::Literal(target)]
                if word == "target" && is_punct(Some(colon), ':') =>
            {
                event.target = unquoted(&target.to_string());
            }
            // What follows fills the message in.
            [TokenTree::Literal(message)] => {
                event.message = unquoted(&message.to_string());
                break;
            }
            tokens => {
                let name = name(tokens);
                if RESERVED.contains(&name.as_str()) {
                    bail!("an event in {module} has a field `{name}`, which each line has already");
                }
                event.fields.push(name);
            }
        }
    }
    if event.message.is_empty() {
        bail!("an event in {module} has no message");
    }
    Ok(event)
}

/// What stands between the commas.
fn arguments(stream: TokenStream) -> Vec<Vec<TokenTree>> {
    let mut all = vec![Vec::new()];
    for token in stream {
        match (is_punct(Some(&token), ','), all.last_mut()) {
            (false, Some(last)) => last.push(token),
            (true, _) | (false, None) => all.push(Vec::new()),
        }
    }
    all.retain(|one| !one.is_empty());
    all
}

/// `name = value`, `%name`, `?name` or `name`.
fn name(tokens: &[TokenTree]) -> String {
    let name = tokens
        .iter()
        .take_while(|token| !is_punct(Some(token), '='))
        .filter(|token| !is_punct(Some(token), '%') && !is_punct(Some(token), '?'));
    name.map(ToString::to_string).collect()
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// A string literal's text, but for escapes, of which messages have none that matter.
fn unquoted(literal: &str) -> String {
    let text = literal.trim_start_matches('r').trim_matches('#');
    let text = text.strip_prefix('"').unwrap_or(text);
    let text = text.strip_suffix('"').unwrap_or(text);
    text.replace("\\\"", "\"")
}
