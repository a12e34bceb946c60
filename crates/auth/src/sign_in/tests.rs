//! What is not an answer to what was begun, or not an ID token for us. That a real provider's are, is told in `testkit`.

use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::*;
use crate::tokens::compact::Compact;
use crate::{MasterKey, Vault};

const NOW: u64 = 1_800_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn token(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(header), part(claims))
}

fn good() -> Value {
    json!({
        "iss": "https://id.example", "sub": "248289", "aud": "the-gate", "nonce": "n-0S6",
        "iat": NOW - 5, "exp": NOW + 300,
    })
}

fn verdict(header: &Value, claims: &Value) -> Result<(), ProviderError> {
    let text = token(header, claims);
    let token = Compact::read(&text).map_err(ProviderError::Untrusted)?;
    id_token::check(
        &token,
        &Expected {
            issuer: "https://id.example",
            client_id: "the-gate",
            nonce: "n-0S6",
            now: now(),
        },
    )
}

#[test]
fn an_id_token_is_for_us_for_this_sign_in_and_for_now() {
    let header = json!({ "alg": "RS256", "kid": "1" });
    verdict(&header, &good()).unwrap();
    verdict(&json!({ "alg": "ES256", "typ": "JWT" }), &good()).unwrap();
    let with = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        claims
    };
    for (name, value) in [
        ("aud", json!(["the-gate"])),
        ("azp", json!("the-gate")),
        ("iat", json!(NOW + 59)),
        ("exp", json!(NOW - 59)),
        ("nbf", json!(NOW + 59)),
    ] {
        verdict(&header, &with(name, value.clone()))
            .unwrap_or_else(|error| panic!("{name} {value}: {error}"));
    }
    let mut two = with("aud", json!(["other", "the-gate"]));
    verdict(&header, &two).expect_err("two audiences, and nobody says who asked");
    two["azp"] = json!("the-gate");
    verdict(&header, &two).unwrap();
    for (name, value) in [
        ("iss", json!("https://id.example/")),
        ("iss", json!("https://ID.example")),
        ("iss", Value::Null),
        ("aud", json!("the-gat")),
        ("aud", json!("the-gate2")),
        ("aud", json!(["other"])),
        ("aud", json!([])),
        ("aud", json!({ "the-gate": true })),
        ("aud", Value::Null),
        ("azp", json!("other")),
        ("azp", json!(["the-gate"])),
        ("nonce", json!("n-0S7")),
        ("nonce", json!("")),
        ("nonce", Value::Null),
        ("exp", json!(NOW - 60)),
        ("exp", json!("soon")),
        ("exp", Value::Null),
        ("iat", json!(NOW - 601)),
        ("iat", json!(NOW + 61)),
        ("iat", Value::Null),
        ("nbf", json!(NOW + 61)),
        ("nbf", json!("x")),
    ] {
        let claims = with(name, value);
        verdict(&header, &claims).expect_err(&claims.to_string());
    }
    for typ in ["at+jwt", "logout+jwt", "", "dpop+jwt"] {
        let header = json!({ "alg": "RS256", "typ": typ });
        verdict(&header, &good()).expect_err(typ);
    }
    for alg in ["none", "HS256", ""] {
        verdict(&json!({ "alg": alg }), &good()).expect_err(alg);
    }
}

fn provider() -> Provider {
    let role = |name: &str| RoleName::new(name).unwrap();
    Provider {
        name: "corp".to_owned(),
        title: "Corp".to_owned(),
        issuer: "https://id.example".to_owned(),
        client_id: "the-gate".to_owned(),
        client_secret: Some(Zeroizing::new("hunter2-hunter2".to_owned())),
        scopes: vec!["openid".to_owned()],
        principal: ClaimPath::new("sub"),
        roles: Some((
            ClaimPath::new("groups"),
            BTreeMap::from([("admins".to_owned(), BTreeSet::from([role("owner")]))]),
        )),
        everybody: BTreeSet::new(),
    }
}

fn claims(value: Value) -> id_token::Claims {
    let Value::Object(claims) = value else {
        panic!("no object");
    };
    claims
}

