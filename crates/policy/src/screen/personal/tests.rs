//! What is about people, and what has only the form of it.

use super::*;

/// The first find in a text, and of what kind it is.
fn first(text: &str) -> Option<(&str, Kind)> {
    let all = Kind::ALL
        .iter()
        .fold(Kinds::NONE, |kinds, kind| kinds.with(*kind));
    let mut first = None;
    search(text.as_bytes(), 0..text.len(), all, |span, kind| {
        first = text.get(span).map(|found| (found, kind));
        true
    });
    first
}

fn check(text: &str, kind: Kind) {
    for (before, after) in [
        ("", ""),
        ("see ", " there"),
        ("(", ")"),
        ("\n", "\n"),
        ("\u{e9} ", "\u{e9}"),
    ] {
        let whole = format!("{before}{text}{after}");
        assert_eq!(first(&whole), Some((text, kind)), "{whole}");
    }
}

fn check_none(text: &str) {
    assert_eq!(first(text), None, "{text}");
}

#[test]
fn addresses_of_people() {
    check("ann.lee+x@mail.example.co.uk", Kind::Email);
    assert_eq!(first("write to a@b.org."), Some(("a@b.org", Kind::Email)));
    for text in [
        "@everyone",
        "a@b",
        "user@localhost",
        "a@.com",
        "x@1.2",
        "git@",
    ] {
        check_none(text);
    }
}

#[test]
fn accounts_with_the_right_check_digits() {
    check("DE89370400440532013000", Kind::Iban);
    check("GB29 NWBK 6016 1331 9268 19", Kind::Iban);
    check("NL91ABNA0417164300", Kind::Iban);
    for text in [
        "DE88370400440532013000",
        "DE8937040044053201300",
        "XX89370400440532013000",
    ] {
        check_none(text);
    }
}

#[test]
fn cards_of_known_issuers_with_the_right_check_digit() {
    check("4111111111111111", Kind::Card);
    check("4111 1111 1111 1111", Kind::Card);
    check("5500-0000-0000-0004", Kind::Card);
    check("378282246310005", Kind::Card);
    check("6011000990139424", Kind::Card);
    for text in [
        "4111111111111112",
        "1111111111111117",
        "41111111111111110000",
        "x4111111111111111",
        "20260714 120000 1234",
    ] {
        check_none(text);
    }
    assert!(is_card_number("4111111111111111"));
    assert!(!is_card_number("4111111111111111.0"));
}

#[test]
fn telephone_and_social_security_numbers() {
    check("+49 30 901820", Kind::Phone);
    check("+1 (202) 555-0143", Kind::Phone);
    check("+442071838750", Kind::Phone);
    check("078-05-1120", Kind::Ssn);
    for text in [
        "1+2",
        "+1234",
        "+0301234567",
        "000-12-3456",
        "666-12-3456",
        "900-12-3456",
        "123-45-67890",
        "2026-07-14",
    ] {
        check_none(text);
    }
}

#[test]
fn addresses_of_machines() {
    check("192.168.1.20", Kind::Ip);
    check("2001:db8::1", Kind::Ip);
    check("fe80::1ff:fe23:4567:890a", Kind::Ip);
    for text in ["1.2.3", "12:30:45", "256.1.1.1", "1.2.3.4.5"] {
        check_none(text);
    }
}

#[test]
fn what_is_not_asked_for_is_not_looked_for() {
    let text = "192.168.1.20 4111111111111111";
    assert!(!search(
        text.as_bytes(),
        0..text.len(),
        Kinds::NONE.with(Kind::Email),
        |_, _| true
    ));
}
