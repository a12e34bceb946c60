//! What `portcullis check` tries: one function for each kind of thing, which yields as many attempts as the config has of
//! it. A new kind is a function here and a line in one of the two lists.

use std::fmt::Display;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use net::mail::Mailer;
use net::{Reach, Service};
use nix::unistd::{AccessFlags, access};
use observe::alerts::{Place, Receiver};
use observe::sinks::{SinkKind, SinkSettings};
use policy::Clock;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::sleep;
use upstream::{Kind, Spec};
use url::Url;

use super::{Attempt, Said};
use crate::config::Loaded;
use crate::expiry::SOON;
use crate::serve::Core;
use crate::tls::{self, Tls};

/// How long an attempt may take, unless the config says how long such a thing takes.
const WITHIN: Duration = Duration::from_secs(20);
/// How long a gate that is serving may take to say so.
const GATE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at something that settles by itself.
const LOOK: Duration = Duration::from_millis(50);

/// What needs no gate.
pub(super) fn without_gate<'a>(loaded: &'a Loaded, clock: &'a Arc<dyn Clock>) -> Vec<Attempt<'a>> {
    let mut all = addresses(loaded);
    all.extend(certificate(loaded, clock));
    all.extend(mail(loaded));
    all.extend(consent_webhook(loaded));
    all.extend(collector(loaded));
    all.extend(pushing(loaded));
    all.extend(sinks(loaded));
    all.extend(receivers(loaded));
    all
}

/// What a gate does with its own means, so that it is tried as it will be used.
pub(super) fn with_gate<'a>(loaded: &'a Loaded, core: &'a Core) -> Vec<Attempt<'a>> {
    let mut all = vec![database(loaded, core)];
    all.extend(shared(loaded, core));
    all.extend(issuers(core));
    all.extend(sign_in(core));
    all.extend(upstreams(loaded, core));
    all
}

/// One attempt with the usual deadline.
fn attempt<'a>(
    what: impl Into<String>,
    hint: &'static str,
    run: impl Future<Output = Said> + 'a,
) -> Attempt<'a> {
    Attempt {
        what: what.into(),
        hint,
        within: WITHIN,
        run: Box::pin(run),
    }
}

fn addresses(loaded: &Loaded) -> Vec<Attempt<'_>> {
    let hint = "end the program that has it, or choose another address with `listen`";
    let one =
        |address: &SocketAddr| attempt(format!("listen {address}"), hint, try_address(*address));
    loaded.listen.iter().map(one).collect()
}

/// Free, or taken by a gate that answers.
async fn try_address(address: SocketAddr) -> Said {
    match TcpListener::bind(address).await {
        Ok(_) => Said::Good("free".to_owned()),
        Err(_) if is_gate(address).await => Said::Good("a gate is serving there".to_owned()),
        Err(error) => Said::Bad(error.to_string()),
    }
}

async fn is_gate(address: SocketAddr) -> bool {
    let Ok(url) = Url::parse(&format!("http://{address}/readyz")) else {
        return false;
    };
    let request = net::Request {
        method: http::Method::GET,
        url,
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::new(),
        reach: Reach::Operator,
        timeout: GATE_TIMEOUT,
    };
    let Ok(mut response) = net::Client::new(net::Settings::default())
        .send(request)
        .await
    else {
        return false;
    };
    let body = response.body.read_to_end(64, GATE_TIMEOUT).await;
    // A gate that speaks TLS there says so to whoever does not.
    body.is_ok_and(|body| body.ends_with(b"ready\n") || body == tls::NOT_PLAIN)
}

/// That it can be read was seen with the config.
fn certificate<'a>(loaded: &'a Loaded, clock: &'a Arc<dyn Clock>) -> Option<Attempt<'a>> {
    let tls = loaded.tls.as_ref()?;
    let hint =
        "put a new certificate into the files that `tls` names; a running gate takes it over";
    Some(attempt("certificate", hint, async {
        judge_certificate(tls, clock.wall())
    }))
}

fn judge_certificate(tls: &Tls, now: SystemTime) -> Said {
    let Some(ends) = tls.expires_at() else {
        return Said::Untried("it does not say when it ends".to_owned());
    };
    match ends.duration_since(now) {
        Err(_past) => Said::Bad("it has ended".to_owned()),
        Ok(left) => {
            let days = left.as_secs() / (24 * 3600);
            let why = format!("ends in {days} days");
            if left < SOON {
                Said::Bad(why)
            } else {
                Said::Good(why)
            }
        }
    }
}

fn mail(loaded: &Loaded) -> Option<Attempt<'_>> {
    let mailer = loaded.auth.accounts.mailer.as_ref()?;
    let hint = "look at `mail.url`, and if the server refuses, at the user and `mail.password`";
    Some(attempt("mail", hint, try_mailer(mailer)))
}

