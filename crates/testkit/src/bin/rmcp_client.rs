//! Drives an MCP server with rmcp and prints what it saw as one JSON object. Usage and output: see `py_client.py`.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::future::ready;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use rmcp::model::{
    CallToolRequestParams, ClientRequest, ProgressNotificationParam, ProgressToken,
    ProtocolVersion, ReadResourceRequestParams, Request,
};
use rmcp::service::{NotificationContext, PeerRequestOptions, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt as _, RoleClient};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

#[derive(Deserialize)]
struct Plan {
    #[serde(default)]
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    transport: String,
    #[serde(default)]
    stdio: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    mode: String,
    steps: Vec<Value>,
    seconds: u64,
}

/// Counts the progress that it is told of.
struct Listener {
    told: watch::Sender<HashMap<ProgressToken, usize>>,
}

impl ClientHandler for Listener {
    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.told
            .send_modify(|told| *told.entry(params.progress_token).or_default() += 1);
    }
}

type Client = RunningService<RoleClient, Listener>;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "what was seen is its output")]
async fn main() -> ExitCode {
    let seen = Box::pin(run()).await;
    let code = ExitCode::from(u8::from(seen.is_err()));
    let seen = seen.unwrap_or_else(|error| json!({ "error": { "message": format!("{error:#}") } }));
    println!("{seen}");
    code
}

async fn run() -> Result<Value> {
    let plan = env::args().nth(1).context("no plan")?;
    let plan: Plan = serde_json::from_str(&plan)?;
    let (client, child) = Box::pin(connect(&plan)).await?;
    let info = client.peer_info().context("no handshake")?;
    let declared = serde_json::to_value(&info.capabilities)?;
    let (has_prompts, has_resources) = (
        declared.get("prompts").is_some(),
        declared.get("resources").is_some(),
    );
    let tools = client.list_all_tools().await?;
    let prompts = if has_prompts {
        client.list_all_prompts().await?
    } else {
        Vec::new()
    };
    let (resources, templates) = if has_resources {
        (
            client.list_all_resources().await?,
            client.list_all_resource_templates().await?,
        )
    } else {
        (Vec::new(), Vec::new())
    };
    let mut steps = Vec::new();
    for step in &plan.steps {
        steps.push(take(&client, step, Duration::from_secs(plan.seconds)).await?);
    }
    let seen = json!({
        "revision": info.protocol_version, "server": info.server_info, "capabilities": declared,
        "instructions": info.instructions, "tools": tools, "prompts": prompts,
        "resources": resources, "templates": templates, "steps": steps,
    });
    client.cancel().await?;
    if let Some(mut child) = child {
        // Its stdin is closed.
        child.wait().await?;
    }
    Ok(seen)
}

