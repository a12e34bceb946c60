//! Wall-clock times as the database keeps them: microseconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// As the database keeps it; saturates some 290 thousand years from now, and at 1970.
pub(crate) fn to_micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Back again.
pub(crate) fn from_micros(micros: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}
