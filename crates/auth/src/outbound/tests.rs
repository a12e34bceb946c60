//! Against an upstream and its authorization server, really listening, that say what a test has them say.

mod exchange;
mod world;

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::Revoked;
use world::{ISSUED, World, alice, bob, issued, parameter};

#[tokio::test]
async fn a_sign_in_asks_for_this_resource_alone_and_its_token_is_at_hand_from_then_on() {
    let world = World::start(Grant::PerUser).await;
    world.resource["scopes_supported"].set(json!(["read", "write"]));
    let url = world.begin(&alice()).await.unwrap();
    assert!(
        url.as_str().starts_with(&world.at("/authorize?tenant=1&")),
        "{url}"
    );
    assert_eq!(parameter(&url, "resource"), world.at("/mcp"));
    assert_eq!(parameter(&url, "scope"), "read write");
    assert_eq!(parameter(&url, "code_challenge_method"), "S256");
    assert_eq!(
        parameter(&url, "redirect_uri"),
        "http://127.0.0.1:8080/oauth/callback"
    );
    assert!(parameter(&url, "state").len() >= 43);
    assert!(world.is_not_connected("alice").await);

    world.finish(&alice(), &url, "").await.unwrap();
    let asked = world.asked("/token").pop().unwrap();
    let verifier = parameter(&asked, "code_verifier");
    let pkce = URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        verifier.as_bytes(),
    ));
    assert_eq!(pkce, parameter(&url, "code_challenge"));
    assert_eq!(parameter(&asked, "resource"), world.at("/mcp"));
    assert_eq!(world.at_hand("alice").unwrap(), format!("Bearer {ISSUED}1"));
    assert!(world.at_hand("bob").is_none());
    assert!(world.is_not_connected("bob").await);
    assert_eq!(world.outbound.lister(&world.id).as_deref(), Some("alice"));
}

#[tokio::test]
async fn an_answer_counts_once_and_soon_and_for_the_principal_who_began() {
    let world = World::start(Grant::PerUser).await;
    let is_stranger = |finished| matches!(finished, Err(OutboundError::Stranger));

    let url = world.begin(&alice()).await.unwrap();
    assert!(is_stranger(world.finish(&bob(), &url, "").await));
    assert!(is_stranger(world.finish(&alice(), &url, "").await));

    let url = world.begin(&alice()).await.unwrap();
    world.clock.pass(Duration::from_secs(10 * 60));
    assert!(is_stranger(world.finish(&alice(), &url, "").await));

    for query in [
        "",
        "code=a",
        "state=made-up&code=a",
        "state=a&state=a&code=b",
    ] {
        let finished = world.outbound.finish(&alice(), query).await;
        assert!(is_stranger(finished), "{query}");
    }
    assert_eq!(world.asked("/token").len(), 0);

    let url = world.begin(&alice()).await.unwrap();
    world.finish(&alice(), &url, "").await.unwrap();
    assert!(is_stranger(world.finish(&alice(), &url, "").await));
    assert_eq!(world.asked("/token").len(), 1);
}

#[tokio::test]
async fn an_issuer_is_compared_letter_by_letter_before_anything_is_redeemed() {
    let world = World::start(Grant::PerUser).await;
    let own = world.at("");
    for (advertised, said, good) in [
        (true, format!("&iss={own}"), true),
        (true, String::new(), false),
        (true, format!("&iss={own}/"), false),
        (true, "&iss=https://evil.example".to_owned(), false),
        (false, String::new(), true),
        (false, format!("&iss={own}"), true),
        (false, format!("&iss={}", own.to_uppercase()), false),
        (false, "&iss=https://evil.example".to_owned(), false),
    ] {
        world.server["authorization_response_iss_parameter_supported"].set(json!(advertised));
        let before = world.asked("/token").len();
        let url = world.begin(&alice()).await.unwrap();
        let finished = world.finish(&alice(), &url, &said).await;
        assert_eq!(finished.is_ok(), good, "{advertised} {said}: {finished:?}");
        let redeemed = world.asked("/token").len() - before;
        assert_eq!(redeemed, usize::from(good), "{advertised} {said}");
    }
}

#[tokio::test]
async fn what_cannot_be_true_of_a_server_stops_before_we_are_its_client() {
    for (member, value) in [
        ("issuer", json!("https://evil.example")),
        ("token_endpoint", json!("http://169.254.169.254/token")),
        ("token_endpoint", json!("javascript:alert(1)")),
        ("authorization_endpoint", json!("http://10.0.0.1/authorize")),
        ("code_challenge_methods_supported", json!(["plain"])),
        ("code_challenge_methods_supported", json!(null)),
    ] {
        let world = World::start(Grant::PerUser).await;
        world.server[member].set(value.clone());
        let begun = world.begin(&alice()).await;
        let is_untrusted = matches!(begun, Err(OutboundError::Untrusted { .. }));
        assert!(is_untrusted, "{member} {value}: {begun:?}");
        assert_eq!(world.asked("/register").len(), 0);
    }
    for (member, value) in [
        ("resource", json!("https://evil.example/mcp")),
        ("authorization_servers", json!([])),
    ] {
        let world = World::start(Grant::PerUser).await;
        world.resource[member].set(value.clone());
        let begun = world.begin(&alice()).await;
        let is_untrusted = matches!(begun, Err(OutboundError::Untrusted { .. }));
        assert!(is_untrusted, "{member} {value}: {begun:?}");
    }
}

