//! What stands behind the gate: each server with what it has, and what a client does with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::clients::{Plan, Sdk, Seen, Taken};
use testkit::fixtures::{HttpPeer, Launch, Peers, free_address};
use testkit::world::program;

/// What a cell tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Feature {
    List,
    Call,
    Read,
    Prompt,
    Progress,
    Cancel,
}

impl Feature {
    pub(super) const ALL: [Self; 6] = [
        Self::List,
        Self::Call,
        Self::Read,
        Self::Prompt,
        Self::Progress,
        Self::Cancel,
    ];

    pub(super) fn letter(self) -> char {
        match self {
            Self::List => 'L',
            Self::Call => 'C',
            Self::Read => 'R',
            Self::Prompt => 'P',
            Self::Progress => 'G',
            Self::Cancel => 'X',
        }
    }

    /// The Inspector's command line runs once for each step and ends with its one answer; two are enough of it.
    fn is_asked_of(self, sdk: Sdk) -> bool {
        sdk != Sdk::Inspector || matches!(self, Self::List | Self::Call)
    }
}

/// One thing that a client does; names are without the alias.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Whose result has this text in it.
    Call(&'static str, Value, &'static str),
    /// Whose contents have this text in them.
    Read(String, &'static str),
    Prompt(&'static str),
    /// A tool that reports at least three times.
    Progress(&'static str, Value),
    /// A tool that reports once, and takes long.
    Cancel(&'static str, Value),
}

impl Step {
    pub(super) fn feature(&self) -> Feature {
        match self {
            Self::Call(..) => Feature::Call,
            Self::Read(..) => Feature::Read,
            Self::Prompt(_) => Feature::Prompt,
            Self::Progress(..) => Feature::Progress,
            Self::Cancel(..) => Feature::Cancel,
        }
    }

    /// Has a client do it.
    pub(super) fn add(&self, plan: Plan, alias: &str) -> Plan {
        let name = |name: &str| format!("{alias}.{name}");
        match self {
            Self::Call(tool, arguments, _) | Self::Progress(tool, arguments) => {
                plan.call(&name(tool), arguments.clone())
            }
            Self::Read(uri, _) => plan.read(uri),
            Self::Prompt(prompt) => plan.prompt(&name(prompt), json!({})),
            Self::Cancel(tool, arguments) => plan.cancel(&name(tool), arguments.clone()),
        }
    }

    /// Whether it went well; `given_up` are the calls that the gate took for cancelled.
    pub(super) fn judge(
        &self,
        taken: &Taken,
        alias: &str,
        given_up: &[&str],
    ) -> Result<(), String> {
        let result = taken.result.as_ref();
        let text = taken.text();
        let done = match self {
            Self::Call(_, _, says) => text.contains(says),
            Self::Read(_, says) => result.is_some_and(|result| {
                let read = result["contents"][0]["text"].as_str();
                read.is_some_and(|read| read.contains(says))
            }),
            Self::Prompt(_) => result.is_some_and(|result| result["messages"][0]["role"] == "user"),
            // The TypeScript clients lose one that arrives together with the result.
            Self::Progress(..) => result.is_some() && taken.progress >= 2,
            Self::Cancel(tool, _) => {
                let name = format!("{alias}.{tool}");
                if taken.cancelled && !given_up.contains(&name.as_str()) {
                    return Err("the gate did not hear of it".to_owned());
                }
                taken.cancelled
            }
        };
        if done {
            Ok(())
        } else {
            Err(format!("{taken:?}"))
        }
    }
}

/// One upstream.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) alias: &'static str,
    /// As in its registry.
    pub(super) name: &'static str,
    pub(super) over: &'static str,
    /// As the config has it.
    pub(super) upstream: Value,
    has: Has,
}

#[derive(Debug, Clone)]
struct Has {
    /// At least: some depend on what the client can be asked.
    tools: usize,
    prompts: usize,
    /// A call comes last: the conversation goes on after what was given up.
    steps: Vec<Step>,
}

impl Server {
    /// What this client can do with it.
    pub(super) fn steps(&self, sdk: Sdk) -> impl Iterator<Item = &Step> {
        let steps = self.has.steps.iter();
        steps.filter(move |step| step.feature().is_asked_of(sdk))
    }

    /// Whether all that it has was listed, once.
    pub(super) fn judge_lists(&self, seen: &Seen) -> Result<(), String> {
        let prefix = format!("{}.", self.alias);
        let named = |items: &[Value]| -> Vec<String> {
            let names = items.iter().filter_map(|item| item["name"].as_str());
            let ours = names.filter(|name| name.starts_with(&prefix));
            ours.map(str::to_owned).collect()
        };
        let (tools, prompts) = (named(&seen.tools), named(&seen.prompts));
        let mut unique = tools.clone();
        unique.sort();
        unique.dedup();
        if unique.len() != tools.len()
            || tools.len() < self.has.tools
            || prompts.len() != self.has.prompts
        {
            return Err(format!("{tools:?} {prompts:?}"));
        }
        for step in &self.has.steps {
            let Step::Read(uri, _) = step else { continue };
            if !seen
                .resources
                .iter()
                .any(|resource| resource["uri"] == *uri)
            {
                return Err(format!("`{uri}` is not among the resources"));
            }
        }
        Ok(())
    }
}

/// All of them, running for as long as this lives.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) servers: Vec<Server>,
    _running: Vec<HttpPeer>,
    _folder: TempDir,
}

impl Behind {
    pub(super) async fn start(peers: &Peers) -> Result<Self> {
        let folder = TempDir::with_prefix("portcullis-interop-")?;
        let (docs, repository) = files(folder.path())?;
        let (everything_http, everything_sse, fixture_http, fixture_sse) = tokio::try_join!(
            peers.everything_http(),
            peers.everything_sse(),
            peers.fixture_http(),
            peers.fixture_sse()
        )?;
        let rmcp = program("rmcp_server")?.to_string_lossy().into_owned();
        let rmcp_over = async |how: &str, revision: &str, path: &'static str| {
            let address = free_address()?;
            let launch = Launch::new([rmcp.as_str(), how, &address.to_string(), revision]);
            HttpPeer::start(&launch, address, path).await
        };
        let (rmcp_http, rmcp_old, rmcp_ws) = tokio::try_join!(
            rmcp_over("http", "2026-07-28", "/mcp"),
            rmcp_over("http", "2025-06-18", "/mcp"),
            rmcp_over("ws", "2025-03-26", "/"),
        )?;
        let rmcp_stdio = Launch::new([rmcp.as_str(), "stdio", "2024-11-05"]);
        let memory = peers.memory(&folder.path().join("memory.jsonl"))?;

        let named = |name| {
            move |alias, over, upstream, has| Server {
                alias,
                name,
                over,
                upstream,
                has,
            }
        };
        let everything = named("server-everything");
        let fixture = named("mcp everything-server");
        let rmcp = named("rmcp");
        // Those over HTTP have the URIs of the first, and the catalog gives them to that.
        let copy = everything_has(false);
        let servers = vec![
            everything(
                "everything",
                "stdio",
                stdio(&peers.everything()?),
                everything_has(true),
            ),
            everything(
                "everything-http",
                "HTTP",
                url(&everything_http),
                copy.clone(),
            ),
            everything("everything-sse", "HTTP+SSE", url(&everything_sse), copy),
            named("server-filesystem")(
                "filesystem",
                "stdio",
                stdio(&peers.filesystem(&docs)?),
                filesystem_has(&docs),
            ),
            named("server-memory")("memory", "stdio", stdio(&memory), memory_has()),
            named("mcp-server-time")("time", "stdio", stdio(&peers.time()?), time_has()),
            named("mcp-server-git")(
                "git",
                "stdio",
                stdio(&peers.git(&repository)?),
                git_has(&repository),
            ),
            fixture(
                "python",
                "stdio",
                stdio(&peers.fixture()?),
                fixture_has("stdio"),
            ),
            fixture(
                "python-http",
                "HTTP",
                url(&fixture_http),
                fixture_has("streamable-http"),
            ),
            fixture(
                "python-sse",
                "HTTP+SSE",
                url(&fixture_sse),
                fixture_has("sse"),
            ),
            rmcp("rmcp", "stdio", stdio(&rmcp_stdio), rmcp_has("2024-11-05")),
            rmcp("rmcp-http", "HTTP", url(&rmcp_http), rmcp_has("2026-07-28")),
            rmcp("rmcp-old", "HTTP", url(&rmcp_old), rmcp_has("2025-06-18")),
            rmcp(
                "rmcp-ws",
                "WebSocket",
                json!({ "url": rmcp_ws.url().replace("http", "ws") }),
                rmcp_has("2025-03-26"),
            ),
        ];
        let running = vec![
            everything_http,
            everything_sse,
            fixture_http,
            fixture_sse,
            rmcp_http,
            rmcp_old,
            rmcp_ws,
        ];
        Ok(Self {
            servers,
            _running: running,
            _folder: folder,
        })
    }
}