async fn try_mailer(mailer: &Mailer) -> Said {
    match mailer.try_now().await {
        Ok(()) => Said::Good("the server lets the gate in; nothing was sent".to_owned()),
        Err(error) => Said::Bad(chain(&error)),
    }
}

/// It would announce something; so it is only seen whether somebody is there.
fn consent_webhook(loaded: &Loaded) -> Option<Attempt<'_>> {
    let webhook = loaded.gateway.consent.webhook.as_ref()?;
    let hint = "look at `consent.webhook.url`";
    let seen = async { try_place(&webhook.url, None).await };
    Some(attempt("consent webhook", hint, seen))
}

/// With a batch of nothing.
fn collector(loaded: &Loaded) -> Option<Attempt<'_>> {
    let collector = loaded.tracing.collector.as_ref()?;
    let hint = "look at `telemetry.traces`: its `endpoint` and `headers`";
    Some(attempt("traces", hint, async {
        let client = net::Client::new(net::Settings::default());
        match collector.probe(&client).await {
            Ok(()) => Said::Good("the collector takes spans".to_owned()),
            Err(error) => Said::Bad(error),
        }
    }))
}

/// With no metric at all.
fn pushing(loaded: &Loaded) -> Option<Attempt<'_>> {
    let pushing = loaded.pushing.as_ref()?;
    let hint = "look at `telemetry.metrics`: its `endpoint` and `headers`";
    Some(attempt("metrics", hint, async {
        let client = net::Client::new(net::Settings::default());
        match pushing.probe(&client).await {
            Ok(()) => Said::Good("the collector takes metrics".to_owned()),
            Err(error) => Said::Bad(error),
        }
    }))
}

/// A record that was made up would be evidence; so it is only seen whether somebody is there.
fn sinks<'a>(loaded: &'a Loaded) -> Vec<Attempt<'a>> {
    let hint = "look at the sink's settings, and whether its receiver is reached from here";
    let one = |sink: &'a SinkSettings| {
        attempt(format!("sink {}", sink.name), hint, async {
            match &sink.kind {
                SinkKind::File(file) => try_file(&file.path),
                SinkKind::Syslog(syslog) => try_service(&syslog.service, syslog.tls.as_ref()).await,
                SinkKind::Http(http) => try_place(&http.url, http.tls.as_ref()).await,
            }
        })
    };
    loaded.sinks.iter().map(one).collect()
}

/// Whether the file can be written, or made: neither it nor its folder has to be there yet.
fn try_file(file: &Path) -> Said {
    let bad = |path: &Path, why: &dyn Display| Said::Bad(format!("{}: {why}", path.display()));
    // Its own folder also when it is there: a new one takes its place when it is put aside.
    for path in file.ancestors() {
        let (path, is_file) = match path.as_os_str().is_empty() {
            true => (Path::new("."), false),
            false => (path, path == file),
        };
        let wanted = match is_file {
            true => AccessFlags::R_OK | AccessFlags::W_OK,
            false => AccessFlags::W_OK | AccessFlags::X_OK,
        };
        match path.metadata() {
            Ok(about) if is_file && about.is_dir() => return bad(path, &"it is a folder"),
            Ok(about) if !is_file && !about.is_dir() => return bad(path, &"it is no folder"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return bad(path, &error),
        }
        match access(path, wanted) {
            Ok(()) if is_file => {}
            Ok(()) => return Said::Good(file.display().to_string()),
            Err(error) => return bad(path, &error.desc()),
        }
    }
    bad(file, &"there is no folder for it")
}

/// Somebody would be told; so it is only seen whether the way there is open.
fn receivers<'a>(loaded: &'a Loaded) -> Vec<Attempt<'a>> {
    let hint = "look at the receiver's settings; `portcullis alerts test` sends something";
    let one = |receiver: &'a Receiver| {
        attempt(format!("alerts to {}", receiver.name), hint, async {
            match &receiver.place {
                Place::Webhook { url, tls, .. } | Place::Alertmanager { url, tls } => {
                    try_place(url, tls.as_ref()).await
                }
                Place::Mail { mailer, .. } => try_mailer(mailer).await,
            }
        })
    };
    loaded.alerts.receivers.iter().map(one).collect()
}

/// Whether a connection can be opened, to whom that is due: its name is looked up, and its certificate judged.
async fn try_place(url: &Url, tls: Option<&net::Tls>) -> Said {
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
        return Said::Bad("its URL names no host".to_owned());
    };
    let service = Service {
        host: host.to_owned(),
        port,
        encrypted: url.scheme() == "https",
        reach: Reach::Operator,
        timeout: CONNECT_TIMEOUT,
    };
    try_service(&service, tls).await
}

async fn try_service(service: &Service, tls: Option<&net::Tls>) -> Said {
    let mut client = net::Client::new(net::Settings::default());
    if let Some(tls) = tls {
        client = client.with_tls(tls.clone());
    }
    match client.connect(service).await {
        Ok(_connection) => Said::Good("it is there; nothing was sent".to_owned()),
        Err(error) => Said::Bad(chain(&error)),
    }
}

