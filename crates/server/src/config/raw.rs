//! What people write: the shape of `portcullis.toml`, key by key.
//!
//! The doc comments here are the reference page and the JSON Schema. Defaults stand in `defaults.toml`; what
//! a value means beyond its type is checked in [`super::check`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::accounts::{RawAccounts, RawMail};
use super::alerts::RawAlerts;
use super::audit::RawAudit;
use super::authority::RawServer;
use super::consent::RawConsent;
use super::credential::RawCredential;
use super::issuers::RawIssuer;
use super::limits::RawLimits;
use super::pins::{RawPins, RawUpstreamPins};
use super::roles::RawRole;
use super::screening::{RawFlows, RawScreening};
use super::secrets::RawSecrets;
use super::servers::{RawSearch, RawServer as RawVirtualServer};
use super::shared::RawShared;
use super::sign_in::RawSignIn;
use super::store::RawStore;
use super::telemetry::RawTelemetry;
use super::tls::{RawCertificate, RawTls, RawUpstreamTls};
use super::validation::{RawOwnValidation, RawValidation};

/// The settings of one gate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "portcullis.toml")]
pub(super) struct Raw {
    /// Address and port to listen on; a list for up to eight.
    pub listen: Listen,
    /// Folder for the database; by default `portcullis` in the user's data folder.
    pub data_dir: Option<String>,
    /// Another place for what is durable than a file in `data_dir`.
    #[serde(default)]
    pub store: RawStore,
    /// Built-in tool packs on offer without being named under `upstreams`; an upstream of the same name replaces one.
    pub builtins: Vec<Builtin>,
    /// What is logged, and how.
    pub log: RawLog,
    /// Bounds and checks on HTTP connections.
    pub http: RawHttp,
    /// TLS on the listeners.
    pub tls: Option<RawTls>,
    /// How the gate stops.
    pub drain: RawDrain,
    /// Who may come in without a key.
    pub auth: RawAuth,
    /// How mail leaves, for people who forgot their password. Without it, an owner helps them: `portcullis user reset-link`.
    pub mail: Option<RawMail>,
    /// Secrets that are kept in the database.
    #[serde(default)]
    pub secrets: RawSecrets,
    /// API keys, by name. `portcullis key create` keeps further ones in the database.
    #[serde(default)]
    pub keys: BTreeMap<String, RawKey>,
    /// What the members of a role may do, by name.
    #[serde(default)]
    pub roles: BTreeMap<String, RawRole>,
    /// How often a principal may do what, how much of it, and how many calls go on at once.
    pub limits: RawLimits,
    /// How the audit log is kept.
    #[serde(default)]
    pub audit: RawAudit,
    /// What is told of calls to those who watch.
    #[serde(default)]
    pub telemetry: RawTelemetry,
    /// When somebody is told that the gate is not as it should be, and who.
    #[serde(default)]
    pub alerts: RawAlerts,
    /// What several gates have in common.
    #[serde(default)]
    pub shared: RawShared,
    /// How the upstreams' entries become one catalog.
    pub catalog: RawCatalog,
    /// Bounds on the sessions of clients older than revision 2026-07-28.
    pub sessions: RawSessions,
    /// Calls that take long or yield much.
    pub calls: RawCalls,
    /// Asking people before something is done.
    pub consent: RawConsent,
    /// Slices of the catalog with a path of their own, `/mcp/NAME`, by name.
    #[serde(default)]
    pub virtual_servers: BTreeMap<String, RawVirtualServer>,
    /// Tools to search, describe and call tools, in the place of a long list.
    pub tool_search: RawSearch,
    /// What is looked for in what passes the gate, and what is done about it.
    pub screening: RawScreening,
    /// Which data may flow where.
    pub flows: RawFlows,
    /// What becomes of definitions that nobody has looked at, and of those that change.
    pub pins: RawPins,
    /// How arguments and results are checked.
    pub validation: RawValidation,
    /// What stands behind the gate, by alias; each has exactly one of `stdio`, `url` and `native`.
    #[serde(default)]
    pub upstreams: BTreeMap<String, RawUpstream>,
}

