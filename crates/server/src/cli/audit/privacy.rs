//! `portcullis audit subject|erase|hold`: what the log says of one person, for that person; out of it; and kept for a court.
//!
//! Each is recorded. Erasing and writing out name the person by a digest under the gate's own key, so that the record of it
//! does not undo it.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufWriter, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use observe::Places;
use observe::sinks::native;
use serde_json::json;
use store::Store;
use store::audit::text::hex;
use store::audit::{AuditHold, ERASED, Erasure};
use uuid::Uuid;

use super::super::arguments::Unusable;
use super::super::commands::{Hold, NewHold};
use super::super::key::local;
use super::super::record::{Act, BY};
use super::super::{Common, Exit, existing, now, output};
use super::time_said;
use crate::vault;

/// Ranges of erased records that stand in one record: so many fit into its text, of a thousand characters, however large
/// their numbers are. What is cut off there explains nothing.
const RANGES_MAX: usize = 25;
/// Records read at once.
const BATCH: u32 = 1000;
/// Bytes of a person's digest in records.
const PSEUDONYM_LEN: usize = 16;
/// What that digest is for.
const PSEUDONYM: &str = "audit/pseudonym";
/// Parts of the log that are named, of those that cannot be read.
const PLACES_SAID: usize = 8;
/// The most characters of a hold's reason.
const REASON_CHARS_MAX: usize = 1000;

pub(super) fn subject(common: &Common, principal: &str, out: &Path) -> anyhow::Result<Exit> {
    with_store(
        common,
        "admin/audit.subject",
        "",
        Some(principal),
        async |store| {
            let mut options = OpenOptions::new();
            let made = options.write(true).create_new(true).mode(0o600).open(out);
            let made = made.with_context(|| format!("cannot create `{}`", out.display()))?;
            let mut file = BufWriter::new(made);
            let (mut after, mut count) = (0, 0);
            let mut unread = BTreeSet::new();
            loop {
                let read = store.audit_of(principal, after, i64::MAX, BATCH)?;
                unread.extend(read.damaged);
                let Some(last) = read.records.last() else {
                    break;
                };
                after = last.seq;
                count += read.records.len();
                for record in &read.records {
                    writeln!(file, "{}", native(record))?;
                }
            }
            file.into_inner()
                .map_err(io::IntoInnerError::into_error)?
                .sync_all()?;
            if common.json {
                output::json(&json!({ "records": count, "damaged": unread }))?;
            }
            output::say(format!("{count} records of {principal}, and about it"));
            Ok(exit_of(&unread, "what they say is not in the file"))
        },
    )
}

pub(super) fn erase(
    common: &Common,
    principal: &str,
    until: Option<&str>,
    is_agreed: bool,
) -> anyhow::Result<Exit> {
    let until_us = time_said(until, "--until")?.unwrap_or(i64::MAX);
    if !is_agreed && !agreed(principal)? {
        output::say("nothing was erased");
        return Ok(Exit::Failed);
    }
    with_store(
        common,
        "admin/audit.erase",
        "",
        Some(principal),
        async |store| {
            let erased = erase_and_name(store, principal, until_us).await?;
            if common.json {
                let mut told = json!({ "erased": erased.count, "damaged": erased.unread });
                if !erased.holds.is_empty() {
                    told["holds"] = json!(erased.holds);
                }
                output::json(&told)?;
            }
            if erased.holds.is_empty() {
                output::say(format!(
                    "the personal part of {} records is erased; what was exported, sent on or backed up before still has it",
                    erased.count
                ));
                return Ok(exit_of(&erased.unread, "what they say is not erased"));
            }
            let done = match erased.count {
                0 => "nothing was erased".to_owned(),
                count => format!("after {count} records no more were erased"),
            };
            output::say(format!(
                "{done}: records are under a legal hold ({}); `portcullis audit hold list` shows them",
                erased.holds.join(", ")
            ));
            Ok(Exit::Refused)
        },
    )
}

