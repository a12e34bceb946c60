//! The page: one table for each client, a row for each server, a column for each transport of the client.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::clients::{Sdk, Transport};
use testkit::world::World;

use super::servers::{Feature, Server};
use super::{CLIENTS, Cell, Client};

const PATH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/reference/interop.md"
);
const NPM: &str = include_str!("../../../peers/npm/package.json");
const PYTHON: &str = include_str!("../../../peers/py/requirements.txt");
const CARGO: &str = include_str!("../../../../../Cargo.lock");
const HEAD: &str = "\
# Interoperability

<!-- What the test `interop` saw; `UPDATE=1 cargo xtask test interop` writes it anew. -->

Clients and servers that other teams wrote, and one gate between them. Every client is run over every transport that it
has, and uses every server over every transport that the server has: fourteen upstreams of five revisions, behind one
endpoint.

A cell tells what worked: **L** lists all tools, prompts and resources, over several pages · **C** calls a tool ·
**R** reads a resource · **P** gets a prompt · **G** hears of a call's progress · **X** cancels a call, and goes on. A dash
stands for what the client or the server does not have, with two exceptions: of the Inspector's command line, which is
started anew for each request, only the first two are asked; and the resources of `server-everything`, which stands behind
the gate three times, are read from the first, for a URI that several upstreams offer is the first one's.

Over stdio a client starts `portcullis stdio --connect`.
";

/// The page while it is made.
pub(super) struct Page<'a> {
    servers: &'a [Server],
    /// The revision that the gate and each of them speak.
    revisions: Vec<String>,
    columns: BTreeMap<&'static str, (String, Vec<Cell>)>,
}

impl<'a> Page<'a> {
    pub(super) fn new(world: &World, servers: &'a [Server]) -> Result<Self> {
        let revision = |server: &Server| {
            let told = world.upstream(server.alias)?;
            let revision = told["revision"].as_str().map(str::to_owned);
            revision.with_context(|| format!("{}: no revision", server.alias))
        };
        Ok(Self {
            servers,
            revisions: servers.iter().map(revision).collect::<Result<_>>()?,
            columns: BTreeMap::new(),
        })
    }

    pub(super) fn add(&mut self, client: &Client, revision: &str, cells: Vec<Cell>) {
        let head = format!("{}, {revision}", transport(client.over));
        self.columns.insert(client.who, (head, cells));
    }

    pub(super) fn text(&self) -> String {
        let all = [
            Sdk::Python,
            Sdk::TypeScript,
            Sdk::TypeScriptModern,
            Sdk::Rmcp,
            Sdk::Inspector,
        ];
        let tables = all.map(|sdk| self.table(sdk));
        [HEAD.to_owned()].into_iter().chain(tables).collect()
    }

    fn table(&self, sdk: Sdk) -> String {
        let clients = CLIENTS.iter().filter(|client| client.sdk == sdk);
        let columns: Vec<_> = clients
            .filter_map(|client| self.columns.get(client.who))
            .collect();
        let heads: String = columns
            .iter()
            .map(|(head, _)| format!(" {head} |"))
            .collect();
        let mut text = format!(
            "\n## {}\n\n| server | behind the gate |{heads}\n|---|---|{}\n",
            title(sdk),
            "---|".repeat(columns.len())
        );
        for (at, (server, revision)) in self.servers.iter().zip(&self.revisions).enumerate() {
            let cells: String = columns
                .iter()
                .map(|(_, cells)| format!(" `{}` |", shown(&cells[at])))
                .collect();
            let row = format!(
                "| `{}` {} | {}, {revision} |{cells}\n",
                server.name,
                version(server.name),
                server.over
            );
            text.push_str(&row);
        }
        text
    }
}

/// Holds the page that is there against what was seen.
pub(super) fn hold(text: &str) -> Result<()> {
    if std::env::var_os("UPDATE").is_some_and(|update| update == "1") {
        return fs::write(PATH, text).context("writing the page");
    }
    let page = fs::read_to_string(PATH).unwrap_or_default();
    ensure!(
        page == text,
        "docs/reference/interop.md says something else; look at it, then: UPDATE=1 cargo xtask test interop"
    );
    Ok(())
}

fn shown(cell: &Cell) -> String {
    let letter = |feature: Feature| match cell.get(&feature) {
        None => '–',
        Some(Ok(())) => feature.letter(),
        Some(Err(_)) => '!',
    };
    Feature::ALL.into_iter().map(letter).collect()
}

fn transport(over: Option<Transport>) -> &'static str {
    match over {
        None => "stdio",
        Some(Transport::Http) => "HTTP",
        Some(Transport::Sse) => "HTTP+SSE",
        Some(Transport::WebSocket) => "WebSocket",
    }
}

fn title(sdk: Sdk) -> String {
    let (name, package) = match sdk {
        Sdk::Python => ("Python SDK", "mcp"),
        Sdk::TypeScript => ("TypeScript SDK, first generation", "sdk"),
        Sdk::TypeScriptModern => ("TypeScript SDK, second generation", "client"),
        Sdk::Rmcp => ("Rust SDK", "rmcp"),
        Sdk::Inspector => ("Inspector, command line", "inspector"),
    };
    let scope = match sdk {
        Sdk::Python | Sdk::Rmcp => "",
        Sdk::TypeScript | Sdk::TypeScriptModern | Sdk::Inspector => "@modelcontextprotocol/",
    };
    format!("{name}: `{scope}{package}` {}", version(package))
}

/// The version that is pinned; the fixture of the Python SDK comes with it.
fn version(name: &str) -> String {
    let package = name.split(' ').next().unwrap_or(name);
    let npm: Value = serde_json::from_str(NPM).unwrap_or_default();
    let of_npm = npm["dependencies"][format!("@modelcontextprotocol/{package}")].as_str();
    let of_python = PYTHON
        .lines()
        .find_map(|line| line.strip_prefix(package)?.strip_prefix("=="));
    let of_cargo = CARGO
        .split_once(&format!("name = \"{package}\"\nversion = \""))
        .and_then(|(_, rest)| rest.split('"').next());
    let found = of_npm.or(of_python).or(of_cargo);
    found.unwrap_or_default().to_owned()
}
