//! Secrets through the built binary: kept, listed, used by a gate that runs, rotated; and seen by nobody.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::termios::tcgetattr;
use serde_json::Value;

use crate::cli::{Machine, Said, json};

const CANARY: &str = "canary-9b27-of-a-token";
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the binary with this on stdin.
fn run_with(machine: &Machine, words: &[&str], input: &str) -> Said {
    let mut child = machine
        .command(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that refuses before it reads has closed its end.
    drop(stdin.write_all(input.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

fn data(machine: &Machine) -> std::path::PathBuf {
    machine.path("home/.local/share/portcullis")
}

#[test]
fn a_secret_is_kept_listed_replaced_and_removed_and_never_shown() {
    let machine = Machine::new().with(
        "desk/portcullis.toml",
        "[upstreams.a]\nurl = \"https://a.example/mcp\"\nheaders = { Authorization = { secret = \"github\" } }",
    );
    let mut all = String::new();
    let mut run = |words: &[&str], input: &str| {
        let said = run_with(&machine, words, input);
        all = format!("{all}{}{}", said.out, said.err);
        said
    };
    let none = run(&["secret", "list"], "");
    assert!(none.code == 0 && none.err.contains("`portcullis secret set NAME` keeps one"));

    let kept = run(&["secret", "set", "github"], &format!("{CANARY}\n"));
    assert_eq!(
        (kept.code, kept.out.as_str(), kept.err.as_str()),
        (
            0,
            "",
            "keeps the secret github; it is not shown again\nrefer to it in the config as { secret = \"github\" }\n"
        )
    );
    let again = run(
        &["secret", "set", "github", "--json"],
        &format!("{CANARY}-2"),
    );
    assert_eq!(json(&again)["created"], false);
    let made = run(&["secret", "set", "pepper", "--generate"], "");
    assert_eq!((made.code, made.out.as_str()), (0, ""));

    let listed = json(&run(&["secret", "list", "--json"], ""));
    assert_eq!(
        (&listed[0]["name"], &listed[1]["name"]),
        (&"github".into(), &"pepper".into())
    );
    assert_eq!(listed[0]["data_key"].as_str().unwrap().len(), 16);
    assert!(listed[0].get("value").is_none());
    let table = run(&["secret", "list"], "").out;
    assert!(
        table.starts_with("NAME    DATA KEY          CREATED"),
        "{table}"
    );

    let removed = run(&["secret", "remove", "github"], "");
    assert_eq!(
        (removed.code, removed.err.as_str()),
        (
            0,
            "removed the secret github\nthe config still refers to it in upstreams.a.headers.Authorization: no gate starts until that is changed\n"
        )
    );
    let twice = run(&["secret", "remove", "github", "--json"], "");
    assert_eq!((twice.code, &json(&twice)["removed"]), (1, &false.into()));
    let records = run(&["audit", "tail", "--json"], "").out;
    let acts: Vec<String> = records
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            format!(
                "{} {} {}",
                record["method"], record["entry"], record["outcome"]
            )
            .replace('"', "")
        })
        .collect();
    assert_eq!(
        acts,
        [
            "admin/secrets.set github ok",
            "admin/secrets.set github ok",
            "admin/secrets.set pepper ok",
            "admin/secrets.remove github ok",
            "admin/secrets.remove github refused"
        ]
    );
    assert!(!all.contains(CANARY), "{all}");
}

#[test]
fn what_is_no_secret_is_refused() {
    let machine = Machine::new();
    for (name, value, code) in [
        ("a", "changeme\n", 1),
        ("a", "<your token>", 1),
        ("a", "\n", 1),
        ("a/b", CANARY, 2),
    ] {
        let said = run_with(&machine, &["secret", "set", name], value);
        assert_eq!(said.code, code, "{value}: {}", said.err);
        assert!(!said.err.contains(value.trim()) || value.trim().is_empty());
    }
    // On the command line others could read it, so there is no place for it.
    assert_eq!(machine.run(&["secret", "set", "a", CANARY]).code, 2);
    assert_eq!(
        json(&machine.run(&["secret", "list", "--json"])),
        Value::Array(Vec::new())
    );
}

#[test]
fn one_missing_secret_stops_only_what_needs_it() {
    let machine = Machine::new().with(
        "desk/portcullis.toml",
        "[upstreams.a]\nstdio = [\"a\"]\nenv = { A = { env = \"UNSET_A\" }, B = { secret = \"b\" } }",
    );
    for words in [
        &["key", "list"][..],
        &["secret", "list"],
        &["audit", "tail"],
        &["config", "show"],
        &["install", "--client", "cursor", "--dry-run"],
    ] {
        let said = machine.run(words);
        assert_eq!(said.code, 0, "{words:?}: {}", said.err);
    }
    for words in [&["check"][..], &["tools", "list"], &["serve"], &["stdio"]] {
        let said = machine.run(words);
        assert_eq!(said.code, 1, "{words:?}");
        assert_eq!(
            said.err,
            "error: portcullis.toml:3: upstreams.a.env.A: the environment variable `UNSET_A` is not set; set it before starting the gate, or use { file = \"…\" }\n\
             portcullis.toml:3: upstreams.a.env.B: there is no secret `b`; run `portcullis secret set b`\n",
            "{words:?}"
        );
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test of how fast a gate refuses looks at a clock"
)]
fn a_gate_with_another_master_key_does_not_start() {
    let machine = Machine::new();
    assert_eq!(run_with(&machine, &["secret", "set", "a"], CANARY).code, 0);
    let key = data(&machine).join("master.key");
    fs::write(&key, (1..=32).collect::<Vec<u8>>()).unwrap();
    let begun = Instant::now();
    let said = machine.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(said.code, 1);
    assert!(
        said.err
            .ends_with("because this database was sealed under another master key\n"),
        "{}",
        said.err
    );
    let said = run_with(&machine, &["secret", "set", "b"], CANARY);
    assert!(
        said.code == 1 && said.err.contains("another master key"),
        "{}",
        said.err
    );

    fs::remove_file(&key).unwrap();
    let said = machine.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(
        said.code == 1 && said.err.contains("is gone"),
        "{}",
        said.err
    );
    assert!(!key.exists());
}

#[test]
fn the_keys_are_rotated_and_the_master_key_replaced() {
    let machine = Machine::new();
    for name in ["a", "b"] {
        assert_eq!(run_with(&machine, &["secret", "set", name], CANARY).code, 0);
    }
    let data_key = || json(&machine.run(&["secret", "list", "--json"]))[0]["data_key"].clone();
    let before = data_key();
    let rotated = json(&machine.run(&["secret", "rotate", "--json"]));
    assert_eq!(
        (&rotated["resealed"], &rotated["unreadable"]),
        (&2.into(), &0.into())
    );
    assert_eq!(data_key(), rotated["data_key"]);
    assert_ne!(data_key(), before);

    let said = machine.run(&["secret", "rotate", "--new-master-file", "new.key"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err
            .contains("[secrets] master_key = { file = \"/desk/new.key\" }"),
        "{}",
        said.err
    );
    let old = machine.run(&["secret", "rotate"]);
    assert!(
        old.code == 1 && old.err.contains("another master key"),
        "{}",
        old.err
    );
    fs::write(
        machine.path("desk/portcullis.toml"),
        "builtins = [\"time\"]\nsecrets.master_key = { file = \"new.key\" }",
    )
    .unwrap();
    assert_eq!(machine.run(&["secret", "rotate"]).code, 0);
    assert_eq!(machine.run(&["tools", "list"]).code, 0);
}

#[test]
fn no_file_holds_what_was_kept() {
    let machine = Machine::new();
    assert_eq!(run_with(&machine, &["secret", "set", "a"], CANARY).code, 0);
    assert_eq!(machine.run(&["secret", "rotate"]).code, 0);
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    // Base64 of "canary-9b27-of-a-token", whole groups only.
    let base64 = "Y2FuYXJ5LTliMjctb2YtYS10b2tl";
    for file in fs::read_dir(data(&machine)).unwrap() {
        let file = file.unwrap().path();
        let held = fs::read(&file).unwrap();
        for form in [CANARY, &hex, &hex.to_uppercase(), base64] {
            let found = held
                .windows(form.len())
                .any(|window| window == form.as_bytes());
            assert!(!found, "{} holds {form}", file.display());
        }
    }
}

/// A gate that is killed at the end of its test.
struct Gate(Child);

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A server that answers nothing, and tells with which authorization it is called.
fn server() -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(value) = line.to_lowercase().strip_prefix("authorization: ")
                    && tell.send(value.trim().to_owned()).is_err()
                {
                    return;
                }
                line.clear();
            }
            drop(
                stream.write_all(
                    b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                ),
            );
        }
    });
    (address, told)
}

