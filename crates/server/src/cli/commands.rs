//! What can be said on the command line, with its help and its examples. What each saying does is in the files beside
//! this; [`super::main`] leads there.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::alerts::AlertsCommand;
use super::backup::BackupCommand;
use super::clients::Client;
use super::compliance::Compliance;
use super::logs::LogsCommand;
use super::policy::PolicyCommand;
use crate::config::{Environment, Fetch, Invalid, Loaded, Sources, load, load_with};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    about = "One guarded gate between AI agents and every tool they use.",
    long_about = "One guarded gate between AI agents and every tool they use.\n\n\
                  Without a command it serves: `portcullis` is `portcullis serve`.",
    after_help = "Examples:\n  \
                  portcullis                                  serve on http://127.0.0.1:8080/mcp\n  \
                  portcullis import                           take over the servers of the clients on this machine\n  \
                  portcullis install --client cursor          have a client use the gate\n  \
                  portcullis tools list                       what is on offer\n\n\
                  Exit codes: 0 done, 1 failed, 2 usage, 3 refused by policy."
)]
pub struct Cli {
    /// What every command understands.
    #[command(flatten)]
    pub common: Common,
    /// Listen on this address instead of the configured ones; repeat for several.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// What to do; `serve` if left out.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What every command understands.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Read this config file instead of ./portcullis.toml or the one in your config folder.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Lay the file portcullis.NAME.toml beside the config over it.
    #[arg(long, global = true, value_name = "NAME")]
    pub env: Option<String>,
    /// Answer in JSON on stdout.
    #[arg(long, global = true)]
    pub json: bool,
}

impl Common {
    /// Where the settings of this command come from.
    #[must_use]
    pub fn sources(&self) -> Sources {
        Sources {
            config: self.config.clone(),
            env: self.env.clone(),
            listen: Vec::new(),
        }
    }

    /// The settings of this command.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(&self) -> Result<Loaded, Invalid> {
        load(&self.sources(), &Environment::of_process())
    }

    /// As [`Self::load`], for commands that start no upstream: secrets are not fetched, and none is missing.
    ///
    /// # Errors
    /// Everything else that is wrong with them.
    pub fn load_settings(&self) -> Result<Loaded, Invalid> {
        load_with(&self.sources(), &Environment::of_process(), Fetch::Nothing)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the gate over HTTP until told to stop.
    #[command(
        after_help = "Examples:\n  portcullis serve\n  portcullis serve --listen 127.0.0.1:9000 --listen [::1]:9000\n  \
                            portcullis serve --config gate.toml --env prod\n\n\
                            SIGTERM and Ctrl-C let calls in flight finish; SIGHUP reads the config again."
    )]
    Serve(Serve),
    /// Serve one client over stdin and stdout.
    #[command(
        after_help = "Examples:\n  portcullis stdio\n  portcullis stdio --connect http://127.0.0.1:8080/mcp\n\n\
                            Without --connect the gate runs in this process; with it, this is a bridge to a running gate."
    )]
    Stdio(Stdio),
    /// Take over MCP servers from a client's config, or from any mcp.json.
    #[command(
        after_help = "Examples:\n  portcullis import                     from every client found on this machine\n  \
                            portcullis import --from claude       from one of them\n  \
                            portcullis import mcp.json --dry-run  show what would be written\n\n\
                            Servers are added to portcullis.toml; nothing there is overwritten, and a backup is kept."
    )]
    Import(Import),
    /// Write the gate's endpoint into a client's config.
    #[command(
        after_help = "Examples:\n  portcullis install --client claude-code\n  \
                            portcullis install --client vscode --url http://127.0.0.1:9000/mcp\n  \
                            portcullis install --client cursor --dry-run"
    )]
    Install(Install),
    /// Try config, credentials and every upstream for real, and say what to do about what fails.
    #[command(
        after_help = "Examples:\n  portcullis check\n  portcullis check --config gate.toml --env prod --json"
    )]
    Check,
    /// Show the settings that hold, or the schema of the file.
    #[command(subcommand)]
    Config(Config),
    /// List tools, or call one.
    #[command(subcommand)]
    Tools(Tools),
    /// List prompts, or get one.
    #[command(subcommand)]
    Prompts(Prompts),
    /// List resources, or read one.
    #[command(subcommand)]
    Resources(Resources),
    /// Create, rotate, list and revoke API keys.
    #[command(subcommand)]
    Key(Key),
    /// Make, list and change local accounts.
    #[command(subcommand)]
    User(User),
    /// List and revoke sessions, grants and tokens.
    #[command(subcommand)]
    Session(Session),
    /// List, compare and approve the definitions that upstreams' entries are held to.
    #[command(subcommand)]
    Pin(Pin),
    /// See what waits for a person, answer it, and take back what was agreed to.
    #[command(subcommand)]
    Consent(Consent),
    /// Test the rules, explain what they say, and hold them against recorded calls.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Keep, list and remove secrets, and rotate the keys they are sealed with.
    #[command(subcommand)]
    Secret(Secret),
    /// Try those who are told when something is wrong.
    #[command(subcommand)]
    Alerts(AlertsCommand),
    /// Show and change what a running gate logs.
    #[command(subcommand)]
    Logs(LogsCommand),
    /// Read the record of calls.
    #[command(subcommand)]
    Audit(Audit),
    /// Copy all that the gate keeps into one sealed file, try such a file, and restore from it.
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Say how the config stands against security frameworks, and what shows it.
    #[command(subcommand)]
    Compliance(Compliance),
    /// Print completions for a shell.
    #[command(
        after_help = "Examples:\n  portcullis completions bash > ~/.local/share/bash-completion/completions/portcullis\n  \
                            portcullis completions zsh > ~/.zfunc/_portcullis"
    )]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// `portcullis serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct Serve {
    /// Listen on this address instead of the configured ones; repeat for several.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
}

