//! One call on its way out: what the gate knows, put into the words of the upstream's era.

use bytes::Bytes;
use tokio::sync::mpsc;
use wire::{Era, Method, Params, Revision, meta};

/// A call that may be made, for one upstream.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is asked.
    pub method: &'static Method,
    /// The parameters as the client wrote them.
    pub params: Params,
    /// The upstream's own name for the tool or prompt; `None` leaves the parameters' name alone.
    pub name: Option<String>,
    /// Who is asking.
    pub caller: Caller,
}

/// What a client says of itself with a request (modern form: with each of them).
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The principal, for built-in tools that keep data apart.
    pub principal: String,
    /// `{"name":…,"version":…}` as JSON text.
    pub client_info: Option<String>,
    /// What the client can do, as JSON text. Only that may be asked of it.
    pub capabilities: Option<String>,
    /// The log level it wishes, as JSON text.
    pub log_level: Option<String>,
}

/// A notification that belongs to a call (progress, log), the client's own token in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The method.
    pub method: String,
    /// The parameters as JSON text.
    pub params: Bytes,
}

/// Where the events of a call go. Bounded: a client that does not read loses progress, never the answer.
pub type Events = mpsc::Sender<Event>;

/// What the gate calls itself towards upstreams.
pub(crate) const OUR_INFO: &str = concat!(
    "{\"name\":\"portcullis\",\"title\":\"Portcullis\",\"version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\"}"
);

impl Request {
    /// The parameters for an upstream of that era, with `token` in the place of the client's progress token.
    ///
    /// # Errors
    /// If `_meta` cannot be read.
    pub(crate) fn params_for(&self, era: Era, token: u64) -> Result<Bytes, String> {
        let meta = self.params.meta()?;
        let ours = token.to_string();
        let token = meta.progress_token().map(|_| ours.as_str());
        let version = format!("\"{}\"", Revision::LATEST);
        let text = match era {
            Era::Legacy => meta.rewrite(token, &[]),
            Era::Modern => {
                let caller = &self.caller;
                let mut keys = vec![
                    (meta::PROTOCOL_VERSION, version.as_str()),
                    (
                        meta::CLIENT_INFO,
                        caller.client_info.as_deref().unwrap_or(OUR_INFO),
                    ),
                    (
                        meta::CLIENT_CAPABILITIES,
                        caller.capabilities.as_deref().unwrap_or("{}"),
                    ),
                ];
                keys.extend(
                    caller
                        .log_level
                        .as_deref()
                        .map(|level| (meta::LOG_LEVEL, level)),
                );
                meta.rewrite(token, &keys)
            }
        };
        Ok(self
            .params
            .rewrite(self.method.subject, self.name.as_deref(), text.as_deref()))
    }

    /// The client's progress token as it wrote it.
    pub(crate) fn progress_token(&self) -> Option<String> {
        self.params.meta().ok()?.progress_token().map(str::to_owned)
    }
}

/// The parameters of a request of our own to a modern upstream.
pub(crate) fn own_params(params: &[u8]) -> Bytes {
    let meta = wire::json::object([
        (
            meta::PROTOCOL_VERSION,
            format!("\"{}\"", Revision::LATEST).as_str(),
        ),
        (meta::CLIENT_INFO, OUR_INFO),
        (meta::CLIENT_CAPABILITIES, "{}"),
    ]);
    wire::json::with_members(params, &format!("\"_meta\":{meta}")).into()
}
