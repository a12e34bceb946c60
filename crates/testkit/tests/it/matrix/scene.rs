//! A gate for the files of one kind of rule: two upstreams that keep what reaches them, an issuer, and the callers.
//!
//! Everything is asked from outside, bytes over HTTP: modern requests, and a legacy session for what only they have.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Map, Value, json};
use store::Recorded;
use tempfile::TempDir;
use testkit::mcp::{headers, initialize, modern, notification, request};
use testkit::world::{Reply, World, until};
use toml::Table;

use super::cells::{Caller, Subject};
use super::page::{Ask, Page};
use crate::credentials::{claims, es256, jwk};

const UPSTREAMS: [&str; 2] = ["ledger", "papers"];
/// The revision of sessions: it has subscriptions and tasks.
const LEGACY: &str = "2025-11-25";
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";

/// A gate, and all around it.
pub(super) struct Scene {
    world: World,
    folder: TempDir,
    issuer: EcdsaKeyPair,
    /// Bytes of each file that are accounted for.
    read: [usize; 2],
    /// Records that are accounted for.
    recorded: usize,
    tasks: BTreeMap<Caller, String>,
}

/// What came of a request.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) answer: Value,
    /// The methods of what reached the upstreams, but for what the gate asks of itself.
    pub(super) reached: Vec<String>,
    /// What the record says of the rules.
    pub(super) decision: Option<String>,
}

impl Scene {
    pub(super) async fn open() -> Result<Self> {
        let folder = TempDir::with_prefix("portcullis-matrix-")?;
        let issuer = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let config = config(&folder, &issuer, None)?;
        let world = World::of(&config).await?;
        for alias in UPSTREAMS {
            world.ready(alias, 0).await?;
        }
        Ok(Self {
            world,
            folder,
            issuer,
            read: [0; 2],
            recorded: 0,
            tasks: BTreeMap::new(),
        })
    }

    pub(super) async fn close(self) -> Result<()> {
        self.world.end().await
    }

    /// Takes a file's rules; before that nothing is forbidden for as long as it takes to make a task each.
    pub(super) async fn set(&mut self, subject: Subject, page: &Page) -> Result<()> {
        if subject == Subject::Task {
            let free = config(&self.folder, &self.issuer, None)?;
            self.world.reload(&free)?;
            let first = page.asks.first().context("no request")?;
            for &caller in Caller::ALL {
                if caller != Caller::Anonymous {
                    let task = self.begin_task(caller, first).await?;
                    self.tasks.insert(caller, task);
                }
            }
        }
        self.world
            .reload(&config(&self.folder, &self.issuer, Some(page))?)
    }

    async fn begin_task(&mut self, caller: Caller, like: &Ask) -> Result<String> {
        let ask = Ask {
            method: "tools/call".to_owned(),
            params: object(json!({ "name": "ledger.job", "arguments": {}, "task": {} })),
            server: None,
            after: None,
            ..like.clone()
        };
        let seen = self.ask(caller, Subject::Task, &ask).await?;
        let id = seen.answer["result"]["task"]["taskId"].as_str();
        Ok(id.with_context(|| format!("no task: {seen:?}"))?.to_owned())
    }

    /// Lets time pass, if the request wants that.
    pub(super) fn wait(&self, ask: &Ask) -> Result<()> {
        if let Some(after) = &ask.after {
            let after = policy::config::duration(after).map_err(anyhow::Error::msg)?;
            self.world.advance(after);
        }
        Ok(())
    }

    /// One request by one caller.
    pub(super) async fn ask(
        &mut self,
        caller: Caller,
        subject: Subject,
        ask: &Ask,
    ) -> Result<Seen> {
        let message = request(1, &ask.method, &self.params(caller, ask).into());
        let reply = match subject {
            Subject::Subscription | Subject::Task => self.in_session(caller, ask, &message).await?,
            Subject::Admin => return self.administer(caller, ask).await,
            Subject::Tool
            | Subject::Prompt
            | Subject::Resource
            | Subject::Template
            | Subject::Completion => {
                let mut message = modern(message);
                message["params"]["_meta"][CLIENT_INFO] = client_info(&ask.client);
                self.post(caller, ask, &headers(&message), &message).await?
            }
        };
        self.seen(&ask.method, reply.status, reply.answer()?.clone())
            .await
    }

