//! What clients get, what they do not, and what ends it; over the store as it is, with a clock moved by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::UNIX_EPOCH;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use policy::{Clock, Credential, Principal, RoleName};
use store::Store;
use tempfile::TempDir;
use url::Url;

use super::*;
use crate::tokens::{Algorithm, VerifyingKey};
use crate::{
    Auth, AuthError, ClientCertificate, MasterKey, Peer, Presented, Revocations, Site, Vault,
};

const BASE: &str = "https://gate.example";
const MCP: &str = "https://gate.example/mcp";
const CALLBACK: &str = "https://app.example/cb";
const VERIFIER: &str = "a-verifier-of-more-than-forty-three-characters-1";
const SECRET: &str = "a secret of: more than % enough & characters";
const TOKEN_URL: &str = "https://gate.example/oauth/token";

#[derive(Debug)]
struct HandClock(Mutex<Duration>);

impl Clock for HandClock {
    fn now(&self) -> Instant {
        Instant(*self.0.lock())
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + *self.0.lock()
    }
}

struct World {
    auth: Arc<Auth>,
    clock: Arc<HandClock>,
    alice: Principal,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(Settings {
            clients: clients(),
            ..Settings::default()
        })
    }

    fn with(authority: Settings) -> Self {
        let clock = Arc::new(HandClock(Mutex::new(Duration::from_millis(
            1_700_000_000_250,
        ))));
        let folder = TempDir::new().unwrap();
        Self {
            auth: start(&folder, &clock, authority),
            alice: Principal {
                id: PrincipalId::new("alice").unwrap(),
                roles: roles(&["reader"]),
                credential: Credential::Session("s1".to_owned()),
                client: None,
                scopes: Scopes::EVERY,
                expires_at: None,
            },
            clock,
            folder,
        }
    }

    /// As after a restart.
    fn restarted(self) -> Self {
        let Self {
            auth,
            clock,
            alice,
            folder,
        } = self;
        drop(auth);
        let settings = Settings {
            clients: clients(),
            ..Settings::default()
        };
        Self {
            auth: start(&folder, &clock, settings),
            clock,
            alice,
            folder,
        }
    }

    fn authority(&self) -> &Authority {
        self.auth.authority()
    }

    fn pass(&self, seconds: u64) {
        *self.clock.0.lock() += Duration::from_secs(seconds);
    }

    fn visitor(&self) -> Visitor<'_> {
        Visitor {
            session: "s1",
            principal: &self.alice,
            roles: &self.alice.roles,
        }
    }

    async fn ask(&self, params: &[(&str, &str)]) -> Result<Asked, NoClient> {
        self.authority().ask(&form(params), self.visitor()).await
    }

    /// What the client hears without anybody being asked.
    async fn told(&self, params: &[(&str, &str)]) -> BTreeMap<String, String> {
        match self.ask(params).await {
            Ok(Asked::Answer(url)) => query(&url),
            other => panic!("{other:?}"),
        }
    }

    /// The code that alice's consent comes to.
    async fn code(&self, params: &[(&str, &str)]) -> String {
        let url = match self.ask(params).await.unwrap() {
            Asked::Answer(url) => url,
            Asked::Person(question) => {
                let answer = self
                    .authority()
                    .answer(&question.request, self.visitor(), true);
                answer.await.unwrap()
            }
        };
        let answer = query(&url);
        assert_eq!(answer["iss"], BASE);
        answer["code"].clone()
    }

    async fn token(&self, params: &[(&str, &str)]) -> Result<Value, OAuthError> {
        self.token_with(params, None, None).await
    }

    /// By a client that proves to hold these.
    async fn token_with(
        &self,
        params: &[(&str, &str)],
        dpop: Option<&str>,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Value, OAuthError> {
        let body = form(params);
        let request = ClientRequest {
            dpop,
            certificate,
            ..request(&body)
        };
        let issued = self.authority().token(&request).await?;
        Ok(serde_json::from_str(&issued.to_json()).unwrap())
    }

    /// A whole round for the public client.
    async fn tokens(&self) -> Value {
        let code = self.code(&asking(&[])).await;
        self.token(&redeeming(&code, &[])).await.unwrap()
    }

    async fn refreshed(&self, tokens: &Value) -> Result<Value, OAuthError> {
        let token = text(tokens, "refresh_token");
        self.token(&[
            ("grant_type", "refresh_token"),
            ("client_id", "app"),
            ("refresh_token", token),
        ])
        .await
    }

    async fn who(&self, tokens: &Value) -> Result<Arc<Principal>, AuthError> {
        let header = format!("Bearer {}", text(tokens, "access_token"));
        let presented = Presented {
            authorization: Some(&header),
            ..Presented::nothing(Peer::Remote(None))
        };
        self.auth.authenticate(&presented).await
    }
}

