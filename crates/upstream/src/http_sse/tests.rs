//! Where a server may have its messages posted.

use super::*;

fn server() -> Server {
    Server {
        client: net::Client::new(net::Settings::default()),
        spec: Http {
            url: "https://example.com/a/sse?x=1".parse().expect("a URL"),
            headers: Vec::new(),
            credential: crate::Credential::Written,
            transport: crate::Transport::Sse,
            tls: None,
        },
        pass: None,
    }
}

#[test]
fn an_endpoint_is_read_against_the_streams_own_address() {
    let server = server();
    for (said, wanted) in [
        (
            "/messages?session=1",
            "https://example.com/messages?session=1",
        ),
        (
            "messages?session=1",
            "https://example.com/a/messages?session=1",
        ),
        ("?session=1", "https://example.com/a/sse?session=1"),
        ("https://example.com/m", "https://example.com/m"),
        ("https://example.com:443/m", "https://example.com/m"),
    ] {
        let found = server.endpoint(said.as_bytes()).expect(said);
        assert_eq!(found.as_str(), wanted, "{said}");
    }
}

#[test]
fn credentials_are_posted_to_no_other_origin() {
    let server = server();
    for said in [
        "https://evil.example/m",
        "http://example.com/m",
        "https://example.com:8443/m",
        "//evil.example/m",
        "data:,x",
        "https://[",
    ] {
        server.endpoint(said.as_bytes()).expect_err(said);
    }
}
