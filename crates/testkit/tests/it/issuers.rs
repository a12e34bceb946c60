//! An issuer whose keys come, go, cannot be had, or are revoked, in front of a gate that is called all the time.
//!
//! What is wrong with a token by itself is `credentials`'; proofs of possession are [`dpop`].

mod dpop;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};
use testkit::clock::START;
use testkit::fixtures::Launch;
use testkit::mcp::request;
use testkit::world::{Reply, program, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::credentials::{Scene, claims, es256, jwk};
use crate::program::output;

/// Callers at once.
const CALLERS: usize = 8;
/// How often the issuer changes its key.
const ROTATIONS: usize = 4;
/// The config's `refresh` and `stale_max`.
const REFRESH: Duration = Duration::from_mins(5);
const STALE_MAX: Duration = Duration::from_hours(1);
/// How long an unknown `kid` waits for its turn to be looked for, and after a fetch that failed.
const INTERVAL: Duration = Duration::from_secs(30);
const INTERVAL_FAILED: Duration = Duration::from_secs(5);
/// How long after its revocation something may still hold.
const SOON: Duration = Duration::from_secs(1);

/// A key that an issuer signs with.
struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

impl Key {
    fn new(id: impl Into<String>) -> Result<Self> {
        Ok(Self {
            id: id.into(),
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
        })
    }

    /// As its issuer publishes it.
    fn published(&self) -> Value {
        let mut jwk = jwk(&self.pair);
        jwk["kid"] = json!(self.id);
        jwk
    }

    /// A token that was never seen before, with these claims changed.
    fn token(&self, resource: &str, changes: &Value) -> Result<String> {
        static TOKENS: AtomicU64 = AtomicU64::new(0);
        let id = TOKENS.fetch_add(1, Ordering::Relaxed);
        let mut all = json!({ "jti": id.to_string(), "exp": START + 20_000 });
        for (name, value) in changes.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.id });
        es256(&self.pair, &header, &claims(resource, &all))
    }

    /// The header line of such a token.
    fn bearer(&self, scene: &Scene) -> Result<String> {
        Ok(bearer(&self.token(&scene.resource, &json!({}))?))
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// How an issuer answers who asks for its keys.
#[derive(Debug, Clone)]
enum Answer {
    Keys(Vec<Value>),
    Failure,
    Nonsense,
    HangUp,
}

/// An issuer's keys at a URL.
struct Publisher {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    fetches: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Publisher {
    async fn open(keys: &[&Key]) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let answer = Arc::new(Mutex::new(Answer::Failure));
        let fetches = Arc::<AtomicUsize>::default();
        let (said, counted) = (Arc::clone(&answer), Arc::clone(&fetches));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(serve(client, Arc::clone(&said), Arc::clone(&counted)));
            }
        });
        let publisher = Self {
            address,
            answer,
            fetches,
            _serving: serving,
        };
        publisher.publish(keys);
        Ok(publisher)
    }

    /// From now on these are its keys.
    fn publish(&self, keys: &[&Key]) {
        self.says(Answer::Keys(
            keys.iter().map(|key| key.published()).collect(),
        ));
    }

    fn says(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    /// How often it was asked so far.
    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }

    /// As an issuer of the config.
    fn config(&self) -> String {
        format!(
            "[auth.issuers.corp]\nurl = \"https://corp.example\"\njwks = \"http://{}/keys\"\nrefresh = \"{}s\"\nstale_max = \"{}s\"\n",
            self.address,
            REFRESH.as_secs(),
            STALE_MAX.as_secs()
        )
    }
}

/// One request, one answer.
async fn serve(mut client: TcpStream, answer: Arc<Mutex<Answer>>, fetches: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let Ok(count @ 1..) = client.read(&mut chunk).await else {
            return;
        };
        head.extend_from_slice(&chunk[..count]);
    }
    // What it says is said at the moment of the request, and what comes later is for the next.
    let answer = answer.lock().clone();
    fetches.fetch_add(1, Ordering::Relaxed);
    let (status, body) = match answer {
        Answer::Keys(keys) => ("200 OK", json!({ "keys": keys }).to_string()),
        Answer::Failure => ("500 Internal Server Error", "{\"keys\":[]}".to_owned()),
        Answer::Nonsense => ("200 OK", "<html>maintenance</html>".to_owned()),
        Answer::HangUp => return,
    };
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // Whoever hung up meanwhile wanted no answer.
    drop(client.write_all(text.as_bytes()).await);
}

fn went_through(reply: &Reply) -> Result<()> {
    ensure!(reply.status == 200, "{reply:?}");
    reply.text()?;
    Ok(())
}

