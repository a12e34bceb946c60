//! Requests, cancels, disconnects and crashes in any order: every request has exactly one outcome, and nothing is left.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;
use testkit::mcp::{MODERN, is_answer};
use testkit::world::{Exchange, World, until};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::runner;
use crate::wires::{Carrier, Wire};

const ONE: &str = r#"
builtins = []
limits.tool_call = { max = 1000000, per = "1s" }
upstreams.s = { stdio = ["{scripted}"] }
"#;
const RUNS: u32 = 16;
/// Whom the steps are spread over.
const CLIENTS: [(Carrier, &str); 7] = [
    (Carrier::Http, "2025-03-26"),
    (Carrier::Http, "2025-11-25"),
    (Carrier::Http, MODERN),
    (Carrier::Sse, "2024-11-05"),
    (Carrier::WebSocket, "2025-11-25"),
    (Carrier::WebSocket, MODERN),
    (Carrier::Stdio, "2025-06-18"),
];
const TOOLS: [&str; 7] = [
    "echo", "slow", "silent", "silent", "progress", "fail", "none",
];

#[derive(Debug, Clone)]
enum Step {
    /// A client calls a tool.
    Call(usize, &'static str),
    /// Whoever made one of the calls takes it back.
    Cancel(Index),
    /// Whoever made one of the calls hangs up.
    HangUp(Index),
    /// The upstream's process is killed.
    Crash,
    /// All that can be answered is.
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..CLIENTS.len(), select(&TOOLS[..])).prop_map(|(client, tool)| Step::Call(client, tool)),
        3 => any::<Index>().prop_map(Step::Cancel),
        1 => any::<Index>().prop_map(Step::HangUp),
        1 => Just(Step::Crash),
        1 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 1..24)
}

/// A call, and what is known of it.
struct Call {
    client: usize,
    tool: &'static str,
    /// Over HTTP each has a connection of its own.
    stream: Option<TcpStream>,
    /// Taken back: an answer may come or not.
    is_cancelled: bool,
    /// Nobody is there to hear the answer.
    is_deaf: bool,
    answers: usize,
}

struct Run<'a> {
    world: &'a World,
    clients: Vec<Option<Wire<'a>>>,
    calls: Vec<Call>,
}

impl<'a> Run<'a> {
    async fn step(&mut self, step: &Step) -> Result<()> {
        let at = |index: &Index| (!self.calls.is_empty()).then(|| index.index(self.calls.len()));
        match step {
            Step::Call(client, tool) => self.call(*client, tool).await,
            Step::Cancel(index) => match at(index) {
                Some(call) => self.cancel(call).await,
                None => Ok(()),
            },
            Step::HangUp(index) => match at(index) {
                Some(call) => self.hang_up(call).await,
                None => Ok(()),
            },
            Step::Crash => {
                for pid in self.world.processes()? {
                    // Gone already is as good.
                    let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                Ok(())
            }
            Step::Settle => self.settle().await,
        }
    }

    async fn client(&mut self, client: usize) -> Result<&mut Wire<'a>> {
        let (carrier, revision) = CLIENTS[client];
        if self.clients[client].is_none() {
            let wire = Wire::open(self.world, carrier, revision).await?;
            self.clients[client] = Some(wire);
        }
        self.clients[client].as_mut().context("it was just opened")
    }

    async fn call(&mut self, client: usize, tool: &'static str) -> Result<()> {
        let n = self.calls.len();
        let members = format!(
            r#""name":"s.{tool}","arguments":{{"text":"{n}","ms":{},"steps":3}}"#,
            n % 7 * 5
        );
        let wire = self.client(client).await?;
        let text = wire.request(
            &n.to_string(),
            "tools/call",
            &members,
            r#""progressToken":1"#,
        );
        let stream = match CLIENTS[client].0 {
            Carrier::Http => {
                let bytes = wire.posting(&text)?;
                let mut stream = Exchange::connect(self.world.address()).await?;
                stream.write_all(&bytes).await?;
                Some(stream)
            }
            Carrier::Sse | Carrier::WebSocket | Carrier::Stdio => {
                wire.tell(&text).await?;
                None
            }
        };
        self.world.owe(1);
        self.calls.push(Call {
            client,
            tool,
            stream,
            is_cancelled: false,
            is_deaf: false,
            answers: 0,
        });
        Ok(())
    }

    async fn cancel(&mut self, call: usize) -> Result<()> {
        let (carrier, revision) = CLIENTS[self.calls[call].client];
        if carrier == Carrier::Http && revision == MODERN {
            return self.hang_up(call).await;
        }
        let client = self.calls[call].client;
        // What comes before the call itself takes nothing back.
        self.under_way(call).await?;
        self.calls[call].is_cancelled = true;
        if let Some(wire) = &mut self.clients[client] {
            let params = format!(r#"{{"requestId":{call}}}"#);
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#
            );
            wire.tell(&text).await?;
        }
        Ok(())
    }

    /// Drops the connection of a call, and with it whatever else was on it.
    async fn hang_up(&mut self, call: usize) -> Result<()> {
        let client = self.calls[call].client;
        if CLIENTS[client].0 == Carrier::Http {
            // What was never read may never have been; what is under way is.
            self.under_way(call).await?;
            self.calls[call].stream = None;
            self.calls[call].is_deaf = true;
            return Ok(());
        }
        for call in 0..self.calls.len() {
            if self.calls[call].client == client && !self.calls[call].is_deaf {
                self.under_way(call).await?;
            }
        }
        if let Some(wire) = self.clients[client].take() {
            wire.close().await?;
        }
        let calls = self.calls.iter_mut();
        for call in calls.filter(|call| call.client == client) {
            call.is_deaf = true;
        }
        Ok(())
    }

