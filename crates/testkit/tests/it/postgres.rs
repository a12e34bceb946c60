//! Gates over a PostgreSQL: what they record is one log, whoever writes it; a database that goes away refuses calls and
//! comes back without a word; and nobody reads a password on its way.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testkit::certificates::Authority;
use testkit::fixtures::{DATABASE, Encrypted, Postgres, USER, free_address};
use testkit::mcp::{call, headers, modern};
use testkit::world::{Exchange, program, until};
use tokio::task::JoinSet;

use crate::program::Program;

/// Of a call that is not in the audit log.
const UNRECORDABLE: i64 = -31004;

/// A gate's config: its database, and an upstream that keeps all it is told in `ledger`.
fn config(store: &str, ledger: &str) -> Result<String> {
    let program = program("ledger")?;
    Ok(format!(
        "builtins = []\n\
         limits.tool_call = {{ max = 1000000, per = \"1s\" }}\n\
         store = {{ {store} }}\n\
         upstreams.s = {{ stdio = [{program:?}, \"s\", {ledger:?}] }}\n"
    ))
}

pub(crate) fn at_socket(server: &Postgres) -> String {
    let folder = server.socket_folder().display().to_string();
    let folder = folder.replace('/', "%2F");
    format!("postgres = \"postgres://{USER}@{folder}/{DATABASE}\"")
}

/// A gate that is configured and does not run yet; where its upstream writes what it is told.
fn prepare(store: &str) -> Result<(Program, PathBuf)> {
    let gate = Program::prepare(&[])?;
    let ledger = gate.folder().join("ledger");
    let text = config(store, &ledger.display().to_string())?;
    fs::write(gate.folder().join("portcullis.toml"), text)?;
    Ok((gate, ledger))
}

async fn started(store: &str) -> Result<(Program, PathBuf)> {
    let (mut gate, ledger) = prepare(store)?;
    gate.serve("info").await?;
    until("the gate is ready", async || is_ready(&gate).await).await?;
    Ok((gate, ledger))
}

/// Calls once: the code of the error, if it is one.
async fn write(gate: std::net::SocketAddr, id: u64, text: &str) -> Result<Option<i64>> {
    let message = modern(call(id, "s.write", &json!({ "text": text })));
    let body = message.to_string();
    let mut head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {gate}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    );
    for (name, value) in headers(&message) {
        head.push_str(&[name, ": ", &value, "\r\n"].concat());
    }
    let mut exchange = Exchange::send(gate, format!("{head}\r\n{body}").as_bytes()).await?;
    let answer: Value = serde_json::from_slice(&exchange.body().await?)?;
    ensure!(
        answer.get("result").is_some() != answer.get("error").is_some(),
        "{answer}"
    );
    Ok(answer["error"]["code"].as_i64())
}

async fn is_ready(gate: &Program) -> Result<bool> {
    let address = gate.address();
    let bytes = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    Ok(Exchange::send(address, bytes.as_bytes()).await?.status == 200)
}

