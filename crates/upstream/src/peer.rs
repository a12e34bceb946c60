//! One open connection to an MCP server, whatever carries it, and the handshake of both eras.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use wire::{Abilities, Era, Level, Outcome, Revision, code, json, method};

use crate::inbox::{Inbox, Line};
use crate::listing::{Offers, error_message};
use crate::request::{OUR_INFO, Outgoing, own_params};
use crate::{Error, Logs, Request, http, stream};

/// How long a server may think about `server/discover` before it is taken for a legacy one that ignores it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server may take to set its log level; the call goes on without.
const LEVEL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a session that was lost may take to be made anew when no call waits for it.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(30);

/// One open connection, and what its server was told that the client can do.
#[derive(Debug)]
pub(crate) struct Peer {
    carrier: Carrier,
    /// What the handshake of a legacy server declares.
    declared: Abilities,
    /// The level that a legacy server logs from, once somebody set one; `None` if it takes none.
    loudness: Mutex<Loudness>,
}

/// What carries the messages.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// One stream for all calls.
    Stream(stream::Connection),
    /// An endpoint with an exchange for each call.
    Http(Arc<http::Connection>),
}

/// How much a legacy server logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loudness {
    /// It takes no level.
    Fixed,
    /// As it thinks right.
    Unset,
    /// From this level on.
    From(Level),
}

/// What the handshake told.
#[derive(Debug, Clone)]
pub(crate) struct Greeting {
    pub(crate) revision: Revision,
    pub(crate) offers: Offers,
    pub(crate) server: String,
    /// Its name and title, as a JSON object.
    pub(crate) identity: String,
    pub(crate) instructions: Option<String>,
    /// The extensions it has: ids and settings as JSON text.
    pub(crate) extensions: Vec<(String, String)>,
}

impl Peer {
    /// A connection without a handshake so far. To a legacy server it will declare `declared`.
    pub(crate) fn new(carrier: Carrier, declared: Abilities) -> Self {
        Self {
            carrier,
            declared,
            loudness: Mutex::new(Loudness::Fixed),
        }
    }

    /// Sends a request of our own and waits for its answer.
    pub(crate) async fn ask(
        &self,
        method: &'static str,
        params: Bytes,
    ) -> Result<Outcome<Bytes>, Error> {
        let params = if self.era() == Era::Modern {
            own_params(&params, self.declared)
        } else {
            params
        };
        self.send(Outgoing::own(self.inbox().next_id(), method, params))
            .await
    }

