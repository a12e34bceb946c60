//! The fixture contract of the protocol's conformance suite, as a provider in this process.
//!
//! What the suite asks of a server under test: tools, prompts and resources of fixed names, each of which does one thing
//! of the protocol. A server of the modern era in its own words: names and shapes are written out here, and not taken
//! from what is tested. What only a legacy server could do (asking the client by a request of its own) is said the
//! modern way; the gate translates.
//!
//! | file | what |
//! |---|---|
//! | `call` | a request as tools see it, and what may come of one |
//! | `listing` | everything on offer |
//! | `tools` | tools that answer at once |
//! | `questions` | tools and prompts that ask the client first |
//! | `tasks` | tools that go on after their answer |
//! | `texts` | prompts, resources and completion |

mod call;
mod listing;
mod questions;
mod tasks;
mod texts;
mod tools;

use std::sync::Arc;

use anyhow::Context as _;
use aws_lc_rs::hmac::{HMAC_SHA256, Key};
use aws_lc_rs::rand::SystemRandom;
use bytes::Bytes;
use parking_lot::Mutex;
use policy::Clock;
use serde_json::Value;
use tokio::sync::broadcast;
use upstream::{Answering, Error, Events, Listing, Notice, Provider, Request};
use wire::Outcome;

use call::{Answer, Call, Refusal};
use tasks::Tasks;

/// Notices that wait for a slow listener.
const TOLD_MAX: usize = 64;

/// The fixture.
#[derive(Debug)]
pub struct Fixture {
    clock: Arc<dyn Clock>,
    told: broadcast::Sender<Notice>,
    changes: Mutex<Changes>,
    tasks: Tasks,
    /// Vouches for the state that clients carry.
    key: Key,
}

/// How often each changed.
#[derive(Debug, Default, Clone, Copy)]
struct Changes {
    tools: u64,
    prompts: u64,
    watched: u64,
}

impl Fixture {
    /// A fixture in which nothing has happened so far.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn new(clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let key = Key::generate(HMAC_SHA256, &SystemRandom::new())
            .ok()
            .context("the system gives no random bytes")?;
        Ok(Self {
            clock,
            told: broadcast::channel(TOLD_MAX).0,
            changes: Mutex::default(),
            tasks: Tasks::default(),
            key,
        })
    }

    async fn answer(&self, call: &Call<'_>) -> Answer {
        match call.method() {
            "tools/call" => self.tool(call).await,
            "prompts/get" => self.prompt(call),
            "resources/read" => self.read(call),
            "completion/complete" => texts::complete(call),
            "tasks/get" => self.tasks.get(call, &*self.clock),
            "tasks/update" => self.tasks.update(call, &*self.clock),
            "tasks/cancel" => self.tasks.cancel(call, &*self.clock),
            method => Err(Refusal::new(-32601, format!("Method not found: {method}"))),
        }
    }

    /// Counts a change, and tells of it.
    fn change(&self, what: fn(&mut Changes) -> &mut u64, method: &str, params: &Value) {
        *what(&mut self.changes.lock()) += 1;
        // Nobody may be listening.
        drop(
            self.told
                .send(Notice::new(method, params.to_string().into())),
        );
    }
}

impl Provider for Fixture {
    fn listing(&self) -> Listing {
        listing::all(*self.changes.lock())
    }

    fn told(&self) -> broadcast::Receiver<Notice> {
        self.told.subscribe()
    }

    fn call<'a>(&'a self, request: &'a Request, events: Option<&'a Events>) -> Answering<'a> {
        Box::pin(async move {
            let call = Call::read(request, events).map_err(Error::Protocol)?;
            let text = |value: Value| Bytes::from(value.to_string());
            Ok(match self.answer(&call).await {
                Ok(result) => Outcome::Result(text(result)),
                Err(refusal) => Outcome::Error(text(refusal.into_object())),
            })
        })
    }
}

#[cfg(test)]
mod tests;
