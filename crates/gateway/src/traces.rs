//! To which trace a message belongs: by what it says itself, or by what the HTTP request says that carried it.
//!
//! What comes of that is `observe::trace`'s.

use std::borrow::Cow;

use ::http::{HeaderMap, HeaderValue};
use observe::trace::Trace;
use wire::Request;
use wire::trace::{Context, TRACEPARENT};

use crate::Gate;

impl Gate {
    /// The trace of a call that begins.
    pub(crate) fn trace_of(&self, request: &Request, carrier: Context) -> Option<Box<Trace>> {
        let tracer = &self.parts.tracer;
        tracer.begin(Context::of(request), carrier, Some(request.id()))
    }
}

/// What the headers of an HTTP request say of traces.
pub(crate) fn carried(headers: &HeaderMap) -> Context {
    Context::read(|name| {
        let values = headers.get_all(name);
        let mut texts = values.iter().map(HeaderValue::to_str);
        let first = texts.next()?.ok()?;
        let rest: Vec<&str> = texts.collect::<Result<_, _>>().ok()?;
        match rest.as_slice() {
            [] => Some(Cow::Borrowed(first)),
            // Two of them would be two traces.
            _ if name == TRACEPARENT => None,
            rest => Some(Cow::Owned([&[first], rest].concat().join(","))),
        }
    })
}