/// That a token was refused for what it is.
fn is_invalid(reply: &Reply) -> Result<bool> {
    let challenge = reply.header("www-authenticate").unwrap_or_default();
    match reply.status {
        401 => {
            ensure!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Calls with tokens of the newest key until it is told to end.
struct Load {
    newest: Mutex<Arc<Key>>,
    /// Good calls of each.
    calls: [AtomicUsize; CALLERS],
    is_over: AtomicBool,
}

impl Load {
    fn newest(&self) -> Arc<Key> {
        Arc::clone(&self.newest.lock())
    }

    async fn run(&self, scene: &Scene) -> Result<()> {
        try_join_all(self.calls.iter().map(async |done| {
            while !self.is_over.load(Ordering::Relaxed) {
                let key = self.newest();
                let reply = scene.call(&key.bearer(scene)?).await?;
                went_through(&reply).with_context(|| format!("a token by {}", key.id))?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        }))
        .await?;
        Ok(())
    }

    /// Waits until every caller has made a whole call that began later than this.
    async fn goes_on(&self) -> Result<()> {
        let now = || self.calls.iter().map(|done| done.load(Ordering::Relaxed));
        // The first of them may be under way.
        let wanted: Vec<usize> = now().map(|done| done + 2).collect();
        until("all callers have called again", async || {
            Ok(now().zip(&wanted).all(|(done, wanted)| done >= *wanted))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_changes_its_keys_under_load_and_no_good_call_is_refused() -> Result<()> {
    let first = Arc::new(Key::new("k0")?);
    let publisher = Publisher::open(&[&first]).await?;
    let scene = Scene::of(&publisher.config()).await?;
    let load = Load {
        newest: Mutex::new(first),
        calls: Default::default(),
        is_over: AtomicBool::new(false),
    };
    let rotate = async {
        load.goes_on().await?;
        ensure!(publisher.fetches() == 1, "{} fetches", publisher.fetches());
        for nth in 1..=ROTATIONS {
            let old = load.newest();
            let new = Arc::new(Key::new(format!("k{nth}"))?);
            // One that the gate has looked at before, and will have in mind.
            let known = old.bearer(&scene)?;
            went_through(&scene.call(&known).await?)?;

            publisher.publish(&[&old, &new]);
            scene.world.advance(INTERVAL);
            *load.newest.lock() = Arc::clone(&new);
            load.goes_on().await?;
            went_through(&scene.call(&known).await?)?;
            went_through(&scene.call(&old.bearer(&scene)?).await?)?;

            publisher.publish(&[&new]);
            scene.world.advance(REFRESH);
            until("the old key is gone", async || {
                is_invalid(&scene.call(&known).await?)
            })
            .await?;
            ensure!(is_invalid(&scene.call(&old.bearer(&scene)?).await?)?);
            load.goes_on().await?;
            // One for the new key, and one for being due; all who came meanwhile shared them.
            let fetches = publisher.fetches();
            ensure!(
                fetches == 1 + 2 * nth,
                "{fetches} fetches at rotation {nth}"
            );
        }
        load.is_over.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    tokio::try_join!(load.run(&scene), rotate)?;
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_keys_costs_one_fetch_per_interval() -> Result<()> {
    let key = Key::new("known")?;
    let publisher = Publisher::open(&[&key]).await?;
    let scene = Scene::of(&publisher.config()).await?;
    went_through(&scene.call(&key.bearer(&scene)?).await?)?;
    let before = scene.relay.calls();
    for interval in 0..3 {
        try_join_all((0..CALLERS).map(async |caller| {
            for nth in 0..4 {
                let unknown = Key::new(format!("u{interval}-{caller}-{nth}"))?;
                ensure!(is_invalid(&scene.call(&unknown.bearer(&scene)?).await?)?);
            }
            anyhow::Ok(())
        }))
        .await?;
        // The first came too soon after the fetch before it.
        ensure!(publisher.fetches() == 1 + interval);
        scene.world.advance(INTERVAL);
    }
    ensure!(
        scene.relay.calls() == before,
        "an upstream heard of refused calls"
    );
    went_through(&scene.call(&key.bearer(&scene)?).await?)?;
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_fetched_are_used_for_a_stated_time_and_no_longer() -> Result<()> {
    let (key, new) = (Key::new("old")?, Key::new("new")?);
    let publisher = Publisher::open(&[&key]).await?;
    let scene = Scene::of(&publisher.config()).await?;
    let known = key.bearer(&scene)?;
    went_through(&scene.call(&known).await?)?;
    for answer in [Answer::HangUp, Answer::Failure, Answer::Nonsense] {
        publisher.says(answer);
        let before = publisher.fetches();
        scene.world.advance(REFRESH);
        until("the issuer was asked", async || {
            went_through(&scene.call(&known).await?)?;
            went_through(&scene.call(&key.bearer(&scene)?).await?)?;
            Ok(publisher.fetches() > before)
        })
        .await?;
        went_through(&scene.call(&key.bearer(&scene)?).await?)?;
    }
    let unavailable = async |token: &str| {
        let reply = scene.call(token).await?;
        ensure!(reply.status == 503, "{reply:?}");
        let after = reply.header("retry-after").context("no Retry-After")?;
        ensure!(after.parse::<u32>()? > 0, "{after}");
        ensure!(reply.header("www-authenticate").is_none(), "{reply:?}");
        anyhow::Ok(())
    };
    // Nobody can say that there is no such key.
    unavailable(&new.bearer(&scene)?).await?;

    scene.world.advance(STALE_MAX);
    let before = scene.relay.calls();
    unavailable(&known).await?;
    unavailable(&key.bearer(&scene)?).await?;
    unavailable(&new.bearer(&scene)?).await?;
    let fetches = publisher.fetches();
    try_join_all((0..CALLERS).map(async |_| unavailable(&known).await)).await?;
    ensure!(
        publisher.fetches() == fetches,
        "an issuer in trouble was asked again at once"
    );
    ensure!(
        scene.relay.calls() == before,
        "an upstream heard of refused calls"
    );
    // Who needs no issuer is let in.
    let alice = scene.world.key("alice")?.context("alice has a key")?;
    went_through(&scene.call(&format!("X-API-Key: {alice}\r\n")).await?)?;

    publisher.publish(&[&key, &new]);
    scene.world.advance(INTERVAL_FAILED);
    went_through(&scene.call(&known).await?)?;
    went_through(&scene.call(&new.bearer(&scene)?).await?)?;
    ensure!(publisher.fetches() == fetches + 1);
    scene.end().await
}

/// Revokes a key of `corp`, as an owner does over HTTP. That is recorded, too.
async fn revoke_over_http(scene: &Scene, id: &str) -> Result<()> {
    let body = json!({ "kind": "signing-key", "id": id, "issuer": "corp" }).to_string();
    let head = "POST /v1/revocations HTTP/1.1\r\nContent-Type: application/json\r\n";
    let bytes = scene.world.complete("root", head, body.as_bytes())?;
    let mut answer = scene.world.send_raw(&bytes).await?;
    let said = answer.body().await?;
    ensure!(
        answer.status == 204,
        "{}: {}",
        answer.status,
        String::from_utf8_lossy(&said)
    );
    scene.world.owe(1);
    Ok(())
}

/// The same on the command line: another process on the same data.
async fn revoke_on_the_command_line(scene: &Scene, id: &str) -> Result<()> {
    let folder = scene.world.folder();
    let gate = program("gate")?.to_string_lossy().into_owned();
    let config = folder.join("portcullis.toml");
    let config = config.to_string_lossy().into_owned();
    let words = ["session", "revoke", "--signing-key", "corp", id, "--config"];
    let words = words.map(str::to_owned);
    let launch = Launch::new([gate].into_iter().chain(words).chain([config])).env(
        "PORTCULLIS__DATA_DIR",
        folder.join("data").to_string_lossy(),
    );
    output(&launch).await?;
    scene.world.owe(1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_revoked_key_signed_is_refused_within_a_second_and_its_streams_end() -> Result<()> {
    let keys = [Key::new("http")?, Key::new("cli")?, Key::new("kept")?];
    let publisher = Publisher::open(&keys.each_ref()).await?;
    let scene = Scene::of(&publisher.config()).await?;
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let mut streams = Vec::new();
    for (nth, key) in keys.iter().enumerate() {
        let known = key.bearer(&scene)?;
        went_through(&scene.call(&known).await?)?;
        let listen = request(nth + 1, "subscriptions/listen", &filter);
        let mut stream = scene.begin(listen, &known).await?;
        stream.event().await?.context("no acknowledgement")?;
        scene.world.owe(1);
        streams.push((key, known, stream));
    }
    let (_, _, mut kept) = streams.pop().context("three streams")?;
    for (key, known, mut stream) in streams {
        if key.id == "http" {
            revoke_over_http(&scene, &key.id).await?;
        } else {
            revoke_on_the_command_line(&scene, &key.id).await?;
        }
        timeout(SOON, async {
            for token in [known, key.bearer(&scene)?] {
                loop {
                    let reply = scene.call(&token).await?;
                    if is_invalid(&reply)? {
                        break;
                    }
                    went_through(&reply)?;
                }
            }
            while stream.event().await?.is_some() {}
            anyhow::Ok(())
        })
        .await
        .with_context(|| format!("{} still holds", key.id))??;
        went_through(&scene.call(&keys[2].bearer(&scene)?).await?)?;
    }
    let over = timeout(Duration::from_millis(50), kept.event()).await;
    ensure!(over.is_err(), "a stream of another key ended: {over:?}");
    drop(kept);
    scene.end().await
}
