//! Certificates that are missing, open to others, or do not fit; what a listener for others needs; which files count.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const TLS: &str = "[tls]\ncertificate = \"chain.pem\"\nkey = { file = \"key.pem\" }\n";

/// A folder with `chain.pem` and its `key.pem`, `other.pem` with a key of another, and this config.
fn with_pair(config: &str) -> Place {
    let pair = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (ours, other) = (pair(), pair());
    let here = place(
        &[
            ("portcullis.toml", config),
            ("chain.pem", &ours.cert.pem()),
            ("key.pem", &ours.signing_key.serialize_pem()),
            ("other.pem", &other.signing_key.serialize_pem()),
            ("empty.pem", ""),
        ],
        &[],
    );
    for key in ["key.pem", "other.pem"] {
        mode(&here, key, 0o600);
    }
    here
}

fn mode(here: &Place, name: &str, mode: u32) {
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(here.folder.path().join(name), permissions).unwrap();
}

#[track_caller]
fn told(config: &str, expected: &str) {
    let said = with_pair(config)
        .complaints()
        .replace("portcullis.toml:", "");
    assert_eq!(said, expected.trim(), "\nof\n{config}");
}

#[test]
fn an_address_that_others_reach_needs_tls_or_a_word_about_plaintext() {
    check(
        "listen = [\"127.0.0.1:1\", \"0.0.0.0:80\"]",
        "1: listen: other machines could reach `0.0.0.0:80`, and there is no TLS; add a [tls] with certificate and key, listen on 127.0.0.1 behind a proxy that does TLS, or set http.danger_exposed_plaintext = true",
    );
    let plain = "listen = \"0.0.0.0:80\"\n[http]\ndanger_exposed_plaintext = true\n";
    assert!(place(&[("portcullis.toml", plain)], &[]).load().is_ok());
    let encrypted = ["listen = \"0.0.0.0:443\"\n", TLS].concat();
    assert!(with_pair(&encrypted).load().unwrap().tls.is_some());
}

#[test]
fn certificates_that_are_no_use_are_told() {
    told(
        "[tls]\ncertificate = \"nope.pem\"\nkey = { file = \"nope.key\" }",
        "2: tls.certificate: nope.pem cannot be read: No such file or directory (os error 2)
3: tls.key: nope.key cannot be read: No such file or directory (os error 2)",
    );
    told(
        "[tls]\ncertificate = \"empty.pem\"\nkey = { file = \"key.pem\" }",
        "2: tls.certificate: there is no certificate in it, or a broken one: no items found",
    );
    told(
        "[tls]\ncertificate = \"chain.pem\"\nkey = { file = \"chain.pem\" }",
        "3: tls.key: others can read chain.pem; run `chmod 600 chain.pem`",
    );
    told(
        "[tls]\ncertificate = \"chain.pem\"\nkey = { file = \"empty.pem\" }",
        "3: tls.key: others can read empty.pem; run `chmod 600 empty.pem`",
    );
    told(
        "[tls]\ncertificate = \"chain.pem\"\nkey = { file = \"other.pem\" }",
        "3: tls.key: the certificate and the key do not fit each other, or cannot be used: keys may not be consistent: KeyMismatch",
    );
    told(
        "[tls]\ncertificate = \"chain.pem\"\nkey = \"-----BEGIN PRIVATE KEY-----\"",
        "3: tls.key: a private key does not belong into a config; write { file = \"key.pem\" }",
    );
    let config = [
        TLS,
        "client = \"required\"\ncrl = []\nmin_version = \"1.1\"",
    ]
    .concat();
    told(
        &config,
        "4: tls.client: goes only with `client_ca`; leave it out
5: tls.crl: goes only with `client_ca`; leave it out
6: tls.min_version: `1.1` is not possible here; did you mean \"1.2\"?",
    );
    let config = [TLS, "client_ca = \"empty.pem\""].concat();
    told(
        &config,
        "4: tls.client_ca: there is no certificate of an authority in it, or a broken one: no items found",
    );
    let config = [TLS, "client_ca = \"chain.pem\"\ncrl = [\"chain.pem\"]"].concat();
    told(
        &config,
        "5: tls.crl: there is no revocation list in it, or a broken one: no items found",
    );
}

