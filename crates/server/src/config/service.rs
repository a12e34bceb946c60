//! Where a service is that the gate uses for itself, mail or Redis, and the password for it. Which schemes there are, and
//! what else the URL may say, is each section's.

use policy::config::Complaints;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::check::Checker;
use super::raw::Secret;

/// The URL of such a service and its host. The URL is not repeated in complaints: somebody may have put a password in it.
pub(super) fn service(
    text: &str,
    what: &str,
    example: &str,
    complaints: &mut Complaints,
) -> Option<(Url, Host)> {
    let Some((url, host)) = Url::parse(text)
        .ok()
        .and_then(|url| Some((url.clone(), Host::parse(url.host_str()?).ok()?)))
    else {
        complaints.add(format!("is not the URL of a {what}"), example);
        return None;
    };
    if url.password().is_some() {
        complaints.add(
            "has a password in it",
            "take it out, and write password = { env = \"…\" } beside it",
        );
        return None;
    }
    Some((url, host))
}

impl Checker<'_> {
    /// What `password`, which is `key` from the top, says; `Some(None)`: nothing.
    pub(super) fn password(
        &self,
        raw: Option<&Secret>,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<Option<Zeroizing<String>>> {
        let Some(secret) = raw else {
            return Some(None);
        };
        complaints
            .at("password", |complaints| {
                self.secret("password", secret, key, complaints)
            })
            .map(|password| Some(Zeroizing::new(password)))
    }
}