/// `portcullis stdio`.
#[derive(Debug, Clone, Args)]
pub struct Stdio {
    /// Be a bridge to the gate at this endpoint.
    #[arg(long, value_name = "URL")]
    pub connect: Option<url::Url>,
    /// Serve this virtual server, and not the whole catalog.
    #[arg(long, value_name = "NAME", conflicts_with = "connect")]
    pub server: Option<String>,
}

/// `portcullis import`.
#[derive(Debug, Clone, Args)]
pub struct Import {
    /// Take over the servers in this file.
    #[arg(value_name = "FILE", conflicts_with = "from")]
    pub file: Option<PathBuf>,
    /// Take over a client's servers: claude, claude-code, cursor, vscode, or a file.
    #[arg(long, value_name = "CLIENT|FILE")]
    pub from: Option<String>,
    /// Print what would be written, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Write into this file instead of the config in use.
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// `portcullis install`.
#[derive(Debug, Clone, Args)]
pub struct Install {
    /// Whose config to write.
    #[arg(long)]
    pub client: Client,
    /// The gate's endpoint; from the config if left out.
    #[arg(long, value_name = "URL")]
    pub url: Option<url::Url>,
    /// Print what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// `portcullis config`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Config {
    /// Print every value that holds, with where it came from; secrets stay hidden.
    #[command(
        after_help = "Examples:\n  portcullis config show\n  portcullis config show --env prod --json"
    )]
    Show,
    /// Print the JSON Schema of portcullis.toml, for editors.
    #[command(after_help = "Examples:\n  portcullis config schema > portcullis.schema.json")]
    Schema,
}

/// `portcullis tools`.
#[derive(Debug, Clone, Subcommand)]
pub enum Tools {
    /// List the tools on offer.
    #[command(after_help = "Examples:\n  portcullis tools list\n  portcullis tools list --json")]
    List,
    /// Find tools by what they do, best first.
    #[command(after_help = "Examples:\n  portcullis tools search create calendar event")]
    Search {
        /// What the tool should do, in a few words.
        #[arg(required = true)]
        words: Vec<String>,
        /// How many tools to name.
        #[arg(long, default_value_t = 10)]
        limit: usize,
    },
    /// Call a tool and print its answer.
    #[command(
        after_help = "Examples:\n  portcullis tools call time.now timezone=Europe/Berlin\n  \
                            portcullis tools call notes.save '{\"title\": \"tea\", \"text\": \"four minutes\"}'\n  \
                            portcullis tools call notes.save - < arguments.json\n\n\
                            A value that is JSON is taken as JSON (count=3, tags='[\"a\"]'), any other as text; \
                            id='\"3\"' is the text 3."
    )]
    Call {
        /// The tool's name.
        name: String,
        /// Arguments: one JSON object, `-` to read it from stdin, or name=value pairs.
        arguments: Vec<String>,
    },
}

