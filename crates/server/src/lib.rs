//! CLI, config, listeners: builds the binary portcullis.
