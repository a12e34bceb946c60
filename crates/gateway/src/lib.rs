//! The way of a call: stages, catalog, sessions, errors to protocol.