fn start(folder: &TempDir, clock: &Arc<HandClock>, authority: Settings) -> Arc<Auth> {
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let parts = Parts {
        revocations: Revocations::open(store.clone(), Arc::clone(&clock)).unwrap(),
        store,
        clock,
        client: net::Client::new(net::Settings::default()),
        site: Site::new(BASE),
        vault: Vault::new(&MasterKey::new([1; 32])).unwrap(),
    };
    let settings = crate::Settings {
        authority,
        ..crate::Settings::default()
    };
    Auth::new(parts, settings)
}

fn clients() -> Vec<ConfiguredClient> {
    let app = ConfiguredClient {
        id: "app".to_owned(),
        name: "App".to_owned(),
        secret: None,
        keys: Vec::new(),
        redirect_uris: vec![
            CALLBACK.to_owned(),
            "http://127.0.0.1/cb".to_owned(),
            "com.example.app:/cb".to_owned(),
        ],
        scopes: Scopes::EVERY,
        machine: None,
        certificate_bound: false,
    };
    let robot = ConfiguredClient {
        id: "robot: 1".to_owned(),
        secret: Some(ClientSecret::new(SECRET.to_owned())),
        redirect_uris: Vec::new(),
        scopes: Scopes::CALLS,
        machine: Some((PrincipalId::new("robot").unwrap(), roles(&["worker"]))),
        certificate_bound: false,
        ..app.clone()
    };
    let held = ConfiguredClient {
        id: "held".to_owned(),
        certificate_bound: true,
        ..app.clone()
    };
    vec![app, robot, held]
}

fn roles(names: &[&str]) -> BTreeSet<RoleName> {
    names
        .iter()
        .map(|name| RoleName::new(name).unwrap())
        .collect()
}

fn form(params: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(params)
        .finish()
}

fn query(url: &Url) -> BTreeMap<String, String> {
    url.query_pairs().into_owned().collect()
}

fn request(body: &str) -> ClientRequest<'_> {
    ClientRequest {
        body: body.as_bytes(),
        authorization: None,
        dpop: None,
        url: TOKEN_URL,
        certificate: None,
        address: None,
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

fn challenge() -> &'static str {
    static CHALLENGE: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, VERIFIER.as_bytes()))
    });
    &CHALLENGE
}

/// A good request of the public client, but for these; an empty one is left out.
fn asking<'a>(other: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    altered(
        vec![
            ("client_id", "app"),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("code_challenge", challenge()),
            ("code_challenge_method", "S256"),
            ("state", "st&te"),
            ("resource", MCP),
        ],
        other,
    )
}

/// A good exchange of a code, but for these.
fn redeeming<'a>(code: &'a str, other: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    altered(
        vec![
            ("grant_type", "authorization_code"),
            ("client_id", "app"),
            ("code", code),
            ("code_verifier", VERIFIER),
            ("redirect_uri", CALLBACK),
        ],
        other,
    )
}

fn altered<'a>(
    mut params: Vec<(&'a str, &'a str)>,
    other: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    for (name, value) in other {
        params.retain(|(found, _)| found != name);
        params.push((name, value));
    }
    params
}

fn claims(tokens: &Value) -> Value {
    let token = text(tokens, "access_token");
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// The code and the sentence of a refusal.
fn refused(answer: Result<Value, OAuthError>) -> &'static str {
    answer.unwrap_err().code()
}

#[tokio::test]
async fn a_client_that_was_allowed_something_acts_for_who_allowed_it() {
    let world = World::new();
    let tokens = world.tokens().await;
    assert_eq!(text(&tokens, "token_type"), "Bearer");
    assert_eq!(tokens["expires_in"], 600);
    assert_eq!(
        text(&tokens, "scope"),
        "mcp:tools mcp:prompts mcp:resources"
    );
    let claims = claims(&tokens);
    assert_eq!(claims["aud"], MCP);
    assert_eq!(claims["iss"], BASE);
    assert_eq!(claims["client_id"], "app");
    let alice = world.who(&tokens).await.unwrap();
    assert_eq!(alice.id.as_str(), "alice");
    assert_eq!(alice.roles, roles(&["reader"]));
    assert_eq!(alice.client.as_deref(), Some("app"));
    assert_eq!(alice.scopes, Scopes::CALLS);
    world.pass(606);
    assert!(world.who(&tokens).await.is_err());
}

#[tokio::test]
async fn after_a_restart_everything_still_holds() {
    let world = World::new();
    let code = world.code(&asking(&[])).await;
    let tokens = world.tokens().await;
    let world = world.restarted();
    assert_eq!(world.who(&tokens).await.unwrap().id.as_str(), "alice");
    world.refreshed(&tokens).await.unwrap();
    world.token(&redeeming(&code, &[])).await.unwrap();
}

