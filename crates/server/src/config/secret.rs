//! Values that may be secret: fetched from where the config points, recognised, never printed.

use policy::config::Complaints;
use zeroize::Zeroizing;

use super::check::Checker;
use super::raw::Secret;

/// Largest file that holds a secret.
const FILE_BYTES_MAX: u64 = 64 << 10;

// What example files say where a secret belongs, in lower case and without separators.
const PLACEHOLDERS: &[&str] = &[
    "changeme",
    "changeit",
    "replaceme",
    "todo",
    "fixme",
    "placeholder",
    "secret",
    "password",
    "passw0rd",
    "token",
    "apikey",
    "yourapikey",
    "yourtoken",
    "yoursecret",
    "yourpassword",
    "mytoken",
    "xxx",
    "example",
    "dummy",
];

/// Whether a variable, header or flag of this name usually holds a secret.
#[must_use]
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    [
        "token",
        "secret",
        "password",
        "passwd",
        "api_key",
        "apikey",
        "access_key",
        "private_key",
        "credential",
        "authorization",
        "cookie",
    ]
    .iter()
    .any(|word| name.contains(word))
        || name == "key"
        || name.ends_with("_key")
        || name.ends_with("_pat")
}

/// Whether a value is what an example file says where a secret belongs.
pub(crate) fn is_placeholder(value: &str) -> bool {
    let value = value.trim().to_lowercase();
    let value = value.strip_prefix("bearer ").unwrap_or(&value).trim();
    if value.starts_with('<') && value.ends_with('>')
        || value.starts_with("your-")
        || value.starts_with("your_")
    {
        return true;
    }
    let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
    PLACEHOLDERS.contains(&plain.as_str())
        || (plain.len() > 3 && plain.bytes().all(|byte| byte == b'x'))
}

impl Checker<'_> {
    /// The value itself, fetched from the variable, file or database that the config names.
    ///
    /// If nothing is to be fetched, it is a text that only stands for it.
    pub(super) fn secret(
        &self,
        name: &str,
        secret: &Secret,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<String> {
        if !matches!(secret, Secret::Literal(_))
            && let Some(stand_in) = self.secrets.stand_in()
        {
            return Some(stand_in);
        }
        self.fetched(name, secret, key, complaints)
    }

    /// The same for what the database itself is opened with. It cannot stand in there, and every command needs it that
    /// reads the database; one that does not may do without.
    pub(super) fn own_secret(
        &self,
        secret: &Secret,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<Zeroizing<String>> {
        if matches!(secret, Secret::Kept(_)) {
            complaints.add(
                "cannot stand in the database that it opens",
                "use { env = \"NAME\" } or { file = \"PATH\" }",
            );
            return None;
        }
        if !matches!(secret, Secret::Literal(_))
            && let Some(stand_in) = self.secrets.stand_in()
        {
            let mut unheard = Complaints::default();
            let fetched = self.fetched("password", secret, key, &mut unheard);
            return Some(fetched.unwrap_or(stand_in).into());
        }
        self.fetched("password", secret, key, complaints)
            .map(Zeroizing::new)
    }

    fn fetched(
        &self,
        name: &str,
        secret: &Secret,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<String> {
        let value = match secret {
            Secret::Literal(text) => text.clone(),
            Secret::Kept(name) => match self.secrets.get(name) {
                Ok(value) => value.to_string(),
                Err((reason, hint)) => {
                    complaints.add(reason, hint);
                    return None;
                }
            },
            Secret::Env(variable) => match self.environment.get(variable) {
                Some(value) => value.to_owned(),
                None => {
                    complaints.add(
                        format!("the environment variable `{variable}` is not set"),
                        "set it before starting the gate, or use { file = \"…\" }",
                    );
                    return None;
                }
            },
            Secret::File(path) => {
                let path = self.path(path, key);
                let text = match std::fs::metadata(&path) {
                    Ok(about) if about.len() > FILE_BYTES_MAX => {
                        complaints.add(format!("{} is larger than 64 KiB", path.display()), "");
                        return None;
                    }
                    _ => std::fs::read_to_string(&path),
                };
                match text {
                    Ok(text) => text.trim_end_matches(['\r', '\n']).to_owned(),
                    Err(error) => {
                        complaints.add(format!("{} cannot be read: {error}", path.display()), "");
                        return None;
                    }
                }
            }
        };
        let is_meant_secret = is_secret_name(name) || matches!(secret, Secret::Kept(_));
        if is_meant_secret && is_placeholder(&value) {
            complaints.add(
                "holds a placeholder, not a secret",
                "put the real value where { env = \"…\" } or { file = \"…\" } points",
            );
            return None;
        }
        Some(value)
    }
}
