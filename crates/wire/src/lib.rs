//! JSON-RPC and MCP on raw bytes.
