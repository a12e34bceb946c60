//! `portcullis policy`: what the rules say, held against cases, explained, and against the calls that were recorded.
//!
//! Nothing here asks a gate or an upstream: the rules are those of the config as it is written now.

mod cases;
mod explain;
mod question;
mod simulate;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use policy::rules::About;

use super::{Common, Exit};

/// `portcullis policy`.
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyCommand {
    /// Hold the rules against a table of cases; fails if one comes out otherwise.
    #[command(
        after_help = "Examples:\n  portcullis policy test policy-tests.toml\n  portcullis policy test policy-tests.toml --config gate.toml --json\n\n\
                      A case in the file:\n\n    \
                      [[case]]\n    principal = \"alice\"\n    roles = [\"support\"]          # besides those whose `members` name it\n    \
                      tool = \"tickets.update\"       # or prompt, resource, completion, subscription, task, method, sampling, admin\n    \
                      args = { priority = \"p0\" }\n    expect = \"deny\"              # or allow, ask, hidden\n    \
                      rule = \"role support: deny\"   # optional: how the name of the rule that decides starts\n\n\
                      Also: name, claims, scopes, client, now, server, and traits = { read_only = true }."
    )]
    Test {
        /// The file, in TOML.
        file: PathBuf,
    },
    /// Say what the rules make of a call: which rule decides, and why the others do not.
    #[command(
        after_help = "Examples:\n  portcullis policy explain alice tickets.update priority=p0\n  \
                      portcullis policy explain alice files.file:///srv/docs/a.md --kind resource\n  \
                      portcullis policy explain ci keys.create --kind admin --role automation --json\n\n\
                      The roles are those whose `members` name the principal, and those of its keys and account; --role adds others, \
                      such as a token brings. `local` is whoever is at this machine without a key. Only rules are looked at: limits, \
                      schemas, pins and `consent.destructive` have their say besides."
    )]
    Explain(Explain),
    /// Hold recorded calls against the rules as they are written now, and show what would change.
    #[command(
        after_help = "Examples:\n  portcullis policy simulate\n  portcullis policy simulate --since 7d --config next.toml\n  \
                      portcullis policy simulate --since 1h --all --json\n\n\
                      Of arguments the record has only digests, of tokens and tools nothing. Roles are those that config, keys and \
                      accounts give today; those that a token of another issuer, a certificate or a sign-in elsewhere brought are not \
                      recorded. Where a decision hangs on any of these, it is shown as `depends on …` and not guessed."
    )]
    Simulate(Simulate),
}

/// `portcullis policy explain`.
#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// Who calls.
    pub principal: String,
    /// What: an upstream's alias, a dot, and its own name for it: `files.read_text`.
    pub entry: String,
    /// Arguments: one JSON object, `-` to read it from stdin, or name=value pairs.
    pub arguments: Vec<String>,
    /// What kind of thing it is.
    #[arg(long, value_enum, default_value_t = What::Tool)]
    pub kind: What,
    /// A role that the principal has besides; repeat for several.
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
    /// A claim that its token makes, as name=value; repeat for several.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub claims: Vec<String>,
    /// Through which virtual server.
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
    /// Name and version of the client, as it says them.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub client: String,
    /// At what time, as 2026-12-24T18:00:00Z; now, if left out.
    #[arg(long, value_name = "TIME")]
    pub now: Option<String>,
}

/// `portcullis policy simulate`.
#[derive(Debug, Clone, Args)]
pub struct Simulate {
    /// How far back: 24h, 7d.
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub since: String,
    /// Show what stays the same too.
    #[arg(long)]
    pub all: bool,
}

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Calling a tool.
    Tool,
    /// Getting a prompt.
    Prompt,
    /// Reading a resource.
    Resource,
    /// Completing an argument of a prompt, or of a resource template if the name is a URI.
    Completion,
    /// Being told of a resource's changes.
    Subscription,
    /// A task that a call of the tool came to.
    Task,
    /// A method of an extension.
    Method,
    /// What the upstream asks of the client's model.
    Sampling,
    /// An action of the admin API.
    Admin,
}

impl What {
    fn about(self) -> About {
        match self {
            Self::Tool => About::Tool,
            Self::Prompt => About::Prompt,
            Self::Resource => About::Resource,
            Self::Completion => About::Completion,
            Self::Subscription => About::Subscription,
            Self::Task => About::Task,
            Self::Method => About::Method,
            Self::Sampling => About::Sampling,
            Self::Admin => About::Admin,
        }
    }
}

pub(super) fn policy(common: &Common, command: &PolicyCommand) -> anyhow::Result<Exit> {
    match command {
        PolicyCommand::Test { file } => cases::test(common, file),
        PolicyCommand::Explain(explain) => explain::explain(common, explain),
        PolicyCommand::Simulate(simulate) => simulate::simulate(common, simulate),
    }
}

#[cfg(test)]
mod tests;
