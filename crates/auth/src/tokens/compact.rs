//! JSON Web Signatures in their compact form (RFC 7515 section 3.1), read strictly and once.
//!
//! Whatever two readers could understand differently is refused: members that stand twice, base64 with padding or stray
//! bits, critical extensions. Keys that a header brings along or points to are never looked at here. Whether the
//! signature holds is asked of a key; what the claims mean is for `claims` and `dpop`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::keys::{Algorithm, VerifyingKey};

/// Longest text that is looked at, in bytes.
pub(crate) const COMPACT_BYTES_MAX: usize = 16 * 1024;
/// Deepest nesting of header and claims.
const DEPTH_MAX: usize = 16;
/// The latest date that is one: the year 9999 and some.
const DATE_MAX: Duration = Duration::from_hours(24 * 366 * 8030);

/// A signed object; nothing is proved yet.
#[derive(Debug)]
pub(crate) struct Compact<'a> {
    pub(crate) header: Map<String, Value>,
    pub(crate) claims: Map<String, Value>,
    pub(crate) algorithm: Algorithm,
    message: &'a str,
    signature: &'a str,
}

/// Why a text is no signed object that we take.
pub(crate) type Reason = &'static str;

/// Whether a text has the outer form of one: two dots. Opaque tokens have not.
pub(crate) fn is_compact(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl<'a> Compact<'a> {
    pub(crate) fn read(text: &'a str) -> Result<Self, Reason> {
        if text.len() > COMPACT_BYTES_MAX {
            return Err("it is too long");
        }
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("it has not three parts");
        };
        let message = text.get(..header.len() + 1 + claims.len()).unwrap_or(text);
        let header = object(header)?;
        let algorithm = match header.get("alg") {
            Some(Value::String(name)) => {
                Algorithm::parse(name).ok_or("its algorithm is not taken")?
            }
            _ => return Err("it names no algorithm"),
        };
        // We understand no extension, so none can be critical (RFC 7515 section 4.1.11); `b64` comes with `crit` only.
        if header.contains_key("crit") {
            return Err("it has a critical extension");
        }
        if signature.is_empty() {
            return Err("it is not signed");
        }
        Ok(Self {
            claims: object(claims)?,
            header,
            algorithm,
            message,
            signature,
        })
    }

    /// A text of the header.
    pub(crate) fn header_text(&self, name: &str) -> Result<Option<&str>, Reason> {
        match self.header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err("its header is malformed"),
        }
    }

    /// Whether `key` signed it, in the algorithm that it names and the key is for.
    pub(crate) fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        key.algorithm() == self.algorithm && key.verifies(self.message.as_bytes(), self.signature)
    }
}

/// A `NumericDate` (RFC 7519 section 2): seconds since 1970, possibly with a fraction.
pub(crate) fn date(value: &Value) -> Option<SystemTime> {
    let since = match value.as_u64() {
        Some(seconds) => Duration::from_secs(seconds),
        None => Duration::try_from_secs_f64(value.as_f64()?).ok()?,
    };
    // Far from the end of what clocks can add to.
    (since < DATE_MAX).then(|| UNIX_EPOCH + since)
}

fn object(part: &str) -> Result<Map<String, Value>, Reason> {
    let text = BASE64_URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_not_base64| "it is not base64url")?;
    if !wire::json::depth_within(&text, DEPTH_MAX) {
        return Err("it is nested too deep");
    }
    match wire::json::strict_value(&text) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err("it is not a JSON object with distinct members"),
    }
}
