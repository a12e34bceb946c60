//! Bad configs and exactly what is said about them; layers and their origins; what is never printed.

mod alerts;
mod audit;
mod authority;
mod credential;
mod issuers;
mod postgres;
mod proxies;
mod secrets;
mod sign_in;
mod sinks;
mod telemetry;
mod tls;

use std::fs;

use tempfile::TempDir;

use super::*;

struct Place {
    folder: TempDir,
    environment: Environment,
    sources: Sources,
}

/// A folder with these files, and an environment with these variables, whose home is `home` in that folder.
fn place(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Place {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let mut environment = Environment {
        folder: folder.path().to_owned(),
        ..Environment::default()
    };
    let home = folder.path().join("home").to_str().unwrap().to_owned();
    environment.variables.insert("HOME".to_owned(), home);
    for (name, value) in variables {
        environment
            .variables
            .insert((*name).to_owned(), (*value).to_owned());
    }
    Place {
        folder,
        environment,
        sources: Sources::default(),
    }
}

impl Place {
    fn load(&self) -> Result<Loaded, Invalid> {
        load(&self.sources, &self.environment)
    }

    /// What is complained about, with the folder's name taken out.
    fn complaints(&self) -> String {
        let invalid = self.load().expect_err("this config is bad");
        invalid
            .to_string()
            .replace(&format!("{}/", self.folder.path().display()), "")
    }

    fn shown(&self) -> Vec<(String, String, String)> {
        let (shown, _) = show(&self.sources, &self.environment).unwrap();
        shown
            .into_iter()
            .map(|one| (one.key, one.value, one.origin.to_string()))
            .collect()
    }

    fn shown_of(&self, key: &str) -> (String, String) {
        let shown = self.shown().into_iter().find(|(shown, ..)| shown == key);
        let (_, value, origin) = shown.unwrap_or_else(|| panic!("{key} is not shown"));
        (value, origin)
    }
}

/// The config, and what is said about it without the name of the file.
fn check(config: &str, expected: &str) {
    let said = place(&[("portcullis.toml", config)], &[])
        .complaints()
        .replace("portcullis.toml:", "");
    assert_eq!(said, expected.trim(), "\nof\n{config}");
}

#[test]
fn defaults_alone_are_a_config() {
    let loaded = place(&[], &[]).load().unwrap();
    assert_eq!(loaded.listen, ["127.0.0.1:8080".parse().unwrap()]);
    let aliases: Vec<&str> = loaded
        .upstreams
        .iter()
        .map(|upstream| upstream.id.as_str())
        .collect();
    assert_eq!(aliases, ["fetch", "notes", "status", "time"]);
    assert!(loaded.data_dir.ends_with("home/.local/share/portcullis"));
    assert_eq!(loaded.files, Vec::<PathBuf>::new());
}

#[test]
fn what_carries_messages_to_an_upstream_is_in_its_address_or_beside_it() {
    use upstream::{Kind, Transport};
    let config = "builtins = []\n\
        upstreams.a.url = \"https://a.example/mcp\"\n\
        upstreams.b = { url = \"https://a.example/sse\", transport = \"sse\" }\n\
        upstreams.c.url = \"wss://a.example/ws\"\n\
        upstreams.d.url = \"ws://localhost:1/\"\n";
    let loaded = place(&[("portcullis.toml", config)], &[]).load().unwrap();
    let transports: Vec<Transport> = loaded
        .upstreams
        .iter()
        .filter_map(|upstream| match &upstream.kind {
            Kind::Http(http) => Some(http.transport),
            Kind::Stdio(_) | Kind::Native(_) | Kind::Provider(_) => None,
        })
        .collect();
    let socket = Transport::WebSocket;
    assert_eq!(
        transports,
        [Transport::Http, Transport::Sse, socket, socket]
    );
    check(
        "upstreams.a = { url = \"wss://a.example/\", transport = \"sse\" }\n\
         upstreams.b = { stdio = [\"b\"], transport = \"sse\" }",
        "1: upstreams.a.transport: goes only with an http or https `url`; leave it out\n\
         2: upstreams.b.transport: goes only with `url`; leave it out",
    );
}

#[test]
fn an_upstream_replaces_the_builtin_of_its_name() {
    let config = "builtins = [\"time\"]\n[upstreams.time]\nnative = \"fetch\"\nprivate = true";
    let loaded = place(&[("portcullis.toml", config)], &[]).load().unwrap();
    assert_eq!(loaded.upstreams.len(), 1);
    assert_eq!(
        loaded.upstreams[0].kind,
        upstream::Kind::Native(upstream::native::Spec::Fetch { private: true })
    );
}

#[test]
fn an_upstream_that_is_off_is_left_out_and_its_secrets_are_not_fetched() {
    let config = "[upstreams.a]\nenabled = false\nurl = \"https://a.example/mcp\"\nheaders = { Authorization = { env = \"NOPE\" } }";
    let loaded = place(&[("portcullis.toml", config)], &[]).load().unwrap();
    assert!(
        loaded
            .upstreams
            .iter()
            .all(|upstream| upstream.id.as_str() != "a")
    );
}

#[test]
fn unknown_keys_are_told_with_the_nearest_known_one() {
    check(
        "lisen = \"x\"\n[limits]\ntool_calls = { max = 1 }\n[catalog]\npage-size = 5\nzzz = 1",
        "1: lisen: there is no such key; did you mean `listen`?
3: limits.tool_calls: there is no such key; did you mean `tool_call`?
5: catalog.page-size: there is no such key; did you mean `page_size`?
6: catalog.zzz: there is no such key; possible are `prefix`, `separator`, `page_size`, `list_deadline`, `schemas` and `names`",
    );
    check(
        "mcpServers = {}",
        "1: mcpServers: there is no such key; `portcullis import FILE` makes upstreams of it",
    );
}

#[test]
fn wrong_types_are_told_with_the_right_spelling() {
    check(
        "listen = 8080
[limits]
tool_call = { max = 0, per = 60 }
resource_access = \"5/s\"
[http]
body_max = 4
body_timeout = 2500
connections_max = \"5\"
danger_exposed_plaintext = \"yes\"
allowed_hosts = \"gate.example.com\"
[upstreams.a]
stdio = \"npx -y server\"",
        "1: listen: the number `8080` stands where a text or a list is wanted; write \"127.0.0.1:8080\"
3: limits.tool_call.max: `0` is out of range; write a number from 1 up
3: limits.tool_call.per: the number `60` stands where a duration is wanted; say the unit: \"60s\"
4: limits.resource_access: a text stands where a table is wanted
6: http.body_max: the number `4` stands where a size is wanted; say the unit: \"4MiB\"
7: http.body_timeout: the number `2500` stands where a duration is wanted; say the unit: \"2500ms\"
8: http.connections_max: a text stands where a whole number is wanted; write it without quotes: 5
9: http.danger_exposed_plaintext: a text stands where true or false is wanted; write true or false, without quotes
10: http.allowed_hosts: a text stands where a list is wanted; write it as a list: [\"gate.example.com\"]
12: upstreams.a.stdio: a text stands where a list is wanted; write it as a list: [\"npx\", \"-y\", \"server\"]",
    );
}

#[test]
fn values_without_meaning_are_told() {
    check(
        "listen = \"8080\"
builtins = [\"files\", \"tme\"]
[log]
level = \"infoo\"
format = \"txt\"
[http]
header_timeout = \"10\"
body_timeout = \"0s\"
body_max = \"5TB\"
allowed_hosts = [\"https://x\"]
allowed_origins = [\"https://x.example/a\", \"null\"]",
        "1: listen: `8080` is not an address with a port; write \"127.0.0.1:8080\"
2: builtins.0: `files` is not possible here; write \"fetch\", \"time\", \"notes\" or \"status\"
2: builtins.1: `tme` is not possible here; did you mean \"time\"?
4: log.level: `infoo` is not a level; did you mean \"info\"?
5: log.format: `txt` is not possible here; did you mean \"text\"?
7: http.header_timeout: `10` has no unit; write \"10s\"
8: http.body_timeout: nothing is done in no time; write for example \"30s\"
9: http.body_max: `TB` is no unit of size; use B, KiB, MiB or GiB
10: http.allowed_hosts.0: `https://x` is not a host name; write for example \"gate.example.com\"; patterns are not possible
11: http.allowed_origins.0: `https://x.example/a` is more than an origin; write \"https://x.example\"
11: http.allowed_origins.1: `null` is not an origin; write for example \"https://app.example.com\"; patterns are not possible",
    );
}

#[test]
fn an_upstream_is_one_thing_and_has_only_that_things_settings() {
    check(
        "[upstreams.nothing]
[upstreams.both]
url = \"https://x.example/mcp\"
stdio = [\"x\"]
[upstreams.a__b]
url = \"ftp://x\"
cwd = \"/\"
headers = { Host = \"x\" }
[upstreams.elsewhere]
command = \"npx\"
args = [\"-y\"]
[upstreams.line]
stdio = [\"npx -y server\"]
[upstreams.files]
native = \"files\"
roots = [\"nope\"]
private = true",
        "1: upstreams.nothing: says nowhere what it is; give it one of stdio = [\"command\", …], url = \"https://…\" and native = \"files\"
2: upstreams.both: `stdio` and `url` exclude each other; keep one
5: upstreams.a__b: `__` cannot stand in an upstream's name: it separates upstream and tool; rename it
6: upstreams.a__b.url: `ftp` is not the scheme of an MCP endpoint; write for example \"https://tools.example.com/mcp\"
7: upstreams.a__b.cwd: goes only with `stdio`; leave it out
8: upstreams.a__b.headers.Host: is set by the gate itself; leave it out
10: upstreams.elsewhere.command: there is no such key; write stdio = [\"command\", \"argument\", …]
11: upstreams.elsewhere.args: there is no such key; arguments follow the command: stdio = [\"command\", \"argument\", …]
13: upstreams.line.stdio: is a whole command line in one text, and no shell is there to split it; write [\"npx\", \"-y\", \"server\"]
16: upstreams.files.roots: there is no folder nope; create it, or name another
17: upstreams.files.private: goes only with `native = \"fetch\"`; leave it out",
    );
}

#[test]
fn secrets_that_cannot_be_had_are_told_and_never_repeated() {
    check(
        "[upstreams.a]
stdio = [\"server\"]
[upstreams.a.env]
API_TOKEN = \"changeme\"
B = { env = \"NOPE\" }
C = { file = \"nope\" }
D = {}
E = { env = \"x\", file = \"y\" }
F = { vault = \"x\" }
G = 271828",
        "4: upstreams.a.env.API_TOKEN: holds a placeholder, not a secret; put the real value where { env = \"…\" } or { file = \"…\" } points
5: upstreams.a.env.B: the environment variable `NOPE` is not set; set it before starting the gate, or use { file = \"…\" }
6: upstreams.a.env.C: nope cannot be read: No such file or directory (os error 2)
7: upstreams.a.env.D: exactly one of `env`, `file` and `secret` is needed
8: upstreams.a.env.E: exactly one of `env`, `file` and `secret` is needed
9: upstreams.a.env.F.vault: there is no such key; possible are `env`, `file` and `secret`
10: upstreams.a.env.G: something else stands where a text or a table is wanted; write it in quotes",
    );
}

#[test]
fn keys_and_roles_are_checked_against_each_other() {
    let hash = "0123456789abcdef".repeat(4);
    check(
        &format!(
            "[keys.ci]
hash = \"sha256:{hash}\"
roles = [\"readr\"]
[keys.plain]
hash = \"my own secret\"
[keys.short]
hash = \"sha256:abc\"
expires = \"tomorrow\"
[keys.none]
[keys.zero]
hash = \"sha256:{}\"
[roles.reader]
allow = [\"files\", \".x\"]
members = [\"a b\"]
[roles.owner]
allow = [\"*\"]",
            "0".repeat(64)
        ),
        "3: keys.ci.roles.0: there is no role `readr`; did you mean \"reader\"?
5: keys.plain.hash: a key's hash is `sha256:` and 64 hex digits, as `portcullis key create` prints it
7: keys.short.hash: a key's hash is `sha256:` and 64 hex digits, as `portcullis key create` prints it
8: keys.short.expires: `tomorrow` is not a date, time and zone; write for example \"2027-01-01T00:00:00Z\"
9: keys.none.hash: is missing; `sha256:` and 64 hex digits, as `portcullis key create` prints it; the key itself never stands here.
11: keys.zero.hash: is a placeholder, not a hash; `portcullis key create` makes keys and says their hash
13: roles.reader.allow.0: `files` names an upstream but no entry; write `files.*` for all of it
13: roles.reader.allow.1: `.x` names no upstream; write `*.x` for that entry of every upstream
14: roles.reader.members.0: ` ` cannot stand in this name; use letters, digits and `-_.@:+/|`
15: roles.owner: is built in and allows everything; leave out its `allow`, `ask` and `deny`; it can have members",
    );
}

#[test]
fn what_people_write_for_cedar_and_for_patterns_is_told_in_cedar_and_patterns() {
    let said = place(
        &[(
            "portcullis.toml",
            r#"[roles.a]
allow = [
"files/read",
{ tool = "x.*", when = "context.args.a == 1 and true" },
{ tool = "x.*", when = "args.a == 1" },
{ tool = "x.*", when = "context.args.a > 1.5" },
]
[limits.quotas.none]
per = "principal"
calls = 0
every = "day""#,
        )],
        &[],
    )
    .complaints();
    let said: Vec<&str> = said.lines().collect();
    let ends = [
        "; or did you mean `files.read`?",
        "; write `&&`, `||` and `!`",
        "; write `context.args.NAME`",
        "; write `context.args.NAME.greaterThan(decimal(\"1.5\"))`, or `lessThan`",
        "limits.quotas.none.calls: `0` lets nothing through; write a number from 1 up, or a rule that denies",
    ];
    assert_eq!(said.len(), ends.len(), "{said:#?}");
    for (said, end) in said.iter().zip(ends) {
        assert!(said.ends_with(end), "{said}");
    }
}

#[test]
fn what_does_nothing_is_told_and_stops_no_gate() {
    let config = r#"[upstreams.tickets]
url = "https://tickets.example.com/mcp"
[roles.a]
allow = ["tikets.*", "tickets.*", "*.read", { admin = "keys.*" }, "desk/nowhere.x"]
[limits.rules.r]
per = "principal"
of = ["wiki.*"]
max = 1
every = "1s"
[virtual_servers.desk]
include = ["tickets.*"]
exclude = ["tickets.delete"]
tools."tickets.delete" = { name = "away" }
tools."tickets.read" = { name = "look" }
[virtual_servers.empty]
include = []"#;
    let loaded = place(&[("portcullis.toml", config)], &[]).load().unwrap();
    let said: Vec<String> = loaded.doubts.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "portcullis.toml:4: roles.a.allow.0: there is no upstream `tikets`; did you mean `tickets`?",
            "portcullis.toml:4: roles.a.allow.4: there is no upstream `nowhere`; it does nothing until there is one: [upstreams.nowhere]",
            "portcullis.toml:7: limits.rules.r.of.0: there is no upstream `wiki`; it does nothing until there is one: [upstreams.wiki]",
            "portcullis.toml:13: virtual_servers.desk.tools.tickets.delete: is not in this virtual server; change `include` or `exclude`, or leave this out",
            "portcullis.toml:16: virtual_servers.empty.include: nothing is in it; name entries of upstreams that there are, or nobody finds /mcp/empty",
        ]
    );
}

#[test]
fn a_date_needs_no_quotes_in_toml() {
    let hash = "0123456789abcdef".repeat(4);
    let config = format!("[keys.ci]\nhash = \"sha256:{hash}\"\nexpires = 2027-01-01T00:00:00Z");
    assert!(place(&[("portcullis.toml", &config)], &[]).load().is_ok());
}

#[test]
fn every_line_that_is_no_toml_is_told() {
    check(
        "a = \n[b\n",
        "1: is not TOML: string values must be quoted, expected literal string\n2: is not TOML: unclosed table, expected `]`",
    );
}

#[test]
fn addresses_that_are_none_are_told_with_one_that_is() {
    for (written, hint) in [
        ("8080", "write \"127.0.0.1:8080\""),
        (":8080", "write \"127.0.0.1:8080\""),
        ("localhost", "a port is missing; write \"localhost:8080\""),
        ("::1", "a port is missing; write \"[::1]:8080\""),
        (
            "gate.example.com:80",
            "write for example \"127.0.0.1:8080\" or \"[::1]:8080\"; names other than localhost are not looked up",
        ),
    ] {
        check(
            &format!("listen = \"{written}\""),
            &format!("1: listen: `{written}` is not an address with a port; {hint}"),
        );
    }
    check("listen = []", "1: listen: the list is empty");
    check(
        "listen = [\"[::1]:1\", \"[::1]:1\"]",
        "1: listen: `[::1]:1` is there twice; leave one out",
    );
}

#[test]
fn what_is_no_yaml_and_no_json_is_told_with_its_line() {
    let yaml = place(&[("portcullis.yaml", "log:\n  level: [\n")], &[]).complaints();
    assert!(
        yaml.starts_with("portcullis.yaml:2: is not YAML: ") && !yaml.contains('\n'),
        "{yaml}"
    );
    let json = place(&[("portcullis.json", "{\n\"listen\": [1, }")], &[]).complaints();
    assert_eq!(
        json,
        "portcullis.json:2: is not JSON: Unexpected close brace"
    );
}

#[test]
fn files_that_are_not_there_are_told() {
    let mut here = place(&[("portcullis.toml", "")], &[]);
    here.sources.config = Some("nope.toml".into());
    assert_eq!(
        here.complaints(),
        "nope.toml: there is no such file; name a file with --config, or leave it out for the defaults"
    );
    here.sources = Sources {
        env: Some("prod".to_owned()),
        ..Sources::default()
    };
    assert_eq!(
        here.complaints(),
        "portcullis.prod.toml: there is no such file; create it, or leave out --env"
    );
    let twice = place(&[("portcullis.toml", ""), ("portcullis.yaml", "")], &[]);
    assert_eq!(
        twice.complaints(),
        "config: portcullis.toml and portcullis.yaml stand side by side; keep one, or name one with --config"
    );
}

#[test]
fn later_sources_win_and_each_value_knows_its_own() {
    let base = "listen = \"127.0.0.1:1\"\n[limits]\ntool_call = { max = 1 }\nin_flight_max = 1\n[upstreams.Files]\nstdio = [\"x\"]";
    let prod = "[limits]\nin_flight_max = 2\n[drain]\ntimeout = \"2s\"";
    let variables = [
        ("PORTCULLIS__DRAIN__TIMEOUT", "3s"),
        ("PORTCULLIS__UPSTREAMS__FILES__TIMEOUT", "4s"),
        ("PORTCULLIS__LOG__LEVEL", "debug"),
        ("PORTCULLIS__BUILTINS", "[\"time\"]"),
        ("PORTCULLIS__LISTEN", "127.0.0.1:2"),
    ];
    let mut here = place(
        &[("portcullis.toml", base), ("portcullis.prod.toml", prod)],
        &variables,
    );
    here.sources.env = Some("prod".to_owned());
    here.sources.listen = vec!["127.0.0.1:3".to_owned(), "[::1]:3".to_owned()];

    let is = |key: &str, value: &str, origin: &str| {
        assert_eq!(
            here.shown_of(key),
            (value.to_owned(), origin.to_owned()),
            "{key}"
        );
    };
    is("listen", "[\"127.0.0.1:3\", \"[::1]:3\"]", "--listen");
    is("limits.tool_call.max", "1", "portcullis.toml:3");
    is("limits.tool_call.per", "\"60s\"", "default");
    is("limits.in_flight_max", "2", "portcullis.prod.toml:2");
    is("drain.timeout", "\"3s\"", "$PORTCULLIS__DRAIN__TIMEOUT");
    is(
        "upstreams.Files.timeout",
        "\"4s\"",
        "$PORTCULLIS__UPSTREAMS__FILES__TIMEOUT",
    );
    is("upstreams.Files.connect_timeout", "\"30s\"", "default");
    is("log.level", "\"debug\"", "$PORTCULLIS__LOG__LEVEL");
    is("builtins", "[\"time\"]", "$PORTCULLIS__BUILTINS");

    let loaded = here.load().unwrap();
    assert_eq!(loaded.listen.len(), 2);
    assert_eq!(loaded.drain, Duration::from_secs(3));
    assert_eq!(loaded.gateway.limits.in_flight_max, 2);
    assert_eq!(
        loaded.files,
        [
            PathBuf::from("portcullis.toml"),
            PathBuf::from("portcullis.prod.toml")
        ]
    );
    assert_eq!(
        loaded
            .origins()
            .of("limits.in_flight_max")
            .unwrap()
            .to_string(),
        "portcullis.prod.toml:2"
    );
}

#[test]
fn a_reference_to_a_secret_is_replaced_whole() {
    let base = "[upstreams.a]\nstdio = [\"x\"]\nenv = { T = { env = \"T\" }, U = \"u\" }";
    let prod = "[upstreams.a]\nenv = { T = { file = \"t.txt\" } }";
    let mut here = place(
        &[
            ("portcullis.toml", base),
            ("portcullis.prod.toml", prod),
            ("t.txt", "told\n"),
        ],
        &[],
    );
    here.sources.env = Some("prod".to_owned());
    let loaded = here.load().unwrap();
    let upstream::Kind::Stdio(stdio) = &loaded.upstreams[0].kind else {
        panic!("{loaded:?}")
    };
    assert_eq!(stdio.env["T"], "told");
    assert_eq!(stdio.env["U"], "u");
}

#[test]
fn the_same_shape_is_read_from_yaml_and_json() {
    for (name, text, origin) in [
        (
            "portcullis.yaml",
            "limits:\n  in_flight_max: 7\n",
            "portcullis.yaml",
        ),
        (
            "portcullis.yml",
            "limits: {in_flight_max: 7}",
            "portcullis.yml",
        ),
        (
            "portcullis.json",
            "{\n  // said in JSON\n  \"limits\": { \"in_flight_max\": 7 },\n}",
            "portcullis.json:3",
        ),
    ] {
        let here = place(&[(name, text)], &[]);
        assert_eq!(
            here.load().unwrap().gateway.limits.in_flight_max,
            7,
            "{name}"
        );
        assert_eq!(
            here.shown_of("limits.in_flight_max"),
            ("7".to_owned(), origin.to_owned())
        );
    }
    let null = place(&[("portcullis.json", "{\"listen\": null}")], &[]);
    assert_eq!(
        null.complaints(),
        "portcullis.json: `listen` is null; leave the key out"
    );
}

#[test]
fn the_users_own_config_is_found_and_paths_start_at_the_file() {
    let config = "data_dir = \"data\"\n[upstreams.docs]\nnative = \"files\"\nroots = [\"docs\", \"~/papers\"]";
    let own = "home/.config/portcullis";
    let here = place(
        &[
            (&format!("{own}/portcullis.toml"), config),
            (&format!("{own}/docs/x"), ""),
            ("home/papers/x", ""),
        ],
        &[],
    );
    let loaded = here.load().unwrap();
    let home = here.folder.path().join("home");
    assert_eq!(loaded.data_dir, here.folder.path().join(own).join("data"));
    let roots = vec![
        here.folder.path().join(own).join("docs"),
        home.join("papers"),
    ];
    let docs = &loaded.upstreams[0].kind;
    assert_eq!(
        *docs,
        upstream::Kind::Native(upstream::native::Spec::Files {
            roots,
            write: false
        })
    );
}

#[test]
fn what_is_shown_holds_no_secret() {
    let config = "[upstreams.a]
stdio = [\"server\", \"--api-key\", \"S3CR3T\", \"--token=S3CR3T\", \"API_KEY=S3CR3T\", \"--port\", \"80\"]
env = { PLAIN = \"S3CR3T\", T = { env = \"T\" } }
[upstreams.b]
url = \"https://x.example/mcp?key=S3CR3T\"
headers = { Authorization = \"Bearer S3CR3T\" }
[upstreams.c]
url = \"https://user:S3CR3T@x.example/mcp\"
tokn = \"S3CR3T\"
[keys.ci]
hash = \"S3CR3T\"";
    let here = place(&[("portcullis.toml", config)], &[("T", "S3CR3T")]);
    let shown = format!("{:?}", here.shown());
    assert!(!shown.contains("S3CR3T"), "{shown}");
    assert!(!here.complaints().contains("S3CR3T"));
    assert_eq!(here.shown_of("upstreams.a.env.T").0, "{ env = \"T\" }");
    assert!(
        here.shown_of("upstreams.a.stdio")
            .0
            .contains("\"--port\", \"80\"")
    );
}

#[test]
fn the_reference_and_the_schema_name_every_default() {
    let reference = reference();
    assert!(
        reference.contains("| `limits.tool_call.per` | duration | `\"60s\"` | In how long. |"),
        "{reference}"
    );
    assert!(
        reference.contains("| `upstreams.NAME.timeout` | duration | `\"60s\"` |"),
        "{reference}"
    );
    assert!(
        reference.contains("| `listen` | address or list of them | `\"127.0.0.1:8080\"` |"),
        "{reference}"
    );
    assert_eq!(
        schema()["properties"]["catalog"]["properties"]["page_size"]["default"],
        500
    );
    assert!(
        schema().get("required").is_none(),
        "everything has a default"
    );
    assert!(
        !schema().to_string().contains("null"),
        "a key is there or it is not"
    );
}