    /// The keys under which a list names its entries to this caller.
    pub(super) async fn list(
        &mut self,
        caller: Caller,
        subject: Subject,
        ask: &Ask,
    ) -> Result<Option<Vec<String>>> {
        let (method, section, key) = match subject {
            Subject::Tool => ("tools/list", "tools", "name"),
            Subject::Prompt => ("prompts/list", "prompts", "name"),
            Subject::Resource => ("resources/list", "resources", "uri"),
            Subject::Template => (
                "resources/templates/list",
                "resourceTemplates",
                "uriTemplate",
            ),
            Subject::Completion | Subject::Subscription | Subject::Task | Subject::Admin => {
                return Ok(None);
            }
        };
        let ask = Ask {
            method: method.to_owned(),
            params: Map::new(),
            ..ask.clone()
        };
        let seen = self.ask(caller, subject, &ask).await?;
        let entries = seen.answer["result"][section].as_array();
        let entries = entries.with_context(|| format!("no list: {:?}", seen.answer))?;
        let keys = entries.iter().filter_map(|entry| entry[key].as_str());
        Ok(Some(keys.map(str::to_owned).collect()))
    }

    fn params(&self, caller: Caller, ask: &Ask) -> Map<String, Value> {
        let mut params = ask.params.clone();
        if let Some(id) = params.get_mut("taskId")
            && id == "{task}"
        {
            // Who could make none tries another's.
            let task = self.tasks.get(&caller).or(self.tasks.get(&Caller::Allowed));
            *id = task.cloned().into();
        }
        params
    }

    /// In a session of its own, which ends with it.
    async fn in_session(&mut self, caller: Caller, ask: &Ask, message: &Value) -> Result<Reply> {
        let mut hello = initialize(LEGACY);
        hello["params"]["clientInfo"] = client_info(&ask.client);
        let opened = self.post(caller, ask, &[], &hello).await?;
        let Some(id) = opened.header("mcp-session-id").map(str::to_owned) else {
            return Ok(opened);
        };
        let headers = [
            ("Mcp-Session-Id", id),
            ("MCP-Protocol-Version", LEGACY.to_owned()),
        ];
        let done = notification("notifications/initialized", &json!({}));
        self.post(caller, ask, &headers, &done).await?;
        let reply = self.post(caller, ask, &headers, message).await?;
        // Its subscriptions end with the session.
        let bytes = self.bytes("DELETE", caller, ask, &headers, b"")?;
        let exchange = self.world.send_raw(&bytes).await?;
        self.world.whole(exchange).await?;
        // One that lived on would be asked for no second time.
        until("no subscription is left", async || {
            let mut open = 0;
            for alias in UPSTREAMS {
                let text = fs::read_to_string(kept(&self.folder, alias))?;
                open += text.matches("\"resources/subscribe\"").count();
                open -= text.matches("\"resources/unsubscribe\"").count();
            }
            Ok(open == 0)
        })
        .await?;
        Ok(reply)
    }

    async fn post(
        &self,
        caller: Caller,
        ask: &Ask,
        headers: &[(&str, String)],
        message: &Value,
    ) -> Result<Reply> {
        let body = message.to_string();
        let bytes = self.bytes("POST", caller, ask, headers, body.as_bytes())?;
        let exchange = self.world.send_raw(&bytes).await?;
        self.world.whole(exchange).await
    }

