//! Tokens that say nothing themselves are asked about, and the answer is held to the same as a signed one.

use serde_json::json;

use super::world::*;
use crate::tokens::*;

const PLACE: &str = "/introspect";

fn asking(server: &Server) -> Issuer {
    Issuer {
        introspection: Some(Introspection {
            url: server.url(PLACE),
            client: "gate way".to_owned(),
            secret: ClientSecret::new("p:ss/wörd".to_owned()),
        }),
        ..corp(KeySource::Nowhere)
    }
}

fn active() -> Value {
    but(claims(), json!({ "active": true, "token_type": "Bearer" }))
}

#[tokio::test]
async fn an_active_token_stands_for_its_principal_and_is_asked_about_once() {
    let server = Server::start().await;
    server.answer(PLACE, 200, &active());
    let world = World::new(vec![asking(&server)]);
    for _ in 0..3 {
        let principal = world.bearer("opaque+token").await.unwrap();
        assert_eq!(principal.id.as_str(), "corp/alice");
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        seen[0].body,
        "token=opaque%2Btoken&token_type_hint=access_token"
    );
    // `gate+way:p%3Ass%2Fw%C3%B6rd`
    assert_eq!(
        seen[0].authorization.as_deref(),
        Some("Basic Z2F0ZSt3YXk6cCUzQXNzJTJGdyVDMyVCNnJk")
    );

    // What is revoked there is refused here within half a minute.
    server.answer(PLACE, 200, &json!({ "active": false }));
    world.bearer("opaque+token").await.unwrap();
    world.clock.pass(introspection::BELIEVED_MAX);
    assert!(world.bearer("opaque+token").await.is_err());
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn a_bad_token_is_asked_about_once_too() {
    let server = Server::start().await;
    server.answer(PLACE, 200, &json!({ "active": false, "sub": "alice" }));
    let world = World::new(vec![asking(&server)]);
    for _ in 0..3 {
        assert_eq!(
            world.refusal("opaque").await,
            "the token is not valid: its issuer knows no such token"
        );
    }
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn an_answer_passes_the_same_checks_as_signed_claims() {
    let server = Server::start().await;
    let world = World::new(vec![asking(&server)]);
    let cases = [
        (
            json!({ "aud": "https://other.example.com" }),
            "it is for another audience",
        ),
        (json!({ "aud": null }), "it is for another audience"),
        (
            json!({ "iss": "https://evil.example.com" }),
            "it is of another issuer",
        ),
        (json!({ "exp": null }), "it never expires"),
        (json!({ "nbf": START + 31 }), "it is not valid yet"),
        (json!({ "sub": null }), "it names no principal"),
        (
            json!({ "cnf": { "jkt": Signer::p256("h").key().thumbprint().to_string() } }),
            "it is bound to a key that is not proved",
        ),
    ];
    for (number, (changes, reason)) in cases.into_iter().enumerate() {
        server.answer(PLACE, 200, &but(active(), changes));
        let expected = format!("the token is not valid: {reason}");
        assert_eq!(world.refusal(&format!("opaque{number}")).await, expected);
    }
    server.answer(
        PLACE,
        200,
        &but(active(), json!({ "iss": null, "exp": START + 10 })),
    );
    world.bearer("short").await.unwrap();
    world.clock.pass(Duration::from_secs(10));
    assert!(matches!(
        world.bearer("short").await,
        Err(AuthError::Expired)
    ));
}

#[tokio::test]
async fn without_an_answer_nothing_is_known_and_nothing_remembered() {
    let server = Server::start().await;
    let world = World::new(vec![asking(&server)]);
    for (status, body) in [
        (500, active()),
        (401, json!({ "error": "invalid_client" })),
        (200, json!({ "sub": "alice" })),
        (200, json!({ "active": "true" })),
        (200, json!([true])),
        (302, active()),
    ] {
        server.answer(PLACE, status, &body);
        let outcome = world.bearer("opaque").await;
        assert!(
            matches!(outcome, Err(AuthError::Unavailable(_))),
            "{status} {body}: {outcome:?}"
        );
    }
    server.answer(PLACE, 200, &active());
    world.bearer("opaque").await.unwrap();
}

#[tokio::test]
async fn a_signed_token_of_an_issuer_without_keys_is_asked_about() {
    let server = Server::start().await;
    server.answer(PLACE, 200, &active());
    let world = World::new(vec![asking(&server)]);
    let token = Signer::p256("k1").token(&claims());
    world.bearer(&token).await.unwrap();
    assert_eq!(server.count(), 1);
    // One of an issuer that is not trusted is shown to nobody.
    let foreign =
        Signer::p256("k1").token(&but(claims(), json!({ "iss": "https://evil.example.com" })));
    assert!(world.bearer(&foreign).await.is_err());
    assert_eq!(server.count(), 1);
}

#[test]
fn the_secret_cannot_be_printed() {
    assert_eq!(
        format!("{:?}", ClientSecret::new("hunter2".to_owned())),
        "ClientSecret(…)"
    );
}