#[test]
fn who_comes_from_a_provider_has_its_name_in_front() {
    let id = |provider: &Provider, value| {
        id_token::principal(provider, &claims(value)).map(|id| id.to_string())
    };
    let corp = provider();
    assert_eq!(id(&corp, json!({ "sub": "a|b" })).unwrap(), "corp/a|b");
    for bad in [
        json!({}),
        json!({ "sub": "" }),
        json!({ "sub": 7 }),
        json!({ "sub": "a b" }),
        json!({ "sub": "x".repeat(200) }),
    ] {
        id(&corp, bad.clone()).expect_err(&bad.to_string());
    }
    let by_mail = Provider {
        principal: ClaimPath::new("email"),
        ..provider()
    };
    let mail =
        |verified: Value| json!({ "sub": "1", "email": "a@b.example", "email_verified": verified });
    assert_eq!(id(&by_mail, mail(json!(true))).unwrap(), "corp/a@b.example");
    for unproved in [json!(false), json!("true"), Value::Null] {
        id(&by_mail, mail(unproved)).expect_err("anybody could say that");
    }
}

#[test]
fn roles_are_those_that_the_map_has_for_its_words() {
    let roles = |value| {
        let roles = id_token::roles(&provider(), &claims(value));
        roles.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(roles(json!({ "groups": ["staff", "admins"] })), ["owner"]);
    assert_eq!(roles(json!({ "groups": "admins" })), ["owner"]);
    for none in [
        json!({}),
        json!({ "groups": ["owner"] }),
        json!({ "groups": "admins staff" }),
        json!({ "groups": { "admins": true } }),
        json!({ "roles": ["admins"] }),
    ] {
        assert!(roles(none.clone()).is_empty(), "{none}");
    }
}

#[test]
fn a_ticket_opens_for_its_provider_and_browser_alone() {
    let vault = Vault::new(&MasterKey::new([3; 32])).unwrap();
    let ticket = Ticket {
        state: random().unwrap(),
        nonce: random().unwrap(),
        verifier: Zeroizing::new(random().unwrap()),
        issuer: "https://id.example".to_owned(),
        next: "/oauth/authorize?state=x".to_owned(),
        until: now(),
    };
    let text = ticket.seal(&vault, &purpose("corp", "browser")).unwrap();
    let opened = Ticket::open(&vault, &purpose("corp", "browser"), &text).unwrap();
    assert_eq!(
        (
            &opened.state,
            &opened.nonce,
            &*opened.verifier,
            &opened.issuer,
            &opened.next,
            opened.until
        ),
        (
            &ticket.state,
            &ticket.nonce,
            &*ticket.verifier,
            &ticket.issuer,
            &ticket.next,
            now()
        )
    );
    assert!(!text.contains(&ticket.state));
    assert!(Ticket::open(&vault, &purpose("corp", "other"), &text).is_none());
    assert!(Ticket::open(&vault, &purpose("other", "browser"), &text).is_none());
    let altered = text.replace(['a', 'b', 'c', 'd'], "e");
    assert!(Ticket::open(&vault, &purpose("corp", "browser"), &altered).is_none());
    assert!(Ticket::open(&vault, &purpose("corp", "browser"), "").is_none());
    // The longest that travels fits into a cookie.
    let long = Ticket {
        next: "x".repeat(NEXT_MAX),
        issuer: "x".repeat(256),
        ..ticket
    };
    assert!(long.seal(&vault, &purpose("corp", "b")).unwrap().len() < 4000);
}

#[test]
fn an_answer_says_each_thing_once() {
    let answer =
        Answer::read("code=c%2Fd&state=s&iss=https%3A%2F%2Fid.example&session_state=x").unwrap();
    assert_eq!(answer.code.as_deref().map(String::as_str), Some("c/d"));
    assert_eq!(answer.issuer.as_deref(), Some("https://id.example"));
    for twice in ["state=s&state=s", "code=a&state=s&code=a", "iss=a&iss=b"] {
        assert!(Answer::read(twice).is_none(), "{twice}");
    }
    assert!(Answer::read(&"x".repeat(QUERY_MAX + 1)).is_none());
    let denied = Answer::read("error=access_denied%0A%1b[31m<b>&state=s").unwrap();
    assert_eq!(denied.error.as_deref(), Some("access_denied31mb"));
}

#[test]
fn a_provider_tells_no_secret_when_printed() {
    let printed = format!("{:?}", provider());
    assert!(!printed.contains("hunter2"), "{printed}");
}