    fn bytes(
        &self,
        verb: &str,
        caller: Caller,
        ask: &Ask,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Result<Vec<u8>> {
        let path = match &ask.server {
            Some(server) => ["/mcp/", server].concat(),
            None => "/mcp".to_owned(),
        };
        let mut head = format!(
            "{verb} {path} HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        );
        for (name, value) in headers {
            head.push_str(&[*name, ": ", value, "\r\n"].concat());
        }
        self.signed(caller, ask, head, body)
    }

    /// The request with the caller's credential.
    fn signed(&self, caller: Caller, ask: &Ask, mut head: String, body: &[u8]) -> Result<Vec<u8>> {
        let who = match (caller, &ask.claims) {
            (Caller::Anonymous, _) => "nobody",
            (_, None) => caller.word(),
            (_, Some(said)) => {
                let mut said = said.clone();
                said.insert("sub".to_owned(), caller.word().into());
                let scopes = "mcp:tools mcp:prompts mcp:resources mcp:admin";
                said.insert("scope".to_owned(), scopes.into());
                let resource = format!("{}/mcp", self.world.gate().auth().site().base());
                let text = claims(&resource, &Value::Object(said));
                let header = json!({ "alg": "ES256", "typ": "at+jwt" });
                let token = es256(&self.issuer, &header, &text)?;
                head.push_str(&["Authorization: Bearer ", &token, "\r\n"].concat());
                "nobody"
            }
        };
        self.world.complete(who, &head, body)
    }

    /// A request to the admin API.
    async fn administer(&mut self, caller: Caller, ask: &Ask) -> Result<Seen> {
        let head = format!("{} HTTP/1.1\r\n", ask.method);
        let body = match ask.params.is_empty() {
            true => String::new(),
            false => Value::from(ask.params.clone()).to_string(),
        };
        let head = head + "Content-Type: application/json\r\n";
        let bytes = self.signed(caller, ask, head, body.as_bytes())?;
        let mut exchange = self.world.send_raw(&bytes).await?;
        let body = exchange.body().await?;
        self.world.owe(1);
        let answer = serde_json::from_slice(&body).unwrap_or_default();
        self.seen("", exchange.status, answer).await
    }

    async fn seen(&mut self, method: &str, status: u16, answer: Value) -> Result<Seen> {
        let records = self.world.records().await?;
        let new = records.get(self.recorded..).unwrap_or_default();
        let of = |record: &&Recorded| record.row.method.starts_with(method);
        let decision = new.iter().rev().find(of);
        let decision = decision.map(|record| record.row.decision.to_string());
        self.recorded = records.len();
        Ok(Seen {
            status,
            answer,
            reached: self.reached()?,
            decision,
        })
    }

    /// What reached the upstreams since the last look, but for what no call is.
    fn reached(&mut self) -> Result<Vec<String>> {
        let mut reached = Vec::new();
        for (at, alias) in UPSTREAMS.iter().enumerate() {
            let bytes = fs::read(kept(&self.folder, alias))?;
            let new = bytes.get(self.read[at]..).unwrap_or_default();
            // The gate's own words end in a line end as well: half a line is none yet.
            let whole = new
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |end| end + 1);
            self.read[at] += whole;
            for line in new[..whole].split(|byte| *byte == b'\n') {
                let Ok(message) = serde_json::from_slice::<Value>(line) else {
                    continue;
                };
                let method = message["method"].as_str().unwrap_or_default();
                let is_call = !method.ends_with("/list")
                    && !method.starts_with("notifications/")
                    && !matches!(
                        method,
                        "" | "initialize" | "server/discover" | "ping" | "resources/unsubscribe"
                    );
                reached.extend(is_call.then(|| method.to_owned()));
            }
        }
        Ok(reached)
    }
}

fn kept(folder: &TempDir, alias: &str) -> PathBuf {
    folder.path().join(alias)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn client_info(client: &str) -> Value {
    let (name, version) = client.split_once('/').unwrap_or((client, ""));
    json!({ "name": name, "version": version })
}

/// The config with a file's rules; without one everybody may do everything.
fn config(folder: &TempDir, issuer: &EcdsaKeyPair, page: Option<&Page>) -> Result<String> {
    let key = jwk(issuer).to_string();
    let mut config: Table = toml::from_str(&format!(
        r#"
builtins = []
auth.loopback = "off"
auth.issuers.corp = {{ url = "https://corp.example", keys = [{key:?}], claims = ["team"] }}
limits.tool_call = {{ max = 1000000, per = "1s" }}
limits.resource_access = {{ max = 1000000, per = "1s" }}
consent = {{ open_max = 1000, per_hour = 10000 }}
"#
    ))?;
    let mut upstreams = Table::new();
    for alias in UPSTREAMS {
        let file = kept(folder, alias);
        let command = ["{ledger}", alias, &file.to_string_lossy()].map(str::to_owned);
        let mut upstream = Table::new();
        upstream.insert("stdio".to_owned(), command.to_vec().into());
        upstreams.insert(alias.to_owned(), upstream.into());
    }
    config.insert("upstreams".to_owned(), upstreams.into());
    let mut roles = Table::new();
    for &caller in Caller::ALL {
        let rules = match (caller, page) {
            (Caller::Anonymous, _) => continue,
            (_, None) => toml::toml! { allow = ["*"] },
            (Caller::Stranger, Some(_)) => toml::toml! { allow = ["elsewhere.*"] },
            (_, Some(page)) => {
                let rules = page.roles.get(&caller);
                rules
                    .with_context(|| format!("no rules for `{}`", caller.word()))?
                    .clone()
            }
        };
        let members = [caller.word().to_owned(), format!("corp/{}", caller.word())];
        let mut role = rules;
        role.insert("members".to_owned(), members.to_vec().into());
        roles.insert(caller.word().to_owned(), role.into());
    }
    config.insert("roles".to_owned(), roles.into());
    for (key, value) in page.into_iter().flat_map(|page| &page.config) {
        let is_new = config.insert(key.clone(), value.clone()).is_none();
        ensure!(is_new, "the config of a file says `{key}` again");
    }
    Ok(toml::to_string(&config)?)
}
