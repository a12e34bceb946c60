//! Announcements, as a receiver of the test's own gets them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};
use testkit::clock;
use testkit::world::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{ROLES, Scene, agree, form, forms, modern, named, write};

const SECRET: &str = "kestrel-anvil-0451-marble";

/// What came in one request.
#[derive(Debug, Clone)]
struct Announced {
    line: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Announced {
    fn header(&self, name: &str) -> Result<&str> {
        let value = self.headers.get(name).map(String::as_str);
        value.with_context(|| format!("no {name}"))
    }

    /// What it says, if it is signed with the secret as Standard Webhooks 1.0 has it.
    fn verified(&self) -> Result<Value> {
        let (id, at) = (
            self.header("webhook-id")?,
            self.header("webhook-timestamp")?,
        );
        let tag = self.header("webhook-signature")?;
        let tag = BASE64_STANDARD.decode(tag.strip_prefix("v1,").context("another version")?)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let signed = format!("{id}.{at}.{}", self.body);
        ensure!(hmac::verify(&key, signed.as_bytes(), &tag).is_ok());
        Ok(serde_json::from_str(&self.body)?)
    }
}

/// Takes what comes, but for the first, which it has no time for.
struct Receiver {
    address: SocketAddr,
    came: Arc<Mutex<Vec<Announced>>>,
    _serving: JoinSet<()>,
}

impl Receiver {
    async fn open() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let came = Arc::<Mutex<Vec<Announced>>>::default();
        let mut serving = JoinSet::new();
        let kept = Arc::clone(&came);
        serving.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Whoever breaks off has announced nothing.
                drop(receive(client, &kept).await);
            }
        });
        Ok(Self {
            address,
            came,
            _serving: serving,
        })
    }

    /// What came, once it is so many.
    async fn came(&self, many: usize) -> Result<Vec<Announced>> {
        until("it is announced", async || {
            Ok(self.came.lock().len() >= many)
        })
        .await?;
        Ok(self.came.lock().clone())
    }
}

async fn receive(mut client: TcpStream, kept: &Mutex<Vec<Announced>>) -> Result<()> {
    let mut bytes = Vec::new();
    let announced = loop {
        ensure!(client.read_buf(&mut bytes).await? > 0, "it breaks off");
        let text = String::from_utf8(bytes.clone())?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let mut lines = head.lines();
        let line = lines.next().unwrap_or_default().to_owned();
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length: usize = headers
            .get("content-length")
            .context("no length")?
            .parse()?;
        if body.len() >= length {
            let body = body.to_owned();
            break Announced {
                line,
                headers,
                body,
            };
        }
    };
    let is_first = {
        let mut kept = kept.lock();
        kept.push(announced);
        kept.len() == 1
    };
    let status = if is_first {
        "503 Service Unavailable"
    } else {
        "204 No Content"
    };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    Ok(client.write_all(answer.as_bytes()).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_somebody_else_is_announced_without_its_arguments() -> Result<()> {
    let receiver = Receiver::open().await?;
    let config = format!(
        "{ROLES}[consent.webhook]\nurl = \"http://{}/hooks/gate?room=1\"\nsecret = \"{SECRET}\"\n",
        receiver.address
    );
    let scene = Scene::of(&config).await?;
    let world = &scene.world;
    let none = json!({});
    let id = named(&modern(world, "alice", &write("/plans/kestrel"), &none).await?)?;
    // The first was not taken, so it is said once more, in the same words and under the same id.
    let came = receiver.came(2).await?;
    let bodies: Vec<&str> = came.iter().map(|one| one.body.as_str()).collect();
    ensure!(bodies[0] == bodies[1], "{bodies:?}");
    let path = format!("/v1/approvals/{id}");
    let (_, approval) = world.admin("root", "GET", &path, None).await?;
    for one in &came {
        ensure!(
            one.line == "POST /hooks/gate?room=1 HTTP/1.1",
            "{}",
            one.line
        );
        ensure!(one.header("content-type")? == "application/json");
        ensure!(one.header("webhook-id")? == id);
        ensure!(one.header("webhook-timestamp")? == clock::START.to_string());
        ensure!(!one.body.contains("kestrel"), "{}", one.body);
        let said = one.verified()?;
        ensure!(said["type"] == "consent.requested", "{said}");
        let about = &said["data"];
        for (name, value) in [
            ("id", json!(id)),
            ("principal", json!("alice")),
            ("method", json!("tools/call")),
            ("upstream", json!("s")),
            ("entry", json!("write")),
            ("rule", json!("role agents: ask s.write")),
            ("digest", approval["digest"].clone()),
            ("approvers", json!([])),
            ("other_person", json!(false)),
            ("expires_at", json!(clock::START + 15 * 60)),
        ] {
            ensure!(about[name] == value, "{name}: {said}");
        }
        let page = about["page"].as_str().context("no page")?;
        ensure!(page.ends_with("/console/consents"), "{page}");
    }

    // Neither the same question nor one that the caller is handed is news to anybody else.
    named(&modern(world, "alice", &write("/plans/kestrel"), &none).await?)?;
    form(&modern(world, "alice", &write("/handed"), &forms()).await?)?;
    let other = named(&modern(world, "alice", &write("/other"), &none).await?)?;
    let came = receiver.came(3).await?;
    ensure!(came.len() == 3 && came[2].header("webhook-id")? == other);
    ensure!(came[2].verified()?["data"]["id"] == other);
    scene.untouched()?;

    agree(world, &other).await?;
    ensure!(
        modern(world, "alice", &write("/other"), &none)
            .await?
            .text()?
            == "write"
    );
    ensure!(scene.reached()? == ["{\"path\":\"/other\"}"]);
    scene.world.end().await
}
