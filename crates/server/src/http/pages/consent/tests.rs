//! What the consent page says of an app and where it leads.

use http_body_util::Either;

use super::*;

const NASTY: &str = "<script>alert(1)</script>\"'><b>Claude</b>";

fn view<'a>(redirect_uri: &'a str, client_host: Option<&'a str>) -> ConsentView<'a> {
    ConsentView {
        client_name: NASTY,
        client_id: "https://app.example/\"><i>",
        client_host,
        redirect_uri,
        scopes: Scopes::EVERY,
        account: "alice",
        csrf: "token",
        action: "/oauth/authorize",
        fields: &[("request", "\"><u>")],
    }
}

fn text(response: Response<Body>) -> String {
    let Either::Left(mut body) = response.into_body() else {
        panic!("a page is not a stream");
    };
    let data = futures_util::FutureExt::now_or_never(http_body_util::BodyExt::frame(&mut body));
    let data = data.flatten().unwrap().unwrap().into_data().unwrap();
    String::from_utf8(data.to_vec()).unwrap()
}

#[test]
fn what_an_app_says_of_itself_is_text_and_nothing_else() {
    let page = text(consent(&view(
        "https://app.example/cb",
        Some("app.example"),
    )));
    for tag in ["<script", "<b>", "<i>", "<u>"] {
        assert!(!page.contains(tag), "{tag} in {page}");
    }
    assert!(page.contains("Claude"), "{page}");
    assert!(page.contains("nobody has checked it"), "{page}");
}

#[test]
fn what_was_checked_is_told_as_it_is() {
    let known = text(consent(&view(
        "https://app.example/cb",
        Some("app.example"),
    )));
    assert!(known.contains("<strong class=\"host\">app.example</strong>"));
    let unknown = text(consent(&view("http://127.0.0.1:49152/cb", None)));
    assert!(unknown.contains("<strong>nobody</strong>"), "{unknown}");
    assert!(unknown.contains("a program on this computer"), "{unknown}");
    let app = text(consent(&view("cursor://anysphere/cb", None)));
    assert!(app.contains("cursor:"), "{app}");
}

#[test]
fn the_form_leads_to_us_and_to_where_the_answer_goes() {
    let policy = |uri: &str| {
        let response = consent(&view(uri, None));
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        policy
            .split("; ")
            .find_map(|directive| directive.strip_prefix("form-action "))
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        policy("https://app.example:8443/cb?x=1"),
        "'self' https://app.example:8443"
    );
    assert_eq!(
        policy("http://127.0.0.1:49152/cb"),
        "'self' http://127.0.0.1:49152"
    );
    assert_eq!(policy("cursor://anysphere/cb"), "'self' cursor:");
    for none in [
        "javascript:alert(1)",
        "data:text/html,x",
        "https://",
        "",
        "; script-src *",
    ] {
        assert_eq!(policy(none), "'self'", "{none}");
    }
}