fn database<'a>(loaded: &Loaded, core: &'a Core) -> Attempt<'a> {
    let place = loaded.database().to_string();
    let hint = "is the disk full, the file somebody else's, or the database server gone?";
    attempt("database", hint, async move {
        match core.store().flush().await {
            Ok(()) => Said::Good(place),
            Err(error) => Said::Bad(format!("{place}: {}", chain(&error))),
        }
    })
}

fn shared<'a>(loaded: &'a Loaded, core: &'a Core) -> Option<Attempt<'a>> {
    loaded.shared.as_ref()?;
    let hint = "look at `shared.redis`: its `url`, `password` and `ca`";
    Some(attempt("shared store", hint, async {
        loop {
            let status = core.gate().status();
            let shared = &status["calls"]["shared"];
            if text(shared, "state") == "up" {
                return Said::Good(text(shared, "kind").to_owned());
            }
            if let Some(error) = shared["last_error"].as_str() {
                return Said::Bad(error.to_owned());
            }
            sleep(LOOK).await;
        }
    }))
}

fn issuers(core: &Core) -> Vec<Attempt<'_>> {
    let hint = "look at the issuer's `issuer` and `jwks`, and whether it is reached from here";
    let auth = core.gate().auth();
    let one = |issuer: auth::tokens::jwks::KeysStatus| {
        attempt(format!("issuer {}", issuer.name), hint, async move {
            match auth.try_issuer(&issuer.name).await {
                Some(status) => match status.failed {
                    None => Said::Good(format!("its keys were fetched, {}", status.place)),
                    Some(error) => Said::Bad(format!("{}: {error}", status.place)),
                },
                None => Said::Untried("it is no longer there".to_owned()),
            }
        })
    };
    auth.issuers().into_iter().map(one).collect()
}

fn sign_in(core: &Core) -> Vec<Attempt<'_>> {
    let hint = "look at the provider's `issuer`, and whether it is reached from here";
    let sign_in = core.gate().auth().sign_in();
    let one = |(name, _title): (String, String)| {
        attempt(format!("sign-in {name}"), hint, async move {
            match sign_in.try_provider(&name).await {
                Ok(()) => Said::Good("says where people sign in".to_owned()),
                Err(error) => Said::Bad(chain(&error)),
            }
        })
    };
    sign_in.providers().into_iter().map(one).collect()
}

fn upstreams<'a>(loaded: &'a Loaded, core: &'a Core) -> Vec<Attempt<'a>> {
    let one = |spec: &'a Spec| {
        let within = spec.timeout_connect;
        let mut one = attempt(
            format!("upstream {}", spec.id),
            hint(spec),
            try_upstream(spec, core, within),
        );
        one.within = within + LOOK * 4;
        one
    };
    loaded.upstreams.iter().map(one).collect()
}

/// Started as by a gate in service, with its credential, and judged once it has said something.
async fn try_upstream(spec: &Spec, core: &Core, within: Duration) -> Said {
    let settled = async {
        while text(&seen(spec, core), "state") == "starting" {
            sleep(LOOK).await;
        }
    };
    // Who is not there by then says so below.
    drop(tokio::time::timeout(within, settled).await);
    let upstream = seen(spec, core);
    let count = |name: &str| upstream[name].as_u64().unwrap_or_default();
    match (text(&upstream, "state"), text(&upstream, "last_error")) {
        ("ready", _) => Said::Good(format!(
            "{}, revision {}, {} tools, {} prompts, {} resources",
            text(&upstream, "server"),
            text(&upstream, "revision"),
            count("tools"),
            count("prompts"),
            count("resources"),
        )),
        (state, _) if state == upstream::State::Waiting.as_str() => Said::Untried(state.to_owned()),
        (_, "") => Said::Bad("does not answer".to_owned()),
        (_, error) => Said::Bad(error.to_owned()),
    }
}

fn seen(spec: &Spec, core: &Core) -> Value {
    let mut status = core.gate().status();
    let all = status["upstreams"].as_array_mut();
    let mut all = all.into_iter().flatten();
    all.find(|one| text(one, "name") == spec.id.as_str())
        .map(Value::take)
        .unwrap_or_default()
}

/// What to try when an upstream is not ready, by how it is reached.
fn hint(spec: &Spec) -> &'static str {
    match spec.kind {
        Kind::Stdio(_) => {
            "run its command by hand to see what it says; `connect_timeout` gives it longer"
        }
        Kind::Http(_) => {
            "look at its `url`, and if it refuses the gate, at its `credential` or `headers`; `connect_timeout` gives it longer"
        }
        Kind::Native(_) | Kind::Provider(_) => "look at its settings",
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        text = format!("{text}: {cause}");
        below = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
