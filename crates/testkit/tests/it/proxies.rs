//! Clients behind a proxy: each is counted and recorded by its own address, and no header makes anybody somebody else.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testkit::mcp::{headers, modern, request};
use testkit::world::Exchange;

use crate::pages::browser::{Browser, encoded};
use crate::program::Program;

const SECRET: &str = "violet-anchor-2291-harbour";
/// Wrong secrets of one client, and wrong passwords, that an address is free to try.
const TRIES: usize = 20;
/// Further ones, each of which costs twice as much as the one before: sooner or later one of them comes too early.
const MORE: usize = 12;

/// A gate that believes what comes from `trusted`.
async fn gate(trusted: &str, header: &str) -> Result<Program> {
    Program::start(&format!(
        r#"
builtins = ["time"]
[http]
trusted_proxies = ["{trusted}"]
forwarded_header = "{header}"
[auth]
loopback = "owner"
[auth.server]
enabled = true
[auth.server.clients.robot]
secret = "{SECRET}"
principal = "robot"
roles = ["reader"]
[roles.reader]
allow = ["time.*"]
[mail]
url = "smtp://127.0.0.1:9"
from = "gate@example.com"
"#
    ))
    .await
}

/// Sends what a proxy would pass on, with these headers of its own.
async fn pass_on(gate: &Program, head: &str, said: &[&str], body: &str) -> Result<(u16, Value)> {
    let said: String = said.iter().map(|line| format!("{line}\r\n")).collect();
    let bytes = format!(
        "{head}\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n{said}\r\n{body}",
        gate.address(),
        body.len()
    );
    let mut exchange = Exchange::send(gate.address(), bytes.as_bytes()).await?;
    let status = exchange.status;
    let body = exchange.body().await?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

/// Asks for a token.
async fn sign_in(gate: &Program, said: &[&str], secret: &str) -> Result<(u16, Value)> {
    let head =
        "POST /oauth/token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded".to_owned();
    let form = format!("grant_type=client_credentials&client_id=robot&client_secret={secret}");
    pass_on(gate, &head, said, &form).await
}

/// Asks for the tools, with a token if there is one.
async fn list(gate: &Program, said: &[&str], token: Option<&str>) -> Result<u16> {
    let message = modern(request(1, "tools/list", &json!({})));
    let mut head = "POST /mcp HTTP/1.1\r\nContent-Type: application/json".to_owned();
    for (name, value) in headers(&message) {
        head.push_str(&["\r\n", name, ": ", &value].concat());
    }
    if let Some(token) = token {
        head.push_str(&["\r\nAuthorization: Bearer ", token].concat());
    }
    let (status, _) = pass_on(gate, &head, said, &message.to_string()).await?;
    Ok(status)
}

/// Fills in the form of a page for another account each time; what it says to each, until one comes too early.
async fn fill(gate: &Program, path: &str, said: &[&str], times: usize) -> Result<Vec<u16>> {
    let url = gate.url(path);
    let mut browser = Browser::default();
    let (_, fields) = browser.get(&url).await?.form("name", "")?;
    let said: String = said.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "Origin: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n{said}",
        gate.url("")
    );
    let mut answers = Vec::new();
    for n in 0..times {
        let mut fields = fields.clone();
        fields.retain(|(name, _)| name != "name" && name != "password");
        fields.push(("name".to_owned(), format!("nobody-{n}")));
        fields.push(("password".to_owned(), "wrong".to_owned()));
        let page = browser.send(&url, "POST", &head, &encoded(&fields)).await?;
        let known = ["code is wrong", "Too many tries", "is on its way"];
        let is_known = known.iter().any(|words| page.text.contains(words));
        ensure!(is_known, "{said}: {}", page.text);
        answers.push(page.status);
        if page.status == 429 {
            break;
        }
    }
    Ok(answers)
}

