//! References to secrets of all kinds, where the master key is, and that nothing prints what was found.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use ::store::Store;
use auth::vault::secrets::{self, SecretName};

use super::*;
use crate::serve::{self, Core};
use crate::{SystemClock, vault};

const CANARY: &str = "canary-6c1d-of-a-secret";

/// The database of this place, as a gate opens it.
fn opened(here: &Place) -> (Store, Arc<auth::Vault>) {
    let loaded = load_with(&here.sources, &here.environment, Fetch::Nothing).unwrap();
    let store = Store::open(loaded.database()).unwrap();
    let vault = vault::open(&store, &loaded.master_key, UNIX_EPOCH).unwrap();
    (store, vault)
}

async fn keep((store, vault): &(Store, Arc<auth::Vault>), name: &str, value: &str) {
    let name = SecretName::new(name).unwrap();
    secrets::put(store, vault, &name, value.as_bytes(), UNIX_EPOCH)
        .await
        .unwrap();
}

fn variables(loaded: &Loaded) -> Vec<&str> {
    let upstream::Kind::Stdio(stdio) = &loaded.upstreams[0].kind else {
        panic!("{loaded:?}")
    };
    stdio.env.values().map(String::as_str).collect()
}

const THREE: &str = "builtins = []
[upstreams.a]
stdio = [\"server\"]
[upstreams.a.env]
A = { env = \"A\" }
B = { file = \"b.txt\" }
C = { secret = \"team.c\" }";

#[tokio::test]
async fn a_value_can_stand_in_the_environment_a_file_or_the_database() {
    let here = place(
        &[("portcullis.toml", THREE), ("b.txt", "from a file\n")],
        &[("A", "from the environment")],
    );
    keep(&opened(&here), "team.c", "from the database").await;
    let loaded = here.load().unwrap();
    assert!(loaded.is_whole());
    assert_eq!(
        variables(&loaded),
        ["from the environment", "from a file", "from the database"]
    );
    assert_eq!(
        here.shown_of("upstreams.a.env.C").0,
        "{ secret = \"team.c\" }"
    );
}

#[tokio::test]
async fn a_running_gate_reads_from_the_database_that_it_has_open() {
    let here = place(&[("portcullis.toml", THREE), ("b.txt", "b")], &[("A", "a")]);
    let open = opened(&here);
    for value in ["first", "second"] {
        keep(&open, "team.c", value).await;
        // Without the master key nobody could open it anew.
        drop(fs::remove_file(
            here.load_settings().data_dir.join(vault::FILE),
        ));
        let fetch = Fetch::From(&open.0, &open.1);
        let loaded = load_with(&here.sources, &here.environment, fetch).unwrap();
        assert_eq!(variables(&loaded)[2], value);
    }
}

impl Place {
    fn load_settings(&self) -> Loaded {
        load_with(&self.sources, &self.environment, Fetch::Nothing).unwrap()
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_told_with_the_command_that_keeps_it() {
    let here = place(
        &[(
            "portcullis.toml",
            "[upstreams.a]\nstdio = [\"x\"]\nenv = { C = { secret = \"team.c\" }, D = { secret = \"a/b\" } }",
        )],
        &[],
    );
    let expected = "portcullis.toml:3: upstreams.a.env.C: there is no secret `team.c`; run `portcullis secret set team.c`
portcullis.toml:3: upstreams.a.env.D: that is not a name of a secret; use up to 128 letters, digits, `-`, `_` and `.`";
    assert_eq!(here.complaints(), expected);
    assert!(
        !here.load_settings().data_dir.exists(),
        "reading a config makes no database"
    );
    // The same with a database in which others are.
    let open = opened(&here);
    keep(&open, "team.d", "d").await;
    assert_eq!(here.complaints(), expected);
    keep(&open, "team.c", "ChangeMe").await;
    let placeholder = here.complaints();
    assert!(
        placeholder.contains("env.C: holds a placeholder, not a secret")
            && !placeholder.contains("ChangeMe"),
        "{placeholder}"
    );
}

#[tokio::test]
async fn a_command_that_starts_nothing_misses_no_secret_and_no_gate_starts_without() {
    let here = place(&[("portcullis.toml", THREE)], &[]);
    assert_eq!(here.load().unwrap_err().0.len(), 3);
    let settings = here.load_settings();
    assert!(!settings.is_whole());
    let refused = Core::start(&settings, &[], Arc::new(SystemClock::start()));
    assert!(matches!(refused, Err(serve::Error::WithoutSecrets)));
    assert!(place(&[], &[]).load_settings().is_whole());
    // Other mistakes are still told.
    let other = place(&[("portcullis.toml", "listen = \"8080\"")], &[]);
    assert!(load_with(&other.sources, &other.environment, Fetch::Nothing).is_err());
}

#[test]
fn the_master_key_is_in_a_file_a_variable_or_a_command() {
    let source = |value: &str| {
        let config = format!("[secrets]\nmaster_key = {value}");
        let here = place(&[("portcullis.toml", &config)], &[("KEY", CANARY)]);
        let said = format!("{} {:?}", here.load().unwrap().master_key, here.shown());
        assert!(!said.contains(CANARY), "{said}");
        let folder = format!("{}/", here.folder.path().display());
        here.load()
            .unwrap()
            .master_key
            .to_string()
            .replace(&folder, "")
    };
    assert_eq!(
        source("{ file = \"keys/master\" }"),
        "the master key `keys/master`"
    );
    assert_eq!(source("{ env = \"KEY\" }"), "the master key in `$KEY`");
    assert_eq!(
        source("{ command = [\"/usr/bin/kms\", \"--token=x\"] }"),
        "the master key of the command `/usr/bin/kms`"
    );
    check(
        "secrets.master_key = { command = [\"kms\", \"x\"] }",
        "1: secrets.master_key: `kms` is not the whole path of a program; write for example [\"/usr/bin/kms-decrypt\", \"gate\"]",
    );
    check(
        "secrets.master_key = { command = [] }",
        "1: secrets.master_key.command: the list is empty",
    );
    check(
        "secrets.master_key = { file = \"a\", env = \"B\" }",
        "1: secrets.master_key: exactly one of `file`, `env` and `command` is needed",
    );
    let text = place(
        &[(
            "portcullis.toml",
            &format!("secrets.master_key = \"{CANARY}\""),
        )],
        &[],
    );
    assert_eq!(
        text.complaints(),
        "portcullis.toml:1: secrets.master_key: a text stands where a table is wanted"
    );
}

#[tokio::test]
async fn a_database_of_another_master_key_is_told() {
    let here = place(&[("portcullis.toml", THREE), ("b.txt", "b")], &[("A", "a")]);
    keep(&opened(&here), "team.c", "c").await;
    let key = here.load_settings().data_dir.join(vault::FILE);
    fs::write(key, (1..=32_u8).collect::<Vec<_>>()).unwrap();
    let said = here.complaints();
    assert!(
        said.starts_with("portcullis.toml:7: upstreams.a.env.C: the master key `")
            && said.ends_with("this database was sealed under another master key"),
        "{said}"
    );
}

/// Everything that has seen a secret, in every form in which it could be printed.
#[tokio::test]
async fn no_form_of_a_config_says_a_secret() {
    let config = format!(
        "[secrets]
master_key = {{ env = \"KEY\" }}
[upstreams.a]
stdio = [\"server\"]
env = {{ A = {{ env = \"A\" }}, B = {{ file = \"b.txt\" }}, C = {{ secret = \"c\" }}, D_TOKEN = \"{CANARY}\" }}
[upstreams.b]
url = \"https://b.example/mcp\"
headers = {{ Authorization = {{ secret = \"c\" }}, X-Key = \"{CANARY}\" }}"
    );
    let key = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
    let here = place(
        &[("portcullis.toml", &config), ("b.txt", CANARY)],
        &[("A", CANARY), ("KEY", key)],
    );
    let open = opened(&here);
    keep(&open, "c", CANARY).await;
    let loaded = here.load().unwrap();
    let fetch = Fetch::From(&open.0, &open.1);
    let said = format!(
        "{loaded:?} {fetch:?} {open:?} {:?} {:?} {:?}",
        here.shown(),
        here.environment,
        raw::Secret::Literal(CANARY.to_owned()),
    );
    let forms = [
        CANARY.to_owned(),
        key.to_owned(),
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, CANARY),
        CANARY.bytes().map(|byte| format!("{byte:02x}")).collect(),
        format!("{:?}", CANARY.as_bytes()),
    ];
    for form in forms {
        assert!(!said.contains(&form), "{said}");
    }
    // Nor do complaints about what holds it.
    let bad = place(
        &[(
            "portcullis.toml",
            &format!(
                "[upstreams.a]\nurl = \"https://x.example\"\nheaders = {{ X = \"{CANARY}\\n\", Y = {{ secret = \"{CANARY}/\" }} }}"
            ),
        )],
        &[],
    );
    let said = bad.complaints();
    assert!(
        said.lines().count() == 2 && !said.contains(CANARY),
        "{said}"
    );
}
