//! What `policy` makes of names that there are not, and of records that do not say everything.

use std::fs;

use policy::PrincipalId;
use store::{AuditRow, Outcome, Store};
use tempfile::TempDir;

use super::{cases, question, simulate};
use crate::config::{Environment, Loaded, Sources, load};

const CONFIG: &str = r#"
upstreams.files = { native = "files", roots = ["."] }
roles.reader = { members = ["alice"], allow = ["files.*"] }
virtual_servers.desk = { include = ["files.*"] }
"#;

fn loaded(folder: &TempDir, config: &str) -> Loaded {
    let path = folder.path().join("portcullis.toml");
    fs::write(&path, config).unwrap();
    let home = folder.path().join("home").to_str().unwrap().to_owned();
    let mut environment = Environment {
        folder: folder.path().to_owned(),
        ..Environment::default()
    };
    environment.variables.insert("HOME".to_owned(), home);
    let sources = Sources {
        config: Some(path),
        ..Sources::default()
    };
    load(&sources, &environment).unwrap()
}

#[test]
fn a_case_about_what_there_is_not_is_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = loaded(&folder, CONFIG);
    let found = |case: &str| {
        let text = format!("[[case]]\nprincipal = \"alice\"\nexpect = \"hidden\"\n{case}");
        let outcomes = cases::outcomes(&text, &loaded).unwrap();
        outcomes[0].found.clone()
    };
    assert_eq!(
        found("tool = \"flies.read\""),
        "not asked: the config has no upstream `flies`"
    );
    assert_eq!(
        found("tool = \"files.read\"\nserver = \"dask\""),
        "not asked: there is no virtual server `dask` in the config"
    );
    assert_eq!(
        found("tool = \"files.read\"\nscopes = [\"mcp:tool\"]"),
        "not asked: `mcp:tool` is no scope of the gate"
    );
    assert_eq!(
        found("tool = \"files.read\"\nnow = 2026-01-01"),
        "not asked: `2026-01-01` is no time with its zone; write for example 2026-12-24T18:00:00Z"
    );
    assert_eq!(
        found("tool = \"files.read\"\nserver = \"desk\"\nscopes = [\"mcp:tools\"]"),
        "allow"
    );
}

#[test]
fn whoever_is_at_the_machine_is_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = loaded(&folder, CONFIG);
    let roles = |id| question::roles_of(&loaded, None, &PrincipalId::new(id).unwrap()).unwrap();
    let names = |id| {
        roles(id)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(names("local"), ["owner"]);
    assert_eq!(names("alice"), ["reader"]);
}

#[test]
fn what_was_asked_about_for_what_a_tool_is_stays_asked() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("portcullis.db")).unwrap();
    let mut row = record("tools/call", Some("files"), "files.delete", "ask");
    row.rule = Some("consent: destructive".to_owned());
    let now = |row: &AuditRow, config: &str| {
        let loaded = loaded(&folder, config);
        simulate::group(row, &loaded, &store).unwrap().unwrap().now
    };
    assert_eq!(now(&row, CONFIG), "ask");
    let lax = format!("consent.destructive = \"allow\"\n{CONFIG}");
    assert_eq!(now(&row, &lax), "allow");
    row.rule = None;
    assert_eq!(now(&row, CONFIG), "allow");
}

#[test]
fn a_record_of_somebody_whose_roles_came_from_elsewhere_is_not_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("portcullis.db")).unwrap();
    let loaded = loaded(&folder, CONFIG);
    let mut row = record("tools/call", Some("files"), "files.read", "allow");
    row.credential = "token:corp".to_owned();
    assert_eq!(
        simulate::group(&row, &loaded, &store).unwrap().unwrap().now,
        "depends on the roles that its token or certificate brought"
    );
    // Of the admin API the method says all: there is no entry.
    let mut row = record("admin/keys.list", None, "", "deny");
    row.entry = None;
    assert_eq!(
        simulate::group(&row, &loaded, &store).unwrap().unwrap().now,
        "refused"
    );
}

fn record(
    method: &'static str,
    upstream: Option<&str>,
    entry: &str,
    decision: &'static str,
) -> AuditRow {
    AuditRow {
        at_us: 0,
        call_id: "1".to_owned(),
        principal: "alice".to_owned(),
        credential: "api_key:k".to_owned(),
        client: String::new(),
        transport: "http".into(),
        revision: "-".into(),
        method: method.into(),
        upstream: upstream.map(str::to_owned),
        entry: Some(entry.to_owned()),
        arguments_digest: None,
        decision: decision.into(),
        rule: None,
        server: None,
        definition: None,
        consent: None,
        screened: None,
        trace_id: None,
        arguments: None,
        address: None,
        actor: None,
        subject: None,
        outcome: Outcome::Ok,
        code: None,
        reason: None,
        duration_us: 0,
        bytes_in: 0,
        bytes_out: 0,
    }
}
