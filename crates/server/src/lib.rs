//! CLI, config, listeners: builds the binary portcullis.

pub mod config;
