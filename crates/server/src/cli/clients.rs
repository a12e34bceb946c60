//! The MCP clients we know: where each keeps its config, and how an entry looks there.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::config::Environment;

/// A client whose config we can read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// Claude Desktop.
    Claude,
    /// Claude Code.
    ClaudeCode,
    /// Cursor.
    Cursor,
    /// Visual Studio Code.
    #[value(name = "vscode")]
    VsCode,
}

impl Client {
    pub(super) const ALL: [Self; 4] = [Self::Claude, Self::ClaudeCode, Self::Cursor, Self::VsCode];

    /// Its name, as its makers write it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Claude => "Claude Desktop",
            Self::ClaudeCode => "Claude Code",
            Self::Cursor => "Cursor",
            Self::VsCode => "VS Code",
        }
    }

    /// The user's own config file; `None` without a home.
    pub(super) fn file(self, environment: &Environment) -> Option<PathBuf> {
        let home = environment.home()?;
        Some(match self {
            Self::Claude => programs(environment, &home).join("Claude/claude_desktop_config.json"),
            Self::ClaudeCode => home.join(".claude.json"),
            Self::Cursor => home.join(".cursor/mcp.json"),
            Self::VsCode => programs(environment, &home).join("Code/User/mcp.json"),
        })
    }

    /// All its config files that there may be: the user's own, and those of the project in the working folder.
    pub(super) fn files(self, environment: &Environment) -> Vec<PathBuf> {
        let project = match self {
            Self::Claude => None,
            Self::ClaudeCode => Some(".mcp.json"),
            Self::Cursor => Some(".cursor/mcp.json"),
            Self::VsCode => Some(".vscode/mcp.json"),
        };
        let project = project.map(|path| environment.folder.join(path));
        let mut files: Vec<PathBuf> = self.file(environment).into_iter().chain(project).collect();
        // The home may be the working folder.
        files.dedup();
        files
    }

    /// The key under which it keeps its servers.
    pub(super) fn section(self) -> &'static str {
        match self {
            Self::Claude | Self::ClaudeCode | Self::Cursor => "mcpServers",
            Self::VsCode => "servers",
        }
    }

    /// How the gate looks among them. Claude Desktop starts programs and calls no addresses.
    pub(super) fn entry(self, url: &url::Url, program: &str, words: &[String]) -> Value {
        match self {
            Self::Claude => json!({ "command": program, "args": words }),
            Self::ClaudeCode | Self::VsCode => json!({ "type": "http", "url": url.as_str() }),
            Self::Cursor => json!({ "url": url.as_str() }),
        }
    }
}

// Where programs keep their settings on this system.
fn programs(environment: &Environment, home: &std::path::Path) -> PathBuf {
    if cfg!(target_os = "macos") {
        home.join("Library/Application Support")
    } else if cfg!(windows) {
        environment
            .get("APPDATA")
            .map_or_else(|| home.join("AppData/Roaming"), PathBuf::from)
    } else {
        environment
            .config_home()
            .unwrap_or_else(|| home.join(".config"))
    }
}
