//! Exchanging our word for a principal against a token: what is shown, what is taken, and whose it is.

use std::time::{Duration, UNIX_EPOCH};

use policy::Clock as _;
use serde_json::{Value, json};

use super::super::*;
use super::world::{World, alice, parameter};
use crate::tokens::{Algorithm, VerifyingKey};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

async fn start() -> World {
    World::start(Grant::TokenExchange(Exchange {
        audience: Some("docs-api".to_owned()),
        lifetime_max: Duration::from_hours(1),
    }))
    .await
}

/// An answer that is fine but for `over`, which is put over it; the token is a JWT with these claims.
fn exchanged(claims: &Value, over: Value) -> Value {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "alg": "ES256", "typ": "at+jwt" });
    let token = format!("{}.{}.{}", part(&header), part(claims), "c2lnbmVk");
    let mut answer = json!({
        "access_token": token,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": 600,
        "refresh_token": "not-to-be-kept",
    });
    if let (Value::Object(answer), Value::Object(over)) = (&mut answer, over) {
        answer.extend(over);
        answer.retain(|_, value| !value.is_null());
    }
    answer
}

fn seconds(world: &World) -> u64 {
    let since = world.clock.wall().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// The parts of a JWT: header, claims.
fn opened(jwt: &str) -> (Value, Value) {
    let mut parts = jwt
        .split('.')
        .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let mut part = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (part(), part())
}

async fn is_untrusted(answer: Value) -> bool {
    let world = start().await;
    world.answer("/token", 200, &answer);
    let obtained = world.obtain("alice").await;
    assert!(world.at_hand("alice").is_none() || obtained.is_ok());
    matches!(obtained, Err(OutboundError::Untrusted { .. }))
}

#[tokio::test]
async fn the_gate_shows_a_short_word_of_its_own_that_its_published_key_verifies() {
    let world = start().await;
    let claims = json!({ "aud": "docs-api", "sub": "alice", "iss": world.at("") });
    world.answer("/token", 200, &exchanged(&claims, json!({})));
    assert!(world.obtain("alice").await.is_ok());

    let asked = world.asked("/token");
    let [asked] = asked.as_slice() else {
        panic!("one exchange: {asked:?}");
    };
    for (name, value) in [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("requested_token_type", ACCESS_TOKEN),
        ("audience", "docs-api"),
        ("resource", &world.at("/mcp")),
    ] {
        assert_eq!(parameter(asked, name), value, "{name}");
    }
    let assertion = parameter(asked, "subject_token");
    let (header, claims) = opened(&assertion);
    assert_eq!(header["typ"], "JWT");
    assert_eq!(claims["iss"], "http://127.0.0.1:8080");
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["aud"], world.at(""));
    assert_eq!(claims["iat"], seconds(&world));
    assert_eq!(claims["exp"], seconds(&world) + 60);
    assert!(claims["jti"].as_str().unwrap().len() >= 16);

    let jwks = world.authority.jwks().await.unwrap();
    let key = jwks["keys"][0].as_object().unwrap();
    assert_eq!(header["kid"], key["kid"]);
    let key = VerifyingKey::from_jwk(key, Algorithm::Rs256).unwrap();
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    assert!(key.verifies(signed.as_bytes(), signature));
}

#[tokio::test]
async fn principals_are_kept_apart_and_each_exchange_serves_many_calls() {
    let world = start().await;
    // The server has names of its own for them.
    let answer = |sub: &str| exchanged(&json!({ "aud": ["docs-api"], "sub": sub }), json!({}));
    world.answer("/token", 200, &answer("0001"));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let world = world.clone();
        calls.spawn(async move { world.obtain("alice").await.unwrap() });
    }
    let headers = calls.join_all().await;
    assert!(headers.iter().all(|header| *header == headers[0]));
    assert_eq!(world.asked("/token").len(), 1);
    assert_eq!(world.at_hand("alice").unwrap(), headers[0]);
    assert!(world.at_hand("bob").is_none());

    // Alice's token for bob.
    let mixed = world.obtain("bob").await;
    assert!(
        matches!(mixed, Err(OutboundError::Untrusted { .. })),
        "{mixed:?}"
    );
    world.clock.pass(Duration::from_secs(10));
    world.answer("/token", 200, &answer("0002"));
    assert_ne!(world.obtain("bob").await.unwrap(), headers[0]);
    let subjects: Vec<Value> = world
        .asked("/token")
        .iter()
        .map(|asked| opened(&parameter(asked, "subject_token")).1["sub"].clone())
        .collect();
    assert_eq!(subjects, ["alice", "bob", "bob"]);
    assert!(world.outbound.connections(&alice().id).unwrap().is_empty());
    assert_eq!(world.outbound.lister(&world.id), None);
}

