//! The audit log where it is sent on to: a real syslog-ng, a real OpenTelemetry collector, files, and HTTP servers that
//! come and go. Whatever happens to a receiver, calls go on, and in the end it has every record in order.
//!
//! There is no Splunk and no Elasticsearch in any registry: what these two are sent is held against what their manuals say
//! (requests) and answered as their manuals say (`receiver`).

mod receiver;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use observe::Format;
use serde_json::{Value, json};
use store::{AuditFilter, Recorded, SinkHold, SinkStart, Store};
use testkit::certificates::Authority;
use testkit::fixtures::{Peers, Rotel, Signal, SyslogNg};
use testkit::mcp::call;
use testkit::world::{World, program, until};

use self::receiver::Receiver;

const GATE: &str = r#"
builtins = ["time"]
roles.clerk = { members = ["alice"], allow = ["time.now"] }
"#;

fn gate(sinks: &str) -> String {
    format!("{GATE}\n{sinks}")
}

/// So many calls, one of three of which is refused.
async fn calls(world: &World, count: usize) -> Result<()> {
    for number in 0..count {
        let (tool, arguments) = match number % 3 {
            2 => ("time.convert", json!({ "time": "12:00" })),
            _ => ("time.now", json!({ "timezone": "UTC" })),
        };
        let reply = world.post("alice", &call(1, tool, &arguments)).await?;
        ensure!(reply.answers() == 1, "{:?}", reply.messages);
    }
    Ok(())
}

/// The whole log, whether it is about calls or the gate itself.
fn log(folder: &Path, begun: bool) -> Result<Vec<Recorded>> {
    let store = Store::open(&folder.join("data/portcullis.db"))?;
    let filter = AuditFilter {
        begun,
        ..AuditFilter::default()
    };
    Ok(store.audit_tail(1_000_000, Some(0), &filter)?)
}

fn numbers(log: &[Recorded]) -> Vec<i64> {
    log.iter().map(|one| one.seq).collect()
}

