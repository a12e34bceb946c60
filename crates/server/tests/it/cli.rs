//! Commands that need no running gate, through the built binary: output, exit codes, files on disk.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use store::{AuditRow, Outcome, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A home and a working folder of nobody else's.
pub(crate) struct Machine {
    folder: TempDir,
}

pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["home", "desk"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    pub(crate) fn with(self, path: &str, text: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The binary, to be run in `work`.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command
            .args(words)
            .current_dir(self.path("desk"))
            .env_clear()
            .env("HOME", self.path("home"))
            .env("TZ", "UTC");
        command
    }

    /// Runs the binary; the folder's own name is taken out of what it says.
    pub(crate) fn run(&self, words: &[&str]) -> Said {
        let output: Output = self.command(words).output().unwrap();
        let folder = self.folder.path().to_str().unwrap();
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .unwrap()
                .replace(folder, "")
        };
        Said {
            code: output.status.code().unwrap(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

pub(crate) fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.out))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn config_show_tells_values_and_where_they_came_from() {
    let machine = Machine::new().with("desk/portcullis.toml", "[drain]\ntimeout = \"3s\"\n[upstreams.a]\nurl = \"https://a.example/mcp\"\nheaders = { Authorization = \"S3CR3T\" }");
    let said = machine.run(&["config", "show"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let line = said
        .out
        .lines()
        .find(|line| line.starts_with("drain.timeout "))
        .unwrap();
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["drain.timeout", "\"3s\"", "portcullis.toml:2"]
    );
    assert!(!said.out.contains("S3CR3T"));
    let all = json(&machine.run(&["config", "show", "--json"]));
    assert!(
        all.as_array()
            .unwrap()
            .iter()
            .any(|one| one["key"] == "listen" && one["origin"] == "default")
    );
}

#[test]
fn a_bad_config_fails_every_command_with_all_complaints() {
    let machine = Machine::new().with("desk/portcullis.toml", "lisen = 1\n[drain]\ntimeout = 3");
    for words in [
        &["check"][..],
        &["serve"],
        &["key", "list"],
        &["config", "show"],
        &["tools", "list"],
    ] {
        let said = machine.run(words);
        assert_eq!(said.code, 1, "{words:?}");
        assert_eq!(
            said.err,
            "error: portcullis.toml:1: lisen: there is no such key; did you mean `listen`?\n\
             portcullis.toml:3: drain.timeout: the number `3` stands where a duration is wanted; say the unit: \"3s\"\n",
            "{words:?}"
        );
    }
    // What is there is shown all the same: it helps to see why.
    assert!(
        machine
            .run(&["config", "show"])
            .out
            .contains("drain.timeout")
    );
}

#[test]
fn usage_errors_exit_with_2() {
    let machine = Machine::new();
    for words in [
        &["nope"][..],
        &["install"],
        &["--listen", "x", "check"],
        &["tools", "call", "time.now", "zone"],
        &["import", "nope.json"],
        &["key", "create", "ada", "--role", "nope"],
        &["key", "create", "ada lovelace"],
        &["key", "create", "ada", "--expires", "90"],
        &["key", "create", "ada", "--expires", "0d"],
    ] {
        let said = machine.run(words);
        assert_eq!(
            (said.code, said.out.as_str()),
            (2, ""),
            "{words:?}: {}",
            said.err
        );
    }
}

#[test]
fn schema_and_completions_go_to_stdout() {
    let machine = Machine::new();
    assert_eq!(
        json(&machine.run(&["config", "schema"]))["title"],
        "portcullis.toml"
    );
    for shell in ["bash", "zsh", "fish"] {
        let said = machine.run(&["completions", shell]);
        assert!(
            said.code == 0 && said.out.contains("portcullis") && said.err.is_empty(),
            "{shell}"
        );
    }
}

#[test]
fn import_writes_a_config_that_loads_and_keeps_what_was_there() {
    let machine = Machine::new()
        .with("desk/mcp.json", r#"{"mcpServers": {"a": {"command": "a", "env": {"T": "${UNSET_HERE}"}}, "b": {"url": "https://b.example/mcp"}}}"#)
        .with("desk/portcullis.toml", "# mine\n[drain]\ntimeout = \"3s\"\n");
    let dry = machine.run(&["import", "mcp.json", "--dry-run"]);
    assert_eq!(dry.code, 0, "{}", dry.err);
    assert!(dry.out.contains("+ [upstreams.b]"), "{}", dry.out);
    assert_eq!(
        machine.read("desk/portcullis.toml"),
        "# mine\n[drain]\ntimeout = \"3s\"\n"
    );

    let said = machine.run(&["import", "mcp.json"]);
    assert_eq!(
        said.err,
        "+ a\n    needs $UNSET_HERE, which is not set here\n+ b\n\
         added 2 to portcullis.toml; what was there is in /desk/portcullis.toml.bak\n\
         `portcullis check` tries them, `portcullis` serves them\n"
    );
    assert!(machine.read("desk/portcullis.toml").starts_with("# mine\n"));
    assert_eq!(
        machine.read("desk/portcullis.toml.bak"),
        "# mine\n[drain]\ntimeout = \"3s\"\n"
    );

    let again = machine.run(&["import", "mcp.json"]);
    assert_eq!(
        again.err,
        "= a is there already, as a\n= b is there already, as b\nportcullis.toml stays as it is\n"
    );
    assert_eq!(
        names(&machine.path("desk")),
        ["mcp.json", "portcullis.toml", "portcullis.toml.bak"]
    );
}

#[test]
fn import_leaves_out_what_install_wrote() {
    let machine = Machine::new()
        .with("desk/portcullis.toml", "listen = \"127.0.0.1:8099\"\n")
        .with(
            "home/.cursor/mcp.json",
            r#"{"mcpServers": {"a": {"command": "a"}}}"#,
        );
    assert_eq!(machine.run(&["install", "--client", "cursor"]).code, 0);
    let said = machine.run(&["import", "--from", "cursor"]);
    assert!(
        said.err
            .contains("- portcullis left out: is this gate itself\n"),
        "{}",
        said.err
    );
    assert!(!machine.read("desk/portcullis.toml").contains("8099/mcp"));
}

#[test]
fn import_finds_the_clients_on_this_machine() {
    let machine = Machine::new();
    let none = machine.run(&["import"]);
    assert_eq!(none.code, 1);
    assert!(none.err.contains("/home/.cursor/mcp.json"), "{}", none.err);

    let machine = machine
        .with(
            "home/.cursor/mcp.json",
            r#"{"mcpServers": {"a": {"command": "a"}}}"#,
        )
        .with(
            "home/.config/Code/User/mcp.json",
            r#"{"servers": {"a": {"command": "a"}, "b": {"command": "b"}}}"#,
        );
    let all = machine.run(&["import", "--json"]);
    let done: Vec<(String, String)> = json(&all)
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].to_string(), one["done"].to_string()))
        .collect();
    let pair = |name: &str, done: &str| (format!("\"{name}\""), format!("\"{done}\""));
    assert_eq!(
        done,
        [
            pair("a", "added"),
            pair("a", "there already"),
            pair("b", "added")
        ]
    );
    assert_eq!(machine.run(&["import", "--from", "claude"]).code, 1);
    assert_eq!(machine.run(&["import", "--from", "cursor"]).code, 0);
}