/// Has the log proved by the program's own words; its lines.
async fn proved(gate: &Program) -> Result<String> {
    let file = gate.folder().join("export.jsonl").display().to_string();
    let key = gate.run(&["audit", "key"]).await?;
    gate.run(&["audit", "export", "--output", &file]).await?;
    let verify = ["audit", "verify", &file, "--key", key.trim(), "--json"];
    gate.run(&verify).await?;
    Ok(fs::read_to_string(&file)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gates_write_one_log_that_proves_itself() -> Result<()> {
    let server = Postgres::start(None)?;
    let (mut one, _) = started(&at_socket(&server)).await?;
    let (mut other, _) = prepare(&at_socket(&server))?;
    // What the one has sealed, the other opens.
    let key = one.folder().join("data/master.key");
    let file = other.folder().join("portcullis.toml");
    let text = fs::read_to_string(&file)?;
    fs::write(
        &file,
        format!("{text}secrets.master_key = {{ file = {key:?} }}\n"),
    )?;
    other.serve("info").await?;
    until("the other is ready", async || is_ready(&other).await).await?;
    let mut calls = JoinSet::new();
    for id in 0..60 {
        let gate = [&one, &other][id % 2].address();
        calls.spawn(async move { write(gate, 1, &format!("call {id}")).await });
    }
    while let Some(answered) = calls.join_next().await {
        ensure!(answered??.is_none());
    }
    let calls = |log: &str| log.matches("\"method\":\"tools/call\"").count();
    // Before its upstream saw it, and after; and whoever is asked says the same.
    ensure!(calls(&proved(&one).await?) == 120);
    ensure!(calls(&proved(&other).await?) == 120);
    one.stop()?;
    other.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_a_gate_takes_no_calls_and_with_it_it_does_again() -> Result<()> {
    let mut server = Postgres::start(None)?;
    let (mut gate, ledger) = started(&at_socket(&server)).await?;
    ensure!(write(gate.address(), 1, "before").await?.is_none());
    let mut id = 1;
    for is_frozen in [false, true] {
        if is_frozen {
            server.freeze()?;
        } else {
            server.stop()?;
        }
        until(
            "the gate is not ready",
            async || Ok(!is_ready(&gate).await?),
        )
        .await?;
        for _ in 0..2 {
            id += 1;
            let text = format!("without {id}");
            ensure!(write(gate.address(), id, &text).await? == Some(UNRECORDABLE));
            // Not even between one try of the database and the next.
            ensure!(!is_ready(&gate).await?, "ready without a database");
            ensure!(!fs::read_to_string(&ledger)?.contains(&text));
        }
        if is_frozen {
            server.thaw()?;
        } else {
            server.start_again()?;
        }
        until("the gate is ready", async || is_ready(&gate).await).await?;
        until("calls are answered", async || {
            id += 1;
            Ok(write(gate.address(), id, "after").await?.is_none())
        })
        .await?;
    }
    proved(&gate).await?;
    gate.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_gate_had_begun_is_unknown_to_the_next() -> Result<()> {
    let server = Postgres::start(None)?;
    let (mut gate, _) = prepare(&at_socket(&server))?;
    let silent = format!(
        "builtins = []\nstore = {{ {} }}\nupstreams.s = {{ stdio = [{:?}] }}\n",
        at_socket(&server),
        program("scripted")?
    );
    fs::write(gate.folder().join("portcullis.toml"), silent)?;
    gate.serve("info").await?;
    let message = modern(call(1, "s.silent", &json!({})));
    let (address, body) = (gate.address(), message.to_string());
    let mut head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers(&message) {
        head.push_str(&[name, ": ", &value, "\r\n"].concat());
    }
    let mut asking = JoinSet::new();
    asking.spawn(async move {
        let bytes = format!("{head}\r\n{body}");
        Exchange::send(address, bytes.as_bytes()).await.is_ok()
    });
    until("the call is begun", async || {
        // The table is not there from the beginning.
        let open = server.sql("SELECT count(*) FROM audit_open");
        Ok(open.is_ok_and(|count| count.trim() == "1"))
    })
    .await?;
    gate.kill()?;
    ensure!(asking.join_next().await.transpose()? == Some(false));
    gate.serve("info").await?;
    until("the call is unknown", async || {
        let asked = ["audit", "search", "--json", "--outcome", "unknown"];
        let told = gate.run(&asked).await?;
        Ok(told.matches("\"tools/call\"").count() == 1)
    })
    .await?;
    proved(&gate).await?;
    gate.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_a_newer_version_wrote_is_left_alone() -> Result<()> {
    let server = Postgres::start(None)?;
    let (gate, _) = prepare(&at_socket(&server))?;
    gate.run(&["key", "list"]).await?;
    server.sql("INSERT INTO migrations VALUES (99, '')")?;
    let said = gate.run_either(&["serve"]).await?;
    ensure!(said.contains("use the newer version"), "{said}");
    ensure!(said.contains("postgres://"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_elsewhere_is_spoken_to_under_tls_and_no_password_is_shown() -> Result<()> {
    let (ours, theirs) = (Authority::new("ours")?, Authority::new("theirs")?);
    let certificate = ours.server(1)?;
    let port = free_address()?.port();
    let server = Postgres::encrypted(
        port,
        &Encrypted {
            chain: &certificate.chain,
            key: &certificate.key,
            password: "hunter2",
        },
    )?;
    let place = format!(
        "postgres = \"postgres://{USER}@localhost:{port}/{DATABASE}\", password = {{ file = \"password\" }}, ca = \"ca.pem\""
    );
    let (mut gate, _) = prepare(&place)?;
    let put = |name: &str, text: &str| fs::write(gate.folder().join(name), text);
    put("password", "hunter2\n")?;
    put("ca.pem", &theirs.pem)?;
    let stranger = gate.run_either(&["key", "list"]).await?;
    ensure!(stranger.contains("no TLS session"), "{stranger}");
    put("ca.pem", &ours.pem)?;
    put("password", "hunter3\n")?;
    let wrong = gate.run_either(&["key", "list"]).await?;
    ensure!(wrong.contains("password authentication failed"), "{wrong}");
    ensure!(!wrong.contains("hunter"), "{wrong}");
    put("password", "hunter2\n")?;
    gate.serve("debug").await?;
    until("the gate is ready", async || is_ready(&gate).await)
        .await
        .with_context(|| gate.output().unwrap_or_default())?;
    ensure!(write(gate.address(), 1, "there").await?.is_none());
    ensure!(
        server
            .sql("SELECT count(*) FROM pg_stat_ssl WHERE ssl")?
            .trim()
            != "0"
    );
    let shown = gate.run(&["config", "show"]).await?;
    ensure!(
        !shown.contains("hunter") && !gate.output()?.contains("hunter"),
        "{shown}"
    );
    gate.stop()
}
