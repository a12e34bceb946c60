//! Sessions: of legacy clients, which this gate holds; of browsers, and what OAuth clients were allowed, which the
//! store does. An id begins with its kind: `mcp:…`, `browser:…`, `grant:…`.

use auth::sessions::{self, HeldSession, SessionKind};
use gateway::SessionEntry;
use schemars::JsonSchema;
use serde::Serialize;

use super::problem::Problem;
use super::shape::{page, time};
use super::{Answer, Asked};

/// The kind of what the gate holds itself.
const MCP: &str = "mcp";

/// One session.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Session {
    /// Its kind, a colon, and its name among those.
    id: String,
    /// `mcp`, `browser` or `grant`.
    kind: &'static str,
    /// Whose it is.
    principal: String,
    /// The client: in its own words for `mcp`, its OAuth id for `grant`.
    client: Option<String>,
    created_at: Option<String>,
    last_used_at: Option<String>,
    expires_at: Option<String>,
}

impl From<SessionEntry> for Session {
    fn from(session: SessionEntry) -> Self {
        Self {
            id: format!("{MCP}:{}", session.id),
            kind: MCP,
            principal: session.principal,
            client: Some(session.client),
            created_at: None,
            last_used_at: None,
            expires_at: None,
        }
    }
}

impl From<HeldSession> for Session {
    fn from(session: HeldSession) -> Self {
        Self {
            id: format!("{}:{}", session.kind.as_str(), session.id),
            kind: session.kind.as_str(),
            principal: session.principal,
            client: session.client,
            created_at: Some(time(session.created_at)),
            last_used_at: Some(time(session.used_at)),
            expires_at: Some(time(session.expires_at)),
        }
    }
}

pub(super) fn list(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let parts = asked.auth().parts();
    let held = sessions::list(&parts.store, parts.clock.wall());
    let held = held.map_err(|error| Problem::ours(&error))?;
    let open = asked.edge.gate.list_sessions().into_iter();
    let all = open
        .map(Session::from)
        .chain(held.into_iter().map(Session::from))
        .collect();
    Answer::ok(&page(all, asked.query, |session: &Session| {
        session.id.clone()
    })?)
}

pub(super) async fn end(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let missing = || Problem::missing(format!("there is no session `{}`", asked.id));
    let (kind, id) = asked.id.split_once(':').ok_or_else(missing)?;
    let ended = if kind == MCP {
        asked.edge.gate.end_session(id)
    } else {
        let kind = SessionKind::parse(kind).ok_or_else(missing)?;
        let parts = asked.auth().parts();
        let by = asked.principal.id.as_str();
        let (now, session) = (parts.clock.wall(), (kind, id));
        sessions::end(&parts.store, &parts.revocations, session, now, by, "")
            .await
            .map_err(|error| Problem::ours(&error))?
    };
    if ended {
        Ok(Answer::nothing())
    } else {
        Err(missing())
    }
}