#[tokio::test]
async fn many_calls_refresh_once_ahead_of_the_end_and_what_is_rotated_is_kept() {
    let world = World::start(Grant::PerUser).await;
    world.connect(&alice()).await;
    // The token holds for an hour.
    world.clock.pass(Duration::from_secs(3600 - 30));
    assert!(world.at_hand("alice").is_none());
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let world = world.clone();
        calls.spawn(async move { world.obtain("alice").await.unwrap() });
    }
    for header in calls.join_all().await {
        assert_eq!(header, format!("Bearer {ISSUED}2"));
    }
    let asked = world.asked("/token");
    assert_eq!(asked.len(), 2);
    assert_eq!(parameter(&asked[1], "refresh_token"), "refresh-secret-1");

    world.clock.pass(Duration::from_secs(3600));
    world.obtain("alice").await.unwrap();
    let asked = world.asked("/token");
    assert_eq!(parameter(&asked[2], "refresh_token"), "refresh-secret-2");
    // A gate that starts anew knows the same.
    let again = world.restarted();
    assert_eq!(
        again.obtain("alice").await.unwrap(),
        format!("Bearer {ISSUED}3")
    );
}

#[tokio::test]
async fn an_authorization_server_that_is_away_costs_nothing_while_the_token_holds() {
    let world = World::start(Grant::PerUser).await;
    world.connect(&alice()).await;
    world.answer("/token", 503, &json!({}));
    world.clock.pass(Duration::from_secs(3600 - 30));
    assert_eq!(
        world.obtain("alice").await.unwrap(),
        format!("Bearer {ISSUED}1")
    );
    world.clock.pass(Duration::from_secs(60));
    let gone = world.obtain("alice").await;
    assert!(
        matches!(gone, Err(OutboundError::Unavailable { .. })),
        "{gone:?}"
    );
    world.answer("/token", 200, &issued(7));
    world.clock.pass(Duration::from_secs(10));
    assert_eq!(
        world.obtain("alice").await.unwrap(),
        format!("Bearer {ISSUED}7")
    );
}

#[tokio::test]
async fn a_grant_that_was_withdrawn_has_to_be_connected_anew() {
    let world = World::start(Grant::PerUser).await;
    world.connect(&alice()).await;
    world.answer("/token", 400, &json!({ "error": "invalid_grant" }));
    world.clock.pass(Duration::from_secs(3600));
    assert!(world.is_not_connected("alice").await);
    let connections = world.outbound.connections(&alice().id).unwrap();
    assert!(connections[0].is_stale);
    assert_eq!(world.outbound.lister(&world.id), None);

    world.answer("/token", 200, &issued(9));
    world.connect(&alice()).await;
    assert_eq!(
        world.obtain("alice").await.unwrap(),
        format!("Bearer {ISSUED}9")
    );
}

