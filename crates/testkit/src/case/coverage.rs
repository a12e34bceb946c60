//! Which methods no case asks for, by kind of principal: `cases/uncovered.txt`, which only gets shorter.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use wire::method::METHODS;

use super::page::{Asking, Form, Over, Step, steps};

/// Somebody at this machine, somebody with a key, somebody whom nobody knows.
const KINDS: [&str; 3] = ["local", "key", "nobody"];

/// Holds the list against the cases.
pub(super) fn check(folder: &Path, updates: bool) -> Result<()> {
    let mut missing: BTreeSet<String> = METHODS
        .iter()
        .flat_map(|method| KINDS.map(|kind| format!("{} {kind}", method.name)))
        .collect();
    for (name, path) in super::files(folder)? {
        let steps =
            steps(&fs::read_to_string(path)?).with_context(|| format!("cases/{name}.md"))?;
        for step in &steps {
            if let Step::Ask(asking) = step {
                for covered in covered(asking) {
                    missing.remove(&covered);
                }
            }
        }
    }
    let file = folder.join("uncovered.txt");
    let listed = fs::read_to_string(&file).unwrap_or_default();
    let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    if updates {
        let text: String = missing.iter().map(|pair| format!("{pair}\n")).collect();
        fs::write(&file, text)?;
        return Ok(());
    }
    let more: Vec<_> = missing.difference(&listed).collect();
    ensure!(
        more.is_empty(),
        "no case asks for these any more, or not yet: {more:?}"
    );
    let fewer: Vec<_> = listed.difference(&missing).collect();
    ensure!(
        fewer.is_empty(),
        "a case asks for these now, so uncovered.txt must not list them: {fewer:?}"
    );
    Ok(())
}

fn covered(asking: &Asking) -> BTreeSet<String> {
    let kind = match asking.ask.who.as_str() {
        "local" => "local",
        "nobody" => "nobody",
        _ => "key",
    };
    let body = match asking.ask.form {
        Form::Request => asking.text.split_once("\n\n").map_or("", |(_, body)| body),
        Form::Message | Form::Body => &asking.text,
    };
    let message: Value = serde_json::from_str(body).unwrap_or_default();
    let messages = match &message {
        Value::Array(batch) => batch.iter().collect(),
        message => vec![message],
    };
    let named = messages
        .into_iter()
        .filter_map(|message| message["method"].as_str());
    // A session begins with a handshake.
    let handshake = match &asking.ask.over {
        Over::Http(Some(_)) | Over::Stdio(Some(_)) => Some("initialize"),
        Over::Http(None) | Over::Stdio(None) => None,
    };
    named
        .chain(handshake)
        .map(|method| format!("{method} {kind}"))
        .collect()
}
