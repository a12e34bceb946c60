//! What a config says that is no mistake by itself, but does nothing as it stands, or leaves something undone.
//!
//! A pattern may speak of an upstream that another layer adds, and a slice may be filled later: this is told at the start,
//! by `check`, and by whoever asks the rules, and keeps no gate from starting. Entries that an upstream does not have are not
//! looked for: only a gate that runs knows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway::{ServerSettings, VirtualServer};
use observe::AuditMode;
use policy::config::{Complaint, Complaints};
use policy::rules::{About, Target};
use policy::{ServerName, UpstreamId};

use super::raw::Raw;
use super::roles::RawRole;
use super::shape::nearest;

/// What is doubted in a config that holds.
pub(super) fn doubts(raw: &Raw, servers: &ServerSettings) -> Vec<Complaint> {
    let builtins = raw.builtins.iter().map(|builtin| builtin.alias());
    let aliases = raw.upstreams.keys().map(String::as_str).chain(builtins);
    let known = Known(aliases.collect());
    let mut found = Complaints::new();
    if raw.audit.mode() == AuditMode::Off {
        let hint = "take `durable`, unless what the log costs is to be measured";
        found.at("audit", |found| {
            found.at("mode", |found| found.add("calls leave no record", hint));
        });
    }
    found.at("roles", |found| known.roles(&raw.roles, found));
    found.at("limits", |found| {
        let rules = raw.limits.rules.iter().map(|(name, rule)| (name, &rule.of));
        let quotas = raw.limits.quotas.iter();
        let quotas = quotas.map(|(name, quota)| (name, &quota.of));
        found.at("rules", |found| known.lists(rules, found));
        found.at("quotas", |found| known.lists(quotas, found));
        found.at("costs", |found| {
            for pattern in raw.limits.costs.keys() {
                found.at(pattern, |found| known.pattern(pattern, found));
            }
        });
    });
    found.at("consent", |found| {
        found.at("private", |found| known.list(&raw.consent.private, found));
    });
    found.at("virtual_servers", |found| {
        for (name, server) in servers {
            found.at(name.as_str(), |found| known.server(name, server, found));
        }
    });
    found.into_list()
}

/// The aliases of all upstreams, those that are switched off among them.
struct Known<'a>(Vec<&'a str>);

impl Known<'_> {
    fn roles(&self, roles: &BTreeMap<String, RawRole>, found: &mut Complaints) {
        for (name, role) in roles {
            let lists = [
                ("allow", &role.allow),
                ("ask", &role.ask),
                ("deny", &role.deny),
            ];
            found.at(name, |found| {
                for (key, rules) in lists {
                    found.at(key, |found| {
                        // Areas of the admin API are no upstreams.
                        let said = rules.iter().enumerate();
                        for (at, text) in said.filter_map(|(at, rule)| Some((at, rule.entries()?)))
                        {
                            found.at(at.to_string(), |found| self.pattern(text, found));
                        }
                    });
                }
            });
        }
    }

    fn lists<'l>(
        &self,
        lists: impl Iterator<Item = (&'l String, &'l Vec<String>)>,
        found: &mut Complaints,
    ) {
        for (name, patterns) in lists {
            found.at(name, |found| {
                found.at("of", |found| self.list(patterns, found));
            });
        }
    }

    fn list(&self, patterns: &[String], found: &mut Complaints) {
        for (at, text) in patterns.iter().enumerate() {
            found.at(at.to_string(), |found| self.pattern(text, found));
        }
    }

    /// Doubts a pattern that is about no upstream of these.
    fn pattern(&self, text: &str, found: &mut Complaints) {
        let Ok(target) = Target::parse(About::Any, text) else {
            return;
        };
        if self.any(|alias| target.pattern.is_about(alias)) {
            return;
        }
        let pattern = target.pattern.to_string();
        let alias = pattern
            .split_once('.')
            .map_or(pattern.as_str(), |(alias, _)| alias);
        let hint = match nearest(alias, &self.0) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it does nothing until there is one: [upstreams.{alias}]"),
        };
        found.add(format!("there is no upstream `{alias}`"), hint);
    }

    fn server(&self, name: &ServerName, server: &Arc<VirtualServer>, found: &mut Complaints) {
        let includes = |alias: &UpstreamId| {
            let mut picks = server.include.iter();
            picks.any(|pick| pick.pattern.is_about(alias))
        };
        if !self.any(includes) {
            found.at("include", |found| {
                let hint = format!(
                    "name entries of upstreams that there are, or nobody finds /mcp/{name}"
                );
                found.add("nothing is in it", hint);
            });
        }
        for id in server.edits.keys() {
            let has = |picks: &[gateway::Pick]| {
                picks.iter().any(|pick| {
                    pick.kind.is_none_or(|kind| kind == id.kind)
                        && pick.pattern.matches(&id.upstream, &id.name)
                })
            };
            if !has(&server.include) || has(&server.exclude) {
                let entry = format!("{}.{}", id.upstream, id.name);
                found.at(table(id.kind), |found| {
                    found.at(&entry, |found| {
                        let hint = "change `include` or `exclude`, or leave this out";
                        found.add("is not in this virtual server", hint);
                    });
                });
            }
        }
    }

    fn any(&self, fits: impl Fn(&UpstreamId) -> bool) -> bool {
        let mut aliases = self
            .0
            .iter()
            .filter_map(|alias| UpstreamId::parse(alias).ok());
        aliases.any(|alias| fits(&alias))
    }
}

/// The table of a virtual server that changes entries of a kind.
fn table(kind: gateway::EntryKind) -> &'static str {
    match kind {
        gateway::EntryKind::Tool => "tools",
        gateway::EntryKind::Prompt => "prompts",
        gateway::EntryKind::Resource => "resources",
        gateway::EntryKind::Template => "templates",
    }
}
