//! Connections that serve more than one request: a refusal ends none of them without saying so.

use anyhow::{Context as _, Result, ensure};
use std::time::Duration;
use testkit::world::{Exchange, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const NONE: &str = "builtins = []\nauth.loopback = \"off\"\n";
const PATIENCE: Duration = Duration::from_secs(20);

/// The head of the next answer; its body is read and dropped.
async fn answer(stream: &mut TcpStream) -> Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let next = timeout(PATIENCE, stream.read_u8()).await?;
        bytes.push(next.context("the connection ended without an answer")?);
    }
    let head = String::from_utf8(bytes)?.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.context("no length")?.parse()?];
    timeout(PATIENCE, stream.read_exact(&mut body)).await??;
    Ok(head)
}

fn head(world: &World, length: usize, more: &str) -> String {
    let address = world.address();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_refused_on_a_head_may_ask_again_on_the_same_connection() -> Result<()> {
    let world = World::of(NONE).await?;
    let mut stream = Exchange::connect(world.address()).await?;
    for round in 0..20 {
        // Many clients send head and body apart. The pause is what they may take, not something that is waited for.
        stream.write_all(head(&world, 2, "").as_bytes()).await?;
        tokio::time::sleep(Duration::from_millis(10)).await;
        stream.write_all(b"{}").await.context("the body")?;
        let head = answer(&mut stream).await.context(round)?;
        ensure!(head.starts_with("http/1.1 401 "), "{head}");
        world.owe(1);
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_cannot_go_on_says_so() -> Result<()> {
    let world = World::of(NONE).await?;
    // Nobody reads ten megabytes for a refusal, and nobody is told to send what is not wanted.
    for (length, more) in [(10 << 20, ""), (2, "Expect: 100-continue\r\n")] {
        let mut stream = Exchange::connect(world.address()).await?;
        stream
            .write_all(head(&world, length, more).as_bytes())
            .await?;
        let head = answer(&mut stream).await.context(length)?;
        ensure!(head.starts_with("http/1.1 401 "), "{head}");
        world.owe(1);
        ensure!(head.contains("\r\nconnection: close\r\n"), "{head}");
    }
    world.end().await
}
