//! What a client and an upstream say to each other passes byte for byte: unknown members, their order, numbers beyond
//! 2^53, `1.0`, escapes. The upstream is `echo`, which tells what it was sent and answers what it is told to.

use anyhow::{Context as _, Result, ensure};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use testkit::mcp::MODERN;
use testkit::world::World;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::block_in_place;

use super::runner;
use crate::wires::{Carrier, Wire};

const BOTH: &str = r#"
builtins = []
screening.results.invisible = "off"
limits.tool_call = { max = 1000000, per = "1s" }
upstreams.old = { stdio = ["{echo}"] }
upstreams.new = { stdio = ["{echo}", "--modern"] }
"#;

/// A JSON string, escaped in all ways that there are.
fn string() -> impl Strategy<Value = String> {
    let escape = select(vec![
        r"\n",
        r"\/",
        "/",
        r"\u00e9",
        "é",
        r"\ud83d\ude00",
        "😀",
        r#"\""#,
        r"\u0000",
        "\u{2028}",
    ]);
    let part = prop_oneof!["[a-z .]{1,5}", escape.prop_map(str::to_owned)];
    prop::collection::vec(part, 0..4).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

/// JSON as text: a reader that understands more of it than it must would write it down differently.
fn value() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?",
        select(vec![
            "9007199254740993",
            "1.0",
            "-0",
            "1E40",
            "18446744073709551616"
        ])
        .prop_map(str::to_owned),
    ];
    let word = select(vec!["null", "true", "false"]).prop_map(str::to_owned);
    let space = || select(vec!["", " ", "\t"]);
    prop_oneof![number, string(), word].prop_recursive(3, 16, 4, move |inner| {
        let array = (prop::collection::vec(inner.clone(), 0..4), space());
        let object = (prop::collection::vec((string(), inner), 0..4), space());
        prop_oneof![
            array.prop_map(|(all, space)| format!("[{space}{}]", all.join(&format!(",{space}")))),
            object.prop_map(|(all, space)| members(&all, space)),
        ]
    })
}

fn object() -> impl Strategy<Value = String> {
    let all = prop::collection::vec((string(), value()), 0..5);
    all.prop_map(|all| members(&all, " "))
}

/// An object whose names are all different, and without NUL: the gate takes none with it.
fn members(all: &[(String, String)], space: &str) -> String {
    let one = |(at, (name, value)): (usize, &(String, String))| {
        let name = name
            .strip_prefix('"')
            .and_then(|name| name.strip_suffix('"'));
        let name = name.unwrap_or_default().replace(r"\u0000", "");
        format!("{space}\"{at}{name}\"{space}:{value}")
    };
    let all: Vec<String> = all.iter().enumerate().map(one).collect();
    format!("{{{}{space}}}", all.join(","))
}

/// What is said in one run.
#[derive(Debug, Clone)]
struct Said {
    arguments: String,
    unknown: String,
    meta: String,
}

fn said() -> impl Strategy<Value = Said> {
    (object(), value(), value()).prop_map(|(arguments, unknown, meta)| Said {
        arguments,
        unknown,
        meta,
    })
}

/// The text of a tool's result.
fn text(answer: &str) -> Result<String> {
    let answer: Value = serde_json::from_str(answer)?;
    let text = answer["result"]["content"][0]["text"].as_str();
    Ok(text.with_context(|| answer.to_string())?.to_owned())
}

async fn check(wire: &mut Wire<'_>, upstream: &str, said: &Said) -> Result<()> {
    let Said {
        arguments,
        unknown,
        meta,
    } = said;
    // To the upstream.
    let rest = format!(r#""arguments":{arguments},"x.unknown":{unknown}"#);
    let own = format!(r#""example.com/m":{meta}"#);
    let ask = wire.request(
        "1",
        "tools/call",
        &format!(r#""name":"{upstream}.mirror",{rest}"#),
        &own,
    );
    let came = wire.ask(&ask).await?;
    let sent = text(came.last().context("no answer")?)?;
    for kept in [&format!(r#""name":"mirror",{rest},"#), &own] {
        ensure!(
            sent.contains(kept),
            "{kept}\nis not in what the upstream was sent:\n{sent}"
        );
    }
    // To the client.
    let inner = format!(
        r#""structuredContent":{arguments},"content":[{{"x":{unknown},"type":"text","text":"t"}}],"x.unknown":{meta}"#
    );
    let kind = if upstream == "new" {
        r#""resultType":"complete","#
    } else {
        ""
    };
    let result = json!(format!("{{{kind}{inner}}}"));
    let tell = format!(r#""name":"{upstream}.raw","arguments":{{"result":{result}}}"#);
    let came = wire
        .ask(&wire.request("2", "tools/call", &tell, ""))
        .await?;
    let got = came.last().context("no answer")?;
    ensure!(
        got.contains(&inner),
        "{inner}\nis not in what the client got:\n{got}"
    );
    if wire.revision != MODERN && upstream == "old" {
        let whole = format!(r#"{{"jsonrpc":"2.0","id":2,"result":{{{inner}}}}}"#);
        ensure!(*got == whole, "the client got\n{got}\nfor\n{whole}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_as_they_are_between_all_revisions_on_all_transports() -> Result<()> {
    let world = World::of(BOTH).await?;
    for upstream in ["old", "new"] {
        for revision in ["2025-11-25", MODERN] {
            for carrier in Carrier::ALL {
                let wire = Mutex::new(Wire::open(&world, carrier, revision).await?);
                let runs = runner(24).run(&said(), |said| {
                    let checked = async { check(&mut *wire.lock().await, upstream, &said).await };
                    let checked = block_in_place(|| Handle::current().block_on(checked));
                    checked.map_err(|error| TestCaseError::fail(format!("{error:#}")))
                });
                runs.with_context(|| format!("{carrier:?} in {revision}, to `{upstream}`"))?;
                wire.into_inner().close().await?;
            }
        }
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_tokens_come_back_as_they_were_written() -> Result<()> {
    let world = World::of(
        r#"
builtins = []
screening.results.invisible = "off"
limits.tool_call = { max = 1000000, per = "1s" }
upstreams.s = { stdio = ["{scripted}"] }
"#,
    )
    .await?;
    let written = [
        "1",
        "1.0",
        "\"1\"",
        "9007199254740993",
        "-7",
        "0",
        "\"\"",
        r#""\u00e9""#,
    ];
    for revision in ["2024-11-05", "2025-06-18", "2025-11-25", MODERN] {
        for carrier in Carrier::ALL {
            let mut wire = Wire::open(&world, carrier, revision).await?;
            for id in written {
                for token in written {
                    let steps = r#""name":"s.progress","arguments":{"steps":2}"#;
                    let own = format!(r#""progressToken":{token}"#);
                    let came = wire
                        .ask(&wire.request(id, "tools/call", steps, &own))
                        .await?;
                    let at = format!(
                        "id {id} and token {token} over {carrier:?} in {revision}: {came:?}"
                    );
                    let (answer, told) = came.split_last().context("no answer")?;
                    ensure!(answer.contains(&format!(r#""id":{id},"#)), "{at}");
                    let steps = told
                        .iter()
                        .filter(|told| told.contains("notifications/progress"));
                    let mine = steps.filter(|told| {
                        let after = |end| told.contains(&format!("{own}{end}"));
                        after(",") || after("}")
                    });
                    ensure!(mine.count() == 2, "{at}");
                }
            }
            wire.close().await?;
        }
    }
    world.end().await
}
