//! What is presented at the door ends there: a bad credential reaches no upstream, and a good one does not either.
//!
//! The upstream is a gate of its own behind a relay that keeps every byte which it is sent: [`Scene`]. Issuers whose
//! keys come and go, and proofs of possession, are `issuers`'.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde_json::{Value, json};
use testkit::clock::START;
use testkit::mcp::{call, headers, modern};
use testkit::world::{Exchange, Reply, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The upstream knows the gate by a key of its own.
const UPSTREAM: &str = r#"
builtins = ["time"]
auth.loopback = "off"
[roles.gate]
members = ["gate"]
allow = ["time.*"]
[limits]
tool_call = { max = 1000000, per = "1s" }
"#;

/// Passes on what comes, and keeps what went towards the upstream.
pub(crate) struct Relay {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
    _passing: JoinSet<()>,
}

impl Relay {
    async fn before(upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let mut passing = JoinSet::new();
        let kept = Arc::clone(&heard);
        passing.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(pass(client, upstream, Arc::clone(&kept)));
            }
        });
        Ok(Self {
            address,
            heard,
            _passing: passing,
        })
    }

    /// All that went towards the upstream so far.
    pub(crate) fn heard(&self) -> Vec<u8> {
        self.heard.lock().clone()
    }

    /// How many calls of a tool went towards the upstream so far.
    pub(crate) fn calls(&self) -> usize {
        let heard = self.heard();
        String::from_utf8_lossy(&heard)
            .matches("\"method\":\"tools/call\"")
            .count()
    }

    /// That none of these ever went towards the upstream, as it stands or by a part between dots.
    pub(crate) fn never_heard<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) {
        let heard = self.heard();
        let heard = String::from_utf8_lossy(&heard).to_lowercase();
        let parts = secrets.into_iter().flat_map(|secret| secret.split('.'));
        for secret in parts.filter(|part| !part.is_empty()) {
            assert!(
                !heard.contains(&secret.to_lowercase()),
                "{secret} reached the upstream"
            );
        }
    }
}

