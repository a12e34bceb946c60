//! `[auth.server]`: what stands there is what holds, and what cannot work is told.

use std::time::Duration;

use auth::authority::Settings;
use policy::Scopes;

use super::place;

fn loaded(text: &str) -> Settings {
    let place = place(&[("portcullis.toml", text)], &[]);
    place.load().unwrap().auth.authority
}

#[test]
fn there_is_one_unless_there_are_others() {
    assert!(loaded("").enabled);
    let corp = "[auth.issuers.corp]\nurl = \"https://corp.example\"\n";
    assert!(!loaded(corp).enabled);
    assert!(loaded(&format!("{corp}[auth.server]\nenabled = true\n")).enabled);
    assert!(!loaded("[auth.server]\nenabled = false\n").enabled);
}

#[test]
fn what_stands_there_holds() {
    let settings = loaded(
        r#"
        [roles.worker]
        [auth.server]
        token_lifetime = "5m"
        registration = false
        redirect_schemes = ["vscode"]
        [auth.server.clients.app]
        name = "The app"
        redirect_uris = ["https://app.example/cb", "vscode://app/cb"]
        scopes = ["mcp:tools", "mcp:admin"]
        [auth.server.clients.robot]
        secret = "0123456789abcdefghijklmnop"
        principal = "robot"
        roles = ["worker"]
        "#,
    );
    assert_eq!(settings.token_lifetime, Duration::from_mins(5));
    assert!(!settings.registration && !settings.danger_private_client_documents);
    let [app, robot] = settings.clients.try_into().unwrap();
    assert_eq!((app.name.as_str(), app.redirect_uris.len()), ("The app", 2));
    assert_eq!(app.scopes.to_string(), "mcp:tools mcp:admin");
    assert!(app.secret.is_none() && app.machine.is_none());
    assert_eq!(
        (robot.name.as_str(), robot.scopes),
        ("robot", Scopes::CALLS)
    );
    let (principal, roles) = robot.machine.unwrap();
    assert_eq!((principal.as_str(), roles.len()), ("robot", 1));
    assert!(!format!("{:?}", robot.secret).contains("0123"));
}

#[test]
fn what_cannot_work_is_told() {
    let place = place(
        &[(
            "portcullis.toml",
            r#"
            [auth.server]
            token_lifetime = "2h"
            redirect_schemes = ["javascript", "Cursor"]
            [auth.server.clients.a]
            [auth.server.clients.b]
            principal = "robot"
            roles = ["nobody"]
            [auth.server.clients.c]
            secret = "too-short-for-a-secret"
            redirect_uris = ["http://app.example/cb"]
            scopes = ["tools"]
            [auth.server.clients.e]
            principal = "robot"
            keys = ["secret words"]
            [auth.server.clients.dyn_d]
            redirect_uris = ["https://app.example/cb"]
            "#,
        )],
        &[],
    );
    let said = place.complaints();
    for (key, reason) in [
        ("auth.server.token_lifetime", "is too long; at most \"1h\""),
        (
            "auth.server.redirect_schemes.0",
            "`javascript` is no scheme of an app",
        ),
        (
            "auth.server.redirect_schemes.1",
            "`Cursor` is no scheme of an app",
        ),
        ("auth.server.clients.a", "can do nothing"),
        ("auth.server.clients.b", "acts by itself without a secret"),
        ("auth.server.clients.b.roles.0", "there is no role `nobody`"),
        (
            "auth.server.clients.c.secret",
            "has less than 24 characters",
        ),
        ("auth.server.clients.c.redirect_uris.0", "Use https"),
        (
            "auth.server.clients.c.scopes.0",
            "there is no scope `tools`",
        ),
        ("auth.server.clients.e.keys.0", "it is not a public key"),
        ("auth.server.clients.dyn_d", "is no id for a client"),
    ] {
        let is_said = said
            .lines()
            .any(|line| line.contains(&format!("{key}: {reason}")));
        assert!(is_said, "{key}: {reason}\nin\n{said}");
    }
    assert!(!said.contains("too-short-for-a-secret"));
}
