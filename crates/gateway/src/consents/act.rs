//! The gate's desk of consents, for those outside of calls: people who answer, and administrative acts that are asked
//! about.

use policy::{Ask, Principal};
use serde_json::Value;

use super::{Asking, Consents, Deed, Question, Unagreed};
use crate::{Gate, Rejection};

/// Where acts of the admin API stand in the place of an upstream.
const UPSTREAM: &str = "portcullis";

impl Gate {
    /// What people are asked, and what they agreed to.
    #[must_use]
    pub fn consents(&self) -> &Consents {
        &self.consents
    }

    /// Sees to it that somebody agreed to an act of the admin API, `keys.create`, with what it would be done. Returns the
    /// id of the consent, for the record.
    ///
    /// # Errors
    /// [`Rejection::Unconsented`] with the id of the request that waits now, or why nobody is asked.
    pub async fn agree_to_act(
        &self,
        principal: &Principal,
        ask: &Ask,
        action: &str,
        arguments: &Value,
    ) -> Result<String, Rejection> {
        let method = format!("admin/{action}");
        let deed = Deed {
            principal,
            server: None,
            method: &method,
            upstream: UPSTREAM,
            entry: action,
            definition: action,
            sent: arguments,
        };
        let question = Question::new(deed, ask, "", None);
        let consents = &self.consents;
        if let Some(agreed) = consents
            .find(&question)
            .await
            .map_err(|error| unavailable(&error))?
            && consents
                .spend(&agreed)
                .await
                .map_err(|error| unavailable(&error))?
        {
            return Ok(agreed.consent);
        }
        let settings = &self.view().settings.consent;
        let asking = consents.ask(&question, settings).await;
        let why = match asking.map_err(|error| unavailable(&error))? {
            Asking::Open { id, is_new } => {
                if is_new {
                    let console = self.parts.auth.site().base();
                    consents.announce(&id, settings, console);
                }
                Unagreed::Waiting(id)
            }
            Asking::Refused(id) => Unagreed::Refused(id),
            Asking::TooMany => Unagreed::TooMany,
        };
        Err(Rejection::Unconsented(why))
    }
}

/// Without the database nobody can have agreed.
pub(crate) fn unavailable(error: &store::Error) -> Rejection {
    tracing::error!(%error, "consents cannot be read or written");
    Rejection::Unconsented(Unagreed::Unavailable)
}
