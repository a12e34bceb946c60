//! Tool search over 10,000 tools: reading their words, which is done once for each, and one search.
//!
//! A new catalog takes over the words of every tool that did not change; what is left is a list of pointers.

use std::sync::LazyLock;

use divan::{Bencher, black_box};
use gateway::Searchable;
use serde_json::{Value, json};

const TOOLS: usize = 10_000;
const VERBS: [&str; 10] = [
    "create", "list", "read", "update", "delete", "search", "send", "move", "copy", "watch",
];
const NOUNS: [&str; 25] = [
    "file", "folder", "message", "ticket", "issue", "branch", "commit", "release", "invoice",
    "customer", "order", "event", "calendar", "contact", "page", "table", "row", "query", "metric",
    "alert", "secret", "user", "role", "queue", "image",
];

/// As upstreams write them: a few hundred bytes of description and five parameters.
static DEFINITIONS: LazyLock<Vec<Value>> = LazyLock::new(|| (0..TOOLS).map(definition).collect());

fn definition(at: usize) -> Value {
    let word =
        |words: &[&'static str], at: usize| words.get(at % words.len()).copied().unwrap_or("thing");
    let (verb, noun, other) = (
        word(&VERBS, at),
        word(&NOUNS, at / 10),
        word(&NOUNS, at / 7),
    );
    json!({
        "name": format!("upstream{}.{verb}_{noun}", at % 40),
        "title": format!("{verb} a {noun}"),
        "description": format!(
            "Will {verb} one {noun} or several, and tell which of them there were. Use it when the {noun} belongs to \
             some {other}; otherwise look for the {other} first. Fails if there is no such {noun}, or if it is locked."
        ),
        "inputSchema": { "type": "object", "properties": {
            "id": { "type": "string", "description": format!("Which {noun}.") },
            "parentId": { "type": "string", "description": format!("The {other} that it belongs to.") },
            "dry_run": { "type": "boolean", "description": "Only say what would be done." },
            "page": { "type": "integer" },
            "labels": { "type": "array", "items": { "type": "string" } },
        } },
    })
}

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 10)]
fn words_of_10_000_tools(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| Searchable::of(black_box(&DEFINITIONS)));
}

#[divan::bench]
fn one_search_in_10_000_tools(bencher: Bencher<'_, '_>) {
    let tools = Searchable::of(&DEFINITIONS);
    bencher.bench_local(|| tools.fitting(black_box("update the labels of a customer"), 10));
}
