//! Every route, and what each kind of caller gets there: a route that has no row here fails, and so does a row without
//! a route.
//!
//! The gate is one that other machines could reach: nobody comes in without a credential.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use auth::{KeyDraft, NewKey};
use policy::{PrincipalId, RoleName, Scopes};
use serde_json::Value;
use testkit::world::World;

const CONFIG: &str = r#"
builtins = ["time"]
auth.loopback = "off"
roles.owner = { members = ["root"] }
roles.clerk = { members = ["alice"], allow = ["*"] }
"#;

/// Who comes, in the order of the columns.
const CALLERS: [&str; 5] = ["nobody", "forged", "clerk", "narrow", "owner"];

/// Verb, path, and the status for each caller: one without a credential, one with a credential that looks right and is
/// not, somebody known, an owner whose key is not good for administration, and an owner with a key that is.
type Row = (&'static str, &'static str, [u16; 5]);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("GET",    "/livez",                                  [200, 200, 200, 200, 200]),
    ("GET",    "/readyz",                                 [200, 200, 200, 200, 200]),
    ("POST",   "/mcp",                                    [401, 401, 400, 400, 400]),
    ("GET",    "/mcp",                                    [401, 401, 405, 405, 405]),
    ("DELETE", "/mcp",                                    [401, 401, 405, 405, 405]),
    ("POST",   "/mcp/{server}",                           [401, 401, 404, 404, 404]),
    ("GET",    "/mcp/{server}",                           [401, 401, 404, 404, 404]),
    ("DELETE", "/mcp/{server}",                           [401, 401, 404, 404, 404]),
    ("GET",    "/sse",                                    [401, 401, 200, 200, 200]),
    ("GET",    "/sse/{server}",                           [401, 401, 404, 404, 404]),
    ("POST",   "/messages",                               [401, 401, 404, 404, 404]),
    ("POST",   "/messages/{server}",                      [401, 401, 404, 404, 404]),
    ("GET",    "/ws",                                     [401, 401, 400, 400, 400]),
    ("GET",    "/ws/{server}",                            [401, 401, 404, 404, 404]),
    ("GET",    "/health",                                 [401, 401, 200, 200, 200]),
    ("GET",    "/metrics",                                [401, 401, 200, 200, 200]),
    ("GET",    "/.well-known/oauth-authorization-server", [200, 200, 200, 200, 200]),
    ("GET",    "/.well-known/oauth-protected-resource*",  [200, 200, 200, 200, 200]),
    ("GET",    "/oauth/jwks",                             [200, 200, 200, 200, 200]),
    ("GET",    "/oauth/client.json",                      [200, 200, 200, 200, 200]),
    ("POST",   "/oauth/token",                            [400, 400, 400, 400, 400]),
    ("POST",   "/oauth/register",                         [400, 400, 400, 400, 400]),
    ("POST",   "/oauth/revoke",                           [400, 400, 400, 400, 400]),
    ("GET",    "/oauth/authorize",                        [303, 303, 303, 303, 303]),
    ("POST",   "/oauth/authorize",                        [400, 400, 400, 400, 400]),
    ("GET",    "/oauth/callback",                         [403, 403, 403, 403, 403]),
    ("GET",    "/console",                                [303, 303, 303, 303, 303]),
    ("GET",    "/console/",                               [303, 303, 303, 303, 303]),
    ("GET",    "/console/assets/{file}",                  [404, 404, 404, 404, 404]),
    ("GET",    "/console/setup",                          [200, 200, 200, 200, 200]),
    ("POST",   "/console/setup",                          [415, 415, 415, 415, 415]),
    ("GET",    "/console/login",                          [200, 200, 200, 200, 200]),
    ("POST",   "/console/login",                          [415, 415, 415, 415, 415]),
    ("POST",   "/console/logout",                         [303, 303, 303, 303, 303]),
    ("GET",    "/console/reset",                          [200, 200, 200, 200, 200]),
    ("POST",   "/console/reset",                          [415, 415, 415, 415, 415]),
    ("GET",    "/console/account",                        [303, 303, 303, 303, 303]),
    ("POST",   "/console/account",                        [303, 303, 303, 303, 303]),
    ("GET",    "/console/connect",                        [303, 303, 303, 303, 303]),
    ("POST",   "/console/connect",                        [303, 303, 303, 303, 303]),
    ("GET",    "/console/connect/{upstream}",             [303, 303, 303, 303, 303]),
    ("POST",   "/console/connect/{upstream}",             [303, 303, 303, 303, 303]),
    ("GET",    "/console/consents",                       [303, 303, 303, 303, 303]),
    ("POST",   "/console/consents",                       [303, 303, 303, 303, 303]),
    ("GET",    "/console/sign-in/{provider}",             [404, 404, 404, 404, 404]),
    ("GET",    "/console/sign-in/{provider}/callback",    [403, 403, 403, 403, 403]),
    ("GET",    "/v1/me",                                  [401, 401, 200, 200, 200]),
    ("GET",    "/v1/openapi.json",                        [401, 401, 200, 200, 200]),
    ("GET",    "/v1/alerts",                              [401, 401, 403, 403, 200]),
    ("GET",    "/v1/keys",                                [401, 401, 403, 403, 200]),
    ("POST",   "/v1/keys",                                [401, 401, 403, 403, 400]),
    ("DELETE", "/v1/keys/{id}",                           [401, 401, 403, 403, 404]),
    ("POST",   "/v1/keys/{id}/rotate",                    [401, 401, 403, 403, 404]),
    ("GET",    "/v1/sessions",                            [401, 401, 403, 403, 200]),
    ("DELETE", "/v1/sessions/{id}",                       [401, 401, 403, 403, 404]),
    ("GET",    "/v1/revocations",                         [401, 401, 403, 403, 200]),
    ("POST",   "/v1/revocations",                         [401, 401, 403, 403, 400]),
    ("GET",    "/v1/approvals",                           [401, 401, 200, 403, 200]),
    ("GET",    "/v1/approvals/{id}",                      [401, 401, 404, 403, 404]),
    ("POST",   "/v1/approvals/{id}",                      [401, 401, 400, 403, 400]),
    ("GET",    "/v1/consents",                            [401, 401, 200, 403, 200]),
    ("GET",    "/v1/consents/{id}",                       [401, 401, 404, 403, 404]),
    ("DELETE", "/v1/consents/{id}",                       [401, 401, 404, 403, 404]),
    ("GET",    "/v1/logs",                                [401, 401, 403, 403, 404]),
    ("GET",    "/v1/logs/level",                          [401, 401, 403, 403, 404]),
    ("PUT",    "/v1/logs/level",                          [401, 401, 403, 403, 400]),
    ("DELETE", "/v1/logs/level",                          [401, 401, 403, 403, 404]),
    ("GET",    "/v1/pins",                                [401, 401, 403, 403, 200]),
    ("GET",    "/v1/pins/withheld",                       [401, 401, 403, 403, 200]),
    ("POST",   "/v1/pins/approve",                        [401, 401, 403, 403, 400]),
    ("POST",   "/v1/pins/forget",                         [401, 401, 403, 403, 400]),
    ("GET",    "/v1/users",                               [401, 401, 403, 403, 200]),
    ("POST",   "/v1/users",                               [401, 401, 403, 403, 400]),
    ("GET",    "/v1/users/{name}",                        [401, 401, 403, 403, 404]),
    ("PATCH",  "/v1/users/{name}",                        [401, 401, 403, 403, 404]),
    ("DELETE", "/v1/users/{name}",                        [401, 401, 403, 403, 404]),
];

