//! MCP upstreams over stdio and HTTP; the built-in tool packs.
