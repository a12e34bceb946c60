//! Proofs of possession (RFC 9449) as they come over the wire: what one is good for, and that it is good for that once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use testkit::clock::START;
use testkit::world::Reply;

use super::{CALLERS, Key, went_through};
use crate::credentials::{Scene, es256, jwk, signed};

/// What clients call the gate, wherever it listens: it stays the same when the gate starts again.
const PUBLIC: &str = "https://gate.example";
const SECRET: &str = "quartz-robot-lantern-42-orbit";

/// Who holds a key that tokens are bound to.
struct Holder {
    pair: EcdsaKeyPair,
}

impl Holder {
    fn new() -> Result<Self> {
        Ok(Self {
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
        })
    }

    /// `jkt` (RFC 7638 section 3).
    fn thumbprint(&self) -> String {
        let jwk = jwk(&self.pair);
        let canonical = format!(
            r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#,
            jwk["x"], jwk["y"]
        );
        hash(&canonical)
    }

    fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk(&self.pair) })
    }

    /// A proof for a call with this token, with some claims changed; `null` takes one away.
    fn proof(&self, token: &str, changes: &Value) -> Result<String> {
        es256(&self.pair, &self.header(), &proof_claims(token, changes))
    }

    /// The header lines of a call with a token and a good proof.
    fn lines(&self, token: &str) -> Result<String> {
        Ok(lines(token, &self.proof(token, &json!({}))?))
    }
}

fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

