//! The only door out: HTTP client, TLS, DNS, address guard.
