//! Durable state: SQLite with one writer and group commit.
