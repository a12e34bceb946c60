//! Inbound identity: API keys and the local principal.
