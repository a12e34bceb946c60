//! The one look at the process's environment: variables, working folder, home.
//!
//! Taken once, at start, and handed on as a value; from here on the config is a function of its arguments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the process was started with.
#[derive(Clone, Default)]
pub struct Environment {
    /// Environment variables whose names and values are text.
    pub variables: BTreeMap<String, String>,
    /// The working folder.
    pub folder: PathBuf,
}

// Variables hold secrets; only how many there are is shown.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("variables", &self.variables.len())
            .field("folder", &self.folder)
            .finish()
    }
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let mut variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        if let Some(home) =
            std::env::home_dir().and_then(|home| home.into_os_string().into_string().ok())
        {
            variables.entry("HOME".to_owned()).or_insert(home);
        }
        Self {
            variables,
            folder: std::env::current_dir().unwrap_or_default(),
        }
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The user's home.
    #[must_use]
    pub fn home(&self) -> Option<PathBuf> {
        self.get("HOME").map(PathBuf::from)
    }

    /// Where this user's config files live: the XDG folder, on every system.
    #[must_use]
    pub fn config_home(&self) -> Option<PathBuf> {
        self.xdg("XDG_CONFIG_HOME", ".config")
    }

    /// Where this user's programs keep what they need to remember.
    #[must_use]
    pub fn data_home(&self) -> Option<PathBuf> {
        self.xdg("XDG_DATA_HOME", ".local/share")
    }

    /// A path as people write it: `~/` is the home, the rest is relative to `base`.
    #[must_use]
    pub fn path(&self, text: &str, base: &Path) -> PathBuf {
        match (text.strip_prefix("~/"), self.home()) {
            (Some(rest), Some(home)) => home.join(rest),
            _ if text == "~" => self.home().unwrap_or_else(|| base.join(text)),
            _ => self.folder.join(base).join(text),
        }
    }

    // The specification says that a relative path there is to be ignored.
    fn xdg(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        self.get(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| Some(self.home()?.join(below_home)))
    }
}