#[test]
fn install_is_idempotent_and_keeps_comments() {
    let before = "{\n  // my servers\n  \"mcpServers\": {\n    \"a\": { \"command\": \"a\" }, // keep\n  },\n}\n";
    let machine = Machine::new().with("home/.cursor/mcp.json", before);
    let dry = machine.run(&["install", "--client", "cursor", "--dry-run"]);
    assert!(dry.code == 0 && dry.out.contains("+ "), "{}", dry.err);
    assert_eq!(machine.read("home/.cursor/mcp.json"), before);

    let said = machine.run(&["install", "--client", "cursor"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let after = machine.read("home/.cursor/mcp.json");
    assert!(
        after.contains("// my servers") && after.contains("// keep"),
        "{after}"
    );
    assert!(
        after.contains("\"url\": \"http://127.0.0.1:8080/mcp\""),
        "{after}"
    );
    assert_eq!(machine.read("home/.cursor/mcp.json.bak"), before);

    let again = machine.run(&["install", "--client", "cursor"]);
    assert_eq!((again.code, again.out.as_str()), (0, ""));
    assert_eq!(
        again.err,
        "Cursor has the gate already: /home/.cursor/mcp.json\n"
    );
    assert_eq!(machine.read("home/.cursor/mcp.json"), after);
    assert_eq!(
        names(&machine.path("home/.cursor")),
        ["mcp.json", "mcp.json.bak"]
    );

    // A moved gate replaces its own entry and nothing else.
    let moved = machine.run(&[
        "install",
        "--client",
        "cursor",
        "--url",
        "http://127.0.0.1:9/mcp",
    ]);
    assert_eq!(moved.code, 0);
    let moved = machine.read("home/.cursor/mcp.json");
    assert_eq!(moved, after.replace(":8080", ":9"));
}

#[test]
fn install_creates_what_is_not_there_and_each_client_gets_its_own_form() {
    let machine = Machine::new().with("desk/portcullis.toml", "listen = \"127.0.0.1:7000\"");
    for (client, file, pointer, expected) in [
        (
            "claude-code",
            "home/.claude.json",
            "/mcpServers/portcullis/url",
            "http://127.0.0.1:7000/mcp",
        ),
        (
            "vscode",
            "home/.config/Code/User/mcp.json",
            "/servers/portcullis/type",
            "http",
        ),
        (
            "claude",
            "home/.config/Claude/claude_desktop_config.json",
            "/mcpServers/portcullis/args/0",
            "stdio",
        ),
    ] {
        let said = machine.run(&["install", "--client", client]);
        assert_eq!(said.code, 0, "{client}: {}", said.err);
        let written: Value = serde_json::from_str(&machine.read(file)).unwrap();
        assert_eq!(
            written.pointer(pointer).unwrap(),
            expected,
            "{client}: {written}"
        );
    }
    let desktop: Value =
        serde_json::from_str(&machine.read("home/.config/Claude/claude_desktop_config.json"))
            .unwrap();
    let config = machine.path("desk/portcullis.toml");
    assert_eq!(
        desktop["mcpServers"]["portcullis"]["args"][2],
        config.to_str().unwrap()
    );
}

#[test]
fn install_leaves_alone_what_it_cannot_read() {
    for text in ["{ \"mcpServers\": [", "[]", "{\"mcpServers\": 5}"] {
        let machine = Machine::new().with("home/.cursor/mcp.json", text);
        let said = machine.run(&["install", "--client", "cursor"]);
        assert_eq!(said.code, 1);
        assert_eq!(
            said.out, "\"portcullis\": {\"url\":\"http://127.0.0.1:8080/mcp\"}\n",
            "{}",
            said.err
        );
        assert_eq!(machine.read("home/.cursor/mcp.json"), text);
        assert_eq!(names(&machine.path("home/.cursor")), ["mcp.json"]);
    }
}

#[test]
fn a_key_is_seen_once_listed_and_revoked() {
    let machine = Machine::new();
    assert!(
        machine
            .run(&["key", "list"])
            .err
            .contains("there are no keys")
    );
    let created = machine.run(&[
        "key",
        "create",
        "ada",
        "--role",
        "owner",
        "--expires",
        "90d",
    ]);
    assert_eq!(created.code, 0, "{}", created.err);
    let key = created.out.trim();
    assert!(
        key.starts_with("pck_") && !key.contains('\n') && !created.err.contains(key),
        "{}",
        created.out
    );
    assert!(
        created.err.contains("this is the first key"),
        "{}",
        created.err
    );

    let listed = machine.run(&["key", "list"]);
    assert!(!listed.out.contains(key));
    let listed = json(&machine.run(&["key", "list", "--json"]));
    assert_eq!(
        (&listed[0]["principal"], &listed[0]["state"]),
        (&"ada".into(), &"good".into())
    );
    let id = listed[0]["id"].as_str().unwrap();
    assert!(key.starts_with(&format!("pck_{id}_")));

    let revoked = machine.run(&["key", "revoke", id]);
    assert!(
        revoked.code == 0 && revoked.err.contains("it was the last one"),
        "{}",
        revoked.err
    );
    assert_eq!(
        json(&machine.run(&["key", "list", "--json"]))[0]["state"],
        "revoked"
    );
    assert_eq!(machine.run(&["key", "revoke", "nope"]).code, 1);
}

#[test]
fn a_key_is_narrowed_and_rotated_and_each_change_is_recorded() {
    let machine = Machine::new();
    let create = [
        "key",
        "create",
        "ada",
        "--role",
        "owner",
        "--scope",
        "mcp:tools",
        "--note",
        "laptop",
        "--json",
    ];
    let old = json(&machine.run(&create));
    assert_eq!(old["scopes"], "mcp:tools");
    let id = old["id"].as_str().unwrap();
    let wrong = machine.run(&["key", "create", "ada", "--scope", "mcp:all"]);
    assert!(
        wrong.code == 2 && wrong.err.contains("mcp:admin"),
        "{}",
        wrong.err
    );

    let rotate = machine.run(&["key", "rotate", id, "--overlap", "1h", "--json"]);
    assert_eq!(rotate.code, 0, "{}", rotate.err);
    let new = json(&rotate);
    assert_eq!(
        (&new["rotated_from"], &new["scopes"]),
        (&old["id"], &old["scopes"])
    );
    assert!(new["key"] != old["key"]);
    let listed = json(&machine.run(&["key", "list", "--json"]));
    assert!(listed[0]["expires_at"].is_string() && listed[1]["expires_at"].is_null());
    assert_eq!(
        (&listed[1]["note"], &listed[1]["last_used_at"]),
        (&"laptop".into(), &Value::Null)
    );
    assert_eq!(machine.run(&["key", "rotate", "nope"]).code, 1);

    let audit = machine.run(&["audit", "tail", "--json"]).out;
    for action in ["admin/keys.create", "admin/keys.rotate"] {
        assert!(audit.contains(action), "{audit}");
    }
    assert!(!audit.contains(new["key"].as_str().unwrap()));
}

#[test]
fn sessions_are_revoked_by_what_is_said_of_them_and_by_one_thing_at_a_time() {
    let machine = Machine::new();
    let said = machine.run(&["session", "list"]);
    assert!(
        said.code == 0 && said.err.contains("nobody is signed in"),
        "{}",
        said.err
    );
    for what in [
        &["--user", "ada"][..],
        &["--client", "https://app.example/client.json"],
        &["--token", "portcullis", "0f3e7a"],
        &["--signing-key", "portcullis", "k1"],
        &["--certificate", &"aB".repeat(32)],
    ] {
        let said = machine.run(&[&["session", "revoke"], what, &["--reason", "lost"]].concat());
        assert_eq!(said.code, 0, "{what:?}: {}", said.err);
    }
    for (what, code) in [
        (&["grant:nope"][..], 1),
        (&["nope"], 1),
        (&[], 2),
        (&["--user", "ada", "--client", "x"], 2),
        (&["--token", "corp"], 2),
        (&["--token", "nonesuch", "0f3e7a"], 2),
        (&["--signing-key", "nonesuch", "k1"], 2),
        (&["--certificate", "zz"], 2),
    ] {
        let said = machine.run(&[&["session", "revoke"], what].concat());
        assert_eq!(said.code, code, "{what:?}: {}", said.err);
    }
    let said = machine.run(&["session", "revoke", "--user", "nobody", "--json"]);
    assert!(
        said.err.contains("nothing of nobody is known here"),
        "{}",
        said.err
    );
    assert_eq!(json(&said)["id"], "nobody");
}

fn row(nth: u64) -> AuditRow {
    AuditRow {
        at_us: 1_790_000_000_000_000,
        call_id: format!("call-{nth}"),
        principal: if nth.is_multiple_of(2) {
            "ada"
        } else {
            "grace"
        }
        .to_owned(),
        credential: "local".to_owned(),
        client: "test 1".to_owned(),
        transport: "http".into(),
        revision: "2026-07-28".into(),
        method: "tools/call".into(),
        upstream: Some("time".to_owned()),
        entry: Some(format!("time.now{nth}\u{1b}[2J")),
        arguments_digest: None,
        decision: "allow".into(),
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
        duration_us: 1_234,
        bytes_in: 1,
        bytes_out: 2,
    }
}

fn record(store: &Store, runtime: &Runtime, nth: u64) {
    runtime.block_on(async {
        store
            .reserve_audit(Duration::from_secs(5))
            .await
            .unwrap()
            .write(&row(nth));
        store.flush().await.unwrap();
    });
}

#[test]
fn audit_tail_prints_the_last_records_and_follows() {
    let machine = Machine::new();
    let store = Store::open(&machine.path("home/.local/share/portcullis/portcullis.db")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for nth in 1..=5 {
        record(&store, &runtime, nth);
    }
    let said = machine.run(&["audit", "tail", "-n", "2"]);
    // What came from a client does not act on the terminal.
    assert_eq!(
        said.out,
        "2026-09-21 14:13:20  ok  1.2 ms  ada    tools/call  time.now4\u{fffd}[2J\n\
         2026-09-21 14:13:20  ok  1.2 ms  grace  tools/call  time.now5\u{fffd}[2J\n"
    );
    let adas = machine.run(&["audit", "tail", "--principal", "ada", "--json"]);
    let ids: Vec<Value> = adas
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].clone())
        .collect();
    assert_eq!(ids, [2, 4]);

    let mut follower = machine
        .command(&["audit", "tail", "-f", "-n", "1", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut seq =
        || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["seq"].clone();
    assert_eq!(seq(), 5);
    record(&store, &runtime, 6);
    assert_eq!(seq(), 6);
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn audit_tail_follows_from_before_the_first_start() {
    let machine = Machine::new();
    let mut follower = machine
        .command(&["audit", "tail", "-f", "-n", "1", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(follower.stderr.take().unwrap()).lines();
    let waits = said.next().unwrap().unwrap();
    assert!(waits.contains("there is no database at"), "{waits}");
    let database = machine.path("home/.local/share/portcullis/portcullis.db");
    assert!(!database.exists());

    let store = Store::open(&database).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for nth in 1..=3 {
        record(&store, &runtime, nth);
    }
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let seqs: Vec<Value> = lines
        .take(3)
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()["seq"].clone())
        .collect();
    assert_eq!(seqs, [1, 2, 3]);
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn output_that_nobody_reads_is_no_error() {
    let machine = Machine::new();
    let mut child = machine
        .command(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap().as_str()
        ),
        (Some(0), "")
    );
}

#[test]
fn where_no_gate_has_run_that_is_said_and_nothing_is_made() {
    let machine = Machine::new();
    let tail = machine.run(&["audit", "tail"]);
    assert_eq!((tail.code, tail.out.as_str()), (0, ""));
    let said = "no call was recorded yet: there is no database at `";
    assert!(tail.err.starts_with(said), "{}", tail.err);

    // Elsewhere it would pass for an answer: a `data_dir` with a typing error has no records, and no holds.
    for question in ["audit search", "audit hold list"] {
        let words: Vec<&str> = question.split(' ').collect();
        let asked = machine.run(&words);
        assert_eq!((asked.code, asked.out.as_str()), (1, ""), "{question}");
        assert!(
            asked.err.contains("there is no database at `"),
            "{question}: {}",
            asked.err
        );
    }
    for mistake in [["--since", "tomorrow"], ["--outcome", "good"]] {
        let told = machine.run(&[&["audit", "search"], &mistake[..]].concat());
        assert_eq!(told.code, 2, "{}", told.err);
        assert!(
            told.err.contains(mistake[1]) || told.err.contains(mistake[0]),
            "{}",
            told.err
        );
    }

    let sinks = "[audit.sinks.files]\nkind = \"file\"\npath = \"audit.jsonl\"\n";
    let machine = machine.with("desk/portcullis.toml", sinks);
    let sinks = machine.run(&["audit", "sinks"]);
    assert_eq!(sinks.code, 0, "{}", sinks.err);
    assert!(sinks.out.contains("files"), "{}", sinks.out);
    assert!(
        sinks.err.contains("there is no database at `"),
        "{}",
        sinks.err
    );
    let made = fs::read_dir(machine.path("home")).unwrap().count();
    assert_eq!(made, 0, "nothing but questions was asked");
}
