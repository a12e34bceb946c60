//! A message reaches a server that speaks as RFC 5321 says, and none leaves without the protection that was asked for.

use std::time::UNIX_EPOCH;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::*;

fn settings(port: u16, security: Security) -> Settings {
    Settings {
        host: "127.0.0.1".to_owned(),
        port,
        security,
        credentials: Some(("gate".to_owned(), Zeroizing::new("opensesame".to_owned()))),
        from: "Portcullis <gate@example.com>".to_owned(),
        authorities: None,
    }
}

/// Takes one connection and answers every command with what a server says; returns all that it heard.
async fn server(listener: TcpListener) -> String {
    let (stream, _) = listener.accept().await.unwrap();
    let (read, mut write) = stream.into_split();
    let (mut lines, mut heard) = (BufReader::new(read).lines(), String::new());
    let mut in_message = false;
    write.write_all(b"220 mail.example.com\r\n").await.unwrap();
    while let Ok(Some(line)) = lines.next_line().await {
        heard += &line;
        heard.push('\n');
        let answer = match line.split(' ').next().unwrap_or_default() {
            "." if in_message => {
                in_message = false;
                "250 taken\r\n"
            }
            _ if in_message => continue,
            "EHLO" => "250-mail.example.com\r\n250 AUTH PLAIN\r\n",
            "AUTH" => "235 welcome\r\n",
            "DATA" => {
                in_message = true;
                "354 go on\r\n"
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 fine\r\n",
        };
        write.write_all(answer.as_bytes()).await.unwrap();
    }
    heard
}

#[tokio::test]
async fn a_message_arrives_with_its_link_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mailer = Mailer::new(settings(port, Security::Plain)).unwrap();
    let link = format!(
        "https://gate.example.com/console/reset?token={}",
        "a".repeat(60)
    );
    let sent = mailer.send(
        "alice@example.com",
        "Your password",
        format!("Open this:\n\n{link}\n"),
        UNIX_EPOCH,
    );
    let (sent, heard) = tokio::join!(sent, server(listener));
    sent.unwrap();
    for wanted in [
        "EHLO example.com\n",
        "MAIL FROM:<gate@example.com>",
        "RCPT TO:<alice@example.com>",
        "From: Portcullis <gate@example.com>",
        "Subject: Your password",
        "Date: Thu, 01 Jan 1970 00:00:00 +0000",
        &link,
    ] {
        assert!(heard.contains(wanted), "{wanted} not in {heard}");
    }
}

#[tokio::test]
async fn a_server_without_starttls_hears_neither_password_nor_message() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mailer = Mailer::new(settings(port, Security::StartTls)).unwrap();
    let sent = mailer.send("alice@example.com", "s", "t".to_owned(), UNIX_EPOCH);
    let (sent, heard) = tokio::join!(sent, server(listener));
    assert!(matches!(sent, Err(Error::Server(_))), "{sent:?}");
    assert!(
        !heard.contains("AUTH") && !heard.contains("MAIL"),
        "{heard}"
    );
}

#[tokio::test]
async fn what_would_add_a_header_is_no_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mailer = Mailer::new(settings(port, Security::Plain)).unwrap();
    for to in [
        "a@example.com\r\nBcc: b@example.com",
        "a@example.com, b@example.com",
        "",
    ] {
        assert!(!is_address(to), "{to:?}");
        let sent = mailer.send(to, "s", "t".to_owned(), UNIX_EPOCH).await;
        assert!(matches!(sent, Err(Error::Address(_))), "{sent:?}");
    }
    assert!(is_mailbox("Portcullis <gate@example.com>") && is_mailbox("gate@example.com"));
    assert!(!is_mailbox("Portcullis"));
}

#[test]
fn the_password_is_not_printed() {
    let shown = format!("{:?}", settings(1, Security::Tls));
    assert!(!shown.contains("opensesame"), "{shown}");
}
