//! Tasks through the gate, between any two eras: with `server-everything`, which has them as 2025-11-25 does, and with
//! rmcp, which has them as an extension of 2026-07-28.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, ClientCapabilities,
    ContentBlock, CreateTaskResult, GetTaskParams, GetTaskResult, InputRequest, ListToolsResult,
    PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig, Tool,
    UpdateTaskParams,
};
use rmcp::service::RequestContext;
use rmcp::task_manager::{TaskExit, TaskManager, TaskOptions};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use store::AuditFilter;
use testkit::fixtures::{Launch, Peers};
use testkit::mcp::{call, modern_with, notification, request, response};
use testkit::world::{Exchange, Reply, Session, World, until};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const LEGACY: &str = "2025-11-25";
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// A server of theirs whose tools become tasks.
#[derive(Clone, Default)]
struct Lab {
    tasks: TaskManager,
}

impl Lab {
    fn begin(&self, name: &str) -> rmcp::model::Task {
        let name = name.to_owned();
        let options = TaskOptions::new().with_poll_interval_ms(50);
        self.tasks.spawn(options, move |task| {
            Box::pin(async move {
                match name.as_str() {
                    "quick" => Ok(said("done")),
                    "slow" => {
                        task.cancelled().await;
                        Err(TaskExit::Cancelled)
                    }
                    "confirm" => {
                        let form = json!({
                            "method": "elicitation/create",
                            "params": { "message": "Sure?", "requestedSchema": { "type": "object", "properties": {
                                "sure": { "type": "boolean" },
                            } } },
                        });
                        let form: InputRequest = serde_json::from_value(form).map_err(broken)?;
                        let answer = task.request_input("sure", form).await?;
                        Ok(said(&answer["content"]["sure"].to_string()))
                    }
                    _ => Err(ErrorData::invalid_params("no luck", None).into()),
                }
            })
        })
    }
}

