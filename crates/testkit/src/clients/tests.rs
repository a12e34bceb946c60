//! Each client against a bare server: what a test through the gate is compared with.

use serde_json::json;

use super::{Mode, Plan, Sdk, Seen};
use crate::fixtures::Peers;

fn plan(plan: Plan) -> Plan {
    plan.call("echo", json!({ "message": "hi" }))
        .call(
            "trigger-long-running-operation",
            json!({ "duration": 0.5, "steps": 4 }),
        )
        .prompt("simple-prompt", json!({}))
        .read("demo://resource/static/document/features.md")
        .complete(json!({
            "ref": { "type": "ref/prompt", "name": "completable-prompt" },
            "argument": { "name": "department", "value": "E" },
        }))
        .read("demo://resource/there/is/none")
}

fn judge(sdk: Sdk, seen: &Seen) {
    assert_eq!(seen.revision, "2025-11-25", "{sdk:?}");
    assert_eq!(
        (
            seen.tools.len(),
            seen.prompts.len(),
            seen.resources.len(),
            seen.templates.len()
        ),
        (13, 4, 7, 2)
    );
    let [echo, long, prompt, read, complete, missing] = seen.steps.as_slice() else {
        panic!("{sdk:?}: {:?}", seen.steps);
    };
    assert_eq!(echo.text(), "Echo: hi", "{sdk:?}");
    assert!(long.progress >= 3, "{sdk:?}: {long:?}");
    let result = |taken: &super::Taken| taken.result.clone().unwrap_or_default();
    assert_eq!(result(prompt)["messages"][0]["role"], "user", "{sdk:?}");
    assert_eq!(
        result(read)["contents"][0]["mimeType"],
        "text/markdown",
        "{sdk:?}"
    );
    assert_eq!(
        result(complete)["completion"]["values"],
        json!(["Engineering"]),
        "{sdk:?}"
    );
    assert_eq!(
        missing.error.clone().unwrap_or_default()["code"],
        -32602,
        "{sdk:?}: {missing:?}"
    );
}

#[tokio::test]
async fn every_client_sees_a_bare_server_over_stdio() {
    let peers = Peers::locate().expect("peers");
    for sdk in Sdk::ALL {
        let plan = plan(Plan::stdio(
            peers.everything().expect("installed"),
            Mode::Legacy,
        ));
        judge(sdk, &plan.run(sdk, &peers).await.expect("seen"));
    }
}

#[tokio::test]
async fn every_client_sees_a_bare_server_over_http_and_falls_back_from_the_modern_revision() {
    let peers = Peers::locate().expect("peers");
    let server = peers.everything_http().await.expect("running");
    for sdk in Sdk::ALL {
        let plan = plan(Plan::http(server.url(), Mode::Auto).bearer("ignored"));
        judge(sdk, &plan.run(sdk, &peers).await.expect("seen"));
    }
}

#[tokio::test]
async fn the_other_four_servers_start_and_list_their_tools() {
    let peers = Peers::locate().expect("peers");
    let folder = tempfile::tempdir().expect("a folder");
    let status = std::process::Command::new("git")
        .args(["init", "--quiet"])
        .current_dir(&folder)
        .status();
    assert!(status.expect("git").success());
    let servers = [
        (peers.filesystem(folder.path()), "read_text_file"),
        (
            peers.memory(&folder.path().join("memory.jsonl")),
            "create_entities",
        ),
        (peers.time(), "convert_time"),
        (peers.git(folder.path()), "git_status"),
    ];
    for (server, tool) in servers {
        let plan = Plan::stdio(server.expect("installed"), Mode::Auto);
        let seen = plan.run(Sdk::Python, &peers).await.expect("seen");
        assert!(seen.tool_names().contains(&tool), "{:?}", seen.tool_names());
    }
}

#[tokio::test]
async fn a_client_that_cannot_connect_says_why() {
    let peers = Peers::locate().expect("peers");
    let nowhere = format!(
        "http://{}/mcp",
        crate::fixtures::free_address().expect("an address")
    );
    for sdk in Sdk::ALL {
        let error = Plan::http(&nowhere, Mode::Legacy)
            .run(sdk, &peers)
            .await
            .expect_err("nobody listens");
        assert!(error.to_string().contains("error"), "{error}");
    }
}
