//! What a client signs: proofs that it holds a key (DPoP), and assertions that it is itself.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::*;
use crate::tokens::{Algorithm, VerifyingKey};

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