fn proof_claims(token: &str, changes: &Value) -> String {
    static PROOFS: AtomicU64 = AtomicU64::new(0);
    let id = PROOFS.fetch_add(1, Ordering::Relaxed);
    let mut claims = json!({
        "jti": format!("proof-{id}"), "htm": "POST", "htu": format!("{PUBLIC}/mcp"), "iat": START,
        "ath": hash(token),
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

fn lines(token: &str, proof: &str) -> String {
    format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n")
}

/// A gate with two issuers of one key: `corp`, and `strict`, whose tokens need a binding, and proofs a nonce.
async fn scene(key: &Key) -> Result<Scene> {
    let jwk = key.published();
    Scene::of(&format!(
        "http.public_url = \"{PUBLIC}\"
[auth.issuers.corp]
url = \"https://corp.example\"
keys = ['{jwk}']
[auth.issuers.strict]
url = \"https://strict.example\"
keys = ['{jwk}']
principal_prefix = \"corp/\"
dpop = \"required\"
dpop_nonce = true
"
    ))
    .await
}

fn bound(scene: &Scene, key: &Key, holder: &Holder) -> Result<String> {
    let changes = json!({ "cnf": { "jkt": holder.thumbprint() } });
    key.token(&scene.resource, &changes)
}

/// That a call was refused with a challenge that begins like this.
fn refused(what: &str, reply: &Reply, challenge: &str) -> Result<()> {
    let given = reply.header("www-authenticate").unwrap_or_default();
    ensure!(
        reply.status == 401 && given.starts_with(challenge),
        "{what}: {given}: {reply:?}"
    );
    Ok(())
}

const BAD_PROOF: &str = "DPoP error=\"invalid_dpop_proof\"";
const BAD_TOKEN: &str = "Bearer error=\"invalid_token\"";
const BAD_REQUEST: &str = "Bearer error=\"invalid_request\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_good_once_and_a_restart_changes_nothing() -> Result<()> {
    let (key, holder) = (Key::new("k")?, Holder::new()?);
    let scene = scene(&key).await?;
    let token = bound(&scene, &key, &holder)?;
    let proof = holder.proof(&token, &json!({}))?;
    let used = lines(&token, &proof);
    went_through(&scene.call(&used).await?)?;
    let before = scene.relay.calls();
    refused("again", &scene.call(&used).await?, BAD_PROOF)?;

    // Many at once: one of them is the first.
    let raced = holder.lines(&token)?;
    let replies = try_join_all((0..CALLERS).map(async |_| scene.call(&raced).await)).await?;
    let good = replies.iter().filter(|reply| reply.status == 200).count();
    ensure!(good == 1, "{good} of {CALLERS} got through");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        refused("raced", reply, BAD_PROOF)?;
    }
    ensure!(scene.relay.calls() == before + 1);

    let scene = scene.restart().await?;
    for replayed in [&used, &raced] {
        refused("restarted", &scene.call(replayed).await?, BAD_PROOF)?;
    }
    went_through(&scene.call(&holder.lines(&token)?).await?)?;
    scene.world.advance(Duration::from_mins(3));
    refused("forgotten, but old", &scene.call(&used).await?, BAD_PROOF)?;
    ensure!(scene.relay.calls() == before + 2);
    scene.relay.never_heard([&*token, &*proof]);
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_for_one_method_place_token_key_and_minute() -> Result<()> {
    let (key, holder, thief) = (Key::new("k")?, Holder::new()?, Holder::new()?);
    let scene = scene(&key).await?;
    let token = bound(&scene, &key, &holder)?;
    let good = [
        json!({}),
        json!({ "iat": START - 59 }),
        json!({ "iat": START + 59 }),
        json!({ "htu": "HTTPS://GATE.example:443/mcp?a=b#c" }),
    ];
    for changes in good {
        let proof = holder.proof(&token, &changes)?;
        let reply = scene.call(&lines(&token, &proof)).await?;
        went_through(&reply).with_context(|| changes.to_string())?;
    }
    let before = scene.relay.calls();
    let other = key.token(
        &scene.resource,
        &json!({ "cnf": { "jkt": thief.thumbprint() } }),
    )?;
    let changed = [
        json!({ "htm": "GET" }),
        json!({ "htm": "post" }),
        json!({ "htm": null }),
        json!({ "htu": format!("{PUBLIC}/sse") }),
        json!({ "htu": format!("{PUBLIC}/mcp/") }),
        json!({ "htu": "http://gate.example/mcp" }),
        json!({ "htu": "https://gate.example.evil.example/mcp" }),
        json!({ "htu": "/mcp" }),
        json!({ "htu": null }),
        json!({ "ath": hash(&other) }),
        json!({ "ath": null }),
        json!({ "iat": START - 61 }),
        json!({ "iat": START + 61 }),
        json!({ "iat": null }),
        json!({ "iat": "now" }),
        json!({ "jti": null }),
        json!({ "jti": "" }),
        json!({ "jti": "x".repeat(300) }),
    ];
    let mut proofs: Vec<(String, String)> = Vec::new();
    for changes in changed {
        proofs.push((changes.to_string(), holder.proof(&token, &changes)?));
    }
    let claims = || proof_claims(&token, &json!({}));
    let with = |changes: Value| {
        let mut header = holder.header();
        for (name, value) in changes.as_object().into_iter().flatten() {
            header[name] = value.clone();
        }
        es256(&holder.pair, &header, &claims())
    };
    let whole = holder.proof(&token, &json!({}))?;
    let mut private = jwk(&holder.pair);
    private["d"] = json!("AA");
    let others: [(&str, String); 9] = [
        ("another's key", thief.proof(&token, &json!({}))?),
        (
            "signed by another than it says",
            es256(&thief.pair, &holder.header(), &claims())?,
        ),
        ("an access token's type", with(json!({ "typ": "at+jwt" }))?),
        ("no key", with(json!({ "jwk": null }))?),
        ("a private key", with(json!({ "jwk": private }))?),
        (
            "no signature",
            signed(
                &json!({ "typ": "dpop+jwt", "alg": "none", "jwk": jwk(&holder.pair) }),
                &claims(),
                |_| Ok(Vec::new()),
            )?,
        ),
        (
            "cut short",
            whole.get(..whole.len() - 3).context("short")?.to_owned(),
        ),
        ("too long", with(json!({ "more": "x".repeat(9000) }))?),
        ("nothing", String::new()),
    ];
    proofs.extend(others.map(|(what, proof)| (what.to_owned(), proof)));
    for (what, proof) in &proofs {
        let reply = scene.call(&lines(&token, proof)).await?;
        refused(what, &reply, BAD_PROOF)?;
    }
    let unbound = key.token(&scene.resource, &json!({}))?;
    let without: [(&str, String, &str); 6] = [
        (
            "no proof",
            format!("Authorization: DPoP {token}\r\n"),
            BAD_PROOF,
        ),
        (
            "a bound token as a bearer",
            format!("Authorization: Bearer {token}\r\n"),
            BAD_TOKEN,
        ),
        (
            "the same with its proof",
            holder.lines(&token)?.replacen("DPoP ", "Bearer ", 1),
            BAD_REQUEST,
        ),
        (
            "a token that is bound to nothing",
            holder.lines(&unbound)?,
            BAD_TOKEN,
        ),
        (
            "another's token with a proof of one's own",
            holder.lines(&other)?,
            BAD_PROOF,
        ),
        (
            "two proofs",
            holder.lines(&token)? + &format!("DPoP: {whole}\r\n"),
            BAD_REQUEST,
        ),
    ];
    for (what, lines, challenge) in &without {
        refused(what, &scene.call(lines).await?, challenge)?;
    }
    ensure!(
        scene.relay.calls() == before,
        "an upstream heard of refused calls"
    );
    scene.relay.never_heard([&*token, &*other, &*whole]);
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_carries_the_nonce_where_that_is_asked_for() -> Result<()> {
    let (key, holder) = (Key::new("k")?, Holder::new()?);
    let scene = scene(&key).await?;
    let before = scene.relay.calls();
    let iss = "https://strict.example";
    let unbound = key.token(&scene.resource, &json!({ "iss": iss }))?;
    let reply = scene
        .call(&format!("Authorization: Bearer {unbound}\r\n"))
        .await?;
    refused("bound to nothing", &reply, BAD_TOKEN)?;
    let token = key.token(
        &scene.resource,
        &json!({ "iss": iss, "cnf": { "jkt": holder.thumbprint() } }),
    )?;
    let with = |nonce: &str, iat: u64| {
        let proof = holder.proof(&token, &json!({ "nonce": nonce, "iat": iat }))?;
        anyhow::Ok(lines(&token, &proof))
    };
    let asks = |reply: &Reply| {
        refused("no good nonce", reply, "DPoP error=\"use_dpop_nonce\"")?;
        let nonce = reply.header("dpop-nonce").context("no nonce")?;
        ensure!(!nonce.is_empty(), "{reply:?}");
        anyhow::Ok(nonce.to_owned())
    };
    let nonce = asks(&scene.call(&holder.lines(&token)?).await?)?;
    ensure!(asks(&scene.call(&with("made-up", START)?).await?)? == nonce);
    ensure!(asks(&scene.call(&with("", START)?).await?)? == nonce);
    ensure!(
        scene.relay.calls() == before,
        "an upstream heard of refused calls"
    );
    let good = with(&nonce, START)?;
    went_through(&scene.call(&good).await?)?;
    refused("again", &scene.call(&good).await?, BAD_PROOF)?;

    // It holds for the time that it was given out for and as long again, and then another is asked for.
    let calls = scene.relay.calls();
    scene.world.advance(Duration::from_mins(10));
    let next = asks(&scene.call(&with(&nonce, START + 600)?).await?)?;
    ensure!(next != nonce, "the same nonce for ever");
    ensure!(scene.relay.calls() == calls);
    went_through(&scene.call(&with(&next, START + 600)?).await?)?;
    scene.relay.never_heard([&*token, &*nonce]);
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_server_binds_a_token_to_the_key_that_was_proved() -> Result<()> {
    let (holder, thief) = (Holder::new()?, Holder::new()?);
    let scene = Scene::of(&format!(
        "http.public_url = \"{PUBLIC}\"
[auth.server.clients.robot]
secret = \"{SECRET}\"
principal = \"robot\"
roles = [\"reader\"]
"
    ))
    .await?;
    let ask = async |proof: &str| {
        let basic = STANDARD.encode(format!("robot:{SECRET}"));
        let head = format!(
            "POST /oauth/token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nAuthorization: Basic {basic}\r\nDPoP: {proof}\r\n"
        );
        let body = format!("grant_type=client_credentials&resource={PUBLIC}/mcp");
        let bytes = scene.world.complete("nobody", &head, body.as_bytes())?;
        let mut answer = scene.world.send_raw(&bytes).await?;
        scene.world.owe(1);
        let body: Value = serde_json::from_slice(&answer.body().await?)?;
        anyhow::Ok((answer.status, body))
    };
    let about = |url: &str| {
        let changes = json!({ "ath": null, "htu": url });
        holder.proof("", &changes)
    };
    let (status, body) = ask(&about(&format!("{PUBLIC}/mcp"))?).await?;
    ensure!(
        status == 400 && body["error"] == "invalid_dpop_proof",
        "{body}"
    );
    let proof = about(&format!("{PUBLIC}/oauth/token"))?;
    let (status, body) = ask(&proof).await?;
    ensure!(status == 200 && body["token_type"] == "DPoP", "{body}");
    let token = body["access_token"].as_str().context("no token")?;
    let (status, body) = ask(&proof).await?;
    ensure!(
        status == 400 && body["error"] == "invalid_dpop_proof",
        "{body}"
    );

    let before = scene.relay.calls();
    for (what, lines, challenge) in [
        (
            "as a bearer",
            format!("Authorization: Bearer {token}\r\n"),
            BAD_TOKEN,
        ),
        ("with another's proof", thief.lines(token)?, BAD_PROOF),
        (
            "with the proof for the token endpoint",
            lines(token, &proof),
            BAD_PROOF,
        ),
    ] {
        refused(what, &scene.call(&lines).await?, challenge)?;
    }
    ensure!(
        scene.relay.calls() == before,
        "an upstream heard of refused calls"
    );
    let good = holder.lines(token)?;
    went_through(&scene.call(&good).await?)?;
    refused("again", &scene.call(&good).await?, BAD_PROOF)?;
    scene.relay.never_heard([token, SECRET, &*proof]);
    scene.end().await
}
