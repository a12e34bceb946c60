//! The dialects of mcp.json: Claude Desktop, Claude Code, Cursor, VS Code, and whoever copies them.
//!
//! They agree on `command`, `args`, `env`, `url`, `headers` and differ in what stands around them, in how a
//! variable is written, and in spelling. Comments and trailing commas are fine. Nothing is dropped silently.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};
use url::{Host, Url};

use crate::config::{Environment, is_header_ours, is_placeholder, is_secret_name};

/// Why an entry that leads to us is left out.
const ITSELF: &str = "is this gate itself";

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) servers: Vec<Server>,
    /// Name and reason of those that cannot be taken over.
    pub(super) skipped: Vec<(String, String)>,
}

/// A server as a client had it, in our terms.
#[derive(Debug, PartialEq)]
pub(super) struct Server {
    /// What the client called it.
    pub(super) name: String,
    /// The file it stood in.
    pub(super) from: PathBuf,
    pub(super) kind: Kind,
    pub(super) enabled: bool,
    /// What its owner should know.
    pub(super) notes: Vec<String>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    Stdio {
        words: Vec<String>,
        env: Vec<(String, Value)>,
        cwd: Option<String>,
    },
    Url {
        url: String,
        headers: Vec<(String, Value)>,
    },
}

/// A value of a variable or a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// In the environment, under this name.
    Env(String),
}

/// By what an entry is known to be this gate, as `install` wrote it: a gate behind itself would call itself for ever.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// The running binary.
    pub(super) program: PathBuf,
    /// Where it listens, by the config in use.
    pub(super) listen: Vec<SocketAddr>,
}

impl Gate {
    fn is_program(&self, program: &str) -> bool {
        let path = Path::new(program);
        let name = path
            .file_stem()
            .map(|name| name.to_string_lossy().to_lowercase());
        name.as_deref() == Some("portcullis")
            || fs::canonicalize(path).is_ok_and(|path| path == self.program)
    }

    fn answers_at(&self, url: &Url) -> bool {
        let is_at = |listen: IpAddr, ip: IpAddr| {
            listen == ip || (listen.is_unspecified() && ip.is_loopback())
        };
        self.listen.iter().any(|listen| {
            let there = listen.ip();
            let same_host = match url.host() {
                Some(Host::Domain("localhost")) => there.is_loopback() || there.is_unspecified(),
                Some(Host::Ipv4(ip)) => is_at(there, ip.into()),
                Some(Host::Ipv6(ip)) => is_at(there, ip.into()),
                Some(Host::Domain(_)) | None => false,
            };
            same_host && url.port_or_known_default() == Some(listen.port())
        })
    }
}

/// Reads all servers of a file, but not `gate` itself.
pub(super) fn read(
    text: &str,
    file: &Path,
    environment: &Environment,
    gate: &Gate,
) -> anyhow::Result<Found> {
    let json: Option<Json> =
        jsonc_parser::parse_to_serde_value(text, &jsonc_parser::ParseOptions::default())
            .map_err(|error| anyhow::anyhow!("it is not JSON: {error}"))?;
    let Some(Json::Object(root)) = json else {
        anyhow::bail!("it holds no JSON object");
    };
    let project = project_of(file);
    let own = [
        root.get("mcpServers"),
        root.get("servers"),
        root.get("mcp").and_then(|mcp| mcp.get("servers")),
    ];
    let mut sections: Vec<(&Json, PathBuf)> = own
        .into_iter()
        .flatten()
        .map(|servers| (servers, project.clone()))
        .collect();
    // Claude Code keeps a section for each project it was used in.
    let projects = root
        .get("projects")
        .and_then(Json::as_object)
        .into_iter()
        .flatten();
    sections.extend(
        projects
            .filter_map(|(folder, about)| Some((about.get("mcpServers")?, PathBuf::from(folder)))),
    );
    // Claude Code's own file exists before its first server does.
    let known = [
        "mcpServers",
        "servers",
        "mcp",
        "projects",
        "inputs",
        "numStartups",
    ];
    if !root.is_empty() && !root.keys().any(|key| known.contains(&key.as_str())) {
        anyhow::bail!("it has no `mcpServers` (Claude, Cursor) and no `servers` (VS Code)");
    }
    let mut found = Found::default();
    for (servers, project) in sections {
        let Json::Object(servers) = servers else {
            anyhow::bail!("its servers are no JSON object");
        };
        for (name, entry) in servers {
            let mut reader = Reader {
                project: &project,
                environment,
                gate,
                notes: Vec::new(),
                enabled: true,
            };
            match reader.entry(name, entry) {
                Ok(kind) => {
                    let Reader { notes, enabled, .. } = reader;
                    found.servers.push(Server {
                        name: name.clone(),
                        from: file.to_owned(),
                        kind,
                        enabled,
                        notes,
                    });
                }
                Err(why) => found.skipped.push((name.clone(), why)),
            }
        }
    }
    Ok(found)
}

