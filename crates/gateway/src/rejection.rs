//! Why a call got no answer, and the one table from our errors to the protocol's.
//!
//! `Display` speaks to the operator, [`Rejection::response`] to the client: never an address, a path, a secret or
//! a cause. `docs/reference/errors.md` is made from this table by [`reference()`].
#![deny(clippy::wildcard_enum_match_arm)]

mod reason;
mod reference;

use std::borrow::Cow;
use std::time::Duration;

use policy::screen::{Place, Refusal};
use policy::{LimitName, Scopes, UpstreamId};
use wire::code::{self, Code};
use wire::{Fault, Revision, json};

use crate::consents::Unagreed;
use crate::pins::Withheld;

pub use reference::reference;

/// Whose doing a rejection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The caller's: another request would do.
    Client,
    /// Ours.
    Us,
    /// The upstream's.
    Upstream,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// How often.
    Rate,
    /// How much in a day or a month.
    Quota,
    /// How many at once.
    AtOnce,
}

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// The bytes are no message.
    #[error("not a message: {0}")]
    NotMcp(Fault),
    /// A message that this revision does not allow.
    #[error("not allowed here: {0}")]
    NotAllowed(Cow<'static, str>),
    /// No such method in this revision.
    #[error("no method `{0}` in this revision")]
    UnknownMethod(String),
    /// Parameters that cannot be.
    #[error("bad parameters: {0}")]
    BadParams(String),
    /// A modern request without what it must carry in `_meta`.
    #[error("`_meta` lacks `{0}`")]
    MissingMeta(&'static str),
    /// A header and the body disagree.
    #[error("header `{0}` and the body disagree")]
    HeaderMismatch(Cow<'static, str>),
    /// A revision that is not spoken here.
    #[error("revision `{0}` is not spoken here")]
    UnsupportedRevision(String),
    /// No virtual server of that name, or none of which the principal may know.
    #[error("no such virtual server in this principal's view")]
    UnknownServer,
    /// No such tool in this principal's view.
    #[error("no tool `{0}` in this principal's view")]
    UnknownTool(String),
    /// No such prompt in this principal's view.
    #[error("no prompt `{0}` in this principal's view")]
    UnknownPrompt(String),
    /// No such resource in this principal's view.
    #[error("no resource `{0}` in this principal's view")]
    UnknownResource(String),
    /// A task id that is not ours, is another principal's, or leads nowhere any more.
    #[error("no such task of this principal")]
    UnknownTask,
    /// A cursor that no list of ours gave out.
    #[error("a cursor that was not given out here")]
    BadCursor,
    /// A `requestState` that is not ours, is over, was used, or belongs to another call or principal.
    #[error("a request state that is not good here")]
    BadState,
    /// What the call needs of the client, and the client did not declare: a `ClientCapabilities` object.
    #[error("the client lacks a capability: {0}")]
    MissingCapability(&'static str),
    /// The client gave no answer to what the upstream wanted to know.
    #[error("the client did not answer the upstream")]
    Unanswered,
    /// Arguments that do not fit the tool's schema.
    #[error("arguments do not fit the schema")]
    BadArguments(String),
    /// A tool whose schema cannot be used to check anything.
    #[error("the schema of `{tool}` cannot be used: {reason}")]
    BadSchema {
        /// The tool.
        tool: String,
        /// What is wrong with the schema.
        reason: String,
    },
    /// A tool answered with something that does not fit its output schema.
    #[error("`{tool}` answered with what does not fit its output schema: {reason}")]
    BadOutput {
        /// The tool.
        tool: String,
        /// What is wrong, in words that hold nothing of the answer.
        reason: String,
    },
    /// The rules do not allow this with these arguments; the text is what was asked for.
    #[error("the rules do not allow `{0}` with these arguments")]
    Denied(String),
    /// A definition that nobody has approved.
    #[error("`{entry}` is withheld: {}", why.as_str())]
    Withheld {
        /// What clients call it.
        entry: String,
        /// Why.
        why: Withheld,
    },
    /// Screening does not let it pass.
    #[error("screening does not let it pass: {refusal}")]
    Screened {
        /// Where it stood: in what was to be sent, or in what came back.
        place: Place,
        /// Why.
        refusal: Refusal,
    },
    /// A person would have to say yes first, and none did.
    #[error("nobody has consented")]
    Unconsented(#[source] Unagreed),
    /// A limit of any kind.
    #[error("`{limit}` is used up")]
    TooMany {
        /// Which.
        limit: LimitName,
        /// Of what kind.
        measure: Measure,
        /// When it may be tried again.
        retry_after: Duration,
    },
    /// The counters cannot be had, and nothing goes uncounted.
    #[error("the call cannot be counted")]
    Uncounted,
    /// As many calls in flight as the gate takes.
    #[error("as many calls in flight as are taken")]
    Busy,
    /// The gate ends.
    #[error("the gate is draining")]
    Draining,
    /// Who is calling is not known.
    #[error("not authenticated")]
    Unauthenticated(#[source] auth::AuthError),
    /// The credential may not be used for this, whatever its holder may do.
    #[error("the credential lacks the scope `{needed}`")]
    Unscoped {
        /// What this needs.
        needed: Scopes,
        /// What the credential has.
        held: Scopes,
    },
    /// What only an owner may do, or whom a rule lets do it.
    #[error("neither an owner nor let do this by a rule")]
    NotOwner,
    /// A Host or Origin that is not on the list.
    #[error("{what} `{value}` is not allowed")]
    Foreign {
        /// `Host` or `Origin`.
        what: &'static str,
        /// What was sent.
        value: String,
    },
    /// A path, verb or media type that the endpoint does not have.
    #[error("HTTP {status}: {reason}")]
    Http {
        /// The status.
        status: u16,
        /// Why, in public words.
        reason: &'static str,
    },
    /// A session is needed and none was named.
    #[error("no session was named")]
    NoSession,
    /// A session that does not exist, is over, or is somebody else's.
    #[error("unknown session")]
    UnknownSession,
    /// The same on HTTP+SSE, where a session is a stream.
    #[error("unknown stream")]
    UnknownStream,
    /// As many sessions as are kept.
    #[error("as many sessions as are kept")]
    TooManySessions,
    /// The upstream gave no answer.
    #[error("upstream `{upstream}`")]
    Upstream {
        /// Which.
        upstream: UpstreamId,
        /// Why.
        #[source]
        cause: upstream::Error,
    },
    /// The audit log has no room.
    #[error("the audit log takes no record")]
    Unrecordable(#[source] observe::Unavailable),
    /// What came of the call is not in the audit log.
    #[error("the audit log does not take what came of it")]
    Unconfirmed(#[source] observe::Unavailable),
    /// The client no longer wants the answer.
    #[error("cancelled by the client")]
    Cancelled,
}

/// What is wrong with a credential, as far as its sender may know (RFC 6750 section 3.1, RFC 9449 section 7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// None came.
    Missing,
    /// Not one credential of a form that is taken.
    Malformed,
    /// It does not hold.
    Invalid,
    /// It lacks some of these scopes.
    Scope(Scopes),
    /// The proof of possession does not hold.
    Proof,
    /// The proof of possession must carry this nonce.
    Nonce(String),
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status; other transports have none.
    pub status: u16,
    /// The JSON-RPC code.
    pub code: Code,
    /// The public text.
    pub message: String,
    /// Members of `data` beside the call's id, as JSON text.
    pub data: Option<String>,
    /// When it may be tried again.
    pub retry_after: Option<Duration>,
    /// Whose doing it was.
    pub whose: Whose,
    /// Whether the same call may be made again as it is.
    pub retry: bool,
    /// What is wrong with the credential, if that is what it is about.
    pub challenge: Option<Challenge>,
}

impl Response {
    fn new(status: u16, code: Code, whose: Whose, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            data: None,
            retry_after: None,
            whose,
            retry: false,
            challenge: None,
        }
    }

    fn data(mut self, data: String) -> Self {
        self.data = Some(data);
        self
    }

    fn again(mut self, after: Option<Duration>) -> Self {
        (self.retry, self.retry_after) = (true, after);
        self
    }
}

impl Rejection {
    /// What the client is told.
    #[must_use]
    pub fn response(&self, revision: Revision) -> Response {
        Response {
            challenge: self.challenge(),
            ..self.row(revision)
        }
    }

    /// The one place where our errors become the protocol's. No `_` arm: a new variant chooses its response.
    fn row(&self, revision: Revision) -> Response {
        use Whose::{Client, Upstream, Us};
        let is_modern = revision.era() == wire::Era::Modern;
        match self {
            Self::NotMcp(fault) if fault.code == code::INVALID_PARAMS => {
                Response::new(200, fault.code, Client, fault.message.clone())
            }
            Self::NotMcp(fault) => Response::new(400, fault.code, Client, fault.message.clone()),
            Self::NotAllowed(why) => Response::new(
                400,
                code::INVALID_REQUEST,
                Client,
                format!("Invalid Request: {why}"),
            ),
            Self::UnknownMethod(name) => Response::new(
                if is_modern { 404 } else { 200 },
                code::METHOD_NOT_FOUND,
                Client,
                format!("Method not found: {name}"),
            ),
            Self::BadParams(why) => Response::new(
                200,
                code::INVALID_PARAMS,
                Client,
                format!("Invalid params: {why}"),
            ),
            Self::MissingMeta(key) => Response::new(
                400,
                code::INVALID_PARAMS,
                Client,
                format!("Invalid params: `_meta` must carry `{key}` in this revision"),
            ),
            Self::HeaderMismatch(header) => Response::new(
                400,
                code::HEADER_MISMATCH,
                Client,
                format!("Header mismatch: `{header}` is missing or differs from the body"),
            ),
            Self::UnsupportedRevision(requested) => {
                let supported = json::string(Revision::LATEST.as_str());
                Response::new(
                    400,
                    code::UNSUPPORTED_VERSION,
                    Client,
                    "Unsupported protocol version",
                )
                .data(format!(
                    "\"supported\":[{supported}],\"requested\":{}",
                    json::string(requested)
                ))
            }
            Self::UnknownServer => Response::new(
                404,
                code::INVALID_REQUEST,
                Client,
                "No such path; the MCP endpoint is /mcp",
            ),
            Self::UnknownTool(name) => Response::new(
                200,
                code::INVALID_PARAMS,
                Client,
                format!("Unknown tool: {name}"),
            ),
            Self::UnknownPrompt(name) => Response::new(
                200,
                code::INVALID_PARAMS,
                Client,
                format!("Unknown prompt: {name}"),
            ),
            Self::UnknownResource(uri) => Response::new(
                200,
                revision.resource_not_found(),
                Client,
                "Resource not found",
            )
            .data(format!("\"uri\":{}", json::string(uri))),
            Self::UnknownTask => Response::new(200, code::INVALID_PARAMS, Client, "Unknown task"),
            Self::BadCursor => Response::new(
                200,
                code::INVALID_PARAMS,
                Client,
                "Invalid params: unknown cursor",
            ),
            Self::BadState => Response::new(
                200,
                code::INVALID_PARAMS,
                Client,
                "Invalid params: `requestState` is unknown, over, or another call's; make the call again without it",
            ),
            Self::MissingCapability(needed) if is_modern => Response::new(
                400,
                code::MISSING_CAPABILITY,
                Client,
                "Missing required client capability",
            )
            .data(format!("\"requiredCapabilities\":{needed}")),
            Self::MissingCapability(_) => Response::new(
                200,
                code::INVALID_REQUEST,
                Client,
                "The client lacks a capability that this call needs",
            ),
            Self::Unanswered => Response::new(
                200,
                code::CANCELLED,
                Client,
                "The upstream asked something that the client did not answer",
            ),
            Self::BadArguments(why) => Response::new(
                200,
                code::INVALID_PARAMS,
                Client,
                format!("Invalid arguments: {why}"),
            ),
            Self::BadSchema { tool, .. } => Response::new(
                200,
                code::INTERNAL_ERROR,
                Upstream,
                format!("The tool `{tool}` cannot be called: its input schema is not usable"),
            ),
            Self::BadOutput { tool, .. } => Response::new(
                200,
                code::INTERNAL_ERROR,
                Upstream,
                format!(
                    "The answer of the tool `{tool}` does not fit its output schema; the call took effect"
                ),
            ),
            Self::Denied(entry) => Response::new(
                200,
                code::DENIED,
                Client,
                format!("Not allowed: `{entry}` with these arguments"),
            ),
            Self::Withheld { entry, .. } => Response::new(
                200,
                code::WITHHELD,
                Upstream,
                format!(
                    "Withheld: `{entry}` is not what was approved; an owner has to look at it and approve it"
                ),
            ),
            Self::Screened { place, refusal } => screened_response(*place, refusal),
            Self::Unconsented(Unagreed::Unavailable) => {
                Response::new(503, code::UNCONSENTED, Us, "Nobody can be asked right now")
                    .again(Some(Duration::from_secs(1)))
            }
            Self::Unconsented(Unagreed::Waiting(request)) => Response::new(
                200,
                code::UNCONSENTED,
                Client,
                "Not done: a person has to agree first",
            )
            .data(format!("\"request\":{}", json::string(request))),
            Self::Unconsented(Unagreed::Unasked) => Response::new(
                200,
                code::UNCONSENTED,
                Client,
                "Not done: a person has to agree first",
            ),
            Self::Unconsented(Unagreed::Refused(_)) => {
                Response::new(200, code::UNCONSENTED, Client, "Not done: a person said no")
            }
            Self::Unconsented(Unagreed::Unanswered) => {
                Response::new(200, code::UNCONSENTED, Client, "Not done: nobody agreed")
            }
            Self::Unconsented(Unagreed::TooMany) => Response::new(
                429,
                code::UNCONSENTED,
                Client,
                "Not done: a person would have to agree, and too much was asked lately",
            ),
            Self::TooMany {
                limit,
                measure,
                retry_after,
            } => Response::new(
                429,
                code::LIMITED,
                Client,
                match measure {
                    Measure::Rate => format!("Rate limit `{limit}` is used up"),
                    Measure::Quota => format!("Quota `{limit}` is used up"),
                    Measure::AtOnce => format!("Too many calls at once: `{limit}`"),
                },
            )
            .data(format!(
                "\"limit\":\"{limit}\",\"retryAfterMs\":{}",
                retry_after.as_millis()
            ))
            .again(Some(*retry_after)),
            Self::Uncounted => Response::new(
                503,
                code::LIMITED,
                Us,
                "The call cannot be counted, so it was not made",
            )
            .again(Some(Duration::from_secs(1))),
            Self::Busy => Response::new(
                503,
                code::LIMITED,
                Us,
                "The gate is at its limit of calls in flight",
            )
            .again(Some(Duration::from_secs(1))),
            Self::Draining => Response::new(503, code::LIMITED, Us, "The gate is shutting down")
                .again(Some(Duration::from_secs(5))),
            Self::Unauthenticated(auth::AuthError::Unavailable(_)) => Response::new(
                503,
                code::UNAUTHENTICATED,
                Us,
                "Credentials cannot be checked right now",
            )
            .again(Some(Duration::from_secs(1))),
            Self::Unauthenticated(auth::AuthError::Missing) => Response::new(
                401,
                code::UNAUTHENTICATED,
                Client,
                "Authentication required: send `Authorization: Bearer` with an API key or an access token",
            ),
            Self::Unauthenticated(
                auth::AuthError::Malformed(_)
                | auth::AuthError::Unknown
                | auth::AuthError::Invalid(_)
                | auth::AuthError::Expired
                | auth::AuthError::Revoked
                | auth::AuthError::Proof(_)
                | auth::AuthError::Nonce(_),
            ) => Response::new(
                401,
                code::UNAUTHENTICATED,
                Client,
                "The presented credential is not valid",
            ),
            Self::Unscoped { needed, .. } => Response::new(
                403,
                code::UNSCOPED,
                Client,
                format!("The credential lacks the scope `{needed}`"),
            )
            .data(format!("\"scope\":\"{needed}\"")),
            Self::NotOwner => Response::new(
                403,
                code::UNSCOPED,
                Client,
                "This needs the role `owner`, or a role with a rule for it",
            ),
            Self::Foreign { what, .. } => Response::new(
                403,
                code::INVALID_REQUEST,
                Client,
                format!(
                    "This {what} is not allowed; an operator can add it to `http.allowed_{}s`",
                    what.to_lowercase()
                ),
            ),
            Self::Http { status, reason } => {
                Response::new(*status, code::INVALID_REQUEST, Client, *reason)
            }
            Self::NoSession => Response::new(
                400,
                code::INVALID_REQUEST,
                Client,
                "No session: send `initialize` first and repeat its `Mcp-Session-Id`, or use revision 2026-07-28",
            ),
            Self::UnknownSession => Response::new(
                404,
                code::INVALID_REQUEST,
                Client,
                "Unknown session: send `initialize` again",
            ),
            Self::UnknownStream => Response::new(
                404,
                code::INVALID_REQUEST,
                Client,
                "Unknown session: open /sse again",
            ),
            Self::TooManySessions => Response::new(
                503,
                code::LIMITED,
                Us,
                "As many sessions as are kept; end one with DELETE",
            )
            .again(Some(Duration::from_secs(30))),
            Self::Upstream { upstream, cause } => upstream_response(upstream, cause),
            Self::Unrecordable(_) => Response::new(
                503,
                code::UNRECORDABLE,
                Us,
                "The call cannot be recorded, so it was not made",
            )
            .again(Some(Duration::from_secs(1))),
            // It may have had its effect: nobody is told to do it again.
            Self::Unconfirmed(_) => Response::new(
                503,
                code::UNRECORDABLE,
                Us,
                "What came of the call cannot be recorded, so it is not told",
            ),
            Self::Cancelled => Response::new(200, code::CANCELLED, Client, "Cancelled"),
        }
    }

    /// What an HTTP client is told in `WWW-Authenticate`, if this is about its credential.
    #[must_use]
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a new rejection is not about a credential unless somebody says so here"
    )]
    pub fn challenge(&self) -> Option<Challenge> {
        use auth::AuthError;
        match self {
            Self::Unauthenticated(AuthError::Missing) => Some(Challenge::Missing),
            Self::Unauthenticated(AuthError::Malformed(_)) => Some(Challenge::Malformed),
            Self::Unauthenticated(
                AuthError::Unknown
                | AuthError::Invalid(_)
                | AuthError::Expired
                | AuthError::Revoked,
            ) => Some(Challenge::Invalid),
            Self::Unauthenticated(AuthError::Proof(_)) => Some(Challenge::Proof),
            Self::Unauthenticated(AuthError::Nonce(nonce)) => Some(Challenge::Nonce(nonce.clone())),
            // Asked for together, so that the new token does not lose what the old one had (2026-07-28,
            // "Authorization", "Scope challenge").
            Self::Unscoped { needed, held } => Some(Challenge::Scope(held.union(*needed))),
            _about_something_else => None,
        }
    }

    /// Whether what was asked for is not in the caller's view of the catalog.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(
            self,
            Self::UnknownTool(_)
                | Self::UnknownPrompt(_)
                | Self::UnknownResource(_)
                | Self::UnknownTask
        )
    }

    /// Whether the call was turned away by us before anything was done for it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Upstream { .. }
            | Self::BadSchema { .. }
            | Self::BadOutput { .. }
            | Self::Unrecordable(_)
            | Self::Unconfirmed(_)
            | Self::Unanswered
            | Self::Screened {
                place: Place::Result,
                ..
            }
            | Self::Cancelled => false,
            Self::NotMcp(_)
            | Self::NotAllowed(_)
            | Self::UnknownMethod(_)
            | Self::BadParams(_)
            | Self::MissingMeta(_)
            | Self::HeaderMismatch(_)
            | Self::UnsupportedRevision(_)
            | Self::UnknownServer
            | Self::UnknownTool(_)
            | Self::UnknownPrompt(_)
            | Self::UnknownResource(_)
            | Self::UnknownTask
            | Self::BadCursor
            | Self::BadState
            | Self::MissingCapability(_)
            | Self::BadArguments(_)
            | Self::Denied(_)
            | Self::Withheld { .. }
            | Self::Unconsented(_)
            | Self::TooMany { .. }
            | Self::Uncounted
            | Self::Screened {
                place: Place::Arguments | Place::Definition | Place::Instructions,
                ..
            }
            | Self::Busy
            | Self::Draining
            | Self::Unauthenticated(_)
            | Self::Unscoped { .. }
            | Self::NotOwner
            | Self::Foreign { .. }
            | Self::Http { .. }
            | Self::NoSession
            | Self::UnknownSession
            | Self::UnknownStream
            | Self::TooManySessions => true,
        }
    }
}

