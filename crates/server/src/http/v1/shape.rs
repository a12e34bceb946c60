//! What the answers have in common: pages of bounded lists, and times.

use std::time::SystemTime;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use url::form_urlencoded;

use super::problem::Problem;

/// Entries of a page, unless asked otherwise; and at most.
pub(super) const PAGE: usize = 100;
pub(super) const PAGE_MAX: usize = 1000;

/// One page of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Page<T> {
    /// The entries.
    pub(super) items: Vec<T>,
    /// What to send as `after` for the next page; null on the last.
    pub(super) next: Option<String>,
}

/// Cuts the page that `query` asks for: `limit`, and `after`, an entry's name.
pub(super) fn page<T>(
    all: Vec<T>,
    query: &str,
    name: impl Fn(&T) -> String,
) -> Result<Page<T>, Problem> {
    let (mut limit, mut after) = (PAGE, None);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "limit" => {
                limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=PAGE_MAX).contains(limit))
                    .ok_or_else(|| Problem::bad(format!("`limit` is from 1 to {PAGE_MAX}")))?;
            }
            "after" => after = Some(value.into_owned()),
            _ => return Err(Problem::bad(format!("there is no parameter `{key}`"))),
        }
    }
    let start = match after {
        None => 0,
        Some(after) => {
            let at = all.iter().position(|one| name(one) == after);
            at.ok_or_else(|| Problem::bad("`after` is no entry of the list any more".to_owned()))?
                + 1
        }
    };
    let more = all.len() > start + limit;
    let items: Vec<T> = all.into_iter().skip(start).take(limit).collect();
    let next = items.last().filter(|_| more).map(name);
    Ok(Page { items, next })
}

/// RFC 3339, in UTC.
pub(super) fn time(at: SystemTime) -> String {
    Timestamp::try_from(at)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// From RFC 3339, with any offset.
pub(super) fn instant(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}
