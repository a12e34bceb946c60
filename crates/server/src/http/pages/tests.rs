//! Where people may be sent on to, and what errors look like.

use super::*;

#[test]
fn after_signing_in_nobody_is_led_to_another_site() {
    for good in [
        "/console/account",
        "/console/connect/github?x=1",
        "/oauth/authorize?client_id=https%3A%2F%2Fapp.example&state=a%2Bb",
    ] {
        assert_eq!(next(good), good);
    }
    let long = format!("/{}", "a".repeat(NEXT_MAX));
    for bad in [
        "",
        "console",
        "https://evil.example/",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "/a\\b",
        "/\t/evil.example",
        "\t//evil.example",
        "/\n/evil.example",
        " /console",
        "/caf\u{e9}",
        "javascript:alert(1)",
        "\\\\evil.example",
        long.as_str(),
    ] {
        assert_eq!(next(bad), HOME, "{bad:?}");
    }
    // What passes stays here for a browser too.
    let base = url::Url::parse("https://gate.example/console/login").unwrap();
    for path in [
        "/.//evil.example",
        "/..//evil.example",
        "/%2f/evil.example",
        "/@evil.example",
    ] {
        let there = base.join(next(path)).unwrap();
        assert_eq!(there.host_str(), Some("gate.example"), "{path}");
    }
}

#[test]
fn what_is_wrong_is_told_in_a_sentence() {
    assert_eq!(sentence(&"it is too short"), "It is too short.");
    assert_eq!(sentence(&"Is it? Yes."), "Is it? Yes.");
    assert_eq!(sentence(&"\u{e4}hnlich"), "\u{c4}hnlich.");
}

#[test]
fn the_way_to_the_sign_in_leads_back() {
    let uri = Uri::from_static("/oauth/authorize?state=a%2Bb&x=y");
    let response = sign_in_first(&uri);
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let location = response.headers()["location"].to_str().unwrap();
    let uri: Uri = location.parse().unwrap();
    assert_eq!(uri.path(), "/console/login");
    assert_eq!(parameter(&uri, "next"), "/oauth/authorize?state=a%2Bb&x=y");
    assert_eq!(parameter(&"/x?a=1&a=2".parse().unwrap(), "a"), "");
}
