//! What the config says about one upstream, checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use policy::UpstreamId;
use url::Url;

use crate::{Credential, Provider, native};

/// One upstream as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its alias.
    pub id: UpstreamId,
    /// How it is reached.
    pub kind: Kind,
    /// How long one call may take.
    pub timeout: Duration,
    /// How long starting, connecting and the handshake may take.
    pub timeout_connect: Duration,
    /// Who shares a conversation with a legacy server.
    pub sharing: Sharing,
    /// Methods of extensions that go to it.
    pub methods: Vec<String>,
}

/// Who shares a conversation (a session, a process) with a legacy server, which learns once, in the handshake, what its
/// client can do. A modern server learns it with each request and needs no conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody: one process, one state. What the server asks goes to the client of the newest open call that can
    /// answer, and to nobody while calls of several principals are open. Roots are not offered: they would be one
    /// client's word for all.
    Shared,
    /// Clients of one principal that can do the same: what the server asks is meant for them.
    PerClient,
}

/// How an upstream is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A child process that speaks MCP on its stdin and stdout.
    Stdio(Stdio),
    /// A server at a URL.
    Http(Http),
    /// A tool pack in this binary.
    Native(native::Spec),
    /// A server in this process.
    Provider(Arc<dyn Provider>),
}

/// A child process. Never a shell: the program and its arguments, as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Stdio {
    /// The program, by path or by a name looked up in `PATH`.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables added to the scrubbed environment that a child gets.
    pub env: BTreeMap<String, String>,
    /// The folder it starts in.
    pub cwd: Option<PathBuf>,
}

/// An MCP endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct Http {
    /// The endpoint.
    pub url: Url,
    /// Headers sent with every request, credentials among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whose credential it is shown beside them, if one is obtained.
    pub credential: Credential,
    /// What carries messages to it.
    pub transport: Transport,
    /// How its certificate is judged and which one it is shown, if not as everybody's.
    pub tls: Option<net::Tls>,
}

/// What carries messages to a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP; HTTP+SSE if the server refuses the handshake as servers of the first revision do.
    Http,
    /// HTTP+SSE, the transport of revision 2024-11-05.
    Sse,
    /// A WebSocket.
    WebSocket,
}

// Values may be secrets; only the names are shown.
impl std::fmt::Debug for Stdio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stdio")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("cwd", &self.cwd)
            .finish()
    }
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http")
            .field("url", &self.url.as_str())
            .field("transport", &self.transport)
            .field("credential", &self.credential)
            .field(
                "headers",
                &self
                    .headers
                    .iter()
                    .map(|(name, _)| name)
                    .collect::<Vec<_>>(),
            )
            .finish()
    }
}
