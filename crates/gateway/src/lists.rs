//! What the gate answers itself: lists, discovery, ping. Filtered by the same rules that decide calls.

use std::collections::HashSet;

use bytes::Bytes;
use policy::{Facts, Principal, ServerName, UpstreamId};
use upstream::Logs;
use wire::method::{self, Method};
use wire::{Abilities, Era, Level, Params, Revision, json};

use crate::Rejection;
use crate::call::{Asked, View, may_see};
use crate::catalog::{Entry, Position, Section};
use crate::door::LOCAL;
use crate::pins::Withheld;
use crate::record::CallRecord;
use crate::seal::Seal;
use crate::search;
use crate::translate::{format_member, modern_members};

/// How long a modern client may keep a list without asking, in milliseconds; changes are told to who listens.
const LIST_TTL_MS: u64 = 5_000;
/// The key of `_meta` under which a list names upstreams whose part is missing.
const INCOMPLETE: &str = "dev.portcullis/incomplete";

/// Answers a request about the gate itself.
pub(crate) fn answer(
    asked: &Asked,
    method: &'static Method,
    params: &Params,
    view: &View,
    seal: &Seal,
    record: &mut CallRecord,
) -> Result<Bytes, Rejection> {
    let catalog = &view.catalog;
    let mut list = |section: &Section, name: &'static str| {
        let cursors = Cursors {
            seal,
            list: name,
            asked,
        };
        list(method, params, view, section, &cursors, record)
    };
    match method.name {
        name if name == method::TOOLS_LIST.name => list(&catalog.tools, "tools"),
        name if name == method::PROMPTS_LIST.name => list(&catalog.prompts, "prompts"),
        name if name == method::RESOURCES_LIST.name => list(&catalog.resources, "resources"),
        name if name == method::TEMPLATES_LIST.name => {
            list(&catalog.templates, "resourceTemplates")
        }
        name if name == method::DISCOVER.name => {
            Ok(discover(&asked.principal, &asked.facts(None), view, record))
        }
        name if name == method::PING.name => Ok(Bytes::from_static(b"{}")),
        name if name == method::SET_LEVEL.name => set_level(asked, params),
        name if name == method::UNSUBSCRIBE.name => unsubscribe(asked, params),
        // The door answers the handshake and subscriptions; here they are in no conversation that has them.
        name => Err(Rejection::UnknownMethod(name.to_owned())),
    }
}

/// How much a legacy client wants to hear; upstreams learn it with its next call.
fn set_level(asked: &Asked, params: &Params) -> Result<Bytes, Rejection> {
    let level = params
        .level
        .as_deref()
        .and_then(Level::parse)
        .ok_or_else(|| Rejection::BadParams("`level` is no log level".to_owned()))?;
    if let Some(session) = &asked.session {
        *session.logs.lock() = Logs::From(level);
    }
    Ok(Bytes::from_static(b"{}"))
}

/// No longer tells a legacy client of a resource; one that it was not told of is no mistake.
fn unsubscribe(asked: &Asked, params: &Params) -> Result<Bytes, Rejection> {
    let uri = params
        .uri
        .as_deref()
        .ok_or_else(|| Rejection::BadParams("`uri` is missing".to_owned()))?;
    if let Some(session) = &asked.session {
        session.subscriptions.remove(uri);
    }
    Ok(Bytes::from_static(b"{}"))
}