/// A key of the store, narrowed or not.
async fn key(world: &World, role: &str, scopes: Option<Scopes>) -> Result<NewKey> {
    let draft = KeyDraft {
        principal: PrincipalId::new("carol")?,
        roles: vec![RoleName::new(role)?],
        scopes,
        good_for: None,
        note: String::new(),
    };
    Ok(world.gate().auth().keyring().create(draft).await?)
}

/// What each caller presents.
async fn credentials(world: &World) -> Result<[Option<String>; 5]> {
    let forged = auth::key::mint()?.text.expose().to_owned();
    let clerk = key(world, "clerk", None).await?.text;
    let narrow = key(world, "owner", Some(Scopes::CALLS)).await?.text;
    let owner = key(world, "owner", None).await?.text;
    let [clerk, narrow, owner] = [clerk, narrow, owner].map(|text| Some(text.expose().to_owned()));
    Ok([None, Some(forged), clerk, narrow, owner])
}

/// An answer's head, and its body unless it is a stream.
struct Said {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Said {
    fn header(&self, name: &str) -> Option<&str> {
        let named = self.headers.iter().find(|(found, _)| found == name);
        named.map(|(_, value)| value.as_str())
    }
}

/// The path with a name that is nobody's in each open segment.
fn named(path: &str) -> String {
    let segment = |segment: &str| match segment {
        open if open.starts_with('{') => "none".to_owned(),
        fixed => fixed.trim_end_matches('*').to_owned(),
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

async fn ask(world: &World, verb: &str, path: &str, credential: Option<&str>) -> Result<Said> {
    let path = named(path);
    let mut head = format!("{verb} {path} HTTP/1.1\r\nAccept: */*\r\n");
    if let Some(credential) = credential {
        head.push_str(&["Authorization: Bearer ", credential, "\r\n"].concat());
    }
    let body: &[u8] = if matches!(verb, "POST" | "PATCH") {
        head.push_str("Content-Type: application/json\r\n");
        b"{}"
    } else {
        b""
    };
    let bytes = world.complete("nobody", &head, body)?;
    let mut answer = world.send_raw(&bytes).await?;
    Ok(Said {
        body: if answer.is_stream() {
            Vec::new()
        } else {
            answer.body().await?
        },
        status: answer.status,
        headers: answer.headers.clone(),
    })
}

#[test]
fn every_route_has_its_row_and_every_row_its_route() {
    let routes: BTreeSet<(&str, &str)> = server::routes()
        .iter()
        .flat_map(|route| route.methods.iter().map(|verb| (*verb, route.path)))
        .collect();
    let rows: BTreeSet<(&str, &str)> = ROWS.iter().map(|(verb, path, _)| (*verb, *path)).collect();
    let unchecked: Vec<_> = routes.difference(&rows).collect();
    assert!(unchecked.is_empty(), "routes without a row: {unchecked:?}");
    let gone: Vec<_> = rows.difference(&routes).collect();
    assert!(gone.is_empty(), "rows without a route: {gone:?}");
    assert_eq!(rows.len(), ROWS.len(), "a row stands twice");
}

/// What the table says of who may come in, in the words of this test: so that no row can be loosened by its route.
#[test]
fn what_needs_a_credential_refuses_those_who_have_none() {
    for route in server::routes() {
        for (verb, path, [nobody, forged, clerk, narrow, owner]) in ROWS {
            if *path != route.path {
                continue;
            }
            let strangers = [*nobody, *forged];
            match route.access {
                "public" | "browser" => {
                    assert!(!strangers.contains(&401), "{verb} {path}");
                    assert!(
                        [forged, clerk, narrow, owner]
                            .iter()
                            .all(|status| *status == nobody)
                    );
                }
                "principal" => assert_eq!(strangers, [401, 401], "{verb} {path}"),
                "owner" => {
                    let all = [*nobody, *forged, *clerk, *narrow];
                    assert_eq!(all, [401, 401, 403, 403], "{verb} {path}");
                }
                other => panic!("{other}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_caller_gets_what_the_table_says() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let credentials = credentials(&world).await?;
    let mut wrong = Vec::new();
    for (verb, path, expected) in ROWS {
        for ((caller, credential), expected) in CALLERS.iter().zip(&credentials).zip(expected) {
            let said = ask(&world, verb, path, credential.as_deref())
                .await
                .with_context(|| format!("{verb} {path} as {caller}"))?;
            if said.status != *expected {
                wrong.push(format!(
                    "{verb} {path} as {caller}: {}, not {expected}",
                    said.status
                ));
            }
            if let Err(error) = check(path, caller, &said) {
                wrong.push(format!("{verb} {path} as {caller}: {error}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "\n  {}", wrong.join("\n  "));
    world.stop().await?;
    Ok(())
}

/// The challenge that goes with the status, and the form of an error.
fn check(path: &str, caller: &str, said: &Said) -> Result<()> {
    let challenge = said.header("www-authenticate");
    let base = "resource_metadata=\"http://127.0.0.1:";
    match (said.status, caller) {
        (401, "nobody") => {
            let challenge = challenge.context("no challenge")?;
            ensure!(
                challenge.starts_with("Bearer ") && challenge.contains(base),
                "{challenge}"
            );
            ensure!(!challenge.contains("error="), "{challenge}");
        }
        (401, _) => {
            let challenge = challenge.context("no challenge")?;
            ensure!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        }
        (403, "narrow") if path.starts_with("/v1/") => {
            let challenge = challenge.context("no challenge")?;
            ensure!(
                challenge.contains("error=\"insufficient_scope\""),
                "{challenge}"
            );
            ensure!(challenge.contains("mcp:admin"), "{challenge}");
        }
        _ => ensure!(challenge.is_none(), "{challenge:?}"),
    }
    if path.starts_with("/v1/") && said.status >= 400 {
        let kind = said.header("content-type");
        ensure!(kind == Some("application/problem+json"), "{kind:?}");
        let problem: Value = serde_json::from_slice(&said.body)?;
        ensure!(problem["status"] == said.status, "{problem}");
        ensure!(
            problem["detail"].is_string() && problem["title"].is_string(),
            "{problem}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_that_a_path_has_not_is_told_only_to_those_who_may_come_in() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let [_, _, clerk, _, owner] = credentials(&world).await?;
    // One that no path has.
    let verb = "TRACE";
    for route in server::routes() {
        let stranger = ask(&world, verb, route.path, None).await?.status;
        let known = ask(&world, verb, route.path, clerk.as_deref())
            .await?
            .status;
        let said = ask(&world, verb, route.path, owner.as_deref()).await?;
        let expected = match route.access {
            "public" | "browser" => (405, 405),
            "principal" => (401, 405),
            _ => (401, 403),
        };
        ensure!(
            (stranger, known) == expected,
            "{}: {stranger}, {known}",
            route.path
        );
        ensure!(said.status == 405, "{}: {}", route.path, said.status);
        let allow = said.header("allow").context("no `Allow`")?;
        ensure!(allow == route.methods.join(", "), "{}: {allow}", route.path);
    }
    let paths = [
        "/",
        "/v1",
        "/v1/",
        "/v1/keys/",
        "/v1/keys/a/b",
        "/mcp/",
        "/consoles",
        "/MCP",
    ];
    for path in paths {
        let stranger = ask(&world, "GET", path, None).await?.status;
        let known = ask(&world, "GET", path, owner.as_deref()).await?.status;
        ensure!(
            (stranger, known) == (401, 404),
            "{path}: {stranger}, {known}"
        );
    }
    world.stop().await?;
    Ok(())
}
