//! `credential` of an upstream: what it comes to, what cannot work, and that none of it is printed.

use std::time::Duration;

use auth::outbound::{Exchange, Grant, Proof};
use upstream::{Credential, Kind, Sharing};

use super::*;

fn config(url: &str, rest: &str) -> String {
    format!("[upstreams.docs]\nurl = \"{url}\"\n{rest}\n")
}

fn loaded(url: &str, rest: &str) -> Loaded {
    let variables = [("TOKEN", "s3same-0pen")];
    let place = place(&[("portcullis.toml", &config(url, rest))], &variables);
    place.load().unwrap()
}

fn docs(loaded: &Loaded) -> (&upstream::Spec, &upstream::Http) {
    let mut specs = loaded.upstreams.iter();
    let spec = specs.find(|spec| spec.id.as_str() == "docs").unwrap();
    match &spec.kind {
        Kind::Http(http) => (spec, http),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bearer_token_is_a_header_that_nobody_prints() {
    let loaded = loaded(
        "https://docs.example.com/mcp",
        "credential = { bearer = { env = \"TOKEN\" } }",
    );
    let (_, http) = docs(&loaded);
    assert_eq!(http.credential, Credential::Written);
    assert_eq!(http.headers.len(), 1);
    let (name, value) = &http.headers[0];
    assert_eq!(
        (name.as_str(), value.to_str().unwrap()),
        ("authorization", "Bearer s3same-0pen")
    );
    assert!(value.is_sensitive());
    assert!(!format!("{loaded:?}").contains("s3same-0pen"));
}

#[test]
fn what_each_principal_connects_is_shared_with_nobody() {
    let loaded = loaded(
        "https://docs.example.com/mcp",
        "credential = { oauth = \"per-user\", scopes = [\"read\"] }",
    );
    let (spec, http) = docs(&loaded);
    assert_eq!(
        (http.credential, spec.sharing),
        (Credential::Personal, Sharing::PerClient)
    );
    let [settings] = loaded.auth.outbound.upstreams.as_slice() else {
        panic!("one upstream's credential is obtained");
    };
    assert_eq!(settings.grant, Grant::PerUser);
    assert_eq!(settings.client, None);
    assert_eq!(settings.scopes.as_deref(), Some(&["read".to_owned()][..]));
}

#[test]
fn a_client_of_its_own_proves_itself() {
    let loaded = loaded(
        "https://docs.example.com/mcp",
        "credential = { oauth = \"client-credentials\", client_id = \"gate\", client_secret = { env = \"TOKEN\" }, issuer = \"https://login.example.com\" }",
    );
    assert_eq!(docs(&loaded).1.credential, Credential::Own);
    let client = loaded.auth.outbound.upstreams[0].client.clone().unwrap();
    assert_eq!(
        (client.id.as_str(), &client.proof),
        ("gate", &Proof::Secret("s3same-0pen".to_owned().into()))
    );
    assert!(!format!("{loaded:?}").contains("s3same-0pen"));
}

#[test]
fn tokens_are_exchanged_with_the_server_that_the_config_names() {
    let loaded = loaded(
        "https://docs.example.com/mcp",
        "credential = { oauth = \"token-exchange\", issuer = \"https://login.example.com\", audience = \"docs\", client_id = \"gate\", client_secret = { env = \"TOKEN\" } }",
    );
    let (spec, http) = docs(&loaded);
    assert_eq!(
        (http.credential, spec.sharing),
        (Credential::Personal, Sharing::PerClient)
    );
    let settings = &loaded.auth.outbound.upstreams[0];
    let exchange = Exchange {
        audience: Some("docs".to_owned()),
        lifetime_max: Duration::from_hours(1),
    };
    assert_eq!(settings.grant, Grant::TokenExchange(exchange));
    assert_eq!(
        settings.issuer.as_deref(),
        Some("https://login.example.com")
    );
}

#[test]
fn without_a_key_of_its_own_the_gate_vouches_for_nobody() {
    let text = config(
        "https://docs.example.com/mcp",
        "credential = { oauth = \"token-exchange\", issuer = \"https://login.example.com\", client_id = \"gate\", client_secret = \"abc\" }\n[auth.server]\nenabled = false",
    );
    let complaints = place(&[("portcullis.toml", &text)], &[]).complaints();
    assert!(
        complaints.contains("needs the key of the embedded authorization server"),
        "{complaints}"
    );
    assert!(
        complaints.contains("set `auth.server.enabled = true`"),
        "{complaints}"
    );
}

#[test]
fn what_cannot_work_is_told() {
    for (url, rest, told) in [
        (
            "https://a.example/mcp",
            "credential = {}",
            "needs one of `bearer` and `oauth`",
        ),
        (
            "https://a.example/mcp",
            "credential = { bearer = \"abc\", oauth = \"per-user\" }",
            "needs one of `bearer` and `oauth`",
        ),
        (
            "https://a.example/mcp",
            "headers = { authorization = \"Bearer abc\" }\ncredential = { oauth = \"per-user\" }",
            "exclude each other",
        ),
        (
            "http://a.example/mcp",
            "credential = { oauth = \"per-user\" }",
            "would cross the network in the clear",
        ),
        (
            "wss://a.example/mcp",
            "credential = { oauth = \"per-user\" }",
            "cannot be `per-user` on a WebSocket",
        ),
        (
            "https://a.example/mcp",
            "sessions = \"shared\"\ncredential = { oauth = \"per-user\" }",
            "cannot be `per-user` with `sessions = \"shared\"`",
        ),
        (
            "https://a.example/mcp",
            "credential = { oauth = \"client-credentials\" }",
            "lacks `client_id`",
        ),
        (
            "https://a.example/mcp",
            "credential = { oauth = \"client-credentials\", client_id = \"gate\" }",
            "proves nothing",
        ),
        (
            "https://a.example/mcp",
            "credential = { oauth = \"per-user\", client_id = \"gate\", client_key = \"no key\" }",
            "is no private key in PEM",
        ),
        (
            "https://a.example/mcp",
            "credential = { oauth = \"per-user\", scopes = [\"a b\"] }",
            "holds what is no scope",
        ),
        (
            "https://a.example/mcp",
            "credential = { oauth = \"per-user\", issuer = \"http://login.example\" }",
            "is no issuer",
        ),
        (
            "https://a.example/mcp",
            "credential = { oauth = \"token-exchange\", client_id = \"gate\", client_secret = \"abc\" }",
            "lacks `issuer`",
        ),
        (
            "https://a.example/mcp",
            "credential = { oauth = \"token-exchange\", issuer = \"https://login.example\", client_id = \"gate\" }",
            "proves nothing",
        ),
        (
            "wss://a.example/mcp",
            "credential = { oauth = \"token-exchange\", issuer = \"https://login.example\" }",
            "cannot be `token-exchange` on a WebSocket",
        ),
        (
            "https://a.example/mcp",
            "credential = { oauth = \"token-exchange\", issuer = \"https://login.example\", client_id = \"gate\", client_secret = \"abc\", lifetime_max = \"48h\" }",
            "is too long",
        ),
        (
            "https://a.example/mcp",
            "credential = { oauth = \"per-user\", audience = \"docs\" }",
            "goes only with `oauth = \"token-exchange\"`",
        ),
    ] {
        let place = place(&[("portcullis.toml", &config(url, rest))], &[]);
        let complaints = place.complaints();
        assert!(complaints.contains(told), "{rest}: {complaints}");
        assert!(
            complaints.contains("upstreams.docs.credential"),
            "{complaints}"
        );
    }
}

#[test]
fn only_a_url_has_a_credential() {
    let text = "[upstreams.docs]\nnative = \"time\"\ncredential = { oauth = \"per-user\" }\n";
    let complaints = place(&[("portcullis.toml", text)], &[]).complaints();
    assert!(complaints.contains("goes only with `url`"), "{complaints}");
}
