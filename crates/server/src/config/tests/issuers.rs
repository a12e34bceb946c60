//! `[auth.issuers]`: what a short entry comes to, and what cannot work.

use std::time::Duration;

use auth::tokens::{Algorithm, KeySource, Place as Keys, Roles};

use super::*;

fn only(config: &str) -> auth::tokens::Issuer {
    let loaded = place(&[("portcullis.toml", config)], &[]).load().unwrap();
    let mut issuers = loaded.auth.issuers;
    assert_eq!(issuers.len(), 1);
    issuers.remove(0)
}

// RFC 8037 appendix A.2.
const JWK: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

#[test]
fn an_address_is_enough() {
    let issuer = only(
        r#"
[auth.issuers.corp]
url = "https://login.example.com/realm"
"#,
    );
    assert_eq!(&*issuer.name, "corp");
    assert_eq!(&*issuer.issuer, "https://login.example.com/realm");
    let KeySource::Remote {
        place: Keys::Discovery { issuer: named, .. },
        freshness,
    } = &issuer.keys
    else {
        panic!("keys are looked up");
    };
    assert_eq!(named, &issuer.issuer);
    assert_eq!(freshness.refresh, Duration::from_mins(5));
    assert_eq!(freshness.stale_max, Duration::from_hours(1));
    assert!(!issuer.algorithms.contains(&Algorithm::Ps256));
    assert!(issuer.types.contains("at+jwt") && issuer.types.len() == 1);
    assert_eq!(issuer.skew, Duration::from_secs(30));
    assert_eq!(issuer.claims.prefix, "corp/");
    assert!(issuer.claims.check_scopes && !issuer.dpop.required);
    assert!(matches!(issuer.claims.roles, Roles::Ignored));
}

#[test]
fn everything_can_be_said() {
    let issuer = only(&format!(
        r#"
[roles.editor]
allow = ["notes.*"]

[auth.issuers.corp]
url = "urn:corp"
keys = ['{JWK}']
audiences = ["api://gate"]
algorithms = ["EdDSA", "PS256"]
types = ["at+jwt", "JWT", ""]
skew = "5s"
lifetime_max = "1h"
principal_claim = "email"
principal_prefix = ""
roles_claim = "realm_access.roles"
roles = {{ gate-admins = ["owner"], staff = ["editor"] }}
permissions_claim = "https://corp.example.com/permissions"
scopes = {{ "tools.use" = ["mcp:tools", "mcp:prompts"] }}
check_scopes = false
introspection = {{ url = "http://127.0.0.1:9/introspect", client_id = "gate", client_secret = "k7Hs-92hf" }}
dpop = "required"
dpop_nonce = true
"#
    ));
    assert!(matches!(&issuer.keys, KeySource::Fixed(keys) if keys.len() == 1));
    assert!(issuer.types.contains("jwt") && issuer.types.contains(""));
    assert!(issuer.dpop.required && issuer.dpop.nonce);
    assert_eq!(issuer.introspection.unwrap().client, "gate");
    assert_eq!(issuer.claims.prefix, "");
    let Roles::Mapped(path, map) = issuer.claims.roles else {
        panic!("roles are mapped");
    };
    assert_eq!((path.as_str(), map.len()), ("realm_access.roles", 2));
}

#[test]
fn what_cannot_work_is_told_all_at_once() {
    check(
        r#"
[auth.issuers.portcullis]
url = "https://gate.example.com"
[auth.issuers."a/b"]
url = "https://a.example.com"
[auth.issuers.corp]
url = "http://login.example.com"
algorithms = ["RS256", "HS256", "none"]
types = ["dpop+jwt"]
audiences = ["", "changeme"]
skew = "2m"
lifetime_max = "60d"
refresh = "1s"
principal_prefix = "a b"
roles_claim = "roles"
scopes = { use = ["mcp:tool"] }
"#,
        r#"
TODO
"#,
    );
}

#[test]
fn where_keys_are_is_said_once_and_somewhere() {
    check(
        &format!(
            r#"
[auth.issuers.a]
url = "https://a.example.com"
jwks = "https://a.example.com/jwks"
keys = ['{JWK}']
[auth.issuers.b]
url = "https://b.example.com"
discovery = false
[auth.issuers.c]
url = "https://c.example.com"
keys = ['{JWK}']
stale_max = "1h"
[auth.issuers.d]
url = "https://d.example.com"
jwks = "http://d.example.com/jwks"
[auth.issuers.e]
url = "https://e.example.com"
keys = ["nonsense", '{{"kty":"oct","k":"AA"}}', '{{"kty":"oct","kty":"RSA"}}', {{ file = "none.pem" }}]
[auth.issuers.f]
url = "https://f.example.com"
keys = []
"#
        ),
        r#"
TODO
"#,
    );
}

#[test]
fn issuers_can_be_told_apart() {
    check(
        r#"
[auth.issuers.a]
url = "https://a.example.com"
introspection = { url = "https://a.example.com/i", client_id = "gate", client_secret = "k7Hs-92hf" }
[auth.issuers.b]
url = "https://a.example.com"
introspection = { url = "https://a.example.com/i", client_id = "gate", client_secret = "changeme" }
[auth.issuers.c]
url = "https://a.example.com"
introspection = { url = "https://a.example.com/i", client_id = "gate", client_secret = "k7Hs-92hf" }
roles = { staff = ["editor"] }
"#,
        r#"
TODO
"#,
    );
}
