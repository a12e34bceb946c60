//! Master keys from files, variables and commands; what is none; and the one that does not fit the database.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use store::Store;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;

const KEY: [u8; 32] = *b"\x01\xf5\x9a\x00\xff2canary-of-a-master-key\x80\x81\x82\x83";

fn file(folder: &TempDir, name: &str, held: &[u8], mode: u32) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, held).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn env(value: Option<&str>) -> Source {
    Source::Env {
        name: "KEY".to_owned(),
        value: value.map(|value| Zeroizing::new(value.to_owned())),
    }
}

fn shell(script: &str) -> Source {
    Source::Command(["/bin/sh", "-c", script].map(str::to_owned).to_vec())
}

/// Which key it is, told by what it opens.
fn is_key(source: &Source) -> bool {
    let hash = |key| Vault::new(&key).unwrap().hash("p", b"d");
    hash(source.key().unwrap()) == hash(auth::MasterKey::new(KEY))
}

fn refusal(source: &Source) -> String {
    let error = source.key().unwrap_err();
    let said = format!("{error} {error:?} {source} {source:?}");
    assert!(!said.contains("canary"), "{said}");
    error.to_string()
}

#[test]
fn a_master_key_is_the_same_in_every_form_and_from_every_source() {
    let folder = TempDir::new().unwrap();
    let (standard, url_safe) = (STANDARD.encode(KEY), URL_SAFE_NO_PAD.encode(KEY));
    assert!(is_key(&Source::File(file(&folder, "raw", &KEY, 0o600))));
    let text = file(&folder, "text", format!("{standard}\n").as_bytes(), 0o400);
    assert!(is_key(&Source::File(text)));
    assert!(is_key(&env(Some(&standard))));
    assert!(is_key(&env(Some(&url_safe))));
    assert!(is_key(&shell(&format!("echo {standard}"))));
    let raw = folder.path().join("raw");
    assert!(is_key(&shell(&format!("cat {}", raw.display()))));
}

#[test]
fn what_is_no_master_key_is_refused_and_not_repeated() {
    let no_key =
        "the master key in `$KEY` is not a master key, which is 32 random bytes, raw or in base64";
    for (value, why) in [
        ("changeme", "it has another length or form"),
        ("canary", "it has another length or form"),
        (
            "canary-canary-canary-canary-cana",
            "these are characters, not random bytes",
        ),
        (
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "it is a placeholder",
        ),
        (&STANDARD.encode([7; 33]), "it has another length or form"),
    ] {
        assert_eq!(refusal(&env(Some(value))), format!("{no_key}: {why}"));
    }
    assert_eq!(
        refusal(&env(None)),
        "the master key is to be in the environment variable `KEY`, which is not set"
    );
    let folder = TempDir::new().unwrap();
    let long = file(&folder, "long", &[b'A'; 1 << 20], 0o600);
    assert!(refusal(&Source::File(long)).ends_with("it has another length or form"));
    assert!(refusal(&Source::File(folder.path().join("nope"))).contains("cannot be used"));
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let folder = TempDir::new().unwrap();
    for mode in [0o640, 0o604, 0o660] {
        let source = Source::File(file(&folder, "key", &KEY, mode));
        assert!(
            refusal(&source).contains("can be read by others; run `chmod 600 "),
            "{mode:o}"
        );
    }
}

#[test]
fn a_command_has_ten_seconds_a_kibibyte_and_nothing_of_our_environment() {
    assert!(refusal(&shell("exit 3")).ends_with("it ended with exit status: 3"));
    assert!(refusal(&shell("head -c 2000 /dev/zero")).ends_with("it writes more than 1 KiB"));
    let none = Source::Command(vec!["/nowhere/kms".to_owned()]);
    assert!(refusal(&none).starts_with("the command `/nowhere/kms` gave no master key: "));
    // No shell: what looks like one's syntax is an argument.
    let plain = Source::Command(
        ["/bin/echo", "$(cat", "key)", ";"]
            .map(str::to_owned)
            .to_vec(),
    );
    assert!(refusal(&plain).contains("is not a master key"));
    // Cargo sets these for tests; the command sees none of them.
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
    let seen = shell(&format!(
        "env | grep -q ^CARGO && exit 9; echo {}",
        STANDARD.encode(KEY)
    ));
    assert!(is_key(&seen));
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test of a deadline looks at a clock"
)]
fn a_command_that_does_not_end_is_ended_with_all_it_started() {
    let folder = TempDir::new().unwrap();
    let trace = folder.path().join("trace");
    let begun = Instant::now();
    // Its child holds the pipe open, and would write once the command itself is gone.
    let script = format!(
        "(sleep 2; echo x > {}) & echo abc; sleep 60",
        trace.display()
    );
    let words = ["/bin/sh", "-c", &script].map(str::to_owned);
    let error = source::from_command(&words, Duration::from_millis(300)).unwrap_err();
    assert!(
        error.to_string().ends_with("it was not done within 300ms"),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(2));
    while begun.elapsed() < Duration::from_millis(2500) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!trace.exists(), "what it started has ended too");
}

fn store(folder: &TempDir) -> Store {
    Store::open(&folder.path().join("portcullis.db")).unwrap()
}

fn own(folder: &TempDir) -> Source {
    Source::Own(folder.path().join(FILE))
}

#[tokio::test]
async fn a_data_folder_makes_its_master_key_once_and_misses_it_when_it_is_gone() {
    let folder = TempDir::new().unwrap();
    let (store, source) = (store(&folder), own(&folder));
    let first = open(&store, &source, UNIX_EPOCH).unwrap();
    let path = folder.path().join(FILE);
    let about = fs::metadata(&path).unwrap();
    assert_eq!(
        (about.permissions().mode() & 0o777, about.len()),
        (0o600, 32)
    );
    let again = open(&store, &source, UNIX_EPOCH).unwrap();
    assert_eq!(first.hash("p", b"d"), again.hash("p", b"d"));

    fs::remove_file(&path).unwrap();
    let gone = open(&store, &source, UNIX_EPOCH).unwrap_err().to_string();
    assert!(
        gone.contains("is gone, and this database was sealed under it"),
        "{gone}"
    );
    assert!(!Path::new(&path).exists(), "a new one would open nothing");
}

#[tokio::test]
async fn another_master_key_is_refused_in_words() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder);
    open(&store, &own(&folder), UNIX_EPOCH).unwrap();
    let other = env(Some(&STANDARD.encode(KEY)));
    let error = open(&store, &other, UNIX_EPOCH).unwrap_err();
    assert_eq!(
        format!("{:#}", anyhow::Error::new(error)),
        "the master key in `$KEY` cannot be used: this database was sealed under another master key"
    );
    assert!(matches!(
        open_sealed(&store, &other),
        Err(Error::Foreign { .. })
    ));
}
