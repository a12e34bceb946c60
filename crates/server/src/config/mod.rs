//! Reads the settings: files, environment and flags in layers, checked as a whole, kept as a snapshot.
//!
//! Embedded defaults < `portcullis.toml` < `portcullis.{env}.toml` < `PORTCULLIS__…` variables < flags.
//! The shape of what people write is [`raw`]; what the stages rely on is each room's own checked form.
//! Start at [`load`].

mod accounts;
mod alerts;
mod audit;
mod authority;
mod check;
mod consent;
mod credential;
mod doubts;
mod environment;
mod issuers;
mod keys;
mod layers;
mod limits;
mod pins;
mod proxies;
mod raw;
mod roles;
mod schema;
mod screening;
mod secret;
mod secrets;
mod servers;
mod service;
mod shape;
mod shared;
mod show;
mod sign_in;
mod sinks;
mod source;
mod store;
mod telemetry;
mod tls;
mod upstreams;
mod validation;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::store::Location;
use policy::RoleName;
use policy::config::{Complaint, Complaints};

pub use environment::Environment;
pub use layers::{Origin, Origins};
pub use proxies::{ForwardedHeader, Proxies};
pub use schema::{reference, schema};
pub(crate) use secret::{is_placeholder, is_secret_name};
pub use secrets::Fetch;
pub use show::Shown;
pub(crate) use upstreams::{is_builtin, is_header_ours};

use layers::Layer;

use crate::tls::{Spoken, Tls};
use crate::vault;

/// The database in the data folder.
const DATABASE: &str = "portcullis.db";

/// The database of a gate with these settings.
fn database(data_dir: &Path, postgres: Option<&crate::database::Settings>) -> Location {
    match postgres {
        Some(postgres) => Location::Postgres(postgres.clone().into()),
        None => Location::File(data_dir.join(DATABASE)),
    }
}

/// Which sources to read, as the command line says.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`: this file and no search.
    pub config: Option<PathBuf>,
    /// `--env`: the overlay beside it.
    pub env: Option<String>,
    /// `--listen`, as often as given.
    pub listen: Vec<String>,
}

/// All settings of a gate, checked. An immutable snapshot: a reload makes a new one.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Where to listen; never empty.
    pub listen: Vec<SocketAddr>,
    /// The folder of the database, if that is a file.
    pub data_dir: PathBuf,
    /// The PostgreSQL that is the database; `None`: it is a file.
    pub postgres: Option<crate::database::Settings>,
    /// Where the key is that the database's secrets are sealed under.
    pub master_key: vault::Source,
    /// What is logged, and how.
    pub log: Log,
    /// Bounds and checks on HTTP connections.
    pub http: Http,
    /// TLS on the listeners; `None`: all in the clear, or the private key was not fetched.
    pub tls: Option<Tls>,
    /// Where the listeners speak it, whether or not the private key was fetched.
    pub tls_spoken: Spoken,
    /// How long calls in flight may take to finish once the gate was told to stop.
    pub drain: Duration,
    /// Who may come in.
    pub auth: auth::Settings,
    /// The names of the roles that are defined, the built-in one apart.
    pub roles: BTreeSet<RoleName>,
    /// When a record of the audit log counts as written.
    pub audit: observe::AuditMode,
    /// How the audit log is looked after.
    pub upkeep: crate::audit::Upkeep,
    /// Where the audit log is sent on to, in order of name.
    pub sinks: Vec<observe::sinks::SinkSettings>,
    /// By which the audit log knows this config: SHA-256 over what [`show`] tells of it, hex. What is hidden there is not
    /// in it.
    pub digest: String,
    /// The Redis that other gates may share; `None`: this one counts alone.
    pub shared: Option<crate::shared::Settings>,
    /// When somebody is told that the gate is not as it should be, and who.
    pub alerts: observe::alerts::Settings,
    /// Where traces go, and what of them is passed on.
    pub tracing: observe::trace::Tracing,
    /// Where metrics are pushed; `None`: nowhere.
    pub pushing: Option<observe::metrics::Pushing>,
    /// What the stages read.
    pub gateway: gateway::Settings,
    /// What stands behind the gate, in order of alias; those that are switched off are left out.
    pub upstreams: Vec<upstream::Spec>,
    /// The files it was read from, lowest first.
    pub files: Vec<PathBuf>,
    /// Files besides these that it holds the content of and that change while a gate lives: certificates.
    pub watched: Vec<PathBuf>,
    /// What it says that does nothing as it stands: no mistakes, but most likely not meant.
    pub doubts: Vec<Trouble>,
    origins: Origins,
    is_whole: bool,
}

impl Loaded {
    /// The database: audit log, keys, notes.
    #[must_use]
    pub fn database(&self) -> Location {
        database(&self.data_dir, self.postgres.as_ref())
    }

