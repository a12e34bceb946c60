//! Where mail goes, how it is protected, and what is refused.

use super::*;

fn mail(url: &str, danger_plaintext: bool) -> RawMail {
    RawMail {
        url: url.to_owned(),
        password: None,
        from: "gate@example.com".to_owned(),
        ca: None,
        danger_plaintext,
    }
}

fn checked(url: &str, danger_plaintext: bool) -> Option<Server> {
    server(&mail(url, danger_plaintext), &mut Complaints::default())
}

#[test]
fn mail_is_in_the_clear_only_on_this_machine_or_by_a_dangerous_word() {
    for (url, danger, security, port) in [
        ("smtps://mail.example.com", false, Security::Tls, 465),
        ("smtp://mail.example.com", false, Security::StartTls, 587),
        ("smtp://mail.example.com:25", true, Security::Plain, 25),
        ("smtp://127.0.0.1:1025", false, Security::Plain, 1025),
        ("smtp://[::1]:1025/", false, Security::Plain, 1025),
        ("smtp://localhost", false, Security::Plain, 587),
        ("smtps://localhost:1", false, Security::Tls, 1),
        (
            "smtp://127.0.0.1.example.com",
            false,
            Security::StartTls,
            587,
        ),
    ] {
        let server = checked(url, danger).unwrap();
        assert_eq!((server.security, server.port), (security, port), "{url}");
    }
}

#[test]
fn a_user_may_be_an_address_and_a_password_stands_elsewhere() {
    let server = checked("smtps://gate@example.com@mail.example.com", false).unwrap();
    assert_eq!(server.user.as_deref(), Some("gate@example.com"));
    assert_eq!(server.host, "mail.example.com");
    let server = checked("smtps://a%2Bb+c@[2001:db8::1]", false).unwrap();
    assert_eq!(server.user.as_deref(), Some("a+b+c"));
    assert_eq!(server.host, "2001:db8::1");
    assert_eq!(
        checked("smtps://mail.example.com", false).unwrap().user,
        None
    );
    for bad in [
        "smtps://gate:hunter2@mail.example.com",
        "https://mail.example.com",
        "mail.example.com:465",
        "smtps://mail.example.com/ehlo",
        "smtps://mail.example.com?tls=none",
        "smtps://",
        "",
    ] {
        assert!(checked(bad, false).is_none(), "{bad}");
    }
    assert!(checked("smtps://mail.example.com", true).is_none());
}
