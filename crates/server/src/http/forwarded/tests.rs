//! What is read out of headers, and what is not believed.

use ::http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

/// The proxy that the connection comes from; there is another one at 10.0.0.2, and one beside each.
const FROM: &str = "10.0.0.1";

fn proxies(header: ForwardedHeader) -> Proxies {
    let trusted = ["10.0.0.0/24", "127.0.0.1/32", "fd00::/64"];
    Proxies {
        trusted: trusted.map(|network| network.parse().unwrap()).to_vec(),
        header,
    }
}

fn headers<V: AsRef<[u8]>>(name: &'static str, lines: &[V]) -> HeaderMap {
    let lines = lines.iter().map(|line| {
        let value = HeaderValue::from_bytes(line.as_ref()).unwrap();
        (HeaderName::from_static(name), value)
    });
    lines.collect()
}

fn client_of(header: ForwardedHeader, headers: &HeaderMap) -> String {
    client(FROM.parse().unwrap(), headers, &proxies(header)).to_string()
}

fn check_listed(lines: &[&str], expect: &str) {
    let headers = headers("x-forwarded-for", lines);
    let found = client_of(ForwardedHeader::XForwardedFor, &headers);
    assert_eq!(found, expect, "{lines:?}");
}

fn check_forwarded(lines: &[&str], expect: &str) {
    let headers = headers("forwarded", lines);
    let found = client_of(ForwardedHeader::Forwarded, &headers);
    assert_eq!(found, expect, "{lines:?}");
}

