//! `portcullis stdio --connect` as the gate sees it: a socket whose other end is the bridge.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

/// The next connection and the request that came on it.
async fn next(gate: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = timeout(SOON, gate.accept()).await.unwrap().unwrap();
    let mut text = Vec::new();
    loop {
        let whole = String::from_utf8(text.clone()).unwrap();
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                return (stream, whole);
            }
        }
        let read = timeout(SOON, stream.read_buf(&mut text)).await.unwrap();
        assert!(read.unwrap() > 0, "{whole}");
    }
}

async fn answer(mut stream: TcpStream, status: &str) {
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// A bridge that has found its gate, and its stdin.
async fn start(gate: &TcpListener) -> (Child, ChildStdin) {
    let home = tempfile::tempdir().unwrap();
    let mut bridge = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["stdio", "--connect"])
        .arg(format!("http://{}/mcp", gate.local_addr().unwrap()))
        .current_dir(home.path())
        .env_clear()
        .env("HOME", home.path())
        .env("PORTCULLIS__DRAIN__TIMEOUT", "60s")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = bridge.stdin.take().unwrap();
    let (stream, request) = next(gate).await;
    assert!(request.starts_with("GET /readyz"), "{request}");
    answer(stream, "200 OK").await;
    (bridge, stdin)
}

#[tokio::test]
async fn a_cancelled_modern_request_has_its_exchange_closed() {
    let gate = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut bridge, mut stdin) = start(&gate).await;
    let call = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"slow","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    writeln!(stdin, "{call}").unwrap();
    let (mut stream, request) = next(&gate).await;
    assert!(request.ends_with(call), "{request}");
    let cancelled = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":"{id}"}}}}"#
        )
    };
    writeln!(stdin, "{}", cancelled("a")).unwrap();
    let end = timeout(SOON, stream.read(&mut [0])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");

    // What belongs to no modern request goes the way of the legacy era.
    writeln!(stdin, "{}", cancelled("b")).unwrap();
    let (stream, request) = next(&gate).await;
    assert!(request.ends_with(&cancelled("b")), "{request}");
    answer(stream, "202 Accepted").await;

    drop(stdin);
    let mut said = String::new();
    let mut stdout = bridge.stdout.take().unwrap();
    stdout.read_to_string(&mut said).unwrap();
    assert_eq!(said, "", "an answer to a cancelled request");
    assert!(bridge.wait().unwrap().success());
}

#[tokio::test]
async fn who_listens_keeps_no_bridge_whose_stdin_has_ended() {
    let gate = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut bridge, mut stdin) = start(&gate).await;
    let listen = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    writeln!(stdin, "{listen}").unwrap();
    let (mut stream, _) = next(&gate).await;
    drop(stdin);
    let end = timeout(SOON, stream.read(&mut [0])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    assert!(bridge.wait().unwrap().success());
}