// `.vscode/mcp.json` and `.cursor/mcp.json` belong to the folder around them.
fn project_of(file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    let hidden = folder
        .file_name()
        .is_some_and(|name| name == ".vscode" || name == ".cursor");
    if hidden {
        folder.parent().unwrap_or(folder).to_owned()
    } else {
        folder.to_owned()
    }
}

/// Reads one entry, and gathers what is to be said about it.
struct Reader<'a> {
    project: &'a Path,
    environment: &'a Environment,
    gate: &'a Gate,
    notes: Vec<String>,
    enabled: bool,
}

impl Reader<'_> {
    fn entry(&mut self, name: &str, entry: &Json) -> Result<Kind, String> {
        let entry = entry.as_object().ok_or("is no JSON object")?;
        let text = |key: &str| {
            entry
                .get(key)
                .and_then(Json::as_str)
                .filter(|text| !text.is_empty())
        };
        let said = text("type").or(text("transport")).map(str::to_lowercase);
        if entry.get("disabled").and_then(Json::as_bool) == Some(true)
            || entry.get("enabled").and_then(Json::as_bool) == Some(false)
        {
            self.enabled = false;
            self.notes
                .push("was switched off, and stays so (enabled = false)".to_owned());
        }
        let address = text("url").or(text("serverUrl")).or(text("httpUrl"));
        let kind = match (text("command"), address) {
            (Some(command), None) => self.stdio(command, entry)?,
            (None, Some(url)) => {
                // Which of them it is, the address and the server's answer tell better than the entry.
                const SPOKEN: [&str; 7] = [
                    "http",
                    "streamable-http",
                    "streamablehttp",
                    "streamable_http",
                    "sse",
                    "ws",
                    "websocket",
                ];
                if let Some(other) = said.filter(|said| !SPOKEN.contains(&said.as_str())) {
                    return Err(format!("speaks `{other}`, which the gate does not"));
                }
                self.http(name, url, entry)?
            }
            (Some(_), Some(_)) => return Err("has both a command and an address".to_owned()),
            (None, None) => return Err("has neither a command nor an address".to_owned()),
        };
        let known = [
            "type",
            "transport",
            "command",
            "args",
            "env",
            "cwd",
            "url",
            "serverUrl",
            "httpUrl",
            "headers",
            "disabled",
            "enabled",
        ];
        let unused: Vec<String> = entry
            .keys()
            .filter(|key| !known.contains(&key.as_str()))
            .map(|key| format!("`{key}`"))
            .collect();
        if !unused.is_empty() {
            self.notes
                .push(format!("not taken over: {}", unused.join(", ")));
        }
        Ok(kind)
    }

    fn stdio(&mut self, command: &str, entry: &Map<String, Json>) -> Result<Kind, String> {
        let mut words = vec![self.plain(command)];
        match entry.get("args") {
            None => {}
            Some(Json::Array(args)) => {
                for arg in args {
                    words.push(self.plain(&scalar(arg).ok_or("has an argument that is no text")?));
                }
            }
            Some(_) => return Err("has `args` that are no list".to_owned()),
        }
        if self.gate.is_program(&words[0]) {
            return Err(ITSELF.to_owned());
        }
        if words[0].starts_with('.') && words[0].contains(['/', '\\']) {
            words[0] = self.project.join(&words[0]).display().to_string();
        }
        for word in &words {
            let secret = word
                .split_once('=')
                .is_some_and(|(name, value)| is_secret_name(name) && !value.is_empty());
            if secret {
                self.notes.push("an argument holds a secret in the clear; every process of this user can read it".to_owned());
            }
        }
        let env = self.values("env", entry.get("env"), ToOwned::to_owned)?;
        let cwd = entry
            .get("cwd")
            .and_then(Json::as_str)
            .map(|cwd| self.project.join(self.plain(cwd)).display().to_string());
        Ok(Kind::Stdio { words, env, cwd })
    }

    fn http(&mut self, name: &str, url: &str, entry: &Map<String, Json>) -> Result<Kind, String> {
        let url = self.plain(url);
        let parsed =
            Url::parse(&url).map_err(|error| format!("has the address `{url}`: {error}"))?;
        if self.gate.answers_at(&parsed) {
            return Err(ITSELF.to_owned());
        }
        if !matches!(parsed.scheme(), "http" | "https" | "ws" | "wss") {
            return Err(format!(
                "has an address that is neither HTTP nor a WebSocket: `{}`",
                parsed.scheme()
            ));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("carries a password in its address; write it as a header".to_owned());
        }
        if parsed.query_pairs().any(|(name, _)| is_secret_name(&name)) {
            self.notes
                .push("the address carries a secret in the clear".to_owned());
        }
        // A header is mostly "Bearer " and a variable, and a reference stands for the whole value.
        let alias = name.to_owned();
        let mut headers = self.values("headers", entry.get("headers"), |header| {
            format!("{alias}_{header}")
        })?;
        headers.retain(|(name, _)| !is_header_ours(name));
        Ok(Kind::Url { url, headers })
    }

    fn values(
        &mut self,
        key: &str,
        values: Option<&Json>,
        variable: impl Fn(&str) -> String,
    ) -> Result<Vec<(String, Value)>, String> {
        let values = match values {
            None | Some(Json::Null) => return Ok(Vec::new()),
            Some(Json::Object(values)) => values,
            Some(_) => return Err(format!("has `{key}` that is no JSON object")),
        };
        let mut read = Vec::new();
        for (name, value) in values {
            // VS Code writes null for "not set".
            let Some(text) = scalar(value) else {
                self.notes
                    .push(format!("not taken over: {key}.{name}, which is no text"));
                continue;
            };
            read.push((name.clone(), self.value(name, &text, &variable)));
        }
        Ok(read)
    }

    fn value(&mut self, name: &str, text: &str, variable: impl Fn(&str) -> String) -> Value {
        let text = self.folders(text);
        let parts = parts(&text);
        let mut names = parts.iter().filter_map(|part| match part {
            Part::Variable { name, .. } => Some(name.clone()),
            Part::Text(_) => None,
        });
        let Some(first) = names.next() else {
            if is_secret_name(name) && is_placeholder(&text) {
                self.enabled = false;
                self.notes.push(format!(
                    "{name} holds a placeholder: put the real value there, then set enabled = true"
                ));
            } else if is_secret_name(name) && !text.is_empty() {
                let variable = shouted(&variable(name));
                self.notes.push(format!(
                    "{name} holds a secret in the clear; safer: {name} = {{ env = \"{variable}\" }}"
                ));
            }
            return Value::Text(text);
        };
        let reference = match parts.as_slice() {
            [Part::Variable { default, .. }] => {
                if let Some(default) = default {
                    self.notes.push(format!(
                        "{name} had the default `{default}` for ${first}, which has none now"
                    ));
                }
                first
            }
            _ => {
                let whole = shouted(&variable(name));
                self.notes.push(format!(
                    "set ${whole} to what {name} is as a whole, which was \"{text}\""
                ));
                whole
            }
        };
        if self.environment.get(&reference).is_none() {
            self.notes
                .push(format!("needs ${reference}, which is not set here"));
        }
        Value::Env(reference)
    }

    // Where no reference can stand, a variable is replaced by what it is now.
    fn plain(&mut self, text: &str) -> String {
        let text = self.folders(text);
        let mut plain = String::new();
        for part in parts(&text) {
            match part {
                Part::Text(text) => plain += text,
                Part::Variable {
                    name,
                    default,
                    written,
                } => match self.environment.get(&name).map(str::to_owned).or(default) {
                    Some(value) => {
                        self.notes
                            .push(format!("{written} was replaced by its value"));
                        plain += &value;
                    }
                    None => {
                        self.enabled = false;
                        self.notes.push(format!(
                            "{written} has no value here: write it in, then set enabled = true"
                        ));
                        plain += written;
                    }
                },
            }
        }
        plain
    }

    fn folders(&self, text: &str) -> String {
        let project = self.project.display().to_string();
        let home = self
            .environment
            .home()
            .map(|home| home.display().to_string())
            .unwrap_or_default();
        text.replace("${workspaceFolder}", &project)
            .replace("${userHome}", &home)
            .replace("${pathSeparator}", std::path::MAIN_SEPARATOR_STR)
            .replace("${/}", std::path::MAIN_SEPARATOR_STR)
    }
}

fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(yes) => Some(yes.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// A piece of a value: text, or a variable as one of the clients writes it.
#[derive(Debug, PartialEq)]
enum Part<'a> {
    Text(&'a str),
    Variable {
        name: String,
        default: Option<String>,
        written: &'a str,
    },
}

// `${X}`, `${X:-default}` (Claude Code), `${env:X}` (Cursor, VS Code), `${input:x}` (VS Code).
fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((inside, next)) = after.split_once('}') else {
            break;
        };
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        let written = rest
            .get(before.len()..rest.len() - next.len())
            .unwrap_or(rest);
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
            None => match inside.split_once(':') {
                Some(("env", name)) => (name.to_owned(), None),
                // What VS Code asks for at start, the environment must hold for us.
                Some((_, name)) => (shouted(name), None),
                None => (inside.to_owned(), None),
            },
        };
        parts.push(Part::Variable {
            name,
            default,
            written,
        });
        rest = next;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    parts
}

// A name as variables are written: `github-token` becomes `GITHUB_TOKEN`.
fn shouted(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect()
}