/// `portcullis prompts`.
#[derive(Debug, Clone, Subcommand)]
pub enum Prompts {
    /// List the prompts on offer.
    #[command(after_help = "Examples:\n  portcullis prompts list")]
    List,
    /// Get a prompt's messages.
    #[command(
        after_help = "Examples:\n  portcullis prompts get everything.simple_prompt\n  \
                            portcullis prompts get everything.complex_prompt temperature=0.5 style=dry"
    )]
    Get {
        /// The prompt's name.
        name: String,
        /// Arguments as name=value pairs.
        arguments: Vec<String>,
    },
}

/// `portcullis resources`.
#[derive(Debug, Clone, Subcommand)]
pub enum Resources {
    /// List the resources and templates on offer.
    #[command(after_help = "Examples:\n  portcullis resources list")]
    List,
    /// Read a resource and print what it holds.
    #[command(after_help = "Examples:\n  portcullis resources read file:///srv/docs/readme.md")]
    Read {
        /// The resource's URI.
        uri: String,
    },
}

/// `portcullis key`.
#[derive(Debug, Clone, Subcommand)]
pub enum Key {
    /// Create an API key; it is printed once, on stdout, and never again.
    #[command(
        after_help = "Examples:\n  portcullis key create alice --role reader\n  \
                            KEY=$(portcullis key create ci --role owner --expires 90d)\n\n\
                            The role `owner` may do everything. A key without a role has those whose `members` name its principal."
    )]
    Create(NewKeyArguments),
    /// Replace a key by a new one that may do the same; the old one stays good for a while.
    #[command(
        after_help = "Examples:\n  portcullis key rotate k7f3a2\n  portcullis key rotate k7f3a2 --overlap 1h"
    )]
    Rotate {
        /// The key's id, as `key list` shows it.
        id: String,
        /// How long the old key stays good: 1h, 7d; a day if left out.
        #[arg(long, value_name = "DURATION")]
        overlap: Option<String>,
    },
    /// List the keys, never their secrets.
    #[command(after_help = "Examples:\n  portcullis key list\n  portcullis key list --json")]
    List,
    /// Revoke a key, at once and for good.
    #[command(after_help = "Examples:\n  portcullis key revoke k7f3a2")]
    Revoke {
        /// The key's id, as `key list` shows it.
        id: String,
    },
}

/// `portcullis secret`.
#[derive(Debug, Clone, Subcommand)]
pub enum Secret {
    /// Keep a secret; its value is asked for, or read from stdin, and never shown.
    #[command(after_help = "Examples:\n  portcullis secret set github\n  \
                            portcullis secret set github < token.txt\n  \
                            portcullis secret set session-pepper --generate\n\n\
                            The config refers to it as { secret = \"github\" }. One newline at the end of what is read is dropped.")]
    Set {
        /// What the config refers to it by.
        name: String,
        /// Keep 32 random bytes in base64url, which nobody sees.
        #[arg(long)]
        generate: bool,
    },
    /// List the secrets, never their values.
    #[command(after_help = "Examples:\n  portcullis secret list\n  portcullis secret list --json")]
    List,
    /// Make a new data key and seal everything anew; or bring a new master key.
    #[command(after_help = "Examples:\n  portcullis secret rotate\n  \
                            portcullis secret rotate --new-master-file /etc/portcullis/master.key\n\n\
                            A running gate goes on meanwhile. A new master key touches no value: the data keys are wrapped anew.")]
    Rotate {
        /// Wrap the data keys under the master key in this file; it is made if it is not there.
        #[arg(long, value_name = "FILE")]
        new_master_file: Option<PathBuf>,
    },
    /// Remove a secret for good.
    #[command(after_help = "Examples:\n  portcullis secret remove github")]
    Remove {
        /// Its name.
        name: String,
    },
}