#[test]
fn the_first_that_is_no_proxy_is_the_client() {
    for (lines, expect) in [
        (&["203.0.113.7"][..], "203.0.113.7"),
        (&[" \t203.0.113.7\t "], "203.0.113.7"),
        (&["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        (&["203.0.113.7,10.0.0.2 ,10.0.0.3"], "203.0.113.7"),
        (&["203.0.113.7", "10.0.0.2"], "203.0.113.7"),
        (&["192.0.2.1", "203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        (&["203.0.113.7, fd00::5"], "203.0.113.7"),
        // A proxy on the machine of another proxy.
        (&["203.0.113.7, 127.0.0.1, 10.0.0.2"], "203.0.113.7"),
    ] {
        check_listed(lines, expect);
    }
}

#[test]
fn what_stands_left_of_the_client_is_its_own_invention() {
    for lines in [
        &["1.2.3.4, 203.0.113.7"][..],
        &["10.0.0.9, 203.0.113.7"],
        &["127.0.0.1, 203.0.113.7"],
        &["\"1.2.3.4, 203.0.113.7"],
        &[",,,, 203.0.113.7"],
        &["1.2.3.4", "10.0.0.9", "203.0.113.7"],
        &["<script>", "203.0.113.7, 10.0.0.2"],
    ] {
        check_listed(lines, "203.0.113.7");
    }
    check_listed(&[&"x".repeat(60_000), "203.0.113.7"], "203.0.113.7");
    check_listed(
        &[&format!("{}, 203.0.113.7", "1.2.3.4,".repeat(5000))],
        "203.0.113.7",
    );
}

#[test]
fn an_address_has_several_spellings() {
    for (line, expect) in [
        ("203.0.113.7:4711", "203.0.113.7"),
        ("203.0.113.7:_secret", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
        // A proxy's, though mapped: what stands before it counts.
        ("203.0.113.7, ::ffff:10.0.0.2", "203.0.113.7"),
    ] {
        check_listed(&[line], expect);
    }
}

#[test]
fn what_cannot_be_read_leaves_the_last_that_was_vouched_for() {
    for entry in [
        "",
        " ",
        "unknown",
        "_hidden",
        "example.com",
        "203.0.113",
        "203.0.113.07",
        "203.0.113.7.1",
        "0xcb007107",
        "3405803783",
        "203.0.113.7:",
        "203.0.113.7:123456",
        "203.0.113.7:+80",
        "203.0.113.7:_",
        "203.0.113.7 192.0.2.1",
        "203.0.113.7/32",
        "[203.0.113.7]",
        "[2001:db8::7",
        "2001:db8::7]",
        "[2001:db8::7]80",
        "fe80::1%eth0",
        "\"203.0.113.7\"",
        "for=203.0.113.7",
        "0.0.0.0",
        "::",
        "2٠3.0.113.7",
    ] {
        check_listed(&[entry], FROM);
        check_listed(&["1.2.3.4", entry], FROM);
        check_listed(&[&format!("1.2.3.4, {entry}, 10.0.0.2")], "10.0.0.2");
    }
    check_listed(&[], FROM);
    check_listed(&["10.0.0.3, 10.0.0.2"], "10.0.0.3");
    check_listed(&[&format!("1.2.3.4, {}", "1".repeat(2000))], FROM);
    let not_text = headers("x-forwarded-for", &[b"1.2.3.4, \xff"]);
    assert_eq!(client_of(ForwardedHeader::XForwardedFor, &not_text), FROM);
}

#[test]
fn nobody_comes_from_a_loopback_address() {
    for line in [
        "127.0.0.1",
        "127.0.0.2",
        "::1",
        "[::1]:80",
        "::ffff:127.0.0.1",
        "127.0.0.1, 127.0.0.1",
        "1.2.3.4, 127.0.0.2",
    ] {
        check_listed(&[line], FROM);
        check_listed(&[&format!("{line}, 10.0.0.2")], "10.0.0.2");
    }
}

#[test]
fn more_proxies_than_anybody_has_are_not_walked_past() {
    let of = |count: usize| format!("203.0.113.7{}", ", 10.0.0.2".repeat(count));
    check_listed(&[&of(ENTRIES_MAX - 1)], "203.0.113.7");
    check_listed(&[&of(ENTRIES_MAX)], "10.0.0.2");
}

#[test]
fn forwarded_is_read_as_its_rfc_has_it() {
    for (lines, expect) in [
        (&["for=203.0.113.7"][..], "203.0.113.7"),
        (&["FOR=203.0.113.7"], "203.0.113.7"),
        (&["for=\"203.0.113.7:4711\""], "203.0.113.7"),
        (&["for=\"203.0.113.7:_p\""], "203.0.113.7"),
        (&["for=\"[2001:db8::7]\""], "2001:db8::7"),
        (&["for=\"[2001:db8::7]:4711\""], "2001:db8::7"),
        (&["for=\"\\2\\03.0.113.7\""], "203.0.113.7"),
        (
            &["for=203.0.113.7;proto=https;by=10.0.0.1;host=gate.example.com"],
            "203.0.113.7",
        ),
        (&["proto=https; for=203.0.113.7"], "203.0.113.7"),
        (&["for=203.0.113.7;"], "203.0.113.7"),
        (
            &["for=203.0.113.7;host=\"a,\\\"b\", for=10.0.0.2"],
            "203.0.113.7",
        ),
        (&["for=203.0.113.7, for=10.0.0.2"], "203.0.113.7"),
        (
            &["for=1.2.3.4", "for=203.0.113.7, for=10.0.0.2"],
            "203.0.113.7",
        ),
        // Quotes that nobody closed do not reach what a proxy wrote behind them.
        (&["for=\"1.2.3.4, for=203.0.113.7"], "203.0.113.7"),
        (&["for=\"1.2.3.4\\, for=203.0.113.7"], "203.0.113.7"),
        (&["host=\"", "for=203.0.113.7"], "203.0.113.7"),
    ] {
        check_forwarded(lines, expect);
    }
    for entry in [
        "",
        "203.0.113.7",
        "for",
        "for=",
        "for=\"\"",
        "for=unknown",
        "for=\"_gazonk\"",
        "by=203.0.113.7",
        "for=2001:db8::7",
        "for=[2001:db8::7]",
        "for=\"2001:db8::7\"",
        "for=203.0.113.7:80",
        "for = 203.0.113.7",
        "for=203.0.113.7;for=192.0.2.1",
        "for=203.0.113.7 proto=https",
        "for=203.0.113.7;proto",
        "=x;for=203.0.113.7",
        "for=127.0.0.2",
        "x for=203.0.113.7",
    ] {
        check_forwarded(&[entry], FROM);
        check_forwarded(&["for=1.2.3.4", entry], FROM);
        check_forwarded(
            &[&format!("for=1.2.3.4, {entry}, for=10.0.0.2")],
            "10.0.0.2",
        );
    }
    check_forwarded(&["for=\"203.0.113.7"], FROM);
    check_forwarded(&["for=203.0.113.7\""], FROM);
}

#[test]
fn one_header_is_believed_and_no_other() {
    let mut both = headers("forwarded", &["for=192.0.2.1"]);
    both.extend(headers("x-forwarded-for", &["203.0.113.7"]));
    both.extend(headers("x-real-ip", &["192.0.2.2"]));
    for (header, expect) in [
        (ForwardedHeader::XForwardedFor, "203.0.113.7"),
        (ForwardedHeader::Forwarded, "192.0.2.1"),
    ] {
        assert_eq!(client_of(header, &both), expect);
    }
    let other = headers("forwarded", &["for=192.0.2.1"]);
    assert_eq!(client_of(ForwardedHeader::XForwardedFor, &other), FROM);
}

/// Lines as an attacker would write them: pieces that mean something here, in any order, and anything else.
fn hostile() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            ",",
            ", ",
            "\"",
            "\\",
            ";",
            "=",
            "for=",
            "[",
            "]",
            ":",
            "::1",
            "127.0.0.1",
            "10.0.0.2",
            "1.2.3.4",
            "fd00::1",
            "::ffff:10.0.0.2",
            "unknown",
            "_x",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        proptest::collection::vec(prop_oneof![Just(b'\t'), 0x20..=0x7eu8, 0x80..=0xffu8], 0..4),
    ];
    let line = proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat());
    proptest::collection::vec(line, 0..4)
}

fn either() -> impl Strategy<Value = (ForwardedHeader, &'static str, &'static str)> {
    prop_oneof![
        Just((ForwardedHeader::XForwardedFor, "x-forwarded-for", "")),
        Just((ForwardedHeader::Forwarded, "forwarded", "for=")),
    ]
}

proptest! {
    #[test]
    fn no_header_panics_or_makes_anybody_local(
        lines in hostile(),
        (header, name, _) in either(),
    ) {
        let found = client(FROM.parse().unwrap(), &headers(name, &lines), &proxies(header));
        prop_assert!(!found.is_loopback() && !found.is_unspecified());
        prop_assert_eq!(found, found.to_canonical());
    }

    /// Whatever a client sends, the proxies that pass it on say who it is: on lines of their own, or on the last one.
    #[test]
    fn no_client_has_a_say_in_who_it_is(
        lines in hostile(),
        (header, name, label) in either(),
        by in proptest::collection::vec(any::<bool>(), 1..4),
    ) {
        let mut lines = lines;
        for (hop, own_line) in by.into_iter().enumerate() {
            let entry = match hop {
                0 => format!("{label}203.0.113.7"),
                hop => format!("{label}10.0.0.{hop}"),
            };
            match lines.last_mut() {
                Some(line) if !own_line => line.extend(format!(", {entry}").bytes()),
                _ => lines.push(entry.into_bytes()),
            }
        }
        prop_assert_eq!(client_of(header, &headers(name, &lines)), "203.0.113.7");
    }
}
