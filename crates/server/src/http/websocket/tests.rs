//! A socket's keep-alive and its ends, over a pipe in memory.

use tokio::io::{DuplexStream, duplex};

use super::*;

const EVERY: Duration = Duration::from_millis(20);

type Socket = WebSocketStream<DuplexStream>;

async fn pair() -> (Socket, Socket) {
    let (ours, theirs) = duplex(1024);
    let config = Some(bounds(1024));
    (
        WebSocketStream::from_raw_socket(ours, Role::Server, config).await,
        WebSocketStream::from_raw_socket(theirs, Role::Client, config).await,
    )
}

/// Writes to a client until there is a reason not to.
async fn written(socket: Socket, waiting: mpsc::Receiver<Bytes>) -> End {
    let (mut sink, mut stream) = socket.split();
    let is_there = AtomicBool::new(true);
    let reading = async {
        while let Some(Ok(_)) = stream.next().await {
            is_there.store(true, Ordering::Relaxed);
        }
        End::Gone
    };
    tokio::select! {
        end = write(&mut sink, waiting, &is_there, EVERY) => end,
        end = reading => end,
    }
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_given_up_after_the_second() {
    let (gate, client) = pair().await;
    let (_out, waiting) = mpsc::channel(1);
    // It holds the socket open and reads nothing, so it never answers.
    let ended = timeout(EVERY * 50, written(gate, waiting)).await;
    assert_eq!(ended.expect("given up"), End::Silent);
    drop(client);
}

#[tokio::test]
async fn a_client_that_answers_pings_is_kept() {
    let (gate, mut client) = pair().await;
    let (out, waiting) = mpsc::channel(1);
    let reading = async {
        let mut pings = 0;
        while pings < 5 {
            if let Some(Ok(Message::Ping(_))) = client.next().await {
                pings += 1;
            }
        }
        drop(out);
        while let Some(Ok(_)) = client.next().await {}
    };
    let (end, ()) = tokio::join!(written(gate, waiting), reading);
    assert_eq!(end, End::Said);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let (gate, client) = pair().await;
    let (out, waiting) = mpsc::channel(OUT_MAX);
    for _ in 0..OUT_MAX {
        out.try_send(Bytes::from(vec![b'x'; 1000]))
            .expect("there is room");
    }
    let ended = timeout(EVERY * 50, written(gate, waiting)).await;
    assert_eq!(ended.expect("given up"), End::Silent);
    drop(client);
}

#[test]
fn the_subprotocol_is_found_among_others() {
    let offered = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                header::SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(value),
            );
        }
        offers_subprotocol(&headers)
    };
    assert!(offered(&["mcp"]));
    assert!(offered(&["chat, mcp"]));
    assert!(offered(&["chat", "mcp"]));
    assert!(!offered(&[]));
    assert!(!offered(&["mcp2"]));
    assert!(!offered(&["MCP"]));
}
