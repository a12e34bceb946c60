//! The main job, as a user does it: five servers of other teams taken over from an `mcp.json`, served as one, and
//! used by three clients of other teams over HTTP and over stdio.

use std::fs;
use std::path::Path;
use std::process::Command as StdCommand;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::clients::{Mode, Plan, Sdk, Seen};
use testkit::fixtures::{Launch, Peers, Process, free_address};
use testkit::world::{program, until};
use tokio::process::Command;

/// A machine with five servers in an `mcp.json`.
struct Machine {
    folder: TempDir,
    address: std::net::SocketAddr,
}

impl Machine {
    fn new(peers: &Peers) -> Result<Self> {
        let folder = TempDir::with_prefix("portcullis-real-")?;
        let docs = folder.path().join("docs");
        fs::create_dir(&docs)?;
        fs::write(docs.join("a.txt"), "alpha")?;
        let repository = repository(folder.path())?;
        let servers = [
            ("everything", peers.everything()?),
            ("filesystem", peers.filesystem(&docs)?),
            ("memory", peers.memory(&folder.path().join("memory.json"))?),
            ("time", peers.time()?),
            ("git", peers.git(&repository)?),
        ];
        let servers: serde_json::Map<String, Value> = servers
            .into_iter()
            .map(|(name, launch)| (name.to_owned(), entry(&launch)))
            .collect();
        // As people write it: with a comment.
        let text = format!("// mine\n{}", json!({ "mcpServers": servers }));
        fs::write(folder.path().join("mcp.json"), text)?;
        let address = free_address()?;
        Ok(Self { folder, address })
    }

    fn launch(&self, words: &[&str]) -> Result<Launch> {
        let gate = program("gate")?.to_string_lossy().into_owned();
        let config = self.folder.path().join("portcullis.toml");
        let config = config.to_string_lossy().into_owned();
        let words = words.iter().map(|word| (*word).to_owned());
        let argv = [gate].into_iter().chain(words);
        let data = self
            .folder
            .path()
            .join("data")
            .to_string_lossy()
            .into_owned();
        Ok(Launch::new(argv.chain(["--config".to_owned(), config]))
            .env("PORTCULLIS__DATA_DIR", data)
            .env("PORTCULLIS__LISTEN", self.address.to_string()))
    }

    async fn run(&self, words: &[&str]) -> Result<String> {
        let launch = self.launch(words)?;
        let (program, arguments) = launch.argv.split_first().context("an empty command line")?;
        let out = Command::new(program)
            .args(arguments)
            .envs(&launch.env)
            .current_dir(self.folder.path())
            .output()
            .await?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let told = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "{words:?}: {said}{told}");
        Ok(said)
    }
}

fn entry(launch: &Launch) -> Value {
    let (command, args) = launch.argv.split_first().expect("a command line");
    json!({ "command": command, "args": args, "env": launch.env })
}

fn repository(folder: &Path) -> Result<std::path::PathBuf> {
    let path = folder.join("repository");
    fs::create_dir(&path)?;
    fs::write(path.join("f"), "x")?;
    let who = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
    for words in [
        &["init", "-q"][..],
        &["add", "f"],
        &["commit", "-q", "-m", "one"],
    ] {
        let done = StdCommand::new("git")
            .current_dir(&path)
            .args(who)
            .args(words)
            .status()?;
        ensure!(done.success(), "git {words:?}");
    }
    Ok(path)
}

fn plan(plan: Plan, folder: &Path) -> Plan {
    let repository = folder.join("repository");
    plan.call("everything.echo", json!({ "message": "hi" }))
        .call(
            "filesystem.read_text_file",
            json!({ "path": folder.join("docs/a.txt") }),
        )
        .call("memory.read_graph", json!({}))
        .call(
            "time.get_current_time",
            json!({ "timezone": "Europe/Berlin" }),
        )
        .call("git.git_log", json!({ "repo_path": repository }))
        .call(
            "everything.trigger-long-running-operation",
            json!({ "duration": 0.5, "steps": 4 }),
        )
        .prompt("everything.simple-prompt", json!({}))
        .read("demo://resource/static/document/features.md")
        .complete(json!({
            "ref": { "type": "ref/prompt", "name": "everything.completable-prompt" },
            "argument": { "name": "department", "value": "E" },
        }))
}