/// What a new key is to be.
#[derive(Debug, Clone, Args)]
pub struct NewKeyArguments {
    /// Whom the key stands for.
    pub principal: String,
    /// A role its holder has; repeat for several.
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
    /// What it may be used for at most, such as mcp:tools; repeat for several. Not narrowed if left out.
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// How long it is good for: 12h, 90d.
    #[arg(long, value_name = "DURATION")]
    pub expires: Option<String>,
    /// What to remember it by.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

/// `portcullis user`.
#[derive(Debug, Clone, Subcommand)]
pub enum User {
    /// Make an account; prints a link, on stdout, by which its holder sets the password.
    #[command(after_help = "Examples:\n  portcullis user add alice --role owner\n  \
                            portcullis user add bob --role reader --email bob@example.com\n  \
                            pass show gate/carol | portcullis user add carol --password-stdin")]
    Add(NewUser),
    /// List the accounts.
    #[command(after_help = "Examples:\n  portcullis user list\n  portcullis user list --json")]
    List,
    /// Give an account these roles in place of those that it has; it has to sign in again.
    #[command(
        after_help = "Examples:\n  portcullis user roles alice owner\n  portcullis user roles bob reader writer\n\n\
                            Roles whose `members` name the account stay."
    )]
    Roles {
        /// The account.
        name: String,
        /// Its roles; none to take all away.
        roles: Vec<String>,
    },
    /// Give an account another e-mail address, where links for a forgotten password go; without one, none.
    #[command(
        after_help = "Examples:\n  portcullis user email bob bob@example.com\n  portcullis user email bob"
    )]
    Email {
        /// The account.
        name: String,
        /// The address.
        address: Option<String>,
    },
    /// Shut an account out, with all that it has: sessions, tokens and keys.
    #[command(after_help = "Examples:\n  portcullis user disable bob")]
    Disable {
        /// The account.
        name: String,
    },
    /// Let an account in again.
    #[command(after_help = "Examples:\n  portcullis user enable bob")]
    Enable {
        /// The account.
        name: String,
    },
    /// Print a link by which an account's holder sets another password; it works once.
    #[command(
        after_help = "Examples:\n  portcullis user reset-link bob\n  LINK=$(portcullis user reset-link bob)"
    )]
    ResetLink {
        /// The account.
        name: String,
    },
    /// Ask an account for no one-time password any more, when its holder lost the device.
    #[command(after_help = "Examples:\n  portcullis user totp-off bob")]
    TotpOff {
        /// The account.
        name: String,
    },
    /// Delete an account for good.
    #[command(after_help = "Examples:\n  portcullis user delete bob")]
    Delete {
        /// The account.
        name: String,
    },
}

/// `portcullis user add`.
#[derive(Debug, Clone, Args)]
pub struct NewUser {
    /// The account's name, which rules and records know it by.
    pub name: String,
    /// A role it has; repeat for several.
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
    /// Where its holder gets mail.
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,
    /// Read its password from stdin, in place of printing a link to set one.
    #[arg(long)]
    pub password_stdin: bool,
}

/// `portcullis session`.
#[derive(Debug, Clone, Subcommand)]
pub enum Session {
    /// List the browsers that are signed in, and what OAuth clients were allowed.
    #[command(
        after_help = "Examples:\n  portcullis session list\n  portcullis session list --json"
    )]
    List,
    /// Revoke a session, or all that a user or a client has, or a token or a key that signs tokens.
    #[command(
        after_help = "Examples:\n  portcullis session revoke grant:k7f3a2\n  portcullis session revoke --user alice --reason left\n  \
                            portcullis session revoke --client https://app.example/client.json\n  \
                            portcullis session revoke --token corp 0f3e7a\n  portcullis session revoke --signing-key corp 2026-01\n\n\
                            A running gate notices within a second, and cuts open streams."
    )]
    Revoke(Revoke),
}

/// What `portcullis session revoke` revokes.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct Revoke {
    /// A session's id, as `session list` shows it.
    #[arg(group = "what")]
    pub id: Option<String>,
    /// Every session, grant and token that this user has now; keys have their own ends.
    #[arg(long, group = "what", value_name = "NAME")]
    pub user: Option<String>,
    /// All that this OAuth client has and will have.
    #[arg(long, group = "what", value_name = "ID")]
    pub client: Option<String>,
    /// One access token, by its issuer's name in the config and its `jti`.
    #[arg(long, group = "what", num_args = 2, value_names = ["ISSUER", "JTI"])]
    pub token: Option<Vec<String>>,
    /// All tokens signed with a key, by their issuer's name in the config and the key's `kid`.
    #[arg(long, group = "what", num_args = 2, value_names = ["ISSUER", "KID"])]
    pub signing_key: Option<Vec<String>>,
    /// A client certificate, by the SHA-256 of its DER form, in hex.
    #[arg(long, group = "what", value_name = "SHA256")]
    pub certificate: Option<String>,
    /// Why.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// `portcullis pin`.
