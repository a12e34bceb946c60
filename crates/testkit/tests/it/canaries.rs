//! No secret is found where it does not belong: one of its own in every place that can hold one, then the gate is used,
//! badly and well, with everything that it can log, and all that it has said and written is searched.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;
use testkit::fixtures::Peers;
use testkit::world::{Exchange, processes_of, program, until};

use crate::program::Program;

/// The secret in place number `place`. It has characters that URLs and base64 write in several ways.
fn canary(place: usize) -> String {
    format!("cnry{place:02}+Zq8/Kx3~Vb7Lm2Tw9Rp5")
}

/// How a secret may look: as it is, in hex, in URLs, and in base64 wherever in a longer text it begins.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let mut forms = vec![secret.to_owned()];
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.push(hex.to_uppercase());
    forms.push(hex);
    let escaped = |upper: bool| -> String {
        let escape = |byte: &u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'~' => char::from(*byte).to_string(),
            byte if upper => format!("%{byte:02X}"),
            byte => format!("%{byte:02x}"),
        };
        bytes.iter().map(escape).collect()
    };
    forms.extend([escaped(true), escaped(false)]);
    for shift in 0..3 {
        // Only the characters that no neighbour has a part in.
        let shifted = [&[0; 2][..shift], bytes].concat();
        let whole = (shifted.len() / 3) * 4;
        let skipped = [0, 2, 3][shift];
        for text in [
            STANDARD_NO_PAD.encode(&shifted),
            URL_SAFE_NO_PAD.encode(&shifted),
        ] {
            forms.extend(text.get(skipped..whole).map(str::to_owned));
        }
    }
    forms
}

fn config(folder: &Path, scripted: &Path) -> Result<String> {
    fs::write(folder.join("header.txt"), canary(3))?;
    Ok(format!(
        r#"
builtins = ["time"]
[auth]
loopback = "off"
[auth.issuers.corp]
url = "http://127.0.0.1:9"
introspection = {{ url = "http://127.0.0.1:9/introspect", client_id = "gate", client_secret = "{c8}" }}
[auth.sign_in.corp]
issuer = "http://127.0.0.1:9"
client_id = "gate"
client_secret = "{c9}"
[auth.server]
enabled = true
[auth.server.clients.robot]
secret = "{c10}"
principal = "robot"
[mail]
url = "smtp://gate@127.0.0.1:9"
password = "{c11}"
from = "gate@example.com"
[upstreams.literal]
url = "http://127.0.0.1:9/mcp"
headers = {{ Authorization = "Bearer {c1}" }}
[upstreams.variable]
url = "http://127.0.0.1:9/mcp"
headers = {{ X-Api-Key = {{ env = "CANARY_2" }} }}
[upstreams.file]
url = "http://127.0.0.1:9/mcp"
headers = {{ X-Api-Key = {{ file = "header.txt" }} }}
[upstreams.kept]
url = "http://127.0.0.1:9/mcp"
credential = {{ bearer = {{ secret = "kept" }} }}
[upstreams.bearer]
url = "http://127.0.0.1:9/mcp"
credential = {{ bearer = "{c6}" }}
[upstreams.machine]
url = "http://127.0.0.1:9/mcp"
credential = {{ oauth = "client-credentials", client_id = "gate", client_secret = "{c7}", issuer = "http://127.0.0.1:9" }}
[upstreams.child]
stdio = ["{scripted}"]
env = {{ TESTKIT_WORLD = "{mark}", CHILD_TOKEN = "{c5}" }}
"#,
        c1 = canary(1),
        c5 = canary(5),
        c6 = canary(6),
        c7 = canary(7),
        c8 = canary(8),
        c9 = canary(9),
        c10 = canary(10),
        c11 = canary(11),
        scripted = scripted.display(),
        mark = folder.display(),
    ))
}

/// All that was said and written, by where it was found.
#[derive(Default)]
struct Heap(Vec<(String, Vec<u8>)>);

impl Heap {
    fn add(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((place.into(), bytes.into()));
    }

    fn holds(&self, secret: &str) -> Vec<String> {
        let mut found = Vec::new();
        for form in forms(secret) {
            let holds = |bytes: &[u8]| {
                bytes
                    .windows(form.len())
                    .any(|window| window == form.as_bytes())
            };
            let places = self.0.iter().filter(|(_, bytes)| holds(bytes));
            found.extend(places.map(|(place, _)| format!("{place}: {form}")));
        }
        found
    }
}