#[tokio::test]
async fn a_token_is_for_the_principal_and_the_upstream_alone_and_soon_over() {
    let fine = json!({ "aud": "docs-api", "sub": "alice" });
    let with = |name: &str, value: Value| {
        let mut claims = fine.clone();
        claims[name] = value;
        claims
    };
    assert!(!is_untrusted(exchanged(&fine, json!({}))).await);
    let one_acts = with("act", json!({ "sub": "gate" }));
    assert!(!is_untrusted(exchanged(&one_acts, json!({}))).await);
    for (claims, over) in [
        (fine.clone(), json!({ "issued_token_type": null })),
        (
            fine.clone(),
            json!({ "issued_token_type": "urn:ietf:params:oauth:token-type:refresh_token" }),
        ),
        (fine.clone(), json!({ "token_type": "N_A" })),
        (fine.clone(), json!({ "expires_in": 3601 })),
        (
            fine.clone(),
            json!({ "issued_token_type": "urn:ietf:params:oauth:token-type:jwt", "access_token": "opaque" }),
        ),
        (with("exp", json!(1_800_007_200)), json!({})),
        (with("exp", json!(1_700_000_000)), json!({})),
        (with("exp", json!("soon")), json!({})),
        (with("aud", json!("other-api")), json!({})),
        (with("aud", json!(null)), json!({})),
        (
            with("aud", json!(["docs-api", "http://127.0.0.1:8080/mcp"])),
            json!({}),
        ),
        (with("sub", json!("gate")), json!({})),
        (with("sub", json!(7)), json!({})),
        (with("iss", json!("https://evil.example")), json!({})),
        (
            with("act", json!({ "sub": "gate", "act": { "sub": "other" } })),
            json!({}),
        ),
        (with("act", json!("gate")), json!({})),
    ] {
        let answer = exchanged(&claims, over);
        assert!(is_untrusted(answer.clone()).await, "{claims} {answer}");
    }
}

#[tokio::test]
async fn what_the_server_calls_a_principal_stays_the_same() {
    let world = start().await;
    let answer = |sub: &str| exchanged(&json!({ "aud": "docs-api", "sub": sub }), json!({}));
    world.answer("/token", 200, &answer("0001"));
    world.obtain("alice").await.unwrap();
    world.clock.pass(Duration::from_secs(600));
    world.answer("/token", 200, &answer("0002"));
    let other = world.obtain("alice").await;
    assert!(
        matches!(other, Err(OutboundError::Untrusted { .. })),
        "{other:?}"
    );
    assert!(world.at_hand("alice").is_none());
}

#[tokio::test]
async fn a_token_is_exchanged_anew_before_its_end_and_once_when_it_is_refused() {
    let world = start().await;
    let over = json!({ "access_token": "opaque-1", "expires_in": null });
    world.answer("/token", 200, &exchanged(&json!({}), over));
    assert_eq!(world.obtain("alice").await.unwrap(), "Bearer opaque-1");
    // Nothing says how long it is good, so it is not used for longer than any.
    world.clock.pass(Duration::from_secs(3600 - 30));
    assert!(world.at_hand("alice").is_none());
    world.answer(
        "/token",
        200,
        &exchanged(&json!({}), json!({ "access_token": "opaque-2" })),
    );
    assert_eq!(world.obtain("alice").await.unwrap(), "Bearer opaque-2");
    assert_eq!(world.asked("/token").len(), 2);

    world.clock.pass(Duration::from_secs(30));
    world.answer(
        "/token",
        200,
        &exchanged(&json!({}), json!({ "access_token": "opaque-3" })),
    );
    let better = world.refused("alice", 401, "Bearer").await;
    assert_eq!(better.unwrap(), "Bearer opaque-3");
    let worse = world.refused("alice", 401, "Bearer").await;
    assert!(matches!(worse, Err(OutboundError::Useless(_))), "{worse:?}");
    let asked = world.asked("/token");
    assert_eq!(asked.len(), 3);
    assert!(
        asked
            .iter()
            .all(|asked| parameter(asked, "refresh_token").is_empty())
    );
}

#[tokio::test]
async fn exchanged_tokens_are_in_memory_alone() {
    let world = start().await;
    let over = json!({ "access_token": "opaque-secret" });
    world.answer("/token", 200, &exchanged(&json!({}), over));
    world.obtain("alice").await.unwrap();
    let rows = world.store.list_upstream_tokens(world.id.as_str(), 16);
    assert!(rows.unwrap().is_empty());
    assert!(world.restarted().at_hand("alice").is_none());
    assert!(world.outbound.is_connected(&world.id, "alice"));
    world.outbound.forget(&alice().id).await.unwrap();
    assert!(world.at_hand("alice").is_none());
    assert!(!world.outbound.is_connected(&world.id, "alice"));
}

#[tokio::test]
async fn the_gate_asks_for_lists_as_the_client_that_it_is() {
    let world = start().await;
    let own = world.outbound.obtain(&world.id, None).await.unwrap();
    assert!(own.is_some());
    let asked = world.asked("/token").pop().unwrap();
    assert_eq!(parameter(&asked, "grant_type"), "client_credentials");
    assert_eq!(parameter(&asked, "subject_token"), "");
    // It does for no principal.
    assert!(world.at_hand("alice").is_none());
}

#[tokio::test]
async fn a_server_that_does_not_know_the_principal_ends_its_calls() {
    let world = start().await;
    let over = json!({ "access_token": "opaque-1" });
    world.answer("/token", 200, &exchanged(&json!({}), over));
    world.obtain("alice").await.unwrap();
    world.answer("/token", 400, &json!({ "error": "invalid_request" }));
    world.clock.pass(Duration::from_secs(590));
    let refused = world.obtain("alice").await;
    assert!(
        matches!(refused, Err(OutboundError::Refused(_))),
        "{refused:?}"
    );
    assert!(world.at_hand("alice").is_none());
}
