//! Two hundred principals with the same JSON-RPC ids, progress tokens and arguments but for one secret each, thousands
//! of calls in flight at a time, through every door and to every kind of upstream: no byte of one reaches another.
//!
//! What a principal hears is searched byte by byte ([`ears`]), and every answer is held against its question. Each kind
//! of client is a `Lane`; what stands behind the gate is `shuffled`, on pipes, and [`upstream`], over HTTP.

mod client;
mod ears;
mod upstream;

use std::sync::Arc;

use anyhow::{Result, ensure};
use testkit::world::World;
use tokio::task::JoinSet;

use self::client::Caller;
use self::upstream::Web;

const PRINCIPALS: usize = 200;
/// How often each lane asks as many questions as it has in flight: twenty thousand calls in every run of the tests, a
/// hundred thousand in `cargo xtask soak`.
const ROUNDS: u64 = 5;
const ROUNDS_LONG: u64 = 25;
/// Set where there is time.
const LONG: &str = "TESTKIT_LONG";
/// Calls that each principal has in flight at a time, over all its lanes.
const IN_FLIGHT: u64 = 20;
const UPSTREAMS: [&str; 4] = ["old_pipe", "new_pipe", "old_web", "new_web"];

/// What came of a crowd's calls.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    /// Calls made, and so answers.
    calls: u64,
    /// Canaries of others.
    foreign: usize,
    /// Answers and progress that belong to another question.
    wrong: usize,
    /// One of those, in words.
    example: Option<String>,
}

/// Has so many principals call, each so often; `flags` are for the upstreams on pipes.
async fn crowd(principals: usize, rounds: u64, flags: &str) -> Result<Heard> {
    let web = Web::start().await?;
    let names: Vec<String> = (0..principals).map(|at| format!("p{at:03}")).collect();
    let config = format!(
        "builtins = []\n\
         limits.tool_call = {{ max = 1000000, per = \"1s\" }}\n\
         limits.in_flight_max = 100000\n\
         limits.concurrency = {{ per_principal = 100000, per_upstream = 100000 }}\n\
         calls.heartbeat = \"off\"\n\
         upstreams.old_pipe = {{ stdio = [\"{{shuffled}}\"{flags}] }}\n\
         upstreams.new_pipe = {{ stdio = [\"{{shuffled}}\", \"--modern\"{flags}] }}\n\
         upstreams.old_web = {{ url = \"http://{0}/old\" }}\n\
         upstreams.new_web = {{ url = \"http://{0}/new\" }}\n\
         roles.all = {{ members = {names:?}, allow = [\"*\"] }}\n",
        web.address
    );
    let world = Arc::new(World::of(&config).await?);
    for alias in UPSTREAMS {
        world.ready(alias, 0).await?;
    }
    let mut watches = Vec::new();
    let mut crowd = JoinSet::new();
    for (at, name) in names.iter().enumerate() {
        let caller = Caller::new(&world, name)?;
        watches.push(Arc::clone(&caller.watch));
        crowd.spawn(caller.call(at, rounds));
    }
    let mut heard = Heard::default();
    while let Some(calls) = crowd.join_next().await {
        heard.calls += calls??;
    }
    for watch in &watches {
        heard.foreign += watch.foreign();
        heard.wrong += watch.wrong();
        heard.example = heard.example.or(watch.example().map(str::to_owned));
        let own = u64::try_from(watch.own())?;
        ensure!(own >= rounds * IN_FLIGHT, "the search sees what comes");
    }
    ensure!(web.sessions() >= principals, "a session is one principal's");
    // One record for each answer, and by whom.
    let records = world.records().await?;
    for name in &names {
        let own = records
            .iter()
            .filter(|one| one.row.principal == *name && one.row.method == "tools/call");
        let own = u64::try_from(own.count())?;
        ensure!(own == rounds * IN_FLIGHT, "{own} records of {name}");
    }
    drop(records);
    let world = Arc::into_inner(world);
    ensure!(world.is_some(), "somebody still calls");
    if let Some(world) = world {
        world.end().await?;
    }
    Ok(heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_one_principal_reaches_another() -> Result<()> {
    let is_long = std::env::var_os(LONG).is_some();
    let rounds = if is_long { ROUNDS_LONG } else { ROUNDS };
    let heard = crowd(PRINCIPALS, rounds, "").await?;
    let all = Heard {
        calls: u64::try_from(PRINCIPALS)? * rounds * IN_FLIGHT,
        ..Heard::default()
    };
    assert_eq!(heard, all);
    Ok(())
}

/// What is looked for above can be found: here an upstream does what the gate must not.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_for_somebody_else_is_noticed() -> Result<()> {
    let heard = crowd(12, ROUNDS, ", \"--crossed\"").await?;
    assert!(
        heard.foreign > 0 && heard.wrong >= heard.foreign,
        "{heard:?}"
    );
    Ok(())
}
