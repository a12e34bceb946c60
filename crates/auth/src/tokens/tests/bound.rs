//! Tokens that are bound to a key or a certificate are worth nothing to whoever has only the token.

use policy::Clock as _;
use serde_json::json;

use super::world::*;
use crate::tokens::*;
use crate::{ClientCertificate, Presented};

fn bound_to(holder: &Signer) -> Value {
    let jkt = holder.key().thumbprint().to_string();
    but(claims(), json!({ "cnf": { "jkt": jkt } }))
}

#[tokio::test]
async fn a_bound_token_needs_its_proof_and_an_unbound_one_has_none() {
    let (signer, holder) = (Signer::p256("k1"), Signer::ed25519("h"));
    let world = World::new(vec![fixed(&[&signer])]);
    let (bound, unbound) = (signer.token(&bound_to(&holder)), signer.token(&claims()));

    let proof = holder.proof(&bound, json!({}));
    let principal = world.dpop(&bound, Some(&proof)).await.unwrap();
    assert_eq!(principal.id.as_str(), "corp/alice");

    assert_eq!(
        world.refusal(&bound).await,
        "the token is not valid: it is bound to a key that is not proved"
    );
    let refused = world.dpop(&bound, None).await.unwrap_err();
    assert!(matches!(refused, AuthError::Proof("there is no proof")));
    let proof = holder.proof(&unbound, json!({ "jti": "p2" }));
    let refused = world.dpop(&unbound, Some(&proof)).await.unwrap_err();
    assert!(matches!(
        refused,
        AuthError::Invalid("it is bound to no key")
    ));
}

#[tokio::test]
async fn where_tokens_must_be_bound_others_are_refused() {
    let signer = Signer::p256("k1");
    let mut issuer = fixed(&[&signer]);
    issuer.dpop.required = true;
    let world = World::new(vec![issuer]);
    assert_eq!(
        world.refusal(&signer.token(&claims())).await,
        "the token is not valid: it is bound to no key, as it must be"
    );
}

/// Proofs that prove nothing, and why.
#[tokio::test]
async fn a_proof_is_for_one_request_with_one_token_just_now() {
    let (signer, holder, thief) = (Signer::p256("k1"), Signer::p256("h"), Signer::p256("t"));
    let world = World::new(vec![fixed(&[&signer])]);
    let token = signer.token(&bound_to(&holder));
    let body = json!({
        "htm": "POST", "htu": RESOURCE, "iat": START, "jti": "x",
    });
    let with_header = |changes: Value| {
        let header = but(holder.proof_header(), changes);
        holder.sign(&header.to_string(), &body.to_string())
    };
    let mut private = holder.proof_header();
    private["jwk"]["d"] = json!("AAAA");
    let cases: Vec<(String, &str)> = vec![
        (
            thief.proof(&token, json!({})),
            "it was made with another key",
        ),
        (
            thief.sign(&holder.proof_header().to_string(), &body.to_string()),
            "its signature does not hold",
        ),
        (
            with_header(json!({ "typ": "at+jwt" })),
            "it is of another type",
        ),
        (with_header(json!({ "jwk": null })), "it brings no key"),
        (
            with_header(json!({ "jwk": thief.jwk() })),
            "its signature does not hold",
        ),
        (
            with_header(json!({ "alg": "HS256" })),
            "its algorithm is not taken",
        ),
        (
            with_header(json!({ "alg": "none" })),
            "its algorithm is not taken",
        ),
        (
            with_header(json!({ "alg": "RS256" })),
            "its signature does not hold",
        ),
        (
            with_header(json!({ "crit": ["x"] })),
            "it has a critical extension",
        ),
        (
            holder.sign(&private.to_string(), &body.to_string()),
            "its key is not one we take",
        ),
        (
            holder.proof(&token, json!({ "htm": "GET" })),
            "it is for another method",
        ),
        (
            holder.proof(&token, json!({ "htm": "post" })),
            "it is for another method",
        ),
        (
            holder.proof(&token, json!({ "htm": null })),
            "it is for another method",
        ),
        (
            holder.proof(&token, json!({ "htu": "https://gate.example.com/sse" })),
            "it is for another URL",
        ),
        (
            holder.proof(&token, json!({ "htu": "http://gate.example.com/mcp" })),
            "it is for another URL",
        ),
        (
            holder.proof(&token, json!({ "htu": "/mcp" })),
            "it is for another URL",
        ),
        (
            holder.proof(&token, json!({ "htu": null })),
            "it is for another URL",
        ),
        (
            holder.proof(&token, json!({ "iat": null })),
            "it says not when it was made",
        ),
        (
            holder.proof(&token, json!({ "iat": START - 61 })),
            "it was not made just now",
        ),
        (
            holder.proof(&token, json!({ "iat": START + 61 })),
            "it was not made just now",
        ),
        (
            holder.proof(&token, json!({ "jti": null })),
            "it has no proper id",
        ),
        (
            holder.proof(&token, json!({ "jti": "" })),
            "it has no proper id",
        ),
        (
            holder.proof(&token, json!({ "jti": "x".repeat(300) })),
            "it has no proper id",
        ),
        (
            holder.proof(&token, json!({ "ath": null })),
            "it is for another token",
        ),
        (
            holder.proof("another", json!({})),
            "it is for another token",
        ),
        (
            holder.proof(&token, json!({ "x": "y".repeat(9000) })),
            "it is too long",
        ),
        ("a.b".to_owned(), "it has not three parts"),
    ];
    for (proof, reason) in cases {
        match world.dpop(&token, Some(&proof)).await {
            Err(AuthError::Proof(found)) => assert_eq!(found, reason, "{proof}"),
            other => panic!("{reason}: {other:?}"),
        }
    }
    for (index, good) in [
        json!({ "htu": "HTTPS://GATE.example.com:443/mcp?x=1#y" }),
        json!({ "htu": "https://gate.example.com/a/../mcp" }),
        json!({ "iat": START - 60 }),
        json!({ "iat": START + 60 }),
    ]
    .into_iter()
    .enumerate()
    {
        let proof = holder.proof(
            &token,
            but(good.clone(), json!({ "jti": format!("g{index}") })),
        );
        assert!(world.dpop(&token, Some(&proof)).await.is_ok(), "{good}");
    }
}

