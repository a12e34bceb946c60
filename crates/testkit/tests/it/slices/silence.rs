//! Nothing that is answered or told names an entry, or an argument, that is not for the eyes of who asks.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testkit::mcp::{call, request};
use testkit::world::World;

use super::{OWNED, is_result, promising, saying};

/// What is asked of every way in: near enough to the names that nobody may learn for a helpful answer to say them.
fn questions() -> Vec<Value> {
    let none = json!({});
    let search = |query: &str| call("search", "search_tools", &json!({ "query": query }));
    let mut all: Vec<Value> = [
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
    ]
    .map(|method| request(method, method, &none))
    .to_vec();
    all.extend([
        search("open the vault"),
        search("hidden path"),
        call(
            "describe",
            "describe_tool",
            &json!({ "name": "a.vautl_open" }),
        ),
        call("through", "call_tool", &json!({ "name": "a.vautl_open" })),
        call("slip", "a.vautl_open", &none),
        call(
            "stranger",
            "a.open",
            &json!({ "query": "x", "hiden_path": 1 }),
        ),
        call("missing", "a.open", &json!({ "hiden_path": 1 })),
        call(
            "through",
            "call_tool",
            &json!({ "name": "a.open", "arguments": { "quest": 1 } }),
        ),
        call("wrong", "a.open", &json!({ "query": 1 })),
    ]);
    for arguments in [json!({ "hiden_tone": "x" }), json!({}), json!({ "to": 1 })] {
        let params = json!({ "name": "a.letter", "arguments": arguments });
        all.push(request("letter", "prompts/get", &params));
    }
    for name in ["a.letter", "a.vautl_letter"] {
        let params = json!({
            "ref": { "type": "ref/prompt", "name": name },
            "argument": { "name": "hiden_tone", "value": "x" },
        });
        all.push(request("complete", "completion/complete", &params));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_names_what_its_reader_may_not_see() -> Result<()> {
    let mut open = saying("open", "opened");
    open["inputSchema"] = json!({
        "type": "object",
        "properties": { "query": { "type": "string" }, "hidden_path": { "type": "string" } },
        "required": ["query", "hidden_path"],
        "additionalProperties": false,
    });
    let arguments =
        json!([{ "name": "to", "required": true }, { "name": "hidden_tone", "required": true }]);
    let definitions = json!({
        "tools": [open, saying("vault_open", "no"), saying("other", "yes")],
        "prompts": [{ "name": "letter", "arguments": arguments }, { "name": "vault_letter" }],
    });
    let edits = |name: &str, more: &str| {
        format!(
            "[virtual_servers.{name}]\ninclude = [\"*\"]\nexclude = [\"a.vault_*\"]\n{more}\n\
             tools.\"a.open\" = {{ defaults = {{ hidden_path = \"x\" }} }}\n\
             prompts.\"a.letter\" = {{ defaults = {{ hidden_tone = \"x\" }} }}\n"
        )
    };
    let config = format!(
        "{OWNED}roles.few = {{ members = [\"carol\"], allow = [\"a.open\", \"a.letter\"] }}\n\
         tool_search.above = 2\n\
         upstreams.a = {}\n{}{}",
        promising(&definitions),
        edits("desk", ""),
        edits("strict", "validation.strict = true"),
    );
    let world = World::of(&config).await?;
    world.ready("a", 0).await?;
    for (who, server, silent) in [
        ("carol", None, &["vault"][..]),
        ("carol", Some("desk"), &["vault", "hidden"]),
        ("alice", Some("desk"), &["vault", "hidden"]),
        ("alice", Some("strict"), &["vault", "hidden"]),
    ] {
        let session = world.open_at(server, who, "2025-06-18", &json!({})).await?;
        for question in questions() {
            let exchange = world.begin_at(server, who, &question).await?;
            let modern = world.whole(exchange).await?;
            let legacy = world.post_in(&session, &question).await?;
            for answer in [modern.answer()?, legacy.answer()?] {
                let said = answer.to_string();
                for word in silent {
                    ensure!(!said.contains(word), "{who} {server:?} {question}: {said}");
                }
            }
        }
        world.close(&session).await?;
    }
    // It is said of what is theirs.
    for server in ["desk", "strict"] {
        let slip = call(1, "a.open", &json!({ "qurey": "x" }));
        let reply = world.post_at(server, "alice", &slip).await?;
        ensure!(
            reply.text()?.contains("did you mean \"query\"?"),
            "{server}: {reply:?}"
        );
        let right = call(1, "a.open", &json!({ "query": "x" }));
        ensure!(is_result(&world.post_at(server, "alice", &right).await?)?);
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_hears_of_no_resource_that_its_server_does_not_have() -> Result<()> {
    let config = format!(
        "{OWNED}upstreams.s = {{ stdio = [\"{{watched}}\"] }}\n\
         virtual_servers.one = {{ include = [{{ resource = \"s.watched://a\" }}] }}\n\
         virtual_servers.all = {{ include = [\"s.*\"], exclude = [{{ resource = \"s.watched://a/no\" }}] }}\n"
    );
    let world = World::of(&config).await?;
    world.ready("s", 0).await?;
    let mut streams = Vec::new();
    for server in ["one", "all"] {
        let session = world
            .open_at(Some(server), "alice", "2025-11-25", &json!({}))
            .await?;
        let stream = world.listen_in(&session).await?;
        let ask = request(1, "resources/subscribe", &json!({ "uri": "watched://a" }));
        ensure!(
            is_result(&world.post_in(&session, &ask).await?)?,
            "{server}"
        );
        streams.push((session, stream));
    }
    for uri in ["watched://a/no", "watched://a/part", "watched://a"] {
        let touch = call(1, "s.touch", &json!({ "uri": uri }));
        world.post("alice", &touch).await?.text()?;
    }
    let expected = [&["watched://a"][..], &["watched://a/part", "watched://a"]];
    for ((session, mut stream), expected) in streams.into_iter().zip(expected) {
        for uri in expected {
            let told = stream.event().await?.context("the stream ended")?;
            ensure!(told["params"]["uri"] == *uri, "{told}");
        }
        drop(stream);
        world.close(&session).await?;
    }
    world.end().await
}
