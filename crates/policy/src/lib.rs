//! Who may do what, how often, and with which arguments.
//!
//! Pure: no I/O, and time is an argument (or a [`Clock`] that somebody else built). Names, principals,
//! rules, limit arithmetic and argument schemas; where to keep counters and what to tell a client is
//! `gateway`. Start at [`Rules::decide`].

pub mod canonical;
mod clock;
pub mod config;
pub mod confusable;
mod limit;
mod name;
mod nearest;
mod pattern;
mod principal;
pub mod rules;
pub mod schema;
mod scope;
pub mod screen;

pub use clock::{Clock, Instant};
pub use limit::{
    Adaptive, Amount, Bounds, Bucket, Cost, Counted, CountedEntry, Every, Limit, LimitRule, Per,
    QuotaRule, Selector, Window,
};
pub use name::{LimitName, NameError, PrincipalId, RoleName, ServerName, UpstreamId};
pub use pattern::{Pattern, PatternError};
pub use principal::{Credential, Principal, Token};
pub use rules::{
    Ask, Decision, Facts, Memo, Remember, Role, RuleId, Rules, RulesError, Subject, SubjectKind,
    Terms, Traits, Verb,
};
pub use schema::{Fault, PromptArguments, Schema, SchemaError};
pub use scope::{Scope, Scopes};
