//! Upstreams in this process that offer whatever a server of the modern era does: prompts, resources and tasks beside
//! tools, questions to the client, lists that change.
//!
//! A trait, where the built-in packs are an enum: the packs are ours and live in this room; providers live in rooms that
//! know this one (agents, OpenAPI descriptions, databases; the fixture of the conformance suite), and their list is not
//! closed. Here is only what a [`Link`](crate::Link) needs to know of one. The stages have passed a call before it gets
//! to a provider, and whatever the client speaks, it is put in modern form.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::broadcast;
use wire::Outcome;

use crate::{Error, Events, Listing, Notice, Request};

/// What a call of a provider comes to.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Outcome<Bytes>, Error>> + Send + 'a>>;

/// A server of the modern era, in this process.
pub trait Provider: fmt::Debug + Send + Sync {
    /// What it offers now.
    fn listing(&self) -> Listing;

    /// What it tells unasked, from now on: that a list changed, that a resource did, how a task is doing.
    fn told(&self) -> broadcast::Receiver<Notice>;

    /// Answers a request; [`Request::modern_params`] are its parameters. The result may ask for input, or hand out a
    /// task. Told events carry the client's own progress token. Dropped while it waits, nobody wants the answer.
    fn call<'a>(&'a self, request: &'a Request, events: Option<&'a Events>) -> Answering<'a>;
}

/// One provider is another's equal only if it is the same: a reload keeps what did not change.
impl PartialEq for dyn Provider {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self, other)
    }
}

impl Eq for dyn Provider {}

#[cfg(test)]
mod tests;