fn screened_response(place: Place, refusal: &Refusal) -> Response {
    let what = match refusal {
        Refusal::Kind { kind, .. } => format!("`{}` was found", kind.word()),
        Refusal::Large { max, .. } => format!("more than {max} bytes"),
        Refusal::Malformed => "it is not JSON".to_owned(),
        Refusal::Member(_) => "a name in it cannot be mended".to_owned(),
    };
    let (whose, text) = match place {
        Place::Arguments | Place::Definition | Place::Instructions => {
            (Whose::Client, "Not sent: screening does not let this pass")
        }
        Place::Result => (
            Whose::Upstream,
            "The answer is withheld: screening does not let it pass. The call was made",
        ),
    };
    Response::new(200, code::SCREENED, whose, format!("{text} ({what})"))
}

fn upstream_response(upstream: &UpstreamId, cause: &upstream::Error) -> Response {
    use upstream::{CredentialError, Error as Cause};
    let unavailable =
        |text: String| Response::new(200, code::UPSTREAM_UNAVAILABLE, Whose::Upstream, text);
    match cause {
        Cause::Down { state } => {
            unavailable(format!("The upstream `{upstream}` is {state}")).again(None)
        }
        Cause::Full => unavailable(format!("The upstream `{upstream}` is overloaded")).again(None),
        Cause::Spawn { .. } => unavailable(format!("The upstream `{upstream}` cannot be started")),
        Cause::Gone => unavailable(format!(
            "The upstream `{upstream}` went away during the call; whether the call took effect is not known"
        )),
        Cause::Silent { waited } => unavailable(format!(
            "The upstream `{upstream}` did not answer within {waited:?}; whether the call took effect is not known"
        )),
        Cause::Net(error) if error.sent() == net::Sent::No => {
            unavailable(format!("The upstream `{upstream}` cannot be reached")).again(None)
        }
        Cause::Net(_) => unavailable(format!(
            "The connection to the upstream `{upstream}` failed; whether the call took effect is not known"
        )),
        Cause::Status { status } => {
            unavailable(format!("The upstream `{upstream}` answered HTTP {status}"))
        }
        Cause::Protocol(_) => unavailable(format!(
            "The upstream `{upstream}` gave an answer that is not MCP"
        )),
        Cause::Refused { .. } => {
            unavailable(format!("The upstream `{upstream}` refused the handshake"))
        }
        Cause::Credential(CredentialError::NotConnected { page, more: false }) => unavailable(
            format!("The upstream `{upstream}` is not connected; open {page} and call again"),
        ),
        Cause::Credential(CredentialError::NotConnected { page, more: true }) => {
            unavailable(format!(
                "The upstream `{upstream}` wants more access for this; open {page} and call again"
            ))
        }
        Cause::Credential(CredentialError::None(_)) => unavailable(format!(
            "The upstream `{upstream}` takes no credential that the gate has"
        )),
        Cause::Credential(CredentialError::Unavailable(_)) => unavailable(format!(
            "A credential for the upstream `{upstream}` cannot be had right now"
        ))
        .again(Some(Duration::from_secs(5))),
        Cause::Native(upstream::native::Error::UnknownTool(name)) => Response::new(
            200,
            code::INVALID_PARAMS,
            Whose::Client,
            format!("Unknown tool: {name}"),
        ),
        Cause::Native(_) => unavailable(format!("The built-in `{upstream}` is not available")),
    }
}
