//! What a receiver gets that never takes what it is sent.

use std::net::{Ipv4Addr, SocketAddr};

use parking_lot::Mutex;
use policy::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;
use zeroize::Zeroizing;

use super::*;

/// It is always the same moment.
#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Instant {
        Instant(Duration::ZERO)
    }
    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000)
    }
}

/// Reads one request to the end of its body, and answers; gives what it is about.
async fn answer(mut connection: TcpStream) -> String {
    let mut came = Vec::new();
    loop {
        assert_ne!(connection.read_buf(&mut came).await.unwrap(), 0);
        let text = String::from_utf8_lossy(&came).to_lowercase();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        let Some((_, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if body.len() < field("content-length:").parse().unwrap() {
            continue;
        }
        let id = field("webhook-id:");
        let status = if id == "taken" {
            "204 No Content"
        } else {
            "503 Service Unavailable"
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        connection.write_all(answer.as_bytes()).await.unwrap();
        return id;
    }
}

fn announcement(id: &str, at: SocketAddr) -> Announcement {
    Announcement {
        id: id.to_owned(),
        body: "{}".to_owned(),
        to: Webhook {
            url: Url::parse(&format!("http://{at}/hook")).unwrap(),
            secret: Zeroizing::new(b"a secret of some length".to_vec()),
        },
    }
}

#[tokio::test]
async fn what_nobody_takes_is_given_up_after_the_last_pause_and_holds_up_the_next_no_longer() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let (outbox, mut announcements) = mpsc::channel(OUTBOX_MAX);
    for id in ["lost", "taken", "last"] {
        outbox.try_send(announcement(id, at)).unwrap();
    }
    // Once these are sent or given up, there is nothing more to do.
    drop(outbox);
    let client = net::Client::new(net::Settings::default());
    let pauses = [Duration::from_millis(1); PAUSES.len()];
    let stop = CancellationToken::new();
    let came = Mutex::new(Vec::new());
    let receive = async {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            let id = answer(connection).await;
            came.lock().push(id);
        }
    };
    tokio::select! {
        () = send_all(&mut announcements, &client, &Stopped, &pauses, &stop) => {}
        () = receive => {}
    }
    let tries = |id| std::iter::repeat_n(id, 1 + pauses.len());
    let wanted: Vec<&str> = tries("lost")
        .chain(["taken"])
        .chain(tries("last"))
        .collect();
    assert_eq!(*came.lock(), wanted);
}
