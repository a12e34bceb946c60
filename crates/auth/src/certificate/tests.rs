//! Certificates made for the test, read and held against mappings.

use std::time::{Duration, UNIX_EPOCH};

use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair, SanType, date_time_ymd};

use super::*;

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

fn made(params: &CertificateParams) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

fn mapping(text: &str) -> Mapping {
    Mapping {
        name: name(text).unwrap(),
        principal: PrincipalId::new("agent").unwrap(),
        roles: BTreeSet::new(),
    }
}

fn holds(certificate: &ClientCertificate, text: &str) -> bool {
    let mappings = vec![mapping(text)];
    Settings { mappings }.holder(certificate).is_some()
}

#[test]
fn names_come_with_their_kind() {
    let mut params = params();
    let ia5 = |text: &str| text.try_into().unwrap();
    params.subject_alt_names = vec![
        SanType::DnsName(ia5("Agent.Example")),
        SanType::Rfc822Name(ia5("agent@example.com")),
        SanType::URI(ia5("spiffe://example.com/agent")),
        SanType::IpAddress("10.0.0.1".parse().unwrap()),
    ];
    params
        .distinguished_name
        .push(DnType::CommonName, "agent 7");
    params
        .distinguished_name
        .push(DnType::OrganizationName, "cn:owner");
    let read = ClientCertificate::read(&made(&params)).unwrap();
    assert_eq!(
        read.names,
        [
            "dns:agent.example",
            "email:agent@example.com",
            "uri:spiffe://example.com/agent",
            "cn:agent 7"
        ]
    );
    assert!(holds(&read, "dns:AGENT.example"));
    for other in [
        "dns:agent.example.com",
        "dns:example",
        "dns:*.example",
        "uri:agent.example",
        "uri:spiffe://example.com/agent/2",
        "cn:agent",
        "cn:owner",
    ] {
        assert!(!holds(&read, other), "{other}");
    }
}

#[test]
fn a_name_of_one_kind_cannot_pass_for_another() {
    let mut params = params();
    params
        .distinguished_name
        .push(DnType::CommonName, "dns:agent.example");
    let read = ClientCertificate::read(&made(&params)).unwrap();
    assert_eq!(read.names, ["cn:dns:agent.example"]);
    assert!(!holds(&read, "dns:agent.example"));
}

#[test]
fn fingerprint_and_end_are_the_certificates() {
    let mut params = params();
    params.not_after = date_time_ymd(2030, 1, 1);
    let der = made(&params);
    let read = ClientCertificate::read(&der).unwrap();
    assert_eq!(read.sha256, digest(&SHA256, &der).as_ref());
    assert_eq!(read.fingerprint().len(), 64);
    let start_of_2030 = UNIX_EPOCH + Duration::from_secs(1_893_456_000);
    assert_eq!(read.expires_at, start_of_2030);
    assert!(read.names.is_empty());
}

#[test]
fn what_is_broken_is_unreadable_and_nobodys() {
    let der = made(&params());
    for end in 0..der.len() {
        assert_eq!(
            ClientCertificate::read(&der[..end]),
            Err(Unreadable),
            "{end}"
        );
    }
    let mut longer = der;
    longer.push(0);
    assert_eq!(ClientCertificate::read(&longer), Err(Unreadable));

    // Alternative names twice: which of them would hold?
    let mut params = params();
    params.subject_alt_names = vec![SanType::DnsName("a.example".try_into().unwrap())];
    let other = b"\x30\x0b\x82\x09b.example".to_vec();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], other)];
    assert_eq!(ClientCertificate::read(&made(&params)), Err(Unreadable));
}

#[test]
fn only_a_kind_and_a_text_are_a_name() {
    assert_eq!(name("cn:Agent").as_deref(), Some("cn:Agent"));
    assert_eq!(name("dns:A.Example").as_deref(), Some("dns:a.example"));
    for none in [
        "",
        "agent.example",
        "dns:",
        "DNS:a.example",
        "ip:10.0.0.1",
        " dns:a",
    ] {
        assert_eq!(name(none), None, "{none}");
    }
}
