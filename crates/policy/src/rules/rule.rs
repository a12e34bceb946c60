//! One rule of a role: what it speaks of, when it holds, and on which terms it asks.
//!
//! The forms that people write are read in `server::config`; what a rule comes to beside others is `rules`.

use std::fmt;
use std::sync::Arc;

use super::cedar::Condition;
use super::{SubjectKind, Terms, Verb};
use crate::{NameError, Pattern, PatternError, ServerName};

/// What a rule does where it holds. In the order in which the later beats the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// It may be done.
    Allow,
    /// It may be done once a person has said yes.
    Ask,
    /// It may not be done, whatever other rules say.
    Deny,
}

impl Effect {
    /// As it stands in the config and in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// What kind of thing a rule speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    /// Every entry, whatever is done with it; neither the admin API nor sampling. A rule that is only a pattern.
    Any,
    /// A tool, and the tasks that its calls come to.
    Tool,
    /// A prompt, and the completion of its arguments.
    Prompt,
    /// A resource: reading it, being told of its changes, completion in its template.
    Resource,
    /// Completion only, of prompts and templates.
    Completion,
    /// Being told of a resource's changes, and nothing else of it.
    Subscription,
    /// Tasks only: to see, feed and cancel them.
    Task,
    /// A method of an extension.
    Method,
    /// The client's model being asked on behalf of an upstream.
    Sampling,
    /// An action of the admin API: `keys.create`.
    Admin,
}

impl About {
    /// All there are, in the order of the reference page.
    pub const ALL: [Self; 10] = [
        Self::Any,
        Self::Tool,
        Self::Prompt,
        Self::Resource,
        Self::Completion,
        Self::Subscription,
        Self::Task,
        Self::Method,
        Self::Sampling,
        Self::Admin,
    ];

    /// As it stands in the config.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Completion => "completion",
            Self::Subscription => "subscription",
            Self::Task => "task",
            Self::Method => "method",
            Self::Sampling => "sampling",
            Self::Admin => "admin",
        }
    }

    /// What may be done with it.
    #[must_use]
    pub fn verbs(self) -> &'static [Verb] {
        match self {
            Self::Any => &[Verb::Use, Verb::Complete, Verb::Subscribe, Verb::Task],
            Self::Tool => &[Verb::Use, Verb::Task],
            Self::Prompt => &[Verb::Use, Verb::Complete],
            Self::Resource => &[Verb::Use, Verb::Complete, Verb::Subscribe],
            Self::Completion => &[Verb::Complete],
            Self::Subscription => &[Verb::Subscribe],
            Self::Task => &[Verb::Task],
            Self::Method => &[Verb::Use],
            Self::Sampling => &[Verb::Sample],
            Self::Admin => &[Verb::Administer],
        }
    }

    /// Which entries it is about; `None`: of every kind that has the verb.
    #[must_use]
    pub fn kind(self) -> Option<SubjectKind> {
        match self {
            Self::Any | Self::Completion | Self::Subscription | Self::Task => None,
            Self::Tool => Some(SubjectKind::Tool),
            Self::Prompt => Some(SubjectKind::Prompt),
            Self::Resource => Some(SubjectKind::Resource),
            Self::Method => Some(SubjectKind::Method),
            Self::Sampling => Some(SubjectKind::Sampling),
            Self::Admin => Some(SubjectKind::Admin),
        }
    }

    /// Whether it speaks of doing that with an entry of that kind.
    #[must_use]
    pub fn covers(self, verb: Verb, kind: SubjectKind) -> bool {
        self.verbs().contains(&verb) && self.kind().is_none_or(|about| about == kind)
    }
}

/// Why a text does not say what a rule speaks of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// What stands before the slash is no virtual server.
    #[error("`{server}` before the `/` is no name of a virtual server")]
    Server {
        /// What stands there.
        server: String,
        /// What is wrong with it.
        #[source]
        cause: NameError,
    },
    /// What stands after it, or all, is no pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The admin API is no part of a virtual server, and neither is what an upstream asks.
    #[error("`{0}` rules hold for every server; leave out what stands before the `/`")]
    Everywhere(&'static str),
}

/// Which entries a rule speaks of, and through which server they are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What kind of thing.
    pub about: About,
    /// Only through this virtual server; `None`: however it is reached.
    pub server: Option<ServerName>,
    /// Which of them.
    pub pattern: Pattern,
}

impl Target {
    /// Reads `upstream.entry`, `*`, or either behind a virtual server and a slash: `support/tickets.*`. A slash after
    /// the first dot belongs to the entry: `files.file:///srv/*`.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(about: About, text: &str) -> Result<Self, TargetError> {
        let (server, pattern) = match text.split_once('/') {
            Some((server, pattern)) if !server.contains('.') => (Some(server), pattern),
            _ => (None, text),
        };
        if server.is_some() && matches!(about, About::Admin | About::Sampling) {
            return Err(TargetError::Everywhere(about.as_str()));
        }
        let server = server
            .map(|server| {
                ServerName::new(server).map_err(|cause| TargetError::Server {
                    server: server.to_owned(),
                    cause,
                })
            })
            .transpose()?;
        Ok(Self {
            about,
            server,
            pattern: Pattern::parse(pattern)?,
        })
    }
}

/// As it is written: a kind only where there is one to tell.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.about != About::Any {
            write!(f, "{} ", self.about.as_str())?;
        }
        if let Some(server) = &self.server {
            write!(f, "{server}/")?;
        }
        write!(f, "{}", self.pattern)
    }
}

/// A rule as a role has it.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What it speaks of.
    pub target: Target,
    /// When it holds; `None`: always.
    pub condition: Option<Condition>,
    /// Why there is such a rule, for those who read records.
    pub reason: Option<Arc<str>>,
    /// On which terms it asks; of no consequence for others.
    pub terms: Terms,
}

impl From<Target> for Rule {
    fn from(target: Target) -> Self {
        Self {
            target,
            condition: None,
            reason: None,
            terms: Terms::default(),
        }
    }
}

/// What stands behind `role reader: allow` in the name of the rule.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.target)?;
        if let Some(condition) = &self.condition {
            write!(f, " {condition}")?;
        }
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}
