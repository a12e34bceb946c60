//! Where the audit log is sent on to: files, syslog, Splunk, Elastic, OpenTelemetry, or any server that takes JSON lines.
//!
//! A sink reads the log as it stands in the database, from where its receiver was, and moves on once the receiver has
//! said that it has a batch. So nothing of this is on the way of a call, a receiver that is away costs nothing but its
//! lag, and after a start it goes on where it was: what was under way is sent again, what names a record stays the same.
//! Which sinks there are is the config's; running them beside the calls is `server`'s. Start at [`Sink`].

mod error;
mod file;
mod format;
mod http;
mod otlp;
mod run;
mod syslog;

use std::path::PathBuf;
use std::time::Duration;

use ::http::HeaderMap;
use net::Service;
use store::SinkStart;
use url::Url;

pub use error::SinkError;
pub use format::{Format, Source, native};
pub use run::{Around, Sink};

/// How one sink is set up.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkSettings {
    /// Its name in the config, in metrics and in the database.
    pub name: String,
    /// Where to, and how.
    pub kind: SinkKind,
    /// Most records that are sent at once.
    pub batch: u32,
    /// Where it begins when it is new.
    pub start: SinkStart,
    /// Whether what is written of calls before they have an effect is sent, too.
    pub begun: bool,
}

/// Where records go, and how.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkKind {
    /// A file of JSON lines.
    File(FileSettings),
    /// A receiver of syslog (RFC 5424) over TCP or TLS.
    Syslog(SyslogSettings),
    /// A server that takes batches over HTTP.
    Http(HttpSettings),
}

/// A file of JSON lines, and how it is rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// Where.
    pub path: PathBuf,
    /// The form of a line.
    pub format: Format,
    /// It is put aside before it gets larger than so many bytes,
    pub size_max: u64,
    /// or once it is so old.
    pub age_max: Option<Duration>,
    /// How many that were put aside are kept.
    pub keep: u32,
}

/// A receiver of syslog.
#[derive(Debug, Clone, PartialEq)]
pub struct SyslogSettings {
    /// Where; `encrypted` as RFC 5425 has it.
    pub service: Service,
    /// With whom the connection is encrypted, if not with whomever the operating system trusts.
    pub tls: Option<net::Tls>,
    /// The form of the message; `None`: structured data and a sentence.
    pub format: Option<Format>,
}

/// A server that takes batches over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSettings {
    /// What it understands.
    pub protocol: HttpProtocol,
    /// Where batches are posted to, whole.
    pub url: Url,
    /// Headers of each request, credentials included.
    pub headers: HeaderMap,
    /// With whom the connection is encrypted, if not with whomever the operating system trusts.
    pub tls: Option<net::Tls>,
}

/// What a server that takes batches understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpProtocol {
    /// Splunk's HTTP Event Collector.
    SplunkHec {
        /// The form of an event.
        format: Format,
        /// Into which index, if not the token's own.
        index: Option<String>,
    },
    /// The bulk API of Elasticsearch, and of what is compatible.
    ElasticBulk {
        /// The form of a document.
        format: Format,
    },
    /// A JSON object a line.
    Lines {
        /// The form of a line.
        format: Format,
    },
    /// OpenTelemetry's logs, as protobuf (OTLP/HTTP 1.x).
    OtlpLogs,
}
