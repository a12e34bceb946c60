//! `[auth.sign_in]`: what a short entry comes to, and what cannot work.

use super::*;

#[test]
fn issuer_and_client_are_enough() {
    let config = r#"
[roles.clerk]
allow = ["*"]
[auth.sign_in.corp]
issuer = "https://id.example.com/realm"
client_id = "the-gate"
client_secret = { env = "CORP" }
[auth.sign_in.lab]
issuer = "http://127.0.0.1:9000"
client_id = "the-gate"
title = "the lab"
scopes = ["openid", "groups"]
principal_claim = "email"
roles_claim = "realm.groups"
roles = { admins = ["owner", "clerk"] }
roles_of_everybody = ["clerk"]
"#;
    let place = place(
        &[("portcullis.toml", config)],
        &[("CORP", "kestrel-anvil-0451-marble")],
    );
    let [corp, lab] = <[_; 2]>::try_from(place.load().unwrap().auth.sign_in).unwrap();
    assert_eq!((&*corp.name, &*corp.title), ("corp", "corp"));
    assert_eq!(corp.issuer, "https://id.example.com/realm");
    let secret = corp.client_secret.as_deref().map(String::as_str);
    assert_eq!(secret, Some("kestrel-anvil-0451-marble"));
    assert_eq!(corp.scopes, ["openid", "profile", "email"]);
    assert_eq!(corp.principal.as_str(), "sub");
    assert!(corp.roles.is_none() && corp.everybody.is_empty());
    assert!(!format!("{corp:?}").contains("kestrel"));
    assert_eq!(lab.title, "the lab");
    assert_eq!(lab.principal.as_str(), "email");
    let (path, map) = lab.roles.unwrap();
    assert_eq!((path.as_str(), map["admins"].len()), ("realm.groups", 2));
    assert_eq!(lab.everybody.len(), 1);
    assert!(lab.client_secret.is_none());
}

#[test]
fn what_cannot_work_is_told() {
    let config = r#"
[auth.sign_in."a/b"]
issuer = "https://id.example.com"
client_id = "x1"
[auth.sign_in.corp]
issuer = "http://id.example.com"
client_id = "changeme"
scopes = ["profile"]
roles = { admins = ["owner"] }
[auth.sign_in.lab]
issuer = "https://id.example.com/?x"
client_id = "x1"
client_secret = "changeme"
scopes = ["openid profile"]
roles_claim = "groups"
roles_of_everybody = ["ovner"]
"#;
    let told = place(&[("portcullis.toml", config)], &[]).complaints();
    for part in [
        "a/b: is no name for a provider",
        "corp.issuer: `http://id.example.com` is no issuer's identifier",
        "corp.client_id: is no client id",
        "corp.scopes: `openid` is missing",
        "corp.roles: goes with `roles_claim`",
        "lab.issuer: `https://id.example.com/?x` is no issuer's identifier",
        "lab.client_secret: holds a placeholder",
        "lab.scopes: `openid profile` is no scope",
        "lab.roles_claim: goes with `roles`",
        "lab.roles_of_everybody.0: there is no role `ovner`; did you mean \"owner\"?",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
}