/// What was erased, and what was not.
#[derive(Default)]
struct Erased {
    count: u64,
    /// Where parts of the log begin that cannot be read.
    unread: BTreeSet<i64>,
    /// What ended it.
    holds: Vec<String>,
}

impl Erased {
    fn add(&mut self, erasure: Erasure) {
        match erasure {
            Erasure::Done(count) => self.count += count,
            Erasure::Partly { erased, damaged } => {
                self.count += erased;
                self.unread.insert(damaged);
            }
            Erasure::Held { holds, erased } => {
                self.count += erased;
                self.holds = holds;
            }
        }
    }
}

/// How it ended; says where the log could not be read, and what that means.
fn exit_of(unread: &BTreeSet<i64>, so: &str) -> Exit {
    if unread.is_empty() {
        return Exit::Done;
    }
    let mut places: Vec<String> = unread
        .iter()
        .take(PLACES_SAID)
        .map(i64::to_string)
        .collect();
    if unread.len() > PLACES_SAID {
        places.push(format!("{} more", unread.len() - PLACES_SAID));
    }
    output::say(format!(
        "but parts of the log cannot be read, those that begin with the records {}: {so}; a backup may have them whole",
        places.join(", ")
    ));
    Exit::Failed
}

/// Erases, and before that records which records: who verifies the log sees that no others were emptied, also if this is
/// killed in between.
async fn erase_and_name(store: &Store, principal: &str, until_us: i64) -> anyhow::Result<Erased> {
    let mut erased = Erased::default();
    // Nothing yet: what is under a hold is not named, and what is erased not once more.
    erased.add(store.erase_audit(principal, until_us, 0).await?);
    if principal == ERASED || !erased.holds.is_empty() {
        return Ok(erased);
    }
    // What comes after this is not erased: our own records may be about whom they are of.
    let end = store.audit_end()?;
    let mut last = 0;
    loop {
        let read = store.audit_of(principal, last, until_us, BATCH)?;
        erased.unread.extend(read.damaged);
        let mut records = read.records;
        records.retain(|one| one.seq <= end);
        let Some(newest) = records.last() else {
            return Ok(erased);
        };
        last = newest.seq;
        let mut those = Places::default();
        for record in &records {
            those.push(u64::try_from(record.seq)?);
        }
        for text in those.texts(RANGES_MAX) {
            let act = Act::begin(store, "admin/audit.erased").await?;
            act.end(&text, &Ok(Exit::Done)).await?;
        }
        erased.add(store.erase_audit(principal, until_us, last).await?);
        if !erased.holds.is_empty() {
            return Ok(erased);
        }
    }
}

/// Asks on a terminal.
fn agreed(principal: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        let why = "nobody is here to be asked, and what is erased is gone: say --yes";
        return Err(Unusable(why.to_owned()).into());
    }
    output::say(format!(
        "erase who, from where, with what and why of all records of {principal}, and about it? [y/N]"
    ));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

pub(super) fn hold(common: &Common, hold: &Hold) -> anyhow::Result<Exit> {
    match hold {
        Hold::Add(new) => add(common, new),
        Hold::Release { id } => release(common, id),
        Hold::List => list(common),
    }
}

fn release(common: &Common, id: &str) -> anyhow::Result<Exit> {
    // What is no id may be a name by mistake: it gets into no record.
    let thing = Uuid::try_parse(id).map_or("", |_is_one| id);
    with_store(common, "admin/audit.release", thing, None, async |store| {
        let was_held = store.release_audit_hold(id, now()).await?;
        if common.json {
            output::json(&json!({ "id": id, "released": was_held }))?;
        }
        if !was_held {
            output::say(format!(
                "there is no hold {id}; `portcullis audit hold list` shows them all"
            ));
            return Ok(Exit::Failed);
        }
        output::say(format!("hold {id} is ended"));
        Ok(Exit::Done)
    })
}

