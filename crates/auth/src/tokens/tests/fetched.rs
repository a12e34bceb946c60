//! Keys that are fetched: rotated, removed, out of reach, and asked for by a flood.

use serde_json::json;

use super::world::*;
use crate::tokens::*;

const JWKS: &str = "/jwks";
const FRESHNESS: Freshness = Freshness {
    refresh: Duration::from_mins(5),
    stale_max: Duration::from_hours(1),
};

fn at(place: Place) -> Issuer {
    corp(KeySource::Remote {
        place,
        freshness: FRESHNESS,
    })
}

fn from(server: &Server) -> Issuer {
    at(Place::Jwks(server.url(JWKS)))
}

/// A token of its own, so that nothing is remembered of it. Good for as long as these tests play.
fn token(signer: &Signer, number: usize) -> String {
    let changes = json!({ "jti": format!("t{number}"), "exp": START + 86_400 });
    signer.token(&but(claims(), changes))
}

fn lasting(mut issuer: Issuer) -> Issuer {
    issuer.lifetime_max = Duration::from_hours(24);
    issuer
}

/// Asks until it is so: what is waited for happens in the background.
async fn soon(mut is_so: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asked)
        .await
        .expect("in time");
}

#[tokio::test]
async fn many_tokens_cost_one_fetch_and_a_reload_none() {
    let (server, signer) = (Server::start().await, Signer::p256("k1"));
    server.publish(JWKS, &[&signer]);
    let world = Arc::new(World::new(vec![from(&server)]));
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (world, token) = (
            Arc::clone(&world),
            signer.token(&but(claims(), json!({ "jti": format!("{number}") }))),
        );
        requests.spawn(async move { world.bearer(&token).await.is_ok() });
    }
    assert!(requests.join_all().await.into_iter().all(|taken| taken));
    assert_eq!(server.count(), 1);

    world.auth.reload(settings(vec![from(&server)]));
    world.bearer(&signer.token(&claims())).await.unwrap();
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_at_once_and_a_removed_one_is_refused_in_time() {
    let (old, new) = (Signer::p256("old"), Signer::rsa("new"));
    let server = Server::start().await;
    server.publish(JWKS, &[&old]);
    let world = World::new(vec![lasting(from(&server))]);
    let old_token = token(&old, 1);
    let principal = world.bearer(&old_token).await.unwrap();

    // Both are good while they overlap.
    server.publish(JWKS, &[&old, &new]);
    world.clock.pass(jwks::INTERVAL);
    world.bearer(&token(&new, 2)).await.unwrap();
    world.bearer(&old_token).await.unwrap();
    assert_eq!(server.count(), 2);

    // The old one goes. Nobody waits while that is found out, and then nothing remembered helps.
    server.publish(JWKS, &[&new]);
    world.clock.pass(FRESHNESS.refresh);
    world.bearer(&old_token).await.unwrap();
    server.until(3).await;
    soon(async || !world.auth.is_current(&principal)).await;
    assert_eq!(
        world.refusal(&old_token).await,
        "the token is not valid: its issuer has no such key"
    );
    world.bearer(&token(&new, 2)).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_unknown_keys_costs_one_fetch_per_interval() {
    let (server, signer) = (Server::start().await, Signer::p256("k1"));
    server.publish(JWKS, &[&signer]);
    let world = World::new(vec![from(&server)]);
    world.bearer(&signer.token(&claims())).await.unwrap();
    assert_eq!(server.count(), 1);
    let unknown = Signer::p256("made-up");
    for round in 2..4 {
        world.clock.pass(jwks::INTERVAL);
        for number in 0..50 {
            assert_eq!(
                world.refusal(&token(&unknown, number)).await,
                "the token is not valid: its issuer has no such key"
            );
        }
        assert_eq!(server.count(), round);
    }
}

#[tokio::test]
async fn while_the_issuer_is_out_of_reach_its_keys_last_for_a_while_and_then_no_more() {
    let (server, signer) = (Server::start().await, Signer::p256("k1"));
    server.publish(JWKS, &[&signer]);
    let world = World::new(vec![lasting(from(&server))]);
    world.bearer(&token(&signer, 1)).await.unwrap();

    server.answer(JWKS, 500, &json!({}));
    world.clock.pass(FRESHNESS.refresh);
    world.bearer(&token(&signer, 2)).await.unwrap();
    server.until(2).await;
    // A key that might be new cannot be judged, and is not said to be wrong.
    let unknown = Signer::p256("k2");
    soon(async || {
        let outcome = world.bearer(&token(&unknown, 3)).await;
        matches!(outcome, Err(AuthError::Unavailable(_)))
    })
    .await;
    world
        .clock
        .pass(FRESHNESS.stale_max - FRESHNESS.refresh - Duration::from_secs(1));
    world.bearer(&token(&signer, 4)).await.unwrap();
    world.clock.pass(Duration::from_mins(1));
    for _ in 0..10 {
        let outcome = world.bearer(&token(&signer, 5)).await;
        assert!(
            matches!(outcome, Err(AuthError::Unavailable(_))),
            "{outcome:?}"
        );
    }

    server.publish(JWKS, &[&signer]);
    world.clock.pass(jwks::INTERVAL_FAILED);
    world.bearer(&token(&signer, 6)).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_no_set_of_keys_replaces_none() {
    let (server, signer) = (Server::start().await, Signer::p256("k1"));
    server.publish(JWKS, &[&signer]);
    let world = World::new(vec![lasting(from(&server))]);
    world.bearer(&token(&signer, 1)).await.unwrap();
    for (number, body) in [
        json!({ "keys": [] }),
        json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] }),
        json!("<html>"),
        json!({ "keys": [signer.jwk()], "x": "y".repeat(300_000) }),
    ]
    .into_iter()
    .enumerate()
    {
        server.answer(JWKS, 200, &body);
        world.clock.pass(FRESHNESS.refresh);
        soon(async || {
            // The fetch before may still be landing.
            world.clock.pass(jwks::INTERVAL_FAILED);
            world.bearer(&token(&signer, number)).await.unwrap();
            server.count() >= number + 2
        })
        .await;
    }
}

