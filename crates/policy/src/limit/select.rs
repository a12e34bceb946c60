//! Which calls a limit or quota counts, and by what it tells them apart.

use std::collections::BTreeSet;

use crate::{Pattern, Principal, RoleName, ServerName, UpstreamId};

/// What has a counter of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// Each principal.
    Principal,
    /// Each role: all who hold it share one counter, and who holds several is counted in each.
    Role,
    /// Each tool, prompt, resource or template, over all principals.
    Entry,
    /// Each upstream.
    Upstream,
    /// Each virtual server, and the gate's own endpoint as one more.
    Server,
    /// Nothing: one counter for all.
    Global,
}

/// A call, as far as counting it goes.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// Who makes it.
    pub principal: &'a Principal,
    /// What it is about; `None` for what the gate answers by itself.
    pub entry: Option<CountedEntry<'a>>,
    /// The virtual server that it came through.
    pub server: Option<&'a ServerName>,
}

/// What a call is about.
#[derive(Debug, Clone, Copy)]
pub struct CountedEntry<'a> {
    /// Whose it is.
    pub upstream: &'a UpstreamId,
    /// The upstream's own name for it; for resources what is listed, such as a template. It names the counter: clients
    /// can make up URIs, but not these.
    pub key: &'a str,
    /// What patterns are held against: the upstream's own name, or every reading of the URI that was asked for.
    pub names: &'a [&'a str],
}

/// Which calls, and by what they are told apart.
#[derive(Debug, Clone)]
pub struct Selector {
    /// What has a counter of its own.
    pub per: Per,
    /// Only calls of these entries; empty for all of them.
    pub of: Vec<Pattern>,
    /// Only calls of principals who hold one of these roles; empty for everybody. Counted per role, these are the only
    /// roles that have counters.
    pub roles: BTreeSet<RoleName>,
}

impl Selector {
    /// Everything, by principal.
    #[must_use]
    pub fn per_principal() -> Self {
        Self {
            per: Per::Principal,
            of: Vec::new(),
            roles: BTreeSet::new(),
        }
    }

    /// Names each holder of a counter that this call is counted in, in parts; none if it is not counted.
    pub(super) fn holders(&self, counted: &Counted<'_>, mut each: impl FnMut(&[&str])) {
        if !self.is_about(counted) {
            return;
        }
        match (self.per, counted.entry) {
            (Per::Principal, _) => each(&[counted.principal.id.as_str()]),
            (Per::Role, _) => {
                let held = counted.principal.roles.iter();
                held.filter(|role| self.roles.is_empty() || self.roles.contains(*role))
                    .for_each(|role| each(&[role.as_str()]));
            }
            (Per::Entry, Some(entry)) => each(&[entry.upstream.as_str(), entry.key]),
            (Per::Upstream, Some(entry)) => each(&[entry.upstream.as_str()]),
            (Per::Entry | Per::Upstream, None) => {}
            (Per::Server, _) => match counted.server {
                Some(server) => each(&[server.as_str()]),
                None => each(&[]),
            },
            (Per::Global, _) => each(&[]),
        }
    }

    fn is_about(&self, counted: &Counted<'_>) -> bool {
        let speaks_of = |entry: &CountedEntry<'_>| {
            let mut names = entry.names.iter();
            names.any(|name| self.of.iter().any(|of| of.matches(entry.upstream, name)))
        };
        (self.of.is_empty() || counted.entry.as_ref().is_some_and(speaks_of))
            && (self.roles.is_empty() || !self.roles.is_disjoint(&counted.principal.roles))
    }
}