fn stdio(launch: &Launch) -> Value {
    json!({ "stdio": launch.argv, "env": launch.env })
}

fn url(peer: &HttpPeer) -> Value {
    json!({ "url": peer.url() })
}

/// A folder with a text, and a repository with a commit.
fn files(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let (docs, repository) = (folder.join("docs"), folder.join("repository"));
    for folder in [&docs, &repository] {
        fs::create_dir(folder)?;
        fs::write(folder.join("a.txt"), "alpha")?;
    }
    let who = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
    for words in [
        &["init", "-q"][..],
        &["add", "a.txt"],
        &["commit", "-q", "-m", "the first one"],
    ] {
        let mut git = Command::new("git");
        let done = git
            .current_dir(&repository)
            .args(who)
            .args(words)
            .status()?;
        ensure!(done.success(), "git {words:?}");
    }
    Ok((docs, repository))
}

fn everything_has(keeps_its_uris: bool) -> Has {
    let long = "trigger-long-running-operation";
    let mut steps = vec![
        Step::Prompt("simple-prompt"),
        Step::Progress(long, json!({ "duration": 0.2, "steps": 4 })),
        Step::Cancel(long, json!({ "duration": 60, "steps": 600 })),
        Step::Call("echo", json!({ "message": "hi" }), "Echo: hi"),
    ];
    if keeps_its_uris {
        let uri = "demo://resource/static/document/features.md";
        steps.insert(0, Step::Read(uri.to_owned(), "Features"));
    }
    Has {
        tools: 13,
        prompts: 4,
        steps,
    }
}

