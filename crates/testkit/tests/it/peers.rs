//! rmcp, another team's implementation, on both sides of the gate, in both eras.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use auth::{Peer as From, Presented};
use gateway::Pipe;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CallToolRequestParams, ProgressNotificationParam, ProtocolVersion, RequestMetaObject,
    ServerCapabilities, ServerConfig,
};
use rmcp::schemars::{self, JsonSchema};
use rmcp::service::RunningService;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{
    ClientLifecycleMode, ClientServiceExt as _, Peer, RoleClient, RoleServer, ServerHandler, tool,
    tool_handler, tool_router,
};
use serde::Deserialize;
use serde_json::json;
use testkit::mcp::{call, call_with_progress};
use testkit::world::World;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A server of theirs.
#[derive(Debug, Clone)]
struct Theirs {
    versions: &'static [ProtocolVersion],
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Sum {
    a: i64,
    b: i64,
}

#[tool_router]
impl Theirs {
    #[tool(description = "Adds two numbers")]
    fn sum(&self, Parameters(Sum { a, b }): Parameters<Sum>) -> String {
        (a + b).to_string()
    }

    #[tool(description = "Tells of three steps")]
    async fn steps(
        &self,
        meta: RequestMetaObject,
        client: Peer<RoleServer>,
    ) -> Result<String, rmcp::ErrorData> {
        let token = meta
            .get_progress_token()
            .ok_or_else(|| rmcp::ErrorData::invalid_params("no token", None))?;
        for step in [1.0, 2.0, 3.0] {
            client
                .notify_progress(ProgressNotificationParam::new(token.clone(), step))
                .await
                .map_err(|error| rmcp::ErrorData::internal_error(error.to_string(), None))?;
        }
        Ok("done".to_owned())
    }
}

#[tool_handler]
impl ServerHandler for Theirs {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(self.versions)
    }
}

/// Serves it over HTTP for as long as the set lives.
async fn serve(
    tasks: &mut JoinSet<()>,
    versions: &'static [ProtocolVersion],
) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let service = StreamableHttpService::new(
        move || Ok(Theirs { versions }),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    tasks.spawn(async move {
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

#[tokio::test(flavor = "multi_thread")]
async fn their_server_stands_behind_the_gate_in_both_eras() -> Result<()> {
    const MODERN: &[ProtocolVersion] = &[ProtocolVersion::V_2026_07_28];
    const LEGACY: &[ProtocolVersion] = &[ProtocolVersion::V_2025_06_18];
    let mut tasks = JoinSet::new();
    let new = serve(&mut tasks, MODERN).await?;
    let old = serve(&mut tasks, LEGACY).await?;
    let world = World::of(&format!(
        "builtins = []\nupstreams.new = {{ url = \"http://{new}/mcp\" }}\nupstreams.old = {{ url = \"http://{old}/mcp\" }}\n"
    ))
    .await?;
    let session = world.open("local", "2025-03-26").await?;
    for (upstream, revision) in [("new", "2026-07-28"), ("old", "2025-06-18")] {
        let sum = call(1, &format!("{upstream}.sum"), &json!({ "a": 2, "b": 40 }));
        for reply in [
            world.post("local", &sum).await?,
            world.post_in(&session, &sum).await?,
        ] {
            assert_eq!(reply.text()?, "42", "{upstream}");
        }
        let steps = call_with_progress(2, &format!("{upstream}.steps"), &json!({}), "mine");
        let reply = world.post("local", &steps).await?;
        let told: Vec<_> = reply
            .messages
            .iter()
            .filter(|message| message["params"]["progressToken"] == "mine")
            .collect();
        assert_eq!(told.len(), 3, "{upstream}: {:?}", reply.messages);
        assert_eq!(reply.text()?, "done");
        assert_eq!(world.upstream(upstream)?["revision"], revision);
    }
    world.end().await?;
    tasks.shutdown().await;
    Ok(())
}

/// What was said on a pipe, by the client and by the gate.
type Said = Arc<Mutex<[Vec<Vec<u8>>; 2]>>;

/// A client of theirs on a pipe to the gate.
async fn client(
    world: &World,
    tasks: &mut JoinSet<()>,
    mode: ClientLifecycleMode,
    said: &Said,
) -> Result<RunningService<RoleClient, ()>> {
    let presented = Presented::nothing(From::Stdio);
    let gate = Arc::clone(world.gate());
    let principal = gate.authenticate(&presented).await?;
    let (sender, mut out) = mpsc::channel(64);
    let pipe = Pipe::new(gate, principal, "stdio", sender);
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (read, mut write) = tokio::io::split(ours);
    let (sent, came) = (Arc::clone(said), Arc::clone(said));
    tasks.spawn(async move {
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            sent.lock()[0].push(line.clone().into());
            pipe.take(line.into()).await;
        }
        pipe.finish(Duration::ZERO).await;
    });
    tasks.spawn(async move {
        while let Some(message) = out.recv().await {
            came.lock()[1].push(message.to_vec());
            let line = [message.as_ref(), b"\n"].concat();
            if write.write_all(&line).await.is_err() {
                return;
            }
        }
    });
    Ok(().serve_with_lifecycle(theirs, mode).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn their_client_uses_the_gate_in_both_eras() -> Result<()> {
    let world = World::of(
        "builtins = [\"time\"]\ncatalog.page_size = 1\nupstreams.s = { stdio = [\"{scripted}\"] }\n",
    )
    .await?;
    let modes = [
        ClientLifecycleMode::Initialize,
        ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        },
    ];
    for mode in modes {
        let mut tasks = JoinSet::new();
        let said = Said::default();
        let client = client(&world, &mut tasks, mode.clone(), &said).await?;
        let tools = client.list_all_tools().await?;
        assert_eq!(tools.len(), 28, "{mode:?}");
        let arguments = json!({ "text": "hello" }).as_object().cloned();
        let result = client
            .call_tool(
                CallToolRequestParams::new("s.echo")
                    .with_arguments(arguments.context("an object")?),
            )
            .await?;
        let told = serde_json::to_value(&result)?;
        assert_eq!(told["content"][0]["text"], "hello", "{mode:?}: {told}");
        let refused = client
            .call_tool(CallToolRequestParams::new("s.nothing"))
            .await
            .expect_err("there is no such tool");
        assert!(refused.to_string().contains("Unknown tool"), "{refused}");
        client.cancel().await?;
        tasks.join_all().await;
        let [sent, came] = std::mem::take(&mut *said.lock());
        world.overheard(&sent, &came)?;
    }
    let records = world.records().await?;
    assert!(
        records
            .iter()
            .all(|record| record.row.client.starts_with("rmcp/")),
        "{:?}",
        records.first()
    );
    world.owe(records.len());
    world.end().await
}
