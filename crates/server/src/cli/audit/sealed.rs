//! `portcullis audit keygen|open`: arguments that the gate seals for an auditor, and opens for nobody.
//!
//! Both are the auditor's: neither needs a gate, a config or a database.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use observe::{AuditorKey, Unopened};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::super::{Common, Exit, output};

/// Longest line of an export that is read.
const LINE_MAX: u64 = 64 * 1024 * 1024;

pub(super) fn keygen(common: &Common, out: &Path) -> anyhow::Result<Exit> {
    let named = |ending: &str| {
        let mut path = out.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    };
    let (private, public) = (named(".key"), named(".pub"));
    let key = AuditorKey::generate()?;
    // First the half that there must be one of: what is sealed for a key that was not kept is lost.
    write(&private, &key.to_text(), 0o600)?;
    write(&public, &key.auditor().to_string(), 0o644)?;
    if common.json {
        let auditor = key.auditor().to_string();
        output::json(&json!({ "private": private, "public": public, "auditor": auditor }))?;
    } else {
        output::line(key.auditor())?;
    }
    output::say(format!(
        "put that line into the config, as `audit.auditor`; keep `{}` where no gate can read it, and a copy: without it nothing that is sealed can be opened",
        private.display()
    ));
    Ok(Exit::Done)
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(mode).open(path);
    let mut file = made.with_context(|| format!("cannot create `{}`", path.display()))?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    Ok(())
}

/// A line of an export, as far as it matters here.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    personal: Option<&'a RawValue>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
}

pub(super) fn open(common: &Common, file: &Path, key: &Path) -> anyhow::Result<Exit> {
    let text = Zeroizing::new(
        fs::read_to_string(key).with_context(|| format!("cannot read `{}`", key.display()))?,
    );
    let key: AuditorKey = text.parse()?;
    let mut reader: Box<dyn BufRead> = if file.as_os_str() == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let opened =
            File::open(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        Box::new(BufReader::new(opened))
    };
    let (mut opened, mut others, mut broken) = (0_u64, 0_u64, 0_u64);
    let mut line = Zeroizing::new(String::new());
    for number in 1.. {
        line.clear();
        if reader.by_ref().take(LINE_MAX).read_line(&mut line)? == 0 {
            break;
        }
        let Ok(read) = serde_json::from_str::<Line<'_>>(&line) else {
            bail!("line {number} is no line of an export");
        };
        let (Some(record), Some(personal)) = (read.record, read.personal) else {
            continue;
        };
        let record: Value = serde_json::from_str(record.get())?;
        let personal: Value = serde_json::from_str(personal.get())?;
        let (Some(call), Some(arguments)) =
            (record["call_id"].as_str(), personal["arguments"].as_str())
        else {
            continue;
        };
        match key.open(call, arguments) {
            Ok(bytes) => match told(&record, &personal, &bytes) {
                Some(line) => {
                    opened += 1;
                    output::data(line.as_bytes())?;
                }
                None => {
                    broken += 1;
                    let seq = &record["seq"];
                    output::say(format!("record {seq}: what was sealed is no JSON"));
                }
            },
            Err(Unopened::NotSealed) => {}
            Err(Unopened::Other(_)) => others += 1,
            Err(Unopened::Broken) => {
                broken += 1;
                let seq = &record["seq"];
                output::say(format!("record {seq}: {}", Unopened::Broken));
            }
        }
    }
    output::say(format!("opened the arguments of {opened} records"));
    if others > 0 {
        output::say(format!("those of {others} more are sealed for another key"));
    }
    if !common.json {
        output::say(
            "that the records are those of the log is what `portcullis audit verify` shows",
        );
    }
    Ok(if broken == 0 {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// One line: what it is about, and the arguments as they were sent, but for the space between their words. `None` if they
/// are no JSON: anybody can seal something, and whatever it is may not pass for a line of its own.
fn told(record: &Value, personal: &Value, arguments: &[u8]) -> Option<Zeroizing<String>> {
    let arguments: &RawValue = serde_json::from_slice(arguments).ok()?;
    let arguments = compact(arguments.get());
    let about = json!({
        "seq": record["seq"],
        "call_id": record["call_id"],
        "outcome": record["outcome"],
        "upstream": record["upstream"],
        "entry": record["entry"],
        "principal": personal["principal"],
    });
    let about = about.to_string();
    let about = about.strip_suffix('}').unwrap_or_default();
    Some(Zeroizing::new(
        [about, ",\"arguments\":", &arguments, "}\n"].concat(),
    ))
}

/// JSON without the space between its words. Numbers and what is there twice stay as they are.
fn compact(json: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(json.len()));
    let (mut is_string, mut is_escaped) = (false, false);
    for char in json.chars() {
        if is_string {
            is_string = is_escaped || char != '"';
            is_escaped = !is_escaped && char == '\\';
        } else if matches!(char, ' ' | '\t' | '\n' | '\r') {
            continue;
        } else {
            is_string = char == '"';
        }
        text.push(char);
    }
    text
}

#[cfg(test)]
mod tests;