#[derive(Debug, Clone, Subcommand)]
pub enum Pin {
    /// List what is pinned: entries, and the digests of their definitions.
    #[command(
        after_help = "Examples:\n  portcullis pin list\n  portcullis pin list --withheld\n  portcullis pin list --withheld --json"
    )]
    List {
        /// Only what waits for approval.
        #[arg(long)]
        withheld: bool,
    },
    /// Show how what an upstream offers differs from what was approved, member by member.
    #[command(
        after_help = "Examples:\n  portcullis pin diff files.read\n  portcullis pin diff files --kind instructions\n\n\
                            What cannot be seen is shown escaped, as \\u{202e}."
    )]
    Diff {
        /// Alias and the upstream's own name, as `pin list` shows them: files.read.
        entry: String,
        /// Of which kind, where several have that name.
        #[arg(long, value_enum)]
        kind: Option<PinnedKind>,
    },
    /// Approve what waits: exactly the definition that was looked at.
    #[command(
        after_help = "Examples:\n  portcullis pin approve files.read                      shows it and asks\n  \
                            portcullis pin approve files.read --hash 5b1f0c9e22aa  as `pin diff` showed it\n  \
                            portcullis pin approve --upstream files --yes\n  portcullis pin approve --all\n\n\
                            What has changed since is not approved. A running gate notices within a second."
    )]
    Approve(ApprovePin),
    /// Forget all that is pinned of an upstream: what it offers is new again.
    #[command(after_help = "Examples:\n  portcullis pin forget files\n\n\
                            With `pins.new = \"approve\"`, which is the default, it is then approved as it is.")]
    Forget {
        /// Its alias.
        upstream: String,
    },
}

/// What `portcullis pin approve` approves.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub struct ApprovePin {
    /// Alias and the upstream's own name, as `pin list` shows them: files.read.
    #[arg(group = "which")]
    pub entry: Option<String>,
    /// All that waits of this upstream.
    #[arg(long, group = "which", value_name = "ALIAS")]
    pub upstream: Option<String>,
    /// All that waits.
    #[arg(long, group = "which")]
    pub all: bool,
    /// Of which kind, where several have that name.
    #[arg(long, value_enum, requires = "entry")]
    pub kind: Option<PinnedKind>,
    /// The digest of what was looked at, or its first twelve digits.
    #[arg(long, value_name = "DIGEST", requires = "entry")]
    pub hash: Option<String>,
    /// Do not ask: approve what waits at this moment.
    #[arg(long, conflicts_with = "hash")]
    pub yes: bool,
}

/// What is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PinnedKind {
    /// By which name and title an upstream's server goes.
    Server,
    /// What it tells models about itself.
    Instructions,
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// A resource.
    Resource,
    /// A resource template.
    Template,
}

impl From<PinnedKind> for gateway::pins::PinKind {
    fn from(kind: PinnedKind) -> Self {
        match kind {
            PinnedKind::Server => Self::Server,
            PinnedKind::Instructions => Self::Instructions,
            PinnedKind::Tool => Self::Tool,
            PinnedKind::Prompt => Self::Prompt,
            PinnedKind::Resource => Self::Resource,
            PinnedKind::Template => Self::Template,
        }
    }
}

/// `portcullis consent`.
#[derive(Debug, Clone, Subcommand)]
pub enum Consent {
    /// List the requests that wait for an answer, and the consents in force.
    #[command(
        after_help = "Examples:\n  portcullis consent list\n  portcullis consent list --all --json | jq .requests"
    )]
    List {
        /// Those too that were answered or are over.
        #[arg(long)]
        all: bool,
    },
    /// Show all that is known of a request, and of the consent that came of it.
    #[command(after_help = "Examples:\n  portcullis consent show 3f9c01d2a4b7")]
    Show {
        /// Its id, as `consent list` shows it.
        id: String,
    },
    /// Say yes to a request: for one call, unless told otherwise.
    #[command(
        after_help = "Examples:\n  portcullis consent approve 3f9c01d2a4b7\n  \
                            portcullis consent approve 3f9c01d2a4b7 --for 8h --any-arguments\n\n\
                            A call that waits goes on at once; otherwise the same call, made again, goes through."
    )]
    Approve(ApproveConsent),
    /// Say no to a request.
    #[command(after_help = "Examples:\n  portcullis consent deny 3f9c01d2a4b7")]
    Deny {
        /// Its id, as `consent list` shows it.
        id: String,
    },
    /// Take a consent back, from the next call on.
    #[command(after_help = "Examples:\n  portcullis consent revoke 3f9c01d2a4b7")]
    Revoke {
        /// Its id, as `consent list` shows it.
        id: String,
    },
}

