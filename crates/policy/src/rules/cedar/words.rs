//! The names that conditions know: members of the request, actions, kinds of entries. One list each, from which the
//! schema for types, the request and the complaints about typing errors come.

use super::super::{SubjectKind, Verb};

/// Members of `context`, besides the arguments.
pub(super) const CONTEXT: &[&str] = &["client", "now", "server"];
/// The member of `context` that holds the arguments.
pub(super) const ARGS: &str = "args";
/// Members of `principal`.
pub(super) const PRINCIPAL: &[&str] = &["id", "roles", "claims", "credential", "scopes"];
/// The member of `principal` whose types nobody knows.
pub(super) const CLAIMS: &str = "claims";
/// Members of `resource`.
pub(super) const RESOURCE: &[&str] = &[
    "upstream",
    "name",
    "kind",
    "server",
    "read_only",
    "destructive",
    "idempotent",
    "open_world",
    "private",
];

/// Those of them that its server and the config say of it.
pub(super) const HINTS: &[&str] = &[
    "read_only",
    "destructive",
    "idempotent",
    "open_world",
    "private",
];

pub(super) const PRINCIPALS: &str = "Principal";
pub(super) const ROLE: &str = "Role";
/// A group of all entries that a pattern matches.
pub(super) const PATTERN: &str = "Pattern";
/// A group of all that is reached through a virtual server.
pub(super) const SERVER: &str = "Server";
pub(super) const ACTION: &str = "Action";
/// `null` among arguments: equal to itself and to nothing else.
pub(super) const NULL: &str = "Null";
/// A number that Cedar has no type for: equal to itself, and neither less nor greater than anything.
pub(super) const NUMBER: &str = "Number";

/// Types that a condition may name.
pub(super) const TYPES: &[&str] = &[
    PRINCIPALS, ROLE, NULL, "Tool", "Prompt", "Resource", "Method", "Sampling", "Admin",
];

/// The types of all that has any. `args` and `claims` are left open: no part that looks into them is checked.
pub(super) const SCHEMA: &str = r"
entity Role;
entity Pattern;
entity Server;
entity Principal in [Role] {
  id: String, roles: Set<String>, claims: {}, credential: String, scopes: Set<String>,
};
entity Tool, Prompt, Resource, Method, Sampling, Admin in [Pattern, Server] {
  upstream: String, name: String, kind: String, server?: String,
  read_only: Bool, destructive: Bool, idempotent: Bool, open_world: Bool, private: Bool,
};
action use, complete, subscribe, task, sample, administer appliesTo {
  principal: Principal,
  resource: [Tool, Prompt, Resource, Method, Sampling, Admin],
  context: { args: {}, client: String, now: datetime, server?: String },
};
";

/// All members of `context`.
pub(super) fn context() -> Vec<&'static str> {
    std::iter::once(ARGS)
        .chain(CONTEXT.iter().copied())
        .collect()
}

/// What conditions call a verb.
pub(super) struct Action;

impl Action {
    pub(super) const NAMES: [&str; 6] = [
        "use",
        "complete",
        "subscribe",
        "task",
        "sample",
        "administer",
    ];

    pub(super) fn name(verb: Verb) -> &'static str {
        match verb {
            Verb::Use => "use",
            Verb::Complete => "complete",
            Verb::Subscribe => "subscribe",
            Verb::Task => "task",
            Verb::Sample => "sample",
            Verb::Administer => "administer",
        }
    }
}

/// The type of an entry, and what `resource.kind` says.
pub(super) fn kind(kind: SubjectKind) -> (&'static str, &'static str) {
    match kind {
        SubjectKind::Tool => ("Tool", "tool"),
        SubjectKind::Prompt => ("Prompt", "prompt"),
        SubjectKind::Resource => ("Resource", "resource"),
        SubjectKind::Method => ("Method", "method"),
        SubjectKind::Sampling => ("Sampling", "sampling"),
        SubjectKind::Admin => ("Admin", "admin"),
    }
}
