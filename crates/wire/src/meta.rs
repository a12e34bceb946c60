//! `_meta` of a request: what the modern revision carries in it, and how it is rewritten for the other side.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::json;
use crate::trace::{self, Context};

/// The key of the revision (2026-07-28).
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The key of the client's name and version.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// The key of what the client can do.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The key of the wished log level.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// The key that names the subscription on everything of a `subscriptions/listen` stream.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// The key of the server's name and version in a result.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

const PROGRESS_TOKEN: &str = "progressToken";

/// The members of a request's `_meta`, read once. Borrowed from the request.
#[derive(Debug, Default)]
pub struct Meta<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Meta<'a> {
    /// Reads the members.
    ///
    /// # Errors
    /// If the text is no object or names a member twice.
    pub fn read(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        Ok(Self {
            members: json::members(text)?,
        })
    }

    /// One member as JSON text.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.members
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, raw)| raw.get())
    }

    /// One member that is a string.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        self.members
            .iter()
            .find(|(name, _)| name == key)
            .and_then(|(_, raw)| json::unquote(raw))
    }

    /// The progress token as it was written: a string or a number.
    #[must_use]
    pub fn progress_token(&self) -> Option<&'a str> {
        self.get(PROGRESS_TOKEN).filter(|raw| *raw != "null")
    }

    /// The object again for an upstream: our progress token for theirs, the modern keys replaced by `modern` (or
    /// dropped for a legacy upstream, which gets an empty list), what is said of traces by `trace`, everything else
    /// untouched and in order. `None` if nothing is left to say.
    #[must_use]
    pub fn rewrite(
        &self,
        progress_token: Option<&str>,
        modern: &[(&str, &str)],
        trace: &Context,
    ) -> Option<String> {
        let told = trace.each();
        let trace = told
            .each_ref()
            .map(|(name, value)| (*name, value.as_ref().map(trace::Value::json)));
        let traced = |key: &str| {
            let (_, value) = trace.iter().find(|(name, _)| *name == key)?;
            value.as_deref()
        };
        let kept = self
            .members
            .iter()
            .filter(|(key, _)| {
                key != PROGRESS_TOKEN
                    && ![
                        PROTOCOL_VERSION,
                        CLIENT_INFO,
                        CLIENT_CAPABILITIES,
                        LOG_LEVEL,
                    ]
                    .contains(&key.as_ref())
            })
            .filter_map(|(key, raw)| match key.as_ref() {
                key if trace::NAMES.contains(&key) => Some((key, traced(key)?)),
                key => Some((key, raw.get())),
            });
        let added = trace
            .iter()
            .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
            .filter(|(name, _)| self.get(name).is_none());
        let token = progress_token.map(|token| (PROGRESS_TOKEN, token));
        let modern = modern.iter().copied();
        let text = json::object(modern.chain(token).chain(kept).chain(added));
        (text.len() > 2).then_some(text)
    }
}