#[tokio::test]
async fn metadata_lead_to_the_keys_if_they_are_the_issuers_own() {
    let (server, signer) = (Server::start().await, Signer::p256("k1"));
    server.publish("/realm/keys", &[&signer]);
    let issuer_at = |server: &Server| {
        let url = server.url("/realm");
        let issuer: Arc<str> = Arc::from(url.as_str());
        Issuer {
            issuer: Arc::clone(&issuer),
            ..at(Place::Discovery { issuer, url })
        }
    };
    let issuer = issuer_at(&server);
    let token = signer.token(&but(claims(), json!({ "iss": &*issuer.issuer })));
    let metadata =
        json!({ "issuer": &*issuer.issuer, "jwks_uri": server.url("/realm/keys").as_str() });

    // OpenID Connect's place, as nothing is at the other.
    server.answer("/realm/.well-known/openid-configuration", 200, &metadata);
    let world = World::new(vec![issuer.clone()]);
    world.bearer(&token).await.unwrap();
    let paths: Vec<String> = server.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(
        paths,
        [
            "/.well-known/oauth-authorization-server/realm",
            "/realm/.well-known/openid-configuration",
            "/realm/keys"
        ]
    );

    // RFC 8414's place comes first, and must be about this issuer, byte for byte.
    for other in [
        json!({ "issuer": format!("{}/", issuer.issuer) }),
        json!({ "issuer": "https://evil.example.com" }),
        json!({ "issuer": null }),
        json!({ "jwks_uri": null }),
        json!({ "jwks_uri": "http://keys.example.com/jwks" }),
        json!({ "jwks_uri": "file:///etc/passwd" }),
        json!({ "jwks_uri": "http://127.0.0.2:1/keys" }),
    ] {
        let bad = but(metadata.clone(), other.clone());
        server.answer("/.well-known/oauth-authorization-server/realm", 200, &bad);
        let world = World::new(vec![issuer.clone()]);
        let outcome = world.bearer(&token).await;
        assert!(
            matches!(outcome, Err(AuthError::Unavailable(_))),
            "{other}: {outcome:?}"
        );
    }
    server.answer(
        "/.well-known/oauth-authorization-server/realm",
        200,
        &metadata,
    );
    let world = World::new(vec![issuer]);
    world.bearer(&token).await.unwrap();
}
