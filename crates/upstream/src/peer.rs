//! One open connection to an MCP server, whatever carries it, and the handshake of both eras.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wire::{Era, Outcome, Revision, json, method};

use crate::inbox::{Inbox, Progress};
use crate::listing::{Offers, error_message};
use crate::request::{OUR_INFO, own_params};
use crate::{Error, Events, Request, http, stdio};

/// How long a server may think about `server/discover` before it is taken for a legacy one that ignores it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a session that was lost may take to be made anew when no call waits for it.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(30);

/// One open connection.
#[derive(Debug)]
pub(crate) enum Peer {
    /// To a child process.
    Stdio(stdio::Connection),
    /// To an endpoint.
    Http(Arc<http::Connection>),
}

/// What the handshake told.
#[derive(Debug, Clone)]
pub(crate) struct Greeting {
    pub(crate) revision: Revision,
    pub(crate) offers: Offers,
    pub(crate) server: String,
    pub(crate) instructions: Option<String>,
}

impl Peer {
    /// Sends a request of our own and waits for its answer.
    pub(crate) async fn ask(
        &self,
        method: &'static str,
        params: Bytes,
    ) -> Result<Outcome<Bytes>, Error> {
        let params = if self.era() == Era::Modern {
            own_params(&params)
        } else {
            params
        };
        self.send(method, |_| Ok(params.clone()), None, None).await
    }

    /// Makes a client's call.
    pub(crate) async fn call(
        &self,
        request: &Request,
        events: Option<&Events>,
    ) -> Result<Outcome<Bytes>, Error> {
        let era = self.era();
        let progress = events.zip(request.progress_token());
        let progress = progress.map(|(events, token)| Progress {
            events: events.clone(),
            token,
        });
        let mirrored = match request.method.mirror {
            Some(method::Mirror::Name) => {
                request.name.as_deref().or(request.params.name.as_deref())
            }
            Some(method::Mirror::Uri) => request.params.uri.as_deref(),
            None => None,
        };
        let params = |id| request.params_for(era, id).map_err(Error::Protocol);
        if let Self::Http(connection) = self
            && connection.is_session_lost()
        {
            Box::pin(self.renew(connection)).await?;
        }
        let session = self.session_id();
        let answer = self
            .send(request.method.name, params, mirrored, progress.clone())
            .await;
        // 404 means that the server knows no such session, so it has not looked at the call: it may be sent again.
        let Self::Http(connection) = self else {
            return answer;
        };
        if !matches!(answer, Err(Error::Status { status: 404 }))
            || !connection.lose_session(session.as_ref())
        {
            return answer;
        }
        Box::pin(self.renew(connection)).await?;
        Box::pin(self.send(request.method.name, params, mirrored, progress)).await
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

    /// Listens for list changes for as long as the server offers a stream for it.
    pub(crate) async fn watch(&self) {
        let Self::Http(connection) = self else { return };
        while connection.watch().await == http::Deaf::SessionLost {
            let renewed = tokio::time::timeout(RENEWAL_TIMEOUT, self.renew(connection)).await;
            if !matches!(renewed, Ok(Ok(()))) {
                // The next call tries again and says why not.
                return;
            }
        }
    }

    fn session_id(&self) -> Option<::http::HeaderValue> {
        match self {
            Self::Stdio(_) => None,
            Self::Http(connection) => connection.session_id(),
        }
    }

    /// Where its answers and notices arrive.
    pub(crate) fn inbox(&self) -> &Inbox {
        match self {
            Self::Stdio(connection) => &connection.inbox,
            Self::Http(connection) => &connection.inbox,
        }
    }

    async fn send(
        &self,
        method: &str,
        params: impl Fn(u64) -> Result<Bytes, Error>,
        mirrored: Option<&str>,
        progress: Option<Progress>,
    ) -> Result<Outcome<Bytes>, Error> {
        match self {
            Self::Stdio(connection) => {
                let id = connection.inbox.next_id();
                connection
                    .exchange(id, method, &params(id)?, progress)
                    .await
            }
            Self::Http(connection) => {
                let id = connection.inbox.next_id();
                connection
                    .exchange(id, method, &params(id)?, mirrored, progress)
                    .await
            }
        }
    }

    pub(crate) async fn notify(&self, method: &str, params: &[u8]) -> Result<(), Error> {
        let message = wire::encode::notification(method, params);
        match self {
            Self::Stdio(connection) => connection.tell(message),
            Self::Http(connection) => connection.tell(message).await,
        }
    }

    /// The revision spoken on this connection; until the handshake says otherwise the newest.
    pub(crate) fn revision(&self) -> Revision {
        match self {
            Self::Stdio(connection) => connection.revision(),
            Self::Http(connection) => connection.revision(),
        }
    }

    fn era(&self) -> Era {
        self.revision().era()
    }

    fn speak(&self, revision: Revision) {
        match self {
            Self::Stdio(connection) => connection.speak(revision),
            Self::Http(connection) => connection.speak(revision),
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
        let probe = self.ask(method::DISCOVER.name, Bytes::from_static(b"{}"));
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

    /// The handshake of the legacy era.
    pub(crate) async fn initialize(&self) -> Result<Greeting, Error> {
        self.speak(Revision::LATEST_LEGACY);
        let params = format!(
            "{{\"protocolVersion\":\"{}\",\"capabilities\":{{}},\"clientInfo\":{OUR_INFO}}}",
            Revision::LATEST_LEGACY
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
        let said = text_member(&result, "protocolVersion").unwrap_or_default();
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
        Ok(read_greeting(&result, revision))
    }
}

/// What the answer to the probe means: a greeting, or `None` for "this is a legacy server".
fn judge(answer: Result<Outcome<Bytes>, Error>) -> Result<Option<Greeting>, Error> {
    match answer {
        Ok(Outcome::Result(result)) if speaks_latest(&result) => {
            Ok(Some(read_greeting(&result, Revision::LATEST)))
        }
        Err(Error::Gone) => Err(Error::Gone),
        Err(Error::Net(error)) if error.sent() == net::Sent::No => Err(Error::Net(error)),
        Ok(_) | Err(_) => Ok(None),
    }
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
    let name = text_member(info.as_bytes(), "name").unwrap_or_else(|| "unnamed".to_owned());
    let version = text_member(info.as_bytes(), "version").unwrap_or_default();
    let mut offers = Offers::read(raw(result, "capabilities").as_bytes());
    // The first revision has completion without a capability for it.
    offers.completions |= revision == Revision::V2024_11_05;
    Greeting {
        revision,
        offers,
        server: format!("{name} {version}").trim().to_owned(),
        instructions: text_member(result, "instructions"),
    }
}

fn text_member(object: &[u8], name: &str) -> Option<String> {
    json::member(object, name)
        .ok()
        .flatten()
        .and_then(json::unquote)
        .map(std::borrow::Cow::into_owned)
}
