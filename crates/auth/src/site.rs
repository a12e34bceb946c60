//! What this gate is called from outside: its issuer, and the resources that tokens are meant for.
//!
//! Sources: RFC 8707 section 2, RFC 9728 section 3.3, MCP 2026-07-28 "Authorization", "Canonical server URI".

use policy::ServerName;

/// Paths that are resources of their own; behind a slash each has one for every virtual server.
const RESOURCES: &[&str] = &["/mcp", "/sse", "/ws"];

/// What of this gate a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// All of it: a token for this is good at every path, as far as the rules let its holder in.
    Whole,
    /// A virtual server, by name: a token for this is good there and nowhere else. Whether there is one of that name
    /// is not known here, and is not told.
    Server(&'a str),
}

impl<'a> Place<'a> {
    /// What is at a path, exactly; `None`: no resource.
    #[must_use]
    pub fn at(path: &'a str) -> Option<Self> {
        if path.is_empty() || RESOURCES.contains(&path) {
            return Some(Self::Whole);
        }
        let (_, name) = RESOURCES
            .iter()
            .find_map(|resource| path.strip_prefix(resource)?.split_once('/'))
            .filter(|(before, _)| before.is_empty())?;
        ServerName::new(name).ok().map(|_| Self::Server(name))
    }
}

/// Where the gate is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    base: String,
    /// The same place by its other names: on the loopback address there are three.
    bases: Vec<String>,
}

impl Site {
    /// `base` is an origin: scheme, host, and port if it is not the scheme's own; no slash at its end.
    #[must_use]
    pub fn new(base: &str) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        let (scheme, authority) = base.split_once("://").unwrap_or(("http", &base));
        let port = match authority.rsplit_once(':') {
            Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => format!(":{port}"),
            _ => String::new(),
        };
        let host = authority.strip_suffix(&port).unwrap_or(authority);
        let loopback = ["127.0.0.1", "localhost", "[::1]"];
        let bases = if loopback.contains(&host) {
            let same = |name: &str| format!("{scheme}://{name}{port}");
            loopback.iter().map(|name| same(name)).collect()
        } else {
            vec![base.clone()]
        };
        Self { base, bases }
    }

    /// The origin, which is also the issuer of the embedded authorization server. No slash at its end.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether the gate is reached over TLS, by itself or by a proxy before it.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.base.starts_with("https:")
    }

    /// Whether it is reached on this machine alone, as far as its address says.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.bases.len() > 1
    }

    /// Whether `text` names this gate or one of its resources, exactly but for a slash at the end.
    #[must_use]
    pub fn is_resource(&self, text: &str) -> bool {
        self.place(text).is_some()
    }

    /// What of this gate `text` names, exactly but for a slash at the end.
    #[must_use]
    pub fn place<'t>(&self, text: &'t str) -> Option<Place<'t>> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let mut bases = self.bases.iter();
        bases.find_map(|base| Place::at(text.strip_prefix(base.as_str())?))
    }

    /// The origin by the name that a request was addressed to (its `Host`), if that is one of ours.
    #[must_use]
    pub fn base_for(&self, host: &str) -> &str {
        self.bases
            .iter()
            .find(|base| base.split_once("://").is_some_and(|(_, own)| own == host))
            .unwrap_or(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_very_place_is_a_resource() {
        let site = Site::new("https://gate.example.com/");
        for good in [
            "https://gate.example.com",
            "https://gate.example.com/",
            "https://gate.example.com/mcp",
            "https://gate.example.com/mcp/support",
        ] {
            assert!(site.is_resource(good), "{good}");
        }
        for bad in [
            "https://gate.example.com.evil.com",
            "https://gate.example.com/other",
            "https://gate.example.com/mcp/one/two",
            "https://gate.example.com/mcp//one",
            "https://gate.example.com/mcp/a%2fb",
            "https://gate.example.com/v1/support",
            "https://gate.example.com/mcpx",
            "https://gate.example.com/mcpx/support",
            "http://gate.example.com/mcp",
            "https://gate.example.com:8443/mcp",
            "",
        ] {
            assert!(!site.is_resource(bad), "{bad}");
        }
    }

    #[test]
    fn a_virtual_server_is_a_place_of_its_own() {
        let site = Site::new("https://gate.example.com");
        let place = |path: &str| match site.place(&format!("https://gate.example.com{path}")) {
            None => "nowhere".to_owned(),
            Some(Place::Whole) => "whole".to_owned(),
            Some(Place::Server(name)) => name.to_owned(),
        };
        for (path, expected) in [
            ("", "whole"),
            ("/mcp", "whole"),
            ("/mcp/", "whole"),
            ("/mcp/support", "support"),
            ("/mcp/support/", "support"),
            ("/sse/support", "support"),
            ("/ws/support", "support"),
            ("/mcp/support/more", "nowhere"),
            ("/support", "nowhere"),
        ] {
            assert_eq!(place(path), expected, "{path}");
        }
    }

    #[test]
    fn on_the_loopback_address_its_names_are_one() {
        let site = Site::new("http://127.0.0.1:8080");
        assert!(site.is_resource("http://localhost:8080/mcp"));
        assert!(site.is_resource("http://[::1]:8080/mcp"));
        assert!(!site.is_resource("http://localhost:8081/mcp"));
        assert!(site.is_loopback() && !Site::new("https://gate.example.com").is_loopback());
        assert_eq!(site.base_for("localhost:8080"), "http://localhost:8080");
        assert_eq!(site.base_for("evil.example:8080"), "http://127.0.0.1:8080");
    }
}