/// One request; what came back goes on the heap.
async fn ask(gate: &Program, heap: &mut Heap, head: &str, body: &str) -> Result<u16> {
    let request = format!(
        "{head}\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        gate.address(),
        body.len()
    );
    let mut exchange = Exchange::send(gate.address(), request.as_bytes()).await?;
    let what = head.split(" HTTP").next().unwrap_or_default();
    // Cut off where a query begins: that is ours.
    let what = what.split('?').next().unwrap_or_default().to_owned();
    let headers = format!("{:?}", exchange.headers);
    heap.add(format!("headers of {what}"), headers);
    heap.add(what, exchange.body().await?);
    Ok(exchange.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_where_it_does_not_belong() -> Result<()> {
    let peers = Peers::locate()?;
    let scripted = program("scripted")?;
    let mut heap = Heap::default();
    let mut gate = Program::prepare(&[("CANARY_2", &canary(2))])?;
    fs::write(
        gate.folder().join("portcullis.toml"),
        config(gate.folder(), &scripted)?,
    )?;
    set_secret(&gate, "kept", &canary(4))?;
    gate.serve("trace").await?;

    // The first owner, whose password is number 12, and who mistypes it as number 13.
    let who =
        json!({ "name": "olga", "email": "", "password": canary(12), "until": "/console/account" });
    let end = gate.person(&peers, &gate.setup_link().await?, &who).await?;
    ensure!(
        end["url"] == gate.url("/console/account"),
        "setting up ended at {end}"
    );
    let wrong = json!({ "name": "olga", "password": canary(13), "until": "/nowhere" });
    gate.person(&peers, &gate.url("/console/login"), &wrong)
        .await?;

    // A key (number 14 is what it says), and things that are none.
    let key = gate
        .run(&["key", "create", "olga", "--role", "owner"])
        .await?;
    let key = key.trim().to_owned();
    let json = "Content-Type: application/json\r\nAccept: application/json, text/event-stream";
    let call =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} }).to_string();
    let heads = [
        format!(
            "POST /mcp HTTP/1.1\r\n{json}\r\nAuthorization: Bearer {}",
            canary(15)
        ),
        format!("POST /mcp HTTP/1.1\r\n{json}\r\nX-API-Key: {}", canary(16)),
        format!("POST /mcp?access_token={} HTTP/1.1\r\n{json}", canary(17)),
        format!(
            "POST /mcp HTTP/1.1\r\n{json}\r\nCookie: portcullis={}",
            canary(18)
        ),
        format!(
            "POST /mcp HTTP/1.1\r\n{json}\r\nAuthorization: DPoP {}\r\nDPoP: {}",
            canary(19),
            canary(19)
        ),
    ];
    for head in &heads {
        let status = ask(&gate, &mut heap, head, &call).await?;
        ensure!(matches!(status, 400 | 401 | 503), "{head}: {status}");
    }
    let form = "Content-Type: application/x-www-form-urlencoded";
    for body in [
        format!(
            "grant_type=client_credentials&client_id=robot&client_secret={}",
            canary(20)
        ),
        format!(
            "grant_type=refresh_token&client_id=robot&refresh_token={}",
            canary(20)
        ),
        format!(
            "grant_type=authorization_code&client_id=robot&code={0}&code_verifier={0}&redirect_uri=x",
            canary(20)
        ),
    ] {
        ask(
            &gate,
            &mut heap,
            &format!("POST /oauth/token HTTP/1.1\r\n{form}"),
            &body,
        )
        .await?;
    }
    let good = format!("Authorization: Bearer {key}");
    for path in [
        "/health",
        "/metrics",
        "/v1/keys",
        "/v1/sessions",
        "/v1/users",
        "/v1/me",
        "/v1/logs?limit=1000",
    ] {
        let status = ask(
            &gate,
            &mut heap,
            &format!("GET {path} HTTP/1.1\r\n{good}"),
            "",
        )
        .await?;
        ensure!(status == 200, "{path}: {status}");
    }
    ask(
        &gate,
        &mut heap,
        &format!("POST /mcp HTTP/1.1\r\n{json}\r\n{good}"),
        &call,
    )
    .await?;
    // Somebody forgets a password; the mail cannot be sent.
    ask(&gate, &mut heap, "GET /console/reset HTTP/1.1", "").await?;

    for words in [
        &["config", "show"][..],
        &["config", "show", "--json"],
        &["config", "schema"],
        &["key", "list", "--json"],
        &["secret", "list", "--json"],
        &["user", "list", "--json"],
        &["session", "list", "--json"],
        &["audit", "tail", "--json"],
    ] {
        heap.add(words.join(" "), gate.run(words).await?);
    }
    let check = gate.run_either(&["check"]).await?;
    heap.add("check", check);

    // The processes: what the child was told to know is its own; nothing else is there.
    let mark = format!("TESTKIT_WORLD={}", gate.folder().display());
    until("the child runs", async || {
        Ok(!processes_of(&mark)?.is_empty())
    })
    .await?;
    let mut children = Heap::default();
    for child in processes_of(&mark)? {
        for file in ["environ", "cmdline"] {
            let bytes = fs::read(format!("/proc/{child}/{file}")).unwrap_or_default();
            children.add(format!("{file} of a child"), bytes);
        }
    }
    heap.add(
        "the gate's command line",
        fs::read(format!("/proc/{}/cmdline", gate.id()))?,
    );

    gate.stop()?;
    heap.add("the log", gate.output()?);
    for entry in fs::read_dir(gate.folder().join("data"))? {
        let path = entry?.path();
        if path.is_file() && !path.ends_with("master.key") {
            heap.add(path.display().to_string(), fs::read(&path)?);
        }
    }
    let master = fs::read(gate.folder().join("data/master.key"))?;
    let log = gate.output()?;
    assert!(log.contains("DEBUG"), "the log was to say everything");

    let mut found = Vec::new();
    for place in 1..=20 {
        found.extend(heap.holds(&canary(place)));
        if place != 5 {
            found.extend(children.holds(&canary(place)));
        }
    }
    found.extend(heap.holds(&key));
    found.extend(children.holds(&key));
    let hex: String = master.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!log.contains(&hex));
    assert!(
        !heap
            .0
            .iter()
            .any(|(_, bytes)| bytes.windows(master.len()).any(|window| window == master)),
        "the master key"
    );
    assert!(found.is_empty(), "{found:#?}");
    // What was looked for can be found.
    assert!(
        !children.holds(&canary(5)).is_empty(),
        "the child has its own"
    );
    Ok(())
}

fn set_secret(gate: &Program, name: &str, value: &str) -> Result<()> {
    let launch = gate.launch(&["secret", "set", name])?;
    let (program, arguments) = launch.argv.split_first().context("an empty command line")?;
    let mut child = Command::new(program)
        .args(arguments)
        .envs(&launch.env)
        .stdin(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("no stdin")?
        .write_all(value.as_bytes())?;
    ensure!(child.wait()?.success(), "the secret was not taken");
    Ok(())
}
