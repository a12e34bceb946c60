//! Limits from outside: shared through a real Redis that comes and goes, quotas that outlive the gate, and what never
//! waits behind calls.
//!
//! Where a Redis counts, its own clock counts: limits there are for an hour, so that nothing runs out of a bucket while a
//! test runs.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use store::shared::{Memory, Take, TakeError};
use testkit::certificates::Authority;
use testkit::fixtures::Redis;
use testkit::mcp::{call, headers, modern, request};
use testkit::world::{Exchange, Reply, World, until};
use tokio::io::AsyncWriteExt as _;

use crate::faults::sent;

/// The script as it is, without the line that takes Redis's time.
const TAKE: &str = include_str!("../../../store/src/shared/redis/take.lua");
/// A principal's tool calls while the buckets are full.
const MAX: usize = 20;

fn sharing(redis: &Redis, more: &str) -> String {
    let port = redis.address().port();
    format!(
        r#"
builtins = ["time"]
limits.tool_call = {{ max = {MAX}, per = "1h" }}
roles.clerk = {{ members = ["alice", "bob"], allow = ["*"] }}
[shared.redis]
url = "redis://127.0.0.1:{port}"
{more}
"#
    )
}

fn now() -> Value {
    call(1, "time.now", &json!({ "timezone": "UTC" }))
}

async fn status(world: &World) -> Value {
    world.gate().status()["calls"]["shared"].clone()
}

async fn is_connected(world: &World, state: &str) -> Result<()> {
    until(&format!("Redis is {state}"), async || {
        Ok(status(world).await["state"] == state)
    })
    .await
}

/// Calls at each of the gates in turn until one refuses; how many were let through.
async fn let_through(gates: &[World], who: &str) -> Result<usize> {
    for count in 0..10 * MAX {
        let world = &gates[count % gates.len()];
        let reply = world.post(who, &now()).await?;
        if reply.status == 429 {
            is_refused_by(&reply, "tool_call")?;
            return Ok(count);
        }
        ensure!(reply.status == 200, "{:?}", reply.messages);
    }
    anyhow::bail!("no limit at all")
}