/// What is logged, and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,upstream=debug`.
    pub level: String,
    /// `auto` is text on a terminal and JSON lines elsewhere.
    pub format: RawLogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawLogFormat {
    Auto,
    Text,
    Json,
}

/// Bounds and checks on HTTP connections.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttp {
    /// Where clients reach the gate, as `https://gate.example.com`: what tokens must be meant for, and the issuer of the embedded authorization server. Unless said, the first address in `listen`.
    pub public_url: Option<String>,
    /// Host names a request may be addressed to, besides the loopback names and that of `public_url`.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may call, besides those of the loopback names.
    pub allowed_origins: Vec<String>,
    /// Proxies that are believed when they say whom a request comes from: addresses, and networks as `10.1.2.0/28`. Nobody who comes through one counts as a caller from this machine. Networks of clients do not belong here: they could give themselves any address.
    pub trusted_proxies: Vec<String>,
    /// The one header in which they say so; every other is ignored.
    pub forwarded_header: RawForwardedHeader,
    /// The largest request body.
    pub body_max: Size,
    /// How long a client may take over its request's head.
    pub header_timeout: Span,
    /// How long a client may take over its request's body.
    pub body_timeout: Span,
    /// Open connections, over all listeners.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections_max: u32,
    /// Allows addresses that other machines can reach without `tls`: keys and answers cross the network in the clear.
    pub danger_exposed_plaintext: bool,
}

/// Where proxies say whom a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawForwardedHeader {
    XForwardedFor,
    Forwarded,
}

/// How the gate stops.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDrain {
    /// How long calls in flight may take to finish once the gate was told to stop.
    pub timeout: Span,
}

/// Who may come in without a key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAuth {
    /// `owner`: callers from this machine need no key and may do everything. `off`: everybody needs a key. `auto`: `owner` as long as there is neither a key nor an account, no `issuers` and `certificates`, and no `http.public_url` elsewhere.
    pub loopback: RawLoopback,
    /// Whom client certificates stand for, by name; a certificate with several names is the first's.
    #[serde(default)]
    pub certificates: BTreeMap<String, RawCertificate>,
    /// Whose access tokens are taken, by a name of your choice; the gate's own authorization server needs no entry.
    #[serde(default)]
    pub issuers: BTreeMap<String, RawIssuer>,
    /// OpenID Connect providers that people may sign in with in a browser, by a name of your choice.
    #[serde(default)]
    pub sign_in: BTreeMap<String, RawSignIn>,
    /// The authorization server in the gate, for those who have no other.
    #[serde(default)]
    pub server: RawServer,
    /// Local accounts: people who sign in with a password.
    #[serde(default)]
    pub accounts: RawAccounts,
}

/// What a caller from this machine is without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawLoopback {
    Auto,
    Owner,
    Off,
}

/// One API key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKey {
    /// Whom the key stands for; by default the key's name.
    pub principal: Option<String>,
    /// `sha256:` and 64 hex digits, as `portcullis key create` prints it; the key itself never stands here.
    pub hash: String,
    /// Roles the key's holder has, besides those whose `members` name the principal.
    #[serde(default)]
    pub roles: Vec<String>,
    /// When the key stops working, as `2027-01-01T00:00:00Z`.
    pub expires: Option<Time>,
}

/// How the upstreams' entries become one catalog.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCatalog {
    /// When a name gets its upstream's alias in front. A name that begins, or seems to, like another upstream's prefixed names gets its own upstream's in any case.
    pub prefix: RawPrefix,
    /// What stands between alias and name.
    pub separator: RawSeparator,
    /// Entries in one page of a list.
    #[schemars(range(min = 1, max = 10_000))]
    pub page_size: u32,
    /// How long a list waits for upstreams that are still starting.
    pub list_deadline: Span,
    /// For clients that read less than all of JSON Schema: tool schemas are rewritten to what `openai` or `gemini` functions accept, or to `plain` types, properties and enums. `faithful` changes nothing. Arguments are held against the original whatever stands here.
    pub schemas: RawFamily,
    /// `64` for clients that accept no longer tool names and only `a-z`, `A-Z`, `0-9`, `_` and `-`: others are cut and end in a hash. Best with `separator = "__"`.
    pub names: RawNames,
}

