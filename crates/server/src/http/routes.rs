//! Every path there is, who may come in, and what serves it. What is not here does not exist.
//!
//! One table, so that no path can be forgotten by the layer in front: a row cannot be written without saying who may
//! come in, and `Edge::route` looks at that before anything else happens.

use ::http::Method;

/// Who may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody: what is here tells nothing about anybody, or checks for itself what its standard says is to be checked
    /// (client authentication at the token endpoint, one-time codes).
    Public,
    /// A browser, signed in or not; never an API credential. Each page looks at the browser's session itself, since
    /// those who are not signed in are shown the way.
    Browser,
    /// Somebody known.
    Principal,
    /// Somebody known, with a credential that is good for administration; what may be done is looked at there.
    Scoped,
    /// An owner, or whom a rule lets do this (`{ admin = "keys.create" }`: the operations of `v1` have these names), with a
    /// credential that is good for administration.
    Owner,
}

/// What serves a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Live,
    Ready,
    Mcp,
    SseStream,
    SseMessages,
    WebSocket,
    Health,
    Metrics,
    /// RFC 9728.
    ResourceMetadata,
    /// RFC 8414.
    ServerMetadata,
    /// `/oauth/…`: see `oauth`.
    OAuth,
    /// `/console/…`: see `pages`.
    Page,
    /// `/v1/…`: see `v1`.
    Admin,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    /// The path. A segment `{…}` stands for any one segment, `*` at the end for any rest (none too).
    pub(super) path: &'static str,
    /// Which methods it has.
    pub(super) methods: &'static [Method],
    pub(super) access: Access,
    pub(super) target: Target,
}

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];
const DELETE: &[Method] = &[Method::DELETE];
const FORM: &[Method] = &[Method::GET, Method::POST];

/// All of them.
pub(super) const ROUTES: &[Route] = &[
    row("/livez", GET, Access::Public, Target::Live),
    row("/readyz", GET, Access::Public, Target::Ready),
    row(
        "/mcp",
        &[Method::POST, Method::GET, Method::DELETE],
        Access::Principal,
        Target::Mcp,
    ),
    row(
        "/mcp/{server}",
        &[Method::POST, Method::GET, Method::DELETE],
        Access::Principal,
        Target::Mcp,
    ),
    row("/sse", GET, Access::Principal, Target::SseStream),
    row("/sse/{server}", GET, Access::Principal, Target::SseStream),
    row("/messages", POST, Access::Principal, Target::SseMessages),
    row(
        "/messages/{server}",
        POST,
        Access::Principal,
        Target::SseMessages,
    ),
    row("/ws", GET, Access::Principal, Target::WebSocket),
    row("/ws/{server}", GET, Access::Principal, Target::WebSocket),
    row("/health", GET, Access::Principal, Target::Health),
    row("/metrics", GET, Access::Principal, Target::Metrics),
    row(
        "/.well-known/oauth-protected-resource*",
        GET,
        Access::Public,
        Target::ResourceMetadata,
    ),
    row(
        "/.well-known/oauth-authorization-server",
        GET,
        Access::Public,
        Target::ServerMetadata,
    ),
    row("/v1/me", GET, Access::Principal, Target::Admin),
    row("/v1/openapi.json", GET, Access::Principal, Target::Admin),
    row("/v1/alerts", GET, Access::Owner, Target::Admin),
    row("/v1/keys", FORM, Access::Owner, Target::Admin),
    row("/v1/keys/{id}", DELETE, Access::Owner, Target::Admin),
    row("/v1/keys/{id}/rotate", POST, Access::Owner, Target::Admin),
    row("/v1/sessions", GET, Access::Owner, Target::Admin),
    row("/v1/sessions/{id}", DELETE, Access::Owner, Target::Admin),
    row("/v1/revocations", FORM, Access::Owner, Target::Admin),
    row("/v1/approvals", GET, Access::Scoped, Target::Admin),
    row("/v1/approvals/{id}", FORM, Access::Scoped, Target::Admin),
    row("/v1/consents", GET, Access::Scoped, Target::Admin),
    row(
        "/v1/consents/{id}",
        &[Method::GET, Method::DELETE],
        Access::Scoped,
        Target::Admin,
    ),
    row("/v1/logs", GET, Access::Owner, Target::Admin),
    row(
        "/v1/logs/level",
        &[Method::GET, Method::PUT, Method::DELETE],
        Access::Owner,
        Target::Admin,
    ),
    row("/v1/pins", GET, Access::Owner, Target::Admin),
    row("/v1/pins/withheld", GET, Access::Owner, Target::Admin),
    row("/v1/pins/approve", POST, Access::Owner, Target::Admin),
    row("/v1/pins/forget", POST, Access::Owner, Target::Admin),
    row("/v1/users", FORM, Access::Owner, Target::Admin),
    row(
        "/v1/users/{name}",
        &[Method::GET, Method::PATCH, Method::DELETE],
        Access::Owner,
        Target::Admin,
    ),
    row("/oauth/jwks", GET, Access::Public, Target::OAuth),
    row("/oauth/client.json", GET, Access::Public, Target::OAuth),
    row("/oauth/token", POST, Access::Public, Target::OAuth),
    row("/oauth/register", POST, Access::Public, Target::OAuth),
    row("/oauth/revoke", POST, Access::Public, Target::OAuth),
    row("/oauth/authorize", FORM, Access::Browser, Target::OAuth),
    row("/oauth/callback", GET, Access::Browser, Target::OAuth),
    row("/console", GET, Access::Browser, Target::Page),
    row("/console/", GET, Access::Browser, Target::Page),
    row("/console/assets/{file}", GET, Access::Public, Target::Page),
    row("/console/setup", FORM, Access::Browser, Target::Page),
    row("/console/login", FORM, Access::Browser, Target::Page),
    row("/console/logout", POST, Access::Browser, Target::Page),
    row("/console/reset", FORM, Access::Browser, Target::Page),
    row("/console/account", FORM, Access::Browser, Target::Page),
    row("/console/connect", FORM, Access::Browser, Target::Page),
    row(
        "/console/connect/{upstream}",
        FORM,
        Access::Browser,
        Target::Page,
    ),
    row("/console/consents", FORM, Access::Browser, Target::Page),
    row(
        "/console/sign-in/{provider}",
        GET,
        Access::Browser,
        Target::Page,
    ),
    row(
        "/console/sign-in/{provider}/callback",
        GET,
        Access::Browser,
        Target::Page,
    ),
];