    /// Waits until a call is known to the gate: it has begun, or ended.
    async fn under_way(&self, call: usize) -> Result<()> {
        until(&format!("call {call} is under way"), async || {
            let records = self.world.records().await?;
            let seen = records
                .iter()
                .filter(|one| one.row.method == "tools/call")
                .count() as f64;
            let open = self.world.metric("portcullis_calls_in_flight")?;
            let sent = self.calls.len() as f64;
            Ok(seen + open >= sent)
        })
        .await
    }

    /// Hears every answer that must come, whatever else comes before it.
    async fn settle(&mut self) -> Result<()> {
        for at in 0..self.calls.len() {
            let call = &mut self.calls[at];
            let due = !call.is_cancelled && !call.is_deaf && call.answers == 0;
            if !due || call.tool == "silent" {
                continue;
            }
            if let Some(stream) = call.stream.take() {
                self.read(at, stream).await?;
                continue;
            }
            while self.calls[at].answers == 0 {
                let client = self.calls[at].client;
                let heard = self.client(client).await?.hear().await;
                self.count(&heard.with_context(|| format!("call {at}"))?)?;
            }
        }
        Ok(())
    }

    async fn read(&mut self, at: usize, stream: TcpStream) -> Result<()> {
        let mut exchange = Exchange::receive(stream).await?;
        if exchange.is_stream() {
            while let Some((_, data)) = exchange.named_event().await? {
                self.count(&data)?;
            }
        } else {
            let body = exchange.body().await?;
            if !body.is_empty() {
                self.count(std::str::from_utf8(&body)?)?;
            }
        }
        let is_silent = self.calls[at].is_cancelled;
        ensure!(
            self.calls[at].answers == 1 || is_silent,
            "call {at} was not answered on its connection"
        );
        Ok(())
    }

    fn count(&mut self, message: &str) -> Result<()> {
        let message: Value = serde_json::from_str(message)?;
        if is_answer(&message) {
            let id = message["id"]
                .as_u64()
                .with_context(|| message.to_string())?;
            let call = self.calls.get_mut(usize::try_from(id)?).context("whose?")?;
            call.answers += 1;
        }
        Ok(())
    }

    /// Ends all that is open, and counts.
    async fn end(mut self) -> Result<()> {
        for call in 0..self.calls.len() {
            let open = &self.calls[call];
            // Within a session hanging up takes nothing back.
            let (carrier, revision) = CLIENTS[open.client];
            let goes_on = !open.is_deaf || (carrier == Carrier::Http && revision != MODERN);
            if open.tool == "silent" && open.answers == 0 && !open.is_cancelled && goes_on {
                self.under_way(call).await?;
                self.cancel(call).await?;
            }
        }
        self.settle().await?;
        // Over HTTP a cancelled call ends its connection; elsewhere nothing comes, and a ping is answered next.
        for at in 0..self.calls.len() {
            if let Some(stream) = self.calls[at].stream.take() {
                self.read(at, stream).await?;
            }
        }
        for (client, (carrier, _)) in CLIENTS.into_iter().enumerate() {
            let Some(mut wire) = self.clients[client].take() else {
                continue;
            };
            if carrier != Carrier::Http {
                wire.tell(&wire.request("\"last\"", "tools/list", "", ""))
                    .await?;
                self.world.owe(1);
                // Answers that crossed their cancellation may come first.
                loop {
                    let message = wire.hear().await?;
                    if message.contains("\"last\"") {
                        break;
                    }
                    self.count(&message)?;
                }
            }
            wire.close().await?;
        }
        let twice: Vec<usize> = (0..self.calls.len())
            .filter(|at| self.calls[*at].answers > 1)
            .collect();
        ensure!(twice.is_empty(), "answered twice: {twice:?}");
        self.recorded().await
    }

    /// As many records as calls, and of no tool more than of its calls. Of a call that was given up before its tool
    /// was found the tool is not known.
    async fn recorded(&self) -> Result<()> {
        let mut made: BTreeMap<String, usize> = BTreeMap::new();
        for call in &self.calls {
            *made.entry(format!("s.{}", call.tool)).or_default() += 1;
        }
        until("every call has its record, and each but one", async || {
            let mut records = self.world.records().await?;
            records.retain(|record| record.row.method == "tools/call");
            let mut found: BTreeMap<String, usize> = BTreeMap::new();
            for record in &records {
                if let Some(entry) = &record.row.entry {
                    *found.entry(entry.clone()).or_default() += 1;
                }
            }
            let more = found
                .iter()
                .find(|(entry, found)| made.get(*entry).is_none_or(|made| *found > made));
            ensure!(more.is_none(), "{more:?} records of {made:?} calls");
            Ok(records.len() == self.calls.len())
        })
        .await
    }
}

async fn run(steps: &[Step]) -> Result<()> {
    let world = World::of(ONE).await?;
    let mut run = Run {
        world: &world,
        clients: CLIENTS.iter().map(|_| None).collect(),
        calls: Vec::new(),
    };
    for step in steps {
        run.step(step).await.with_context(|| format!("{step:?}"))?;
    }
    run.end().await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_in_whatever_order_every_request_has_one_outcome() -> Result<()> {
    let runs = runner(RUNS).run(&steps(), |steps| {
        let done = block_in_place(|| Handle::current().block_on(run(&steps)));
        done.map_err(|error| TestCaseError::fail(format!("{error:#}")))
    });
    Ok(runs?)
}
