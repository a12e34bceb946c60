//! Error codes, with the meaning that JSON-RPC 2.0 and MCP give them.

/// A JSON-RPC error code.
pub type Code = i32;

/// The bytes are not JSON.
pub const PARSE_ERROR: Code = -32700;
/// JSON, but no request that JSON-RPC or this MCP revision allows.
pub const INVALID_REQUEST: Code = -32600;
/// No such method in this revision.
pub const METHOD_NOT_FOUND: Code = -32601;
/// Parameters that cannot be; also an unknown tool or prompt, and an unknown resource from 2026-07-28 on.
pub const INVALID_PARAMS: Code = -32602;
/// Our fault or the upstream's.
pub const INTERNAL_ERROR: Code = -32603;
/// An unknown resource, up to 2025-11-25.
pub const RESOURCE_NOT_FOUND: Code = -32002;
/// The person must open pages first (2025-11-25 alone).
pub const URL_ELICITATION: Code = -32042;
/// A header and the body disagree (2026-07-28).
pub const HEADER_MISMATCH: Code = -32020;
/// A capability that the client did not declare is needed (2026-07-28).
pub const MISSING_CAPABILITY: Code = -32021;
/// A revision that is not spoken here (2026-07-28).
pub const UNSUPPORTED_VERSION: Code = -32022;

// Our own codes stand outside the range that JSON-RPC reserves (-32768 to -32000).

/// The caller is over a rate limit or the gate is at its bound.
pub const LIMITED: Code = -31001;
/// The upstream is down, starting, or did not answer in time.
pub const UPSTREAM_UNAVAILABLE: Code = -31002;
/// Who is calling is not known.
pub const UNAUTHENTICATED: Code = -31003;
/// The client no longer wants the answer.
pub const CANCELLED: Code = -31005;
/// The credential may not be used for this.
pub const UNSCOPED: Code = -31006;
/// The audit log has no room, so no call may be made.
pub const UNRECORDABLE: Code = -31004;
/// The rules do not allow the call with these arguments.
pub const DENIED: Code = -31007;
/// A person has to agree to the call first.
pub const UNCONSENTED: Code = -31008;
/// Nobody has approved the entry's definition as it is now.
pub const WITHHELD: Code = -31009;
/// Screening found something that must not pass.
pub const SCREENED: Code = -31010;
