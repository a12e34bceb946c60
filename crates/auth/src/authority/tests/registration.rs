//! Who a client is: by its secret, by registering itself, and for as long as it is of use.

use base64::prelude::BASE64_STANDARD;

use super::*;

#[tokio::test]
async fn a_client_authenticates_in_one_way_and_with_its_own_secret() {
    let world = World::new();
    let encoded =
        |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let basic = |id: &str, secret: &str| {
        let text = format!("{}:{}", encoded(id), encoded(secret));
        format!("Basic {}", BASE64_STANDARD.encode(text))
    };
    let own = [("grant_type", "client_credentials"), ("scope", "mcp:tools")];
    let by_header = async |header: &str, more: &[(&str, &str)]| {
        let params: Vec<_> = own.iter().chain(more).copied().collect();
        let body = form(&params);
        let request = ClientRequest {
            authorization: Some(header),
            ..request(&body)
        };
        world.authority().token(&request).await
    };
    let good = basic("robot: 1", SECRET);
    let issued = by_header(&good, &[]).await.unwrap();
    let tokens: Value = serde_json::from_str(&issued.to_json()).unwrap();
    assert!(tokens.get("refresh_token").is_none());
    let robot = world.who(&tokens).await.unwrap();
    assert_eq!(
        (robot.id.as_str(), &robot.roles),
        ("robot", &roles(&["worker"]))
    );
    assert_eq!(robot.scopes.to_string(), "mcp:tools");
    let posted = [
        own[0],
        ("client_id", "robot: 1"),
        ("client_secret", SECRET),
        ("scope", "mcp:admin mcp:prompts"),
    ];
    let tokens = world.token(&posted).await.unwrap();
    assert_eq!(text(&tokens, "scope"), "mcp:prompts");

    for (header, more, status) in [
        (basic("robot: 1", "wrong"), &[][..], 401),
        (basic("robot: 1", ""), &[], 401),
        (basic("nobody", SECRET), &[], 401),
        (basic("app", SECRET), &[], 401),
        ("Bearer x".to_owned(), &[], 401),
        ("Basic !".to_owned(), &[], 401),
        (good.clone(), &[("client_secret", SECRET)], 400),
        (good.clone(), &[("client_id", "app")], 400),
        (basic("app", ""), &[], 400), // known, and stands for nobody by itself
    ] {
        let error = by_header(&header, more).await.unwrap_err();
        assert_eq!(error.status(), status, "{header} {error}");
    }
    for guess in 0..30 {
        let waits = by_header(&basic("robot: 1", "wrong"), &[]).await;
        let is_over = matches!(waits, Err(OAuthError::TooMany(_)));
        assert_eq!(is_over, guess >= 18, "{guess}");
    }
    // A guess counts against where it came from.
    let elsewhere = form(&posted);
    let elsewhere = ClientRequest {
        address: Some(std::net::Ipv4Addr::new(192, 0, 2, 1).into()),
        ..request(&elsewhere)
    };
    assert!(world.authority().token(&elsewhere).await.is_ok());
}

#[tokio::test]
async fn a_client_registers_itself_within_bounds() {
    let world = World::new();
    let register = async |document: &Value, from: u8| {
        let address = std::net::Ipv4Addr::new(192, 0, 2, from).into();
        let body = document.to_string();
        let registered = world
            .authority()
            .register(body.as_bytes(), Some(address))
            .await?;
        Ok::<Value, OAuthError>(serde_json::from_str(&registered.to_json()).unwrap())
    };
    let said = json!({
        "redirect_uris": ["http://127.0.0.1:1/cb"],
        "client_name": "Inspector",
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
    });
    let public = register(&said, 1).await.unwrap();
    assert!(public.get("client_secret").is_none());
    let id = text(&public, "client_id");
    let code = world
        .code(&asking(&[
            ("client_id", id),
            ("redirect_uri", "http://127.0.0.1:9/cb"),
        ]))
        .await;
    let redirect = ("redirect_uri", "http://127.0.0.1:9/cb");
    let tokens = world
        .token(&redeeming(&code, &[("client_id", id), redirect]))
        .await;
    assert!(tokens.unwrap().get("refresh_token").is_some());

    // One that does not say how it authenticates, or that it refreshes, gets a secret and no refresh token.
    let said = json!({ "redirect_uris": [CALLBACK] });
    let confidential = register(&said, 1).await.unwrap();
    let id = text(&confidential, "client_id");
    let secret = text(&confidential, "client_secret");
    let code = world.code(&asking(&[("client_id", id)])).await;
    let without = world.token(&redeeming(&code, &[("client_id", id)])).await;
    assert_eq!(refused(without), "invalid_client");
    let with = [("client_id", id), ("client_secret", secret)];
    let tokens = world.token(&redeeming(&code, &with)).await.unwrap();
    assert!(tokens.get("refresh_token").is_none());

    let bad = json!({ "redirect_uris": ["http://app.example/cb"] });
    let error = register(&bad, 1).await.unwrap_err();
    assert_eq!(
        (error.code(), error.status()),
        ("invalid_redirect_uri", 400)
    );
    let mut registered = 3;
    while register(&said, 1).await.is_ok() {
        registered += 1;
    }
    assert_eq!(registered, 30);
    assert!(register(&said, 2).await.is_ok());
    world.auth.authority().reload(Settings {
        registration: false,
        ..Settings::default()
    });
    assert_eq!(register(&said, 3).await.unwrap_err().status(), 403);
    assert!(
        world
            .authority()
            .metadata()
            .get("registration_endpoint")
            .is_none()
    );
}

#[tokio::test]
async fn a_client_that_nobody_uses_is_forgotten() {
    let world = World::new();
    let said = json!({ "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none" });
    let register = async || {
        let body = said.to_string();
        let registered = world
            .authority()
            .register(body.as_bytes(), None)
            .await
            .unwrap();
        let document: Value = serde_json::from_str(&registered.to_json()).unwrap();
        text(&document, "client_id").to_owned()
    };
    let is_known = async |id: &str| world.ask(&asking(&[("client_id", id)])).await.is_ok();
    let (used, unused) = (register().await, register().await);
    world.pass(1);
    world.code(&asking(&[("client_id", &used)])).await;
    world.pass(25 * 3600);
    register().await;
    assert!(is_known(&used).await && !is_known(&unused).await);
}
