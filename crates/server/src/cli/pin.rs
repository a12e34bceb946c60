//! `portcullis pin`: which definitions are approved, what waits and how it differs, and the yes to it. A running gate
//! beside notices within a second.

use std::io::{self, BufRead as _, IsTerminal as _};

use gateway::pins::diff::visible;
use gateway::pins::review::{self, Comparison, DIGEST_DIGITS_MIN, PinnedEntry, ReviewError};
use serde_json::{Value, json};
use store::{PinName, PinRow, Store};

use super::arguments::Unusable;
use super::key::{local, utc};
use super::record::Act;
use super::{ApprovePin, Common, Exit, Pin, now, output};

/// Who approves, in lists.
const BY: &str = "the command line";

pub(super) fn pin(common: &Common, pin: Pin) -> anyhow::Result<Exit> {
    let loaded = common.load_settings()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = Store::open(loaded.database())?;
        let exit = match pin {
            Pin::List { withheld } => list(common, &store, withheld),
            Pin::Diff { entry, kind } => {
                let of = review::find(&store, &entry, kind.map(Into::into))?;
                diff(common, &review::compare_waiting(&store, &of)?)
            }
            Pin::Approve(approve) => approve_some(common, &store, &approve).await,
            Pin::Forget { upstream } => forget(common, &store, &upstream).await,
        };
        store.close().await;
        exit
    })
}

