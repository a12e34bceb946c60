//! Who may come in: API keys from their raw form, and what the machine's own user needs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use auth::{ConfiguredKey, KeyHash, Loopback};
use jiff::Timestamp;
use policy::config::Complaints;
use policy::{PrincipalId, RoleName, Rules};

use super::check::{Checker, all};
use super::raw::{Raw, RawKey, RawLoopback, Time};
use super::roles::RawRole;
use super::shape::nearest;
use super::tls::certificates;

impl Checker<'_> {
    /// What `[auth]` and `[keys]` say.
    pub(super) fn auth(&self, raw: &Raw, complaints: &mut Complaints) -> Option<auth::Settings> {
        let mut known: Vec<&str> = raw.roles.keys().map(String::as_str).collect();
        known.push(Rules::OWNER);
        let keys: Vec<Option<ConfiguredKey>> = complaints.at("keys", |complaints| {
            let one = |(name, raw): (&String, &RawKey)| {
                complaints.at(name, |complaints| key(name, raw, &known, complaints))
            };
            raw.keys.iter().map(one).collect()
        });
        let issuers = complaints.at("auth", |complaints| {
            complaints.at("issuers", |complaints| self.issuers(raw, complaints))
        });
        let certificates = complaints.at("auth", |complaints| {
            complaints.at("certificates", |complaints| {
                certificates(&raw.auth.certificates, &known, complaints)
            })
        });
        let sign_in = complaints.at("auth", |complaints| {
            complaints.at("sign_in", |complaints| self.sign_in(raw, complaints))
        });
        let authority = complaints.at("auth", |complaints| {
            complaints.at("server", |complaints| {
                self.authority(raw, &known, complaints)
            })
        });
        let accounts = self.accounts(raw, complaints);
        let outbound = complaints.at("upstreams", |complaints| {
            // What is wrong with the server was complained about.
            let can_vouch = authority.as_ref().is_none_or(|server| server.enabled);
            self.outbound(&raw.upstreams, can_vouch, complaints)
        });
        Some(auth::Settings {
            loopback: match raw.auth.loopback {
                RawLoopback::Auto => Loopback::Auto,
                RawLoopback::Owner => Loopback::Owner,
                RawLoopback::Off => Loopback::Off,
            },
            keys: keys.into_iter().collect::<Option<_>>()?,
            members: members(&raw.roles),
            issuers: issuers?,
            sign_in: sign_in?,
            certificates: certificates?,
            authority: authority?,
            accounts: accounts?,
            outbound: outbound?,
        })
    }
}

// Names that are none were complained about where the rules were made.
fn members(roles: &BTreeMap<String, RawRole>) -> BTreeMap<PrincipalId, BTreeSet<RoleName>> {
    let mut members: BTreeMap<PrincipalId, BTreeSet<RoleName>> = BTreeMap::new();
    for (role, raw) in roles {
        let Ok(role) = RoleName::new(role) else {
            continue;
        };
        for id in raw
            .members
            .iter()
            .filter_map(|text| PrincipalId::new(text).ok())
        {
            members.entry(id).or_default().insert(role.clone());
        }
    }
    members
}

fn key(
    name: &str,
    raw: &RawKey,
    known: &[&str],
    complaints: &mut Complaints,
) -> Option<ConfiguredKey> {
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
            role(text, known, complaints)
        })
    });
    let expires_at = match &raw.expires {
        Some(Time(text)) => Some(complaints.at("expires", |complaints| time(text, complaints))?),
        None => None,
    };
    Some(ConfiguredKey {
        name: name.to_owned(),
        principal: principal?,
        roles: roles?.into_iter().collect(),
        hash: hash?,
        expires_at,
    })
}

/// A role that there is.
pub(super) fn role(text: &str, known: &[&str], complaints: &mut Complaints) -> Option<RoleName> {
    if !known.contains(&text) {
        let hint = match nearest(text, known) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("add a [roles.{text}]"),
        };
        complaints.add(format!("there is no role `{text}`"), hint);
        return None;
    }
    complaints.keep(RoleName::new(text), "")
}

fn hash(text: &str, complaints: &mut Complaints) -> Option<KeyHash> {
    const HINT: &str = "`portcullis key create` makes keys and says their hash";
    // Whatever stands there may be the key itself: it is not repeated.
    let hash = complaints.keep(KeyHash::parse(text), "")?;
    let [first, rest @ ..] = hash.as_bytes();
    if rest.iter().all(|byte| byte == first) {
        complaints.add("is a placeholder, not a hash", HINT);
        return None;
    }
    Some(hash)
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
