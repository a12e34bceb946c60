//! Serves a fixture made with rmcp: tools, a prompt and a resource, in the eras that it is told.
//!
//! `rmcp_server http|ws ADDRESS REVISION` (Streamable HTTP at `/mcp`, or WebSockets), or `rmcp_server stdio REVISION`.
//! The resource has the revision in its URI, so that fixtures behind one gate differ.

use std::borrow::Cow;
use std::env;
use std::future::{pending, ready};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CallToolResult, ContentBlock, GetPromptRequestParams, GetPromptResponse, GetPromptResult,
    ListPromptsResult, ListResourcesResult, PaginatedRequestParams, ProgressNotificationParam,
    Prompt, PromptMessage, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
    ReadResourceResult, RequestMetaObject, Resource, ResourceContents, Role, ServerCapabilities,
    ServerConfig,
};
use rmcp::schemars::{self, JsonSchema};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{
    ErrorData, Peer, RoleServer, ServerHandler, ServiceExt as _, tool, tool_handler, tool_router,
};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Between steps, so that no client finds them all in one chunk with the result.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
struct Fixture {
    revision: ProtocolVersion,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Sum {
    a: i64,
    b: i64,
}

#[tool_router]
impl Fixture {
    #[tool(description = "Adds two numbers")]
    fn sum(&self, Parameters(Sum { a, b }): Parameters<Sum>) -> String {
        (a + b).to_string()
    }

    #[tool(description = "Tells of three steps")]
    async fn steps(
        &self,
        meta: RequestMetaObject,
        client: Peer<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        for step in [1.0, 2.0, 3.0] {
            tell(&meta, &client, step).await?;
            sleep(PAUSE).await;
        }
        Ok(CallToolResult::success(vec![ContentBlock::text("done")]))
    }

    #[tool(description = "Tells of progress once, and then never ends")]
    async fn wait(
        &self,
        meta: RequestMetaObject,
        client: Peer<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        tell(&meta, &client, 1.0).await?;
        pending().await
    }
}

async fn tell(
    meta: &RequestMetaObject,
    client: &Peer<RoleServer>,
    step: f64,
) -> Result<(), ErrorData> {
    let token = meta
        .get_progress_token()
        .ok_or_else(|| ErrorData::invalid_params("no token", None))?;
    client
        .notify_progress(ProgressNotificationParam::new(token, step))
        .await
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

#[tool_handler]
impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_prompts()
            .enable_resources();
        ServerConfig::new(capabilities.build())
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Owned(vec![self.revision.clone()])
    }

    async fn list_prompts(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let prompt = Prompt::new("greet", Some("Greets"), None);
        Ok(ListPromptsResult::with_all_items(vec![prompt]))
    }

    async fn get_prompt(
        &self,
        _asked: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let message = PromptMessage::new_text(Role::User, "hello");
        Ok(GetPromptResult::new(vec![message]).into())
    }

    async fn list_resources(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resource = Resource::new(format!("note://rmcp/{}", self.revision), "note");
        Ok(ListResourcesResult::with_all_items(vec![resource]))
    }

    async fn read_resource(
        &self,
        asked: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let contents = ResourceContents::text("noted", asked.uri);
        Ok(ReadResourceResult::new(vec![contents]).into())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let fixture = |revision: &str| -> Result<Fixture> {
        let known = ProtocolVersion::KNOWN_VERSIONS.iter();
        let revision = known
            .clone()
            .find(|version| version.as_str() == revision)
            .with_context(|| format!("rmcp knows no revision {revision}"))?;
        Ok(Fixture {
            revision: revision.clone(),
        })
    };
    match words.as_slice() {
        ["stdio", revision] => {
            let pipe = (tokio::io::stdin(), tokio::io::stdout());
            let serving = Box::pin(fixture(revision)?.serve(pipe));
            serving.await?.waiting().await?;
            Ok(())
        }
        ["http", address, revision] => http(address, fixture(revision)?).await,
        ["ws", address, revision] => sockets(address, &fixture(revision)?).await,
        _ => bail!("rmcp_server http|ws ADDRESS REVISION, or rmcp_server stdio REVISION"),
    }
}

/// Until it is killed. How a connection ends is the other side's to judge.
async fn http(address: &str, fixture: Fixture) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    let service = StreamableHttpService::new(
        move || Ok(fixture.clone()),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        connections.spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            drop(
                builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

async fn sockets(address: &str, fixture: &Fixture) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let fixture = fixture.clone();
        connections.spawn(async move { drop(socket(stream, fixture).await) });
    }
}

async fn socket(stream: TcpStream, fixture: Fixture) -> Result<()> {
    #[expect(clippy::result_large_err, reason = "tungstenite's callback")]
    let choose = |_: &Request, mut response: Response| {
        let protocol = HeaderValue::from_static("mcp");
        response
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    let (sink, stream) = accept_hdr_async(stream, choose).await?.split();
    let sink = sink.with(|message| {
        let text = serde_json::to_string(&message).map_err(|error| Error::Io(error.into()));
        ready(text.map(Message::from))
    });
    let stream = stream.filter_map(|message| {
        let text = message.ok().and_then(|message| message.into_text().ok());
        ready(text.and_then(|text| serde_json::from_str(&text).ok()))
    });
    let serving = Box::pin(fixture.serve((sink, stream)));
    serving.await?.waiting().await?;
    Ok(())
}