fn list(
    method: &'static Method,
    params: &Params,
    view: &View,
    section: &Section,
    cursors: &Cursors<'_>,
    record: &mut CallRecord,
) -> Result<Bytes, Rejection> {
    let asked = cursors.asked;
    let after = params.cursor.as_deref();
    let after = after.map(|cursor| cursors.read(cursor)).transpose()?;
    let after = after
        .as_ref()
        .map(|(order, key)| Position { order: *order, key });
    let mut out = String::with_capacity(4096);
    out.push('{');
    if asked.revision.era() == Era::Modern {
        for (name, value) in modern_members(method, LIST_TTL_MS) {
            out.push_str(&format_member(name, &value));
            out.push(',');
        }
    }
    out.push_str(&format_member(cursors.list, "["));
    let (mut count, mut last, mut next) = (0, None, None);
    let page_size = view.settings.catalog.page_size;
    let facts = asked.facts(None);
    let may = |entry: &Entry| may_see(&asked.principal, entry, &entry.item.key, &facts, view);
    // The shell ranks the list itself; see `search::Searchable`.
    let is_searched = method.name == method::TOOLS_LIST.name
        && asked.transport != LOCAL
        && search::replaces_list(view, may);
    if is_searched {
        let tools: Vec<Bytes> = search::definitions(view.naming().dialect.schemas).collect();
        let tools: Vec<&str> = tools
            .iter()
            .filter_map(|tool| std::str::from_utf8(tool).ok())
            .collect();
        out.push_str(&tools.join(","));
    }
    let entries = section.after(after);
    for entry in if is_searched { &[] } else { entries } {
        let Some(entry) = section.visible(entry, may) else {
            if entry.withheld == Some(Withheld::Screened) && may(entry) {
                record.note_shown(&entry.shown.found);
            }
            continue;
        };
        if count == page_size {
            next = last;
            break;
        }
        if count > 0 {
            out.push(',');
        }
        record.note_shown(&entry.shown.found);
        out.push_str(std::str::from_utf8(&entry.text).unwrap_or("null"));
        (count, last) = (count + 1, Some(entry.position()));
    }
    out.push(']');
    if let Some(last) = next {
        out.push_str(",\"nextCursor\":");
        out.push_str(&json::string(&cursors.write(last)?));
    }
    // Only those of which the rules tell the principal: to others their names may be news.
    let rules = &view.settings.rules;
    let missing: Vec<String> = view
        .catalog
        .missing
        .iter()
        .filter(|id| rules.names(&asked.principal, id))
        .map(|id| json::string(id.as_str()))
        .collect();
    if !missing.is_empty() {
        let named = json::object([(INCOMPLETE, format!("[{}]", missing.join(",")).as_str())]);
        out.push_str(",\"_meta\":");
        out.push_str(&named);
    }
    out.push('}');
    Ok(out.into())
}

/// Cursors of one list of one server for one principal: where the page before ended, so that they stay good when the
/// list changes. Sealed, for a key may be the name of what others must not know of.
struct Cursors<'a> {
    seal: &'a Seal,
    list: &'static str,
    asked: &'a Asked,
}

impl Cursors<'_> {
    const PURPOSE: &'static str = "cursor";

    fn write(&self, last: Position<'_>) -> Result<String, Rejection> {
        let content = format!("{}{}\n{}", self.whose(), last.order, last.key);
        let sealed = self.seal.close(Self::PURPOSE, content.as_bytes());
        sealed.ok_or(Rejection::Busy)
    }

    fn read(&self, cursor: &str) -> Result<(i32, String), Rejection> {
        let content = self.seal.open(Self::PURPOSE, cursor);
        let content = content.and_then(|content| String::from_utf8(content).ok());
        let read = |content: String| {
            let (order, key) = content.strip_prefix(&self.whose())?.split_once('\n')?;
            Some((order.parse().ok()?, key.to_owned()))
        };
        content.and_then(read).ok_or(Rejection::BadCursor)
    }

    fn whose(&self) -> String {
        let server = self.asked.server.as_ref();
        let server = server.map(ServerName::as_str).unwrap_or_default();
        let (list, principal) = (self.list, &self.asked.principal.id);
        format!("{list}\n{principal}\n{server}\n")
    }
}

/// The gate's name and version.
pub(crate) const SERVER_INFO: &str = concat!(
    "{\"name\":\"portcullis\",\"title\":\"Portcullis\",\"version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\"}"
);

/// What we can do for any client: what upstreams may offer, as far as we route it.
///
/// The same for any set of upstreams: they come and go, a handshake stays.
const CAPABILITIES: &str = "\"tools\":{\"listChanged\":true},\"prompts\":{\"listChanged\":true},\
     \"resources\":{\"subscribe\":true,\"listChanged\":true},\"completions\":{},\"logging\":{}";
