//! `portcullis compliance` as an auditor uses it: every framework in every form, statuses that follow the config, and a file
//! that is whole, its owner's, and replaces nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::program::{Program, output};

const FRAMEWORKS: [&str; 5] = ["soc2", "iso27001", "gdpr", "cosai", "nsa-mcp"];

/// A program with this config; nothing runs.
fn prepared(config: &str) -> Result<Program> {
    let gate = Program::prepare(&[])?;
    fs::write(gate.folder().join("portcullis.toml"), config)?;
    Ok(gate)
}

fn words<'a>(framework: &'a str, format: &'a str) -> [&'a str; 6] {
    [
        "compliance",
        "report",
        "--framework",
        framework,
        "--format",
        format,
    ]
}

async fn report(gate: &Program, framework: &str) -> Result<Value> {
    Ok(serde_json::from_str(
        &gate.run(&words(framework, "json")).await?,
    )?)
}

fn measure<'a>(report: &'a Value, id: &str) -> Result<&'a Value> {
    let measures = report["measures"].as_array().context("no measures")?;
    let found = measures.iter().find(|measure| measure["id"] == id);
    found.with_context(|| format!("no measure {id}"))
}

/// Status and reason of a measure under a config.
async fn judged(config: &str, id: &str) -> Result<(String, String)> {
    for framework in FRAMEWORKS {
        let report = report(&prepared(config)?, framework).await?;
        if let Ok(measure) = measure(&report, id) {
            let text = |name: &str| measure[name].as_str().unwrap_or_default().to_owned();
            return Ok((text("status"), text("why")));
        }
    }
    anyhow::bail!("no framework names {id}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_framework_is_told_in_every_form() -> Result<()> {
    let gate = prepared("builtins = [\"time\"]\n")?;
    let listed = gate.run(&["compliance", "list"]).await?;
    for framework in FRAMEWORKS {
        assert!(listed.contains(framework), "{listed}");
        let json = report(&gate, framework).await?;
        assert_eq!(json["framework"], framework);
        let title = json["title"].as_str().context("no title")?;

        let markdown = gate.run(&words(framework, "markdown")).await?;
        assert!(markdown.starts_with(&format!("# {title}\n")), "{markdown}");
        let html = gate.run(&words(framework, "html")).await?;
        assert!(
            html.starts_with("<!doctype html>\n<html lang=\"en\">"),
            "{html}"
        );
        assert!(!html.contains("<script"), "{html}");
        // All three say the same of each control.
        for section in json["sections"].as_array().context("no sections")? {
            for control in section["controls"].as_array().context("no controls")? {
                let id = control["id"].as_str().context("no id")?;
                assert!(markdown.contains(&format!("\n| {id} | ")), "{id}");
                assert!(
                    html.contains(&format!("<th scope=\"row\">{id}</th>")),
                    "{id}"
                );
            }
        }
    }
    // Nothing was started, and nothing was made.
    let made: Vec<_> = fs::read_dir(gate.folder())?.collect::<std::io::Result<_>>()?;
    assert_eq!(made.len(), 1, "{made:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_follows_the_config() -> Result<()> {
    let cases = [
        ("audit", "", "on", "before its call has an effect"),
        (
            "audit",
            "audit.mode = \"relaxed\"",
            "partly",
            "a crash loses the last ones",
        ),
        (
            "authentication",
            "",
            "partly",
            "neither a key nor an account",
        ),
        (
            "authentication",
            "auth.loopback = \"off\"",
            "on",
            "everybody needs a credential",
        ),
        ("rate-limits", "", "on", "two limits per principal"),
        (
            "rate-limits",
            "limits.tool_call = { max = 4000000, per = \"1s\" }",
            "partly",
            "limits.tool_call",
        ),
        (
            "rate-limits",
            "limits.tool_call = { max = 4000000, per = \"1s\" }\nlimits.resource_access = { max = 4000000, per = \"1s\" }",
            "off",
            "holds nobody back",
        ),
        ("quotas", "", "off", "there is no quota"),
        (
            "quotas",
            "limits.quotas.daily = { per = \"principal\", calls = 9, every = \"day\" }",
            "on",
            "1 quota",
        ),
        ("consent", "", "on", "destructive calls are asked about"),
        (
            "consent",
            "consent.destructive = \"allow\"",
            "off",
            "unasked",
        ),
        ("pins", "pins.changed = \"accept\"", "off", "is taken"),
        ("quarantine", "pins.new = \"quarantine\"", "on", "waits"),
        (
            "validation",
            "validation.output = \"off\"",
            "partly",
            "results are not",
        ),
        ("screen-secrets", "", "partly", "in results recorded"),
        (
            "screen-secrets",
            "screening.arguments.secrets = \"refuse\"\nscreening.results.secrets = \"redact\"",
            "on",
            "in results taken out",
        ),
        (
            "screen-secrets",
            "screening.results.secrets = \"off\"",
            "off",
            "not looked for",
        ),
        (
            "second-person",
            "roles.a.ask = [{ any = \"x.*\", other_person = true }]",
            "on",
            "`a`",
        ),
        (
            "least-privilege",
            "roles.a.allow = [\"*\"]",
            "partly",
            "`a`",
        ),
        (
            "key-life",
            "keys.ci.hash = \"sha256:76f6a985775b26278c24887bf06cb1d062adcf13a278fbb1e3b85886709209c3\"",
            "partly",
            "`ci` never ends",
        ),
        (
            "names",
            "catalog.prefix = \"never\"",
            "partly",
            "names stand alone",
        ),
        (
            "tls-upstream",
            "upstreams.far.url = \"http://mcp.example.com/mcp\"",
            "off",
            "`far`",
        ),
        (
            "tls-upstream",
            "upstreams.far.url = \"https://mcp.example.com/mcp\"",
            "on",
            "over TLS",
        ),
        (
            "egress",
            "upstreams.fetch = { native = \"fetch\", private = true }",
            "partly",
            "upstreams.fetch.private",
        ),
        ("retention", "", "off", "for ever"),
        ("retention", "audit.retention.keep = \"365d\"", "on", "365d"),
        ("siem", "", "off", "in the gate's database"),
        (
            "siem",
            "audit.sinks.here = { kind = \"file\", path = \"log.jsonl\" }",
            "partly",
            "files of this machine",
        ),
        (
            "siem",
            "audit.sinks.far = { kind = \"syslog\", url = \"tls://siem.example.com:6514\" }",
            "on",
            "`far`",
        ),
        ("alerts", "", "off", "nobody is told"),
        (
            "alerts",
            "alerts.receivers.ops.alertmanager = \"https://alerts.example.com\"",
            "on",
            "`ops`",
        ),
        (
            "traces",
            "telemetry.traces.endpoint = \"http://127.0.0.1:4318\"",
            "on",
            "collector",
        ),
        (
            "checkpoints-elsewhere",
            "audit.checkpoints_to = \"elsewhere\"",
            "on",
            "elsewhere",
        ),
        ("redundancy", "", "off", "stands alone"),
        (
            "redundancy",
            "store.postgres = \"postgres://gate@127.0.0.1:1/gate\"",
            "partly",
            "rate limits by itself",
        ),
        ("sandbox", "", "on", "no upstream is a process"),
        (
            "sandbox",
            "upstreams.files.stdio = [\"true\"]",
            "not_covered",
            "as the gate's user",
        ),
        (
            "secret-references",
            "upstreams.far = { url = \"https://mcp.example.com/mcp\", headers = { X-Key = \"k\" } }",
            "partly",
            "upstreams.far.headers.X-Key",
        ),
    ];
    for (id, config, status, why) in cases {
        let found = judged(&format!("builtins = [\"time\"]\n{config}\n"), id).await?;
        ensure!(
            found.0 == status && found.1.contains(why),
            "{id} with {config}: {found:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_reach_in_the_clear_is_a_gap() -> Result<()> {
    let gate = prepared("http.danger_exposed_plaintext = true\nauth.loopback = \"off\"\n")?;
    let launch = gate.launch(&words("cosai", "json"))?;
    let said = output(&launch.env("PORTCULLIS__LISTEN", "0.0.0.0:8080")).await?;
    let report: Value = serde_json::from_str(&said)?;
    let tls = measure(&report, "tls")?;
    assert_eq!(tls["status"], "off");
    let value = tls["config"].as_array().context("no values")?;
    let listen = value
        .iter()
        .find(|one| one["key"] == "listen")
        .context("no listen")?;
    assert_eq!(listen["value"], "\"0.0.0.0:8080\"");
    assert_eq!(listen["from"], "$PORTCULLIS__LISTEN");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gate_has_recorded_is_evidence() -> Result<()> {
    let mut gate = prepared("builtins = [\"time\"]\n")?;
    let before = report(&gate, "soc2").await?;
    assert!(before["database"].is_null(), "{before}");
    gate.serve("warn").await?;
    gate.run(&["key", "create", "alice", "--role", "owner"])
        .await?;
    gate.run(&["tools", "call", "time.now"]).await?;
    // Beside a gate that runs, and after it has ended.
    for ends in [false, true] {
        let report = report(&gate, "soc2").await?;
        let facts = &report["database"];
        assert!(facts["records"].as_u64() > Some(0), "{facts}");
        assert_eq!(facts["keys"], 1, "{facts}");
        assert_eq!(measure(&report, "authentication")?["status"], "on");
        assert_eq!(measure(&report, "key-life")?["status"], "partly");
        if ends {
            assert_eq!(facts["chain"]["state"], "holds", "{facts}");
            assert_eq!(facts["chain"]["unsigned"], 0, "{facts}");
            let why = measure(&report, "tamper-evidence")?["why"].to_string();
            assert!(why.contains("are as they were recorded"), "{why}");
        } else {
            gate.stop()?;
        }
    }
    // A secret that nobody has does not stop a report; the log is then not verified, and it says so.
    fs::rename(
        gate.folder().join("data/master.key"),
        gate.folder().join("kept"),
    )?;
    let without = report(&gate, "soc2").await?;
    assert_eq!(
        without["database"]["chain"]["state"], "unchecked",
        "{without}"
    );
    assert_eq!(measure(&without, "tamper-evidence")?["status"], "partly");
    assert!(!gate.folder().join("data/master.key").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_whole_and_its_owners_and_replaces_nothing_unasked() -> Result<()> {
    let gate = prepared("builtins = [\"time\"]\n")?;
    let folder = gate.folder().join("out");
    fs::create_dir(&folder)?;
    let file = folder.join("report.html");
    let path = file.to_str().context("no text")?.to_owned();
    let words = [&words("gdpr", "html")[..], &["--out", &path]].concat();
    let told = gate.run_either(&words).await?;
    assert!(told.contains("partly on"), "{told}");
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&file)?.ends_with("</html>"));

    fs::write(&file, "mine")?;
    let told = gate.run_either(&words).await?;
    assert!(
        told.contains("exists") && told.contains("report.html"),
        "{told}"
    );
    assert_eq!(fs::read_to_string(&file)?, "mine");
    gate.run(&[&words[..], &["--force"]].concat()).await?;
    assert!(fs::read_to_string(&file)?.ends_with("</html>"));
    // Nothing is left beside it.
    assert_eq!(fs::read_dir(&folder)?.count(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_fails_only_when_asked_to() -> Result<()> {
    let gate = prepared("builtins = [\"time\"]\n")?;
    // Nothing is labelled, and there is one gate: two controls of ISO 27001 of which all is off.
    let words = words("iso27001", "markdown");
    gate.run(&words).await?;
    let asked = [&words[..], &["--fail-on-gap"]].concat();
    ensure!(gate.run(&asked).await.is_err(), "it ended well");
    let said = gate.run_either(&asked).await?;
    assert!(said.contains("\noff: 8.14 "), "{said}");
    assert!(said.contains("\noff: 5.12, 5.13 "), "{said}");
    assert!(said.contains("flows.sends = [\"mail.send\"]"), "{said}");
    // What is partly on, or not covered, is no gap.
    let words = self::words("cosai", "markdown");
    gate.run(&[&words[..], &["--fail-on-gap"]].concat()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_form_says_a_secret() -> Result<()> {
    let secret = "cnry+Zq8/Kx3~Vb7Lm2Tw9Rp5";
    let gate = prepared(&format!(
        "[upstreams.far]\nurl = \"https://user:{secret}@mcp.example.com/mcp?key={secret}\"\nheaders = {{ Authorization = \"Bearer {secret}\" }}\n"
    ))?;
    for framework in FRAMEWORKS {
        for format in ["markdown", "json", "html"] {
            let said = gate.run_either(&words(framework, format)).await?;
            assert!(!said.contains(secret), "{framework} as {format}");
            assert!(
                said.contains("mcp.example.com") || !said.contains("tls-upstream"),
                "{said}"
            );
        }
    }
    Ok(())
}