fn said(text: &str) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` wants"
)]
fn broken(error: serde_json::Error) -> TaskExit {
    ErrorData::internal_error(error.to_string(), None).into()
}

impl ServerHandler for Lab {
    fn get_info(&self) -> ServerConfig {
        let can = ServerCapabilities::builder().enable_tools().enable_tasks();
        ServerConfig::new(can.build())
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(&[ProtocolVersion::V_2026_07_28])
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = Arc::new(
            json!({ "type": "object" })
                .as_object()
                .cloned()
                .unwrap_or_default(),
        );
        let tool = |name: &'static str| Tool::new(name, "a task", Arc::clone(&schema));
        let tools = ["quick", "slow", "confirm", "fail"].map(tool);
        Ok(ListToolsResult::with_all_items(tools.to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let knows_tasks = context
            .client_capabilities()
            .is_some_and(|can| can.supports_tasks());
        if !knows_tasks {
            let needed = ClientCapabilities::builder().enable_tasks().build();
            return Err(ErrorData::missing_required_client_capability(needed));
        }
        Ok(CreateTaskResult::new(self.begin(&request.name)).into())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.tasks
            .get_task(&request.task_id)
            .map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks
            .update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks.cancel_task(&request.task_id)
    }
}

/// Serves it over HTTP for as long as the set lives.
async fn serve(running: &mut JoinSet<()>, lab: &Lab) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let lab = lab.clone();
    let service = StreamableHttpService::new(
        move || Ok(lab.clone()),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    running.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            connections.spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                // How a connection ends is the other side's to judge.
                drop(
                    builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            });
        }
    });
    Ok(address)
}

const ROLES: &str = "roles.all = { members = [\"alice\", \"bob\"], allow = [\"*\"] }\n";

fn lab_config(address: SocketAddr) -> String {
    format!("builtins = []\n{ROLES}upstreams.lab = {{ url = \"http://{address}/mcp\" }}\n")
}

/// `server-everything`, whose `simulate-research-query` can only be done as a task.
fn everything() -> Result<String> {
    let Launch { argv, .. } = Peers::locate()?.everything()?;
    let argv = json!(argv);
    Ok(format!(
        "builtins = []\n{ROLES}upstreams.every = {{ stdio = {argv} }}\n"
    ))
}

/// A modern client that knows tasks and can be asked to fill in forms.
fn able() -> Value {
    json!({ "elicitation": {}, "extensions": { "io.modelcontextprotocol/tasks": {} } })
}

fn about(id: &str, method: &str, more: Value) -> Value {
    let mut params = more;
    params["taskId"] = id.into();
    request(7, method, &params)
}

fn as_task(tool: &str, arguments: &Value) -> Value {
    let mut message = call(1, tool, arguments);
    message["params"]["task"] = json!({ "ttl": 60_000 });
    message
}

async fn begun(world: &World, session: &Session, message: &Value) -> Result<String> {
    let reply = world.post_in(session, message).await?;
    let answer = reply.answer()?;
    let task = &answer["result"]["task"];
    ensure!(task["status"] == "working", "{answer}");
    ensure!(task.get("ttl").is_some(), "{answer}");
    Ok(task["taskId"].as_str().context("no id")?.to_owned())
}

async fn begun_modern(world: &World, message: &Value) -> Result<String> {
    let reply = world.post("alice", &modern_with(message, &able())).await?;
    let answer = reply.answer()?;
    ensure!(answer["result"]["resultType"] == "task", "{answer}");
    ensure!(answer["result"].get("ttlMs").is_some(), "{answer}");
    Ok(answer["result"]["taskId"]
        .as_str()
        .context("no id")?
        .to_owned())
}

async fn modern(world: &World, id: &str, method: &str, more: Value) -> Result<Value> {
    let message = modern_with(&about(id, method, more), &able());
    Ok(world.post("alice", &message).await?.answer()?.clone())
}

/// Looks until the task is that far, as a modern client does.
async fn modern_until(world: &World, id: &str, status: &str) -> Result<Value> {
    let mut last = Value::Null;
    until(&format!("the task is {status}"), async || {
        last = modern(world, id, "tasks/get", json!({})).await?;
        ensure!(last["result"]["taskId"] == id, "{last}");
        ensure!(last["result"]["resultType"] == "complete", "{last}");
        Ok(last["result"]["status"] == status)
    })
    .await?;
    Ok(last["result"].clone())
}

/// The same as a client of 2025-11-25 does.
async fn legacy_until(world: &World, session: &Session, id: &str, status: &str) -> Result<Value> {
    let mut last = Value::Null;
    until(&format!("the task is {status}"), async || {
        let reply = world
            .post_in(session, &about(id, "tasks/get", json!({})))
            .await?;
        last = reply.answer()?.clone();
        ensure!(last["result"]["taskId"] == id, "{last}");
        Ok(last["result"]["status"] == status)
    })
    .await?;
    Ok(last["result"].clone())
}

/// The result of a task, whose questions are answered with this form.
async fn result(world: &World, session: &Session, id: &str, form: &Value) -> Result<Reply> {
    let message = about(id, "tasks/result", json!({}));
    let mut stream = world.begin_in(session, &message).await?;
    if !form.is_null() {
        let question = stream.event().await?.context("no question")?;
        ensure!(question["method"] == "elicitation/create", "{question}");
        let related = &question["params"]["_meta"][RELATED]["taskId"];
        ensure!(related == id, "{question}");
        let answer =
            json!({ "action": "accept", "content": form, "_meta": { RELATED: { "taskId": id } } });
        world
            .post_in(session, &response(&question["id"], &answer))
            .await?;
    }
    world.whole(stream).await
}

fn research(ambiguous: bool) -> Value {
    json!({ "topic": "python", "ambiguous": ambiguous })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_has_a_legacy_task() -> Result<()> {
    let world = World::of(&everything()?).await?;
    world.ready("every", 0).await?;
    let session = world
        .open_with("alice", LEGACY, &json!({ "elicitation": {} }))
        .await?;
    let mut changes = world.listen_in(&session).await?;
    let message = as_task("every.simulate-research-query", &research(true));
    let id = begun(&world, &session, &message).await?;
    // To anybody else there is no such task.
    let other = world.open("bob", LEGACY).await?;
    let foreign = world
        .post_in(&other, &about(&id, "tasks/get", json!({})))
        .await?;
    assert_eq!(foreign.code()?, -32602);
    let listed = world
        .post_in(&other, &request(2, "tasks/list", &json!({})))
        .await?;
    assert_eq!(listed.answer()?["result"]["tasks"], json!([]));
    legacy_until(&world, &session, &id, "input_required").await?;
    loop {
        let told = changes.event().await?.context("the stream ended")?;
        if told["method"] == "notifications/tasks/status" {
            assert_eq!(told["params"]["taskId"], id.as_str());
            break;
        }
    }
    let form = json!({ "interpretation": "snake" });
    let reply = result(&world, &session, &id, &form).await?;
    assert!(
        reply.text()?.contains("python (snake)"),
        "{}",
        reply.text()?
    );
    assert_eq!(
        reply.answer()?["result"]["_meta"][RELATED]["taskId"],
        id.as_str()
    );
    let listed = world
        .post_in(&session, &request(3, "tasks/list", &json!({})))
        .await?;
    let tasks = &listed.answer()?["result"]["tasks"];
    assert_eq!(
        (&tasks[0]["taskId"], &tasks[0]["status"]),
        (&json!(id), &json!("completed"))
    );
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_task_is_cancelled_once() -> Result<()> {
    let world = World::of(&everything()?).await?;
    world.ready("every", 0).await?;
    let session = world.open("alice", LEGACY).await?;
    let message = as_task("every.simulate-research-query", &research(false));
    let id = begun(&world, &session, &message).await?;
    let cancel = about(&id, "tasks/cancel", json!({}));
    let reply = world.post_in(&session, &cancel).await?;
    let task = &reply.answer()?["result"];
    assert_eq!(
        (&task["taskId"], &task["status"]),
        (&json!(id), &json!("cancelled"))
    );
    assert_eq!(world.post_in(&session, &cancel).await?.code()?, -32602);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_has_a_modern_task() -> Result<()> {
    let mut running = JoinSet::new();
    let world = World::of(&lab_config(serve(&mut running, &Lab::default()).await?)).await?;
    world.ready("lab", 0).await?;
    let discover = request(0, "server/discover", &json!({}));
    let all = json!({ "io.modelcontextprotocol/tasks": {} });
    until("tasks are offered", async || {
        let found = world.post("alice", &discover).await?;
        Ok(found.answer()?["result"]["capabilities"]["extensions"] == all)
    })
    .await?;

    let id = begun_modern(&world, &call(1, "lab.quick", &json!({}))).await?;
    let task = modern_until(&world, &id, "completed").await?;
    assert_eq!(task["result"]["content"][0]["text"], "done");

    let id = begun_modern(&world, &call(1, "lab.confirm", &json!({}))).await?;
    let task = modern_until(&world, &id, "input_required").await?;
    assert_eq!(
        task["inputRequests"]["sure"]["method"],
        "elicitation/create"
    );
    let yes = json!({ "inputResponses": { "sure": { "action": "accept", "content": { "sure": true } } } });
    modern(&world, &id, "tasks/update", yes).await?;
    let task = modern_until(&world, &id, "completed").await?;
    assert_eq!(task["result"]["content"][0]["text"], "true");

    let id = begun_modern(&world, &call(1, "lab.slow", &json!({}))).await?;
    let bob = modern_with(&about(&id, "tasks/get", json!({})), &able());
    assert_eq!(world.post("bob", &bob).await?.code()?, -32602);
    modern(&world, &id, "tasks/cancel", json!({})).await?;
    modern_until(&world, &id, "cancelled").await?;
    // Its server did not hear of it before the log did.
    let begun = AuditFilter {
        method: Some("tasks/cancel".to_owned()),
        outcome: Some("pending".to_owned()),
        begun: true,
        ..AuditFilter::default()
    };
    let store = &world.gate().auth().parts().store;
    store.flush().await?;
    ensure!(store.audit_tail(9, None, &begun)?.len() == 1);

    // What a client does not know it is not given, and may not ask for.
    let plain = world
        .post("alice", &call(1, "lab.quick", &json!({})))
        .await?;
    assert_eq!((plain.status, plain.code()?), (400, -32021));
    let blind = world
        .post("alice", &about(&id, "tasks/get", json!({})))
        .await?;
    assert_eq!((blind.status, blind.code()?), (400, -32021));
    world.end().await?;
    running.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_has_a_modern_task() -> Result<()> {
    let mut running = JoinSet::new();
    let world = World::of(&lab_config(serve(&mut running, &Lab::default()).await?)).await?;
    world.ready("lab", 0).await?;
    let session = world
        .open_with("alice", LEGACY, &json!({ "elicitation": {} }))
        .await?;
    let id = begun(&world, &session, &as_task("lab.quick", &json!({}))).await?;
    legacy_until(&world, &session, &id, "completed").await?;
    let reply = result(&world, &session, &id, &Value::Null).await?;
    assert_eq!(reply.text()?, "done");
    assert_eq!(
        reply.answer()?["result"]["_meta"][RELATED]["taskId"],
        id.as_str()
    );

    let id = begun(&world, &session, &as_task("lab.confirm", &json!({}))).await?;
    let reply = result(&world, &session, &id, &json!({ "sure": true })).await?;
    assert_eq!(reply.text()?, "true");

    let id = begun(&world, &session, &as_task("lab.fail", &json!({}))).await?;
    legacy_until(&world, &session, &id, "failed").await?;
    let reply = result(&world, &session, &id, &Value::Null).await?;
    assert_eq!(reply.code()?, -32602);

    let id = begun(&world, &session, &as_task("lab.slow", &json!({}))).await?;
    let cancel = about(&id, "tasks/cancel", json!({}));
    let reply = world.post_in(&session, &cancel).await?;
    assert_eq!(reply.answer()?["result"]["status"], "cancelled");
    assert_eq!(world.post_in(&session, &cancel).await?.code()?, -32602);

    // Who wishes no task waits, whatever it speaks.
    for revision in ["2025-06-18", LEGACY] {
        let session = world.open("alice", revision).await?;
        let reply = world
            .post_in(&session, &call(1, "lab.quick", &json!({})))
            .await?;
        assert_eq!(reply.text()?, "done");
    }
    world.end().await?;
    running.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_has_a_legacy_task() -> Result<()> {
    let world = World::of(&everything()?).await?;
    world.ready("every", 0).await?;
    let message = call(1, "every.simulate-research-query", &research(true));
    let id = begun_modern(&world, &message).await?;
    let task = modern_until(&world, &id, "input_required").await?;
    let asked = task["inputRequests"].as_object().context("no questions")?;
    let (key, question) = asked.iter().next().context("no question")?;
    assert_eq!(question["method"], "elicitation/create");
    let snake = json!({ "action": "accept", "content": { "interpretation": "snake" } });
    let more = json!({ "inputResponses": { key: snake, "stray": {} } });
    modern(&world, &id, "tasks/update", more).await?;
    let task = modern_until(&world, &id, "completed").await?;
    let text = task["result"]["content"][0]["text"]
        .as_str()
        .context("no text")?;
    assert!(text.contains("python (snake)"), "{text}");

    let message = call(1, "every.simulate-research-query", &research(false));
    let id = begun_modern(&world, &message).await?;
    for _ in 0..2 {
        let reply = modern(&world, &id, "tasks/cancel", json!({})).await?;
        assert_eq!(reply["result"], json!({ "resultType": "complete" }));
    }
    modern_until(&world, &id, "cancelled").await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_is_always_a_task_can_be_called_by_who_knows_none() -> Result<()> {
    let world = World::of(&everything()?).await?;
    world.ready("every", 0).await?;
    let message = call(1, "every.simulate-research-query", &research(false));
    let session = world.open("alice", "2025-06-18").await?;
    let (modern, legacy) = tokio::join!(
        world.post("alice", &message),
        world.post_in(&session, &message)
    );
    for reply in [modern?, legacy?] {
        assert!(reply.text()?.contains("Research Report: python"));
    }
    // A client of 2025-11-25 knows tasks, and hears that this one has to be wished.
    let session = world.open("alice", LEGACY).await?;
    let reply = world.post_in(&session, &message).await?;
    assert!(reply.text()?.contains("-32601"), "{}", reply.text()?);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_nobody_waits_for_any_more_is_cancelled() -> Result<()> {
    let mut running = JoinSet::new();
    let lab = Lab::default();
    let config = lab_config(serve(&mut running, &lab).await?);
    let world = World::of(&config).await?;
    world.ready("lab", 0).await?;
    let session = world.open("alice", "2025-06-18").await?;
    let message = call("mine", "lab.slow", &json!({})).to_string();
    let bytes = world.request("POST", "alice", &session.headers(), message.as_bytes())?;
    let mut stream = Exchange::connect(world.address()).await?;
    stream.write_all(&bytes).await?;
    until("the task runs", async || {
        Ok(lab.tasks.running_task_count() == 1)
    })
    .await?;
    let cancel = notification("notifications/cancelled", &json!({ "requestId": "mine" }));
    world.post_in(&session, &cancel).await?;
    until("the task is over", async || {
        Ok(lab.tasks.running_task_count() == 0)
    })
    .await?;
    let reply = world.whole(Exchange::receive(stream).await?).await?;
    assert_eq!(reply.code()?, -31005);
    world.end().await?;
    running.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_found_again_after_a_restart_of_the_gate() -> Result<()> {
    let mut running = JoinSet::new();
    let config = lab_config(serve(&mut running, &Lab::default()).await?);
    let world = World::of(&config).await?;
    world.ready("lab", 0).await?;
    let id = begun_modern(&world, &call(1, "lab.confirm", &json!({}))).await?;
    modern_until(&world, &id, "input_required").await?;
    let world = world.restart(&config).await?;
    // Asked for at once: the gate waits for the upstream that it has to ask.
    let bob = modern_with(&about(&id, "tasks/get", json!({})), &able());
    assert_eq!(world.post("bob", &bob).await?.code()?, -32602);
    let yes = json!({ "inputResponses": { "sure": { "action": "accept", "content": { "sure": true } } } });
    modern(&world, &id, "tasks/update", yes).await?;
    let task = modern_until(&world, &id, "completed").await?;
    assert_eq!(task["result"]["content"][0]["text"], "true");
    world.end().await?;
    running.shutdown().await;
    Ok(())
}
