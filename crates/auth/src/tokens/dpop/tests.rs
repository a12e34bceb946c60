//! What is remembered of proofs stays within its bound, and nothing is forgotten for it.

use super::*;

fn hash(number: usize) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    hash
}

#[test]
fn beyond_the_bound_proofs_are_refused_rather_than_forgotten() {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let until = now + WINDOW;
    let mut seen = Seen::default();
    for number in 0..PROOFS_MAX {
        assert!(seen.note(hash(number), until, now).unwrap());
    }
    let full = seen.note(hash(PROOFS_MAX), until, now);
    assert!(matches!(full, Err(AuthError::Unavailable(_))));
    assert!(
        !seen.note(hash(0), until, now).unwrap(),
        "the first is known"
    );
    assert_eq!(seen.until.len(), PROOFS_MAX);

    // Once their window is over there is room again.
    assert!(seen.note(hash(PROOFS_MAX), until + WINDOW, until).unwrap());
    assert_eq!(seen.until.len(), 1);
}

#[test]
fn the_same_place_may_be_written_in_many_ways_and_another_is_another() {
    let place = "https://gate.example.com/mcp";
    for same in [
        "https://gate.example.com/mcp",
        "HTTPS://Gate.Example.Com:443/mcp",
        "https://gate.example.com/./mcp?query#fragment",
    ] {
        assert!(is_same_place(same, place), "{same}");
    }
    for other in [
        "https://gate.example.com/mcp/",
        "https://gate.example.com/MCP",
        "https://gate.example.com:8443/mcp",
        "https://gate.example.com.evil.com/mcp",
        "https://user@gate.example.com/mcp",
        "mailto:mcp",
        "",
    ] {
        assert!(!is_same_place(other, place), "{other}");
    }
    // Without HTTP there is no place that a proof could be for.
    assert!(!is_same_place("", ""));
}
