//! Upstreams from their raw form to [`upstream::Spec`]: exactly one kind each, and only that kind's settings.

use std::collections::BTreeMap;
use std::path::{MAIN_SEPARATOR, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use policy::UpstreamId;
use policy::config::Complaints;
use upstream::{Kind, Sharing, Spec, Transport, native};
use url::Url;

use super::check::{Checker, prefix, wait};
use super::raw::{Builtin, RawNative, RawSharing, RawTransport, RawUpstream, Secret};

/// Headers that belong to the protocol and the connection, not to whoever writes a config.
const HEADERS_OURS: &[&str] = &[
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "proxy-connection",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Checker<'_> {
    /// All upstreams that are switched on, built-in ones included, in order of alias; and prefix policies of their own.
    pub(super) fn upstreams(
        &self,
        raw: &BTreeMap<String, RawUpstream>,
        builtins: &[Builtin],
        complaints: &mut Complaints,
    ) -> (Option<Vec<Spec>>, BTreeMap<UpstreamId, gateway::Prefix>) {
        let mut specs = BTreeMap::new();
        let mut prefix_of = BTreeMap::new();
        let mut whole = true;
        for (alias, raw) in raw {
            complaints.at("upstreams", |complaints| {
                complaints.at(alias, |complaints| {
                    let id = complaints.keep(UpstreamId::parse(alias), "rename it");
                    let kind = self.kind(alias, raw, complaints);
                    let timeout = wait(&raw.timeout, "timeout", complaints);
                    let timeout_connect = wait(&raw.connect_timeout, "connect_timeout", complaints);
                    let methods = methods(raw, complaints);
                    let (Some(id), Some(kind), Some(timeout), Some(timeout_connect), Some(methods)) =
                        (id, kind, timeout, timeout_connect, methods)
                    else {
                        whole = false;
                        return;
                    };
                    if let Some(own) = raw.prefix {
                        prefix_of.insert(id.clone(), prefix(own));
                    }
                    if raw.enabled {
                        let sharing = sharing(raw.sessions, &kind);
                        specs.insert(
                            id.clone(),
                            Spec {
                                id,
                                kind,
                                timeout,
                                timeout_connect,
                                sharing,
                                methods,
                            },
                        );
                    }
                });
            });
        }
        for builtin in builtins {
            let alias = builtin.alias();
            let kind = match builtin {
                Builtin::Fetch => native::Spec::Fetch { private: false },
                Builtin::Time => native::Spec::Time,
                Builtin::Notes => native::Spec::Notes,
                Builtin::Status => native::Spec::Status,
            };
            if !raw.contains_key(alias) {
                let id = UpstreamId::parse(alias).expect("the aliases above are letters");
                let (timeout, timeout_connect) = (Duration::from_secs(60), Duration::from_secs(30));
                specs.insert(
                    id.clone(),
                    Spec {
                        id,
                        kind: Kind::Native(kind),
                        timeout,
                        timeout_connect,
                        sharing: Sharing::Shared,
                        methods: Vec::new(),
                    },
                );
            }
        }
        (whole.then(|| specs.into_values().collect()), prefix_of)
    }

    fn kind(&self, alias: &str, raw: &RawUpstream, complaints: &mut Complaints) -> Option<Kind> {
        let kinds = [
            ("stdio", raw.stdio.is_some()),
            ("url", raw.url.is_some()),
            ("native", raw.native.is_some()),
        ];
        let said: Vec<&str> = kinds
            .iter()
            .filter(|(_, said)| *said)
            .map(|(name, _)| *name)
            .collect();
        match said.as_slice() {
            [_] => {}
            [] => {
                complaints.add(
                    "says nowhere what it is",
                    "give it one of stdio = [\"command\", …], url = \"https://…\" and native = \"files\"",
                );
                return None;
            }
            [first, second, ..] => {
                complaints.add(
                    format!("`{first}` and `{second}` exclude each other"),
                    "keep one",
                );
                return None;
            }
        }
        foreign_keys(raw, complaints);
        let key = format!("upstreams.{alias}");
        if let Some(words) = &raw.stdio {
            return self.stdio(words, raw, &key, complaints);
        }
        if let Some(url) = &raw.url {
            return self.http(url, raw, &key, complaints);
        }
        Some(Kind::Native(match raw.native? {
            RawNative::Files => native::Spec::Files {
                roots: self.roots(raw, &key, complaints)?,
                write: raw.write == Some(true),
            },
            RawNative::Fetch => native::Spec::Fetch {
                private: raw.private == Some(true),
            },
            RawNative::Time => native::Spec::Time,
            RawNative::Notes => native::Spec::Notes,
            RawNative::Status => native::Spec::Status,
        }))
    }

    fn stdio(
        &self,
        words: &[String],
        raw: &RawUpstream,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<Kind> {
        let program = complaints.at("stdio", |complaints| {
            let program = words.first().filter(|program| !program.trim().is_empty());
            let Some(program) = program else {
                complaints.add("names no command", "write for example [\"npx\", \"-y\", \"@modelcontextprotocol/server-everything\"]");
                return None;
            };
            if words.iter().any(|word| word.contains('\0')) {
                complaints.add("holds a NUL character", "");
                return None;
            }
            // A path starts at the config file like every other; a bare name is looked up in PATH.
            if program.contains(['/', MAIN_SEPARATOR]) || program.starts_with('~') {
                return Some(self.path(program, &format!("{key}.stdio")).to_string_lossy().into_owned());
            }
            if let [only] = words && only.contains(char::is_whitespace) {
                let words: Vec<String> = only.split_whitespace().map(|word| format!("\"{word}\"")).collect();
                complaints.add("is a whole command line in one text, and no shell is there to split it", format!("write [{}]", words.join(", ")));
                return None;
            }
            Some(program.clone())
        });
        let env = complaints.at("env", |complaints| {
            self.values(
                raw.env.as_ref(),
                raw.enabled,
                &format!("{key}.env"),
                complaints,
                |name, value, complaints| {
                    if name.is_empty() || name.contains(['=', '\0']) {
                        complaints.add("is not a name of an environment variable", "");
                        return None;
                    }
                    if value.contains('\0') {
                        complaints.add("holds a NUL character", "");
                        return None;
                    }
                    Some((name.to_owned(), value))
                },
            )
        });
        let cwd = match &raw.cwd {
            Some(text) => Some(complaints.at("cwd", |complaints| {
                self.folder(text, raw.enabled, &format!("{key}.cwd"), complaints)
            })?),
            None => None,
        };
        Some(Kind::Stdio(upstream::Stdio {
            program: program?,
            args: words.iter().skip(1).cloned().collect(),
            env: env?.into_iter().collect(),
            cwd,
        }))
    }

    fn http(
        &self,
        text: &str,
        raw: &RawUpstream,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<Kind> {
        let url = complaints.at("url", |complaints| {
            let hint = "write for example \"https://tools.example.com/mcp\"";
            let url = complaints.keep(Url::parse(text), hint)?;
            let is_known = matches!(url.scheme(), "http" | "https" | "ws" | "wss");
            if !is_known || url.host().is_none() {
                complaints.add(
                    format!("`{}` is not the scheme of an MCP endpoint", url.scheme()),
                    hint,
                );
                return None;
            }
            if !url.username().is_empty() || url.password().is_some() {
                complaints.add(
                    "carries a password",
                    "move it to headers.Authorization = { env = \"…\" }",
                );
                return None;
            }
            Some(url)
        });
        let headers = complaints.at("headers", |complaints| {
            self.values(
                raw.headers.as_ref(),
                raw.enabled,
                &format!("{key}.headers"),
                complaints,
                |name, value, complaints| {
                    let header = complaints.keep(HeaderName::try_from(name), "")?;
                    if HEADERS_OURS.contains(&header.as_str())
                        || header.as_str().starts_with("mcp-")
                    {
                        complaints.add("is set by the gate itself", "leave it out");
                        return None;
                    }
                    // The error would be fine; the value must not be.
                    let Ok(mut value) = HeaderValue::try_from(value) else {
                        complaints.add("holds a character that no header can carry", "");
                        return None;
                    };
                    value.set_sensitive(true);
                    Some((header, value))
                },
            )
        });
        let url = url?;
        let shown = self.credential(raw, &url, key, complaints);
        let tls = match raw.tls.as_ref().filter(|_| raw.enabled) {
            Some(tls) => complaints
                .at("tls", |complaints| {
                    self.upstream_tls(tls, &url, key, complaints)
                })
                .map(Some),
            None => Some(None),
        };
        let transport = match (url.scheme(), raw.transport) {
            ("ws" | "wss", None) => Transport::WebSocket,
            ("ws" | "wss", Some(_)) => {
                complaints.at("transport", |complaints| {
                    complaints.add("goes only with an http or https `url`", "leave it out");
                });
                return None;
            }
            (_, Some(RawTransport::Sse)) => Transport::Sse,
            (_, Some(RawTransport::Http) | None) => Transport::Http,
        };
        let (mut headers, shown) = (headers?, shown?);
        headers.extend(shown.header);
        Some(Kind::Http(upstream::Http {
            url,
            headers,
            credential: shown.credential,
            transport,
            tls: tls?,
        }))
    }

    fn roots(
        &self,
        raw: &RawUpstream,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<Vec<PathBuf>> {
        complaints.at("roots", |complaints| {
            let Some(roots) = raw.roots.as_ref().filter(|roots| !roots.is_empty()) else {
                complaints.add(
                    "names no folder",
                    "write for example roots = [\"~/Documents\"]",
                );
                return None;
            };
            let key = format!("{key}.roots");
            let folders: Vec<Option<PathBuf>> = roots
                .iter()
                .map(|text| self.folder(text, raw.enabled, &key, complaints))
                .collect();
            folders.into_iter().collect()
        })
    }

    fn folder(
        &self,
        text: &str,
        must_exist: bool,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<PathBuf> {
        let path = self.path(text, key);
        if must_exist && !path.is_dir() {
            complaints.add(
                format!("there is no folder {}", path.display()),
                "create it, or name another",
            );
            return None;
        }
        Some(path)
    }

    // What is switched off is not fetched: a missing secret is often why it is.
    pub(super) fn values<T>(
        &self,
        raw: Option<&BTreeMap<String, Secret>>,
        fetch: bool,
        key: &str,
        complaints: &mut Complaints,
        mut check: impl FnMut(&str, String, &mut Complaints) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut values = Vec::new();
        let mut whole = true;
        for (name, secret) in raw.into_iter().flatten().filter(|_| fetch) {
            let value = complaints.at(name, |complaints| {
                let value = self.secret(name, secret, &format!("{key}.{name}"), complaints)?;
                check(name, value, complaints)
            });
            whole &= value.is_some();
            values.extend(value);
        }
        whole.then_some(values)
    }
}

/// Whether a built-in tool pack has this alias unless an upstream takes it.
pub(crate) fn is_builtin(alias: &str) -> bool {
    matches!(alias, "fetch" | "time" | "notes" | "status")
}

/// Whether the gate itself sets this header.
pub(crate) fn is_header_ours(name: &str) -> bool {
    let name = name.to_lowercase();
    HEADERS_OURS.contains(&name.as_str()) || name.starts_with("mcp-")
}

// A setting that does nothing is a mistake that nobody would notice.
/// Methods that no revision has: what MCP means by a method is not to be changed by a config.
fn methods(raw: &RawUpstream, complaints: &mut Complaints) -> Option<Vec<String>> {
    let methods = raw.methods.clone().unwrap_or_default();
    let foreign = |name: &&String| {
        let is_taken = wire::method::find(name).is_some();
        is_taken || !name.contains('/') || name.starts_with("notifications/")
    };
    let Some(bad) = methods.iter().find(foreign) else {
        return Some(methods);
    };
    complaints.at("methods", |complaints| {
        complaints.add(
            format!("`{bad}` is no method of an extension"),
            "name methods such as \"skills/list\", which MCP itself does not have",
        );
    });
    None
}

/// A process has one state and is costly; a session is neither.
fn sharing(raw: Option<RawSharing>, kind: &Kind) -> Sharing {
    match (raw, kind) {
        (Some(RawSharing::Shared), _)
        | (None, Kind::Stdio(_) | Kind::Native(_) | Kind::Provider(_)) => Sharing::Shared,
        (Some(RawSharing::PerClient), _) | (None, Kind::Http(_)) => Sharing::PerClient,
    }
}

fn foreign_keys(raw: &RawUpstream, complaints: &mut Complaints) {
    let files = raw.native == Some(RawNative::Files);
    let fetch = raw.native == Some(RawNative::Fetch);
    let keys = [
        ("env", raw.env.is_some(), raw.stdio.is_some(), "`stdio`"),
        ("cwd", raw.cwd.is_some(), raw.stdio.is_some(), "`stdio`"),
        ("headers", raw.headers.is_some(), raw.url.is_some(), "`url`"),
        ("tls", raw.tls.is_some(), raw.url.is_some(), "`url`"),
        (
            "credential",
            raw.credential.is_some(),
            raw.url.is_some(),
            "`url`",
        ),
        (
            "transport",
            raw.transport.is_some(),
            raw.url.is_some(),
            "`url`",
        ),
        (
            "pins",
            raw.pins.is_some(),
            raw.native.is_none(),
            "`stdio` and `url`",
        ),
        ("roots", raw.roots.is_some(), files, "`native = \"files\"`"),
        ("write", raw.write.is_some(), files, "`native = \"files\"`"),
        (
            "private",
            raw.private.is_some(),
            fetch,
            "`native = \"fetch\"`",
        ),
    ];
    for (key, said, fits, with) in keys {
        if said && !fits {
            complaints.at(key, |complaints| {
                complaints.add(format!("goes only with {with}"), "leave it out");
            });
        }
    }
}
