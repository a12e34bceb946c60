//! Syslog: messages as RFC 5424 has them, one after another with their length in front (RFC 6587, section 3.4.1; RFC
//! 5425, section 4.3), over TCP or TLS.
//!
//! Syslog acknowledges nothing. A batch counts as taken once all of it was written and the connection was still there a
//! moment later; what a receiver loses after that, it loses.

use std::fmt::Write as _;
use std::time::Duration;

use store::{AuditRow, Outcome, Recorded};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::format::{IN_STRING, Source, summary, timestamp};
use super::{SinkError, SyslogSettings};

/// Log audit (RFC 5424, section 6.2.1).
const FACILITY: u8 = 13;
/// Under which name structured data stands: 32473 is the number that RFC 5612 has for examples.
const SD_ID: &str = "portcullis@32473";
/// Longest host name and message id (RFC 5424, section 6).
const HOST_CHARS_MAX: usize = 255;
const MESSAGE_ID_CHARS_MAX: usize = 32;
/// How long a connection has to stay after a batch, so that a receiver that is gone is noticed.
const SETTLE: Duration = Duration::from_millis(100);
/// Where UTF-8 begins in a message that is not ASCII alone (RFC 5424, section 6.4).
const BOM: &str = "\u{feff}";

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// A receiver, connected or not.
pub(super) struct Syslog {
    settings: SyslogSettings,
    client: net::Client,
    stream: Option<Box<dyn Stream>>,
}

impl Syslog {
    pub(super) fn new(settings: SyslogSettings, client: &net::Client) -> Self {
        Self {
            client: match &settings.tls {
                Some(tls) => client.with_tls(tls.clone()),
                None => client.clone(),
            },
            settings,
            stream: None,
        }
    }

    /// Sends a batch. Dropped or failed, the connection is not used again: half a message may have left.
    pub(super) async fn send(
        &mut self,
        records: &[Recorded],
        source: &Source,
    ) -> Result<(), SinkError> {
        let mut batch = Vec::new();
        for record in records {
            let message = message(record, source, self.settings.format);
            batch.extend_from_slice(message.len().to_string().as_bytes());
            batch.push(b' ');
            batch.extend_from_slice(message.as_bytes());
        }
        let mut stream = match self.open().await {
            Some(stream) => stream,
            None => Box::new(self.client.connect(&self.settings.service).await?),
        };
        stream.write_all(&batch).await?;
        stream.flush().await?;
        stays(&mut stream, SETTLE).await?;
        self.stream = Some(stream);
        Ok(())
    }

    /// The connection of the last batch, if the receiver has not closed it since.
    async fn open(&mut self) -> Option<Box<dyn Stream>> {
        let mut stream = self.stream.take()?;
        let stays = stays(&mut stream, Duration::ZERO).await;
        stays.is_ok().then_some(stream)
    }
}

/// Whether the receiver leaves the connection open for so long. What it says is not for us.
async fn stays(stream: &mut Box<dyn Stream>, long: Duration) -> Result<(), SinkError> {
    let heard = async {
        let mut bytes = [0; 256];
        while stream.read(&mut bytes).await? > 0 {}
        Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
    };
    timeout(long, heard).await.unwrap_or(Ok(()))
}

/// A message of RFC 5424, without its length.
fn message(
    Recorded { seq, row }: &Recorded,
    source: &Source,
    format: Option<super::Format>,
) -> String {
    let header = format!(
        "<{}>1 {:.6} {} portcullis {} {}",
        FACILITY * 8 + severity(row.outcome),
        timestamp(row.at_us),
        field(source.host.as_deref().unwrap_or_default(), HOST_CHARS_MAX),
        std::process::id(),
        field(&row.method, MESSAGE_ID_CHARS_MAX),
    );
    match format {
        None => {
            let text = summary(row);
            let mark = if text.is_ascii() { "" } else { BOM };
            format!("{header} {} {mark}{text}", structured(*seq, row))
        }
        Some(format) => {
            let record = Recorded {
                seq: *seq,
                row: row.clone(),
            };
            format!(
                "{header} - {}",
                ascii(&format.value(&record, source).to_string())
            )
        }
    }
}

/// RFC 5424, section 6.2.1.
fn severity(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Ok | Outcome::Pending => 6,
        Outcome::ToolError | Outcome::Cancelled => 5,
        Outcome::Refused => 4,
        Outcome::Failed | Outcome::Unknown => 3,
    }
}

/// A word of the header: printable ASCII without spaces, or `-` for none.
fn field(text: &str, chars_max: usize) -> String {
    let word: String = text
        .chars()
        .map(|char| if char.is_ascii_graphic() { char } else { '_' })
        .take(chars_max)
        .collect();
    if word.is_empty() {
        "-".to_owned()
    } else {
        word
    }
}

/// The row as one element of structured data.
fn structured(seq: i64, row: &AuditRow) -> String {
    let numbers = [
        ("seq", Some(seq.to_string())),
        ("code", row.code.map(|code| code.to_string())),
        ("duration_us", Some(row.duration_us.to_string())),
        ("bytes_in", Some(row.bytes_in.to_string())),
        ("bytes_out", Some(row.bytes_out.to_string())),
    ];
    let texts = [
        ("call_id", Some(row.call_id.as_str())),
        ("principal", Some(&row.principal)),
        ("credential", Some(&row.credential)),
        ("client", Some(&row.client)),
        ("transport", Some(&*row.transport)),
        ("revision", Some(&*row.revision)),
        ("method", Some(&*row.method)),
        ("upstream", row.upstream.as_deref()),
        ("entry", row.entry.as_deref()),
        ("arguments_digest", row.arguments_digest.as_deref()),
        ("decision", Some(&*row.decision)),
        ("rule", row.rule.as_deref()),
        ("server", row.server.as_deref()),
        ("definition", row.definition.as_deref()),
        ("consent", row.consent.as_deref()),
        ("screened", row.screened.as_deref()),
        ("trace_id", row.trace_id.as_deref()),
        ("arguments", row.arguments.as_deref()),
        ("address", row.address.as_deref()),
        ("actor", row.actor.as_deref()),
        ("subject", row.subject.as_deref()),
        ("outcome", Some(row.outcome.as_str())),
        ("reason", row.reason.as_deref()),
    ];
    let mut element = format!("[{SD_ID}");
    let numbers = numbers.iter().map(|(name, text)| (*name, text.as_deref()));
    for (name, text) in numbers.chain(texts) {
        if let Some(text) = text {
            write!(element, " {name}=\"{}\"", param(text)).expect(IN_STRING);
        }
    }
    element.push(']');
    element
}

/// A value of structured data (RFC 5424, section 6.3.3). Control characters become `#` and three octal digits, as section
/// 6.2 lets a sender do: no receiver can be made to see a line where there is none.
fn param(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' | '\\' | ']' => {
                value.push('\\');
                value.push(char);
            }
            char if char.is_control() => {
                let mut bytes = [0; 4];
                for byte in char.encode_utf8(&mut bytes).bytes() {
                    write!(value, "#{byte:03o}").expect(IN_STRING);
                }
            }
            char => value.push(char),
        }
    }
    value
}

/// JSON with what is not ASCII escaped, so that it needs no mark in front which would make it no JSON.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        if char.is_ascii() {
            text.push(char);
        } else {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                write!(text, "\\u{unit:04x}").expect(IN_STRING);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
