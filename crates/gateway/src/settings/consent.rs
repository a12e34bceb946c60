//! What the config says about asking people: the gate's own rules, bounds, and who is told.

use std::fmt;
use std::time::Duration;

use policy::Pattern;
use url::Url;
use zeroize::Zeroizing;

/// When people are asked besides what rules say, and how.
#[derive(Debug, Clone)]
pub struct ConsentSettings {
    /// Whether tools that their upstream calls destructive are asked about.
    pub asks_destructive: bool,
    /// Resources that are asked about: private data.
    pub private: Vec<Pattern>,
    /// How long a call waits at most for an answer from elsewhere, if its client hears that it does.
    pub wait: Duration,
    /// How long a request can be answered.
    pub expires: Duration,
    /// Requests of one principal that are open at once.
    pub open_max: u32,
    /// Requests of one principal in an hour.
    pub per_hour: u32,
    /// Who is told of each request that waits.
    pub webhook: Option<Webhook>,
}

impl Default for ConsentSettings {
    fn default() -> Self {
        Self {
            asks_destructive: true,
            private: Vec::new(),
            wait: Duration::from_secs(30),
            expires: Duration::from_secs(15 * 60),
            open_max: 10,
            per_hour: 30,
            webhook: None,
        }
    }
}

/// Where requests are announced.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The URL: https, unless the config takes plain http upon itself.
    pub url: Url,
    /// What the announcements are signed with.
    pub secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL may have a secret in its path.
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}