/// The value of a sink's metric; `None` if there is none.
fn metric(world: &World, name: &str, sink: &str) -> Option<f64> {
    let text = world.gate().metrics().encode(Format::Text);
    let series = format!("{name}{{sink=\"{sink}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&series));
    line.and_then(|value| value.trim().parse().ok())
}

/// What health says of a sink.
fn health(world: &World, sink: &str) -> Option<Value> {
    let all = world.gate().components().dependencies();
    let of = |of: &Option<String>| of.as_deref() == Some(sink);
    let found = all
        .into_iter()
        .find(|one| one.name == "sink" && of(&one.of));
    found.map(|status| status.to_json(true))
}

async fn is(world: &World, sink: &str, state: &str) -> Result<()> {
    until(&format!("{sink} is {state}"), async || {
        Ok(health(world, sink).is_some_and(|health| health["state"] == state))
    })
    .await
}

/// Waits until a receiver has the whole log, in order; each record may have come more than once.
async fn has_all(
    what: &str,
    folder: &Path,
    begun: bool,
    has: impl Fn() -> Result<Vec<i64>>,
) -> Result<()> {
    until(&format!("{what} has the whole log"), async || {
        let there: BTreeSet<i64> = has()?.into_iter().collect();
        let wanted: BTreeSet<i64> = numbers(&log(folder, begun)?).into_iter().collect();
        Ok(!wanted.is_empty() && there == wanted)
    })
    .await?;
    // Firsts, in the order in which they came.
    let mut seen = BTreeSet::new();
    let firsts: Vec<i64> = has()?.into_iter().filter(|seq| seen.insert(*seq)).collect();
    ensure!(firsts.is_sorted(), "{what}: {firsts:?}");
    Ok(())
}

fn sequence(lines: &[Value], pointer: &str) -> Result<Vec<i64>> {
    lines
        .iter()
        .map(|line| {
            let number = line.pointer(pointer).context("no number")?;
            let text = number.as_str().map(str::to_owned);
            Ok(text.unwrap_or_else(|| number.to_string()).parse()?)
        })
        .collect()
}

const STRUCTURED: &str = "/_SDATA/portcullis@32473/seq";

#[tokio::test(flavor = "multi_thread")]
async fn a_real_receiver_of_syslog_understands_every_message() -> Result<()> {
    let syslog = SyslogNg::start(None).await?;
    let sinks = format!(
        "[audit.sinks.siem]\nkind = \"syslog\"\nurl = \"tcp://{}\"\nfrom = \"start\"\nbegun = true\n",
        syslog.address()
    );
    let world = World::of(&gate(&sinks)).await?;
    calls(&world, 7).await?;
    let has = || sequence(&syslog.messages()?, STRUCTURED);
    has_all("syslog-ng", world.folder(), true, has).await?;
    let log = log(world.folder(), true)?;
    for message in syslog.messages()? {
        let about = &message["_SDATA"]["portcullis@32473"];
        let seq: i64 = about["seq"].as_str().context("no seq")?.parse()?;
        let record = log
            .iter()
            .find(|one| one.seq == seq)
            .context("not in the log")?;
        let row = &record.row;
        ensure!(about["principal"] == row.principal.as_str(), "{message}");
        ensure!(about["call_id"] == row.call_id.as_str(), "{message}");
        ensure!(about["outcome"] == row.outcome.as_str(), "{message}");
        ensure!(about["entry"].as_str() == row.entry.as_deref(), "{message}");
        ensure!(
            about["reason"].as_str() == row.reason.as_deref(),
            "{message}"
        );
        ensure!(message["PROGRAM"] == "portcullis", "{message}");
        let id: String = row.method.chars().take(32).collect();
        ensure!(message["MSGID"] == id, "{message}");
        let severity = match row.outcome.as_str() {
            "ok" | "pending" => 6,
            "refused" => 4,
            other => anyhow::bail!("{other}: {message}"),
        };
        ensure!(
            message["priority"] == format!("{}", 13 * 8 + severity),
            "{message}"
        );
        let told = message["MESSAGE"].as_str().unwrap_or_default();
        ensure!(
            told.starts_with(&format!("{} {}", row.principal, row.method)),
            "{message}"
        );
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_over_tls_is_for_whom_the_authority_vouches_alone() -> Result<()> {
    let (authority, stranger) = (Authority::new("ours")?, Authority::new("theirs")?);
    let syslog = SyslogNg::start(Some(&authority.server(1)?)).await?;
    let port = syslog.address().port();
    let sink = |name: &str| {
        format!(
            "[audit.sinks.{name}]\nkind = \"syslog\"\nurl = \"tls://localhost:{port}\"\nca = \"{name}.pem\"\nformat = \"native\"\nfrom = \"start\"\n"
        )
    };
    let files = [
        ("ours.pem", &*authority.pem),
        ("theirs.pem", &*stranger.pem),
    ];
    let config = gate(&format!("{}{}", sink("ours"), sink("theirs")));
    let world = World::with_files(&config, &files).await?;
    calls(&world, 4).await?;
    let has = || {
        let bodies: Result<Vec<Value>> = syslog
            .messages()?
            .iter()
            .map(|message| {
                let body = message["MESSAGE"].as_str().unwrap_or_default();
                Ok(serde_json::from_str(body)?)
            })
            .collect();
        sequence(&bodies?, "/seq")
    };
    has_all("syslog-ng", world.folder(), false, has).await?;
    is(&world, "theirs", "down").await?;
    let error = health(&world, "theirs").context("no such sink")?;
    let told = error["last_error"].as_str().unwrap_or_default();
    ensure!(told.contains("no TLS session"), "{error}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_missed_it_gets_once_it_is_back_also_from_the_next_gate() -> Result<()> {
    let mut syslog = SyslogNg::start(None).await?;
    let sinks = format!(
        "[audit.sinks.siem]\nkind = \"syslog\"\nurl = \"tcp://{}\"\nfrom = \"start\"\nbatch = 3\n",
        syslog.address()
    );
    let config = gate(&sinks);
    let world = World::of(&config).await?;
    calls(&world, 4).await?;
    let folder = world.folder().to_owned();
    has_all("syslog-ng", &folder, false, || {
        sequence(&syslog.messages()?, STRUCTURED)
    })
    .await?;
    is(&world, "siem", "ok").await?;

    syslog.stop();
    // Each is answered as if nothing had happened.
    calls(&world, 10).await?;
    is(&world, "siem", "down").await?;
    until("the lag shows", async || {
        let lag = metric(&world, "portcullis_audit_sink_lag_records", "siem");
        let errors = metric(&world, "portcullis_audit_sink_errors_total", "siem");
        Ok(lag.is_some_and(|lag| lag >= 10.0) && errors.is_some_and(|errors| errors >= 1.0))
    })
    .await?;
    syslog.start_again().await?;
    has_all("syslog-ng", &folder, false, || {
        sequence(&syslog.messages()?, STRUCTURED)
    })
    .await?;
    is(&world, "siem", "ok").await?;
    until("nothing is behind", async || {
        Ok(metric(&world, "portcullis_audit_sink_lag_records", "siem") == Some(0.0))
    })
    .await?;

    // Down when the gate ends, back after the next has begun.
    syslog.stop();
    calls(&world, 5).await?;
    let world = world.restart(&config).await?;
    calls(&world, 2).await?;
    syslog.start_again().await?;
    has_all("syslog-ng", &folder, false, || {
        sequence(&syslog.messages()?, STRUCTURED)
    })
    .await?;
    // Where it was is known: what it had is not sent again from the start.
    let messages = syslog.messages()?.len();
    ensure!(messages < 2 * log(&folder, false)?.len(), "{messages}");
    world.end().await
}

/// The numbers of the records that a collector printed.
fn printed(output: &str) -> Result<Vec<i64>> {
    let lines = output.lines().map(str::trim);
    lines
        .filter_map(|line| {
            line.strip_prefix("-> portcullis.seq: Int(")?
                .strip_suffix(')')
        })
        .map(|number| Ok(number.parse()?))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_collector_understands_every_log_record() -> Result<()> {
    let mut rotel = Rotel::start(Signal::Logs).await?;
    let sinks = format!(
        "[audit.sinks.otel]\nkind = \"otlp\"\nurl = \"{}\"\nfrom = \"start\"\n",
        rotel.endpoint()
    );
    let world = World::of(&gate(&sinks)).await?;
    calls(&world, 4).await?;
    let folder = world.folder().to_owned();
    has_all("rotel", &folder, false, || printed(&rotel.output()?)).await?;
    let output = rotel.output()?;
    for told in [
        "-> service.name: Str(portcullis)",
        "EventName: portcullis.audit",
        "-> mcp.method.name: Str(tools/call)",
        "-> user.name: Str(alice)",
        "-> portcullis.entry: Str(time.now)",
        "-> portcullis.outcome: Str(ok)",
        "-> portcullis.outcome: Str(refused)",
        "SeverityText: WARN",
    ] {
        ensure!(output.contains(told), "{told}:\n{output}");
    }
    rotel.stop()?;
    calls(&world, 3).await?;
    is(&world, "otel", "down").await?;
    rotel.start_again().await?;
    has_all("rotel", &folder, false, || printed(&rotel.output()?)).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn splunks_collector_gets_events_as_its_manual_has_them() -> Result<()> {
    let splunk = Receiver::start(r#"{"text":"Success","code":0}"#).await?;
    splunk.answer(&[
        (503, r#"{"text":"Server is busy","code":9}"#),
        (200, r#"{"text":"Server is busy","code":9}"#),
    ]);
    let sinks = format!(
        "[audit.sinks.splunk]\nkind = \"splunk_hec\"\nurl = \"http://{}\"\ntoken = \"f0e1d2c3\"\nindex = \"audit\"\nfrom = \"start\"\n",
        splunk.address
    );
    let world = World::of(&gate(&sinks)).await?;
    calls(&world, 4).await?;
    let has = || {
        let taken = splunk.batches().into_iter().skip(2);
        let lines: Vec<Value> = taken.flat_map(|one| one.lines).collect();
        sequence(&lines, "/event/seq")
    };
    has_all("the receiver", world.folder(), false, has).await?;
    for batch in splunk.batches() {
        ensure!(batch.line == "POST /services/collector/event", "{batch:?}");
        ensure!(batch.credential == "Splunk f0e1d2c3", "{batch:?}");
        ensure!(batch.content_type == "application/json", "{batch:?}");
        for event in &batch.lines {
            ensure!(event["time"].is_f64(), "{event}");
            ensure!(event["sourcetype"] == "portcullis:audit", "{event}");
            ensure!(event["index"] == "audit", "{event}");
        }
    }
    let errors = metric(&world, "portcullis_audit_sink_errors_total", "splunk");
    ensure!(errors == Some(2.0), "{errors:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn elastic_gets_each_record_under_a_name_that_stays_the_same() -> Result<()> {
    let elastic = Receiver::start(r#"{"took":1,"errors":false,"items":[]}"#).await?;
    // The first batch gets there and its answer does not: it comes again.
    elastic.answer(&[(502, "bad gateway")]);
    let sinks = format!(
        "[audit.sinks.elastic]\nkind = \"elastic\"\nurl = \"http://{}/es/\"\ntoken = \"bXk6a2V5\"\nfrom = \"start\"\n",
        elastic.address
    );
    let world = World::of(&gate(&sinks)).await?;
    calls(&world, 4).await?;
    let documents = |batches: Vec<receiver::Batch>| -> Vec<(String, Value)> {
        let lines = batches.into_iter().flat_map(|one| one.lines);
        let lines: Vec<Value> = lines.collect();
        let pairs = lines.chunks(2).map(|pair| {
            let id = pair[0]["create"]["_id"].as_str().unwrap_or_default();
            (id.to_owned(), pair[1].clone())
        });
        pairs.collect()
    };
    let has = || {
        let taken = elastic
            .batches()
            .into_iter()
            .filter(|one| one.status == 200);
        let documents: Vec<Value> = documents(taken.collect())
            .into_iter()
            .map(|(_, one)| one)
            .collect();
        sequence(&documents, "/event/sequence")
    };
    has_all("the receiver", world.folder(), false, has).await?;
    let batches = elastic.batches();
    for batch in &batches {
        ensure!(
            batch
                .line
                .starts_with("POST /es/logs-portcullis.audit-default/_bulk?filter_path="),
            "{batch:?}"
        );
        ensure!(batch.credential == "ApiKey bXk6a2V5", "{batch:?}");
        ensure!(batch.content_type == "application/x-ndjson", "{batch:?}");
    }
    // One name for one record, however often it came.
    let all = documents(batches);
    let names: BTreeSet<&str> = all.iter().map(|(id, _)| id.as_str()).collect();
    ensure!(
        names.len() == log(world.folder(), false)?.len(),
        "{names:?}"
    );
    ensure!(all.len() > names.len(), "nothing came twice");
    for (id, document) in &all {
        ensure!(document["event"]["id"] == id.as_str(), "{document}");
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_refused_as_a_whole_waits_and_is_not_left_behind() -> Result<()> {
    let elastic = Receiver::start(r#"{"errors":false}"#).await?;
    let sinks = format!(
        "[audit.sinks.elastic]\nkind = \"elastic\"\nurl = \"http://{}\"\n",
        elastic.address
    );
    let world = World::of(&gate(&sinks)).await?;
    is(&world, "elastic", "ok").await?;
    // One refused alone waits: that is how it looks when the receiver is set up wrongly. Among others it is left behind.
    let refused = r#"{"create":{"status":400,"error":{"type":"mapper_parsing_exception"}}}"#;
    let alone = format!("{{\"errors\":true,\"items\":[{refused}]}}");
    elastic.answer(&[(200, &alone)]);
    calls(&world, 1).await?;
    is(&world, "elastic", "down").await?;
    let told = health(&world, "elastic").context("no such sink")?;
    ensure!(
        told["last_error"]
            .as_str()
            .unwrap_or_default()
            .contains("mapper_parsing_exception"),
        "{told}"
    );
    is(&world, "elastic", "ok").await?;
    // The same came again, and only then was anything behind it.
    let ids: Vec<Value> = elastic
        .batches()
        .iter()
        .map(|batch| batch.lines[0]["create"]["_id"].clone())
        .collect();
    ensure!(ids.len() > 1 && ids[0] == ids[1], "{ids:?}");
    let refused = metric(&world, "portcullis_audit_sink_refused_total", "elastic");
    ensure!(refused == Some(0.0), "{refused:?}");
    world.end().await
}

/// The numbers of the calls of this entry.
fn of_entry(log: &[Recorded], entry: &str) -> Vec<i64> {
    let of = log
        .iter()
        .filter(|one| one.row.entry.as_deref() == Some(entry));
    of.map(|one| one.seq).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_for_which_batches_are_refused_is_found_and_left_behind_alone() -> Result<()> {
    let server = Receiver::start("").await?;
    server.refuse(Some("time.convert"));
    let world = World::of(GATE).await?;
    // Calls 3, 6 and 9 are of what is refused, and there is more behind them.
    calls(&world, 11).await?;
    let sinks = format!(
        "[audit.sinks.lines]\nkind = \"http\"\nurl = \"http://{}/\"\nfrom = \"start\"\n",
        server.address
    );
    world.reload(&gate(&sinks))?;
    let mut wanted: BTreeSet<i64> = BTreeSet::new();
    let mut left = Vec::new();
    until("all others are there", async || {
        let log = log(world.folder(), false)?;
        left = of_entry(&log, "time.convert");
        wanted = numbers(&log).into_iter().collect();
        wanted.retain(|seq| !left.contains(seq));
        let there: BTreeSet<i64> = sequence(&server.taken(), "/seq")?.into_iter().collect();
        Ok(there == wanted)
    })
    .await?;
    ensure!(left.len() == 3, "{left:?}");
    is(&world, "lines", "ok").await?;
    let refused = || metric(&world, "portcullis_audit_sink_refused_total", "lines");
    ensure!(refused() == Some(3.0), "{:?}", refused());
    // With other settings it is the same sink, and goes on counting.
    world.reload(&gate(&sinks.replace("/\"", "/moved\"")))?;
    calls(&world, 1).await?;
    until("the settings are taken over", async || {
        let batches = server.batches();
        let last = batches.last().context("no batch")?;
        Ok(last.line == "POST /moved")
    })
    .await?;
    ensure!(refused() == Some(3.0), "{:?}", refused());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_refuses_everything_loses_nothing() -> Result<()> {
    let server = Receiver::start("").await?;
    server.refuse(Some("seq"));
    let sinks = format!(
        "[audit.sinks.lines]\nkind = \"http\"\nurl = \"http://{}/\"\nfrom = \"start\"\n",
        server.address
    );
    let world = World::of(&gate(&sinks)).await?;
    calls(&world, 5).await?;
    is(&world, "lines", "down").await?;
    // One alone was refused, and one behind it.
    until("it was tried with another", async || {
        let alone = server
            .batches()
            .into_iter()
            .filter(|one| one.lines.len() == 1);
        let alone: Vec<Value> = alone.flat_map(|one| one.lines).collect();
        let tried: BTreeSet<i64> = sequence(&alone, "/seq")?.into_iter().collect();
        Ok(tried.len() > 1)
    })
    .await?;
    server.refuse(None);
    let has = || sequence(&server.taken(), "/seq");
    until("everything is there", async || {
        let there: BTreeSet<i64> = has()?.into_iter().collect();
        let wanted: BTreeSet<i64> = numbers(&log(world.folder(), false)?).into_iter().collect();
        Ok(there == wanted)
    })
    .await?;
    let refused = metric(&world, "portcullis_audit_sink_refused_total", "lines");
    ensure!(refused == Some(0.0), "{refused:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn any_server_that_takes_lines_gets_them() -> Result<()> {
    let server = Receiver::start("").await?;
    let sinks = format!(
        "[audit.sinks.lines]\nkind = \"http\"\nurl = \"http://{}/in?x=1\"\ntoken = \"t0k3n-0001\"\nheaders = {{ X-Tenant = \"seven\" }}\nfrom = \"start\"\nbatch = 2\n",
        server.address
    );
    let world = World::of(&gate(&sinks)).await?;
    calls(&world, 5).await?;
    let has = || sequence(&server.taken(), "/seq");
    has_all("the server", world.folder(), false, has).await?;
    for batch in server.batches() {
        ensure!(batch.line == "POST /in?x=1", "{batch:?}");
        ensure!(batch.credential == "Bearer t0k3n-0001", "{batch:?}");
        ensure!(batch.lines.len() <= 2, "{batch:?}");
    }
    world.end().await
}

fn lines(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let lines = text.get(..whole).unwrap_or_default().lines();
    lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_begins_and_ends_sinks_and_leaves_the_others_alone() -> Result<()> {
    let one = "[audit.sinks.one]\nkind = \"file\"\npath = \"one.jsonl\"\nfrom = \"start\"\n";
    let two = "[audit.sinks.two]\nkind = \"file\"\npath = \"two.jsonl\"\n";
    let world = World::of(&gate(one)).await?;
    let folder = world.folder().to_owned();
    let has = |name: &str| sequence(&lines(&folder.join(name))?, "/seq");
    calls(&world, 2).await?;
    has_all("one", &folder, false, || has("one.jsonl")).await?;
    world.reload(&gate(&format!("{one}{two}")))?;
    is(&world, "two", "ok").await?;
    calls(&world, 2).await?;
    let last = log(&folder, false)?.last().context("empty")?.seq;
    until("two has the last record", async || {
        Ok(has("two.jsonl")?.contains(&last))
    })
    .await?;
    // It began when it came.
    ensure!(!has("two.jsonl")?.contains(&1), "{:?}", has("two.jsonl")?);
    // The same sink with another file: it goes on where it was.
    let moved = one.replace("one.jsonl", "moved.jsonl");
    world.reload(&gate(&moved))?;
    until("two is gone", async || Ok(health(&world, "two").is_none())).await?;
    let before = has("two.jsonl")?;
    calls(&world, 2).await?;
    has_all("one and moved", &folder, false, || {
        let mut both = has("one.jsonl")?;
        both.extend(has("moved.jsonl")?);
        Ok(both)
    })
    .await?;
    ensure!(!has("moved.jsonl")?.contains(&1));
    ensure!(has("two.jsonl")? == before, "a sink that is gone goes on");
    ensure!(metric(&world, "portcullis_audit_sink_lag_records", "two").is_none());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gate_sends_and_the_others_wait_for_it() -> Result<()> {
    let sink = "[audit.sinks.file]\nkind = \"file\"\npath = \"out.jsonl\"\nfrom = \"start\"\n";
    let world = World::of(GATE).await?;
    let folder = world.folder().to_owned();
    // Another gate on the same database has the sink.
    let store = Store::open(&folder.join("data/portcullis.db"))?;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(testkit::clock::START);
    let hold = SinkHold {
        name: "file".to_owned(),
        holder: "another".to_owned(),
        now,
        until: now + Duration::from_secs(3600),
    };
    let held = store.hold_audit_sink(hold, SinkStart::Beginning).await?;
    ensure!(held == Some(0));
    world.reload(&gate(sink))?;
    calls(&world, 3).await?;
    is(&world, "file", "ok").await?;
    ensure!(!folder.join("out.jsonl").exists(), "two gates send");
    store
        .release_audit_sink("file".to_owned(), "another".to_owned())
        .await?;
    has_all("the file", &folder, false, || {
        sequence(&lines(&folder.join("out.jsonl"))?, "/seq")
    })
    .await?;
    store.close().await;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_as_ocsf_is_that() -> Result<()> {
    let sink = "[audit.sinks.ocsf]\nkind = \"file\"\npath = \"ocsf.jsonl\"\nformat = \"ocsf\"\nfrom = \"start\"\nbegun = true\n";
    let world = World::of(&gate(sink)).await?;
    calls(&world, 5).await?;
    let path = world.folder().join("ocsf.jsonl");
    let has = || sequence(&lines(&path)?, "/metadata/sequence");
    has_all("the file", world.folder(), true, has).await?;
    let text = std::fs::read_to_string(&path)?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/py/ocsf_check.py");
    let python = Peers::locate()?.python("python", &[script])?;
    let mut check = Command::new(&python.argv[0])
        .args(&python.argv[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // A line that is none of the class must be found, or the check checks nothing.
    let wrong = text
        .lines()
        .next()
        .context("empty")?
        .replace("\"class_uid\"", "\"klass_uid\"");
    let mut stdin = check.stdin.take().context("no stdin")?;
    stdin.write_all(format!("{text}{wrong}\n").as_bytes())?;
    drop(stdin);
    let output = check.wait_with_output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = String::from_utf8_lossy(&output.stderr).into_owned();
    let count = text.lines().count();
    let bad: Vec<&str> = told.lines().collect();
    ensure!(
        output.status.success()
            && !bad.is_empty()
            && bad
                .iter()
                .all(|line| line.starts_with(&format!("{count}: "))),
        "{told}{failed}"
    );
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_tells_how_far_each_sink_is() -> Result<()> {
    let sinks = "[audit.sinks.file]\nkind = \"file\"\npath = \"out.jsonl\"\nfrom = \"start\"\n[audit.sinks.away]\nkind = \"http\"\nurl = \"http://127.0.0.1:1/\"\nfrom = \"start\"\n";
    let world = World::of(&gate(sinks)).await?;
    let folder = world.folder().to_owned();
    calls(&world, 3).await?;
    has_all("the file", &folder, false, || {
        sequence(&lines(&folder.join("out.jsonl"))?, "/seq")
    })
    .await?;
    is(&world, "away", "down").await?;
    let list = async || -> Result<Vec<Value>> {
        let output = Command::new(program("gate")?)
            .args(["audit", "sinks", "--json", "--config"])
            .arg(folder.join("portcullis.toml"))
            .env("PORTCULLIS__DATA_DIR", folder.join("data"))
            .output()?;
        let failed = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{failed}");
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    until("it is all told", async || {
        let all = list().await?;
        let [away, file] = all.as_slice() else {
            anyhow::bail!("{all:?}");
        };
        Ok(file["name"] == "file"
            && file["state"] == "sending"
            && file["lag"] == 0
            && file["error"].is_null()
            && away["state"] == "failing"
            && away["position"] == 0
            && away["lag"].as_i64() > Some(0)
            && away["error"]
                .as_str()
                .is_some_and(|error| error.contains("not reached")))
    })
    .await?;
    world.end().await
}
