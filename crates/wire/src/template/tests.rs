//! Which URIs fit which templates.

use super::*;

#[test]
fn uris_fit_or_do_not() {
    for (template, uri, fits) in [
        (
            "test://template/{id}/data",
            "test://template/123/data",
            true,
        ),
        (
            "test://template/{id}/data",
            "test://template/1/2/data",
            false,
        ),
        ("file:///{+path}", "file:///a/b/c", true),
        ("a://x{?q,r}", "a://x?q=1&r=2", true),
        ("a://x{?q,r}", "a://x", true),
        ("a://{x}", "b://1", false),
        ("a://{x", "a://{x", true),
        ("", "", true),
    ] {
        assert_eq!(
            Template::new(template).matches(uri),
            fits,
            "{template} {uri}"
        );
    }
}

#[test]
fn a_hostile_template_takes_no_longer_than_its_size() {
    let template = Template::new(&"{a}".repeat(200));
    assert!(!template.matches(&format!("{}/", "x".repeat(2000))));
}
