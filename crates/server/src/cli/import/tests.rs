//! What is made of mcp.json files as they are found on people's machines.

use std::path::Path;

use serde_json::json;

use super::read::{Gate, read};
use super::write::{Fate, Target};
use crate::config::Environment;

fn environment(variables: &[(&str, &str)]) -> Environment {
    let mut environment = Environment {
        folder: "/work".into(),
        ..Environment::default()
    };
    environment
        .variables
        .insert("HOME".to_owned(), "/home/ada".to_owned());
    for (name, value) in variables {
        environment
            .variables
            .insert((*name).to_owned(), (*value).to_owned());
    }
    environment
}

/// The config that a file becomes, and what is said on the way.
fn imported(file: &str, text: &str, variables: &[(&str, &str)]) -> (String, Vec<String>) {
    let found = read(
        text,
        Path::new(file),
        &environment(variables),
        &Gate::default(),
    )
    .unwrap();
    let mut target = Target::read("").unwrap();
    let mut said = Vec::new();
    for server in &found.servers {
        target.add(server);
        said.extend(
            server
                .notes
                .iter()
                .map(|note| format!("{}: {note}", server.name)),
        );
    }
    said.extend(
        found
            .skipped
            .iter()
            .map(|(name, why)| format!("{name} left out: {why}")),
    );
    (target.text(), said)
}

#[test]
fn claude_desktop() {
    let (config, said) = imported(
        "/home/ada/.config/Claude/claude_desktop_config.json",
        r#"{
  "globalShortcut": "",
  "mcpServers": {
    "filesystem": {
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/ada/Desktop"]
    },
    // the token is from the admin page
    "GitHub Tools": {
      "command": "docker",
      "args": ["run", "-i", "--rm", "-e", "GITHUB_PERSONAL_ACCESS_TOKEN", "ghcr.io/github/github-mcp-server"],
      "env": { "GITHUB_PERSONAL_ACCESS_TOKEN": "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "LOG_LEVEL": "info" },
    },
    "todo": { "command": "uvx", "args": ["mcp-todo"], "env": { "API_KEY": "<YOUR_API_KEY>" } },
    "portcullis": { "command": "/usr/local/bin/portcullis", "args": ["stdio"] },
    "broken": { "args": [] },
  },
}"#,
        &[],
    );
    assert_eq!(
        config,
        r#"[upstreams.filesystem]
stdio = ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/ada/Desktop"]

[upstreams.GitHub-Tools]
stdio = ["docker", "run", "-i", "--rm", "-e", "GITHUB_PERSONAL_ACCESS_TOKEN", "ghcr.io/github/github-mcp-server"]
env = { GITHUB_PERSONAL_ACCESS_TOKEN = "ghp_16C7e42F292c6912E7710c838347Ae178B4a", LOG_LEVEL = "info" }

[upstreams.todo]
stdio = ["uvx", "mcp-todo"]
env = { API_KEY = "<YOUR_API_KEY>" }
enabled = false
"#
    );
    assert_eq!(
        said,
        [
            "GitHub Tools: GITHUB_PERSONAL_ACCESS_TOKEN holds a secret in the clear; safer: GITHUB_PERSONAL_ACCESS_TOKEN = { env = \"GITHUB_PERSONAL_ACCESS_TOKEN\" }",
            "todo: API_KEY holds a placeholder: put the real value there, then set enabled = true",
            "portcullis left out: is this gate itself",
            "broken left out: has neither a command nor an address",
        ]
    );
}