    /// Makes a client's call.
    pub(crate) async fn call(
        &self,
        request: &Request,
        line: Option<Line>,
    ) -> Result<Outcome<Bytes>, Error> {
        let era = self.era();
        let named = match request.method.mirror {
            Some(method::Mirror::Name) => {
                request.name.as_deref().or(request.params.name.as_deref())
            }
            Some(method::Mirror::Uri) => request.params.uri.as_deref(),
            Some(method::Mirror::TaskId) => request
                .task_id
                .as_deref()
                .or(request.params.task_id.as_deref()),
            None => None,
        };
        let outgoing = || -> Result<Outgoing<'_>, Error> {
            let id = self.inbox().next_id();
            Ok(Outgoing {
                id,
                method: request.extension.as_deref().unwrap_or(request.method.name),
                params: request.params_for(era, id).map_err(Error::Protocol)?,
                named,
                mirrored: &request.mirrored,
                trace: request.trace.as_deref(),
                principal: Some(Arc::clone(&request.caller.principal)),
                line: line.clone(),
            })
        };
        if let Logs::From(level) = request.caller.logs {
            self.have_session().await?;
            self.be_as_loud_as(level).await;
        }
        self.insist(outgoing).await
    }

    /// As [`Peer::ask`], and in a new session if the server forgot the one before.
    pub(crate) async fn ask_in_session(
        &self,
        method: &'static str,
        params: Bytes,
    ) -> Result<Outcome<Bytes>, Error> {
        self.insist(|| {
            let id = self.inbox().next_id();
            Ok(Outgoing::own(id, method, params.clone()))
        })
        .await
    }

    /// Has a modern server tell of changes until it ends that, or the connection ends; or until dropped.
    pub(crate) async fn listen(&self, id: u64, filter: &str) -> Result<Outcome<Bytes>, Error> {
        let params = format!("{{\"notifications\":{filter}}}");
        let params = own_params(params.as_bytes(), self.declared);
        self.send(Outgoing::own(id, method::LISTEN.name, params))
            .await
    }

    /// Sends a request, and once more in a new session if the server forgot the one before.
    async fn insist<'a>(
        &self,
        outgoing: impl Fn() -> Result<Outgoing<'a>, Error>,
    ) -> Result<Outcome<Bytes>, Error> {
        self.have_session().await?;
        let session = self.session_id();
        let answer = self.send(outgoing()?).await;
        // 404 means that the server knows no such session, so it has not looked at the call: it may be sent again.
        let Carrier::Http(connection) = &self.carrier else {
            return answer;
        };
        if !matches!(answer, Err(Error::Status { status: 404 }))
            || !connection.lose_session(session.as_ref())
        {
            return answer;
        }
        Box::pin(self.renew(connection)).await?;
        let again = outgoing()?;
        Box::pin(self.send(again)).await
    }

    /// Whether requests repeat arguments in headers.
    pub(crate) fn mirrors(&self) -> bool {
        matches!(self.carrier, Carrier::Http(_)) && self.era() == Era::Modern
    }

    /// Has a legacy server log from `level` on, unless it does; each client is told what it wants of it.
    async fn be_as_loud_as(&self, level: Level) {
        {
            let mut loudness = self.loudness.lock();
            match *loudness {
                Loudness::Fixed => return,
                Loudness::From(now) if now <= level => return,
                Loudness::From(_) | Loudness::Unset => *loudness = Loudness::From(level),
            }
        }
        let params = format!("{{\"level\":\"{}\"}}", level.as_str());
        let set = Box::pin(self.ask(method::SET_LEVEL.name, params.into()));
        if !matches!(
            tokio::time::timeout(LEVEL_TIMEOUT, set).await,
            Ok(Ok(Outcome::Result(_)))
        ) {
            tracing::debug!("the upstream takes no log level");
        }
    }

    async fn have_session(&self) -> Result<(), Error> {
        if let Carrier::Http(connection) = &self.carrier
            && connection.is_session_lost()
        {
            Box::pin(self.renew(connection)).await?;
        }
        Ok(())
    }

    /// Makes a session anew that the server forgot.
    async fn renew(&self, connection: &http::Connection) -> Result<(), Error> {
        if !connection.is_session_lost() {
            return Ok(());
        }
        let _renewal = connection.renewal.lock().await;
        if connection.is_session_lost() {
            self.initialize().await?;
            connection.session_renewed();
        }
        Ok(())
    }

    /// Listens to what a legacy server tells outside of calls, for as long as it offers a stream for it.
    pub(crate) async fn watch(&self) {
        let Carrier::Http(connection) = &self.carrier else {
            return;
        };
        while connection.watch().await == http::Deaf::SessionLost {
            let renewed = tokio::time::timeout(RENEWAL_TIMEOUT, self.renew(connection)).await;
            if !matches!(renewed, Ok(Ok(()))) {
                // The next call tries again and says why not.
                return;
            }
        }
    }

    /// Waits until the stream of what concerns no call is there or refused: what is asked on it before would be lost.
    pub(crate) async fn is_heard(&self) {
        if let Carrier::Http(connection) = &self.carrier {
            connection.heard.notified().await;
        }
    }

    /// Whether the server refused the handshake as one does that speaks another transport.
    pub(crate) fn is_refused(&self) -> bool {
        match &self.carrier {
            Carrier::Stream(_) => false,
            Carrier::Http(connection) => connection.is_refused(),
        }
    }

    fn session_id(&self) -> Option<::http::HeaderValue> {
        match &self.carrier {
            Carrier::Stream(_) => None,
            Carrier::Http(connection) => connection.session_id(),
        }
    }

    /// Where its answers and notices arrive.
    pub(crate) fn inbox(&self) -> &Inbox {
        match &self.carrier {
            Carrier::Stream(connection) => &connection.inbox,
            Carrier::Http(connection) => &connection.inbox,
        }
    }

    async fn send(&self, outgoing: Outgoing<'_>) -> Result<Outcome<Bytes>, Error> {
        match &self.carrier {
            Carrier::Stream(connection) => connection.exchange(outgoing).await,
            Carrier::Http(connection) => connection.exchange(outgoing).await,
        }
    }

    pub(crate) async fn notify(&self, method: &str, params: &[u8]) -> Result<(), Error> {
        let message = wire::encode::notification(method, params);
        match &self.carrier {
            Carrier::Stream(connection) => connection.tell(message),
            Carrier::Http(connection) => connection.tell(message).await,
        }
    }

    /// The revision spoken on this connection; until the handshake says otherwise the newest.
    pub(crate) fn revision(&self) -> Revision {
        match &self.carrier {
            Carrier::Stream(connection) => connection.revision(),
            Carrier::Http(connection) => connection.revision(),
        }
    }

    fn era(&self) -> Era {
        self.revision().era()
    }

    fn speak(&self, revision: Revision) {
        match &self.carrier {
            Carrier::Stream(connection) => connection.speak(revision),
            Carrier::Http(connection) => connection.speak(revision),
        }
    }

    /// Finds out the era and does its handshake. With `known` legacy the probe is left out.
    ///
    /// Source: 2026-07-28, "Versioning": any error but a modern one, or silence, means legacy.
    pub(crate) async fn greet(&self, known: Option<Era>) -> Result<Greeting, Error> {
        if known == Some(Era::Legacy) {
            return self.initialize().await;
        }
        self.speak(Revision::LATEST);
        let probe = self.probe();
        tokio::pin!(probe);
        if let Ok(answer) = tokio::time::timeout(PROBE_TIMEOUT, &mut probe).await {
            return match judge(answer)? {
                Some(greeting) => Ok(greeting),
                None => self.initialize().await,
            };
        }
        // Silent so far: a legacy server that ignores what it does not know, or one that is slow to start. Whichever
        // it is, it answers one of the two.
        let handshake = self.initialize();
        tokio::pin!(handshake);
        tokio::select! {
            biased;
            answer = &mut probe => match judge(answer)? {
                Some(greeting) => {
                    self.speak(Revision::LATEST);
                    Ok(greeting)
                }
                None => handshake.await,
            },
            greeting = &mut handshake => greeting,
        }
    }

    /// Asks what a modern server would answer; twice if it says that it does not speak our revision and that it does.
    async fn probe(&self) -> Result<Outcome<Bytes>, Error> {
        let ask = || self.ask(method::DISCOVER.name, Bytes::from_static(b"{}"));
        match ask().await {
            Ok(Outcome::Error(error)) if contradicts_itself(&error) => ask().await,
            answer => answer,
        }
    }

    /// The handshake of the legacy era.
    pub(crate) async fn initialize(&self) -> Result<Greeting, Error> {
        self.speak(Revision::LATEST_LEGACY);
        let params = format!(
            "{{\"protocolVersion\":\"{}\",\"capabilities\":{},\"clientInfo\":{OUR_INFO}}}",
            Revision::LATEST_LEGACY,
            self.declared.declare(),
        );
        let result = match self.ask(method::INITIALIZE.name, params.into()).await? {
            Outcome::Result(result) => result,
            Outcome::Error(error) => {
                return Err(Error::Refused {
                    method: method::INITIALIZE.name,
                    message: error_message(&error),
                });
            }
        };
        let said = json::text(&result, "protocolVersion").unwrap_or_default();
        let revision = Revision::parse(&said)
            .filter(|revision| revision.era() == Era::Legacy)
            .ok_or_else(|| {
                Error::Protocol(format!(
                    "it speaks revision `{said}`, which nobody here knows"
                ))
            })?;
        self.speak(revision);
        self.notify(method::notification::INITIALIZED, b"{}")
            .await?;
        let greeting = read_greeting(&result, revision);
        if greeting.offers.logging {
            *self.loudness.lock() = Loudness::Unset;
        }
        Ok(greeting)
    }
}