/// Until either side hangs up.
async fn pass(mut client: TcpStream, upstream: SocketAddr, kept: Arc<Mutex<Vec<u8>>>) {
    let Ok(mut server) = Exchange::connect(upstream).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let there = async {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_client.read(&mut chunk).await {
            kept.lock().extend_from_slice(&chunk[..count]);
            if to_server.write_all(&chunk[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        _ = copy(&mut from_server, &mut to_client) => {}
    }
}

/// Keys of an issuer, and of somebody who would like to be one.
struct Signers {
    ec: EcdsaKeyPair,
    foreign: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

impl Signers {
    fn new() -> Result<Self> {
        let ec = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Ok(Self {
            ec: ec()?,
            foreign: ec()?,
            ed: Ed25519KeyPair::generate()?,
            rsa: RsaKeyPair::generate(KeySize::Rsa2048)?,
        })
    }

    fn public_keys(&self) -> Result<[String; 3]> {
        Ok([
            pem(self.ec.public_key().as_der()?.as_ref()),
            pem(self.ed.public_key().as_der()?.as_ref()),
            pem(self.rsa.public_key().as_der()?.as_ref()),
        ])
    }

    fn es256(&self, header: &Value, claims: &str) -> Result<String> {
        es256(&self.ec, header, claims)
    }

    fn rs256(&self, header: &Value, claims: &str) -> Result<String> {
        signed(header, claims, |text| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                text,
                &mut signature,
            )?;
            Ok(signature)
        })
    }
}

fn pem(der: &[u8]) -> String {
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(der)
    )
}

/// The public half of a key as a JWK.
pub(crate) fn jwk(key: &EcdsaKeyPair) -> Value {
    let point = key.public_key().as_ref();
    let (x, y) = (&point[1..33], &point[33..]);
    json!({ "kty": "EC", "crv": "P-256",
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
}

/// A JWT by this key.
pub(crate) fn es256(key: &EcdsaKeyPair, header: &Value, claims: &str) -> Result<String> {
    signed(header, claims, |text| {
        Ok(key.sign(&SystemRandom::new(), text)?.as_ref().to_vec())
    })
}

pub(crate) fn signed(
    header: &Value,
    claims: &str,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>>,
) -> Result<String> {
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = sign(text.as_bytes())?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn header(algorithm: &str) -> Value {
    json!({ "alg": algorithm, "typ": "at+jwt" })
}

/// Claims that are good at this gate, with some of them changed; `null` takes one away.
pub(crate) fn claims(resource: &str, changes: &Value) -> String {
    let mut claims = json!({
        "iss": "https://corp.example", "aud": resource, "sub": "bob", "client_id": "app", "jti": "1",
        "iat": START, "exp": START + 600, "scope": "mcp:tools",
    });
    for (name, value) in changes.as_object().into_iter().flatten() {
        if value.is_null() {
            claims.as_object_mut().map(|claims| claims.remove(name));
        } else {
            claims[name] = value.clone();
        }
    }
    claims.to_string()
}

/// A gate, and the relay before its upstream `clock`, which `alice` may use, and `bob` by an issuer `corp`.
pub(crate) struct Scene {
    pub(crate) world: World,
    upstream: World,
    pub(crate) relay: Relay,
    /// What tokens for it must be meant for.
    pub(crate) resource: String,
    /// What the gate itself presents to the upstream.
    own: String,
    config: String,
}

impl Scene {
    /// `more` is config: keys of the top level first, then tables.
    pub(crate) async fn of(more: &str) -> Result<Self> {
        let upstream = World::of(UPSTREAM).await?;
        let relay = Relay::before(upstream.address()).await?;
        let own = upstream.key("gate")?.context("the gate has a key")?;
        let config = format!(
            r#"
builtins = []
auth.loopback = "off"
limits.tool_call = {{ max = 1000000, per = "1s" }}
{more}
[roles.owner]
members = ["root"]
[roles.reader]
members = ["alice", "corp/bob"]
allow = ["clock.*"]
[upstreams.clock]
url = "http://{}/mcp"
headers = {{ Authorization = "Bearer {own}" }}
"#,
            relay.address,
        );
        let world = World::of(&config).await?;
        world.ready("clock", 0).await?;
        let resource = format!("{}/mcp", world.gate().auth().site().base());
        Ok(Self {
            world,
            upstream,
            relay,
            resource,
            own,
            config,
        })
    }

    /// With an issuer `corp` whose keys stand in the config.
    async fn with_keys(signers: &Signers) -> Result<Self> {
        let keys: Vec<_> = signers
            .public_keys()?
            .iter()
            .map(|key| json!(key).to_string())
            .collect();
        let keys = keys.join(", ");
        Self::of(&format!(
            "[auth.issuers.corp]\nurl = \"https://corp.example\"\nkeys = [{keys}]\n"
        ))
        .await
    }

    /// The gate ends, and another starts on the same data.
    pub(crate) async fn restart(mut self) -> Result<Self> {
        self.world = self.world.restart(&self.config).await?;
        self.world.ready("clock", 0).await?;
        Ok(self)
    }

    /// Calls the clock with these header lines and nobody's key.
    pub(crate) async fn call(&self, lines: &str) -> Result<Reply> {
        let message = call(1, "clock.time.now", &json!({}));
        let exchange = self.begin(message, lines).await?;
        self.world.whole(exchange).await
    }

    /// Sends a modern message with these header lines and nobody's key, and leaves the answer to be read.
    pub(crate) async fn begin(&self, message: Value, lines: &str) -> Result<Exchange> {
        let message = modern(message);
        let body = message.to_string();
        let named: String = headers(&message)
            .into_iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{named}{lines}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.world.address(),
            body.len()
        );
        self.world.send_raw(head.as_bytes()).await
    }

    pub(crate) async fn end(self) -> Result<()> {
        self.world.end().await?;
        drop(self.relay);
        // What it was asked, it was asked by the gate: its records are owed to nobody here.
        self.upstream.stop().await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_a_refused_call_reaches_an_upstream() -> Result<()> {
    let signers = Signers::new()?;
    let scene = Scene::with_keys(&signers).await?;
    let Scene {
        relay,
        resource,
        world,
        ..
    } = &scene;
    let good = claims(resource, &json!({}));
    let with = |changes: Value| signers.es256(&header("ES256"), &claims(resource, &changes));
    let ok = signers.es256(&header("ES256"), &good)?;
    let public = signers.public_keys()?;
    let hmac_by = |key: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        signed(&header("HS256"), &good, |text| {
            Ok(hmac::sign(&key, text).as_ref().to_vec())
        })
    };
    let foreign = es256(&signers.foreign, &header("ES256"), &good)?;
    let embedded = {
        let mut with_key = header("ES256");
        with_key["jwk"] = jwk(&signers.foreign);
        with_key["jku"] = json!(format!("http://{}/keys", relay.address));
        es256(&signers.foreign, &with_key, &good)?
    };
    let unsigned = signed(&header("none"), &good, |_| Ok(Vec::new()))?;
    let id_token = signers.es256(
        &json!({ "alg": "ES256", "typ": "JWT" }),
        &claims(resource, &json!({ "aud": "app", "nonce": "n" })),
    )?;
    let twice = good.replacen('{', "{\"aud\":\"https://evil.example\",", 1);
    let key = world.key("alice")?.context("alice has a key")?;
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let unauthorized: Vec<(&str, String)> = vec![
        ("nothing", String::new()),
        ("no signature", bearer(&unsigned)),
        (
            "a MAC by the public key",
            bearer(&hmac_by(public[0].as_bytes())?),
        ),
        (
            "a MAC by the RSA key",
            bearer(&hmac_by(public[2].as_bytes())?),
        ),
        ("a foreign key", bearer(&foreign)),
        ("a key of its own", bearer(&embedded)),
        (
            "cut short",
            bearer(ok.get(..ok.len() - 3).context("short")?),
        ),
        ("two parts", bearer(ok.rsplit_once('.').context("a dot")?.0)),
        (
            "too long",
            bearer(&with(json!({ "more": "x".repeat(17_000) }))?),
        ),
        (
            "RSA's signature under ES256",
            bearer(&signers.rs256(&header("ES256"), &good)?),
        ),
        (
            "claims twice",
            bearer(&signers.es256(&header("ES256"), &twice)?),
        ),
        (
            "a critical extension",
            bearer(&signers.es256(
                &json!({ "alg": "ES256", "typ": "at+jwt", "crit": ["b64"], "b64": false }),
                &good,
            )?),
        ),
        ("an ID token", bearer(&id_token)),
        (
            "another issuer",
            bearer(&with(json!({ "iss": "https://corp.example/" }))?),
        ),
        (
            "another audience",
            bearer(&with(json!({ "aud": "https://corp.example/mcp" }))?),
        ),
        (
            "an audience like ours",
            bearer(&with(json!({ "aud": format!("{resource}/x") }))?),
        ),
        (
            "audiences without ours",
            bearer(&with(json!({ "aud": ["a", "b"] }))?),
        ),
        ("no audience", bearer(&with(json!({ "aud": null }))?)),
        ("no end", bearer(&with(json!({ "exp": null }))?)),
        (
            "over",
            bearer(&with(json!({ "iat": START - 600, "exp": START - 1 }))?),
        ),
        ("not yet", bearer(&with(json!({ "nbf": START + 61 }))?)),
        (
            "for ever",
            bearer(&with(json!({ "exp": START + 366 * 24 * 3600 }))?),
        ),
        ("nobody", bearer(&with(json!({ "sub": "" }))?)),
        (
            "bound to a key, as a bearer",
            bearer(&with(json!({ "cnf": { "jkt": "x" } }))?),
        ),
        (
            "a key with another end",
            format!(
                "X-API-Key: {}{}\r\n",
                key.get(..key.len() - 1).context("short")?,
                if key.ends_with('A') { 'B' } else { 'A' }
            ),
        ),
    ];
    let before = relay.calls();
    for (what, lines) in &unauthorized {
        let reply = scene.call(lines).await?;
        assert_eq!(reply.status, 401, "{what}: {reply:?}");
        let challenge = reply.header("www-authenticate").unwrap_or_default();
        assert!(
            challenge.contains("resource_metadata="),
            "{what}: {challenge}"
        );
        let says_invalid =
            challenge.contains("invalid_token") || challenge.contains("invalid_request");
        assert_eq!(says_invalid, *what != "nothing", "{what}: {challenge}");
    }
    let both = format!("{}X-API-Key: {key}\r\n", bearer(&ok));
    for lines in [both, format!("{}{}", bearer(&ok), bearer(&ok))] {
        let reply = scene.call(&lines).await?;
        assert!(matches!(reply.status, 400 | 401), "{reply:?}");
    }
    let narrow = bearer(&with(json!({ "scope": "mcp:prompts" }))?);
    let reply = scene.call(&narrow).await?;
    assert_eq!(reply.status, 403, "{reply:?}");
    let challenge = reply.header("www-authenticate").unwrap_or_default();
    assert!(
        challenge.contains("insufficient_scope")
            && challenge.contains("scope=\"mcp:tools mcp:prompts\""),
        "{challenge}"
    );
    // What the gate itself asks (lists, changes) may come at any time; nothing of these calls does.
    assert_eq!(relay.calls(), before, "an upstream heard of refused calls");
    let presented = unauthorized
        .iter()
        .flat_map(|(_, lines)| lines.split_whitespace())
        .filter(|word| word.len() > 20);
    relay.never_heard(presented);
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_of_a_client_reaches_an_upstream() -> Result<()> {
    let signers = Signers::new()?;
    let scene = Scene::with_keys(&signers).await?;
    let Scene {
        relay,
        resource,
        world,
        own,
        ..
    } = &scene;
    let good = claims(resource, &json!({}));
    let audiences = claims(
        resource,
        &json!({ "aud": ["x", resource], "exp": START + 1, "nbf": START + 29 }),
    );
    let tokens = [
        signers.es256(&header("ES256"), &good)?,
        signers.rs256(&header("RS256"), &good)?,
        signed(&header("EdDSA"), &good, |text| {
            Ok(signers.ed.sign(text).as_ref().to_vec())
        })?,
        signers.es256(&header("ES256"), &audiences)?,
    ];
    let key = world.key("alice")?.context("alice has a key")?;
    let smuggled = "Cookie: portcullis=c00kie-of-a-browser\r\nX-Upstream-Authorization: Bearer smuggled-1\r\nProxy-Authorization: Basic smuggled-2\r\nMcp-Param-Authorization: smuggled-3\r\n";
    let mut presented: Vec<String> = tokens
        .iter()
        .map(|token| format!("Authorization: Bearer {token}\r\n{smuggled}"))
        .collect();
    presented.push(format!("X-API-Key: {key}\r\n{smuggled}"));
    presented.push(format!("Authorization: Bearer {key}\r\n{smuggled}"));
    let before = relay.heard().len();
    for lines in &presented {
        let reply = scene.call(lines).await?;
        ensure!(reply.status == 200, "{lines}: {reply:?}");
        reply.text()?;
    }
    let heard = relay.heard();
    assert!(heard.len() > before, "the calls went through");
    assert!(
        String::from_utf8_lossy(&heard).contains(own.as_str()),
        "the gate presents its own credential"
    );
    relay.never_heard(tokens.iter().map(String::as_str).chain([
        key.as_str(),
        "c00kie-of-a-browser",
        "smuggled",
    ]));
    scene.end().await
}