/// What tool schemas may consist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawFamily {
    Faithful,
    OpenAi,
    Gemini,
    Plain,
}

/// How long tool names may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum RawNames {
    #[serde(rename = "full")]
    Full,
    #[serde(rename = "64")]
    Short,
}

/// Who shares a conversation with a legacy server.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawSharing {
    /// Everybody.
    Shared,
    /// Clients of one principal that can do the same.
    PerClient,
}

/// When a name gets its upstream's alias in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawPrefix {
    Always,
    OnCollision,
    Never,
}

/// What stands between alias and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum RawSeparator {
    #[serde(rename = ".")]
    Dot,
    #[serde(rename = "__")]
    Underscores,
}

/// Bounds on legacy sessions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSessions {
    /// Over all principals.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max: u32,
    /// For one principal.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub per_principal: u32,
    /// A session that nobody used for so long ends.
    pub idle: Span,
}

/// Calls that take long or yield much.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCalls {
    /// A client that asked for progress is told that its call is still under way, each time its upstream has said nothing for so long; `off` for never. An upstream that reports progress itself is left to it.
    pub heartbeat: SpanOrOff,
    /// A tool's result with more text than this is kept for ten minutes, and its reader gets the beginning and a link to the whole; `off` for never. Clients of revisions before 2025-06-18, which have no such links, get all of it.
    pub result_max: SizeOrOff,
    /// How long clients wait at most for an answer, by the name that they give of themselves: `"claude-ai" = "4m"`. In its place they get an error then, before they give up by themselves, and the upstream is told.
    #[serde(default)]
    pub deadlines: BTreeMap<String, Span>,
}

/// One upstream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUpstream {
    /// The command of a server that speaks MCP on stdin and stdout, and its arguments. No shell is involved.
    pub stdio: Option<Vec<String>>,
    /// The endpoint of a server that speaks MCP over HTTP (`http://…`, `https://…`) or a WebSocket (`ws://…`,
    /// `wss://…`).
    pub url: Option<String>,
    /// A tool pack in this binary.
    pub native: Option<RawNative>,
    /// `false` leaves the upstream out.
    pub enabled: bool,
    /// How long one call may take.
    pub timeout: Span,
    /// How long starting, connecting and the handshake may take.
    pub connect_timeout: Span,
    /// Replaces `catalog.prefix` for this upstream.
    pub prefix: Option<RawPrefix>,
    /// With `stdio` or `url`: replaces `pins` for this upstream. What is built in is pinned by this program.
    pub pins: Option<RawUpstreamPins>,
    /// Replaces `validation` for this upstream.
    pub validation: Option<RawOwnValidation>,
    /// Who shares a conversation with a server of a revision before 2026-07-28, which is told once what its client can
    /// do: `shared` (one process or session for all; the default with `stdio`) or `per-client` (one for all clients of
    /// a principal that can do the same; the default with `url`).
    pub sessions: Option<RawSharing>,
    /// Methods of extensions that go to this upstream: `["skills/list"]`. Rules know them as `alias.method`; the gate
    /// passes on no other method that it does not know.
    pub methods: Option<Vec<String>>,
    /// With `stdio`: variables for the process, which otherwise gets a scrubbed environment.
    pub env: Option<BTreeMap<String, Secret>>,
    /// With `stdio`: the folder it starts in.
    pub cwd: Option<String>,
    /// With `url`: headers sent with every request.
    pub headers: Option<BTreeMap<String, Secret>>,
    /// With `url`: what lets the gate in. Nothing that a client presents to the gate is ever passed on.
    pub credential: Option<RawCredential>,
    /// With an `https` or `wss` `url`: how its certificate is judged, and which one it is shown.
    pub tls: Option<RawUpstreamTls>,
    /// With an `http` or `https` `url`: `http` (Streamable HTTP, and HTTP+SSE with servers that know only that; so it
    /// is unless said) or `sse` (HTTP+SSE, the transport of revision 2024-11-05, without asking).
    pub transport: Option<RawTransport>,
    /// With `native = "files"`: folders it may read.
    pub roots: Option<Vec<String>>,
    /// With `native = "files"`: whether it may also write; `false` unless said.
    pub write: Option<bool>,
    /// With `native = "fetch"`: whether private and loopback addresses may be fetched; `false` unless said.
    pub private: Option<bool>,
}