/// What the answer to the probe means: a greeting, or `None` for "this is a legacy server".
fn judge(answer: Result<Outcome<Bytes>, Error>) -> Result<Option<Greeting>, Error> {
    match answer {
        Ok(Outcome::Result(result)) if speaks_latest(&result) => {
            Ok(Some(read_greeting(&result, Revision::LATEST)))
        }
        Err(error @ (Error::Gone | Error::Credential(_))) => Err(error),
        Err(Error::Net(error)) if error.sent() == net::Sent::No => Err(Error::Net(error)),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Whether an error says that our revision is not spoken, and names it among those that are.
fn contradicts_itself(error: &[u8]) -> bool {
    let member = |object: &[u8], name: &str| {
        let raw = json::member(object, name).ok().flatten();
        raw.map(|raw| raw.get().to_owned())
    };
    let is_version = member(error, "code") == Some(code::UNSUPPORTED_VERSION.to_string());
    let supported = member(error, "data").and_then(|data| member(data.as_bytes(), "supported"));
    let supported: Vec<String> = supported
        .and_then(|list| serde_json::from_str(&list).ok())
        .unwrap_or_default();
    is_version
        && supported
            .iter()
            .any(|revision| revision == Revision::LATEST.as_str())
}

fn speaks_latest(discovered: &[u8]) -> bool {
    let Ok(Some(versions)) = json::member(discovered, "supportedVersions") else {
        return false;
    };
    let versions: Vec<String> = serde_json::from_str(versions.get()).unwrap_or_default();
    versions
        .iter()
        .any(|version| version == Revision::LATEST.as_str())
}

fn read_greeting(result: &[u8], revision: Revision) -> Greeting {
    let raw = |object: &[u8], name: &str| {
        json::member(object, name)
            .ok()
            .flatten()
            .map(|raw| raw.get().to_owned())
            .unwrap_or_else(|| "{}".to_owned())
    };
    let info = match revision.era() {
        Era::Legacy => raw(result, "serverInfo"),
        Era::Modern => raw(raw(result, "_meta").as_bytes(), wire::meta::SERVER_INFO),
    };
    let name = json::text(info.as_bytes(), "name").unwrap_or_else(|| "unnamed".to_owned());
    let version = json::text(info.as_bytes(), "version").unwrap_or_default();
    let title = json::text(info.as_bytes(), "title");
    let identity = serde_json::json!({ "name": name, "title": title }).to_string();
    let capabilities = raw(result, "capabilities");
    let mut offers = Offers::read(capabilities.as_bytes());
    // The first revision has completion without a capability for it.
    offers.completions |= revision == Revision::V2024_11_05;
    Greeting {
        revision,
        offers,
        server: format!("{name} {version}").trim().to_owned(),
        identity,
        instructions: json::text(result, "instructions"),
        extensions: extensions(&capabilities),
    }
}

fn extensions(capabilities: &str) -> Vec<(String, String)> {
    let extensions = json::member(capabilities.as_bytes(), "extensions")
        .ok()
        .flatten()
        .map_or("{}", |raw| raw.get());
    json::members(extensions.as_bytes())
        .unwrap_or_default()
        .into_iter()
        .map(|(id, settings)| (id.into_owned(), settings.get().to_owned()))
        .collect()
}
