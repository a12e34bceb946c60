//! Whether the call is one too many: rate limits, and a place among the calls in flight.

use wire::Method;

use super::{Asked, Call, Means, View};
use crate::Rejection;
use crate::limits::Permit;
use crate::record::CallRecord;

/// Counts the call; the permit goes back when dropped.
pub(super) async fn limit(
    call: &Call<'_>,
    view: &View,
    means: &Means<'_>,
    record: &CallRecord,
) -> Result<Permit, Rejection> {
    count(call.asked, call.method, view, means, record).await?;
    means.counters.enter()
}

/// Counts a request that needs no place.
#[expect(clippy::unused_async, reason = "a shared store is asked here")]
pub(super) async fn count(
    asked: &Asked,
    method: &Method,
    view: &View,
    means: &Means<'_>,
    record: &CallRecord,
) -> Result<(), Rejection> {
    let limits = &view.settings.limits;
    let Some(key) = method.limit else {
        return Ok(());
    };
    let limit = match key {
        wire::method::LimitKey::ToolCall => &limits.tool_call,
        wire::method::LimitKey::ResourceAccess => &limits.resource_access,
    };
    let counters = means.counters;
    counters.take(&asked.principal.id, key, limit, record.opened())
}
