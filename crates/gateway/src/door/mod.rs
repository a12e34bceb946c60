//! Where clients come in: which era a message opens, and what each transport adds to it.
//!
//! Listeners hand in bytes and facts and carry replies away; nothing here knows a socket. `http` is Streamable
//! HTTP, `pipe` is every transport on which one client holds one conversation, `conversation` those of them that come
//! over a network; all share what a request says of its client (here) and list changes (`changes`).

mod changes;
mod conversation;
mod http;
mod local;
mod pipe;

pub use conversation::Conversation;
pub use http::{EventStream, HttpBody, HttpReply, Refused};
pub use local::AskError;
pub(crate) use local::LOCAL;
pub use pipe::Pipe;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use policy::{Principal, ServerName};
use upstream::{Caller, Logs};
use wire::{Abilities, Era, Level, Meta, Params, Request, Revision, json, meta, trace};

use crate::call::{Asked, may_see};
use crate::catalog::Entry;
use crate::record::CallRecord;
use crate::session::Session;
use crate::{Gate, Rejection, lists};

/// Who comes, and to which server.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// The virtual server; `None`: the whole catalog.
    pub server: Option<ServerName>,
    /// The address that requests come from; `None`: they come over no network.
    pub address: Option<IpAddr>,
}

impl From<Arc<Principal>> for Visit {
    fn from(principal: Arc<Principal>) -> Self {
        Self {
            principal,
            server: None,
            address: None,
        }
    }
}

/// Events of one call that wait for a slow client.
const EVENTS_MAX: usize = 64;
/// A `clientInfo` of more bytes is not kept with a session: thousands of sessions may be open.
const CLIENT_INFO_MAX: usize = 16 * 1024;

/// A request within a legacy session.
fn legacy(
    request: Request,
    session: &Arc<Session>,
    visit: &Visit,
    transport: &'static str,
    at: SystemTime,
) -> Asked {
    let principal = &visit.principal;
    Asked {
        request,
        principal: Arc::clone(principal),
        address: visit.address,
        revision: session.revision,
        client: session.client.clone(),
        caller: Caller {
            principal: principal.id.as_str().into(),
            client_info: session.client_info.clone(),
            capabilities: session.capabilities.clone(),
            abilities: session.abilities,
            logs: *session.logs.lock(),
            era: Era::Legacy,
        },
        mirrored: None,
        carrier: trace::Context::default(),
        session: Some(Arc::clone(session)),
        transport,
        server: session.server.clone(),
        at,
    }
}

/// A modern request, if it carries what it must (2026-07-28, "Request envelope"). `header` is the revision that a header
/// names beside it.
fn modern(
    request: Request,
    visit: &Visit,
    transport: &'static str,
    header: Option<&str>,
    at: SystemTime,
) -> Result<Asked, Box<Unfit>> {
    let read = || {
        let params = request.read_params().map_err(Rejection::NotMcp)?;
        let meta = params.meta().map_err(Rejection::BadParams)?;
        let version = meta
            .text(meta::PROTOCOL_VERSION)
            .ok_or(Rejection::MissingMeta(meta::PROTOCOL_VERSION))?;
        // First that both say the same, then whether it is spoken here.
        if header.is_some_and(|header| header != version) {
            return Err(Rejection::HeaderMismatch(
                wire::header::PROTOCOL_VERSION.into(),
            ));
        }
        let revision = Revision::parse(&version)
            .filter(|revision| revision.era() == Era::Modern)
            .ok_or_else(|| Rejection::UnsupportedRevision(version.clone().into_owned()))?;
        let caller = caller(&meta, &visit.principal)?;
        Ok((
            revision,
            caller,
            meta.get(meta::CLIENT_INFO)
                .map(client_label)
                .unwrap_or_default(),
        ))
    };
    match read() {
        Ok((revision, caller, client)) => Ok(Asked {
            request,
            principal: Arc::clone(&visit.principal),
            address: visit.address,
            revision,
            client,
            caller,
            mirrored: None,
            carrier: trace::Context::default(),
            session: None,
            transport,
            server: visit.server.clone(),
            at,
        }),
        Err(rejection) => Err(Box::new(Unfit { request, rejection })),
    }
}

/// A request that lacks what its era demands.
struct Unfit {
    request: Request,
    rejection: Rejection,
}

fn caller(meta: &Meta<'_>, principal: &Principal) -> Result<Caller, Rejection> {
    let capabilities = meta
        .get(meta::CLIENT_CAPABILITIES)
        .filter(|raw| raw.starts_with('{'))
        .ok_or(Rejection::MissingMeta(meta::CLIENT_CAPABILITIES))?;
    let logs = match meta.get(meta::LOG_LEVEL) {
        None => Logs::Off,
        Some(_) => meta
            .text(meta::LOG_LEVEL)
            .and_then(|word| Level::parse(&word))
            .map(Logs::From)
            .ok_or_else(|| Rejection::BadParams("unknown log level".to_owned()))?,
    };
    Ok(Caller {
        principal: principal.id.as_str().into(),
        client_info: meta
            .get(meta::CLIENT_INFO)
            .filter(|raw| raw.starts_with('{'))
            .map(str::to_owned),
        capabilities: Some(capabilities.to_owned()),
        abilities: Abilities::read(capabilities.as_bytes()),
        logs,
        era: Era::Modern,
    })
}