/// What carries messages to an HTTP endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawTransport {
    Http,
    Sse,
}

/// The tool packs in this binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawNative {
    Files,
    Fetch,
    Time,
    Notes,
    Status,
}

/// The tool packs that are safe without further settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Builtin {
    Fetch,
    Time,
    Notes,
    Status,
}

impl Builtin {
    /// Its alias as an upstream.
    pub(super) fn alias(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Time => "time",
            Self::Notes => "notes",
            Self::Status => "status",
        }
    }
}

/// A duration with its unit.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Span(pub String);

/// A size with its unit.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Size(pub String);

/// A duration with its unit, or `off`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct SpanOrOff(pub String);

/// A size with its unit, or `off`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct SizeOrOff(pub String);

/// A date and time with its zone.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Time(pub String);

/// One address, or several.
#[derive(Debug)]
pub(super) struct Listen(pub Vec<String>);

/// A value that may be secret: the text itself, or where to find it.
pub(super) enum Secret {
    /// The text itself.
    Literal(String),
    /// `{ env = "NAME" }`.
    Env(String),
    /// `{ file = "PATH" }`.
    File(String),
    /// `{ secret = "NAME" }`.
    Kept(String),
}

// A reference says where the secret is, not what it is.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal(…)"),
            Self::Env(name) => f.debug_tuple("Env").field(name).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Kept(name) => f.debug_tuple("Kept").field(name).finish(),
        }
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^\\s*[0-9]+\\s*(ms|s|m|min|h|d)\\s*$", "x-kind": "duration" })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^\\s*[0-9]+\\s*(B|kB|MB|GB|KiB|MiB|GiB)\\s*$", "x-kind": "size" })
    }
}

impl JsonSchema for SpanOrOff {
    fn schema_name() -> Cow<'static, str> {
        "DurationOrOff".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^\\s*([0-9]+\\s*(ms|s|m|min|h|d)|off)\\s*$", "x-kind": "duration" })
    }
}

impl JsonSchema for SizeOrOff {
    fn schema_name() -> Cow<'static, str> {
        "SizeOrOff".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^\\s*([0-9]+\\s*(B|kB|MB|GB|KiB|MiB|GiB)|off)\\s*$", "x-kind": "size" })
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time", "x-kind": "time" })
    }
}

impl JsonSchema for Listen {
    fn schema_name() -> Cow<'static, str> {
        "Listen".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kind": "address",
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": 8 },
            ],
        })
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kind": "secret",
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": {
                        "env": { "type": "string", "description": "The environment variable that holds the value." },
                        "file": { "type": "string", "description": "The file that holds the value; a newline at its end is dropped." },
                        "secret": { "type": "string", "description": "The secret that `portcullis secret set` keeps under this name." },
                    },
                    "additionalProperties": false,
                    "minProperties": 1,
                    "maxProperties": 1,
                },
            ],
        })
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Listen;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or a list of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Listen, E> {
                Ok(Listen(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Listen, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Listen(texts))
            }
        }
        from.deserialize_any(Texts)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextOrReference;
        impl<'de> Visitor<'de> for TextOrReference {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a text, { env = \"NAME\" }, { file = \"PATH\" } or { secret = \"NAME\" }",
                )
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::Literal(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
                let one_of =
                    || de::Error::custom("exactly one of `env`, `file` and `secret` is needed");
                let (key, value) = map.next_entry::<String, String>()?.ok_or_else(one_of)?;
                if map.next_key::<String>()?.is_some() {
                    return Err(one_of());
                }
                match key.as_str() {
                    "env" => Ok(Secret::Env(value)),
                    "file" => Ok(Secret::File(value)),
                    "secret" => Ok(Secret::Kept(value)),
                    _ => Err(de::Error::unknown_field(&key, &["env", "file", "secret"])),
                }
            }
        }
        from.deserialize_any(TextOrReference)
    }
}