/// Tasks as 2025-11-25 declares them.
const TASKS: &str = ",\"tasks\":{\"list\":{},\"cancel\":{},\"requests\":{\"tools\":{\"call\":{}}}}";
/// The capabilities that a client of this revision is told. Tasks only where they are to be had: a client that waits for
/// none has less to do. Extensions are those that some upstream has of which the principal may know.
fn capabilities(
    principal: &Principal,
    facts: &Facts<'_>,
    view: &View,
    revision: Revision,
) -> String {
    let has_tasks = view.catalog.tasks && revision.has_tasks();
    let tail = match revision.era() {
        Era::Legacy if has_tasks => TASKS.to_owned(),
        Era::Legacy => String::new(),
        Era::Modern => {
            let mut extensions: Vec<(&str, &str)> = Vec::new();
            if has_tasks {
                extensions.push((Abilities::TASKS, "{}"));
            }
            for (upstream, id, settings) in &view.catalog.extensions {
                let is_known = extensions.iter().any(|(known, _)| known == id);
                // Tasks are the gate's own to offer.
                if id != Abilities::TASKS && !is_known && may_hear(principal, upstream, facts, view)
                {
                    extensions.push((id, settings));
                }
            }
            if extensions.is_empty() {
                String::new()
            } else {
                format!(",\"extensions\":{}", json::object(extensions))
            }
        }
    };
    format!("{{{CAPABILITIES}{tail}}}")
}

/// Whether a principal may know of an upstream: it may see something of it.
fn may_hear(principal: &Principal, upstream: &UpstreamId, facts: &Facts<'_>, view: &View) -> bool {
    let mut entries = view
        .catalog
        .entries()
        .filter(|entry| entry.link.id() == upstream);
    entries.any(|entry| may_see(principal, entry, &entry.item.key, facts, view))
}

fn discover(
    principal: &Principal,
    facts: &Facts<'_>,
    view: &View,
    record: &mut CallRecord,
) -> Bytes {
    let instructions = instructions(principal, facts, view, record);
    let capabilities = capabilities(principal, facts, view, Revision::LATEST);
    let common: String = modern_members(&method::DISCOVER, LIST_TTL_MS)
        .iter()
        .map(|(n, v)| format_member(n, v) + ",")
        .collect();
    format!(
        "{{{common}\"supportedVersions\":[\"{}\"],\"capabilities\":{capabilities}{instructions},\"_meta\":{{\"{}\":{SERVER_INFO}}}}}",
        Revision::LATEST,
        wire::meta::SERVER_INFO,
    )
    .into()
}

/// The result of a legacy handshake.
pub(crate) fn initialized(
    principal: &Principal,
    facts: &Facts<'_>,
    view: &View,
    revision: Revision,
    record: &mut CallRecord,
) -> String {
    format!(
        "{{\"protocolVersion\":\"{revision}\",\"capabilities\":{},\"serverInfo\":{SERVER_INFO}{}}}",
        capabilities(principal, facts, view, revision),
        instructions(principal, facts, view, record),
    )
}

/// What upstreams tell models about themselves, each saying once. Of an upstream of which a principal may see nothing
/// it does not hear either.
fn instructions(
    principal: &Principal,
    facts: &Facts<'_>,
    view: &View,
    record: &mut CallRecord,
) -> String {
    let catalog = &view.catalog;
    if let Some(own) = catalog.own_instructions() {
        return format!(",\"instructions\":{}", json::string(own));
    }
    let mut said = HashSet::new();
    let mut parts: Vec<String> = Vec::new();
    for told in &catalog.instructions {
        if !may_hear(principal, &told.upstream, facts, view) {
            continue;
        }
        record.note_shown(&told.found);
        if let Some(text) = told.text.as_ref().filter(|text| said.insert(*text)) {
            parts.push(format!("## {}\n{text}", told.upstream));
        }
    }
    if parts.is_empty() {
        return String::new();
    }
    format!(",\"instructions\":{}", json::string(&parts.join("\n\n")))
}
