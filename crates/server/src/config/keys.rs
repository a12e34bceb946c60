//! Who may come in: API keys from their raw form, and what the machine's own user needs.

use std::time::SystemTime;

use auth::{Key, Loopback};
use jiff::Timestamp;
use policy::config::Complaints;
use policy::{PrincipalId, RoleName, Rules};

use super::check::{Checker, all};
use super::raw::{Raw, RawKey, RawLoopback, Time};
use super::shape::nearest;

impl Checker<'_> {
    /// What `[auth]` and `[keys]` say.
    pub(super) fn auth(&self, raw: &Raw, complaints: &mut Complaints) -> Option<auth::Settings> {
        let mut known: Vec<&str> = raw.roles.keys().map(String::as_str).collect();
        known.push(Rules::OWNER);
        let keys: Vec<Option<Key>> = complaints.at("keys", |complaints| {
            let one = |(name, raw): (&String, &RawKey)| {
                complaints.at(name, |complaints| key(name, raw, &known, complaints))
            };
            raw.keys.iter().map(one).collect()
        });
        Some(auth::Settings {
            loopback: match raw.auth.loopback {
                RawLoopback::Auto => Loopback::Auto,
                RawLoopback::Owner => Loopback::Owner,
                RawLoopback::Off => Loopback::Off,
            },
            keys: keys.into_iter().collect::<Option<_>>()?,
        })
    }
}

fn key(name: &str, raw: &RawKey, known: &[&str], complaints: &mut Complaints) -> Option<Key> {
    let principal = match &raw.principal {
        Some(text) => complaints.at("principal", |complaints| {
            complaints.keep(PrincipalId::new(text), "")
        }),
        None => complaints.keep(
            PrincipalId::new(name),
            "rename it, or write principal = \"…\"",
        ),
    };
    let hash = complaints.at("hash", |complaints| hash(&raw.hash, complaints));
    let roles = complaints.at("roles", |complaints| {
        all(&raw.roles, complaints, |text, complaints| {
            if !known.contains(&text.as_str()) {
                let hint = match nearest(text, known) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("add a [roles.{text}]"),
                };
                complaints.add(format!("there is no role `{text}`"), hint);
                return None;
            }
            complaints.keep(RoleName::new(text), "")
        })
    });
    let expires = match &raw.expires {
        Some(Time(text)) => Some(complaints.at("expires", |complaints| time(text, complaints))?),
        None => None,
    };
    Some(Key {
        id: name.to_owned(),
        principal: principal?,
        hash: hash?,
        roles: roles?.into_iter().collect(),
        expires,
    })
}

fn hash(text: &str, complaints: &mut Complaints) -> Option<[u8; 32]> {
    const HINT: &str =
        "`portcullis key create` makes keys; for your own: printf %s \"$KEY\" | sha256sum";
    let Some(digits) = text.strip_prefix("sha256:") else {
        // Whatever stands there may be the key itself: it is not repeated.
        complaints.add("does not start with `sha256:`", HINT);
        return None;
    };
    let Some(bytes) = from_hex(digits) else {
        complaints.add("needs 64 hex digits after `sha256:`", HINT);
        return None;
    };
    if bytes.iter().all(|byte| *byte == bytes[0]) {
        complaints.add("is a placeholder, not a hash", HINT);
        return None;
    }
    Some(bytes)
}

fn from_hex(digits: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = digits
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    if digits.len() == 64 {
        bytes.try_into().ok()
    } else {
        None
    }
}

fn time(text: &str, complaints: &mut Complaints) -> Option<SystemTime> {
    let Ok(when) = text.parse::<Timestamp>() else {
        complaints.add(
            format!("`{text}` is not a date, time and zone"),
            "write for example \"2027-01-01T00:00:00Z\"",
        );
        return None;
    };
    Some(when.into())
}