fn filesystem_has(docs: &Path) -> Has {
    let path = docs.join("a.txt");
    only(
        14,
        Step::Call("read_text_file", json!({ "path": path }), "alpha"),
    )
}

fn memory_has() -> Has {
    let mut has = only(9, Step::Call("read_graph", json!({}), "entities"));
    let uri = "memory://knowledge-graph".to_owned();
    has.steps.push(Step::Read(uri, "entities"));
    has
}

fn time_has() -> Has {
    let zone = "Europe/Berlin";
    only(
        2,
        Step::Call("get_current_time", json!({ "timezone": zone }), zone),
    )
}

fn git_has(repository: &Path) -> Has {
    let arguments = json!({ "repo_path": repository });
    only(12, Step::Call("git_log", arguments, "the first one"))
}

fn fixture_has(transport: &str) -> Has {
    let says = "simple text response";
    Has {
        tools: 29,
        prompts: 5,
        steps: vec![
            Step::Read(format!("note://python/{transport}"), "over"),
            Step::Prompt("test_simple_prompt"),
            Step::Progress("test_tool_with_progress", json!({})),
            Step::Cancel("wait", json!({})),
            Step::Call("test_simple_text", json!({}), says),
        ],
    }
}

fn rmcp_has(revision: &str) -> Has {
    Has {
        tools: 3,
        prompts: 1,
        steps: vec![
            Step::Read(format!("note://rmcp/{revision}"), "noted"),
            Step::Prompt("greet"),
            Step::Progress("steps", json!({})),
            Step::Cancel("wait", json!({})),
            Step::Call("sum", json!({ "a": 2, "b": 40 }), "42"),
        ],
    }
}

fn only(tools: usize, call: Step) -> Has {
    Has {
        tools,
        prompts: 0,
        steps: vec![call],
    }
}