#[test]
fn a_running_gate_takes_over_a_changed_secret() {
    let (address, told) = server();
    let machine = Machine::new().with(
        "desk/portcullis.toml",
        &format!(
            "builtins = []\n[upstreams.a]\nurl = \"http://{address}/mcp\"\nheaders = {{ Authorization = {{ secret = \"a\" }} }}"
        ),
    );
    let set = |value: &str| {
        let said = run_with(&machine, &["secret", "set", "a"], value);
        assert_eq!(said.code, 0, "{}", said.err);
    };
    set("one-of-them");
    let child = machine
        .command(&["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut gate = Gate(child);
    let wait_for = |wanted: &str| {
        loop {
            let value = told.recv_timeout(PATIENCE).expect("no call any more");
            if value == wanted {
                return;
            }
        }
    };
    wait_for("one-of-them");
    set("two-of-them");
    wait_for("two-of-them");
    // Also what is sealed with a key that the gate has not made.
    assert_eq!(machine.run(&["secret", "rotate"]).code, 0);
    set("three-of-them");
    wait_for("three-of-them");

    let mut stderr = gate.0.stderr.take().unwrap();
    drop(gate);
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(
        said.contains("config taken over") && !said.contains("-of-them"),
        "{said}"
    );
}

/// How a command ended at whose terminal these were typed, one each time it asked, and what the terminal showed.
fn typed(machine: &Machine, words: &[&str], keys: &[&[u8]]) -> (i32, String) {
    let pty = openpty(None, None).unwrap();
    let (mut keyboard, terminal) = (File::from(pty.master), File::from(pty.slave));
    let before = tcgetattr(&keyboard).unwrap();
    let mut command = machine.command(words);
    command.stdin(terminal.try_clone().unwrap());
    command.stdout(Stdio::null()).stderr(terminal);
    let mut child = command.spawn().unwrap();
    // With it go our ends of the terminal: when the child has ended, nothing more comes.
    drop(command);
    let (mut shown, mut some) = (String::new(), [0; 512]);
    let mut keys = keys.iter();
    while let Ok(length @ 1..) = keyboard.read(&mut some) {
        shown.push_str(str::from_utf8(&some[..length]).unwrap());
        if shown.ends_with("(not shown): ") {
            // Whoever asks more often than that is told nothing.
            let keys = keys.next().copied().unwrap_or(b"\x03");
            keyboard.write_all(keys).unwrap();
        }
    }
    assert_eq!(keys.next(), None, "not asked for: {shown}");
    assert_eq!(tcgetattr(&keyboard).unwrap(), before, "as it was");
    (child.wait().unwrap().code().unwrap(), shown)
}

#[test]
fn what_is_typed_at_a_terminal_is_not_shown() {
    let machine = Machine::new().with("desk/portcullis.toml", "builtins = []\n");
    let add = &["user", "add", "alice", "--password-stdin"][..];
    let backup = &["backup", "create", "all.backup", "--passphrase-file", "-"][..];
    let good = &b"quartz-lantern-42-orbit\n"[..];
    for (words, times) in [(add, 2), (&["secret", "set", "github"], 1), (backup, 2)] {
        let (code, shown) = typed(&machine, words, &[b"quartz-lantern\x03"]);
        assert!(code != 0 && !shown.contains("quartz"), "{words:?} {shown}");
        let (code, shown) = typed(&machine, words, &[good; 2][..times]);
        assert!(code == 0 && !shown.contains("quartz"), "{words:?} {shown}");
    }
    // It is what was typed, and no more.
    let verify = ["backup", "verify", "all.backup", "--passphrase-file", "-"];
    let said = run_with(&machine, &verify, "quartz-lantern-42-orbit\n");
    assert_eq!(said.code, 0, "{}", said.err);
    // What it was sealed with is known: once is enough.
    let (code, shown) = typed(&machine, &verify, &[good]);
    assert!(code == 0 && !shown.contains("quartz"), "{shown}");
}

#[test]
fn a_slip_in_what_nobody_sees_is_found_by_typing_it_twice() {
    let machine = Machine::new().with("desk/portcullis.toml", "builtins = []\n");
    let keys = [
        &b"quartz-lantern-42-orbit\n"[..],
        b"quartz-lantern-42-orbut\n",
    ];
    for words in [
        &["user", "add", "alice", "--password-stdin"][..],
        &["backup", "create", "all.backup", "--passphrase-file", "-"],
    ] {
        let (code, shown) = typed(&machine, words, &keys);
        assert!(code == 1 && shown.contains("differently"), "{shown}");
        assert!(!shown.contains("quartz"), "{shown}");
    }
    assert!(!machine.run(&["user", "list"]).out.contains("alice"));
    assert!(!machine.path("desk/all.backup").exists());
}
