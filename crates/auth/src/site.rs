//! What this gate is called from outside: its issuer, and the resources that tokens are meant for.
//!
//! Sources: RFC 8707 section 2, RFC 9728 section 3.3, MCP 2026-07-28 "Authorization", "Canonical server URI".

/// Paths that are resources of their own.
pub const RESOURCES: &[&str] = &["/mcp", "/sse", "/ws"];

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
        let text = text.strip_suffix('/').unwrap_or(text);
        self.bases.iter().any(|base| {
            text.strip_prefix(base.as_str())
                .is_some_and(|path| path.is_empty() || RESOURCES.contains(&path))
        })
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
        ] {
            assert!(site.is_resource(good), "{good}");
        }
        for bad in [
            "https://gate.example.com.evil.com",
            "https://gate.example.com/mcp/other",
            "https://gate.example.com/mcpx",
            "http://gate.example.com/mcp",
            "https://gate.example.com:8443/mcp",
            "",
        ] {
            assert!(!site.is_resource(bad), "{bad}");
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