#[tokio::test]
async fn without_a_client_and_its_own_address_nothing_is_sent_anywhere() {
    let world = World::new();
    for other in [
        &[("client_id", "nobody")][..],
        &[("client_id", "")],
        &[("redirect_uri", "https://app.example/cb/")],
        &[("redirect_uri", "https://app.example/cb?x=1")],
        &[("redirect_uri", "https://evil.example/cb")],
        &[("redirect_uri", "http://localhost/cb")],
        &[("redirect_uri", "http://127.0.0.1:1@evil.example/cb")],
        &[("redirect_uri", "")],
        &[("redirect_uri", "javascript:alert(1)")],
        &[("client_id", "https://127.0.0.1/client")],
        &[("client_id", "https://10.0.0.1/client")],
        &[("client_id", "https://169.254.169.254/latest/meta-data")],
        &[("client_id", "http://app.example/client")],
    ] {
        let answer = world.ask(&asking(other)).await;
        assert!(
            matches!(answer, Err(NoClient::Unknown(_))),
            "{other:?} {answer:?}"
        );
    }
    let twice = format!("{}&client_id=app", form(&asking(&[])));
    let answer = world.authority().ask(&twice, world.visitor()).await;
    assert!(matches!(answer, Err(NoClient::Unknown(_))));
    // Free is the port on this machine, and nothing else.
    for good in ["http://127.0.0.1:43210/cb", "com.example.app:/cb"] {
        let answer = world.ask(&asking(&[("redirect_uri", good)])).await;
        assert!(matches!(answer, Ok(Asked::Person(_))), "{good}");
    }
}

#[tokio::test]
async fn a_request_that_is_not_good_goes_back_to_its_client() {
    let world = World::new();
    for (other, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("response_type", ""), "invalid_request"),
        (("response_mode", "fragment"), "invalid_request"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge_method", ""), "invalid_request"),
        (("request_uri", "https://app.example/r"), "invalid_request"),
        (("dpop_jkt", "x"), "invalid_request"),
        (("resource", "https://other.example/mcp"), "invalid_target"),
        (("resource", "https://gate.example/mcp/x"), "invalid_target"),
        (("scope", "mcp:admin"), "invalid_scope"),
        (("prompt", "none"), "invalid_request"),
    ] {
        let told = world.told(&asking(&[other])).await;
        assert_eq!(told["error"], error, "{other:?}");
        assert_eq!(told["state"], "st&te");
        assert_eq!(told["iss"], BASE);
        assert!(!told.contains_key("code"));
    }
}

#[tokio::test]
async fn only_who_was_asked_answers_and_only_once_and_in_time() {
    let world = World::new();
    let bob = Principal {
        id: PrincipalId::new("bob").unwrap(),
        ..world.alice.clone()
    };
    let ask = async || match world.ask(&asking(&[("prompt", "consent")])).await {
        Ok(Asked::Person(question)) => question,
        other => panic!("{other:?}"),
    };
    let question = ask().await;
    assert_eq!(
        (question.client_name.as_str(), question.scopes),
        ("App", Scopes::CALLS)
    );
    let answer = async |visitor, allows| {
        world
            .authority()
            .answer(&question.request, visitor, allows)
            .await
    };
    let visitor = world.visitor();
    let elsewhere = Visitor {
        session: "s2",
        ..visitor
    };
    let other = Visitor {
        principal: &bob,
        ..visitor
    };
    for stranger in [elsewhere, other] {
        assert!(matches!(answer(stranger, true).await, Err(NoClient::Gone)));
    }
    let denied = query(&answer(visitor, false).await.unwrap());
    assert_eq!(denied["error"], "access_denied");
    assert!(matches!(answer(visitor, true).await, Err(NoClient::Gone)));
    let late = ask().await;
    world.pass(600);
    let answer = world.authority().answer(&late.request, visitor, true).await;
    assert!(matches!(answer, Err(NoClient::Gone)));
}

#[tokio::test]
async fn a_consent_is_remembered_for_a_web_site_and_never_for_a_program() {
    let world = World::new();
    let asks = async |other: &[(&'static str, &'static str)]| {
        matches!(world.ask(&asking(other)).await, Ok(Asked::Person(_)))
    };
    let loopback = [("redirect_uri", "http://127.0.0.1:5000/cb")];
    assert!(asks(&[]).await && asks(&loopback).await);
    world.code(&asking(&[])).await;
    world.code(&asking(&loopback)).await;
    assert!(!asks(&[]).await);
    assert!(!asks(&[("scope", "mcp:tools")]).await);
    assert!(asks(&[("prompt", "consent")]).await);
    assert!(asks(&loopback).await);
    // What was taken back is asked for again.
    let grants = world.authority().grants(Some(&world.alice.id)).unwrap();
    assert_eq!(grants.len(), 4);
    for grant in grants {
        assert!(
            world
                .authority()
                .revoke_grant(&grant.id, "alice")
                .await
                .unwrap()
        );
    }
    assert!(asks(&[]).await);
}

