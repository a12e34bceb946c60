//! An upstream that answers every answer with another question comes to an end.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testkit::mcp::{call, response};
use testkit::world::World;

/// Rounds that a legacy client is asked in one call (`ROUNDS_MAX` of `gateway::exchange`).
const ROUNDS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_is_not_asked_for_ever_by_a_modern_upstream() -> Result<()> {
    let config = r#"
builtins = []
upstreams.e = { stdio = ["{echo}", "--modern"] }
roles.all = { members = ["alice"], allow = ["*"] }
"#;
    let world = World::of(config).await?;
    world.ready("e", 0).await?;
    let form = json!({
        "message": "Again?", "requestedSchema": { "type": "object", "properties": {} },
    });
    let asks = json!({
        "resultType": "input_required", "requestState": "on",
        "inputRequests": { "again": { "method": "elicitation/create", "params": form } },
    });
    let raw = call(1, "e.raw", &json!({ "result": asks.to_string() }));
    let can = json!({ "elicitation": {} });
    let session = world.open_with("alice", "2025-11-25", &can).await?;
    let mut stream = world.begin_in(&session, &raw).await?;
    let mut asked = 0;
    let end = loop {
        let message = stream.event().await?.context("the stream ended")?;
        if message["method"] != "elicitation/create" {
            break message;
        }
        asked += 1;
        ensure!(asked <= ROUNDS, "it is asked once more");
        let given = json!({ "action": "accept", "content": {} });
        let taken = world
            .post_in(&session, &response(&message["id"], &given))
            .await?;
        ensure!(taken.status == 202, "status {}", taken.status);
    };
    ensure!(asked == ROUNDS, "asked {asked} times");
    ensure!(end["id"] == 1 && end["error"]["code"].is_i64(), "{end}");
    ensure!(stream.event().await?.is_none());
    world.owe(1);
    // Nothing of it is left, and the upstream can be called as before.
    let again = call(2, "e.mirror", &json!({}));
    let reply = world.post_in(&session, &again).await?;
    ensure!(reply.text()?.contains("tools/call"), "{:?}", reply.messages);
    world.end().await
}