fn judge(what: &str, seen: &Seen) -> Result<()> {
    let names = seen.tool_names();
    for (alias, count) in [
        // Three of them only for clients that can be asked something.
        ("everything", 16),
        ("filesystem", 14),
        ("memory", 9),
        ("time", 2),
        ("git", 12),
    ] {
        let prefix = format!("{alias}.");
        let found = names
            .iter()
            .filter(|name| name.starts_with(&prefix))
            .count();
        assert_eq!(found, count, "{what}: {alias} in {names:?}");
    }
    assert_eq!(seen.prompts.len(), 4, "{what}");
    assert!(
        seen.resources.len() >= 7 && seen.templates.len() >= 2,
        "{what}"
    );
    let [
        echo,
        read,
        graph,
        time,
        log,
        long,
        prompt,
        resource,
        complete,
    ] = seen.steps.as_slice()
    else {
        bail!("{what}: {:?}", seen.steps);
    };
    assert_eq!(echo.text(), "Echo: hi", "{what}");
    assert_eq!(read.text(), "alpha", "{what}");
    assert!(graph.text().contains("entities"), "{what}: {graph:?}");
    assert!(time.text().contains("Europe/Berlin"), "{what}: {time:?}");
    assert!(log.text().contains("one"), "{what}: {log:?}");
    assert!(long.progress >= 3, "{what}: {long:?}");
    let result = |taken: &testkit::clients::Taken| taken.result.clone().unwrap_or_default();
    assert_eq!(result(prompt)["messages"][0]["role"], "user", "{what}");
    assert_eq!(
        result(resource)["contents"][0]["mimeType"],
        "text/markdown",
        "{what}"
    );
    assert_eq!(
        result(complete)["completion"]["values"],
        json!(["Engineering"]),
        "{what}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_real_servers_are_one_for_three_real_clients() -> Result<()> {
    let peers = Peers::locate()?;
    let machine = Machine::new(&peers)?;
    let folder = machine.folder.path();
    fs::write(folder.join("portcullis.toml"), "")?;
    let mcp = folder.join("mcp.json").to_string_lossy().into_owned();
    machine.run(&["import", &mcp]).await?;
    let checked = machine.run(&["check"]).await?;
    assert!(!checked.contains("FAIL"), "{checked}");

    let mut gate = Process::start(&machine.launch(&["serve"])?)?;
    gate.accepts(machine.address).await?;
    let url = format!("http://{}/mcp", machine.address);
    for (sdk, mode) in [
        (Sdk::Python, Mode::Modern),
        (Sdk::TypeScript, Mode::Legacy),
        (Sdk::TypeScriptModern, Mode::Auto),
    ] {
        let seen = plan(Plan::http(&url, mode), folder)
            .run(sdk, &peers)
            .await?;
        judge(&format!("{sdk:?} over HTTP"), &seen)?;
        let bridge = machine.launch(&["stdio", "--connect", &url])?;
        let seen = plan(Plan::stdio(bridge, mode), folder)
            .run(sdk, &peers)
            .await?;
        judge(&format!("{sdk:?} over the bridge"), &seen)?;
        let stdio = machine.launch(&["stdio"])?;
        let seen = plan(Plan::stdio(stdio, mode), folder)
            .run(sdk, &peers)
            .await?;
        judge(&format!("{sdk:?} over stdio"), &seen)?;
    }

    gate.signal(nix::sys::signal::Signal::SIGTERM)?;
    let ended = until("the gate has ended", async || Ok(gate.ended().is_ok()));
    tokio::time::timeout(Duration::from_secs(20), ended).await??;
    let calls = machine
        .run(&["audit", "tail", "-n", "500", "--json"])
        .await?;
    let made = calls
        .lines()
        .filter(|line| line.contains("\"tools/call\""))
        .count();
    assert_eq!(made, 3 * 3 * 6, "one record a call");
    Ok(())
}
