//! What holds, and everything that must not.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use policy::{Credential, Scopes};
use serde_json::json;

use super::world::*;
use crate::tokens::*;

#[tokio::test]
async fn every_algorithm_verifies_with_its_own_key_alone() {
    let signers = [
        Signer::rsa("r"),
        Signer::pss("p"),
        Signer::p256("e"),
        Signer::p384("f"),
        Signer::ed25519("d"),
    ];
    let world = World::new(vec![fixed(&signers.iter().collect::<Vec<_>>())]);
    for signer in &signers {
        let principal = world.bearer(&signer.token(&claims())).await.unwrap();
        assert_eq!(principal.id.as_str(), "corp/alice");
        assert_eq!(principal.client.as_deref(), Some("cli"));
        assert_eq!(principal.scopes, Scopes::parse("mcp:tools"));
        let Credential::Token(token) = &principal.credential else {
            panic!("a token is a token");
        };
        assert_eq!(&*token.issuer, "corp");
        assert_eq!(token.id.as_deref(), Some("t1"));
        assert_eq!(token.key.as_deref(), Some(signer.id));
        assert_eq!(token.grant, None);
        assert!(world.auth.is_current(&principal));

        // The same key, called by another's name, and another's signature under this name.
        for other in signers.iter().filter(|other| other.id != signer.id) {
            let header = but(signer.header(), json!({ "kid": other.id }));
            let token = signer.sign(&header.to_string(), &claims().to_string());
            assert!(
                world.bearer(&token).await.is_err(),
                "{} {}",
                signer.id,
                other.id
            );
            let token = other.sign(&signer.header().to_string(), &claims().to_string());
            assert!(
                world.bearer(&token).await.is_err(),
                "{} {}",
                signer.id,
                other.id
            );
        }
    }
}

#[tokio::test]
async fn an_algorithm_outside_the_list_is_refused_whatever_keys_there_are() {
    let signer = Signer::rsa("r");
    let mut issuer = fixed(&[&signer]);
    issuer.algorithms.remove(&Algorithm::Rs256);
    let world = World::new(vec![issuer]);
    assert_eq!(
        world.refusal(&signer.token(&claims())).await,
        "the token is not valid: its algorithm is not its issuer's"
    );
}

/// Without the last characters.
fn cut(text: &str, count: usize) -> &str {
    text.split_at(text.len() - count).0
}

