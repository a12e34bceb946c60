//! The vectors of RFC 4226, RFC 6238 and RFC 4648, and what a clock that is off may do.

use std::time::Duration;

use super::*;

const SECRET: &[u8] = b"12345678901234567890";

#[test]
fn codes_are_those_of_the_rfcs() {
    // RFC 4226 appendix D.
    let counted = [
        "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871",
        "520489",
    ];
    for (step, code) in (0..).zip(counted) {
        assert_eq!(*at(step, SECRET), code, "{step}");
    }
    // RFC 6238 appendix B, the last six of its eight digits.
    let timed = [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000_u64, "353130"),
    ];
    for (seconds, code) in timed {
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        let step = i64::try_from(seconds / 30).unwrap();
        assert_eq!(step_of(code, SECRET, now), Some(step), "{seconds}");
    }
}

#[test]
fn a_clock_may_be_one_step_off_and_no_more() {
    let now = UNIX_EPOCH + Duration::from_secs(30 * 1000);
    for (step, is_good) in [
        (998, false),
        (999, true),
        (1000, true),
        (1001, true),
        (1002, false),
    ] {
        let found = step_of(&at(step, SECRET), SECRET, now);
        assert_eq!(found, is_good.then_some(step));
    }
    assert_eq!(step_of("", SECRET, now), None);
    assert_eq!(step_of("755 22", SECRET, now), None);
    let spaced = at(1000, SECRET);
    let (left, right) = spaced.split_at(3);
    assert_eq!(
        step_of(&format!(" {left} {right} "), SECRET, now),
        Some(1000)
    );
}

#[test]
fn base32_is_that_of_rfc_4648_without_padding() {
    for (plain, text) in [
        ("", ""),
        ("f", "MY"),
        ("fo", "MZXQ"),
        ("foo", "MZXW6"),
        ("foob", "MZXW6YQ"),
        ("fooba", "MZXW6YTB"),
        ("foobar", "MZXW6YTBOI"),
    ] {
        assert_eq!(*base32(plain.as_bytes()), text);
    }
}

#[test]
fn a_uri_says_all_that_an_authenticator_asks() {
    assert_eq!(
        *uri("a@example.com", SECRET),
        "otpauth://totp/Portcullis:a%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
         &issuer=Portcullis&algorithm=SHA1&digits=6&period=30"
    );
}

#[test]
fn a_qr_code_has_nothing_that_a_strict_page_forbids() {
    let longest = "a".repeat(128);
    let image = qr(&uri(&longest, SECRET)).unwrap();
    assert!(image.starts_with("<svg ") && image.ends_with("</svg>"));
    assert!(!image.contains("style") && !image.contains("script"));
}

#[test]
fn a_recovery_code_is_known_however_it_is_typed() {
    let codes = recovery_codes().unwrap();
    assert_eq!(codes.len(), RECOVERY_CODES);
    for code in &codes {
        assert_eq!(code.len(), RECOVERY_CHARS + 1);
        assert!(!is_code_like(code), "{}", **code);
        let typed = format!(" {} ", code.to_uppercase().replace('-', " "));
        assert_eq!(plain_recovery_code(&typed), plain_recovery_code(code));
    }
    assert_ne!(codes[0], codes[1]);
    assert_eq!(plain_recovery_code(&"a".repeat(1000)).len(), 11);
    assert!(is_code_like("123 456") && !is_code_like("1234567") && !is_code_like("12345a"));
}
