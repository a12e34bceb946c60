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
const JWK: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

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
2: auth.issuers.portcullis: is the name of the gate's own authorization server; rename it
4: auth.issuers.a/b: is no name for an issuer; use up to 48 of a-z, A-Z, 0-9, `-` and `_`
7: auth.issuers.corp.url: `http://login.example.com` could be answered by anybody on the way; use https; http is possible on this machine's own address only
8: auth.issuers.corp.algorithms.1: `HS256` is not taken; whoever can check such a token can also make one; use RS256, PS256, ES256, ES384 or EdDSA
8: auth.issuers.corp.algorithms.2: `none` is not taken; use RS256, PS256, ES256, ES384 or EdDSA
9: auth.issuers.corp.types.0: `dpop+jwt` is not the type of an access token; use "at+jwt", or "JWT" if the issuer writes no better
10: auth.issuers.corp.audiences.0: is empty
10: auth.issuers.corp.audiences.1: holds a placeholder; put the real value there
11: auth.issuers.corp.skew: `2m` is too long; write at most "60s"
12: auth.issuers.corp.lifetime_max: `60d` is too long; write at most "31d"
13: auth.issuers.corp.refresh: is too short; write at least "30s"
14: auth.issuers.corp.principal_prefix: ` ` cannot stand in this name; use letters, digits and `-_.@:+/|`
15: auth.issuers.corp.roles_claim: gives no roles: no word of it is mapped; add roles = { their-word = ["our-role"] }, or leave it out
16: auth.issuers.corp.scopes.use.0: there is no scope `mcp:tool`; did you mean "mcp:tools"?
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
2: auth.issuers.a: `jwks` and `keys` exclude each other; keep one
6: auth.issuers.b: says nowhere how its tokens are checked; give it jwks = "https://…", keys = [{ file = "…" }] or introspection, or leave out discovery = false
12: auth.issuers.c.stale_max: goes only with keys that are fetched; leave it out
15: auth.issuers.d.jwks: `http://d.example.com/jwks` could be answered by anybody on the way; use https; http is possible on this machine's own address only
18: auth.issuers.e.keys.0: it is not a public key in PEM (`BEGIN PUBLIC KEY`) or JWK form
18: auth.issuers.e.keys.1: it is a private key; only its public half belongs here
18: auth.issuers.e.keys.2: it is not a public key in PEM (`BEGIN PUBLIC KEY`) or JWK form
18: auth.issuers.e.keys.3: none.pem cannot be read: No such file or directory (os error 2)
21: auth.issuers.f.keys: names no key; write for example keys = [{ file = "corp.pem" }]
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
introspection = { url = "https://a.example.com/i", client_id = "gate", client_secret = "k7Hs-92hf" }
[auth.issuers.c]
url = "https://c.example.com"
roles = { staff = ["owner"] }
[auth.issuers.d]
url = "https://d.example.com"
introspection = { url = "https://d.example.com/i", client_id = "gate", client_secret = "changeme" }
"#,
        r#"
6: auth.issuers.b.url: is that of `a`, too; keep one of them
7: auth.issuers.b.introspection: a token that says nothing would have to be shown to `a`, too; let one issuer alone have introspection
10: auth.issuers.c.roles: maps words that are read nowhere; add roles_claim = "…", or leave it out
13: auth.issuers.d.introspection.client_secret: holds a placeholder, not a secret; put the real value where { env = "…" } or { file = "…" } points
"#,
    );
}
