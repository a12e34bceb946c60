//! `dev`: the gate with a sample upstream, for trying things out.

use std::fs;

use anyhow::{Context as _, Result};

use crate::setup;
use crate::steps::{Tree, run, step};

/// Runs until it is stopped. Its data stays in `target/dev/`, away from what the developer uses daily.
pub(crate) fn dev(tree: &Tree) -> Result<()> {
    step("set-up", || setup::setup(tree))?;
    let folder = tree.target.join("dev");
    fs::create_dir_all(&folder)?;
    let config = folder.join("portcullis.toml");
    let server = tree
        .target
        .join("peers/npm/node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let server = server
        .to_str()
        .context("the target folder's path is not UTF-8")?;
    fs::write(&config, sample(server))?;
    println!(
        "    paste into a client: claude mcp add --transport http portcullis http://127.0.0.1:8080/mcp"
    );
    run(tree
        .cargo()
        .args([
            "run",
            "--quiet",
            "--package",
            "server",
            "--",
            "serve",
            "--config",
        ])
        .arg(config))
}

fn sample(server: &str) -> String {
    // A JSON string is a TOML string.
    let server = serde_json::Value::from(server);
    format!(
        "listen = \"127.0.0.1:8080\"\n\n[upstreams.everything]\nstdio = [\"node\", {server}, \"stdio\"]\n"
    )
}
