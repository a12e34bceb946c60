//! Whether the call is one too many: rate limits, and later quotas and a place among the calls in flight.

use std::borrow::Cow;

use policy::{Counted, CountedEntry};
use wire::MethodName;
use wire::method::Subject;

use super::authorize::subject_name;
use super::{Asked, Call, Means, View};
use crate::limits::Permit;
use crate::{Rejection, uri};

/// Counts the call against the rate limits that speak of it.
pub(super) async fn limit(
    call: &Call<'_>,
    view: &View,
    means: &Means<'_>,
) -> Result<(), Rejection> {
    let names = names(call);
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let counted = counted(call, view, &names);
    let (limits, key) = (&view.settings.limits, call.method.limit);
    means.counters.count(limits, &counted, key).await
}

/// Charges the call to its quotas, and waits for a place if that need not be long; both go back when the permit is
/// dropped.
pub(super) async fn admit(
    call: &Call<'_>,
    view: &View,
    means: &Means<'_>,
) -> Result<Permit, Rejection> {
    let names = names(call);
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let counted = counted(call, view, &names);
    let bytes = call.asked.request.bytes().len();
    means
        .counters
        .admit(&view.settings.limits, &counted, bytes)
        .await
}

/// What its subject is called, in every reading.
fn names<'c>(call: &'c Call<'_>) -> Vec<Cow<'c, str>> {
    let name = subject_name(call.method, &call.params, &call.entry);
    let mut names = vec![Cow::Borrowed(name)];
    // `%73ecret` is `secret` to whoever opens it, so it is counted as that too.
    if call.method.subject == Subject::Resource && name.contains('%') {
        names.extend(uri::readings(name).into_iter().map(Cow::Owned));
    }
    names
}

fn counted<'c>(call: &'c Call<'_>, view: &'c View, names: &'c [&'c str]) -> Counted<'c> {
    Counted {
        principal: &call.asked.principal,
        entry: Some(CountedEntry {
            upstream: call.entry.link.id(),
            key: &call.entry.item.key,
            names,
        }),
        server: view.server.as_ref(),
    }
}

/// Counts a request that the gate answers by itself, and that needs no place.
pub(super) async fn count(asked: &Asked, view: &View, means: &Means<'_>) -> Result<(), Rejection> {
    let counted = Counted {
        principal: &asked.principal,
        entry: None,
        server: view.server.as_ref(),
    };
    let key = match &asked.request.method {
        MethodName::Known(method) => method.limit,
        MethodName::Unknown(_) => None,
    };
    let limits = &view.settings.limits;
    means.counters.count(limits, &counted, key).await
}

/// Counts a request that is refused before it is known what it is about: guessing names is not free.
pub(super) async fn refused(
    asked: &Asked,
    view: &View,
    means: &Means<'_>,
    rejection: Rejection,
) -> Rejection {
    if rejection.is_unknown() && view.catalog.is_settling {
        // It is looked for once more, and counted then.
        return rejection;
    }
    match count(asked, view, means).await {
        Ok(()) => rejection,
        Err(too_many) => too_many,
    }
}
