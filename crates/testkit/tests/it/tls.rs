//! TLS in front of and behind a gate, on real sockets with certificates made for the test.

mod client;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use server::config::{Environment, Loaded, Sources};
use server::serve::{Cause, Serving};
use tempfile::TempDir;
use testkit::certificates::{Authority, Holder};
use testkit::clock::ManualClock;
use testkit::fixtures::{Launch, Process, free_address};
use testkit::mcp::{call, request};
use testkit::world::{Exchange, program, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use self::client::{Client, V1_2, V1_3};

const SOON: Duration = Duration::from_secs(20);

/// Clients may come with a certificate; without one they need something else.
const MUTUAL: &str = r#"
builtins = ["time"]
auth.loopback = "off"
roles.reader = { allow = ["time.*"] }
auth.certificates.agent = { match = "dns:agent.example", roles = ["reader"] }
[tls]
certificate = "chain.pem"
key = { file = "key.pem" }
client_ca = "clients.pem"
"#;
const SERVER_ONLY: &str = r#"
builtins = ["time"]
http.allowed_hosts = ["gate.example"]
[tls]
certificate = "chain.pem"
key = { file = "key.pem" }
"#;

/// A gate in this process with files beside its config.
struct Gate {
    folder: TempDir,
    serving: Serving,
    authority: Authority,
    clients: Authority,
}

impl Gate {
    async fn start(config: &str) -> Result<Self> {
        Self::start_with(config, &[]).await
    }

    async fn start_with(config: &str, files: &[(&str, &str)]) -> Result<Self> {
        let folder = TempDir::with_prefix("portcullis-tls-")?;
        let (authority, clients) = (Authority::new("servers")?, Authority::new("clients")?);
        put(&folder, "clients.pem", &clients.pem)?;
        put_holder(&folder, &authority.server(1)?)?;
        for (name, text) in files {
            put(&folder, name, text)?;
        }
        let loaded = load(&folder, config)?;
        let serving = server::serve::start(loaded, Arc::new(ManualClock::default())).await?;
        Ok(Self {
            folder,
            serving,
            authority,
            clients,
        })
    }

    fn address(&self) -> SocketAddr {
        self.serving.addresses()[0]
    }

    fn reload(&self, config: &str) -> Result<()> {
        let loaded = load(&self.folder, config)?;
        Ok(self.serving.reload(&loaded, Cause::Change)?)
    }

    /// A client that trusts it and has no certificate.
    fn client(&self) -> Result<Client> {
        Client::new(&self.authority.pem, None)
    }

    fn client_with(&self, holder: &Holder) -> Result<Client> {
        Client::new(&self.authority.pem, Some(holder))
    }

    fn agent(&self, serial: u64) -> Result<Client> {
        self.client_with(&self.clients.client(serial, "agent.example")?)
    }
}

fn put(folder: &TempDir, name: &str, text: &str) -> Result<()> {
    let path = folder.path().join(name);
    fs::write(&path, text)?;
    Ok(fs::set_permissions(
        &path,
        fs::Permissions::from_mode(0o600),
    )?)
}

fn put_holder(folder: &TempDir, holder: &Holder) -> Result<()> {
    put(folder, "key.pem", &holder.key)?;
    put(folder, "chain.pem", &holder.chain)
}

fn load(folder: &TempDir, config: &str) -> Result<Loaded> {
    let file = folder.path().join("portcullis.toml");
    fs::write(&file, config)?;
    let sources = Sources {
        config: Some(file),
        env: None,
        listen: vec!["127.0.0.1:0".to_owned()],
    };
    let environment = Environment {
        variables: BTreeMap::from([(
            "PORTCULLIS__DATA_DIR".to_owned(),
            folder.path().join("data").to_string_lossy().into_owned(),
        )]),
        folder: folder.path().to_owned(),
    };
    Ok(server::config::load(&sources, &environment)?)
}

fn tools() -> Value {
    request(1, "tools/list", &json!({}))
}

async fn tool_names(client: &Client, gate: &Gate) -> Result<Vec<String>> {
    let mut session = client.connect(gate.address()).await?;
    let (status, answer) = session.post(&tools()).await?;
    ensure!(status == 200, "{status}: {answer}");
    let tools = answer["result"]["tools"].as_array().context("no tools")?;
    let name = |tool: &Value| Some(tool["name"].as_str()?.to_owned());
    Ok(tools.iter().filter_map(name).collect())
}

async fn status(client: &Client, gate: &Gate) -> Result<u16> {
    let mut session = client.connect(gate.address()).await?;
    Ok(session.get("/health", &[]).await?.status)
}

/// Sends bytes and reads until the gate hangs up, one way or the other.
async fn said(gate: &Gate, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = Exchange::connect(gate.address()).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    match timeout(SOON, stream.read_to_end(&mut answer)).await? {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error.into()),
        _ => Ok(answer),
    }
}

