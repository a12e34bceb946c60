//! `portcullis check`: config, database, addresses and every upstream, tried for real.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use upstream::Kind;
use url::Url;

use super::{logging, runtime_of_one};
use crate::SystemClock;
use crate::cli::output::{self, say};
use crate::cli::{Common, Exit};
use crate::config::Loaded;
use crate::serve::Core;
use crate::tls;

/// One thing that was tried.
struct Finding {
    what: String,
    is_good: bool,
    why: String,
    hint: &'static str,
}

/// `portcullis check`.
///
/// # Errors
/// What stood in the way of checking.
pub fn check(common: &Common) -> anyhow::Result<Exit> {
    // A bad config is told whole, one complaint a line, by the error itself.
    let loaded = common.load()?;
    logging::quiet(&loaded.log);
    let mut findings = vec![Finding {
        what: "config".to_owned(),
        is_good: true,
        why: match loaded.files.as_slice() {
            [] => "embedded defaults".to_owned(),
            files => files
                .iter()
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
        },
        hint: "",
    }];
    runtime_of_one()?.block_on(try_all(&loaded, &mut findings));
    let is_good = findings.iter().all(|finding| finding.is_good);
    print(common, &findings)?;
    for doubt in &loaded.doubts {
        say(format!("note: {doubt}"));
    }
    Ok(if is_good { Exit::Done } else { Exit::Failed })
}

async fn try_all(loaded: &Loaded, findings: &mut Vec<Finding>) {
    for address in &loaded.listen {
        findings.push(of_address(*address).await);
    }
    let core = match Core::start(loaded, &[], Arc::new(SystemClock::start())) {
        Ok(core) => core,
        Err(error) => {
            let error = anyhow::Error::new(error);
            findings.push(Finding {
                what: "database and built-in tools".to_owned(),
                is_good: false,
                why: format!("{error:#}"),
                hint: "see `data_dir` and the upstream's settings",
            });
            return;
        }
    };
    findings.push(Finding {
        what: "database".to_owned(),
        is_good: core.store().is_writable(),
        why: loaded.database().display().to_string(),
        hint: "is the disk full, or the file somebody else's?",
    });
    let longest = loaded
        .upstreams
        .iter()
        .map(|spec| spec.timeout_connect)
        .max()
        .unwrap_or_default();
    let settled = async {
        while states(core.gate().status())
            .iter()
            .any(|state| state == "starting")
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Who is not there by then says so below.
    drop(tokio::time::timeout(longest, settled).await);
    for upstream in upstreams(core.gate().status()) {
        findings.push(of_upstream(&upstream, loaded));
    }
    core.stop().await;
}

/// Free, or taken by a gate that answers.
async fn of_address(address: SocketAddr) -> Finding {
    let bound = TcpListener::bind(address).await;
    let (is_good, why) = match bound {
        Ok(_) => (true, "free".to_owned()),
        Err(_) if is_gate(address).await => (true, "a gate is serving there".to_owned()),
        Err(error) => (false, error.to_string()),
    };
    let hint = "end the program that has it, or choose another address with `listen`";
    Finding {
        what: format!("listen {address}"),
        is_good,
        why,
        hint,
    }
}

async fn is_gate(address: SocketAddr) -> bool {
    let Ok(url) = Url::parse(&format!("http://{address}/readyz")) else {
        return false;
    };
    let request = net::Request {
        method: http::Method::GET,
        url,
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::new(),
        reach: net::Reach::Operator,
        timeout: Duration::from_secs(2),
    };
    let Ok(mut response) = net::Client::new(net::Settings::default())
        .send(request)
        .await
    else {
        return false;
    };
    let body = response.body.read_to_end(64, Duration::from_secs(2)).await;
    // A gate that speaks TLS there says so to whoever does not.
    body.is_ok_and(|body| body.ends_with(b"ready\n") || body == tls::NOT_PLAIN)
}

fn upstreams(status: Value) -> Vec<Value> {
    match status {
        Value::Object(mut status) => match status.remove("upstreams") {
            Some(Value::Array(upstreams)) => upstreams,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn states(status: Value) -> Vec<String> {
    upstreams(status)
        .iter()
        .map(|upstream| text(upstream, "state").to_owned())
        .collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn of_upstream(upstream: &Value, loaded: &Loaded) -> Finding {
    let count = |name: &str| {
        upstream
            .get(name)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    let is_good = text(upstream, "state") == "ready";
    let why = if is_good {
        format!(
            "{}, revision {}, {} tools, {} prompts, {} resources",
            text(upstream, "server"),
            text(upstream, "revision"),
            count("tools"),
            count("prompts"),
            count("resources"),
        )
    } else {
        match text(upstream, "last_error") {
            "" => "does not answer".to_owned(),
            error => error.to_owned(),
        }
    };
    Finding {
        what: format!("upstream {}", text(upstream, "name")),
        is_good,
        why,
        hint: hint(loaded, text(upstream, "name")),
    }
}

/// What to try when an upstream is not ready, by how it is reached.
fn hint(loaded: &Loaded, name: &str) -> &'static str {
    let spec = loaded
        .upstreams
        .iter()
        .find(|spec| spec.id.as_str() == name);
    match spec.map(|spec| &spec.kind) {
        Some(Kind::Stdio(_)) => {
            "run its command by hand to see what it says; `connect_timeout` gives it longer"
        }
        Some(Kind::Http(_)) => {
            "look at its `url`, and if it refuses the gate, at its `credential` or `headers`; `connect_timeout` gives it longer"
        }
        Some(Kind::Native(_) | Kind::Provider(_)) | None => "look at its settings",
    }
}

fn print(common: &Common, findings: &[Finding]) -> anyhow::Result<()> {
    if common.json {
        let all: Vec<Value> = findings
            .iter()
            .map(|finding| json!({ "what": finding.what, "ok": finding.is_good, "why": finding.why }))
            .collect();
        output::json(&all)?;
        return Ok(());
    }
    for Finding {
        what,
        is_good,
        why,
        hint,
    } in findings
    {
        let mark = if *is_good { "ok  " } else { "FAIL" };
        output::line(output::printable(&format!("{mark} {what}: {why}")))?;
        if !is_good {
            output::line(format!("     {hint}"))?;
        }
    }
    let bad = findings.iter().filter(|finding| !finding.is_good).count();
    if bad > 0 {
        say(format!("{bad} of {} need attention", findings.len()));
    }
    Ok(())
}