const fn row(
    path: &'static str,
    methods: &'static [Method],
    access: Access,
    target: Target,
) -> Route {
    Route {
        path,
        methods,
        access,
        target,
    }
}

/// One row, for those who ask about the table from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRow {
    /// The path. A segment `{…}` stands for any one segment, `*` at the end for any rest.
    pub path: &'static str,
    /// The methods that it has.
    pub methods: Vec<&'static str>,
    /// Who may come in: `public`, `browser`, `principal` or `owner`.
    pub access: &'static str,
}

/// All routes there are.
#[must_use]
pub fn routes() -> Vec<RouteRow> {
    ROUTES
        .iter()
        .map(|route| RouteRow {
            path: route.path,
            methods: route.methods.iter().map(Method::as_str).collect(),
            access: match route.access {
                Access::Public => "public",
                Access::Browser => "browser",
                Access::Principal | Access::Scoped => "principal",
                Access::Owner => "owner",
            },
        })
        .collect()
}

/// The row of this path.
pub(super) fn find(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| fits(route.path, path))
}

/// The virtual server that a path is of, by name; `None`: of none.
pub(super) fn server(path: &str) -> Option<&str> {
    let route = find(path)?;
    route.path.strip_suffix("/{server}")?;
    path.rsplit('/').next()
}

fn fits(pattern: &str, path: &str) -> bool {
    if let Some(start) = pattern.strip_suffix('*') {
        return path
            .strip_prefix(start)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    }
    let (mut wanted, mut found) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found))
                if wanted == found || (wanted.starts_with('{') && !found.is_empty()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_fits_its_row_and_no_other() {
        let path = |path| find(path).map(|route| route.path);
        assert_eq!(path("/mcp"), Some("/mcp"));
        assert_eq!(path("/mcp/support"), Some("/mcp/{server}"));
        assert_eq!(server("/mcp/support"), Some("support"));
        assert_eq!(server("/mcp"), None);
        assert_eq!(server("/v1/keys/support"), None);
        assert_eq!(
            path("/.well-known/oauth-protected-resource/mcp"),
            Some("/.well-known/oauth-protected-resource*")
        );
        assert_eq!(
            path("/console/connect/github"),
            Some("/console/connect/{upstream}")
        );
        for none in [
            "/",
            "/mcp/",
            "//mcp",
            "/MCP",
            "/mcp/../mcp",
            "/console/connect/",
            "/.well-known/oauth-protected-resourcex",
            "/livez/x",
        ] {
            assert_eq!(path(none), None, "{none}");
        }
    }
}
