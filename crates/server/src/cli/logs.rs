//! `portcullis logs level`: what a running gate logs, and more or less of it for a while.
//!
//! The gate is asked through its `/v1/logs/level`: what it logs is nobody's but its own process's.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use clap::{Args, Subcommand};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::arguments::Unusable;
use super::{Common, Exit, output};
use crate::config::{Environment, Loaded};
use crate::serve::{base, origin};

/// How long the gate may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The variable with the API key, unless the gate takes whoever is on this machine for an owner.
const KEY_VARIABLE: &str = "PORTCULLIS_API_KEY";

/// `portcullis logs`.
#[derive(Debug, Clone, Subcommand)]
pub enum LogsCommand {
    /// Show what a running gate logs, or have more or less logged.
    #[command(
        after_help = "Examples:\n  portcullis logs level\n  portcullis logs level info,upstream=debug --for 10m\n  \
                            portcullis logs level --reset\n\n\
                            The gate has to run; an owner's API key is read from PORTCULLIS_API_KEY, if it wants one."
    )]
    Level(Level),
}

/// `portcullis logs level`.
#[derive(Debug, Clone, Args)]
pub struct Level {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,upstream=debug`; shows what holds if left out.
    #[arg(value_name = "FILTER")]
    pub filter: Option<String>,
    /// For how long, at most 7d; until the gate ends if left out.
    #[arg(long = "for", value_name = "TIME", requires = "filter")]
    pub time: Option<String>,
    /// Have logged again what the config says.
    #[arg(long, conflicts_with = "filter")]
    pub reset: bool,
    /// Where the gate is; the first address that it listens on if left out.
    #[arg(long, value_name = "URL")]
    pub at: Option<Url>,
}

/// The gate's policy said no.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// What holds, as the gate says it.
#[derive(Debug, Serialize, Deserialize)]
struct Holds {
    filter: String,
    configured: String,
    seconds_left: Option<u64>,
}

pub(super) fn logs(common: &Common, command: &LogsCommand) -> anyhow::Result<Exit> {
    let LogsCommand::Level(level) = command;
    let at = match &level.at {
        Some(at) => checked(at)?.clone(),
        None => Url::parse(&place(&common.load_settings()?))?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let holds = match runtime.block_on(holds(&at, level)) {
        Ok(holds) => holds,
        Err(error) if error.is::<Refused>() => {
            output::error(&error);
            return Ok(Exit::Refused);
        }
        Err(error) => return Err(error),
    };
    if common.json {
        output::json(&holds)?;
    } else {
        output::data(format!("{}\n", holds.filter).as_bytes())?;
        let Holds { configured, .. } = &holds;
        match holds.seconds_left {
            Some(left) => output::say(format!("for {left} s more, then `{configured}` again")),
            None if *configured == holds.filter => output::say("as the config says"),
            None => output::say(format!(
                "until the gate ends or `portcullis logs level --reset`; the config says `{configured}`"
            )),
        }
    }
    Ok(Exit::Done)
}

/// Where this gate is asked: at its first address, as what clients know may lead to another gate of several. With TLS it
/// has to be what clients know, which the certificate names.
fn place(loaded: &Loaded) -> String {
    let known = loaded.listen.first().filter(|address| address.port() != 0);
    let own = known.map(|address| origin(loaded, *address));
    own.filter(|own| own.starts_with("http://"))
        .unwrap_or_else(|| base(loaded, &[]))
}

/// What somebody says: the key goes there.
fn checked(at: &Url) -> anyhow::Result<&Url> {
    let is_here = at.host().is_some_and(|host| net::is_here(&host));
    if at.scheme() == "https" || at.scheme() == "http" && is_here {
        return Ok(at);
    }
    let why =
        format!("`--at {at}` would send an API key over the network in the clear; write https://…");
    Err(Unusable(why).into())
}

/// What holds once it was done.
async fn holds(at: &Url, level: &Level) -> anyhow::Result<Holds> {
    let told = match &level.filter {
        Some(filter) => {
            let wanted = json!({ "filter": filter, "for": level.time });
            ask(at, Method::PUT, wanted.to_string().into()).await?
        }
        None => {
            if level.reset {
                ask(at, Method::DELETE, Bytes::new()).await?;
            }
            ask(at, Method::GET, Bytes::new()).await?
        }
    };
    let told: Holds = serde_json::from_slice(&told)
        .with_context(|| format!("what answers at {at} is no gate"))?;
    Ok(Holds {
        filter: shown(&told.filter),
        configured: shown(&told.configured),
        ..told
    })
}

/// What came over the network, in one line that does not act on the terminal.
fn shown(text: &str) -> String {
    output::printable(text).replace('\n', " ")
}

/// The gate's answer.
async fn ask(at: &Url, method: Method, body: Bytes) -> anyhow::Result<Bytes> {
    let mut url = at.clone();
    url.set_path("/v1/logs/level");
    let mut headers = HeaderMap::new();
    if let Some(key) = Environment::of_process().get(KEY_VARIABLE) {
        let key = HeaderValue::try_from(format!("Bearer {key}"));
        let key = key.with_context(|| format!("`{KEY_VARIABLE}` is no API key"))?;
        headers.insert(header::AUTHORIZATION, key);
    }
    if !body.is_empty() {
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    let request = net::Request {
        method,
        url,
        headers,
        body,
        reach: net::Reach::Operator,
        timeout: ANSWER_TIMEOUT,
    };
    let client = net::Client::new(net::Settings::default());
    let response = client.send(request).await;
    let mut response = response.with_context(|| {
        format!("no gate answers at {at}; say where it is with --at, or start one with `portcullis serve`")
    })?;
    let told = response
        .body
        .read_to_end(ANSWER_BYTES_MAX, ANSWER_TIMEOUT)
        .await?;
    if response.status.is_success() {
        return Ok(told);
    }
    let problem: Option<Value> = serde_json::from_slice(&told).ok();
    let why = problem.as_ref().and_then(|told| told["detail"].as_str());
    let why = why.map_or_else(|| "it does not say why".to_owned(), shown);
    let status = response.status.as_u16();
    let refused = format!("the gate at {at} refused (HTTP {status}): {why}");
    Err(match status {
        401 => anyhow!(
            "{refused}; it wants an owner's API key in `{KEY_VARIABLE}`: `portcullis key create NAME --role owner` makes one"
        ),
        403 => Refused(refused).into(),
        _ => anyhow!(refused),
    })
}
