//! What the matrix is made of: every kind of rule, with all that rules speak of, for every kind of caller.
//!
//! The lists are closed: a new member is a cell that no file covers, and [`uncovered`] says so.

use std::collections::{BTreeMap, BTreeSet};

use policy::rules::{About, Effect};
use serde::Deserialize;

use super::page::Page;

macro_rules! closed {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
        pub(super) enum $name {
            $($(#[$member_doc])* #[serde(rename = $word)] $member,)*
        }

        impl $name {
            pub(super) const ALL: &[Self] = &[$(Self::$member,)*];

            pub(super) fn word(self) -> &'static str {
                match self {
                    $(Self::$member => $word,)*
                }
            }
        }
    };
}

closed! {
    /// What kind of rule is tried. What it does, to allow, to ask or to deny, is the caller's part of a file.
    Kind {
        /// `files.read_*`
        Pattern = "pattern",
        /// `desk/files.read_*`: only through a virtual server.
        Server = "server",
        /// `{ tool = "files.read_*" }`: only what is done with this kind of thing.
        Table = "table",
        /// `when = 'context.args.path == "public"'`
        Arguments = "arguments",
        /// `when = 'principal.claims.team == "desk"'`
        Claims = "claims",
        /// `when = 'context.client like "editor/*"'`
        Client = "client",
        /// `when = 'context.now < datetime("2026-01-02T04:00:00Z")'`
        Time = "time",
        /// `when = 'resource.read_only'`
        Annotations = "annotations",
        /// `when = 'resource.upstream == "ledger"'`
        Upstream = "upstream",
    }
}

closed! {
    /// What is reached, and what for.
    Subject {
        Tool = "tool",
        Prompt = "prompt",
        Resource = "resource",
        Template = "template",
        Completion = "completion",
        Subscription = "subscription",
        Task = "task",
        Admin = "admin",
    }
}

closed! {
    /// Who asks.
    Caller {
        /// Presents nothing.
        Anonymous = "anonymous",
        /// Is known, and holds a role that speaks of other things.
        Stranger = "stranger",
        /// Holds a role whose rule of this kind allows.
        Allowed = "allowed",
        /// Holds a role whose rule of this kind asks.
        Ask = "ask",
        /// Holds a role that allows, and whose rule of this kind denies.
        Denied = "denied",
    }
}

/// Cells that cannot be, and why.
const IMPOSSIBLE: &[(Kind, Subject, &str)] = &[(
    Kind::Server,
    Subject::Admin,
    "the admin API is no part of a virtual server: such a rule is refused, see `server::config`",
)];

/// The kinds of files that there must be for everything that a rule can be about; empty where it is no part of this
/// matrix. Without `_`, so that something new to be about does not compile before it is somewhere.
pub(super) fn subjects(about: About) -> &'static [Subject] {
    match about {
        About::Any => Subject::ALL,
        About::Tool => &[Subject::Tool],
        About::Prompt => &[Subject::Prompt],
        About::Resource => &[Subject::Resource, Subject::Template],
        About::Completion => &[Subject::Completion],
        About::Subscription => &[Subject::Subscription],
        About::Task => &[Subject::Task],
        About::Admin => &[Subject::Admin],
        // What an upstream asks is `asking`'s; methods of extensions are in `cases/resolve`.
        About::Sampling | About::Method => &[],
    }
}

/// Whose part of a file holds the rule with this effect.
pub(super) fn caller(effect: Effect) -> Caller {
    match effect {
        Effect::Allow => Caller::Allowed,
        Effect::Ask => Caller::Ask,
        Effect::Deny => Caller::Denied,
    }
}

/// The cells that no file covers, as `kind subject caller`.
pub(super) fn uncovered(pages: &BTreeMap<(Kind, Subject), Page>) -> BTreeSet<String> {
    let mut missing = BTreeSet::new();
    for &kind in Kind::ALL {
        for &subject in Subject::ALL {
            if IMPOSSIBLE
                .iter()
                .any(|cell| (cell.0, cell.1) == (kind, subject))
            {
                continue;
            }
            let page = pages.get(&(kind, subject));
            for &caller in Caller::ALL {
                if !page.is_some_and(|page| page.covers(caller)) {
                    missing.insert([kind.word(), subject.word(), caller.word()].join(" "));
                }
            }
        }
    }
    missing
}