#[test]
fn a_key_that_others_can_read_is_refused_whatever_is_in_it() {
    let here = with_pair(TLS);
    for (bits, is_good) in [(0o600, true), (0o400, true), (0o604, false), (0o660, false)] {
        mode(&here, "key.pem", bits);
        assert_eq!(here.load().is_ok(), is_good, "{bits:o}");
    }
}

#[test]
fn certificates_of_clients_stand_for_whom_the_config_says() {
    let config = [
        TLS,
        "client_ca = \"chain.pem\"\n[roles.reader]\n[auth.certificates.agent]\nmatch = \"dns:Agent.example\"\nroles = [\"reader\"]\n",
    ]
    .concat();
    let loaded = with_pair(&config).load().unwrap();
    let [mapping] = &loaded.auth.certificates.mappings[..] else {
        panic!("{loaded:?}")
    };
    assert_eq!(
        (mapping.name.as_str(), mapping.principal.as_str()),
        ("dns:agent.example", "agent")
    );
    told(
        "[auth.certificates.a]
match = \"agent.example\"
roles = [\"reader\"]
[auth.certificates.b]
match = \"cn:b\"
principal = \"\"
[auth.certificates.c]
match = \"cn:b\"",
        "2: auth.certificates.a.match: `agent.example` is no name of a certificate; write for example \"dns:agent.example\"; email:, uri: and cn: are there, too
3: auth.certificates.a.roles.0: there is no role `reader`; add a [roles.reader]
6: auth.certificates.b.principal: a name cannot be empty
8: auth.certificates.c.match: `cn:b` stands for `b` already; leave one out",
    );
}

#[test]
fn the_tls_of_an_upstream_is_for_tls_and_whole() {
    told(
        "[upstreams.a]
url = \"http://a.example/mcp\"
tls = { ca = \"chain.pem\" }
[upstreams.b]
url = \"https://b.example/mcp\"
[upstreams.b.tls]
ca = \"empty.pem\"
pin = [\"sha256/AAAA\"]
[upstreams.c]
url = \"wss://c.example/mcp\"
[upstreams.c.tls]
certificate = \"chain.pem\"
[upstreams.d]
url = \"wss://d.example/mcp\"
tls = { certificate = \"chain.pem\", key = { file = \"other.pem\" } }
[upstreams.e]
stdio = [\"e\"]
tls = {}",
        "3: upstreams.a.tls: goes only with an https or wss `url`; leave it out
7: upstreams.b.tls.ca: there is no certificate in it, or a broken one: no items found
8: upstreams.b.tls.pin.0: `sha256/AAAA` is no pin; write sha256/ and what `openssl x509 -pubkey -noout -in server.pem | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64` prints
11: upstreams.c.tls: `certificate` and `key` go together; give both, or neither
15: upstreams.d.tls.key: this certificate and this key cannot be used: keys may not be consistent: KeyMismatch
18: upstreams.e.tls: goes only with `url`; leave it out",
    );
}

#[test]
fn every_file_that_a_gate_has_read_is_watched() {
    let config = [
        TLS,
        "client_ca = \"chain.pem\"\n[upstreams.a]\nurl = \"https://a.example\"\ntls = { certificate = \"chain.pem\", key = { file = \"key.pem\" }, ca = \"sub/ca.pem\" }\n[upstreams.b]\nurl = \"https://b.example\"\nenabled = false\ntls = { ca = \"off.pem\" }\n",
    ]
    .concat();
    let here = with_pair(&config);
    fs::create_dir(here.folder.path().join("sub")).unwrap();
    fs::copy(
        here.folder.path().join("chain.pem"),
        here.folder.path().join("sub/ca.pem"),
    )
    .unwrap();
    let loaded = here.load().unwrap();
    let names = ["chain.pem", "key.pem", "sub/ca.pem"];
    let expected: Vec<PathBuf> = names
        .iter()
        .map(|name| here.folder.path().join(name))
        .collect();
    assert_eq!(loaded.watched, expected);
}

#[test]
fn what_is_read_again_and_has_not_changed_restarts_no_upstream() {
    let config = "[upstreams.a]\nurl = \"https://a.example\"\ntls = { ca = \"chain.pem\" }\n";
    let here = with_pair(config);
    let (one, two) = (here.load().unwrap(), here.load().unwrap());
    assert_eq!(one.upstreams, two.upstreams);
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(here.folder.path().join("chain.pem"), other.cert.pem()).unwrap();
    assert_ne!(one.upstreams, here.load().unwrap().upstreams);
}
