//! Which keys verify, and what they are called.

use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::*;

fn read(jwk: &Value) -> Result<VerifyingKey, KeyError> {
    VerifyingKey::from_jwk(jwk.as_object().unwrap(), Algorithm::Rs256)
}

// RFC 7638 section 3.1.
const RSA_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

fn rsa() -> Value {
    json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29" })
}

// RFC 7517 appendix A.1 and RFC 8037 appendix A.2.
fn p256() -> Value {
    json!({
        "kty": "EC", "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    })
}

fn ed25519() -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })
}

fn with(jwk: &Value, name: &str, value: Value) -> Value {
    let mut jwk = jwk.clone();
    jwk[name] = value;
    jwk
}

#[test]
fn thumbprints_are_those_of_the_rfcs() {
    let key = read(&rsa()).unwrap();
    assert_eq!(
        key.thumbprint().to_string(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    assert_eq!(key.id().map(|id| &**id), Some("2011-04-29"));
    // RFC 8037 appendix A.3.
    assert_eq!(
        read(&ed25519()).unwrap().thumbprint().to_string(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
    // What a key is called and for does not change what it is.
    let other = with(&with(&rsa(), "kid", json!("other")), "use", json!("sig"));
    assert_eq!(read(&other).unwrap().thumbprint(), key.thumbprint());
}

#[test]
fn a_key_is_for_one_algorithm() {
    for (jwk, algorithm) in [
        (rsa(), Algorithm::Rs256),
        (with(&rsa(), "alg", json!("PS256")), Algorithm::Ps256),
        (p256(), Algorithm::Es256),
        (ed25519(), Algorithm::EdDsa),
        (with(&ed25519(), "alg", json!("Ed25519")), Algorithm::EdDsa),
    ] {
        assert_eq!(read(&jwk).unwrap().algorithm(), algorithm);
    }
}

#[test]
fn what_verifies_nothing_is_refused() {
    let cases = [
        (with(&rsa(), "alg", json!("HS256")), KeyError::Purpose),
        (with(&rsa(), "alg", json!("none")), KeyError::Purpose),
        (with(&rsa(), "alg", json!("ES256")), KeyError::Purpose),
        (with(&p256(), "alg", json!("ES384")), KeyError::Purpose),
        (with(&rsa(), "use", json!("enc")), KeyError::Purpose),
        (
            with(&rsa(), "key_ops", json!(["encrypt"])),
            KeyError::Purpose,
        ),
        (with(&rsa(), "key_ops", json!("verify")), KeyError::Purpose),
        (with(&rsa(), "n", json!("AQAB")), KeyError::Length),
        (
            with(&rsa(), "n", json!(format!("AA{RSA_N}"))),
            KeyError::Member("n"),
        ),
        (with(&rsa(), "e", json!("")), KeyError::Member("e")),
        (with(&rsa(), "e", json!("AQAB=")), KeyError::Member("e")),
        (with(&rsa(), "kid", json!(7)), KeyError::Member("kid")),
        (with(&rsa(), "d", json!("AQAB")), KeyError::Private),
        (with(&p256(), "d", json!("AQAB")), KeyError::Private),
        (json!({ "kty": "oct", "k": "c2VjcmV0" }), KeyError::Private),
        (json!({ "kty": "oct" }), KeyError::Kind),
        (json!({ "kid": "a" }), KeyError::Member("kty")),
        (with(&p256(), "crv", json!("secp256k1")), KeyError::Kind),
        (with(&p256(), "crv", json!("P-384")), KeyError::Member("x")),
        (with(&ed25519(), "crv", json!("X25519")), KeyError::Kind),
        (with(&p256(), "y", p256()["x"].clone()), KeyError::Invalid),
    ];
    for (jwk, expected) in cases {
        assert_eq!(read(&jwk), Err(expected), "{jwk}");
    }
}

#[test]
fn a_key_in_pem_is_the_one_in_its_jwk() {
    let pem = |spki: &[u8]| {
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            BASE64_STANDARD.encode(spki)
        )
    };
    let point = |jwk: &Value| {
        let part = |name: &str| {
            BASE64_URL_SAFE_NO_PAD
                .decode(jwk[name].as_str().unwrap())
                .unwrap()
        };
        [vec![4], part("x"), part("y")].concat()
    };
    let p256_prefix = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
    let p256_spki = [&p256_prefix[..], &point(&p256())].concat();
    let from_pem = |text: &str| VerifyingKey::from_pem(text, None, Algorithm::Rs256);
    assert_eq!(from_pem(&pem(&p256_spki)), read(&p256()));

    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public: RsaPublicKeyComponents<Vec<u8>> = pair.public_key().into();
    let spki = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(
        pair.public_key(),
    )
    .unwrap();
    let jwk = json!({
        "kty": "RSA",
        "n": BASE64_URL_SAFE_NO_PAD.encode(public.n),
        "e": BASE64_URL_SAFE_NO_PAD.encode(public.e),
    });
    assert_eq!(from_pem(&pem(spki.as_ref())), read(&jwk));

    assert_eq!(from_pem(""), Err(KeyError::Malformed));
    assert_eq!(from_pem(&pem(b"\x30\x00")), Err(KeyError::Malformed));
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(from_pem(private), Err(KeyError::Private));
}

#[test]
fn a_set_passes_over_keys_for_other_purposes_but_not_over_having_none() {
    let set = |keys: Value| json!({ "keys": keys }).to_string();
    let mixed =
        set(json!([{ "kty": "oct", "k": "AA" }, with(&rsa(), "use", json!("enc")), p256(), 7]));
    let keys = from_jwks(mixed.as_bytes(), Algorithm::Rs256).unwrap();
    assert_eq!(keys, [read(&p256()).unwrap()]);

    for bad in [
        set(json!([])),
        set(json!([{ "kty": "oct", "k": "AA" }])),
        json!({ "keys": p256() }).to_string(),
        "[]".to_owned(),
        r#"{"keys":[],"keys":[]}"#.to_owned(),
    ] {
        assert!(
            from_jwks(bad.as_bytes(), Algorithm::Rs256).is_err(),
            "{bad}"
        );
    }
    let many = set(Value::Array(vec![p256(); KEYS_MAX + 1]));
    assert_eq!(
        from_jwks(many.as_bytes(), Algorithm::Rs256).unwrap().len(),
        KEYS_MAX
    );
}

#[test]
fn only_another_set_is_another_generation() {
    let set = KeySet::new();
    let (one, two) = (read(&p256()).unwrap(), read(&ed25519()).unwrap());
    set.publish(vec![one.clone()]);
    let before = set.load().generation;
    set.publish(vec![one.clone()]);
    assert_eq!(set.load().generation, before);
    set.publish(vec![one, two]);
    assert!(set.load().generation > before);
}