#[tokio::test]
async fn administration_is_for_owners_who_were_asked_for_it() {
    let mut world = World::new();
    let wide = [
        ("scope", "mcp:tools mcp:admin openid"),
        ("prompt", "consent"),
    ];
    let scopes = async |world: &World| match world.ask(&asking(&wide)).await {
        Ok(Asked::Person(question)) => question.scopes.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(scopes(&world).await, "mcp:tools");
    world.alice.roles = roles(&["owner"]);
    assert_eq!(scopes(&world).await, "mcp:tools mcp:admin");
}

#[tokio::test]
async fn a_code_is_good_once_and_its_second_use_ends_what_it_gave() {
    let world = World::new();
    let code = world.code(&asking(&[])).await;
    let tokens = world.token(&redeeming(&code, &[])).await.unwrap();
    let again = world.token(&redeeming(&code, &[])).await;
    assert_eq!(refused(again), "invalid_grant");
    assert!(matches!(world.who(&tokens).await, Err(AuthError::Revoked)));
    assert_eq!(refused(world.refreshed(&tokens).await), "invalid_grant");
}

#[tokio::test]
async fn a_code_that_is_presented_wrongly_is_lost() {
    let other = "another-verifier-of-more-than-forty-three-chars";
    for wrong in [
        ("code_verifier", other),
        ("code_verifier", challenge()),
        ("redirect_uri", "https://app.example/other"),
        ("redirect_uri", "http://127.0.0.1/cb"),
    ] {
        let world = World::new();
        let code = world.code(&asking(&[])).await;
        assert_eq!(
            refused(world.token(&redeeming(&code, &[wrong])).await),
            "invalid_grant",
            "{wrong:?}"
        );
        assert_eq!(
            refused(world.token(&redeeming(&code, &[])).await),
            "invalid_grant",
            "{wrong:?}"
        );
    }
}

#[tokio::test]
async fn a_code_is_for_its_client_and_for_a_minute() {
    let world = World::new();
    let code = world.code(&asking(&[])).await;
    // Another client learns nothing, and takes nothing away.
    let params = redeeming(&code, &[("client_id", "held")]);
    let stranger = world.token_with(&params, None, Some(&CERTIFICATE)).await;
    assert_eq!(refused(stranger), "invalid_grant");
    assert_eq!(
        refused(world.token(&redeeming("made-up", &[])).await),
        "invalid_grant"
    );
    world.pass(59);
    assert!(world.token(&redeeming(&code, &[])).await.is_ok());
    let code = world.code(&asking(&[])).await;
    assert_eq!(world.authority().grants(None).unwrap().len(), 2);
    world.pass(60);
    assert_eq!(world.authority().grants(None).unwrap().len(), 1);
    assert_eq!(
        refused(world.token(&redeeming(&code, &[])).await),
        "invalid_grant"
    );
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_its_second_use_ends_the_grant() {
    let world = World::new();
    let first = world.tokens().await;
    let second = world.refreshed(&first).await.unwrap();
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(claims(&first)["sid"], claims(&second)["sid"]);
    assert!(world.who(&second).await.is_ok());
    assert_eq!(refused(world.refreshed(&first).await), "invalid_grant");
    for tokens in [&first, &second] {
        assert!(matches!(world.who(tokens).await, Err(AuthError::Revoked)));
    }
    assert_eq!(refused(world.refreshed(&second).await), "invalid_grant");
}

#[tokio::test]
async fn a_refresh_token_ends_when_it_lies_too_long_and_with_its_grant() {
    const DAY: u64 = 24 * 3600;
    let world = World::new();
    let mut tokens = world.tokens().await;
    for _ in 0..6 {
        world.pass(14 * DAY - 1);
        tokens = world.refreshed(&tokens).await.unwrap();
    }
    // Six days are left of ninety.
    world.pass(6 * DAY + 6);
    assert_eq!(refused(world.refreshed(&tokens).await), "invalid_grant");
    let tokens = world.tokens().await;
    world.pass(14 * DAY);
    assert_eq!(refused(world.refreshed(&tokens).await), "invalid_grant");
}

#[tokio::test]
async fn what_is_refreshed_gets_narrower_and_never_wider() {
    let world = World::new();
    let code = world
        .code(&asking(&[
            ("scope", "mcp:tools mcp:prompts"),
            ("resource", BASE),
        ]))
        .await;
    let tokens = world.token(&redeeming(&code, &[])).await.unwrap();
    assert_eq!(claims(&tokens)["aud"], BASE);
    let refresh = async |tokens: &Value, other| {
        let token = text(tokens, "refresh_token").to_owned();
        let params = [
            ("grant_type", "refresh_token"),
            ("client_id", "app"),
            ("refresh_token", token.as_str()),
            other,
        ];
        world.token(&params).await
    };
    // What is refused costs nothing: the token is not used up.
    for (other, error) in [
        (("scope", "mcp:tools mcp:resources"), "invalid_scope"),
        (("scope", "mcp:admin"), "invalid_scope"),
        (("resource", "https://other.example"), "invalid_target"),
    ] {
        assert_eq!(refused(refresh(&tokens, other).await), error, "{other:?}");
    }
    let tokens = refresh(&tokens, ("scope", "mcp:tools offline_access"))
        .await
        .unwrap();
    assert_eq!(text(&tokens, "scope"), "mcp:tools");
    // The next one may have all that was allowed again, and for one resource of the gate.
    let tokens = refresh(&tokens, ("resource", MCP)).await.unwrap();
    assert_eq!(text(&tokens, "scope"), "mcp:tools mcp:prompts");
    assert_eq!(claims(&tokens)["aud"], MCP);
    let narrow = world.tokens().await;
    for wide in [BASE, "https://gate.example/sse"] {
        let answer = refresh(&narrow, ("resource", wide)).await;
        assert_eq!(refused(answer), "invalid_target", "{wide}");
    }
}

#[tokio::test]
async fn what_ends_somebodys_tokens_ends_their_renewal() {
    for revoke in [
        Revoked::User(&PrincipalId::new("alice").unwrap()),
        Revoked::Disabled(&PrincipalId::new("alice").unwrap()),
        Revoked::Client("app"),
    ] {
        let world = World::new();
        let tokens = world.tokens().await;
        world.pass(1);
        let revocations = world.auth.revocations();
        revocations
            .revoke(revoke, None, "local", "test")
            .await
            .unwrap();
        assert_eq!(
            refused(world.refreshed(&tokens).await),
            "invalid_grant",
            "{revoke:?}"
        );
    }
}

#[tokio::test]
async fn what_a_client_takes_back_is_over() {
    let world = World::new();
    let revoke = async |client: &str, token: &str| {
        let body = form(&[("client_id", client), ("token", token)]);
        world.authority().revoke(&request(&body)).await
    };
    let tokens = world.tokens().await;
    let [access, refresh] = ["access_token", "refresh_token"].map(|name| text(&tokens, name));
    // Not another client's affair, and no error either.
    for token in [access, refresh, "made.up.token", "x"] {
        revoke("held", token).await.unwrap();
    }
    assert!(world.who(&tokens).await.is_ok());
    assert_eq!(revoke("nobody", access).await.unwrap_err().status(), 401);
    revoke("app", access).await.unwrap();
    assert!(matches!(world.who(&tokens).await, Err(AuthError::Revoked)));
    let renewed = world.refreshed(&tokens).await.unwrap();
    assert!(world.who(&renewed).await.is_ok());
    revoke("app", text(&renewed, "refresh_token"))
        .await
        .unwrap();
    assert!(matches!(world.who(&renewed).await, Err(AuthError::Revoked)));
    assert_eq!(refused(world.refreshed(&renewed).await), "invalid_grant");
}

#[tokio::test]
async fn a_client_authenticates_in_one_way_and_with_its_own_secret() {
    let world = World::new();
    let encoded =
        |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let basic = |id: &str, secret: &str| {
        let text = format!("{}:{}", encoded(id), encoded(secret));
        format!("Basic {}", BASE64_STANDARD.encode(text))
    };
    let own = [("grant_type", "client_credentials"), ("scope", "mcp:tools")];
    let by_header = async |header: &str, more: &[(&str, &str)]| {
        let params: Vec<_> = own.iter().chain(more).copied().collect();
        let body = form(&params);
        let request = ClientRequest {
            authorization: Some(header),
            ..request(&body)
        };
        world.authority().token(&request).await
    };
    let good = basic("robot: 1", SECRET);
    let issued = by_header(&good, &[]).await.unwrap();
    let tokens: Value = serde_json::from_str(&issued.to_json()).unwrap();
    assert!(tokens.get("refresh_token").is_none());
    let robot = world.who(&tokens).await.unwrap();
    assert_eq!(
        (robot.id.as_str(), &robot.roles),
        ("robot", &roles(&["worker"]))
    );
    assert_eq!(robot.scopes.to_string(), "mcp:tools");
    let posted = [
        own[0],
        ("client_id", "robot: 1"),
        ("client_secret", SECRET),
        ("scope", "mcp:admin mcp:prompts"),
    ];
    let tokens = world.token(&posted).await.unwrap();
    assert_eq!(text(&tokens, "scope"), "mcp:prompts");

    for (header, more, status) in [
        (basic("robot: 1", "wrong"), &[][..], 401),
        (basic("robot: 1", ""), &[], 401),
        (basic("nobody", SECRET), &[], 401),
        (basic("app", SECRET), &[], 401),
        ("Bearer x".to_owned(), &[], 401),
        ("Basic !".to_owned(), &[], 401),
        (good.clone(), &[("client_secret", SECRET)], 400),
        (good.clone(), &[("client_id", "app")], 400),
        (basic("app", ""), &[], 400), // known, and stands for nobody by itself
    ] {
        let error = by_header(&header, more).await.unwrap_err();
        assert_eq!(error.status(), status, "{header} {error}");
    }
    for guess in 0..30 {
        let waits = by_header(&basic("robot: 1", "wrong"), &[]).await;
        let is_over = matches!(waits, Err(OAuthError::TooMany(_)));
        assert_eq!(is_over, guess >= 18, "{guess}");
    }
    // A guess counts against where it came from.
    let elsewhere = form(&posted);
    let elsewhere = ClientRequest {
        address: Some(std::net::Ipv4Addr::new(192, 0, 2, 1).into()),
        ..request(&elsewhere)
    };
    assert!(world.authority().token(&elsewhere).await.is_ok());
}

#[tokio::test]
async fn a_client_registers_itself_within_bounds() {
    let world = World::new();
    let register = async |document: &Value, from: u8| {
        let address = std::net::Ipv4Addr::new(192, 0, 2, from).into();
        let body = document.to_string();
        let registered = world
            .authority()
            .register(body.as_bytes(), Some(address))
            .await?;
        Ok::<Value, OAuthError>(serde_json::from_str(&registered.to_json()).unwrap())
    };
    let said = json!({
        "redirect_uris": ["http://127.0.0.1:1/cb"],
        "client_name": "Inspector",
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
    });
    let public = register(&said, 1).await.unwrap();
    assert!(public.get("client_secret").is_none());
    let id = text(&public, "client_id");
    let code = world
        .code(&asking(&[
            ("client_id", id),
            ("redirect_uri", "http://127.0.0.1:9/cb"),
        ]))
        .await;
    let redirect = ("redirect_uri", "http://127.0.0.1:9/cb");
    let tokens = world
        .token(&redeeming(&code, &[("client_id", id), redirect]))
        .await;
    assert!(tokens.unwrap().get("refresh_token").is_some());

    // One that does not say how it authenticates, or that it refreshes, gets a secret and no refresh token.
    let said = json!({ "redirect_uris": [CALLBACK] });
    let confidential = register(&said, 1).await.unwrap();
    let id = text(&confidential, "client_id");
    let secret = text(&confidential, "client_secret");
    let code = world.code(&asking(&[("client_id", id)])).await;
    let without = world.token(&redeeming(&code, &[("client_id", id)])).await;
    assert_eq!(refused(without), "invalid_client");
    let with = [("client_id", id), ("client_secret", secret)];
    let tokens = world.token(&redeeming(&code, &with)).await.unwrap();
    assert!(tokens.get("refresh_token").is_none());

    let bad = json!({ "redirect_uris": ["http://app.example/cb"] });
    let error = register(&bad, 1).await.unwrap_err();
    assert_eq!(
        (error.code(), error.status()),
        ("invalid_redirect_uri", 400)
    );
    let mut registered = 3;
    while register(&said, 1).await.is_ok() {
        registered += 1;
    }
    assert_eq!(registered, 30);
    assert!(register(&said, 2).await.is_ok());
    world.auth.authority().reload(Settings {
        registration: false,
        ..Settings::default()
    });
    assert_eq!(register(&said, 3).await.unwrap_err().status(), 403);
    assert!(
        world
            .authority()
            .metadata()
            .get("registration_endpoint")
            .is_none()
    );
}

#[tokio::test]
async fn a_client_that_nobody_uses_is_forgotten() {
    let world = World::new();
    let said = json!({ "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none" });
    let register = async || {
        let body = said.to_string();
        let registered = world
            .authority()
            .register(body.as_bytes(), None)
            .await
            .unwrap();
        let document: Value = serde_json::from_str(&registered.to_json()).unwrap();
        text(&document, "client_id").to_owned()
    };
    let is_known = async |id: &str| world.ask(&asking(&[("client_id", id)])).await.is_ok();
    let (used, unused) = (register().await, register().await);
    world.pass(1);
    world.code(&asking(&[("client_id", &used)])).await;
    world.pass(25 * 3600);
    register().await;
    assert!(is_known(&used).await && !is_known(&unused).await);
}

static CERTIFICATE: std::sync::LazyLock<ClientCertificate> =
    std::sync::LazyLock::new(|| ClientCertificate {
        sha256: [7; 32],
        names: vec!["dns:app.example".to_owned()],
        expires_at: UNIX_EPOCH + Duration::from_secs(4_000_000_000),
    });

#[tokio::test]
async fn a_token_that_is_bound_to_a_certificate_comes_with_it_alone() {
    let world = World::new();
    let held = ("client_id", "held");
    let code = world.code(&asking(&[held])).await;
    let without = world.token(&redeeming(&code, &[held])).await;
    assert_eq!(refused(without), "invalid_request");
    let tokens = world
        .token_with(&redeeming(&code, &[held]), None, Some(&CERTIFICATE))
        .await
        .unwrap();
    let thumbprint = BASE64_URL_SAFE_NO_PAD.encode([7; 32]);
    assert_eq!(claims(&tokens)["cnf"]["x5t#S256"], thumbprint);
    assert!(world.who(&tokens).await.is_err());
    let other = ClientCertificate {
        sha256: [8; 32],
        ..CERTIFICATE.clone()
    };
    let params = [
        ("grant_type", "refresh_token"),
        held,
        ("refresh_token", text(&tokens, "refresh_token")),
    ];
    let body = form(&params);
    let with = |certificate| ClientRequest {
        certificate: Some(certificate),
        ..request(&body)
    };
    let stolen = world.authority().token(&with(&other)).await.unwrap_err();
    assert_eq!(stolen.code(), "invalid_grant");
    assert!(world.authority().token(&with(&CERTIFICATE)).await.is_ok());
}

/// A key of a client's, for DPoP.
struct Key(EcdsaKeyPair);

impl Key {
    fn new() -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        Self(EcdsaKeyPair::generate(algorithm).unwrap())
    }

    fn jwk(&self) -> Value {
        let point = self.0.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| BASE64_URL_SAFE_NO_PAD.encode(half));
        json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
    }

    fn thumbprint(&self) -> String {
        let jwk = self.jwk();
        let canonical = format!(
            r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#,
            jwk["x"], jwk["y"]
        );
        BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
    }

    fn signed(&self, kind: &str, claims: &Value) -> String {
        self.compact(&json!({ "typ": kind, "alg": "ES256" }), claims)
    }

    fn proof(&self, world: &World, url: &str, id: &str) -> String {
        let at = clients::seconds(world.clock.wall());
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk() });
        let claims = json!({ "jti": id, "htm": "POST", "htu": url, "iat": at });
        self.compact(&header, &claims)
    }

    fn compact(&self, header: &Value, claims: &Value) -> String {
        let [header, claims] =
            [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{claims}");
        let signature = self
            .0
            .sign(&SystemRandom::new(), message.as_bytes())
            .unwrap();
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_renewed_with_it_alone() {
    let world = World::new();
    let (own, other) = (Key::new(), Key::new());
    let jkt = own.thumbprint();
    let code = world.code(&asking(&[("dpop_jkt", &jkt)])).await;
    let proof = own.proof(&world, TOKEN_URL, "1");
    let tokens = world
        .token_with(&redeeming(&code, &[]), Some(&proof), None)
        .await
        .unwrap();
    assert_eq!(text(&tokens, "token_type"), "DPoP");
    assert_eq!(claims(&tokens)["cnf"]["jkt"], jkt);
    let refresh = async |proof: Option<&str>| {
        let body = form(&[
            ("grant_type", "refresh_token"),
            ("client_id", "app"),
            ("refresh_token", text(&tokens, "refresh_token")),
        ]);
        let request = ClientRequest {
            dpop: proof,
            ..request(&body)
        };
        world.authority().token(&request).await
    };
    let elsewhere = own.proof(&world, "https://gate.example/oauth/revoke", "2");
    for bad in [
        None,
        Some(other.proof(&world, TOKEN_URL, "3")),
        Some(elsewhere),
        Some(proof.clone()),
        Some("x".to_owned()),
    ] {
        let error = refresh(bad.as_deref()).await.unwrap_err();
        assert_eq!(error.code(), "invalid_dpop_proof", "{bad:?}");
    }
    assert!(
        refresh(Some(&own.proof(&world, TOKEN_URL, "4")))
            .await
            .is_ok()
    );

    // A code that is bound to a key is of no use without it.
    let code = world.code(&asking(&[("dpop_jkt", &jkt)])).await;
    let stolen = other.proof(&world, TOKEN_URL, "5");
    let params = redeeming(&code, &[]);
    let stolen = world.token_with(&params, Some(&stolen), None).await;
    assert_eq!(refused(stolen), "invalid_dpop_proof");
}

#[tokio::test]
async fn a_replaced_signing_key_verifies_until_its_tokens_have_ended() {
    let world = World::new();
    let kids = async || -> Vec<String> {
        let keys = world.authority().jwks().await.unwrap();
        let keys = keys["keys"].as_array().unwrap();
        keys.iter().map(|key| text(key, "kid").to_owned()).collect()
    };
    let old = world.tokens().await;
    let [first] = kids().await.try_into().unwrap();
    let second = world.authority().rotate_signing_key().await.unwrap();
    let new = world.tokens().await;
    assert_eq!(kids().await, [second.clone(), first]);
    for tokens in [&old, &new] {
        assert!(world.who(tokens).await.is_ok());
    }
    world.pass(2 * 3600);
    assert_eq!(kids().await, [second]);
    let public = world.authority().jwks().await.unwrap().to_string();
    assert!(!public.contains("\"d\""));
}

#[tokio::test]
async fn where_it_is_switched_off_there_is_nothing_and_its_tokens_are_none() {
    let world = World::new();
    let tokens = world.tokens().await;
    world.authority().reload(Settings {
        enabled: false,
        ..Settings::default()
    });
    assert!(world.who(&tokens).await.is_err());
    assert!(matches!(
        world.ask(&asking(&[])).await,
        Err(NoClient::Unavailable(OAuthError::Off))
    ));
    assert_eq!(refused(world.refreshed(&tokens).await), "access_denied");
    assert!(world.authority().jwks().await.is_err());
}

#[tokio::test]
async fn a_client_with_keys_signs_for_itself_once_and_for_here() {
    let key = Key::new();
    let own = key.jwk();
    let robot = ConfiguredClient {
        id: "signer".to_owned(),
        keys: vec![VerifyingKey::from_jwk(own.as_object().unwrap(), Algorithm::Rs256).unwrap()],
        machine: Some((PrincipalId::new("signer").unwrap(), roles(&[]))),
        redirect_uris: Vec::new(),
        ..clients().remove(0)
    };
    let world = World::with(Settings {
        clients: vec![robot],
        ..Settings::default()
    });
    let now = clients::seconds(world.clock.wall());
    let said = |other: &Value| {
        let mut claims = json!({
            "iss": "signer", "sub": "signer", "aud": BASE, "exp": now + 60, "iat": now, "jti": "1",
        });
        for (name, value) in other.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let present = async |assertion: &str, more: &[(&str, &str)]| {
        let mut params = vec![
            ("grant_type", "client_credentials"),
            ("client_assertion_type", assertion::JWT_BEARER),
            ("client_assertion", assertion),
        ];
        params.extend(more);
        world.token(&params).await
    };
    for (other, kind) in [
        (json!({ "aud": "https://other.example" }), "JWT"),
        (json!({ "aud": [BASE, "https://other.example"] }), "JWT"),
        (json!({ "sub": "robot" }), "JWT"),
        (json!({ "iss": "nobody", "sub": "nobody" }), "JWT"),
        (json!({ "exp": now - 31 }), "JWT"),
        (json!({ "exp": now + 3600 }), "JWT"),
        (json!({ "exp": null }), "JWT"),
        (json!({ "iat": now + 60 }), "JWT"),
        (json!({ "nbf": now + 60 }), "JWT"),
        (json!({ "jti": null }), "JWT"),
        (json!({}), "dpop+jwt"),
        (json!({}), "at+jwt"),
    ] {
        let bad = key.signed(kind, &said(&other));
        assert_eq!(
            refused(present(&bad, &[]).await),
            "invalid_client",
            "{other}"
        );
    }
    let forged = Key::new().signed("JWT", &said(&json!({})));
    assert_eq!(refused(present(&forged, &[]).await), "invalid_client");
    let good = key.signed("JWT", &said(&json!({})));
    for twice in [("client_secret", "x"), ("client_id", "robot: 1")] {
        assert_eq!(refused(present(&good, &[twice]).await), "invalid_request");
    }
    let tokens = present(&good, &[]).await.unwrap();
    assert_eq!(world.who(&tokens).await.unwrap().id.as_str(), "signer");
    assert_eq!(refused(present(&good, &[]).await), "invalid_client");
    let next = json!({ "jti": "2", "aud": [TOKEN_URL] });
    let next = key.signed("client-authentication+jwt", &said(&next));
    assert!(present(&next, &[("client_id", "signer")]).await.is_ok());
    // It is no public client, either.
    let unproved = [
        ("grant_type", "client_credentials"),
        ("client_id", "signer"),
    ];
    assert_eq!(refused(world.token(&unproved).await), "invalid_client");
}

#[tokio::test]
async fn nothing_that_is_secret_is_kept_in_the_clear() {
    let world = World::new();
    let code = world.code(&asking(&[])).await;
    let tokens = world.tokens().await;
    let _flushed = world.auth.parts().store.flush().await;
    let seen: Vec<u8> = std::fs::read_dir(world.folder.path())
        .unwrap()
        .flat_map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    for secret in [
        code.as_str(),
        SECRET,
        text(&tokens, "refresh_token"),
        text(&tokens, "access_token"),
    ] {
        let found = seen
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found);
    }
}