#[tokio::test]
async fn a_proof_counts_once_also_after_a_restart() {
    let (signer, holder) = (Signer::p256("k1"), Signer::p256("h"));
    let issuer = fixed(&[&signer]);
    let world = World::new(vec![issuer.clone()]);
    let token = signer.token(&bound_to(&holder));
    let proof = holder.proof(&token, json!({}));
    world.dpop(&token, Some(&proof)).await.unwrap();
    let replayed = |outcome| matches!(outcome, Err(AuthError::Proof("it was used before")));
    assert!(replayed(world.dpop(&token, Some(&proof)).await));

    let world = world.restarted(vec![issuer.clone()]).await;
    assert!(replayed(world.dpop(&token, Some(&proof)).await));

    // The same id in a proof that says something else is no other proof.
    let again = holder.proof(&token, json!({ "iat": START + 1 }));
    assert!(replayed(world.dpop(&token, Some(&again)).await));
    let other = holder.proof(&token, json!({ "jti": "p2" }));
    world.dpop(&token, Some(&other)).await.unwrap();

    // When it is forgotten, its own age refuses it.
    world.clock.pass(Duration::from_secs(200));
    match world.dpop(&token, Some(&proof)).await {
        Err(AuthError::Proof(reason)) => assert_eq!(reason, "it was not made just now"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn of_many_replays_at_once_one_is_taken() {
    let (signer, holder) = (Signer::p256("k1"), Signer::p256("h"));
    let world = Arc::new(World::new(vec![fixed(&[&signer])]));
    let token = signer.token(&bound_to(&holder));
    let proof = holder.proof(&token, json!({}));
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (world, token, proof) = (Arc::clone(&world), token.clone(), proof.clone());
        requests.spawn(async move { world.dpop(&token, Some(&proof)).await.is_ok() });
    }
    let taken = requests.join_all().await;
    assert_eq!(taken.into_iter().filter(|taken| *taken).count(), 1);
}

#[tokio::test]
async fn a_nonce_is_asked_for_and_ends() {
    let (signer, holder) = (Signer::p256("k1"), Signer::p256("h"));
    let mut issuer = fixed(&[&signer]);
    issuer.dpop.nonce = true;
    let world = World::new(vec![issuer]);
    let token = signer.token(&bound_to(&holder));
    let asked = |outcome| match outcome {
        Err(AuthError::Nonce(nonce)) => nonce,
        other => panic!("a nonce is asked for, not {other:?}"),
    };
    let nonce = asked(
        world
            .dpop(&token, Some(&holder.proof(&token, json!({}))))
            .await,
    );
    // Asking used nothing up.
    let proof = holder.proof(&token, json!({ "nonce": nonce }));
    world.dpop(&token, Some(&proof)).await.unwrap();
    let made_up = holder.proof(&token, json!({ "nonce": "made up", "jti": "p2" }));
    asked(world.dpop(&token, Some(&made_up)).await);

    let now = |world: &World| {
        let since = world.clock.wall().duration_since(std::time::UNIX_EPOCH);
        since.unwrap().as_secs()
    };
    world.clock.pass(Duration::from_mins(5));
    let late = json!({ "nonce": nonce, "jti": "p3", "iat": now(&world) });
    world
        .dpop(&token, Some(&holder.proof(&token, late)))
        .await
        .unwrap();
    world.clock.pass(Duration::from_mins(4));
    let token = signer.token(&but(bound_to(&holder), json!({ "exp": START + 1200 })));
    world.clock.pass(Duration::from_mins(1));
    let too_late = json!({ "nonce": nonce, "jti": "p4", "iat": now(&world) });
    let fresh = asked(
        world
            .dpop(&token, Some(&holder.proof(&token, too_late)))
            .await,
    );
    assert_ne!(fresh, nonce);
}

#[tokio::test]
async fn a_token_bound_to_a_certificate_needs_that_certificate() {
    use base64::Engine as _;
    let signer = Signer::p256("k1");
    let world = World::new(vec![fixed(&[&signer])]);
    let certificate = |byte: u8| ClientCertificate {
        sha256: [byte; 32],
        names: Vec::new(),
        expires_at: world.clock.wall() + Duration::from_hours(1),
    };
    let hash = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode([7; 32]);
    let token = signer.token(&but(claims(), json!({ "cnf": { "x5t#S256": hash } })));
    let header = format!("Bearer {token}");
    let (own, other) = (certificate(7), certificate(8));
    let ended = ClientCertificate {
        expires_at: world.clock.wall(),
        ..certificate(7)
    };
    for (shown, expected) in [
        (Some(&own), true),
        (Some(&other), false),
        (Some(&ended), false),
        (None, false),
        (Some(&own), true),
    ] {
        let presented = Presented {
            authorization: Some(&header),
            certificate: shown,
            ..request()
        };
        let outcome = world.auth.authenticate(&presented).await;
        assert_eq!(outcome.is_ok(), expected, "{shown:?}");
    }
}