#[test]
fn claude_code_with_its_projects() {
    let (config, said) = imported(
        "/home/ada/.claude.json",
        r#"{
  "numStartups": 412,
  "mcpServers": {
    "sentry": { "type": "http", "url": "https://mcp.sentry.dev/mcp", "headers": { "Authorization": "Bearer ${SENTRY_TOKEN}", "Accept": "*/*" } }
  },
  "projects": {
    "/home/ada/shop": {
      "allowedTools": [],
      "mcpServers": {
        "db": { "type": "stdio", "command": "./tools/db-mcp", "args": ["--dsn", "${DSN:-postgres://localhost/shop}"], "env": { "PGPASSWORD": "${PGPASSWORD}" } },
        "sentry": { "type": "sse", "url": "https://mcp.sentry.dev/sse" }
      }
    },
    "/home/ada/blog": { "mcpServers": {} }
  }
}"#,
        &[("PGPASSWORD", "hunter2")],
    );
    assert_eq!(
        config,
        r#"[upstreams.sentry]
url = "https://mcp.sentry.dev/mcp"
headers = { Authorization = { env = "SENTRY_AUTHORIZATION" } }

[upstreams.db]
stdio = ["/home/ada/shop/./tools/db-mcp", "--dsn", "postgres://localhost/shop"]
env = { PGPASSWORD = { env = "PGPASSWORD" } }

[upstreams.sentry-2]
url = "https://mcp.sentry.dev/sse"
"#
    );
    assert_eq!(
        said,
        [
            "sentry: set $SENTRY_AUTHORIZATION to what Authorization is as a whole, which was \"Bearer ${SENTRY_TOKEN}\"",
            "sentry: needs $SENTRY_AUTHORIZATION, which is not set here",
            "db: ${DSN:-postgres://localhost/shop} was replaced by its value",
        ]
    );
}

#[test]
fn cursor() {
    let (config, said) = imported(
        "/home/ada/shop/.cursor/mcp.json",
        r#"{"mcpServers": {
  "linear": { "serverUrl": "https://mcp.linear.app/mcp", "headers": { "X-Api-Key": "${env:LINEAR_KEY}" } },
  "local": { "command": "node", "args": ["${workspaceFolder}/mcp.js", "${userHome}/x"], "env": { "PORT": 8123, "DEBUG": true }, "envFile": "${workspaceFolder}/.env" },
  "old": { "url": "https://old.example/mcp", "disabled": true },
  "socket": { "type": "ws", "url": "wss://x.example" },
  "pigeon": { "type": "post", "url": "https://x.example" },
  "login": { "url": "https://ada:pw@x.example/mcp" }
}}"#,
        &[("LINEAR_KEY", "k")],
    );
    assert_eq!(
        config,
        r#"[upstreams.linear]
url = "https://mcp.linear.app/mcp"
headers = { X-Api-Key = { env = "LINEAR_KEY" } }

[upstreams.local]
stdio = ["node", "/home/ada/shop/mcp.js", "/home/ada/x"]
env = { PORT = "8123", DEBUG = "true" }

[upstreams.old]
url = "https://old.example/mcp"
enabled = false

[upstreams.socket]
url = "wss://x.example"
"#
    );
    assert_eq!(
        said,
        [
            "local: not taken over: `envFile`",
            "old: was switched off, and stays so (enabled = false)",
            "pigeon left out: speaks `post`, which the gate does not",
            "login left out: carries a password in its address; write it as a header",
        ]
    );
}

#[test]
fn vs_code_with_inputs() {
    let (config, said) = imported(
        "/home/ada/shop/.vscode/mcp.json",
        r#"{
  // asked for at start
  "inputs": [{ "type": "promptString", "id": "perplexity-key", "description": "Perplexity API Key", "password": true }],
  "servers": {
    "perplexity": {
      "type": "stdio", "command": "npx", "args": ["-y", "server-perplexity-ask"],
      "env": { "PERPLEXITY_API_KEY": "${input:perplexity-key}", "UNSET": null }
    },
    "remote": { "type": "http", "url": "https://api.example.com/mcp?token=${input:t}" },
  }
}"#,
        &[],
    );
    assert_eq!(
        config,
        r#"[upstreams.perplexity]
stdio = ["npx", "-y", "server-perplexity-ask"]
env = { PERPLEXITY_API_KEY = { env = "PERPLEXITY_KEY" } }

[upstreams.remote]
url = "https://api.example.com/mcp?token=${input:t}"
enabled = false
"#
    );
    assert_eq!(
        said,
        [
            "perplexity: needs $PERPLEXITY_KEY, which is not set here",
            "perplexity: not taken over: env.UNSET, which is no text",
            "remote: ${input:t} has no value here: write it in, then set enabled = true",
            "remote: the address carries a secret in the clear",
        ]
    );
}

