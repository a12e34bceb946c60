//! Clients of other teams × servers of other teams × transports, one gate between them: `docs/reference/interop.md`.
//!
//! The page is what this test saw, and it fails when the page says something else; `UPDATE=1` writes it. What a cell
//! does is in [`servers`], how it is told in [`page`]. A dash stands for what the client or the server lacks; what
//! fails is never in the page, for then the test fails too.

mod page;
mod servers;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use store::{Outcome, Recorded};
use testkit::clients::{Mode, Plan, Sdk, Seen, Transport};
use testkit::fixtures::{Launch, Peers};
use testkit::world::{World, program, until};

use self::page::Page;
use self::servers::{Behind, Feature, Server};

/// Clients at once: each keeps a core busy, and the gate and its upstreams another.
const AT_ONCE: usize = 3;

/// A client over one of its transports, with a principal of its own.
#[derive(Debug, Clone, Copy)]
struct Client {
    who: &'static str,
    sdk: Sdk,
    /// `None` is stdio: the bridge.
    over: Option<Transport>,
    mode: Mode,
}

const CLIENTS: &[Client] = {
    use Mode::{Legacy, Modern};
    use Sdk::{Inspector, Python, Rmcp, TypeScript, TypeScriptModern};
    use Transport::{Http, Sse, WebSocket};
    &[
        client("inspector-http", Inspector, Some(Http), Modern),
        client("inspector-sse", Inspector, Some(Sse), Legacy),
        client("inspector-stdio", Inspector, None, Modern),
        client("python-http", Python, Some(Http), Modern),
        client("python-http-legacy", Python, Some(Http), Legacy),
        client("python-sse", Python, Some(Sse), Legacy),
        client("python-stdio", Python, None, Modern),
        client("ts1-http", TypeScript, Some(Http), Legacy),
        client("ts1-sse", TypeScript, Some(Sse), Legacy),
        client("ts1-ws", TypeScript, Some(WebSocket), Legacy),
        client("ts1-stdio", TypeScript, None, Legacy),
        client("ts2-http", TypeScriptModern, Some(Http), Modern),
        client("ts2-http-legacy", TypeScriptModern, Some(Http), Legacy),
        client("ts2-stdio", TypeScriptModern, None, Modern),
        client("rmcp-http", Rmcp, Some(Http), Modern),
        client("rmcp-http-legacy", Rmcp, Some(Http), Legacy),
        client("rmcp-ws", Rmcp, Some(WebSocket), Modern),
        client("rmcp-stdio", Rmcp, None, Legacy),
    ]
};

const fn client(who: &'static str, sdk: Sdk, over: Option<Transport>, mode: Mode) -> Client {
    Client {
        who,
        sdk,
        over,
        mode,
    }
}

/// What was seen of one server by one client: what works, and of what does not, why.
type Cell = BTreeMap<Feature, Result<(), String>>;

#[tokio::test(flavor = "multi_thread")]
async fn every_client_and_every_server_of_other_teams_meet() -> Result<()> {
    let peers = Peers::locate()?;
    let behind = Behind::start(&peers).await?;
    let world = World::of(&config(&behind)?).await?;
    for server in &behind.servers {
        world.ready(server.alias, 0).await?;
    }
    let (gate, servers) = (&world, &behind.servers);
    let peers = &peers;
    let runs = CLIENTS.iter().map(|client| async move {
        let seen = client.run(gate, peers, servers).await;
        (client, seen)
    });
    let seen: Vec<_> = stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
    let quiet = until("no call is in flight", async || {
        Ok(world.metric("portcullis_calls_in_flight")? == 0.0)
    });
    let quiet = quiet.await;
    let records = world.records().await?;

    let mut page = Page::new(&world, &behind.servers)?;
    let mut failures = Vec::new();
    for (client, seen) in &seen {
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                failures.push(format!("{}: {error:#}", client.who));
                continue;
            }
        };
        let cells = judge(client, seen, &behind.servers, &records);
        for (server, cell) in behind.servers.iter().zip(&cells) {
            failures.extend(cell.iter().filter_map(|(feature, verdict)| {
                let why = verdict.as_ref().err()?;
                Some(format!(
                    "{} × {}: {feature:?}: {why}",
                    client.who, server.alias
                ))
            }));
        }
        page.add(client, &seen.revision, cells);
    }
    let text = page.text();
    println!("{text}");
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    quiet?;
    world.stop().await?;
    page::hold(&text)
}

/// All of them behind one gate, and a principal for each client. Pages are small, so that every list has several.
fn config(behind: &Behind) -> Result<String> {
    let upstreams: BTreeMap<_, _> = behind
        .servers
        .iter()
        .map(|server| (server.alias, &server.upstream))
        .collect();
    let members: Vec<_> = CLIENTS.iter().map(|client| client.who).collect();
    let often = json!({ "max": 100_000, "per": "1s" });
    let config = json!({
        "builtins": [],
        "catalog": { "page_size": 50 },
        "limits": { "tool_call": often, "resource_access": often },
        "roles": { "tester": { "members": members, "allow": ["*"] } },
        "upstreams": upstreams,
    });
    toml::to_string(&config).context("the config")
}

impl Client {
    /// Lets it do everything that it and the servers can.
    async fn run(&self, world: &World, peers: &Peers, servers: &[Server]) -> Result<Seen> {
        let key = world.key(self.who)?.context("no key")?;
        let address = world.address();
        let plan = match self.over {
            Some(transport) => {
                let url = match transport {
                    Transport::Http => format!("http://{address}/mcp"),
                    Transport::Sse => format!("http://{address}/sse"),
                    Transport::WebSocket => format!("ws://{address}/ws"),
                };
                Plan::over(transport, url, self.mode).bearer(&key)
            }
            None => {
                let gate = program("gate")?;
                let config = world.folder().join("portcullis.toml");
                let url = format!("http://{address}/mcp");
                let words = ["stdio", "--connect", &url, "--config"];
                let argv = [gate.to_string_lossy()]
                    .into_iter()
                    .chain(words.map(Into::into))
                    .chain([config.to_string_lossy()]);
                let bridge = Launch::new(argv).env("PORTCULLIS_API_KEY", key);
                Plan::stdio(bridge, self.mode)
            }
        };
        let steps = servers
            .iter()
            .flat_map(|server| server.steps(self.sdk).map(move |step| (server, step)));
        let plan = steps.fold(plan, |plan, (server, step)| step.add(plan, server.alias));
        plan.run(self.sdk, peers).await
    }
}

/// A cell for each server. A cancelled call must be one to the gate too, not to the client alone.
fn judge(client: &Client, seen: &Seen, servers: &[Server], records: &[Recorded]) -> Vec<Cell> {
    let given_up: Vec<&str> = records
        .iter()
        .map(|record| &record.row)
        .filter(|row| row.principal == client.who && row.outcome == Outcome::Cancelled)
        .filter_map(|row| row.entry.as_deref())
        .collect();
    let mut taken = seen.steps.iter();
    let cell = |server: &Server| {
        let mut cell = Cell::from([(Feature::List, server.judge_lists(seen))]);
        for step in server.steps(client.sdk) {
            let verdict = match taken.next() {
                Some(taken) => step.judge(taken, server.alias, &given_up),
                None => Err("never came to it".to_owned()),
            };
            cell.insert(step.feature(), verdict);
        }
        cell
    };
    servers.iter().map(cell).collect()
}