/// Opens as the plan says: `legacy`, `auto`, or the modern revision and no other. A child ends with its guard.
async fn connect(plan: &Plan) -> Result<(Client, Option<Child>)> {
    let modern = vec![ProtocolVersion::V_2026_07_28];
    let mode = match plan.mode.as_str() {
        "legacy" => ClientLifecycleMode::Initialize,
        "auto" => ClientLifecycleMode::Auto {
            preferred_versions: modern,
            legacy_version: None,
        },
        _ => ClientLifecycleMode::Discover {
            preferred_versions: modern,
        },
    };
    let listener = Listener {
        told: watch::Sender::default(),
    };
    if let [program, arguments @ ..] = plan.stdio.as_slice() {
        let mut command = Command::new(program);
        command.args(arguments).envs(&plan.env).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let pipe = child.stdout.take().zip(child.stdin.take());
        let client = listener.serve_with_lifecycle(pipe.context("no pipe")?, mode);
        return Ok((client.await?, Some(child)));
    }
    let bearer = plan.headers.get("Authorization");
    match plan.transport.as_str() {
        "http" => {
            let mut config = StreamableHttpClientTransportConfig::with_uri(plan.url.as_str());
            if let Some(token) = bearer.and_then(|value| value.strip_prefix("Bearer ")) {
                config = config.auth_header(token);
            }
            let transport = StreamableHttpClientTransport::from_config(config);
            Ok((listener.serve_with_lifecycle(transport, mode).await?, None))
        }
        "websocket" => {
            let mut asked = plan.url.as_str().into_client_request()?;
            let headers = asked.headers_mut();
            headers.insert("sec-websocket-protocol", "mcp".parse()?);
            if let Some(bearer) = bearer {
                headers.insert("authorization", bearer.parse()?);
            }
            let address = asked.uri().authority().context("no address")?.as_str();
            #[expect(
                clippy::disallowed_methods,
                reason = "a test's client of its own loopback gate"
            )]
            let stream = TcpStream::connect(address.to_owned()).await?;
            let (sink, stream) = client_async(asked, stream).await?.0.split();
            let sink = sink.with(|message| {
                let text = serde_json::to_string(&message).map_err(|error| Error::Io(error.into()));
                ready(text.map(Message::from))
            });
            let stream = stream.filter_map(|message| {
                let text = message.ok().and_then(|message| message.into_text().ok());
                ready(text.and_then(|text| serde_json::from_str(&text).ok()))
            });
            let client = listener.serve_with_lifecycle((sink, stream), mode);
            Ok((client.await?, None))
        }
        other => bail!("rmcp has no transport `{other}`"),
    }
}

/// One step of the plan; its failure is what the test wants to see.
async fn take(client: &Client, step: &Value, patience: Duration) -> Result<Value> {
    let text = |key: &str| step[key].as_str().map(str::to_owned);
    if let Some(name) = text("call") {
        return call(client, name, &step["arguments"], patience, false).await;
    }
    if let Some(name) = text("cancel") {
        return call(client, name, &step["arguments"], patience, true).await;
    }
    let result = if text("prompt").is_some() {
        let params = json!({ "name": step["prompt"], "arguments": step["arguments"] });
        let result = client.get_prompt(serde_json::from_value(params)?).await;
        result.map(serde_json::to_value)
    } else if let Some(uri) = text("read") {
        let result = client
            .read_resource(ReadResourceRequestParams::new(uri))
            .await;
        result.map(serde_json::to_value)
    } else if step.get("complete").is_some() {
        let params = serde_json::from_value(step["complete"].clone())?;
        client.complete(params).await.map(serde_json::to_value)
    } else {
        bail!("no such step: {step}");
    };
    Ok(match result {
        Ok(result) => json!({ "result": result?, "progress": 0 }),
        Err(error) => json!({ "error": fault(&error), "progress": 0 }),
    })
}

async fn call(
    client: &Client,
    name: String,
    arguments: &Value,
    patience: Duration,
    give_up: bool,
) -> Result<Value> {
    let mut params = CallToolRequestParams::new(name);
    if let Some(arguments) = arguments.as_object() {
        params = params.with_arguments(arguments.clone());
    }
    let request = ClientRequest::CallToolRequest(Request::new(params));
    let mut options = PeerRequestOptions::no_options();
    options.timeout = Some(patience);
    let handle = client.send_cancellable_request(request, options).await?;
    let token = handle.progress_token.clone();
    let mut told = client.service().told.subscribe();
    let count = |told: &HashMap<_, _>| told.get(&token).copied().unwrap_or(0);
    if give_up {
        tokio::time::timeout(patience, told.wait_for(|told| count(told) > 0)).await??;
        handle.cancel(Some("as planned".to_owned())).await?;
        return Ok(json!({ "cancelled": true, "progress": count(&told.borrow()) }));
    }
    let result = handle.await_response().await;
    let progress = count(&told.borrow_and_update());
    Ok(match result {
        Ok(result) => json!({ "result": result, "progress": progress }),
        Err(error) => json!({ "error": fault(&error), "progress": progress }),
    })
}

fn fault(error: &ServiceError) -> Value {
    match error {
        ServiceError::McpError(error) => json!(error),
        other => json!({ "message": other.to_string() }),
    }
}