/// Whether a request opens the modern way: by its `_meta`.
fn is_modern(request: &Request) -> bool {
    let Ok(params) = request.read_params() else {
        return false;
    };
    params
        .meta()
        .is_ok_and(|meta| meta.get(meta::PROTOCOL_VERSION).is_some())
}

/// `name/version` of a `clientInfo` object, for the record.
fn client_label(info: &str) -> String {
    let text = |name| {
        json::member(info.as_bytes(), name)
            .ok()
            .flatten()
            .and_then(json::unquote)
    };
    let name = text("name").unwrap_or_default();
    text("version").map_or_else(
        || name.clone().into_owned(),
        |version| format!("{name}/{version}"),
    )
}

/// What a legacy `initialize` says: the revision to speak, and the client's words about itself.
struct Hello {
    revision: Revision,
    client_info: Option<String>,
    capabilities: Option<String>,
}

impl Hello {
    /// The revision the client wishes if we speak it, else our newest with a handshake (never a modern one).
    fn read(params: &Params) -> Result<Self, Rejection> {
        let text = params.text();
        let members =
            json::members(text).map_err(|error| Rejection::BadParams(error.to_string()))?;
        let find = |name: &str| {
            members
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, raw)| *raw)
        };
        let wish = find("protocolVersion")
            .and_then(json::unquote)
            .ok_or_else(|| Rejection::BadParams("`protocolVersion` must be a string".to_owned()))?;
        let revision = Revision::parse(&wish)
            .filter(|revision| revision.era() == Era::Legacy)
            .unwrap_or(Revision::LATEST_LEGACY);
        let object = |name: &str| {
            find(name)
                .map(|raw| raw.get().to_owned())
                .filter(|raw| raw.starts_with('{') && raw.len() <= CLIENT_INFO_MAX)
        };
        Ok(Self {
            revision,
            client_info: object("clientInfo"),
            capabilities: object("capabilities"),
        })
    }

    fn session(self, visit: &Visit) -> Session {
        let client = self
            .client_info
            .as_deref()
            .map(client_label)
            .unwrap_or_default();
        let abilities = self
            .capabilities
            .as_deref()
            .map(|capabilities| Abilities::read(capabilities.as_bytes()))
            .unwrap_or_default();
        let mut session = Session::new(Arc::clone(&visit.principal), self.revision);
        session.server.clone_from(&visit.server);
        session.client_info = self.client_info;
        session.client = client;
        session.capabilities = self.capabilities;
        session.abilities = abilities;
        session
    }
}

impl Gate {
    /// The result of a legacy handshake.
    fn greet(
        &self,
        principal: &Principal,
        session: &Session,
        record: &mut CallRecord,
    ) -> Result<String, Rejection> {
        let view = self.view_of(session.server.as_ref());
        Ok(lists::initialized(
            principal,
            &self.facts(&session.client),
            &*view.ok_or(Rejection::UnknownServer)?,
            session.revision,
            record,
        ))
    }

    /// Whether a visitor can find anything there: the whole catalog is always there, and a virtual server for those who
    /// may see something of it, or of an upstream of which it does not have the lists yet. To all others it looks like
    /// a path that does not exist.
    pub async fn receives(&self, visit: &Visit) -> bool {
        let Some(server) = &visit.server else {
            return true;
        };
        if self.finds_something(&visit.principal, server) {
            return true;
        }
        // What is unknown so soon after the start may be on its way.
        self.settle().await;
        self.finds_something(&visit.principal, server)
    }

    fn finds_something(&self, principal: &Principal, server: &ServerName) -> bool {
        let Some(view) = self.view_of(Some(server)) else {
            return false;
        };
        let facts = self.facts("");
        let may = |entry: &Entry| may_see(principal, entry, &entry.item.key, &facts, &view);
        let rules = &view.settings.rules;
        let mut missing = view.catalog.missing.iter();
        missing.any(|upstream| rules.names(principal, upstream)) || view.catalog.any_visible(may)
    }
}

/// Joins the replies of a batch.
fn batch(replies: &[Bytes]) -> Bytes {
    let mut out =
        Vec::with_capacity(replies.iter().map(|reply| reply.len() + 1).sum::<usize>() + 1);
    for (at, reply) in replies.iter().enumerate() {
        out.push(if at == 0 { b'[' } else { b',' });
        out.extend_from_slice(reply);
    }
    out.push(b']');
    out.into()
}
