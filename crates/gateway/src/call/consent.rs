//! A person's word, where the rules want one, before anything is sent.

use super::{Authorized, Decided, Means, View, Yield};
use crate::Rejection;
use crate::record::CallRecord;
use upstream::Events;

/// What came of asking.
pub(super) enum Consented<'a> {
    /// It may be sent.
    Yes(Authorized<'a>),
    /// The client gets this in the place of an answer: somebody is to be asked first.
    #[expect(dead_code, reason = "asking comes with the consent store")]
    Told(Yield),
}

/// Has a person asked when a rule says so.
#[expect(clippy::unused_async, reason = "a person is waited for here")]
pub(super) async fn consent<'a>(
    decided: Decided<'a>,
    _view: &View,
    _means: &Means<'_>,
    _events: Option<&Events>,
    _record: &mut CallRecord,
) -> Result<Consented<'a>, Rejection> {
    let Decided { call, ask } = decided;
    match ask {
        None => Ok(Consented::Yes(Authorized { call })),
        Some(_) => Err(Rejection::Unconsented),
    }
}
