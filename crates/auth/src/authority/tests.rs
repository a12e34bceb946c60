//! What clients get, what they do not, and what ends it; over the store as it is, with a clock moved by hand.

mod endings;
mod proofs;
mod registration;

use std::collections::{BTreeMap, BTreeSet};
use std::time::UNIX_EPOCH;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use policy::{Clock, Credential, Principal, RoleName};
use store::Store;
use tempfile::TempDir;
use url::Url;

use super::*;
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
                claims: Default::default(),
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
            since: self.clock.wall(),
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
        (("resource", "https://gate.example/other"), "invalid_target"),
        (
            ("resource", "https://gate.example/mcp/a/b"),
            "invalid_target",
        ),
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