/// `portcullis consent approve`.
#[derive(Debug, Clone, Args)]
pub struct ApproveConsent {
    /// The request's id, as `consent list` shows it.
    pub id: String,
    /// For the rest of the session that it was asked in.
    #[arg(long, conflicts_with = "span")]
    pub session: bool,
    /// For so long: 8h, 30d.
    #[arg(id = "span", long = "for", value_name = "DURATION")]
    pub span: Option<String>,
    /// For other arguments too.
    #[arg(long)]
    pub any_arguments: bool,
}

/// `portcullis audit`.
#[derive(Debug, Clone, Subcommand)]
pub enum Audit {
    /// Print the last records.
    #[command(
        after_help = "Examples:\n  portcullis audit tail\n  portcullis audit tail -n 100 --principal alice\n  \
                            portcullis audit tail -f --json | jq .entry"
    )]
    Tail {
        /// How many.
        #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
        lines: u32,
        /// Go on with new ones as they come.
        #[arg(short, long)]
        follow: bool,
        /// Only this principal's.
        #[arg(long, value_name = "PRINCIPAL")]
        principal: Option<String>,
    },
    /// Find records: by who, what, when and how it ended.
    #[command(
        after_help = "Examples:\n  portcullis audit search --principal alice --since 2026-11-01\n  \
                            portcullis audit search --entry files.delete --outcome refused\n  \
                            portcullis audit search --since 2026-11-01T08:00:00Z --until 2026-11-01T09:00:00Z --json"
    )]
    Search(Box<Search>),
    /// Write the log, or a part of it, as a file that proves itself.
    #[command(
        after_help = "Examples:\n  portcullis audit export --output november.jsonl\n  \
                            portcullis audit export --from 120000 | zstd > since.jsonl.zst\n\n\
                            A part that begins later passes `audit verify` with the same `--from` alone."
    )]
    Export {
        /// The place of the first record, counted from 0; the first that is there if left out.
        #[arg(long, value_name = "PLACE")]
        from: Option<u64>,
        /// The place after the last record; the log's end if left out, which is then signed for.
        #[arg(long, value_name = "PLACE")]
        to: Option<u64>,
        /// A file that there is not yet; standard output if left out.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// List where the log is sent on to, how far each receiver is, and what is wrong.
    #[command(after_help = "Example:\n  portcullis audit sinks")]
    Sinks,
    /// Check an export, or the proof of one record. Needs no gate and no database.
    #[command(
        after_help = "Examples:\n  portcullis audit verify november.jsonl --key key.txt\n  \
                            portcullis audit verify november.jsonl --key key.txt --checkpoint last-week.txt\n  \
                            zstdcat since.jsonl.zst | portcullis audit verify - --key key.txt --from 120000\n  \
                            portcullis audit verify proof.json --key key.txt"
    )]
    Verify {
        /// The file; `-` is standard input.
        file: PathBuf,
        /// The log's verifier key as `portcullis audit key` prints it, or a file with it. Have it from somewhere else than the export.
        #[arg(long, value_name = "KEY")]
        key: String,
        /// A file with a checkpoint of the log that was kept elsewhere: shows that the end was not cut off.
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// The file is a part that begins with this record, by its place: those in front of it are not looked for.
        #[arg(long, value_name = "PLACE")]
        from: Option<u64>,
        /// Put up with records at the end that no checkpoint goes over. They are counted, and not proved.
        #[arg(long)]
        allow_unsigned: bool,
        /// Put up with records whose personal part is gone and that no erasure in the file names. They are listed.
        #[arg(long)]
        allow_unexplained: bool,
    },
    /// Prove that one record stands in the log, without the others.
    #[command(after_help = "Example:\n  portcullis audit prove 0199b2c4-… > proof.json")]
    Prove {
        /// The call's id, or the record's number.
        call: String,
    },
    /// Print the key that checks the log's checkpoints. Hand it to whoever shall be able to check.
    #[command(after_help = "Example:\n  portcullis audit key > key.txt")]
    Key,
    /// Sign for the log as it is now, and print that. Keep it elsewhere: nobody can change what it goes over unseen.
    #[command(
        after_help = "Example:\n  portcullis audit checkpoint > /mnt/elsewhere/$(date +%F).txt"
    )]
    Checkpoint,
    /// Make a key pair for an auditor: what the gate seals for it, nobody else can open.
    #[command(after_help = "Example:\n  portcullis audit keygen --out auditor")]
    Keygen {
        /// Where to: `OUT.key` is for the auditor alone, `OUT.pub` is for the config.
        #[arg(long, value_name = "OUT")]
        out: PathBuf,
    },
    /// Open the arguments in an export that were sealed for an auditor. Needs no gate and no database.
    #[command(
        after_help = "Example:\n  portcullis audit open november.jsonl --key auditor.key | jq .arguments"
    )]
    Open {
        /// The export; `-` is standard input.
        file: PathBuf,
        /// The file with the auditor's private key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Write out all records of one principal, and those about it: what the person may ask for.
    #[command(after_help = "Example:\n  portcullis audit subject carol --out carol.jsonl")]
    Subject {
        /// Whose.
        principal: String,
        /// A file that there is not yet.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Erase from the records of one principal, and those about it, all that says whose they are. The log can be verified as before; what it says of others stays.
    #[command(
        after_help = "Examples:\n  portcullis audit erase --principal carol\n  \
                            portcullis audit erase --principal carol --until 2026-01-01 --yes"
    )]
    Erase {
        /// Whose.
        #[arg(long, value_name = "PRINCIPAL")]
        principal: String,
        /// Only records from before this: a date, or a moment of RFC 3339.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Ask nobody.
        #[arg(long)]
        yes: bool,
    },
    /// Legal holds: records that are neither taken off the log nor erased.
    #[command(subcommand)]
    Hold(Hold),
}

