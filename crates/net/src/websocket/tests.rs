//! Against a server of tungstenite's on port 0.

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::*;
use crate::Settings;

const SOON: Duration = Duration::from_secs(5);

async fn listen() -> (TcpListener, Dial) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static("Bearer key"));
    let dial = Dial {
        url: Url::parse(&format!("ws://{address}/ws?a=b")).expect("a URL"),
        headers,
        protocol: "mcp",
        reach: Reach::Operator,
        timeout: SOON,
        message_max: 1024,
    };
    (listener, dial)
}

async fn accept(
    listener: &TcpListener,
    answer: impl FnOnce(&Request, Response) -> Result<Response, ErrorResponse> + Unpin,
) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    let (tcp, _) = listener.accept().await.expect("a connection");
    accept_hdr_async(tcp, answer).await
}

#[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
fn agree(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    assert_eq!(request.uri().to_string(), "/ws?a=b");
    assert_eq!(request.headers()["authorization"], "Bearer key");
    assert_eq!(request.headers()["sec-websocket-protocol"], "mcp");
    let protocol = HeaderValue::from_static("mcp");
    response
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    Ok(response)
}

fn client() -> Client {
    Client::new(Settings::default())
}

#[tokio::test]
async fn messages_go_both_ways_until_one_side_closes() {
    let (listener, dial) = listen().await;
    let client = client();
    let (ours, theirs) = tokio::join!(client.websocket(dial), accept(&listener, agree));
    let ((mut sender, mut receiver), mut theirs) = (ours.expect("opened"), theirs.expect("opened"));
    let messages = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    sender.send(messages).await.expect("sent");
    for wanted in ["one", "two"] {
        let came = theirs.next().await.expect("a message").expect("whole");
        assert_eq!(came, Message::text(wanted));
    }
    theirs.send(Message::text("three")).await.expect("sent");
    let came = receiver.next().await.expect("a message");
    assert_eq!(came, Some(Heard::Message(Bytes::from_static(b"three"))));
    sender.ping().await.expect("sent");
    let answering = async {
        let ping = theirs.next().await;
        // The pong leaves with the next thing that it does.
        theirs.flush().await.expect("flushed");
        ping
    };
    let both = async { tokio::join!(answering, receiver.next()) };
    let (ping, pong) = timeout(SOON, both).await.expect("an answer");
    assert!(matches!(ping, Some(Ok(Message::Ping(_)))), "{ping:?}");
    assert_eq!(pong.expect("a pong"), Some(Heard::Beat));
    theirs.close(None).await.expect("closed");
    let gone = async {
        let server = async move {
            while let Some(Ok(_)) = theirs.next().await {}
            // It is the server who closes the connection below.
            drop(theirs);
        };
        let client = async { while let Ok(Some(_)) = receiver.next().await {} };
        tokio::join!(server, client)
    };
    timeout(SOON, gone).await.expect("both sides know");
}

#[tokio::test]
async fn a_message_over_the_bound_ends_it() {
    let (listener, dial) = listen().await;
    let client = client();
    let (ours, theirs) = tokio::join!(client.websocket(dial), accept(&listener, agree));
    let ((_sender, mut receiver), mut theirs) = (ours.expect("opened"), theirs.expect("opened"));
    let sent = theirs.send(Message::text("x".repeat(1025)));
    let (came, sent) = tokio::join!(receiver.next(), sent);
    sent.expect("sent");
    assert!(
        matches!(came, Err(Error::TooLarge { max: 1024 })),
        "{came:?}"
    );
}

#[tokio::test]
async fn a_server_that_refuses_or_speaks_something_else_is_told_apart() {
    let client = client();
    let (listener, dial) = listen().await;
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let refuse = |_: &Request, _: Response| {
        let mut response = ErrorResponse::new(None);
        *response.status_mut() = http::StatusCode::UNAUTHORIZED;
        Err(response)
    };
    let (ours, _) = tokio::join!(client.websocket(dial), accept(&listener, refuse));
    let error = ours.expect_err("refused");
    assert!(
        matches!(error, Error::NoWebSocket { status: 401 }),
        "{error:?}"
    );
    assert_eq!(error.sent(), Sent::No);

    let (listener, dial) = listen().await;
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let without = |_: &Request, response: Response| Ok(response);
    let (ours, _) = tokio::join!(client.websocket(dial), accept(&listener, without));
    let error = ours.expect_err("the subprotocol is missing");
    assert!(
        matches!(error, Error::WebSocket { sent: Sent::No, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_guard_stands_in_front_of_it_too() {
    let client = client();
    let (_listener, mut dial) = listen().await;
    dial.reach = Reach::Public;
    let error = client.websocket(dial.clone()).await.expect_err("refused");
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    dial.url = Url::parse("http://example.com/").expect("a URL");
    let error = client.websocket(dial).await.expect_err("refused");
    assert!(matches!(error, Error::Url(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let client = client();
    let (_listener, mut dial) = listen().await;
    dial.timeout = Duration::from_millis(50);
    let error = client.websocket(dial).await.expect_err("too late");
    assert!(
        matches!(error, Error::Timeout { stage: Stage::Head }),
        "{error:?}"
    );
}
