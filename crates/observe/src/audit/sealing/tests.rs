//! What is sealed opens with the auditor's key, as that call's, and in no other way.

use super::*;

#[test]
fn what_is_sealed_for_an_auditor_opens_with_its_key_alone() {
    let (key, other) = (
        AuditorKey::generate().unwrap(),
        AuditorKey::generate().unwrap(),
    );
    let sealed = key.auditor().seal("call", br#"{"amount":12}"#).unwrap();
    assert!(!sealed.contains("amount"));
    let opened = key.open("call", &sealed).unwrap();
    assert_eq!(opened.as_slice(), br#"{"amount":12}"#);
    let id = key.auditor().id();
    assert_eq!(other.open("call", &sealed), Err(Unopened::Other(id)));
    assert_eq!(key.open("another", &sealed), Err(Unopened::Broken));
    assert_eq!(key.open("call", r#"{"a":1}"#), Err(Unopened::NotSealed));
    let changed = sealed.replacen("\"sealed\":\"", "\"sealed\":\"AAAA", 1);
    assert_eq!(key.open("call", &changed), Err(Unopened::Broken));
}

#[test]
fn the_same_arguments_are_sealed_to_other_bytes_each_time() {
    let key = AuditorKey::generate().unwrap();
    let seal = || key.auditor().seal("call", b"{}").unwrap();
    assert_ne!(seal(), seal());
}

#[test]
fn keys_are_read_as_they_are_written_and_no_other_way() {
    let key = AuditorKey::generate().unwrap();
    let (public, private) = (key.auditor().to_string(), key.to_text());
    assert_eq!(public.parse::<Auditor>().unwrap(), *key.auditor());
    let read: AuditorKey = format!("{}\n", private.as_str()).parse().unwrap();
    assert_eq!(read.auditor(), key.auditor());
    for bad in [
        "",
        "auditor",
        "auditor++",
        &private,
        public.trim_start_matches('a'),
        public.trim_end_matches('='),
    ] {
        assert_eq!(bad.parse::<Auditor>(), Err(BadAuditor::Public), "{bad}");
    }
    assert!(public.parse::<AuditorKey>().is_err());
    let of_zeros = Auditor {
        public: [0; KEY_LEN],
    };
    assert!(of_zeros.to_string().parse::<Auditor>().is_err());
    assert!(!format!("{key:?}").contains(private.rsplit('+').next().unwrap()));
}
