//! Whether the call is one too many: rate limits, quotas, and a place among the calls in flight.

use policy::{Counted, CountedEntry};
use wire::Method;
use wire::method::Subject;

use super::authorize::subject_name;
use super::{Asked, Call, Means, View};
use crate::limits::Permit;
use crate::record::CallRecord;
use crate::{Rejection, uri};

/// Counts the call, and waits for a place if that need not be long; the permit goes back when dropped.
pub(super) async fn limit(
    call: &Call<'_>,
    view: &View,
    means: &Means<'_>,
    record: &CallRecord,
) -> Result<Permit, Rejection> {
    let name = subject_name(call.method, &call.params, &call.entry);
    // `%73ecret` is `secret` to whoever opens it, so it is counted as that too.
    let readings = match call.method.subject {
        Subject::Resource if name.contains('%') => uri::readings(name),
        _ => Vec::new(),
    };
    let names: Vec<&str> = std::iter::once(name)
        .chain(readings.iter().map(String::as_str))
        .collect();
    let counted = Counted {
        principal: &call.asked.principal,
        entry: Some(CountedEntry {
            upstream: call.entry.link.id(),
            key: &call.entry.item.key,
            names: &names,
        }),
        server: view.server.as_ref(),
    };
    let (limits, key) = (&view.settings.limits, call.method.limit);
    let bytes = call.asked.request.bytes().len();
    means
        .counters
        .admit(limits, &counted, key, bytes, record.opened())
        .await
}

/// Counts a request that the gate answers by itself, and that needs no place.
pub(super) async fn count(
    asked: &Asked,
    method: &Method,
    view: &View,
    means: &Means<'_>,
    record: &CallRecord,
) -> Result<(), Rejection> {
    let counted = Counted {
        principal: &asked.principal,
        entry: None,
        server: view.server.as_ref(),
    };
    let (limits, key) = (&view.settings.limits, method.limit);
    means
        .counters
        .count(limits, &counted, key, record.opened())
        .await
}
