//! Cookies by their names, and forms by where they come from.

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_cookie_counts_by_its_whole_name_and_only_once() {
    let (plain, tls) = (
        Site::new("http://127.0.0.1:1"),
        Site::new("https://gate.example"),
    );
    let value = |site: &Site, cookies: &[&str]| {
        let lines: Vec<_> = cookies.iter().map(|line| ("cookie", *line)).collect();
        cookie(site, &headers(&lines), SESSION).map(str::to_owned)
    };
    assert_eq!(
        value(&plain, &["a=b; portcullis-1=x"]).as_deref(),
        Some("x")
    );
    assert_eq!(
        value(&plain, &["a=b", "portcullis-1=x=y"]).as_deref(),
        Some("x=y")
    );
    assert_eq!(value(&tls, &["__Host-portcullis=x"]).as_deref(), Some("x"));
    // Over TLS the plain name could have been set by another host of the domain.
    assert_eq!(value(&tls, &["portcullis=x"]), None);
    assert_eq!(value(&plain, &["portcullis-1=x; portcullis-1=y"]), None);
    assert_eq!(value(&plain, &["portcullis-1=x", "portcullis-1=x"]), None);
    assert_eq!(
        value(
            &plain,
            &["xportcullis-1=x; portcullis-visit-1=y; portcullis-2=z"]
        ),
        None
    );
    let long = format!("a={}; portcullis-1=x", "b".repeat(COOKIES_MAX));
    assert_eq!(value(&plain, &[&long]), None);
}

#[test]
fn only_a_page_of_this_very_origin_sends_forms() {
    let site = Site::new("https://gate.example");
    let is_ours =
        |pairs: &[(&'static str, &str)]| is_same_origin(&site, "gate.example", &headers(pairs));
    assert!(is_ours(&[("origin", "https://gate.example")]));
    assert!(is_ours(&[
        ("origin", "https://gate.example"),
        ("sec-fetch-site", "same-origin")
    ]));
    assert!(is_ours(&[("sec-fetch-site", "same-origin")]));
    for foreign in [
        &[][..],
        &[("origin", "null")],
        &[("origin", "http://gate.example")],
        &[("origin", "https://gate.example:444")],
        &[("origin", "https://gate.example.evil.com")],
        &[
            ("origin", "https://evil.com"),
            ("sec-fetch-site", "same-origin"),
        ],
        &[
            ("origin", "https://gate.example"),
            ("sec-fetch-site", "same-site"),
        ],
        &[
            ("origin", "https://gate.example"),
            ("origin", "https://gate.example"),
        ],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
    ] {
        assert!(!is_ours(foreign), "{foreign:?}");
    }
}

#[test]
fn a_form_is_read_as_it_was_sent_or_not_at_all() {
    let form = parse(b"name=a+b&password=%C3%A4%26%3D%2B&empty=&bare").unwrap();
    assert_eq!(form.text("name"), "a b");
    assert_eq!(form.text("password"), "\u{e4}&=+");
    assert_eq!(form.text("empty"), "");
    assert_eq!(form.text("bare"), "");
    assert_eq!(form.text("none"), "");
    let shown = format!("{form:?}");
    assert!(
        shown.contains("password") && !shown.contains('\u{e4}'),
        "{shown}"
    );
    for bad in ["a=1&a=2", "a=%", "a=%4", "a=%zz", "a=%ff", "a=%+1"] {
        assert!(parse(bad.as_bytes()).is_none(), "{bad}");
    }
    let many = |count: usize| (0..count).map(|n| format!("f{n}=&")).collect::<String>();
    assert!(parse(many(FIELDS_MAX).as_bytes()).is_some());
    assert!(parse(many(FIELDS_MAX + 1).as_bytes()).is_none());
}
