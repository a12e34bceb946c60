//! HTTP/1.1 on a bare socket: what is sent is what the test wrote, what is read is what the gate sent.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a test waits for bytes that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One request and what comes back. Dropping it hangs up.
#[derive(Debug)]
pub struct Exchange {
    stream: TcpStream,
    unread: Vec<u8>,
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Data of chunks or of the body as such, not yet asked for.
    data: Vec<u8>,
    /// The id of the last event that had one.
    pub last_event_id: Option<String>,
    framing: Framing,
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Length(usize),
    Chunks,
    Over,
}

impl Exchange {
    /// Sends the bytes and reads the head of the answer.
    ///
    /// # Errors
    /// If there is no connection or no answer in time.
    pub async fn send(address: SocketAddr, bytes: &[u8]) -> Result<Self> {
        let mut stream = Self::connect(address).await?;
        // The gate may answer and close before it has read everything: that is an answer too.
        drop(stream.write_all(bytes).await);
        Self::receive(stream).await
    }

    /// A connection, for tests that write to it bit by bit.
    ///
    /// # Errors
    /// If there is none.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's client on loopback, where bytes go out as written"
    )]
    pub async fn connect(address: SocketAddr) -> Result<TcpStream> {
        TcpStream::connect(address).await.context("connecting")
    }

    /// Reads the head of an answer.
    ///
    /// # Errors
    /// If there is none in time.
    pub async fn receive(stream: TcpStream) -> Result<Self> {
        let mut exchange = Self {
            stream,
            unread: Vec::new(),
            status: 0,
            headers: Vec::new(),
            data: Vec::new(),
            last_event_id: None,
            framing: Framing::Over,
        };
        let end = loop {
            if let Some(end) = find(&exchange.unread, b"\r\n\r\n") {
                break end;
            }
            ensure!(
                exchange.fill().await?,
                "the connection was closed before the head of an answer"
            );
        };
        let head = String::from_utf8(exchange.unread.drain(..end + 4).collect())?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        exchange.status = status.context("no status")?.parse()?;
        exchange.headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        exchange.framing = match (
            exchange.header("transfer-encoding"),
            exchange.header("content-length"),
        ) {
            (Some("chunked"), None) => Framing::Chunks,
            (None, Some(length)) => Framing::Length(length.parse()?),
            (None, None) => Framing::Over,
            other => bail!("no body is framed like this: {other:?}"),
        };
        Ok(exchange)
    }

    /// One header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a stream of events follows.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.header("content-type") == Some("text/event-stream")
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// If it breaks off or does not come.
    pub async fn body(&mut self) -> Result<Vec<u8>> {
        while self.more().await? {}
        Ok(std::mem::take(&mut self.data))
    }

    /// The message of the next event; `None` at the end of the stream.
    ///
    /// # Errors
    /// If the stream breaks off, nothing comes in time, or it is not JSON.
    pub async fn event(&mut self) -> Result<Option<Value>> {
        let event = self.named_event().await?;
        Ok(event
            .map(|(_, data)| serde_json::from_str(&data))
            .transpose()?)
    }

    /// The type and the data of the next event; `None` at the end of the stream.
    ///
    /// # Errors
    /// If the stream breaks off or nothing comes in time.
    pub async fn named_event(&mut self) -> Result<Option<(String, String)>> {
        loop {
            if let Some(end) = find(&self.data, b"\n\n") {
                let event = String::from_utf8(self.data.drain(..end + 2).collect())?;
                let field = |name| {
                    event
                        .lines()
                        .filter_map(move |line| line.strip_prefix(name))
                };
                if let Some(id) = field("id: ").next_back() {
                    self.last_event_id = Some(id.to_owned());
                }
                let lines: Vec<&str> = field("data: ").collect();
                // A comment keeps the stream alive and says nothing; an event without data only gives an id.
                if !lines.is_empty() {
                    let kind = field("event: ").next().unwrap_or("message");
                    return Ok(Some((kind.to_owned(), lines.join("\n"))));
                }
                continue;
            }
            if !self.more().await? {
                ensure!(self.data.is_empty(), "the stream ended within an event");
                return Ok(None);
            }
        }
    }

    /// Reads some more of the body; `false` at its end.
    async fn more(&mut self) -> Result<bool> {
        match self.framing {
            Framing::Over => return Ok(false),
            Framing::Length(left) => {
                if left == 0 {
                    self.framing = Framing::Over;
                    return Ok(false);
                }
                if self.unread.is_empty() {
                    ensure!(self.fill().await?, "the body broke off");
                }
                let taken = left.min(self.unread.len());
                self.data.extend(self.unread.drain(..taken));
                self.framing = Framing::Length(left - taken);
            }
            Framing::Chunks => {
                let line = self.until(b"\r\n").await?;
                let size = usize::from_str_radix(std::str::from_utf8(&line)?.trim(), 16)?;
                while self.unread.len() < size + 2 {
                    ensure!(self.fill().await?, "the body broke off");
                }
                self.data.extend(self.unread.drain(..size));
                self.unread.drain(..2);
                if size == 0 {
                    self.framing = Framing::Over;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.unread, mark) {
                let mut line: Vec<u8> = self.unread.drain(..at + mark.len()).collect();
                line.truncate(at);
                return Ok(line);
            }
            ensure!(self.fill().await?, "the body broke off");
        }
    }

    async fn fill(&mut self) -> Result<bool> {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.unread));
        Ok(read.await.context("no answer in time")?? > 0)
    }
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}
