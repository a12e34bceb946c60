//! Keys parse as they were made, and as nothing else.

use super::*;

#[test]
fn a_minted_key_parses_to_its_id_and_hash() {
    let key = mint().unwrap();
    let text = key.text.expose();
    assert_eq!(text.len(), 4 + 12 + 1 + 43 + 6);
    assert_eq!(
        parse(text),
        Some(Parsed {
            id: &key.id,
            hash: key.hash
        })
    );
    assert_ne!(mint().unwrap().text.expose(), text);
}

#[test]
fn no_single_changed_character_parses() {
    let key = mint().unwrap();
    let text = key.text.expose();
    for at in 0..text.len() {
        let mut changed = text.as_bytes().to_vec();
        changed[at] = if changed[at] == b'a' { b'b' } else { b'a' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(parse(&changed), None, "{at}");
    }
    for odd in [
        "",
        "pck_",
        text.trim_start_matches('p'),
        &format!("{text}a"),
        &"é".repeat(33),
        &"_".repeat(66),
    ] {
        assert_eq!(parse(odd), None, "{odd}");
    }
}

#[test]
fn a_key_cannot_be_printed_by_accident() {
    let key = mint().unwrap();
    let printed = format!("{key:?}");
    let (_, secret) = key.text.expose().split_at(SEPARATOR_AT + 1);
    assert!(!printed.contains(secret), "{printed}");
    assert!(printed.contains(&key.hash.to_string()));
}

#[test]
fn a_hash_reads_as_it_prints() {
    let hash = mint().unwrap().hash;
    assert_eq!(KeyHash::parse(&hash.to_string()), Ok(hash));
    assert_eq!(
        KeyHash::parse(&hash.to_string().to_uppercase().replace("SHA", "sha")),
        Ok(hash)
    );
    assert_ne!(mint().unwrap().hash, hash);
    let hex = "0".repeat(64);
    for odd in [
        String::new(),
        hex.clone(),
        format!("sha256:{hex}0"),
        format!("sha256:g{}", "0".repeat(63)),
        format!("sha512:{hex}"),
        format!("sha256:{}", "é".repeat(32)),
    ] {
        assert_eq!(KeyHash::parse(&odd), Err(HashError), "{odd}");
    }
}