/// Where the records of a gate have requests come from.
async fn addresses(gate: &Program) -> Result<BTreeSet<String>> {
    let said = gate
        .run(&["audit", "tail", "--json", "--lines", "500"])
        .await?;
    let rows = said.lines().map(serde_json::from_str::<Value>);
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let known = rows.iter().filter_map(|row| row["address"].as_str());
    Ok(known.map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_behind_a_trusted_proxy_are_told_apart() -> Result<()> {
    for (header, alice, bob, invented) in [
        (
            "x-forwarded-for",
            "X-Forwarded-For: 203.0.113.7",
            "X-Forwarded-For: 203.0.113.8",
            "Forwarded: for=192.0.2.9",
        ),
        (
            "forwarded",
            "Forwarded: for=\"203.0.113.7:4711\";proto=https",
            "Forwarded: for=203.0.113.8",
            "X-Forwarded-For: 192.0.2.9",
        ),
    ] {
        let gate = gate("127.0.0.1", header).await?;
        let (name, of_alice) = alice.split_once(": ").context("no header")?;
        // She writes something else each time, which the proxy puts its own word behind, on a line of its own or not.
        let spoofed = |n: usize| match n % 3 {
            0 => vec![format!("{name}: for=192.0.2.{n}"), alice.to_owned()],
            1 => vec![format!("{name}: 192.0.2.{n}, {of_alice}")],
            _ => vec![
                format!("{name}: \"unknown, ,127.0.0.1, {of_alice}"),
                invented.to_owned(),
            ],
        };
        for n in 0..TRIES {
            let said = spoofed(n);
            let said: Vec<&str> = said.iter().map(String::as_str).collect();
            let (status, body) = sign_in(&gate, &said, "wrong").await?;
            ensure!(status == 401, "{n}: {status} {body}");
        }
        for n in 0..3 {
            let said = spoofed(n);
            let said: Vec<&str> = said.iter().map(String::as_str).collect();
            let (status, body) = sign_in(&gate, &said, SECRET).await?;
            ensure!(status == 429, "{header} {said:?}: {status} {body}");
        }
        let (status, body) = sign_in(&gate, &[bob], SECRET).await?;
        ensure!(status == 200, "{status} {body}");

        let token = body["access_token"].as_str().context("no token")?;
        assert_eq!(list(&gate, &[bob], Some(token)).await?, 200);
        let known = ["203.0.113.7", "203.0.113.8"].map(str::to_owned);
        assert_eq!(addresses(&gate).await?, BTreeSet::from(known));

        // What comes from a proxy is nobody's own machine, whatever is said or left out.
        let local = if header == "forwarded" {
            "Forwarded: for=127.0.0.1"
        } else {
            "X-Forwarded-For: ::1"
        };
        for said in [&[][..], &[local], &[alice], &[invented]] {
            assert_eq!(list(&gate, said, None).await?, 401, "{said:?}");
        }
        let output = gate.output()?;
        ensure!(output.contains("a proxy passes on a request"), "{output}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_trusted_is_not_believed() -> Result<()> {
    let gate = gate("192.0.2.1", "x-forwarded-for").await?;
    assert_eq!(list(&gate, &[], None).await?, 200);
    assert_eq!(
        list(&gate, &["X-Forwarded-For: 127.0.0.1"], None).await?,
        401
    );
    for n in 0..=TRIES {
        let said = format!("X-Forwarded-For: 203.0.113.{n}");
        let (status, body) = sign_in(&gate, &[&said], "wrong").await?;
        let expect = if n < TRIES { 401 } else { 429 };
        ensure!(status == expect, "{n}: {status} {body}");
    }
    let here = ["127.0.0.1"].map(str::to_owned);
    assert_eq!(addresses(&gate).await?, BTreeSet::from(here));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_that_a_trusted_proxy_says_nothing_of_are_its_own() -> Result<()> {
    let hidden: [&[&str]; 5] = [
        &[],
        &["X-Forwarded-For: unknown"],
        &["X-Forwarded-For: 127.0.0.1"],
        &["X-Forwarded-For: ::1"],
        &["Forwarded: for=203.0.113.9"],
    ];
    let alice = &["X-Forwarded-For: 203.0.113.7"];

    let guessed = gate("127.0.0.1", "x-forwarded-for").await?;
    let answers = fill(&guessed, "/console/login", &[], TRIES + MORE).await?;
    let (free, more) = answers.split_at(TRIES.min(answers.len()));
    assert_eq!(free, [403; TRIES]);
    assert_eq!(more.last(), Some(&429));
    for said in hidden {
        let answers = fill(&guessed, "/console/login", said, MORE).await?;
        assert_eq!(answers.last(), Some(&429), "{said:?}");
    }
    let answers = fill(&guessed, "/console/login", alice, 1).await?;
    assert_eq!(answers, [403]);

    // Asking for mails counts as guessing does.
    let asked = gate("127.0.0.1", "x-forwarded-for").await?;
    for said in hidden {
        let answers = fill(&asked, "/console/reset", said, TRIES / hidden.len()).await?;
        assert_eq!(answers, vec![200; TRIES / hidden.len()]);
    }
    let answers = fill(&asked, "/console/login", &[], MORE).await?;
    assert_eq!(answers.last(), Some(&429));
    let answers = fill(&asked, "/console/login", alice, 1).await?;
    assert_eq!(answers, [403]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_on_this_machine_are_not_counted_by_its_address() -> Result<()> {
    let gate = gate("192.0.2.1", "x-forwarded-for").await?;
    let answers = fill(&gate, "/console/login", &[], TRIES + MORE).await?;
    assert_eq!(answers, [403; TRIES + MORE]);
    Ok(())
}