/// The first message of a handshake, as an old client sends it: no extensions, one cipher suite.
fn old_hello(version: [u8; 2], cipher_suite: [u8; 2]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(version);
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2]);
    body.extend(cipher_suite);
    body.extend([1, 0]);
    let length = u8::try_from(body.len()).expect("a short message");
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_1_2_and_1_3_are_spoken_over_http_1_and_2() -> Result<()> {
    let gate = Gate::start(SERVER_ONLY).await?;
    for versions in [V1_2, V1_3] {
        let client = gate.client()?.speaking(versions)?;
        assert_eq!(status(&client, &gate).await?, 200);
        assert_eq!(tool_names(&client, &gate).await?.len(), 2);
        let http2 = client.offering(&["h2", "http/1.1"]);
        assert_eq!(http2.connect(gate.address()).await?.protocol(), Some("h2"));
        assert_eq!(http2.get_http2(gate.address(), "/health").await?, 200);
        let neither = gate.client()?.offering(&["spdy/1"]);
        assert!(neither.connect(gate.address()).await.is_err());
    }
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn older_versions_and_weaker_ciphers_get_an_alert() -> Result<()> {
    let gate = Gate::start(SERVER_ONLY).await?;
    let (aes_cbc, ecdhe_cbc, ecdhe_gcm) = ([0, 0x2f], [0xc0, 0x09], [0xc0, 0x2b]);
    for (version, cipher_suite) in [
        ([3, 0], ecdhe_gcm),
        ([3, 1], ecdhe_gcm),
        ([3, 2], ecdhe_gcm),
        ([3, 3], aes_cbc),
        ([3, 3], ecdhe_cbc),
    ] {
        let answer = said(&gate, &old_hello(version, cipher_suite)).await?;
        // An alert, fatal, and nothing else.
        assert!(
            answer.first() == Some(&21) && answer.get(5) == Some(&2) && answer.len() == 7,
            "{version:?} {cipher_suite:x?}: {answer:?}"
        );
    }
    assert_eq!(status(&gate.client()?, &gate).await?, 200);
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_version_can_be_the_newest() -> Result<()> {
    let gate = Gate::start(&[SERVER_ONLY, "min_version = \"1.3\"\n"].concat()).await?;
    assert_eq!(status(&gate.client()?.speaking(V1_3)?, &gate).await?, 200);
    assert!(
        status(&gate.client()?.speaking(V1_2)?, &gate)
            .await
            .is_err()
    );
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_no_tls_is_told_so_and_who_says_nothing_is_not_waited_for() -> Result<()> {
    let config = SERVER_ONLY.replace(
        "[tls]",
        "[http]\nheader_timeout = \"300ms\"\nallowed_hosts = [\"gate.example\"]\n[tls]",
    );
    let config = config.replacen("http.allowed_hosts = [\"gate.example\"]\n", "", 1);
    let gate = Gate::start(&config).await?;
    let plain = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answer = String::from_utf8(said(&gate, plain).await?)?;
    assert!(
        answer.starts_with("HTTP/1.1 400 ")
            && answer.ends_with("\r\n\r\nThis port speaks TLS; use https.\n"),
        "{answer}"
    );
    assert!(said(&gate, b"\0\0\0\0").await?.is_empty());
    for beginning in [&b""[..], &old_hello([3, 3], [0xc0, 0x2b])[..20]] {
        said(&gate, beginning).await.context("a deadline")?;
    }
    assert_eq!(status(&gate.client()?, &gate).await?, 200);
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_may_stay_in_the_clear() -> Result<()> {
    let gate = Gate::start(&[SERVER_ONLY, "loopback_plaintext = true\n"].concat()).await?;
    let plain = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = String::from_utf8(said(&gate, plain).await?)?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_told_to_stay_with_tls_but_not_for_localhost() -> Result<()> {
    let gate = Gate::start(SERVER_ONLY).await?;
    let mut session = gate.client()?.connect(gate.address()).await?;
    for (host, is_told) in [
        ("gate.example", true),
        ("localhost", false),
        ("127.0.0.1:8443", false),
    ] {
        let answer = session.get("/livez", &[("host", host)]).await?;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("strict-transport-security").is_some(),
            is_told,
            "{host}"
        );
    }
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_stands_for_a_principal() -> Result<()> {
    let gate = Gate::start(MUTUAL).await?;
    for versions in [V1_2, V1_3] {
        let agent = gate.agent(7)?.speaking(versions)?;
        assert_eq!(
            tool_names(&agent, &gate).await?,
            ["time.convert", "time.now"]
        );
        assert_eq!(
            status(&gate.client()?.speaking(versions)?, &gate).await?,
            401
        );
    }
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_stands_for_nobody_is_not_the_local_user() -> Result<()> {
    let config = MUTUAL.replace("auth.loopback = \"off\"", "auth.loopback = \"owner\"");
    let gate = Gate::start(&config).await?;
    assert_eq!(status(&gate.client()?, &gate).await?, 200);
    let stranger = gate.client_with(&gate.clients.client(8, "stranger.example")?)?;
    assert_eq!(status(&stranger, &gate).await?, 401);
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_token_is_not_made_good_by_a_certificate() -> Result<()> {
    let gate = Gate::start(MUTUAL).await?;
    let mut session = gate.agent(7)?.connect(gate.address()).await?;
    let bad = [("authorization", "Bearer nonsense")];
    assert_eq!(session.get("/health", &bad).await?.status, 401);
    assert_eq!(session.get("/health", &[]).await?.status, 200);
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_hold_ends_the_handshake() -> Result<()> {
    let gate = Gate::start(MUTUAL).await?;
    let foreign = Authority::new("clients")?;
    for (what, holder) in [
        ("expired", gate.clients.expired_client(2, "agent.example")?),
        ("of another authority", foreign.client(3, "agent.example")?),
        (
            "of the servers' authority",
            gate.authority.client(4, "agent.example")?,
        ),
        ("for servers", gate.clients.server(5)?),
    ] {
        for versions in [V1_2, V1_3] {
            let client = gate.client_with(&holder)?.speaking(versions)?;
            assert!(status(&client, &gate).await.is_err(), "{what}");
        }
    }
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_certificate_is_required_nobody_comes_without() -> Result<()> {
    let gate = Gate::start(&[MUTUAL, "client = \"required\"\n"].concat()).await?;
    assert_eq!(status(&gate.agent(7)?, &gate).await?, 200);
    for versions in [V1_2, V1_3] {
        let nobody = gate.client()?.speaking(versions)?;
        assert!(status(&nobody, &gate).await.is_err());
    }
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_revoked_stays_out_and_a_list_out_of_date_lets_nobody_in() -> Result<()> {
    let gate = Gate::start(MUTUAL).await?;
    let (good, bad) = (gate.agent(7)?, gate.agent(8)?);
    let with_list = [MUTUAL, "crl = [\"revoked.pem\"]\n"].concat();
    put(&gate.folder, "revoked.pem", &gate.clients.revoked(&[8])?)?;
    gate.reload(&with_list)?;
    assert_eq!(status(&good, &gate).await?, 200);
    assert!(status(&bad, &gate).await.is_err());

    put(
        &gate.folder,
        "revoked.pem",
        &gate.clients.revoked_until(2021, &[8])?,
    )?;
    gate.reload(&with_list)?;
    assert!(status(&good, &gate).await.is_err());

    // A list of somebody else says nothing about these.
    put(&gate.folder, "revoked.pem", &gate.authority.revoked(&[8])?)?;
    gate.reload(&with_list)?;
    assert!(status(&good, &gate).await.is_err());
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_certificate_cuts_its_open_connections_and_no_others() -> Result<()> {
    let with_list = [MUTUAL, "crl = [\"revoked.pem\"]\n"].concat();
    let gate = Gate::start(MUTUAL).await?;
    let (mut good, mut bad) = (
        gate.agent(7)?.connect(gate.address()).await?,
        gate.agent(8)?.connect(gate.address()).await?,
    );
    let mut stream = gate.agent(8)?.connect(gate.address()).await?;
    stream.open_websocket().await?;
    for session in [&mut good, &mut bad] {
        assert_eq!(session.get("/health", &[]).await?.status, 200);
    }
    put(&gate.folder, "revoked.pem", &gate.clients.revoked(&[8])?)?;
    gate.reload(&with_list)?;
    bad.is_cut().await?;
    stream.is_cut().await?;
    assert_eq!(good.get("/health", &[]).await?.status, 200);
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_that_is_gone_ends_what_it_allowed() -> Result<()> {
    let gate = Gate::start(MUTUAL).await?;
    let mut open = gate.agent(7)?.connect(gate.address()).await?;
    assert_eq!(open.get("/health", &[]).await?.status, 200);
    gate.reload(&MUTUAL.replace("agent.example", "other.example"))?;
    assert_eq!(open.get("/health", &[]).await?.status, 401);
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_see_a_new_certificate_and_open_ones_live_on() -> Result<()> {
    let gate = Gate::start(SERVER_ONLY).await?;
    let client = gate.client()?;
    let mut old = client.connect(gate.address()).await?;
    assert_eq!(old.get("/health", &[]).await?.status, 200);
    let before = old.server_certificate()?;
    put_holder(&gate.folder, &gate.authority.server(2)?)?;
    gate.reload(SERVER_ONLY)?;
    assert_eq!(old.get("/health", &[]).await?.status, 200);
    let mut new = client.connect(gate.address()).await?;
    assert_eq!(new.get("/health", &[]).await?.status, 200);
    assert_ne!(new.server_certificate()?, before);

    // A key that does not fit, and no certificate at all: nothing changes, and it is said why.
    put(&gate.folder, "key.pem", &gate.authority.server(3)?.key)?;
    let why = gate
        .reload(SERVER_ONLY)
        .expect_err("a bad pair")
        .to_string();
    assert!(
        why.contains("tls.key") && why.contains("do not fit"),
        "{why}"
    );
    put(&gate.folder, "chain.pem", "")?;
    let why = gate
        .reload(SERVER_ONLY)
        .expect_err("no certificate")
        .to_string();
    assert!(why.contains("tls.certificate"), "{why}");
    let newest = client.connect(gate.address()).await?;
    assert_eq!(newest.server_certificate()?, new.server_certificate()?);
    gate.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_notices_new_files_and_says_what_is_wrong_with_bad_ones() -> Result<()> {
    let folder = TempDir::with_prefix("portcullis-tls-")?;
    let authority = Authority::new("servers")?;
    put_holder(&folder, &authority.server(1)?)?;
    put(&folder, "portcullis.toml", SERVER_ONLY)?;
    let address = free_address()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let launch = Launch::new([
        program("gate")?.to_string_lossy().into_owned(),
        "serve".to_owned(),
        "--config".to_owned(),
        path("portcullis.toml"),
        "--listen".to_owned(),
        address.to_string(),
    ])
    .env("PORTCULLIS__DATA_DIR", path("data"));
    let mut gate = Process::start(&launch)?;
    gate.accepts(address).await?;
    let client = Client::new(&authority.pem, None)?;
    let mut open = client.connect(address).await?;
    let before = open.server_certificate()?;
    put_holder(&folder, &authority.server(2)?)?;
    until("new connections see the new certificate", async || {
        Ok(client.connect(address).await?.server_certificate()? != before)
    })
    .await?;
    let after = client.connect(address).await?.server_certificate()?;
    put(&folder, "chain.pem", "nothing")?;
    until("it is said why the certificate is not taken", async || {
        Ok(gate
            .output()?
            .contains("tls.certificate: there is no certificate in it"))
    })
    .await?;
    let newest = client.connect(address).await?;
    assert_eq!(newest.server_certificate()?, after);
    assert_eq!(open.get("/livez", &[]).await?.status, 200);
    assert!(gate.output()?.contains(&format!("https://{address}/mcp")));
    Ok(())
}

/// A gate that has another one as its upstream, at `scheme` and `path`, with these further lines under `tls`.
async fn chained(
    inner: &Gate,
    scheme: &str,
    path: &str,
    holder: &Holder,
    tls: &str,
) -> Result<Gate> {
    let url = format!("{scheme}://localhost:{}{path}", inner.address().port());
    let config = format!(
        "builtins = []\n[upstreams.inner]\nurl = \"{url}\"\nconnect_timeout = \"5s\"\n[upstreams.inner.tls]\nca = \"inner.pem\"\n{tls}\n"
    );
    let files = [
        ("inner.pem", inner.authority.pem.as_str()),
        ("agent.pem", holder.chain.as_str()),
        ("agent.key", holder.key.as_str()),
    ];
    Gate::start_with(&config, &files).await
}

async fn time_through(gate: &Gate) -> Result<Value> {
    let mut stream = Exchange::connect(gate.address()).await?;
    let arguments = json!({ "timezone": "UTC" });
    let message = call(1, "inner.time.now", &arguments);
    let bytes = client::post(&message, "localhost");
    stream.write_all(bytes.as_bytes()).await?;
    let mut exchange = Exchange::receive(stream).await?;
    let body = exchange.body().await?;
    Ok(serde_json::from_slice(&body)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_are_reached_with_a_certificate_over_https_and_wss() -> Result<()> {
    let inner = Gate::start(&[MUTUAL, "client = \"required\"\n"].concat()).await?;
    let agent = inner.clients.client(7, "agent.example")?;
    let shown = "certificate = \"agent.pem\"\nkey = { file = \"agent.key\" }\n";
    for (scheme, path) in [("https", "/mcp"), ("wss", "/ws")] {
        let outer = chained(&inner, scheme, path, &agent, shown).await?;
        let answer = time_through(&outer).await?;
        assert!(
            answer["result"]["content"][0]["text"].as_str().is_some(),
            "{scheme}: {answer}"
        );
        outer.serving.stop().await;
        let nobody = chained(&inner, scheme, path, &agent, "").await?;
        let answer = time_through(&nobody).await?;
        assert!(answer["error"].is_object(), "{scheme}: {answer}");
        nobody.serving.stop().await;
    }
    inner.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_whose_key_is_not_pinned_hears_nothing() -> Result<()> {
    let inner = Gate::start(SERVER_ONLY).await?;
    let holder = inner.authority.server(9)?;
    put_holder(&inner.folder, &holder)?;
    inner.reload(SERVER_ONLY)?;
    let other = inner.authority.server(10)?.pin;
    for (pins, is_good) in [
        (format!("pin = [\"{other}\", \"{}\"]", holder.pin), true),
        (format!("pin = [\"{other}\"]"), false),
    ] {
        let outer = chained(&inner, "https", "/mcp", &holder, &pins).await?;
        let answer = time_through(&outer).await?;
        assert_eq!(answer["result"].is_object(), is_good, "{answer}");
        if !is_good {
            let health = outer.serving.gate().status().to_string();
            assert!(health.contains("none of the pinned ones"), "{health}");
        }
        outer.serving.stop().await;
    }
    inner.serving.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_is_reached_by_a_foreign_host_or_from_a_foreign_page() -> Result<()> {
    let gate = Gate::start(SERVER_ONLY).await?;
    let mut session = gate.client()?.connect(gate.address()).await?;
    for path in [
        "/livez",
        "/readyz",
        "/health",
        "/metrics",
        "/mcp",
        "/sse",
        "/ws",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server",
        "/oauth/jwks",
        "/oauth/authorize",
        "/console/login",
        "/console/connect/github",
        "/v1/keys",
        "/nowhere",
    ] {
        for headers in [
            [("host", "evil.example"), ("x-forwarded-host", "localhost")],
            [("host", "localhost"), ("origin", "https://evil.example")],
            [("host", "localhost"), ("origin", "null")],
        ] {
            let answer = session.get(path, &headers).await?;
            assert_eq!(answer.status, 403, "{path} {headers:?}");
        }
    }
    // What a header says about where a request came from makes nobody local, and what it says about TLS neither.
    for name in [
        "x-forwarded-for",
        "x-forwarded-host",
        "forwarded",
        "x-real-ip",
    ] {
        let answer = session.get("/health", &[(name, "127.0.0.1")]).await?;
        assert_eq!(answer.status, 401, "{name}");
    }
    gate.serving.stop().await;
    Ok(())
}