fn add(common: &Common, new: &NewHold) -> anyhow::Result<Exit> {
    let hold = AuditHold {
        id: Uuid::new_v4().simple().to_string(),
        principal: new.principal.clone(),
        since_us: time_said(new.since.as_deref(), "--since")?,
        until_us: time_said(new.until.as_deref(), "--until")?,
        reason: new.reason.clone(),
        by: BY.to_owned(),
        created_at: now(),
        released_at: None,
    };
    if hold.principal.is_none() && hold.since_us.is_none() && hold.until_us.is_none() {
        let why = "say what is held: --principal, --since or --until";
        return Err(Unusable(why.to_owned()).into());
    }
    if hold.reason.trim().is_empty() || hold.reason.chars().count() > REASON_CHARS_MAX {
        let why = format!("say why, in at most {REASON_CHARS_MAX} characters");
        return Err(Unusable(why).into());
    }
    with_store(
        common,
        "admin/audit.hold",
        &held(&hold),
        new.principal.as_deref(),
        async |store| {
            let id = hold.id.clone();
            store.add_audit_hold(hold.clone()).await?;
            if common.json {
                output::json(&json!({ "id": id }))?;
            } else {
                output::line(&id)?;
            }
            output::say(
                "these records stay, and are not erased, until `portcullis audit hold release`",
            );
            Ok(Exit::Done)
        },
    )
}

fn list(common: &Common) -> anyhow::Result<Exit> {
    let store = existing(&common.load_settings()?)?;
    let holds = store.list_audit_holds()?;
    let time = |us: Option<i64>| us.map(super::time).map(|at| at.to_string());
    if common.json {
        let all = holds.iter().map(|hold| {
            json!({
                "id": hold.id,
                "principal": hold.principal,
                "since": time(hold.since_us),
                "until": time(hold.until_us),
                "reason": hold.reason,
                "by": hold.by,
                "created_at": super::super::key::utc(hold.created_at),
                "released_at": hold.released_at.map(super::super::key::utc),
            })
        });
        output::json(&all.collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    if holds.is_empty() {
        output::say("no records are under a hold");
        return Ok(Exit::Done);
    }
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<Vec<String>> = holds
        .iter()
        .map(|hold| {
            vec![
                hold.id.clone(),
                dash(hold.principal.clone()),
                dash(time(hold.since_us)),
                dash(time(hold.until_us)),
                local(hold.created_at),
                dash(hold.released_at.map(local)),
                output::printable(&hold.reason).replace('\n', " "),
            ]
        })
        .collect();
    let headings = [
        "id",
        "principal",
        "since",
        "until",
        "put on",
        "ended",
        "reason",
    ];
    output::data(output::table(&headings, &rows).as_bytes())?;
    Ok(Exit::Done)
}

/// A hold's id and its time, as ISO 8601 writes one (8601-2 with `..` for no end), for the record.
fn held(hold: &AuditHold) -> String {
    let time =
        |us: Option<i64>| us.map_or_else(|| "..".to_owned(), |us| super::time(us).to_string());
    format!(
        "{} {}/{}",
        hold.id,
        time(hold.since_us),
        time(hold.until_us)
    )
}

/// Does something with the log, and records it, before as well; `whose` it is is told from all others, but not named.
fn with_store(
    common: &Common,
    action: &'static str,
    thing: &str,
    whose: Option<&str>,
    work: impl AsyncFnOnce(&Store) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let loaded = common.load_settings()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = existing(&loaded)?;
        let vault = vault::open(&store, &loaded.master_key, now())?;
        let digest = whose.map(|name| {
            let digest = vault.hash(PSEUDONYM, name.as_bytes());
            hex(digest.get(..PSEUDONYM_LEN).unwrap_or_default())
        });
        let parts = [thing, digest.as_deref().unwrap_or_default()];
        let about = parts.join(" ").trim().to_owned();
        let act = Act::begin(&store, action).await?;
        act.intend(&about).await?;
        let exit = work(&store).await;
        act.end(&about, &exit).await?;
        store.close().await;
        exit
    })
}