#[tokio::test]
async fn more_access_is_asked_for_with_what_there_was_and_not_again_and_again() {
    let world = World::start(Grant::PerUser).await;
    world.resource["scopes_supported"].set(json!(["read"]));
    world.connect(&alice()).await;
    let more = "Bearer error=\"insufficient_scope\", scope=\"write\"";
    let refused = world.refused("alice", 403, more).await;
    let is_more = matches!(refused, Err(OutboundError::NotConnected { more: true, .. }));
    assert!(is_more, "{refused:?}");
    // What it is good for it still is.
    assert!(world.at_hand("alice").is_some());
    assert!(world.outbound.connections(&alice().id).unwrap()[0].is_stale);

    let url = world.begin(&alice()).await.unwrap();
    let scope = parameter(&url, "scope");
    let mut asked: Vec<&str> = scope.split(' ').collect();
    asked.sort_unstable();
    assert_eq!(asked, ["read", "write"]);
    world.finish(&alice(), &url, "").await.unwrap();
    let refused = world.refused("alice", 403, more).await;
    assert!(
        matches!(refused, Err(OutboundError::Useless(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_token_that_is_refused_is_refreshed_once() {
    let world = World::start(Grant::PerUser).await;
    world.connect(&alice()).await;
    world.clock.pass(Duration::from_secs(60));
    let better = world
        .refused("alice", 401, "Bearer error=\"invalid_token\"")
        .await;
    assert_eq!(better.unwrap(), format!("Bearer {ISSUED}2"));
    let worse = world
        .refused("alice", 401, "Bearer error=\"invalid_token\"")
        .await;
    let is_over = matches!(worse, Err(OutboundError::NotConnected { more: false, .. }));
    assert!(is_over, "{worse:?}");
    assert_eq!(world.asked("/token").len(), 2);
}

#[tokio::test]
async fn what_was_disconnected_is_nowhere_any_more() {
    let world = World::start(Grant::PerUser).await;
    for principal in [alice(), bob()] {
        world.connect(&principal).await;
    }
    let changes = world.outbound.changes();
    assert!(
        world
            .outbound
            .disconnect(&world.id, &alice().id)
            .await
            .unwrap()
    );
    assert!(changes.has_changed().unwrap());
    assert!(world.at_hand("alice").is_none());
    assert!(world.is_not_connected("alice").await);
    assert!(
        !world
            .outbound
            .disconnect(&world.id, &alice().id)
            .await
            .unwrap()
    );
    assert_eq!(world.outbound.lister(&world.id).as_deref(), Some("bob"));
    world.outbound.forget(&bob().id).await.unwrap();
    assert!(world.restarted().is_not_connected("bob").await);
}

#[tokio::test]
async fn what_another_process_deleted_is_not_remembered_past_the_revocation_that_goes_with_it() {
    let world = World::start(Grant::PerUser).await;
    world.connect(&alice()).await;
    let elsewhere = world.store.delete_upstream_tokens("alice", None).await;
    assert_eq!(elsewhere.unwrap(), 1);
    let revoked = Revoked::User(&alice().id);
    let kept = world.revocations().revoke(revoked, None, "test", "deleted");
    kept.await.unwrap();
    assert!(world.at_hand("alice").is_none());
    assert!(world.is_not_connected("alice").await);
}

#[tokio::test]
async fn a_token_is_never_sent_to_another_address_of_the_same_name() {
    let world = World::start(Grant::PerUser).await;
    world.connect(&alice()).await;
    let mut moved = world.settings();
    moved.upstreams[0].url = Url::parse("https://evil.example/mcp").unwrap();
    world.outbound.reload(moved);
    assert!(world.at_hand("alice").is_none());
    assert!(world.is_not_connected("alice").await);
    assert!(world.outbound.connections(&alice().id).unwrap()[0].is_stale);
    world.outbound.reload(world.settings());
    assert!(world.obtain("alice").await.is_ok());
}

#[tokio::test]
async fn nothing_secret_is_readable_in_the_database_or_printed() {
    let world = World::start(Grant::PerUser).await;
    world.connect(&alice()).await;
    world.store.flush().await.unwrap();
    let printed = format!("{:?} {:?}", world.outbound, world.settings());
    let mut bytes = printed.into_bytes();
    for file in std::fs::read_dir(world.folder.path()).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    for secret in [ISSUED, "refresh-secret", "registered-secret"] {
        let found = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "{secret}");
    }
}

#[tokio::test]
async fn a_registration_belongs_to_its_issuer() {
    let world = World::start(Grant::PerUser).await;
    world.connect(&alice()).await;
    world.connect(&bob()).await;
    assert_eq!(world.asked("/register").len(), 1);
    // The upstream moves to another authorization server.
    let other = World::start(Grant::PerUser).await;
    world.resource["authorization_servers"].set(json!([other.at("")]));
    let url = world.begin(&alice()).await.unwrap();
    assert!(url.as_str().starts_with(&other.at("/authorize")), "{url}");
    assert_eq!(other.asked("/register").len(), 1);
}

#[tokio::test]
async fn the_gates_own_access_is_obtained_for_whoever_calls_and_a_refusal_of_it_is_final() {
    let world = World::start(Grant::ClientCredentials).await;
    for principal in [Some("alice"), None, Some("bob")] {
        let obtained = world.outbound.obtain(&world.id, principal).await.unwrap();
        assert_eq!(obtained.unwrap(), format!("Bearer {ISSUED}1"));
    }
    let asked = world.asked("/token");
    assert_eq!(asked.len(), 1);
    assert_eq!(parameter(&asked[0], "grant_type"), "client_credentials");
    assert_eq!(parameter(&asked[0], "resource"), world.at("/mcp"));
    let refused = world.refused("alice", 401, "Bearer").await;
    assert!(
        matches!(refused, Err(OutboundError::Useless(_))),
        "{refused:?}"
    );
    assert!(world.outbound.connections(&alice().id).unwrap().is_empty());
    let begun = world.begin(&alice()).await;
    assert!(matches!(begun, Err(OutboundError::Unknown(_))), "{begun:?}");
}

#[tokio::test]
async fn a_token_that_is_no_bearer_token_or_fits_no_header_is_not_taken() {
    for bad in [
        json!({ "access_token": "a", "token_type": "DPoP" }),
        json!({ "access_token": "a" }),
        json!({ "access_token": "a\r\nX-Other: b", "token_type": "Bearer" }),
        json!({ "access_token": "", "token_type": "Bearer" }),
        json!({ "token_type": "Bearer" }),
        json!([]),
    ] {
        let world = World::start(Grant::PerUser).await;
        world.answer("/token", 200, &bad);
        let url = world.begin(&alice()).await.unwrap();
        let finished = world.finish(&alice(), &url, "").await;
        let is_untrusted = matches!(finished, Err(OutboundError::Untrusted { .. }));
        assert!(is_untrusted, "{bad}: {finished:?}");
    }
}
