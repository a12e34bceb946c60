//! A person with a real browser: first start, sign-in with a code, consent for an app, a forgotten password, and an
//! upstream that is connected. The upstream is another gate, which asks whom it serves.

use anyhow::{Result, ensure};
use serde_json::json;
use testkit::fixtures::Peers;

use crate::program::{Program, node, password};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_gets_from_the_first_start_to_a_connected_upstream() -> Result<()> {
    let peers = Peers::locate()?;
    let there = Program::start("builtins = [\"time\"]\nauth.loopback = \"off\"\n").await?;
    there.first_owner(&peers, "theresa").await?;

    let mut gate = Program::prepare(&[])?;
    let mails = gate.folder().join("mails");
    let smtp = peers.smtp_server(&mails).await?;
    let config = format!(
        r#"
builtins = ["time"]
auth.loopback = "off"
[mail]
url = "smtp://{}"
from = "Portcullis <gate@example.com>"
[upstreams.other]
url = "{}"
credential = {{ oauth = "per-user" }}
"#,
        smtp.address(),
        there.url("/mcp"),
    );
    std::fs::write(gate.folder().join("portcullis.toml"), config)?;
    gate.serve("debug").await?;

    // For whoever wants to see what people see: the pictures of the last run.
    let pictures = std::env::temp_dir().join("portcullis-pictures");
    std::fs::create_dir_all(&pictures)?;
    let story = json!({
        "setup": gate.setup_link().await?,
        "gate": gate.url(""),
        "name": "olga",
        "email": "olga@example.com",
        "password": password("olga"),
        "again": "second-velvet-harvest-61-comet",
        "mails": mails,
        "upstream": "other",
        "there": { "name": "theresa", "password": password("theresa") },
        "tool": "other.time.now",
        "pictures": pictures,
    });
    let seen = node(&peers, "browser.mjs", &[&story.to_string()]).await?;
    ensure!(seen["error"].is_null(), "{seen}\n{}", gate.output()?);
    assert_eq!(seen["complaints"], json!([]), "{seen}");
    assert_eq!(seen["isError"], false, "{seen}");
    let tools = seen["tools"].to_string();
    assert!(tools.contains("time.now"), "{tools}");
    Ok(())
}
