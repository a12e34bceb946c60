//! Bad input, on every transport and in every revision: it gets the answer that the protocol gives, it costs bounded
//! memory, and whoever talks beside it notices nothing.
//!
//! What a single bad request over HTTP gets, word for word, is under `cases/decode` and `cases/door`.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testkit::mcp::{MODERN, call};
use testkit::world::World;

use crate::wires::{Carrier, Wire};

const ONE: &str = r#"
builtins = []
limits.tool_call = { max = 1000000, per = "1s" }
upstreams.s = { stdio = ["{scripted}"] }
"#;
/// The oldest, the last with batches, the first without, the last with null ids, and those after it.
const REVISIONS: [&str; 5] = [
    "2024-11-05",
    "2025-03-26",
    "2025-06-18",
    "2025-11-25",
    MODERN,
];
const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;

/// What is bad about a message, and the error that it gets.
struct Bad {
    what: &'static str,
    text: String,
    code: i64,
}

fn bad() -> Vec<Bad> {
    let list = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#);
    let mut bad = Vec::new();
    let mut add = |what, text: String, code| bad.push(Bad { what, text, code });
    add(
        "half a message",
        r#"{"jsonrpc":"2.0","id":1"#.to_owned(),
        PARSE_ERROR,
    );
    add("two messages", [list("1"), list("2")].concat(), PARSE_ERROR);
    add("NUL between", list("1").replace(',', ",\0"), PARSE_ERROR);
    add("NUL within", list("\"a\0b\""), PARSE_ERROR);
    add("no text at all", "\u{1}\u{7f}".to_owned(), PARSE_ERROR);
    add("no object", "3".to_owned(), INVALID_REQUEST);
    add("an empty object", "{}".to_owned(), INVALID_REQUEST);
    add("an empty batch", "[]".to_owned(), INVALID_REQUEST);
    add(
        "a method twice",
        list("1").replace('}', r#","method":"ping"}"#),
        INVALID_REQUEST,
    );
    for id in ["null", "true", "[]", "{}", "[1]", "1.5", "-0.5", "1e-3"] {
        add("an id of another type", list(id), INVALID_REQUEST);
    }
    let deep = |open: &str, close: &str| {
        let nested = [open.repeat(100_000), close.repeat(100_000)].concat();
        list("1").replace('}', &format!(r#","params":{{"x":{nested}}}}}"#))
    };
    add("100k arrays", deep("[", "]"), INVALID_REQUEST);
    add(
        "100k objects",
        deep("{\"a\":", "}").replace(":}", ":1}"),
        INVALID_REQUEST,
    );
    bad
}

/// Somebody else, who must not notice.
async fn undisturbed(other: &mut Wire<'_>) -> Result<()> {
    let echo = other.request(
        "\"o\"",
        "tools/call",
        r#""name":"s.echo","arguments":{"text":"here"}"#,
        "",
    );
    let came = other.ask(&echo).await?;
    ensure!(came.concat().contains("\"here\""), "{came:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_told_everywhere_and_disturbs_nobody() -> Result<()> {
    let world = World::of(ONE).await?;
    let mut other = Wire::open(&world, Carrier::WebSocket, "2025-11-25").await?;
    for carrier in Carrier::ALL {
        for revision in REVISIONS {
            let mut wire = Wire::open(&world, carrier, revision).await?;
            for Bad { what, text, code } in bad() {
                let at = || format!("{what} over {carrier:?} in {revision}: {text:.80}");
                let came = wire.ask(&text).await.with_context(at)?;
                let answer: Value = serde_json::from_str(came.last().with_context(at)?)?;
                let answer = answer.get(0).unwrap_or(&answer);
                assert_eq!(answer["error"]["code"], code, "{}: {answer}", at());
            }
            undisturbed(&mut wire).await?;
            undisturbed(&mut other).await?;
            wire.close().await?;
        }
    }
    other.close().await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_character_goes_nowhere_it_could_be_misread() -> Result<()> {
    let world = World::of(ONE).await?;
    for carrier in Carrier::ALL {
        for revision in ["2025-11-25", MODERN] {
            let mut wire = Wire::open(&world, carrier, revision).await?;
            // Where it would be read, nobody can; a method and a tool are compared with names.
            for text in [
                wire.request("1", r"tools/\ud800", "", ""),
                wire.request(
                    "2",
                    "tools/call",
                    r#""name":"s.echo\udfff","arguments":{}"#,
                    "",
                ),
                wire.request(
                    r#""\ud83d""#,
                    "tools/call",
                    r#""name":"s.echo","arguments":{}"#,
                    "",
                ),
                wire.request(
                    "3",
                    "tools/call",
                    r#""name":"s.echo","arguments":{"\udc00":1}"#,
                    "",
                ),
            ] {
                let came = wire.ask(&text).await?;
                let answer: Value = serde_json::from_str(came.last().context("no answer")?)?;
                let code = answer["error"]["code"]
                    .as_i64()
                    .with_context(|| text.clone())?;
                assert!(
                    [-32700, -32600, -32601, -32602, -32020].contains(&code),
                    "{text}: {answer}"
                );
            }
            undisturbed(&mut wire).await?;
            wire.close().await?;
        }
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_taken_where_the_revision_has_it_and_only_there() -> Result<()> {
    let world = World::of(ONE).await?;
    let notes = r#"[{"jsonrpc":"2.0","method":"notifications/a"},{"jsonrpc":"2.0","method":"notifications/b"}]"#;
    let mixed = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/a"},3]"#;
    for carrier in Carrier::ALL {
        for revision in REVISIONS {
            let at = format!("{carrier:?} in {revision}");
            let mut wire = Wire::open(&world, carrier, revision).await?;
            let has_batches = revision <= "2025-03-26";
            if has_batches {
                // An answer to it would come before the one that follows.
                wire.tell(notes).await.with_context(|| at.clone())?;
                let came = wire.ask(mixed).await?;
                let answers: Value = serde_json::from_str(came.last().context("no answer")?)?;
                assert_eq!(answers.as_array().map(Vec::len), Some(2), "{at}: {answers}");
                assert_eq!(answers[0]["result"], json!({}), "{at}: {answers}");
                assert_eq!(
                    answers[1]["error"]["code"], INVALID_REQUEST,
                    "{at}: {answers}"
                );
            } else {
                for batch in [notes, mixed] {
                    let came = wire.ask(batch).await?;
                    let answer: Value = serde_json::from_str(came.last().context("no answer")?)?;
                    assert_eq!(answer["error"]["code"], INVALID_REQUEST, "{at}: {answer}");
                }
            }
            undisturbed(&mut wire).await.context(at)?;
            wire.close().await?;
        }
    }
    world.end().await
}

/// The most memory that this process has had, in bytes.
fn memory_peak() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.context("no peak")?.trim().trim_end_matches(" kB");
    Ok(peak.trim().parse::<u64>()? * 1024)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_a_gibibyte_costs_little_memory_and_nobody_else_anything() -> Result<()> {
    let world = World::of(
        r#"
builtins = []
limits.tool_call = { max = 1000000, per = "1s" }
upstreams.s = { stdio = ["{scripted}"] }
upstreams.e = { stdio = ["{echo}"] }
"#,
    )
    .await?;
    let mut other = Wire::open(&world, Carrier::WebSocket, MODERN).await?;
    undisturbed(&mut other).await?;
    world
        .post("local", &call(1, "e.mirror", &json!({})))
        .await?;
    let before = memory_peak()?;
    let long = call(2, "e.line", &json!({ "bytes": 1_u64 << 30 }));
    let long = world.post("local", &long);
    let beside = async {
        let mut asked = 0_u32;
        while world.metric("portcullis_calls_in_flight")? > 0.0 || asked < 3 {
            undisturbed(&mut other).await?;
            asked += 1;
        }
        anyhow::Ok(asked)
    };
    let (reply, asked) = tokio::join!(long, beside);
    assert_eq!(reply?.answer()?["result"]["content"], json!([]));
    assert!(asked? >= 3);
    let grown = memory_peak()?.saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes");
    assert_eq!(world.upstream("e")?["restarts"], 0);
    other.close().await?;
    world.end().await
}
