//! A TLS client whose versions, protocols and certificate the test chooses, and which sees what the server shows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use testkit::certificates::Holder;
use testkit::mcp::{headers, modern};
use testkit::world::Exchange;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const SOON: Duration = Duration::from_secs(20);

pub(super) const V1_2: &[&SupportedProtocolVersion] = &[&version::TLS12];
pub(super) const V1_3: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// What a client trusts, offers and shows.
pub(super) struct Client {
    authorities: String,
    holder: Option<Holder>,
    config: ClientConfig,
}

/// A connection after its handshake.
pub(super) struct Session {
    stream: TlsStream<TcpStream>,
    unread: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(found, _)| found == name)?;
        Some(value)
    }
}

/// A message of the modern revision as HTTP.
pub(super) fn post(message: &Value, host: &str) -> String {
    let message = modern(message.clone());
    let body = message.to_string();
    let mut head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers(&message) {
        head.push_str(&[name, ": ", &value, "\r\n"].concat());
    }
    [&head, "\r\n", &body].concat()
}

fn config(
    authorities: &str,
    holder: Option<&Holder>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authorities.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_root_certificates(roots);
    Ok(match holder {
        Some(holder) => {
            let chain = vec![CertificateDer::from_pem_slice(holder.chain.as_bytes())?];
            let key = PrivateKeyDer::from_pem_slice(holder.key.as_bytes())?;
            builder.with_client_auth_cert(chain, key)?
        }
        None => builder.with_no_client_auth(),
    })
}

impl Client {
    pub(super) fn new(authorities: &str, holder: Option<&Holder>) -> Result<Self> {
        Ok(Self {
            authorities: authorities.to_owned(),
            holder: holder.cloned(),
            config: config(authorities, holder, rustls::ALL_VERSIONS)?,
        })
    }

    pub(super) fn speaking(
        mut self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self> {
        self.config = config(&self.authorities, self.holder.as_ref(), versions)?;
        Ok(self)
    }

    pub(super) fn offering(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        self
    }

    pub(super) async fn connect(&self, address: SocketAddr) -> Result<Session> {
        let tcp = Exchange::connect(address).await?;
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        let name = ServerName::try_from("localhost")?;
        let stream = timeout(SOON, connector.connect(name, tcp)).await??;
        Ok(Session {
            stream,
            unread: Vec::new(),
        })
    }

    /// The status of an answer over HTTP/2.
    pub(super) async fn get_http2(&self, address: SocketAddr, path: &str) -> Result<u16> {
        let io = TokioIo::new(self.connect(address).await?.stream);
        let executor = TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await?;
        let request = hyper::Request::get(format!("https://localhost{path}")).body(String::new())?;
        let answer = async {
            let response = timeout(SOON, sender.send_request(request)).await??;
            anyhow::Ok(response.status().as_u16())
        };
        tokio::select! {
            answer = answer => answer,
            ended = connection => anyhow::bail!("the connection ended: {ended:?}"),
        }
    }
}

impl Session {
    pub(super) fn protocol(&self) -> Option<&str> {
        str::from_utf8(self.stream.get_ref().1.alpn_protocol()?).ok()
    }

    pub(super) fn server_certificate(&self) -> Result<Vec<u8>> {
        let shown = self.stream.get_ref().1.peer_certificates();
        let first = shown.and_then(<[_]>::first).context("no certificate")?;
        Ok(first.to_vec())
    }

    pub(super) async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let mut head = format!("GET {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head.push_str("host: localhost\r\n");
        }
        for (name, value) in headers {
            head.push_str(&[name, ": ", value, "\r\n"].concat());
        }
        self.exchange(&[&head, "\r\n"].concat()).await
    }

    pub(super) async fn post(&mut self, message: &Value) -> Result<(u16, Value)> {
        let answer = self.exchange(&post(message, "localhost")).await?;
        Ok((answer.status, serde_json::from_slice(&answer.body)?))
    }

    /// Upgrades to a WebSocket and leaves it open.
    pub(super) async fn open_websocket(&mut self) -> Result<()> {
        let upgrade = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "mcp"),
        ];
        let answer = self.get("/ws", &upgrade).await?;
        ensure!(answer.status == 101, "{answer:?}");
        Ok(())
    }

    /// Waits until the server hangs up, whatever it says before.
    pub(super) async fn is_cut(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        // Cut off is also ended, with or without a goodbye.
        drop(timeout(SOON, self.stream.read_to_end(&mut rest)).await?);
        Ok(())
    }

    async fn exchange(&mut self, request: &str) -> Result<Answer> {
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        let end = loop {
            let mut windows = self.unread.windows(4);
            if let Some(end) = windows.position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.fill().await?;
        };
        let head = String::from_utf8(self.unread.drain(..end).collect())?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.context("no status")?.parse()?;
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .map_or(Ok(0), |(_, value)| value.parse())?;
        while self.unread.len() < length {
            self.fill().await?;
        }
        let body = self.unread.drain(..length).collect();
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    async fn fill(&mut self) -> Result<()> {
        let count = timeout(SOON, self.stream.read_buf(&mut self.unread)).await??;
        ensure!(count > 0, "the connection was closed");
        Ok(())
    }
}