/// Tokens whose header or form is wrong, and why each is refused.
#[tokio::test]
async fn forged_and_malformed_tokens_are_refused() {
    let signer = Signer::p256("k1");
    let rsa = Signer::rsa("r1");
    let stranger = Signer::p256("k1");
    let world = World::new(vec![fixed(&[&signer, &rsa])]);
    let good = signer.token(&claims());
    world.bearer(&good).await.unwrap();

    let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let with = |changes: Value| {
        let header = but(signer.header(), changes);
        signer.sign(&header.to_string(), &claims().to_string())
    };
    let of_key = |key: &[u8], header: Value| {
        let message = format!(
            "{}.{}",
            text(header.to_string().as_bytes()),
            text(claims().to_string().as_bytes())
        );
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
        let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", text(tag.as_ref()))
    };
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = head.split_once('.').unwrap();
    let public = rsa.jwk().to_string();
    let der_signature = {
        // The other form of the same kind of signature, as X.509 has it.
        let mut der = vec![0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01];
        der.resize(64, 0);
        text(&der)
    };

    let cases: Vec<(&str, String, &str)> = vec![
        (
            "another key of that name",
            stranger.token(&claims()),
            "its signature does not hold",
        ),
        (
            "the public key as a secret",
            of_key(
                public.as_bytes(),
                json!({ "alg": "HS256", "kid": "r1", "typ": "at+jwt" }),
            ),
            "its algorithm is not taken",
        ),
        (
            "the same under the key's own algorithm",
            of_key(
                public.as_bytes(),
                json!({ "alg": "RS256", "kid": "r1", "typ": "at+jwt" }),
            ),
            "its signature does not hold",
        ),
        (
            "none",
            format!("{}.{payload}.", text(br#"{"alg":"none","typ":"at+jwt"}"#)),
            "its algorithm is not taken",
        ),
        (
            "NONE",
            format!(
                "{}.{payload}.{signature}",
                text(br#"{"alg":"nOnE","typ":"at+jwt"}"#)
            ),
            "its algorithm is not taken",
        ),
        (
            "lower case",
            with(json!({ "alg": "es256" })),
            "its algorithm is not taken",
        ),
        (
            "no algorithm",
            with(json!({ "alg": null })),
            "it names no algorithm",
        ),
        (
            "a list of algorithms",
            with(json!({ "alg": ["ES256"] })),
            "it names no algorithm",
        ),
        (
            "an RSA key's name",
            with(json!({ "kid": "r1" })),
            "its issuer has no such key",
        ),
        (
            "another algorithm of that curve",
            with(json!({ "alg": "ES384" })),
            "its issuer has no such key",
        ),
        (
            "a kid that is no text",
            with(json!({ "kid": 1 })),
            "its header is malformed",
        ),
        (
            "a critical extension",
            with(json!({ "crit": ["exp"] })),
            "it has a critical extension",
        ),
        (
            "unencoded payload",
            with(json!({ "b64": false, "crit": ["b64"] })),
            "it has a critical extension",
        ),
        (
            "a proof",
            with(json!({ "typ": "dpop+jwt" })),
            "it is of another type",
        ),
        (
            "an ID token's type",
            with(json!({ "typ": "JWT" })),
            "it is of another type",
        ),
        (
            "no type",
            with(json!({ "typ": null })),
            "it is of another type",
        ),
        ("not signed", format!("{head}."), "it is not signed"),
        (
            "cut short",
            cut(&good, 2).to_owned(),
            "its signature does not hold",
        ),
        (
            "cut in the payload",
            format!("{header}.{}.{signature}", cut(payload, 4)),
            "it is not base64url",
        ),
        (
            "padded",
            format!("{header}.{payload}=.{signature}"),
            "it is not base64url",
        ),
        (
            "with the other alphabet",
            format!("{header}.{payload}+/.{signature}"),
            "it is not base64url",
        ),
        (
            "a signature in DER",
            format!("{head}.{der_signature}"),
            "its signature does not hold",
        ),
        (
            "a signature of zeros",
            format!("{head}.{}", text(&[0; 64])),
            "its signature does not hold",
        ),
        (
            "a header twice",
            signer.sign(
                r#"{"alg":"ES256","kid":"k1","typ":"at+jwt","alg":"none"}"#,
                &claims().to_string(),
            ),
            "it is not a JSON object with distinct members",
        ),
        (
            "a claim twice",
            signer.sign(
                &signer.header().to_string(),
                &format!(
                    r#"{{"sub":"root",{}"#,
                    claims().to_string().trim_start_matches('{')
                ),
            ),
            "it is not a JSON object with distinct members",
        ),
        (
            "a claim twice, deeper",
            signer.sign(
                &signer.header().to_string(),
                &format!(
                    r#"{{"x":{{"a":1,"a":2}},{}"#,
                    claims().to_string().trim_start_matches('{')
                ),
            ),
            "it is not a JSON object with distinct members",
        ),
        (
            "an array",
            signer.sign(&signer.header().to_string(), "[]"),
            "it is not a JSON object with distinct members",
        ),
        (
            "too deep",
            signer.token(&but(
                claims(),
                json!({ "x": [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]] }),
            )),
            "it is nested too deep",
        ),
        (
            "too long",
            signer.token(&but(claims(), json!({ "x": "y".repeat(16 * 1024) }))),
            "it is too long",
        ),
        (
            "another issuer",
            signer.token(&but(claims(), json!({ "iss": "https://evil.example.com" }))),
            "it is of an issuer that is not trusted",
        ),
        (
            "an issuer with a slash",
            signer.token(&but(claims(), json!({ "iss": format!("{ISSUER}/") }))),
            "it is of an issuer that is not trusted",
        ),
        (
            "no issuer",
            signer.token(&but(claims(), json!({ "iss": null }))),
            "it is of an issuer that is not trusted",
        ),
        (
            "many issuers",
            signer.token(&but(claims(), json!({ "iss": [ISSUER] }))),
            "it is of an issuer that is not trusted",
        ),
        (
            "the embedded issuer",
            signer.token(&but(claims(), json!({ "iss": SITE }))),
            "its issuer has no such key",
        ),
    ];
    for (what, token, reason) in cases {
        let expected = format!("the token is not valid: {reason}");
        assert_eq!(world.refusal(&token).await, expected, "{what}");
    }
    let encrypted = "a.b.c.d.e";
    assert!(matches!(
        world.bearer(encrypted).await,
        Err(AuthError::Unknown)
    ));
    assert!(matches!(
        world.bearer("opaque").await,
        Err(AuthError::Unknown)
    ));
}

#[tokio::test]
async fn a_key_that_a_header_brings_or_points_to_is_not_looked_at() {
    let (signer, stranger) = (Signer::p256("k1"), Signer::p256("k1"));
    let world = World::new(vec![fixed(&[&signer])]);
    let extra = json!({
        "jwk": stranger.jwk(), "jku": "https://evil.example.com/jwks", "x5u": "https://evil.example.com/x",
        "x5c": ["AAAA"], "x5t": "AAAA",
    });
    let header = but(signer.header(), extra);
    let forged = stranger.sign(&header.to_string(), &claims().to_string());
    assert_eq!(
        world.refusal(&forged).await,
        "the token is not valid: its signature does not hold"
    );
    // And does no harm beside a good signature.
    let good = signer.sign(&header.to_string(), &claims().to_string());
    world.bearer(&good).await.unwrap();
}

#[tokio::test]
async fn no_issuer_speaks_for_another() {
    let (corp, other) = (Signer::p256("k1"), Signer::p256("k2"));
    let second = Issuer {
        name: Arc::from("other"),
        issuer: Arc::from("https://other.example.com"),
        ..fixed(&[&other])
    };
    let world = World::new(vec![fixed(&[&corp]), second]);
    // Its own key's name is unknown to the issuer that it pretends to be.
    assert_eq!(
        world.refusal(&other.token(&claims())).await,
        "the token is not valid: its issuer has no such key"
    );
    let header = but(other.header(), json!({ "kid": "k1" }));
    let forged = other.sign(&header.to_string(), &claims().to_string());
    assert_eq!(
        world.refusal(&forged).await,
        "the token is not valid: its signature does not hold"
    );
}

#[tokio::test]
async fn a_token_for_a_virtual_server_is_good_there_alone_and_one_for_the_gate_everywhere() {
    let signer = Signer::ed25519("k1");
    let world = World::new(vec![fixed(&[&signer])]);
    let cases: &[(Value, &[&str])] = &[
        (json!(RESOURCE), &["-", "support", "other"]),
        (
            json!([RESOURCE, format!("{RESOURCE}/support")]),
            &["-", "support", "other"],
        ),
        (json!(format!("{RESOURCE}/support")), &["support"]),
        (json!([format!("{RESOURCE}/support"), "cli"]), &["support"]),
        (
            json!([format!("{RESOURCE}/support"), format!("{RESOURCE}/other")]),
            &["support", "other"],
        ),
        (json!(format!("{RESOURCE}/Support")), &[]),
        (json!(format!("{RESOURCE}/support/x")), &[]),
    ];
    for (audience, good) in cases {
        let token = signer.token(&but(claims(), json!({ "aud": audience })));
        let header = format!("Bearer {token}");
        // Twice: the second time it is known already.
        for place in ["-", "support", "other", "-", "support", "other"] {
            let presented = Presented {
                authorization: Some(&header),
                server: Some(place).filter(|place| *place != "-"),
                ..request()
            };
            let taken = world.auth.authenticate(&presented).await;
            assert_eq!(
                taken.is_ok(),
                good.contains(&place),
                "{audience} at {place}"
            );
        }
    }
}

/// Claims that make a well-signed token worthless, and why.
#[tokio::test]
async fn what_the_claims_must_say() {
    let signer = Signer::ed25519("k1");
    let mut issuer = fixed(&[&signer]);
    issuer.types.insert("jwt".to_owned());
    issuer.audiences.insert("api://gate".to_owned());
    let world = World::new(vec![issuer]);
    let cases: &[(Value, &str)] = &[
        (json!({ "aud": null }), "it is for another audience"),
        (json!({ "aud": [] }), "it is for another audience"),
        (
            json!({ "aud": "https://gate.example.com/mcp/x" }),
            "it is for another audience",
        ),
        (
            json!({ "aud": "https://gate.example.com.evil.com/mcp" }),
            "it is for another audience",
        ),
        (
            json!({ "aud": "api://gate/" }),
            "it is for another audience",
        ),
        (
            json!({ "aud": ["cli", "https://other.example.com"] }),
            "it is for another audience",
        ),
        (json!({ "aud": [RESOURCE, 7] }), "its audience is malformed"),
        (
            json!({ "aud": { "a": RESOURCE } }),
            "its audience is malformed",
        ),
        (json!({ "exp": null }), "it never expires"),
        (json!({ "exp": "1800000600" }), "a time in it is malformed"),
        (json!({ "exp": -1 }), "a time in it is malformed"),
        (json!({ "exp": 1e300 }), "a time in it is malformed"),
        (json!({ "exp": START + 3601 }), "it is good for too long"),
        (
            json!({ "exp": START + 3601, "iat": null }),
            "it is good for too long",
        ),
        (json!({ "nbf": START + 31 }), "it is not valid yet"),
        (json!({ "nbf": true }), "a time in it is malformed"),
        (json!({ "iat": START + 31 }), "it was issued in the future"),
        (
            json!({ "iat": START + 20, "exp": START + 10 }),
            "it is good for too long",
        ),
        (json!({ "nonce": "n" }), "it is not an access token"),
        (json!({ "at_hash": "h" }), "it is not an access token"),
        (json!({ "typ": "ID" }), "it is not an access token"),
        (json!({ "typ": "Refresh" }), "it is not an access token"),
        (json!({ "sub": null }), "it names no principal"),
        (json!({ "sub": "" }), "it names no principal"),
        (json!({ "sub": 7 }), "it names no principal"),
        (
            json!({ "sub": "al ice" }),
            "its principal is no name that we can use",
        ),
        (
            json!({ "sub": "a".repeat(200) }),
            "its principal is no name that we can use",
        ),
        (json!({ "jti": 7 }), "a name in it is malformed"),
        (json!({ "client_id": ["a"] }), "a name in it is malformed"),
        (json!({ "scope": ["mcp:tools"] }), "its scope is malformed"),
        (
            json!({ "cnf": {} }),
            "it is bound in a way that cannot be checked",
        ),
        (
            json!({ "cnf": "key" }),
            "it is bound in a way that cannot be checked",
        ),
        (
            json!({ "cnf": { "kid": "k" } }),
            "it is bound in a way that cannot be checked",
        ),
        (
            json!({ "cnf": { "jkt": "short" } }),
            "it is bound in a way that cannot be checked",
        ),
    ];
    for (changes, reason) in cases {
        let token = signer.token(&but(claims(), changes.clone()));
        let expected = format!("the token is not valid: {reason}");
        assert_eq!(world.refusal(&token).await, expected, "{changes}");
    }
    for good in [
        json!({ "aud": "api://gate" }),
        json!({ "aud": ["cli", RESOURCE] }),
        json!({ "aud": SITE }),
        json!({ "nbf": START + 30 }),
        json!({ "iat": START + 30 }),
        json!({ "iat": null }),
        json!({ "exp": START + 3600 }),
        json!({ "exp": (START as f64) + 0.5 }),
        json!({ "typ": "Bearer" }),
        json!({ "client_id": null, "azp": "web" }),
        json!({ "jti": null, "scope": null }),
    ] {
        let token = signer.token(&but(claims(), good.clone()));
        assert!(world.bearer(&token).await.is_ok(), "{good}");
    }
    // A client's own id as audience makes nothing ours, and an ID token's type helps nothing.
    let id_token = but(
        claims(),
        json!({ "aud": "cli", "scope": null, "client_id": null }),
    );
    let header = but(signer.header(), json!({ "typ": "JWT" }));
    let token = signer.sign(&header.to_string(), &id_token.to_string());
    assert_eq!(
        world.refusal(&token).await,
        "the token is not valid: it is for another audience"
    );
}

#[tokio::test]
async fn a_token_ends_to_the_second_also_when_it_was_just_verified() {
    let signer = Signer::p256("k1");
    let world = World::new(vec![fixed(&[&signer])]);
    let token = signer.token(&but(claims(), json!({ "exp": START + 60 })));
    let principal = world.bearer(&token).await.unwrap();
    world.clock.pass(Duration::from_millis(59_999));
    assert!(world.bearer(&token).await.is_ok());
    assert!(world.auth.is_current(&principal));
    world.clock.pass(Duration::from_millis(1));
    assert!(matches!(
        world.bearer(&token).await,
        Err(AuthError::Expired)
    ));
    assert!(!world.auth.is_current(&principal));
}

#[tokio::test]
async fn words_of_the_issuer_become_ours_only_where_the_config_says_so() {
    let signer = Signer::p256("k1");
    let role = |text: &str| RoleName::new(text).unwrap();
    let mut issuer = fixed(&[&signer]);
    issuer.claims.roles = Roles::Mapped(
        ClaimPath::new("realm_access.roles"),
        BTreeMap::from([("gate-admins".to_owned(), BTreeSet::from([role("owner")]))]),
    );
    issuer.claims.permissions = Some(ClaimPath::new("https://corp.example.com/permissions"));
    issuer.claims.scopes =
        BTreeMap::from([("use".to_owned(), Scopes::parse("mcp:tools mcp:prompts"))]);
    let world = World::new(vec![issuer.clone()]);
    let said = json!({
        "realm_access": { "roles": ["gate-admins", "owner", "reader", 7] }, "roles": ["owner"],
        "scope": "openid use", "scp": ["mcp:resources"],
        "https://corp.example.com/permissions": ["mcp:admin"],
    });
    let principal = world
        .bearer(&signer.token(&but(claims(), said)))
        .await
        .unwrap();
    assert_eq!(principal.roles, BTreeSet::from([role("owner")]));
    assert_eq!(principal.scopes, Scopes::EVERY);

    let unmapped = json!({ "realm_access": { "roles": ["owner", "reader"] }, "scope": "tools" });
    let principal = world
        .bearer(&signer.token(&but(claims(), unmapped.clone())))
        .await
        .unwrap();
    assert!(principal.roles.is_empty());
    assert_eq!(principal.scopes, Scopes::NONE);

    // Without scopes that narrow, administration must still be said.
    issuer.claims.check_scopes = false;
    world.auth.reload(settings(vec![issuer]));
    let principal = world
        .bearer(&signer.token(&but(claims(), unmapped)))
        .await
        .unwrap();
    assert_eq!(principal.scopes, Scopes::CALLS);
}

#[tokio::test]
async fn an_address_stands_for_somebody_only_if_it_was_verified() {
    let signer = Signer::p256("k1");
    let mut issuer = fixed(&[&signer]);
    issuer.claims.principal = ClaimPath::new("email");
    issuer.claims.prefix = String::new();
    let world = World::new(vec![issuer]);
    let with = |verified: Value| {
        let said = json!({ "email": "alice@example.com", "email_verified": verified });
        signer.token(&but(claims(), said))
    };
    assert!(world.bearer(&with(json!(null))).await.is_err());
    assert!(world.bearer(&with(json!("true"))).await.is_err());
    let principal = world.bearer(&with(json!(true))).await.unwrap();
    assert_eq!(principal.id.as_str(), "alice@example.com");
}

#[tokio::test]
async fn the_embedded_server_speaks_for_accounts_by_their_names() {
    let signer = Signer::p256("own");
    let world = World::new(Vec::new());
    world.auth.authority().keys().publish(vec![signer.key()]);
    let own = but(
        claims(),
        json!({ "iss": SITE, "sid": "g1", "roles": ["owner", "reader"] }),
    );
    let token = signer.token(&own);
    let principal = world.bearer(&token).await.unwrap();
    assert_eq!(principal.id.as_str(), "alice");
    assert!(principal.is_owner());
    let Credential::Token(facts) = &principal.credential else {
        panic!("a token is a token");
    };
    assert_eq!(
        (&*facts.issuer, facts.grant.as_deref()),
        ("portcullis", Some("g1"))
    );

    // A key that is published no more verifies nothing, whatever was remembered.
    world
        .auth
        .authority()
        .keys()
        .publish(vec![Signer::p256("next").key()]);
    assert_eq!(
        world.refusal(&token).await,
        "the token is not valid: its issuer has no such key"
    );
    assert!(!world.auth.is_current(&principal));
}

#[tokio::test]
async fn a_reload_takes_an_issuer_and_its_tokens_away() {
    let signer = Signer::p256("k1");
    let world = World::new(vec![fixed(&[&signer])]);
    let token = signer.token(&claims());
    let principal = world.bearer(&token).await.unwrap();
    world.auth.reload(settings(Vec::new()));
    assert!(world.bearer(&token).await.is_err());
    assert!(!world.auth.is_current(&principal));
}

#[tokio::test]
async fn of_a_tokens_claims_those_are_kept_that_the_config_names() {
    let signer = Signer::p256("k1");
    let mut issuer = fixed(&[&signer]);
    issuer.claims.kept = BTreeSet::from(["department".to_owned(), "level".to_owned()]);
    let world = World::new(vec![issuer]);
    let said = json!({ "department": "finance", "salary": 100 });
    let principal = world
        .bearer(&signer.token(&but(claims(), said)))
        .await
        .unwrap();
    let kept = Value::Object((*principal.claims).clone());
    assert_eq!(kept, json!({ "department": "finance" }));
}
