//! The log of a running gate: what is logged is changed while it runs, the last lines are found again, and nobody forges one.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testkit::mcp::{call, headers, modern};
use testkit::world::{Exchange, program, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::program::{Program, output};

/// A gate at `info`, and the key of an owner.
async fn scene(more: &str) -> Result<(Program, String)> {
    let mut gate = Program::prepare(&[])?;
    let config = format!("builtins = [\"time\"]\nauth.loopback = \"off\"\n{more}");
    fs::write(gate.folder().join("portcullis.toml"), config)?;
    gate.serve_as_configured().await?;
    let key = ["key", "create", "root", "--role", "owner"];
    let key = gate.run(&key).await?.trim().to_owned();
    Ok((gate, key))
}

async fn ask(gate: &Program, key: &str, head: &str, body: &str) -> Result<(u16, Value)> {
    let bytes = format!(
        "{head} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        gate.address(),
        body.len(),
    );
    let mut exchange = Exchange::send(gate.address(), bytes.as_bytes()).await?;
    let body = exchange.body().await?;
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body)?
    };
    Ok((exchange.status, body))
}

async fn lines(gate: &Program, key: &str, query: &str) -> Result<Vec<Value>> {
    let (status, page) = ask(gate, key, &format!("GET /v1/logs?{query}"), "").await?;
    ensure!(status == 200, "{status} {page}");
    Ok(page["items"].as_array().context("items")?.clone())
}