fn list(common: &Common, store: &Store, withheld: bool) -> anyhow::Result<Exit> {
    let all = review::list(store)?
        .into_iter()
        .filter(|entry| !withheld || entry.is_withheld());
    if common.json {
        let all: Vec<Value> = all.map(|entry| in_json(&entry)).collect();
        output::json(&all)?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = all.map(|entry| row(&entry)).collect();
    if rows.is_empty() {
        output::say(if withheld {
            "nothing waits for approval"
        } else {
            "nothing is pinned yet; a gate pins what its upstreams offer when it first sees it"
        });
        return Ok(Exit::Done);
    }
    let headings = ["entry", "kind", "state", "definition", "since", "by"];
    output::data(output::table(&headings, &rows).as_bytes())?;
    Ok(Exit::Done)
}

fn row(entry: &PinnedEntry) -> Vec<String> {
    let (state, at) = match (&entry.waiting, &entry.approved) {
        (Some(waiting), Some(_)) => ("changed, withheld", Some((waiting, waiting.seen_at))),
        (Some(waiting), None) => ("new, withheld", Some((waiting, waiting.seen_at))),
        (None, Some(approved)) => {
            let since = approved.decided_at.unwrap_or(approved.seen_at);
            ("approved", Some((approved, since)))
        }
        (None, None) => ("superseded", None),
    };
    let digest = at.map(|(row, _)| short(&row.digest).to_owned());
    let by = at.and_then(|(row, _)| row.by.clone());
    vec![
        visible(&entry.title()),
        entry.of.kind.clone(),
        state.to_owned(),
        digest.unwrap_or_default(),
        at.map(|(_, at)| local(at)).unwrap_or_default(),
        by.unwrap_or_default(),
    ]
}

fn in_json(entry: &PinnedEntry) -> Value {
    let side = |row: &Option<PinRow>| {
        row.as_ref().map(|row| {
            json!({
                "digest": row.digest,
                "bytes": row.bytes,
                "seen_at": utc(row.seen_at),
                "approved_at": row.decided_at.map(utc),
                "approved_by": row.by,
            })
        })
    };
    json!({
        "entry": entry.title(),
        "upstream": entry.of.upstream,
        "kind": entry.of.kind,
        "name": entry.of.name,
        "withheld": entry.is_withheld(),
        "approved": side(&entry.approved),
        "waiting": side(&entry.waiting),
    })
}

/// As many digits of a digest as say which is meant.
fn short(digest: &str) -> &str {
    digest.get(..DIGEST_DIGITS_MIN).unwrap_or(digest)
}

fn diff(common: &Common, compared: &Comparison) -> anyhow::Result<Exit> {
    if common.json {
        let changes = compared.changes.as_ref().map(|changes| {
            let each = changes.iter();
            each.map(|one| json!({ "at": one.at, "before": one.before, "after": one.after }))
                .collect::<Vec<_>>()
        });
        let mut told = in_json(&compared.entry);
        told["is_return"] = json!(compared.is_return);
        told["changes"] = json!(changes);
        output::json(&told)?;
        return Ok(Exit::Done);
    }
    let title = visible(&compared.entry.title());
    let Some(waiting) = &compared.entry.waiting else {
        output::say(format!("{title} is as it was approved"));
        return Ok(Exit::Done);
    };
    output::data(describe(compared).as_bytes())?;
    let kind = &compared.entry.of.kind;
    output::say(format!(
        "approve exactly this with: portcullis pin approve '{title}' --kind {kind} --hash {}",
        short(&waiting.digest)
    ));
    Ok(Exit::Done)
}

/// What waits of an entry and how it differs, for people.
fn describe(compared: &Comparison) -> String {
    let entry = &compared.entry;
    let (title, kind) = (visible(&entry.title()), &entry.of.kind);
    let mut lines = Vec::new();
    let side = |row: &Option<PinRow>| {
        row.as_ref()
            .map_or_else(|| "none".to_owned(), |row| short(&row.digest).to_owned())
    };
    lines.push(format!("{title} ({kind})"));
    lines.push(format!(
        "approved {}, offered {}",
        side(&entry.approved),
        side(&entry.waiting)
    ));
    if compared.is_return {
        lines.push("an older definition that was approved once has come back".to_owned());
    }
    match &compared.changes {
        None => lines.push("too long to be kept: only the digests can be compared".to_owned()),
        Some(changes) => lines.extend(changes.iter().flat_map(gateway::pins::diff::Change::lines)),
    }
    lines.join("\n") + "\n"
}

async fn approve_some(common: &Common, store: &Store, asked: &ApprovePin) -> anyhow::Result<Exit> {
    let waiting: Vec<PinnedEntry> = match &asked.entry {
        Some(entry) => {
            let of = review::find(store, entry, asked.kind.map(Into::into))?;
            if let Some(digest) = &asked.hash {
                if digest.len() < DIGEST_DIGITS_MIN {
                    return Err(Unusable(format!(
                        "--hash: `{digest}` is too short; at least {DIGEST_DIGITS_MIN} digits say which definition is meant, as `portcullis pin diff` shows them"
                    ))
                    .into());
                }
                return approve_one(common, store, &of, digest).await;
            }
            vec![review::compare_waiting(store, &of)?.entry]
        }
        None => {
            let all = review::list(store)?;
            if let Some(alias) = &asked.upstream
                && !all.iter().any(|entry| entry.of.upstream == *alias)
            {
                return Err(nothing_of(alias));
            }
            all
        }
    };
    let waiting: Vec<PinnedEntry> = waiting
        .into_iter()
        .filter(|entry| {
            let is_meant = asked.upstream.as_ref();
            entry.is_withheld() && is_meant.is_none_or(|alias| *alias == entry.of.upstream)
        })
        .collect();
    if waiting.is_empty() {
        output::say("nothing waits for approval");
        if common.json {
            output::json(&json!({ "approved": [], "changed_since": [] }))?;
        }
        return Ok(Exit::Done);
    }
    if !asked.yes && !agreed(store, &waiting)? {
        output::say("nothing was approved");
        return Ok(Exit::Failed);
    }
    let act = Act::begin(store, "admin/pins.approve").await?;
    let titles = || waiting.iter().map(PinnedEntry::title).collect::<Vec<_>>();
    act.intend(&about(&titles())).await?;
    let exit = async {
        let changed = review::approve_all(store, &waiting, now(), BY).await?;
        let approved: Vec<String> = titles()
            .into_iter()
            .filter(|title| !changed.contains(title))
            .collect();
        if common.json {
            output::json(&json!({ "approved": approved, "changed_since": changed }))?;
        }
        output::say(format!("approved {}", counted(approved.len())));
        for title in &changed {
            let title = visible(title);
            output::say(format!(
                "{title} has changed since it was looked at, and was not approved"
            ));
        }
        Ok(if changed.is_empty() {
            Exit::Done
        } else {
            Exit::Failed
        })
    }
    .await;
    act.end(&about(&titles()), &exit).await?;
    exit
}

async fn approve_one(
    common: &Common,
    store: &Store,
    of: &PinName,
    digest: &str,
) -> anyhow::Result<Exit> {
    let act = Act::begin(store, "admin/pins.approve").await?;
    let title = gateway::pins::title(&of.upstream, &of.name);
    act.intend(&title).await?;
    let exit = match review::approve(store, of, digest, now(), BY).await {
        Ok(()) => {
            if common.json {
                output::json(&json!({ "approved": [title], "changed_since": [] }))?;
            }
            output::say(format!("approved {}", visible(&title)));
            Ok(Exit::Done)
        }
        Err(error @ (ReviewError::Changed(_) | ReviewError::NothingWaits(_))) => {
            output::say(error);
            Ok(Exit::Failed)
        }
        Err(error) => Err(error.into()),
    };
    act.end(&title, &exit).await?;
    exit
}

/// Shows what would be approved and asks: only of what was shown is the yes.
fn agreed(store: &Store, waiting: &[PinnedEntry]) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(Unusable(
            "nobody is here to look at it: say which definition with --hash, as `portcullis pin diff` shows it, or --yes"
                .to_owned(),
        )
        .into());
    }
    for entry in waiting {
        let compared = review::compare_waiting(store, &entry.of)?;
        let digest = |entry: &PinnedEntry| entry.waiting.as_ref().map(|row| row.digest.clone());
        if digest(&compared.entry) != digest(entry) {
            return Err(ReviewError::Changed(entry.title()).into());
        }
        output::say(describe(&compared));
    }
    output::say(format!("approve {}? [y/N]", counted(waiting.len())));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn forget(common: &Common, store: &Store, upstream: &str) -> anyhow::Result<Exit> {
    let act = Act::begin(store, "admin/pins.forget").await?;
    act.intend(upstream).await?;
    let exit = match store.forget_pins(upstream).await {
        Ok(0) => {
            output::say(format!("nothing of `{upstream}` is pinned"));
            if common.json {
                output::json(&json!({ "upstream": upstream, "forgotten": 0 }))?;
            }
            Ok(Exit::Failed)
        }
        Ok(count) => {
            if common.json {
                output::json(&json!({ "upstream": upstream, "forgotten": count }))?;
            }
            output::say(format!(
                "forgot {} of {upstream}; what it offers is new again",
                counted(count)
            ));
            Ok(Exit::Done)
        }
        Err(error) => Err(error.into()),
    };
    act.end(upstream, &exit).await?;
    exit
}

fn nothing_of(upstream: &str) -> anyhow::Error {
    let told =
        format!("nothing of `{upstream}` is pinned; `portcullis pin list` shows all there is");
    Unusable(told).into()
}

fn counted(definitions: usize) -> String {
    match definitions {
        1 => "1 definition".to_owned(),
        many => format!("{many} definitions"),
    }
}

/// What an act was about, for the record: the first few.
fn about(titles: &[String]) -> String {
    const NAMED_MAX: usize = 8;
    let mut text = titles
        .iter()
        .take(NAMED_MAX)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ");
    if titles.len() > NAMED_MAX {
        text = format!("{text} and {} more", titles.len() - NAMED_MAX);
    }
    text
}
