//! Other teams' clients go through OAuth by themselves: at the gate's own authorization server, at somebody else's, and
//! at the gate's server in front of somebody else's that knows no such clients.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testkit::fixtures::{Launch, Peers, free_address};

use crate::program::{Program, output, password, person};

/// Three SDKs with an OAuth flow of their own.
const CLIENTS: [&str; 3] = ["oauth_ts.mjs", "oauth_ts_modern.mjs", "oauth_py.py"];

/// Alice may use the clock and nothing else.
const RULES: &str = r#"
builtins = ["time", "status"]
[auth]
loopback = "off"
[roles.reader]
members = ["alice"]
allow = ["time.*"]
"#;

fn client(peers: &Peers, script: &str, plan: &Value) -> Result<Launch> {
    let mut launch = if let Some(name) = script.strip_suffix(".py") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");
        peers.python("python", &[&format!("{script}/{name}.py")])?
    } else {
        peers.script(script)?
    };
    launch.argv.push(plan.to_string());
    Ok(launch)
}

/// What the client saw: it was turned away, went to `person`'s authorization server, and came back with a token.
async fn goes_through(
    peers: &Peers,
    gate: &Program,
    script: &str,
    person: &Value,
) -> Result<Value> {
    let plan = json!({
        "url": gate.url("/mcp"),
        "person": person,
        "call": { "name": "time.now", "arguments": {} },
    });
    let launch = client(peers, script, &plan)?;
    let said = output(&launch).await.with_context(|| {
        format!(
            "{script}; the gate said {}",
            gate.output().unwrap_or_default()
        )
    })?;
    let seen: Value = serde_json::from_str(said.lines().last().unwrap_or_default())?;
    ensure!(seen["error"].is_null(), "{script}: {seen}");
    ensure!(
        seen["result"]["isError"] != true && seen["result"]["content"][0]["type"] == "text",
        "{script}: {seen}"
    );
    Ok(seen)
}

fn tools(seen: &Value) -> Vec<&str> {
    seen["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_teams_clients_sign_in_at_our_server() -> Result<()> {
    let peers = Peers::locate()?;
    let gate = Program::start(RULES).await?;
    gate.first_owner(&peers, "olga").await?;
    let link = gate.run(&["user", "add", "alice"]).await?;
    gate.follow_link(&peers, link.trim(), "alice").await?;
    for script in CLIENTS {
        let seen = goes_through(&peers, &gate, script, &person("alice")).await?;
        assert_eq!(seen["registered"], true, "{script}: {seen}");
        assert_eq!(seen["tokens"]["refresh"], true, "{script}: {seen}");
        let tools = tools(&seen);
        assert!(
            tools.contains(&"time.now") && !tools.iter().any(|name| name.starts_with("status.")),
            "{script} sees more or less than alice: {tools:?}"
        );
    }
    let sessions = gate.run(&["session", "list", "--json"]).await?;
    assert!(sessions.contains("alice"), "{sessions}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_teams_clients_sign_in_at_another_teams_server() -> Result<()> {
    let peers = Peers::locate()?;
    let issuer = peers
        .oidc_provider(&json!({ "registration": true }))
        .await?;
    let config = format!(
        "{RULES}\n[auth.issuers.corp]\nurl = \"{}\"\nroles_claim = \"roles\"\nroles = {{ reader = [\"reader\"] }}\n",
        issuer.url()
    );
    let gate = Program::start(&config).await?;
    for script in CLIENTS {
        let seen = goes_through(&peers, &gate, script, &person("alice")).await?;
        assert!(tools(&seen).contains(&"time.now"), "{script}: {seen}");
        let at_issuer = |step: &Value| {
            step.as_str()
                .is_some_and(|step| step.contains(&issuer.url()))
        };
        let way = seen["way"].as_array().context("no way")?;
        assert!(way.iter().any(at_issuer), "{script}: {seen}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_registration_is_reached_through_ours() -> Result<()> {
    let peers = Peers::locate()?;
    let (gate_at, issuer_at) = (free_address()?, free_address()?);
    let known = json!([{
        "client_id": "the-gate",
        "client_secret": "kestrel-anvil-0451-marble",
        "redirect_uris": [format!("http://{gate_at}/console/sign-in/corp/callback")],
    }]);
    let options = json!({ "registration": false, "clients": known });
    let issuer = peers.oidc_provider_at(issuer_at, &options).await?;
    let config = format!(
        "{RULES}
[auth.sign_in.corp]
issuer = \"{}\"
client_id = \"the-gate\"
client_secret = \"kestrel-anvil-0451-marble\"
roles_claim = \"roles\"
roles = {{ reader = [\"reader\"] }}
",
        issuer.url()
    );
    let gate = Program::start_at(gate_at, &config).await?;
    // Nobody has a password here: the person goes to the provider by its button.
    let mut who = person("alice");
    who["provider"] = "corp".into();
    for script in CLIENTS {
        let seen = goes_through(&peers, &gate, script, &who).await?;
        assert_eq!(seen["registered"], true, "{script}: {seen}");
        assert!(tools(&seen).contains(&"time.now"), "{script}: {seen}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_says_nothing_is_asked_about() -> Result<()> {
    let peers = Peers::locate()?;
    let known = json!([{
        "client_id": "the-gate",
        "client_secret": password("gate"),
        "redirect_uris": [],
        "grant_types": ["client_credentials"],
        "response_types": [],
    }]);
    let options = json!({ "opaque": true, "registration": true, "clients": known });
    let issuer = peers.oidc_provider(&options).await?;
    let config = format!(
        "{RULES}
[auth.issuers.corp]
url = \"{url}\"
roles_claim = \"roles\"
roles = {{ reader = [\"reader\"] }}
introspection = {{ url = \"{url}/token/introspection\", client_id = \"the-gate\", client_secret = \"{}\" }}
",
        password("gate"),
        url = issuer.url()
    );
    let gate = Program::start(&config).await?;
    let seen = goes_through(&peers, &gate, "oauth_ts_modern.mjs", &person("alice")).await?;
    assert!(tools(&seen).contains(&"time.now"), "{seen}");
    Ok(())
}
