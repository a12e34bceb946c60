//! A question to the rules, put together from words: who, what, through what, with what.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use auth::ConfiguredKey;
use policy::rules::About;
use policy::{
    Credential, Decision, Facts, Principal, PrincipalId, RoleName, Rules, Scopes, ServerName,
    Subject, SubjectKind, Traits, UpstreamId, Verb,
};
use serde_json::{Map, Value};
use store::Store;

use crate::config::Loaded;

/// Whoever is at this machine without a key: the owner.
const LOCAL: &str = "local";

/// Who, what, through what, with what, when.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) principal: Principal,
    pub(super) verb: Verb,
    pub(super) kind: SubjectKind,
    pub(super) server: Option<ServerName>,
    pub(super) upstream: UpstreamId,
    pub(super) name: String,
    pub(super) traits: Traits,
    /// `None`: not known.
    pub(super) arguments: Option<Value>,
    pub(super) client: String,
    pub(super) now: SystemTime,
}

impl Question {
    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            verb: self.verb,
            kind: self.kind,
            server: self.server.as_ref(),
            upstream: &self.upstream,
            name: &self.name,
            traits: self.traits,
            memo: None,
        }
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            arguments: self.arguments.as_ref(),
            client: &self.client,
            now: self.now,
        }
    }

    /// What the rules say, in a word, and which rule says it.
    pub(super) fn answer(&self, rules: &Rules) -> (Word, Option<String>) {
        let (subject, facts) = (self.subject(), self.facts());
        let decision = rules.decide(&self.principal, &subject, &facts);
        let is_seen = rules.may_see(&self.principal, &subject, &facts);
        (Word::of(&decision, is_seen), rule(&decision))
    }
}

/// What comes of it, as the caller notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Allow,
    Ask,
    /// Refused with these arguments, at this time or of this client; its existence is no secret.
    Deny,
    /// To the caller there is no such thing.
    Hidden,
}

impl Word {
    pub(super) const ALL: [Self; 4] = [Self::Allow, Self::Ask, Self::Deny, Self::Hidden];

    pub(super) fn of(decision: &Decision, is_seen: bool) -> Self {
        match decision {
            Decision::Allow(_) => Self::Allow,
            Decision::Ask(_) => Self::Ask,
            Decision::Deny(_) | Decision::Unseen if is_seen => Self::Deny,
            Decision::Deny(_) | Decision::Unseen => Self::Hidden,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
            Self::Hidden => "hidden",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.as_str() == text)
    }
}

pub(super) fn rule(decision: &Decision) -> Option<String> {
    match decision {
        Decision::Allow(rule) | Decision::Deny(rule) => Some(rule.to_string()),
        Decision::Ask(ask) => Some(ask.rule.to_string()),
        Decision::Unseen => None,
    }
}

/// Somebody with these roles, and with a credential that narrows nothing.
pub(super) fn somebody(
    id: PrincipalId,
    roles: BTreeSet<RoleName>,
    claims: Map<String, Value>,
) -> Principal {
    Principal {
        id,
        roles,
        credential: Credential::Local,
        client: None,
        scopes: Scopes::EVERY,
        expires_at: None,
        claims: Arc::new(claims),
    }
}

/// What is done with which kind of thing.
pub(super) fn verb_and_kind(about: About, name: &str) -> (Verb, SubjectKind) {
    match about {
        About::Any | About::Tool => (Verb::Use, SubjectKind::Tool),
        About::Prompt => (Verb::Use, SubjectKind::Prompt),
        About::Resource => (Verb::Use, SubjectKind::Resource),
        About::Completion if name.contains("://") => (Verb::Complete, SubjectKind::Resource),
        About::Completion => (Verb::Complete, SubjectKind::Prompt),
        About::Subscription => (Verb::Subscribe, SubjectKind::Resource),
        About::Task => (Verb::Task, SubjectKind::Tool),
        About::Method => (Verb::Use, SubjectKind::Method),
        About::Sampling => (Verb::Sample, SubjectKind::Sampling),
        About::Admin => (Verb::Administer, SubjectKind::Admin),
    }
}

/// `files.read_text`, split at the first dot. What an upstream asks of a model has no name besides the upstream's.
pub(super) fn pair(about: About, text: &str) -> Result<(UpstreamId, String), String> {
    let (upstream, name) = match text.split_once('.') {
        Some((upstream, name)) if !name.is_empty() => (upstream, name),
        _ if about == About::Sampling => (text, "sampling"),
        _ => return Err(format!("`{text}` is not an upstream, a dot and a name")),
    };
    let upstream = UpstreamId::parse(upstream).map_err(|error| format!("`{upstream}`: {error}"))?;
    Ok((upstream, name.to_owned()))
}

/// Whether the config has this upstream, switched on.
pub(super) fn has_upstream(loaded: &Loaded, id: &UpstreamId) -> bool {
    loaded.upstreams.iter().any(|spec| spec.id == *id)
}

/// The virtual server of that name.
pub(super) fn server(loaded: &Loaded, name: &str) -> Result<ServerName, String> {
    let parsed = ServerName::new(name).map_err(|error| format!("`{name}`: {error}"))?;
    if loaded.gateway.servers.contains_key(&parsed) {
        return Ok(parsed);
    }
    Err(format!("there is no virtual server `{name}` in the config"))
}

/// Whether tools that say that they destroy are asked about, whatever the rules allow.
pub(super) fn asks_destructive(loaded: &Loaded, server: Option<&ServerName>) -> bool {
    let settings = &loaded.gateway;
    let server = server.and_then(|name| settings.servers.get(name));
    server.map_or(settings.consent.asks_destructive, |server| {
        server.asks_destructive
    })
}

/// The roles that the config and the database give a principal by any of its credentials.
pub(super) fn roles_of(
    loaded: &Loaded,
    store: Option<&Store>,
    id: &PrincipalId,
) -> Result<BTreeSet<RoleName>, store::Error> {
    let mut roles = loaded.gateway.rules.roles_of(id);
    if id.as_str() == LOCAL {
        roles.extend(RoleName::new(Rules::OWNER));
    }
    let keys = loaded.auth.keys.iter().filter(|key| key.principal == *id);
    roles.extend(keys.flat_map(|key: &ConfiguredKey| key.roles.iter().cloned()));
    if let Some(store) = store {
        let keys = store.list_keys()?;
        let keys = keys.into_iter().filter(|key| key.principal == id.as_str());
        let keys = keys.filter(|key| key.revoked_at.is_none());
        let account = store.get_account(id.as_str())?;
        let names = keys
            .flat_map(|key| key.roles)
            .chain(account.into_iter().flat_map(|account| account.roles));
        roles.extend(names.filter_map(|name| RoleName::new(&name).ok()));
    }
    Ok(roles)
}