/// `portcullis audit hold`.
#[derive(Debug, Clone, Subcommand)]
pub enum Hold {
    /// Put records under a hold, and print its id.
    #[command(
        after_help = "Examples:\n  portcullis audit hold add --principal carol --reason case-12/26\n  \
                            portcullis audit hold add --since 2026-01-01 --until 2026-02-01 --reason case-12/26"
    )]
    Add(NewHold),
    /// List all holds there ever were.
    #[command(after_help = "Example:\n  portcullis audit hold list")]
    List,
    /// End a hold.
    #[command(
        after_help = "Example:\n  portcullis audit hold release 5f0c2b7d9f5e4a7cb1d2e3f405162738"
    )]
    Release {
        /// Its id.
        id: String,
    },
}

/// `portcullis audit hold add`.
#[derive(Debug, Clone, Args)]
pub struct NewHold {
    /// Only records of this principal, and about it.
    #[arg(long, value_name = "PRINCIPAL")]
    pub principal: Option<String>,
    /// Only records from when on: a date, or a moment of RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only records from before this.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// `portcullis audit search`.
#[derive(Debug, Clone, Default, Args)]
pub struct Search {
    /// Whose.
    #[arg(long, value_name = "PRINCIPAL")]
    pub principal: Option<String>,
    /// Of which upstream.
    #[arg(long, value_name = "NAME")]
    pub upstream: Option<String>,
    /// Of which entry, as its upstream calls it.
    #[arg(long, value_name = "NAME")]
    pub entry: Option<String>,
    /// Of which method.
    #[arg(long, value_name = "METHOD")]
    pub method: Option<String>,
    /// How it ended: `ok`, `tool_error`, `refused`, `failed`, `cancelled`, `unknown`, or `pending`.
    #[arg(long, value_name = "WORD")]
    pub outcome: Option<String>,
    /// Of this call: the id that its errors name.
    #[arg(long, value_name = "ID")]
    pub call: Option<String>,
    /// From when on: a date, or a moment of RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Up to when.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// How many at most, the newest.
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub lines: u32,
}

/// What kind of entry a listing is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Tools.
    Tools,
    /// Prompts.
    Prompts,
    /// Resources and their templates.
    Resources,
}