/// Calls a tool that there is not, under this name.
async fn call_unknown(gate: &Program, key: &str, name: &str) -> Result<()> {
    let message = modern(call(1, name, &json!({})));
    let body = message.to_string();
    let mut head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n",
        gate.address(),
        body.len(),
    );
    for (name, value) in headers(&message) {
        let value = wire::header::encode(&value);
        head.push_str(&[name, ": ", &*value, "\r\n"].concat());
    }
    let bytes = format!("{head}\r\n{body}");
    let mut exchange = Exchange::send(gate.address(), bytes.as_bytes()).await?;
    let answer: Value = serde_json::from_slice(&exchange.body().await?)?;
    ensure!(answer["error"].is_object(), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_is_changed_while_the_gate_runs_and_goes_back() -> Result<()> {
    let (mut gate, key) = scene("").await?;
    let shown = async || ask(&gate, &key, "GET /v1/logs/level", "").await;
    let (status, filter) = shown().await?;
    ensure!(status == 200 && filter["filter"] == "info", "{filter}");
    call_unknown(&gate, &key, "time.before").await?;
    ensure!(lines(&gate, &key, "target=call").await?.is_empty());

    let wanted = json!({ "filter": "info,call=debug", "for": "10m" }).to_string();
    let (status, filter) = ask(&gate, &key, "PUT /v1/logs/level", &wanted).await?;
    ensure!(status == 200, "{status} {filter}");
    ensure!(
        filter["filter"] == "info,call=debug" && filter["configured"] == "info",
        "{filter}"
    );
    let left = filter["seconds_left"].as_u64().context("how long")?;
    ensure!((500..=600).contains(&left), "{filter}");
    call_unknown(&gate, &key, "time.during").await?;
    let found = lines(&gate, &key, "target=call&contains=time.during").await?;
    ensure!(
        found.len() == 1 && found[0]["level"] == "DEBUG",
        "{found:?}"
    );
    ensure!(found[0]["entry"] == "time.during", "{found:?}");

    let (status, _) = ask(&gate, &key, "DELETE /v1/logs/level", "").await?;
    ensure!(status == 204, "{status}");
    call_unknown(&gate, &key, "time.after").await?;
    ensure!(lines(&gate, &key, "contains=time.after").await?.is_empty());
    // Who changed it is logged, and in the audit log.
    let told = lines(&gate, &key, "contains=a+log+filter+was+set").await?;
    ensure!(told.len() == 1 && told[0]["by"] == "root", "{told:?}");
    let audit = gate.run(&["audit", "tail", "--json"]).await?;
    ensure!(audit.contains("admin/logs.level.set"), "{audit}");

    for (bad, word) in [
        (json!({ "filter": "loud" }), "loud"),
        (json!({ "filter": "info,upstream" }), "upstream"),
        (json!({ "filter": "info", "for": "10" }), "for"),
        (json!({ "filter": "info", "for": "8d" }), "for"),
        (json!({ "filter": "info", "until": "now" }), "until"),
    ] {
        let (status, problem) = ask(&gate, &key, "PUT /v1/logs/level", &bad.to_string()).await?;
        ensure!(status == 400, "{bad}: {status} {problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        ensure!(detail.contains(word), "{bad}: {problem}");
    }
    let (_, filter) = shown().await?;
    ensure!(filter["filter"] == "info", "{filter}");
    gate.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_is_changed_from_the_command_line() -> Result<()> {
    // What clients know may lead to another gate, here to none: the one of the config is asked at its own address.
    let (mut gate, key) = scene("http.public_url = \"http://127.0.0.1:1\"\n").await?;
    let refused = gate.run_either(&["logs", "level"]).await?;
    ensure!(refused.contains("PORTCULLIS_API_KEY"), "{refused}");
    // The gate's own words.
    ensure!(refused.contains("Authentication required"), "{refused}");
    let say = async |words: &[&str]| {
        let words = [&["logs", "level"], words].concat();
        let launch = gate.launch(&words)?.env("PORTCULLIS_API_KEY", &key);
        output(&launch).await
    };
    ensure!(say(&[]).await? == "info\n");
    ensure!(say(&["info,call=debug", "--for", "10m"]).await? == "info,call=debug\n");
    let told: Value = serde_json::from_str(&say(&["--json"]).await?)?;
    ensure!(told["configured"] == "info", "{told}");
    let left = told["seconds_left"].as_u64().context("how long")?;
    ensure!((500..=600).contains(&left), "{told}");
    call_unknown(&gate, &key, "time.during").await?;
    ensure!(lines(&gate, &key, "contains=time.during").await?.len() == 1);
    ensure!(say(&["--reset"]).await? == "info\n");
    // What is wrong is told in the gate's words.
    let wrong = say(&["loud"]).await.err().context("taken")?;
    ensure!(format!("{wrong:#}").contains("loud"), "{wrong:#}");
    let clear = say(&["--at", "http://192.0.2.1:1"]).await.err();
    let clear = format!("{:#}", clear.context("sent")?);
    ensure!(clear.contains("in the clear"), "{clear}");
    let elsewhere = say(&["--at", "http://127.0.0.1:1"]).await.err();
    let elsewhere = format!("{:#}", elsewhere.context("answered")?);
    ensure!(elsewhere.contains("no gate answers"), "{elsewhere}");
    gate.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_level_is_what_was_answered_and_nothing_in_it_acts_on_a_terminal() -> Result<()> {
    let gate = Program::prepare(&[])?;
    fs::write(gate.folder().join("portcullis.toml"), "builtins = []\n")?;
    let filter = "info\u{1b}[2J\nforged\u{9b}2J";
    let set = json!({ "filter": filter, "configured": filter, "seconds_left": null });
    let detail = "not\u{1b}[2J\nby you";
    for (status, body, code, said) in [
        (200, set, 0, "info\u{fffd}[2J forged\u{fffd}2J\n"),
        (403, json!({ "detail": detail }), 3, ""),
    ] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let at = format!("http://{}", listener.local_addr()?);
        let launch = gate.launch(&["logs", "level", "info", "--at", &at])?;
        let (program, words) = launch.argv.split_first().context("no program")?;
        let mut command = Command::new(program);
        command.args(words).envs(&launch.env).kill_on_drop(true);
        let answer = async move {
            let (mut stream, _) = listener.accept().await?;
            // Whoever asks for more than one answer finds nobody.
            drop(listener);
            let body = body.to_string();
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let mut asked = [0; 4096];
            let length = stream.read(&mut asked).await?;
            ensure!(asked[..length].starts_with(b"PUT /v1/logs/level"));
            stream.write_all((head + &body).as_bytes()).await?;
            Ok(stream)
        };
        let output = async { Ok(command.output().await?) };
        let (output, _stream) = tokio::try_join!(output, answer)?;
        let (out, told) = (
            str::from_utf8(&output.stdout)?,
            str::from_utf8(&output.stderr)?,
        );
        ensure!(output.status.code() == Some(code), "{out}{told}");
        ensure!(out == said, "{out:?}");
        ensure!(!told.contains(['\u{1b}', '\u{9b}']), "{told:?}");
        let is_told = told.contains("not\u{fffd}[2J by you");
        ensure!(
            is_told == (code == 3) && !told.contains("\nforged"),
            "{told:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_what_is_logged() -> Result<()> {
    let (mut gate, key) = scene("log.level = \"warn\"\n").await?;
    let file = gate.folder().join("portcullis.toml");
    let config = fs::read_to_string(&file)?;
    fs::write(&file, config.replace("\"warn\"", "\"info,call=debug\""))?;
    gate.signal(Signal::SIGHUP)?;
    until("the config is taken over", async || {
        let (_, filter) = ask(&gate, &key, "GET /v1/logs/level", "").await?;
        Ok(filter["filter"] == "info,call=debug")
    })
    .await?;
    call_unknown(&gate, &key, "time.during").await?;
    let found = lines(&gate, &key, "target=call&contains=time.during").await?;
    ensure!(found.len() == 1, "{found:?}");
    gate.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_found_a_page_at_a_time_and_a_bad_question_is_refused() -> Result<()> {
    let (mut gate, key) = scene("log.level = \"call=debug,off\"\n").await?;
    for number in 0..5 {
        call_unknown(&gate, &key, &format!("time.page{number}")).await?;
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let head = format!("GET /v1/logs?target=call&contains=time.page&limit=2{after}");
        let (status, page) = ask(&gate, &key, &head, "").await?;
        ensure!(status == 200, "{page}");
        for line in page["items"].as_array().context("items")? {
            seen.push(line["entry"].as_str().context("an entry")?.to_owned());
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let newest_first: Vec<String> = (0..5).rev().map(|n| format!("time.page{n}")).collect();
    ensure!(seen == newest_first, "{seen:?}");
    ensure!(
        lines(&gate, &key, "target=call&level=info")
            .await?
            .is_empty()
    );
    ensure!(
        lines(&gate, &key, "since=2999-01-01T00:00:00Z")
            .await?
            .is_empty()
    );
    let long = format!("contains={}", "a".repeat(300));
    for bad in [
        "level=loud",
        "since=yesterday",
        "limit=0",
        "after=x",
        "what=1",
        &long,
    ] {
        let (status, _) = ask(&gate, &key, &format!("GET /v1/logs?{bad}"), "").await?;
        ensure!(status == 400, "{bad}: {status}");
    }
    gate.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_forges_a_line() -> Result<()> {
    let scripted = program("scripted")?;
    let forged =
        "time.x\n{\"level\":\"ERROR\",\"message\":\"forged\"}\r\u{1b}[2K\u{2028}ERROR forged";
    for format in ["json", "text"] {
        let more = format!(
            "log = {{ level = \"trace\", format = \"{format}\" }}\nupstreams.bad = {{ stdio = [\"{}\"] }}\n",
            scripted.display()
        );
        let (mut gate, key) = scene(&more).await?;
        call_unknown(&gate, &key, forged).await?;
        let found = lines(&gate, &key, "target=call&contains=time.x").await?;
        ensure!(found.len() == 1, "{found:?}");
        // It is there as it was, within its line.
        ensure!(found[0]["entry"] == forged, "{found:?}");
        let pages = lines(&gate, &key, "limit=1000").await?;
        ensure!(
            pages.iter().all(|line| line["message"] != "forged"),
            "{pages:?}"
        );
        gate.stop()?;
        let output = gate.output()?;
        ensure!(
            !output.contains('\u{1b}') && !output.contains('\u{2028}'),
            "{format}: {output}"
        );
        ensure!(output.contains("time.x"), "{format}: {output}");
        // What is printed for people comes before the first line of the log.
        let log = output.lines().filter(|line| line.contains("forged"));
        for line in log {
            let is_whole = match format {
                "json" => {
                    serde_json::from_str::<Value>(line).is_ok_and(|line| line["target"] == "call")
                }
                _ => line.contains("DEBUG"),
            };
            ensure!(is_whole, "{format}: {line}");
        }
    }
    Ok(())
}
