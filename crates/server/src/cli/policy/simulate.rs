//! `portcullis policy simulate`: recorded calls, held against the rules as they are written now.
//!
//! The record has who, what, when, through what and by which credential. It has neither arguments nor claims nor what
//! upstreams said of their tools: a call whose decision hangs on these is told as that, and not guessed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gateway::EntryKind;
use policy::config::duration;
use policy::rules::About;
use policy::{PrincipalId, RoleName, Rules, ServerName, Traits, UpstreamId};
use serde_json::{Map, json};
use store::{AuditFilter, AuditRow, Recorded, Store};

use super::super::arguments::Unusable;
use super::super::{Common, Exit, now, output};
use super::Simulate;
use super::question::{self, Question};
use crate::config::Loaded;

/// Records read at once.
const BATCH: u32 = 1000;
/// How many different kinds of calls are told apart.
const GROUPS_MAX: usize = 10_000;

/// Calls that are alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    principal: String,
    method: String,
    entry: String,
    server: String,
    recorded: String,
    pub(super) now: String,
    rule: String,
    differs: bool,
}

/// What becomes of a recorded call.
enum Becomes {
    Word(&'static str, Option<String>),
    /// On what is not in the record.
    Depends(&'static str),
}

pub(super) fn simulate(common: &Common, asked: &Simulate) -> anyhow::Result<Exit> {
    let long = duration(&asked.since).map_err(|_none| {
        Unusable(format!(
            "--since: `{}` is no duration; write 24h or 7d",
            asked.since
        ))
    })?;
    let loaded = common.load_settings()?;
    let path = loaded.database();
    let mut groups: BTreeMap<Group, u64> = BTreeMap::new();
    if path.exists() {
        let store = Store::open(&path)?;
        let from = now().checked_sub(long).unwrap_or(UNIX_EPOCH);
        let mut after = Some(0);
        while let Some(seq) = after {
            let records = store.audit_tail(BATCH, Some(seq), &AuditFilter::default())?;
            after = records.last().map(|last| last.seq);
            for Recorded { row, .. } in records.iter().filter(|record| at(&record.row) >= from) {
                if let Some(group) = group(row, &loaded, &store)?
                    && (groups.len() < GROUPS_MAX || groups.contains_key(&group))
                {
                    *groups.entry(group).or_default() += 1;
                }
            }
        }
    }
    tell(common, asked, &groups)?;
    Ok(Exit::Done)
}

fn tell(common: &Common, asked: &Simulate, groups: &BTreeMap<Group, u64>) -> anyhow::Result<()> {
    let count = |wanted: fn(&Group) -> bool| -> u64 {
        groups
            .iter()
            .filter(|(group, _)| wanted(group))
            .map(|(_, calls)| calls)
            .sum()
    };
    let depends = |group: &Group| group.now.starts_with("depends");
    let (all, open) = (count(|_| true), count(depends));
    let changed = count(|group| group.differs);
    let shown = groups
        .iter()
        .filter(|(group, _)| asked.all || group.differs || depends(group));
    if common.json {
        let rows = shown.map(|(group, calls)| {
            json!({
                "principal": group.principal,
                "method": group.method,
                "entry": group.entry,
                "server": Some(&group.server).filter(|server| !server.is_empty()),
                "calls": calls,
                "recorded": group.recorded,
                "now": group.now,
                "rule": Some(&group.rule).filter(|rule| !rule.is_empty()),
                "changes": group.differs,
            })
        });
        let rows: Vec<_> = rows.collect();
        output::json(&json!({ "calls": all, "change": changed, "depend": open, "rows": rows }))?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> = shown
        .map(|(group, calls)| {
            let through = match group.server.as_str() {
                "" => group.entry.clone(),
                server => format!("{server}/{}", group.entry),
            };
            vec![
                group.principal.clone(),
                group.method.clone(),
                through,
                calls.to_string(),
                group.recorded.clone(),
                group.now.clone(),
                group.rule.clone(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let headings = [
            "principal",
            "method",
            "entry",
            "calls",
            "recorded",
            "now",
            "rule",
        ];
        output::data(output::table(&headings, &rows).as_bytes())?;
    }
    output::say(format!(
        "{all} recorded calls since {} ago: {changed} would be decided otherwise, {open} depend on what is not recorded",
        asked.since
    ));
    Ok(())
}

/// `None`: the rules had no say in it.
pub(super) fn group(
    row: &AuditRow,
    loaded: &Loaded,
    store: &Store,
) -> anyhow::Result<Option<Group>> {
    // The record says "unseen" or "deny" of what the caller did not get.
    let recorded = match &*row.decision {
        "allow" => "allow",
        "ask" => "ask",
        "deny" | "unseen" => "refused",
        _ => return Ok(None),
    };
    let Some(becomes) = becomes(row, loaded, store)? else {
        return Ok(None);
    };
    let (now, rule) = match becomes {
        Becomes::Word(word, rule) => (word.to_owned(), rule),
        Becomes::Depends(on) => (format!("depends on {on}"), None),
    };
    Ok(Some(Group {
        principal: row.principal.clone(),
        method: row.method.to_string(),
        entry: row.entry.clone().unwrap_or_default(),
        server: row.server.clone().unwrap_or_default(),
        recorded: recorded.to_owned(),
        differs: !now.starts_with("depends") && now != recorded,
        now,
        rule: rule.unwrap_or_default(),
    }))
}

fn becomes(row: &AuditRow, loaded: &Loaded, store: &Store) -> anyhow::Result<Option<Becomes>> {
    let Ok(id) = PrincipalId::new(&row.principal) else {
        return Ok(None);
    };
    let Some((about, upstream, name)) = subject(row, loaded) else {
        return Ok(Some(Becomes::Depends("an entry that there was not")));
    };
    let Some(roles) = roles(row, &id, loaded, store)? else {
        return Ok(Some(Becomes::Depends(
            "the roles that its token or certificate brought",
        )));
    };
    let (verb, kind) = question::verb_and_kind(about, &name);
    let question = Question {
        principal: question::somebody(id, roles, Map::new()),
        verb,
        kind,
        server: row
            .server
            .as_deref()
            .and_then(|name| ServerName::new(name).ok()),
        upstream,
        name,
        traits: Traits::default(),
        arguments: None,
        client: row.client.clone(),
        now: at(row),
    };
    let rules = &loaded.gateway.rules;
    let unrecorded = rules.unrecorded(&question.principal, &question.subject());
    if unrecorded.hints {
        return Ok(Some(Becomes::Depends("what the upstream says of it")));
    }
    if unrecorded.arguments {
        return Ok(Some(Becomes::Depends("arguments")));
    }
    if unrecorded.claims {
        return Ok(Some(Becomes::Depends("claims")));
    }
    let decision = rules.decide(&question.principal, &question.subject(), &question.facts());
    let word = match &decision {
        // What made the gate ask then, it still knows of the entry.
        policy::Decision::Allow(_) if asks_besides(row, &question, loaded) => {
            return Ok(Some(Becomes::Word("ask", row.rule.clone())));
        }
        policy::Decision::Allow(_) => "allow",
        policy::Decision::Ask(_) => "ask",
        policy::Decision::Deny(_) | policy::Decision::Unseen => "refused",
    };
    Ok(Some(Becomes::Word(word, question::rule(&decision))))
}

/// Whether the call was asked about for what the entry is, and would be again where the rules allow it.
fn asks_besides(row: &AuditRow, question: &Question, loaded: &Loaded) -> bool {
    match row.rule.as_deref() {
        Some("consent: destructive") => {
            question::asks_destructive(loaded, question.server.as_ref())
        }
        Some("consent: private") => {
            let mut marks = loaded.gateway.consent.private.iter();
            marks.any(|mark| mark.matches(&question.upstream, &question.name))
        }
        _ => false,
    }
}

/// What was asked for, under its upstream's own name.
fn subject(row: &AuditRow, loaded: &Loaded) -> Option<(About, UpstreamId, String)> {
    if let Some(action) = row.method.strip_prefix("admin/") {
        let (area, name) = action.split_once('.')?;
        return Some((About::Admin, UpstreamId::parse(area).ok()?, name.to_owned()));
    }
    let entry = row.entry.as_deref()?;
    let upstream = UpstreamId::parse(row.upstream.as_deref()?).ok()?;
    let about = match &*row.method {
        "tools/call" => About::Tool,
        "prompts/get" => About::Prompt,
        "resources/read" => About::Resource,
        "resources/subscribe" => About::Subscription,
        "completion/complete" => About::Completion,
        method if method.starts_with("tasks/") => About::Task,
        _ => About::Method,
    };
    if entry.contains("://") {
        return Some((about, upstream, entry.to_owned()));
    }
    let name = own_name(row, entry, &upstream, loaded)?;
    Some((about, upstream, name))
}

/// Without what the catalog or a virtual server made of it; `None` if that cannot be undone.
fn own_name(row: &AuditRow, entry: &str, upstream: &UpstreamId, loaded: &Loaded) -> Option<String> {
    let settings = &loaded.gateway;
    if let Some(server) = &row.server {
        let server = settings.servers.get(&ServerName::new(server).ok()?)?;
        let renamed = server.edits.iter().find(|(id, edit)| {
            id.upstream == *upstream
                && edit.name.as_deref() == Some(entry)
                && matches!(id.kind, EntryKind::Tool | EntryKind::Prompt)
        });
        if let Some((id, _)) = renamed {
            return Some(id.name.clone());
        }
    }
    // Cut names end in a hash of what they were.
    if settings.catalog.dialect.names == gateway::Names::Short && entry.len() >= 64 {
        return None;
    }
    let rest = entry.strip_prefix(upstream.as_str());
    let own = rest.and_then(|rest| rest.strip_prefix(settings.catalog.separator));
    Some(own.unwrap_or(entry).to_owned())
}

/// The roles that the credential of a record brings today; `None` if they came with it.
fn roles(
    row: &AuditRow,
    id: &PrincipalId,
    loaded: &Loaded,
    store: &Store,
) -> anyhow::Result<Option<std::collections::BTreeSet<RoleName>>> {
    let mut roles = loaded.gateway.rules.roles_of(id);
    let (kind, credential) = row
        .credential
        .split_once(':')
        .unwrap_or((&row.credential, ""));
    let names: Vec<String> = match kind {
        "local" => vec![Rules::OWNER.to_owned()],
        "api_key" => {
            let configured = loaded.auth.keys.iter().find(|key| key.name == credential);
            match configured {
                Some(key) => key.roles.iter().map(ToString::to_string).collect(),
                None => store
                    .get_key(credential)?
                    .map(|key| key.roles)
                    .unwrap_or_default(),
            }
        }
        "session" => match store.get_account(id.as_str())? {
            Some(account) => account.roles,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    roles.extend(names.iter().filter_map(|name| RoleName::new(name).ok()));
    Ok(Some(roles))
}

fn at(row: &AuditRow) -> SystemTime {
    let since = Duration::from_micros(u64::try_from(row.at_us).unwrap_or_default());
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}
