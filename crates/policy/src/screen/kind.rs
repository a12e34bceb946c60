//! The closed set of what screening finds, and how often it found it.

use std::collections::BTreeMap;
use std::fmt;

/// What a kind is a kind of; each is treated as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// Code points that a person does not see and a model reads.
    Invisible,
    /// What opens a door.
    Secrets,
    /// What tells who somebody is.
    Personal,
    /// Orders to a model in what should be data.
    Injection,
}

macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident $group:ident $word:literal)+) => {
        /// One kind of find.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])+ $kind,)+ }

        impl Kind {
            /// All of them, in the order of records and pages.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// Its word in config, records, metrics and replacements.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$kind => $word,)+ }
            }

            /// What it is a kind of.
            #[must_use]
            pub const fn group(self) -> Group {
                match self { $(Self::$kind => Group::$group,)+ }
            }
        }
    };
}

kinds! {
    /// C0 and C1 control characters other than tab and line ends, and DEL.
    Control Invisible "control"
    /// Escape sequences of terminals (ECMA-48), with all that belongs to them.
    Ansi Invisible "ansi"
    /// Embeddings, overrides and isolates of writing direction.
    Bidi Invisible "bidi"
    /// Characters without width, where no script or emoji needs them.
    ZeroWidth Invisible "zero_width"
    /// The tag block (U+E0000 and the rest of that plane), which spells out hidden ASCII.
    Tag Invisible "tag"
    /// Private use: nobody can say what a reader makes of it.
    PrivateUse Invisible "private_use"
    /// Variation selectors that belong to no emoji.
    Variation Invisible "variation"
    /// Access key ids of AWS.
    AwsKey Secrets "aws_key"
    /// API keys, tokens and client secrets of Google.
    GoogleKey Secrets "google_key"
    /// Tokens of GitHub.
    GithubToken Secrets "github_token"
    /// Tokens of GitLab.
    GitlabToken Secrets "gitlab_token"
    /// Tokens and webhooks of Slack.
    SlackToken Secrets "slack_token"
    /// Keys of Stripe.
    StripeKey Secrets "stripe_key"
    /// Keys of `OpenAI`, and of those who write theirs alike.
    OpenaiKey Secrets "openai_key"
    /// Keys of Anthropic.
    AnthropicKey Secrets "anthropic_key"
    /// Tokens and keys of other services that mark them as such.
    ServiceToken Secrets "service_token"
    /// Private keys in PEM.
    PrivateKey Secrets "private_key"
    /// JSON Web Tokens.
    Jwt Secrets "jwt"
    /// The password in a URL.
    UrlPassword Secrets "url_password"
    /// A value that looks random beside a name that says it is secret.
    NamedSecret Secrets "named_secret"
    /// E-mail addresses.
    Email Personal "email"
    /// Bank accounts (ISO 13616) whose check digits are right.
    Iban Personal "iban"
    /// Payment cards of a known issuer whose check digit is right.
    Card Personal "card"
    /// Telephone numbers with their country (E.164).
    Phone Personal "phone"
    /// Social security numbers of the United States.
    Ssn Personal "ssn"
    /// IP addresses.
    Ip Personal "ip"
    /// "Ignore previous instructions", and how else it is said.
    Override Injection "override"
    /// What the user shall not be told.
    Secrecy Injection "secrecy"
    /// Marks of a chat's turns, which only the client writes.
    RoleTag Injection "role_tag"
    /// Somebody who wants the hidden prompt.
    PromptLeak Injection "prompt_leak"
    /// Orders about when to use tools and what to give them.
    ToolOrder Injection "tool_order"
    /// Data that is to leave, in the address of an image or in plain words.
    Exfiltration Injection "exfiltration"
    /// Words that turn to a model, or make it somebody else.
    Address Injection "address"
}

impl Kind {
    /// The kind of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.word() == word)
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(u64);

impl Kinds {
    /// None.
    pub const NONE: Self = Self(0);
    /// All.
    pub const ALL: Self = Self((1 << Kind::ALL.len()) - 1);

    /// Whether a kind is in it.
    #[must_use]
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u64) != 0
    }

    /// The set with a kind in it.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | (1 << kind as u64))
    }

    /// The set without a kind.
    #[must_use]
    pub const fn without(self, kind: Kind) -> Self {
        Self(self.0 & !(1 << kind as u64))
    }

    /// Those of a group.
    #[must_use]
    pub fn of(self, group: Group) -> Self {
        Kind::ALL
            .iter()
            .filter(|kind| kind.group() == group && self.has(**kind))
            .fold(Self::NONE, |kinds, kind| kinds.with(*kind))
    }

    /// Those of either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Default for Kinds {
    /// All but IP addresses, which are what many tools are about.
    fn default() -> Self {
        Self::ALL.without(Kind::Ip)
    }
}

/// What was found, and how often. Written as `bidi:2,aws_key:1`, nothing of what was found in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found(BTreeMap<Kind, u32>);

impl Found {
    /// One more of a kind.
    pub fn note(&mut self, kind: Kind) {
        self.add(kind, 1);
    }

    /// So many more of a kind.
    pub(super) fn add(&mut self, kind: Kind, count: u32) {
        let so_far = self.0.entry(kind).or_default();
        *so_far = so_far.saturating_add(count);
    }

    /// All of another's too.
    pub fn merge(&mut self, other: &Self) {
        for (kind, count) in other.iter() {
            self.add(kind, count);
        }
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How often a kind was found.
    #[must_use]
    pub fn count(&self, kind: Kind) -> u32 {
        self.0.get(&kind).copied().unwrap_or_default()
    }

    /// The first kind of a group that was found.
    #[must_use]
    pub fn first(&self, group: Group) -> Option<Kind> {
        self.0.keys().copied().find(|kind| kind.group() == group)
    }

    /// Kinds and counts.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, u32)> {
        self.0.iter().map(|(kind, count)| (*kind, *count))
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (kind, count)) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}:{count}", kind.word())?;
        }
        Ok(())
    }
}
