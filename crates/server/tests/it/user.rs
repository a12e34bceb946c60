//! `portcullis user`, through the built binary: links on stdout, words on stderr, no password anywhere.

use std::io::Write as _;
use std::process::Stdio;

use crate::cli::{Machine, json};

const GATE: &str = "public_url = \"https://gate.example.com\"\n";

fn machine() -> Machine {
    let config = format!("[http]\n{GATE}\n[roles.reader]\nallow = [\"*\"]\n");
    Machine::new().with("desk/portcullis.toml", &config)
}

#[test]
fn an_account_is_made_with_a_link_and_nothing_else_on_stdout() {
    let machine = machine();
    let said = machine.run(&["user", "add", "alice", "--role", "owner"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let link = said.out.trim_end();
    assert!(
        link.starts_with("https://gate.example.com/console/reset?token="),
        "{link}"
    );
    assert_eq!(said.out.lines().count(), 1);
    assert!(said.err.contains("works once"), "{}", said.err);
    assert!(said.err.contains("auth.loopback"), "{}", said.err);
    assert!(!said.err.contains("token="), "{}", said.err);

    let again = machine.run(&["user", "add", "ALICE"]);
    assert_eq!(again.code, 2, "{}", again.err);
    let other = machine.run(&["user", "reset-link", "alice"]);
    assert_ne!(other.out, said.out);

    let listed = json(&machine.run(&["user", "list", "--json"]));
    assert_eq!(listed[0]["name"], "alice");
    assert_eq!(listed[0]["roles"][0], "owner");
    assert_eq!(listed[0]["state"], "no password yet");
}

#[test]
fn links_say_https_where_the_gate_speaks_tls_though_its_key_is_not_read() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let config = "listen = \"127.0.0.1:8443\"\n[tls]\ncertificate = \"gate.pem\"\nkey = { env = \"NOT_SET_HERE\" }\n";
    let machine = Machine::new()
        .with("desk/gate.pem", &own.cert.pem())
        .with("desk/portcullis.toml", config);
    let said = machine.run(&["user", "add", "alice"]);
    assert!(
        said.out
            .starts_with("https://127.0.0.1:8443/console/reset?token="),
        "{}",
        said.err
    );
    let said = machine.run(&["install", "--client", "cursor", "--dry-run"]);
    assert!(
        said.out.contains("https://127.0.0.1:8443/mcp"),
        "{}{}",
        said.out,
        said.err
    );
}

#[test]
fn a_password_comes_from_stdin_and_is_judged() {
    let machine = machine();
    let add = |password: &str| {
        let mut child = machine
            .command(&["user", "add", "bob", "--role", "reader", "--password-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(password.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = add("short\n");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("at least 12"), "{said}");
    let (code, said) = add("plum tractor velvet 9\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("plum") && !said.contains("token="), "{said}");
    let listed = machine.run(&["user", "list"]);
    assert!(listed.out.contains("bob"), "{}", listed.out);
    assert!(listed.out.trim_end().ends_with("good"), "{}", listed.out);
}

#[test]
fn an_account_is_changed_shut_out_and_deleted() {
    let machine = machine();
    machine.run(&["user", "add", "carol", "--email", "carol@example.com"]);
    let run = |words: &[&str]| machine.run(words);
    assert_eq!(run(&["user", "roles", "carol", "nonesuch"]).code, 2);
    assert_eq!(run(&["user", "roles", "carol", "reader", "owner"]).code, 0);
    assert_eq!(run(&["user", "disable", "Carol"]).code, 0);
    let listed = json(&run(&["user", "list", "--json"]));
    assert_eq!(listed[0]["state"], "disabled");
    assert_eq!(listed[0]["roles"].as_array().map(Vec::len), Some(2));
    assert_eq!(run(&["user", "enable", "carol"]).code, 0);
    assert_eq!(run(&["user", "totp-off", "carol"]).code, 0);
    let gone = run(&["user", "delete", "carol", "--json"]);
    assert_eq!(json(&gone)["action"], "deleted");
    for words in [["user", "delete", "carol"], ["user", "reset-link", "carol"]] {
        let said = run(&words);
        assert_eq!(said.code, 2, "{}", said.err);
        assert!(said.err.contains("user list"), "{}", said.err);
    }
    assert!(run(&["user", "list"]).err.contains("no accounts"));
}

#[test]
fn what_is_wrong_with_mail_is_said_without_its_password() {
    let config =
        "[mail]\nurl = \"smtps://gate:hunter2hunter2@mail.example.com\"\nfrom = \"nobody\"\n";
    let machine = Machine::new().with("desk/portcullis.toml", config);
    let said = machine.run(&["user", "list"]);
    assert_ne!(said.code, 0);
    for wanted in ["mail.url", "mail.from"] {
        assert!(said.err.contains(wanted), "{}", said.err);
    }
    assert!(!said.err.contains("hunter2"), "{}", said.err);
    let config = "[mail]\nurl = \"smtps://gate@mail.example.com\"\nfrom = \"gate@example.com\"\n";
    let machine = Machine::new().with("desk/portcullis.toml", config);
    assert!(machine.run(&["user", "list"]).err.contains("mail.password"));
}