#[test]
fn what_is_in_the_config_stays_as_it_is() {
    let before = "# ours\nlisten = \"127.0.0.1:1\" # not 8080\n\n[upstreams.time]\nnative = \"time\" # keep\n\n[limits]\nin_flight_max = 3\n";
    let text = r#"{"mcpServers": {"time": {"command": "mcp-server-time"}, "time!": {"command": "x"}, "__a__b__": {"command": "y"}}}"#;
    let found = read(
        text,
        Path::new("mcp.json"),
        &environment(&[]),
        &Gate::default(),
    )
    .unwrap();
    let mut target = Target::read(before).unwrap();
    let fates: Vec<Fate> = found
        .servers
        .iter()
        .map(|server| target.add(server))
        .collect();
    let added = |alias: &str| Fate::Added(alias.to_owned());
    assert_eq!(fates, [added("time-2"), added("time-3"), added("_a_b_")]);
    let after = target.text();
    for line in before.lines() {
        assert!(after.contains(line), "{line} is gone from\n{after}");
    }
    assert!(after.parse::<toml::Table>().is_ok());

    // A second time, all are there already.
    let again: Vec<Fate> = found
        .servers
        .iter()
        .map(|server| target.add(server))
        .collect();
    let there = |alias: &str| Fate::There(alias.to_owned());
    assert_eq!(again, [there("time-2"), there("time-3"), there("_a_b_")]);
    assert_eq!(target.text(), after);
}

#[test]
fn what_is_no_client_config_is_told() {
    let told = |text: &str| {
        read(
            text,
            Path::new("x.json"),
            &environment(&[]),
            &Gate::default(),
        )
        .unwrap_err()
        .to_string()
    };
    assert_eq!(told("[]"), "it holds no JSON object");
    assert_eq!(
        told("{\"a\": 1}"),
        "it has no `mcpServers` (Claude, Cursor) and no `servers` (VS Code)"
    );
    assert_eq!(
        told("{\"mcpServers\": []}"),
        "its servers are no JSON object"
    );
    assert!(told("{\"mcpServers\": ").starts_with("it is not JSON: "));
}

#[test]
fn the_gate_does_not_import_itself() {
    let program = std::env::current_exe().unwrap().canonicalize().unwrap();
    let entry = |key: &str, value: &str| {
        let file = json!({ "mcpServers": { "one": { key: value } } }).to_string();
        let gate = Gate {
            program: program.clone(),
            listen: vec![
                "127.0.0.1:8080".parse().unwrap(),
                "[::]:9090".parse().unwrap(),
            ],
        };
        let found = read(&file, Path::new("x.json"), &environment(&[]), &gate).unwrap();
        let skipped = found.skipped.into_iter().map(|(_, why)| why);
        (found.servers.len(), skipped.collect::<Vec<_>>())
    };
    let itself = (0, vec!["is this gate itself".to_owned()]);
    assert_eq!(entry("command", program.to_str().unwrap()), itself);
    assert_eq!(entry("command", "/usr/bin/portcullis"), itself);
    for url in [
        "http://127.0.0.1:8080/mcp",
        "http://localhost:8080/mcp",
        "http://127.0.0.1:9090/mcp",
        "http://[::1]:9090/mcp",
    ] {
        assert_eq!(entry("url", url), itself, "{url}");
    }
    for url in [
        "http://127.0.0.1:8081/mcp",
        "http://127.0.0.2:8080/mcp",
        "http://[::1]:8080/mcp",
        "http://gate.example:8080/mcp",
        "http://192.0.2.1:9090/mcp",
    ] {
        assert_eq!(entry("url", url), (1, Vec::new()), "{url}");
    }
}