    /// Whether it has all its secrets: no gate starts with another. It has not if it was read with
    /// [`Fetch::Nothing`] and refers to any.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Where each value came from.
    #[must_use]
    pub fn origins(&self) -> &Origins {
        &self.origins
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Which events.
    pub filter: observe::logs::Filter,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Always text.
    Text,
    /// Always JSON, an object a line.
    Json,
}

/// Bounds and checks on HTTP connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// The origin at which clients reach the gate, without a slash at its end.
    pub public_url: Option<String>,
    /// Host names in lower case, besides the loopback names.
    pub allowed_hosts: Vec<String>,
    /// Origins as browsers send them, besides those of the loopback names.
    pub allowed_origins: Vec<String>,
    /// Who is believed about where a request comes from.
    pub proxies: Proxies,
    /// The largest request body, in bytes.
    pub body_max: usize,
    /// How long a client may take over its request's head.
    pub header_timeout: Duration,
    /// How long a client may take over its request's body.
    pub body_timeout: Duration,
    /// Open connections, over all listeners.
    pub connections_max: usize,
}

/// One complaint and where its cause stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The source of the value, if there is one.
    pub origin: Option<Origin>,
    /// What is wrong; the key is empty if it is the whole source.
    pub complaint: Complaint,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(Origin::Default) | None => {}
            Some(origin) => write!(f, "{origin}: ")?,
        }
        let Complaint { key, reason, hint } = &self.complaint;
        if !key.is_empty() {
            write!(f, "{key}: ")?;
        }
        f.write_str(reason)?;
        if hint.is_empty() {
            Ok(())
        } else {
            write!(f, "; {hint}")
        }
    }
}

/// Why there are no settings: every complaint at once, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub Vec<Trouble>);

impl Invalid {
    // In the order in which people will go through their files.
    fn all(mut troubles: Vec<Trouble>) -> Self {
        troubles.sort_by(|one, other| one.origin.cmp(&other.origin));
        Self(troubles)
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, trouble) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{trouble}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// Reads all sources and checks them.
///
/// # Errors
/// Everything that is wrong with them.
pub fn load(sources: &Sources, environment: &Environment) -> Result<Loaded, Invalid> {
    load_with(sources, environment, Fetch::Everything)
}

/// As [`load`], and says what is done about values that stand elsewhere.
///
/// # Errors
/// Everything that is wrong with the sources.
pub fn load_with(
    sources: &Sources,
    environment: &Environment,
    fetch: Fetch<'_>,
) -> Result<Loaded, Invalid> {
    let (files, layer) = gather(sources, environment)?;
    check(files, layer, environment, fetch)
}

/// The files that would be read, lowest first.
///
/// # Errors
/// If one that was asked for is not there.
pub fn files(sources: &Sources, environment: &Environment) -> Result<Vec<PathBuf>, Invalid> {
    source::files(sources, environment).map_err(|trouble| Invalid(vec![trouble]))
}

/// The effective values with their origins, secrets left out, for people to read; and what is wrong with them.
///
/// # Errors
/// If a source cannot be read at all.
pub fn show(
    sources: &Sources,
    environment: &Environment,
) -> Result<(Vec<Shown>, Result<Loaded, Invalid>), Invalid> {
    let (files, layer) = gather(sources, environment)?;
    let shown = show::shown(&layer);
    Ok((shown, check(files, layer, environment, Fetch::Nothing)))
}

fn gather(sources: &Sources, environment: &Environment) -> Result<(Vec<PathBuf>, Layer), Invalid> {
    let files = files(sources, environment)?;
    let mut all = Layer::default();
    let mut troubles = Vec::new();
    for file in &files {
        match source::read(file, environment) {
            Ok(layer) => all.merge(layer),
            Err(more) => troubles.extend(more),
        }
    }
    if !troubles.is_empty() {
        return Err(Invalid::all(troubles));
    }
    let variables = source::variables(environment, &all.table);
    all.merge(variables);
    all.merge(source::flags(sources));
    all.fill(&schema::DEFAULTS);
    let data_dir = ["data_dir".to_owned()];
    if !all.table.contains_key(&data_dir[0])
        && let Some(home) = environment.data_home()
    {
        let default = home.join("portcullis").to_string_lossy().into_owned();
        all.set(&data_dir, toml::Value::String(default), &Origin::Default);
    }
    Ok((files, all))
}

fn check(
    files: Vec<PathBuf>,
    mut layer: Layer,
    environment: &Environment,
    fetch: Fetch<'_>,
) -> Result<Loaded, Invalid> {
    let mut misfits = Complaints::new();
    shape::fit(&mut layer.table, &mut misfits);
    let misfits = misfits.into_list();
    let written = layer.origins.clone();
    layer.fill(&schema::DEFAULTS);
    let digest = show::digest(&layer);

    let mut complaints = Complaints::new();
    let checker = check::Checker {
        environment,
        origins: &written,
        secrets: secrets::Lookup::new(fetch),
    };
    let loaded = checker.loaded(layer.table, files, &mut complaints);
    // What is wrong in a section may be wrong only for want of what just fell out of it.
    let follows = |complaint: &Complaint| {
        misfits.iter().any(|misfit| {
            misfit.key == complaint.key || misfit.key.starts_with(&format!("{}.", complaint.key))
        })
    };
    let meant = complaints
        .into_list()
        .into_iter()
        .filter(|complaint| !follows(complaint));
    let troubles: Vec<Trouble> = misfits
        .iter()
        .cloned()
        .chain(meant)
        .map(|complaint| Trouble {
            origin: written.of(&complaint.key).cloned(),
            complaint,
        })
        .collect();
    match loaded {
        Some(loaded) if troubles.is_empty() => Ok(Loaded { digest, ..loaded }),
        _ => Err(Invalid::all(troubles)),
    }
}

#[cfg(test)]
mod tests;