fn is_refused_by(reply: &Reply, limit: &str) -> Result<()> {
    let told = reply.answer()?;
    ensure!(
        reply.status == 429 && told["error"]["data"]["limit"] == limit,
        "{} {told}",
        reply.status
    );
    ensure!(reply.header("retry-after").is_some(), "no Retry-After");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_gates_share_one_limit_and_each_goes_on_alone_without_redis() -> Result<()> {
    let mut redis = Redis::start().await?;
    // As long as can be: the machine is busy with other tests.
    let config = sharing(&redis, "timeout = \"250ms\"");
    let mut gates = Vec::new();
    for _ in 0..3 {
        let world = World::of(&config).await?;
        is_connected(&world, "up").await?;
        gates.push(world);
    }
    ensure!(let_through(&gates, "alice").await? == MAX);
    for world in &gates {
        is_refused_by(&world.post("alice", &now()).await?, "tool_call")?;
    }
    // Half of bob's calls are made when Redis goes.
    for at in 0..MAX / 2 {
        let reply = gates[at % 3].post("bob", &now()).await?;
        ensure!(reply.status == 200);
    }
    redis.stop();
    for world in &gates {
        is_connected(world, "down").await?;
        ensure!(status(world).await["last_error"].is_string());
    }
    // Alone, each has let none of alice's through but its share, and knows it.
    let mut alone = 0;
    for world in &gates {
        alone += let_through(std::slice::from_ref(world), "bob").await?;
    }
    ensure!(alone == 3 * MAX - MAX / 2, "{alone}");
    // It is back by itself, with nothing in it, and counts for all of them again.
    redis.start_again().await?;
    for world in &gates {
        is_connected(world, "up").await?;
    }
    ensure!(let_through(&gates, "alice").await? == MAX);
    for world in gates {
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "how long a real call takes is what this is about"
)]
async fn a_redis_that_says_nothing_holds_up_no_call_for_long() -> Result<()> {
    let redis = Redis::start().await?;
    let world = World::of(&sharing(&redis, "")).await?;
    is_connected(&world, "up").await?;
    ensure!(world.post("alice", &now()).await?.status == 200);
    redis.freeze()?;
    let mut waits = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        ensure!(world.post("alice", &now()).await?.status == 200);
        waits.push(began.elapsed());
    }
    // Only the first has to find out. All that may be slow besides is the machine.
    waits.sort();
    ensure!(waits[2] < Duration::from_millis(250), "{waits:?}");
    ensure!(waits[4] < Duration::from_secs(2), "{waits:?}");
    ensure!(status(&world).await["counted_alone"] == 5);
    redis.thaw()?;
    is_connected(&world, "up").await?;
    until("the metric follows", async || {
        Ok(world.metric("portcullis_shared_up")? == 1.0)
    })
    .await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_means_that_nothing_uncounted_gets_through() -> Result<()> {
    let mut redis = Redis::start().await?;
    let world = World::of(&sharing(&redis, "fail = \"closed\"\ntimeout = \"250ms\"")).await?;
    is_connected(&world, "up").await?;
    ensure!(world.post("alice", &now()).await?.status == 200);
    redis.stop();
    is_connected(&world, "down").await?;
    let reply = world.post("alice", &now()).await?;
    ensure!(reply.status == 503, "{:?}", reply.messages);
    ensure!(reply.header("retry-after") == Some("1"));
    let message = reply.answer()?["error"]["message"].clone();
    ensure!(
        message == "The call cannot be counted, so it was not made",
        "{message}"
    );
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_is_done_without_and_asked_again_over_the_same_connection()
-> Result<()> {
    let redis = Redis::start().await?;
    let world = World::of(&sharing(&redis, "timeout = \"250ms\"")).await?;
    is_connected(&world, "up").await?;
    let connections = || -> Result<u64> {
        let told = cli(&redis, &["INFO", "stats"], "")?;
        let count = told
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:"));
        Ok(count.context("no count")?.trim().parse()?)
    };
    let before = connections()?;
    cli(&redis, &["CONFIG", "SET", "maxmemory", "1"], "")?;
    is_connected(&world, "down").await?;
    for _ in 0..5 {
        ensure!(world.post("alice", &now()).await?.status == 200);
    }
    let error = status(&world).await["last_error"].to_string();
    ensure!(error.contains("OOM"), "{error}");
    cli(&redis, &["CONFIG", "SET", "maxmemory", "0"], "")?;
    is_connected(&world, "up").await?;
    // Three of this test's own client; the gate's was there before.
    let since = connections()? - before;
    ensure!(since == 3, "{since}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_reached_over_tls_with_a_password_and_not_without_them() -> Result<()> {
    let authority = Authority::new("redis")?;
    let redis = Redis::encrypted(&authority.server(1)?, "open sesame").await?;
    let port = redis.address().port();
    let config = |more: &str| {
        format!("builtins = []\nshared.redis = {{ url = \"rediss://localhost:{port}/3\", {more} }}")
    };
    let files = [
        ("ca.pem", authority.pem.as_str()),
        ("password", "open sesame\n"),
        ("wrong", "sesame"),
    ];
    let good = config("ca = \"ca.pem\", password = { file = \"password\" }");
    let world = World::with_files(&good, &files).await?;
    is_connected(&world, "up").await?;
    world.end().await?;
    for (bad, told) in [
        (config("password = { file = \"password\" }"), "TLS"),
        (
            config("ca = \"ca.pem\", password = { file = \"wrong\" }"),
            "authentication",
        ),
        // Which of the first commands is refused then, and in which words, is Redis's affair.
        (config("ca = \"ca.pem\""), ""),
    ] {
        let world = World::with_files(&bad, &files).await?;
        until("it is known why there is no Redis", async || {
            Ok(status(&world).await["last_error"].is_string())
        })
        .await?;
        let status = status(&world).await;
        let error = status["last_error"].as_str().unwrap_or_default();
        ensure!(status["state"] == "down", "{bad}");
        ensure!(error.contains(told) && !error.contains("sesame"), "{error}");
        world.end().await?;
    }
    Ok(())
}

/// A take of the test below.
struct Step {
    keys: Vec<usize>,
    cost: u32,
    /// Microseconds.
    at: u64,
}

/// Interval and size of the buckets: none runs out by itself while the test runs, because Redis forgets those by its own
/// clock.
const BUCKETS: [(u64, u32); 3] = [
    (60_000_000_001, 5),
    (3_600_000_000_000, 40),
    (400_000_000_000, 9),
];

#[tokio::test]
async fn the_script_does_the_sums_of_memory_to_the_nanosecond() -> Result<()> {
    let redis = Redis::start().await?;
    let script = format!("local now = tonumber(table.remove(ARGV))\n{TAKE}");
    let sha = cli(&redis, &["-x", "SCRIPT", "LOAD"], &script)?;
    // The same every time, and odd enough.
    let mut dice = 0x2545_F491_4F6C_DD1D_u64;
    let mut roll = |sides: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice % sides
    };
    let mut at = 1_767_323_045_000_000;
    let steps: Vec<Step> = (0..1_500)
        .map(|_| {
            at += roll(90_000_000);
            let keys = (0..BUCKETS.len()).filter(|_| roll(2) == 0).collect();
            let cost = u32::try_from(roll(4)).unwrap_or_default() + 1;
            Step { keys, cost, at }
        })
        .filter(|step: &Step| !step.keys.is_empty())
        .collect();
    let mut lines = String::new();
    for step in &steps {
        let keys: Vec<String> = step.keys.iter().map(|key| format!("b{key}")).collect();
        let numbers: Vec<String> = step
            .keys
            .iter()
            .map(|key| format!("{} {} {}", BUCKETS[*key].0, BUCKETS[*key].1, step.cost))
            .collect();
        let (count, keys, numbers) = (keys.len(), keys.join(" "), numbers.join(" "));
        let sha = sha.trim();
        let line = format!("EVALSHA {sha} {count} {keys} {numbers} {}\n", step.at);
        lines.push_str(&line);
    }
    let told = cli(&redis, &[], &lines)?;
    let mut told = told.lines();
    let memory = Memory::new();
    let mut refused = 0;
    for (index, step) in steps.iter().enumerate() {
        let names: Vec<String> = step.keys.iter().map(|key| format!("b{key}")).collect();
        let takes: Vec<Take<'_>> = step
            .keys
            .iter()
            .zip(&names)
            .map(|(key, name)| {
                Ok(Take {
                    key: name,
                    interval: BUCKETS[*key].0.try_into()?,
                    max: BUCKETS[*key].1.try_into()?,
                    cost: step.cost.try_into()?,
                })
            })
            .collect::<Result<_>>()?;
        let here = match memory.take_now(&takes, Duration::from_micros(step.at)) {
            Ok(()) => (0, 0),
            Err(TakeError::Full { at, wait }) => (at + 1, wait.as_nanos()),
            Err(other) => return Err(other.into()),
        };
        refused += usize::from(here.0 > 0);
        let mut number = || told.next().context("no answer");
        let there = (number()?.parse()?, number()?.parse()?);
        ensure!(here == there, "step {index}: {here:?}, and Redis {there:?}");
    }
    ensure!(
        (200..1_300).contains(&refused),
        "{refused} refusals say little"
    );
    Ok(())
}

/// What Debian's own client hears.
fn cli(redis: &Redis, words: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new("redis-cli")
        .args(["-p", &redis.address().port().to_string()])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let input = input.to_owned();
    // It answers while it is written to.
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    writing.join().ok().context("the writer panicked")??;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_and_administration_never_wait_behind_calls() -> Result<()> {
    let config = r#"
builtins = []
limits.in_flight_max = 2
limits.concurrency = { queue_max = 4, queue_wait = "60s" }
roles.owner = { members = ["root"] }
upstreams.s = { stdio = ["{scripted}"] }
"#;
    let world = World::of(config).await?;
    let echo = call(1, "s.echo", &json!({ "text": "here" }));
    ensure!(world.post("root", &echo).await?.text()? == "here");
    let mut hanging = Vec::new();
    // Two at the upstream, four waiting: nobody else gets in.
    for id in 2..8 {
        let message = modern(call(id, "s.silent", &json!({})));
        let body = message.to_string();
        let bytes = world.request("POST", "root", &headers(&message), body.as_bytes())?;
        let mut stream = Exchange::connect(world.untapped()).await?;
        stream.write_all(&bytes).await?;
        hanging.push(stream);
    }
    until("the gate is full", async || {
        let calls = &world.gate().status()["calls"];
        Ok(calls["in_flight"] == 2 && calls["waiting"] == 4)
    })
    .await?;
    for path in [
        "/livez",
        "/readyz",
        "/health",
        "/metrics",
        "/v1/me",
        "/v1/sessions",
        "/v1/keys",
    ] {
        let head = format!("GET {path} HTTP/1.1\r\n");
        let bytes = world.complete("root", &head, b"")?;
        let answer = Exchange::send(world.untapped(), &bytes).await?;
        ensure!(answer.status == 200, "{path}: {}", answer.status);
    }
    // What the gate answers by itself waits for nobody either.
    let list = request(9, "tools/list", &json!({}));
    ensure!(world.post("root", &list).await?.status == 200);
    ensure!(world.post("root", &echo).await?.status == 503);
    drop(hanging);
    until("all places are free", async || {
        let calls = &world.gate().status()["calls"];
        Ok(calls["in_flight"] == 0 && calls["waiting"] == 0)
    })
    .await?;
    ensure!(world.post("root", &echo).await?.text()? == "here");
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_call_is_served_when_a_place_is_free() -> Result<()> {
    let config = r#"
builtins = []
limits.in_flight_max = 1
limits.concurrency.queue_wait = "60s"
upstreams.s = { stdio = ["{scripted}"] }
"#;
    let world = World::of(config).await?;
    let echo = call(1, "s.echo", &json!({ "text": "here" }));
    ensure!(world.post("local", &echo).await?.text()? == "here");
    let hanging = sent(&world, &call(2, "s.silent", &json!({}))).await?;
    until("the place is taken", async || {
        Ok(world.gate().status()["calls"]["in_flight"] == 1)
    })
    .await?;
    let waiting = world.post("local", &echo);
    let freeing = async {
        until("the other waits", async || {
            Ok(world.gate().status()["calls"]["waiting"] == 1)
        })
        .await?;
        drop(hanging);
        world.owe(1);
        anyhow::Ok(())
    };
    let (reply, freed) = tokio::join!(waiting, freeing);
    freed?;
    ensure!(reply?.text()? == "here");
    world.end().await
}

const QUOTA: &str = r#"
builtins = ["time"]
roles.clerk = { members = ["alice", "bob"], allow = ["time.now"] }
[limits.quotas.a_day]
per = "principal"
roles = ["clerk"]
calls = 2
every = "day"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_outlives_the_gate_and_begins_anew_at_midnight() -> Result<()> {
    let world = World::of(QUOTA).await?;
    for _ in 0..3 {
        // What the rules refuse uses up nothing.
        let convert = call(1, "time.convert", &json!({}));
        world.post("alice", &convert).await?.code()?;
    }
    ensure!(world.post("alice", &now()).await?.status == 200);
    // What does not fit the schema was not made either.
    let unfit = call(1, "time.now", &json!({ "timezone": 7 }));
    ensure!(world.post("alice", &unfit).await?.status == 200);
    ensure!(world.post("alice", &now()).await?.status == 200);
    let refused = world.post("alice", &now()).await?;
    is_refused_by(&refused, "a_day")?;
    // 03:04:05 it is.
    ensure!(refused.header("retry-after") == Some("75355"));
    ensure!(world.metric("mcp_rate_limit_hits_total{limit_key=\"a_day\",user_id=\"-\"}")? == 1.0);
    let reply = world.post("bob", &now()).await?;
    ensure!(reply.status == 200);
    let world = world.restart(QUOTA).await?;
    is_refused_by(&world.post("alice", &now()).await?, "a_day")?;
    world.advance(Duration::from_secs(75_354));
    is_refused_by(&world.post("alice", &now()).await?, "a_day")?;
    world.advance(Duration::from_secs(1));
    ensure!(world.post("alice", &now()).await?.status == 200);
    world.end().await
}
