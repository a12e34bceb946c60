//! Callers in this process: the command line asks like any modern client, through the same stages.

use std::sync::Arc;

use bytes::Bytes;
use policy::Principal;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use upstream::{Event, Notice};
use wire::code::{self, Code};
use wire::{Frame, Revision, encode, meta};

use super::{EVENTS_MAX, modern};
use crate::{Gate, Rejection};

/// What carries such calls, for the record.
pub(crate) const LOCAL: &str = "local";

/// Why an in-process caller got no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AskError {
    /// The JSON-RPC code.
    pub code: Code,
    /// The public text.
    pub message: String,
}

impl AskError {
    fn broken(message: impl Into<String>) -> Self {
        Self {
            code: code::INTERNAL_ERROR,
            message: message.into(),
        }
    }

    /// Whether policy said no, rather than something having failed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self.code,
            code::LIMITED
                | code::UNAUTHENTICATED
                | code::DENIED
                | code::UNCONSENTED
                | code::WITHHELD
        )
    }
}

impl Gate {
    /// Makes a call for `principal`; `heard` gets its notifications, progress among them.
    ///
    /// # Errors
    /// The error that a client would have got.
    pub async fn ask(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
        method: &str,
        mut params: Map<String, Value>,
        mut heard: impl FnMut(&Notice),
    ) -> Result<Value, AskError> {
        params.insert(
            "_meta".to_owned(),
            json!({
                meta::PROTOCOL_VERSION: Revision::LATEST.as_str(),
                meta::CLIENT_INFO: { "name": "portcullis-cli", "version": env!("CARGO_PKG_VERSION") },
                meta::CLIENT_CAPABILITIES: {},
                "progressToken": 1,
            }),
        );
        let message = Bytes::from(encode::request(
            "1",
            method,
            Value::Object(params).to_string().as_bytes(),
        ));
        let Ok(Frame::Request(request)) = Frame::decode(&message) else {
            return Err(AskError::broken("the request cannot be read"));
        };
        let visit = Arc::clone(principal).into();
        let asked =
            modern(request, &visit, LOCAL, None, self.parts.clock.wall()).map_err(|unfit| {
                let response = Rejection::response(&unfit.rejection, Revision::LATEST);
                AskError {
                    code: response.code,
                    message: response.message,
                }
            })?;
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let answer = self.answer(&asked, Some(&sender), None);
        tokio::pin!(answer);
        let reply = loop {
            tokio::select! {
                biased;
                // It can be asked nothing, so it is only told.
                Some(Event::Told(notice)) = events.recv() => heard(&notice),
                reply = &mut answer => break reply,
            }
        };
        let mut reply: Value = serde_json::from_slice(&reply.body)
            .map_err(|error| AskError::broken(error.to_string()))?;
        if let Some(error) = reply.get("error") {
            let code = error
                .get("code")
                .and_then(Value::as_i64)
                .and_then(|code| Code::try_from(code).ok());
            let message = error
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or("no message");
            return Err(AskError {
                code: code.unwrap_or(code::INTERNAL_ERROR),
                message: message.to_owned(),
            });
        }
        Ok(reply.get_mut("result").map(Value::take).unwrap_or_default())
    }
}
