//! Whom a request was meant for and which page sent it: the guard against DNS rebinding and cross-site calls.

use std::net::{IpAddr, SocketAddr};

use ::http::header::{self, HeaderValue};
use ::http::{HeaderMap, Uri};
use gateway::Rejection;

use crate::config;

/// Checks Host and Origin; gives back the origin of a page that may read the answer.
pub(super) fn check(
    headers: &HeaderMap,
    uri: &Uri,
    local: SocketAddr,
    settings: &config::Http,
) -> Result<Option<HeaderValue>, Rejection> {
    let foreign = |what, value: &str| Rejection::Foreign {
        what,
        value: value.to_owned(),
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (uri.authority(), hosts.next(), hosts.next()) {
        (Some(authority), _, _) => authority.as_str(),
        (None, Some(host), None) => host.to_str().map_err(|_not_text| foreign("Host", "?"))?,
        (None, _, _) => return Err(foreign("Host", "")),
    };
    // `localhost:x@evil.example` names evil.example.
    if host.contains('@') || !is_ours(host_name(host), local, settings) {
        return Err(foreign("Host", host));
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return if headers.contains_key(header::ORIGIN) {
            Err(foreign("Origin", "twice"))
        } else {
            Ok(None)
        };
    };
    let text = origin
        .to_str()
        .map_err(|_not_text| foreign("Origin", "?"))?;
    let is_listed = settings
        .allowed_origins
        .iter()
        .any(|allowed| allowed.eq_ignore_ascii_case(text));
    let is_local = text.split_once("://").is_some_and(|(scheme, host)| {
        matches!(scheme, "http" | "https") && is_loopback_name(host_name(host))
    });
    // A page of this very place: who it is addressed to was found good above.
    let is_own = text
        .split_once("://")
        .is_some_and(|(scheme, at)| matches!(scheme, "http" | "https") && at == host);
    if is_listed || is_local || is_own {
        Ok(Some(origin.clone()))
    } else {
        Err(foreign("Origin", text))
    }
}

/// Whether a request's host, with or without a port, is a name that every machine has for itself.
pub(super) fn is_loopback(host: &str) -> bool {
    is_loopback_name(host_name(host))
}

/// The host without its port.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn is_loopback_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A name that a foreign DNS cannot have pointed here: loopback, the very address, or one from the config.
fn is_ours(name: &str, local: SocketAddr, settings: &config::Http) -> bool {
    is_loopback_name(name)
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical() == local.ip().to_canonical())
        || settings
            .allowed_hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        let settings = config::Http {
            public_url: None,
            allowed_hosts: vec!["gate.example.com".to_owned()],
            allowed_origins: vec!["https://app.example.com".to_owned()],
            proxies: config::Proxies::default(),
            body_max: 0,
            header_timeout: std::time::Duration::ZERO,
            body_timeout: std::time::Duration::ZERO,
            connections_max: 0,
        };
        check(
            &headers,
            &Uri::from_static("/mcp"),
            "10.1.2.3:80".parse().unwrap(),
            &settings,
        )
        .is_ok()
    }

    #[test]
    fn only_names_that_can_mean_this_gate_pass() {
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8080",
            "[::1]:80",
            "10.1.2.3",
            "gate.example.com:443",
        ] {
            assert!(verdict(host, None), "{host}");
        }
        for host in [
            "evil.example.com",
            "10.1.2.4",
            "localhost.evil.com",
            "127.0.0.1.evil.com",
            "localhost:x@evil.com",
            "[::2]",
        ] {
            assert!(!verdict(host, None), "{host}");
        }
    }

    #[test]
    fn a_page_of_the_very_place_passes() {
        for (host, origin) in [
            ("gate.example.com", "https://gate.example.com"),
            ("10.1.2.3:80", "http://10.1.2.3:80"),
        ] {
            assert!(verdict(host, Some(origin)), "{origin} at {host}");
        }
        for (host, origin) in [
            ("gate.example.com", "https://gate.example.com:444"),
            ("gate.example.com", "https://x.gate.example.com"),
            ("gate.example.com", "gate.example.com"),
            ("evil.example.com", "https://evil.example.com"),
        ] {
            assert!(!verdict(host, Some(origin)), "{origin} at {host}");
        }
    }

    #[test]
    fn only_pages_of_this_machine_or_the_list_pass() {
        for origin in [
            "http://localhost:3000",
            "https://127.0.0.1",
            "http://[::1]:1",
            "https://app.example.com",
        ] {
            assert!(verdict("localhost", Some(origin)), "{origin}");
        }
        for origin in [
            "null",
            "https://evil.example.com",
            "http://localhost.evil.com",
            "https://app.example.com.evil.com",
            "file://localhost",
        ] {
            assert!(!verdict("localhost", Some(origin)), "{origin}");
        }
    }
}
