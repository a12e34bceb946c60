//! What was logged a short while ago, and how much is logged from now on.

use std::time::Duration;

use observe::logs::{FILTER_TIME_MAX, Filter, Filters, Found, Logs, Query};
use policy::config::duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::Level;
use url::form_urlencoded;

use super::problem::Problem;
use super::shape::{PAGE, PAGE_MAX, instant};
use super::{Answer, Asked};

/// The longest text that is looked for, in bytes.
const CONTAINS_BYTES_MAX: usize = 256;

/// Lines, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LogPage {
    /// Each as it was logged: `timestamp`, `level`, `message`, `target`, and the fields that the event has.
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    items: Vec<Box<RawValue>>,
    /// What to send as `after` for older ones; null if there are none.
    next: Option<String>,
}

/// Which filter holds.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LogFilter {
    /// The filter that holds.
    filter: String,
    /// What the config says, which holds again after that.
    configured: String,
    /// For how many seconds more; null if that is not limited.
    seconds_left: Option<u64>,
}

/// Another filter.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetFilter {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,upstream=debug`.
    filter: String,
    /// For how long, as `10m`, at most a week; unless said, until the gate ends.
    #[serde(rename = "for")]
    time: Option<String>,
}

pub(super) fn list(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let query = query(asked.query)?;
    let Found { lines, has_more } = logs(asked)?.search(&query);
    let next = lines.last().filter(|_| has_more);
    let next = next.map(|line| line.number.to_string());
    let items: Result<_, _> = lines
        .into_iter()
        .map(|line| RawValue::from_string(line.json.as_ref().to_owned()))
        .collect();
    let items = items.map_err(|error| Problem::ours(&error))?;
    Answer::ok(&LogPage { items, next })
}

pub(super) fn show_filter(asked: &Asked<'_>) -> Result<Answer, Problem> {
    answer(&logs(asked)?.filters())
}

pub(super) fn set_filter(asked: &mut Asked<'_>) -> Result<Answer, Problem> {
    let set: SetFilter = asked.read()?;
    let bad = |name: &str, why: String| Problem::bad(format!("`{name}`: {why}"));
    let filter = Filter::parse(&set.filter).map_err(|error| bad("filter", error.to_string()))?;
    let time = match set.time.as_deref() {
        None => None,
        Some(text) => {
            let time = duration(text).map_err(|why| bad("for", why))?;
            if time.is_zero() || time > FILTER_TIME_MAX {
                return Err(bad("for", "is from 1s to 7d".to_owned()));
            }
            Some(time)
        }
    };
    let logs = logs(asked)?;
    let by = asked.principal.id.as_str();
    logs.set(filter, time);
    tracing::info!(by, filter = set.filter, "a log filter was set");
    let done = answer(&logs.filters());
    asked.subject = Some(set.filter);
    done
}

pub(super) fn reset_filter(asked: &Asked<'_>) -> Result<Answer, Problem> {
    logs(asked)?.reset();
    let by = asked.principal.id.as_str();
    tracing::info!(by, "the log filter is as configured");
    Ok(Answer::nothing())
}

fn logs<'a>(asked: &'a Asked<'_>) -> Result<&'a Logs, Problem> {
    // Of a gate inside of another program, the log is that program's.
    let logs = asked.edge.logs.as_ref();
    logs.ok_or_else(|| Problem::missing("this gate keeps no log"))
}

fn answer(filters: &Filters) -> Result<Answer, Problem> {
    let holds = filters.set.as_ref().unwrap_or(&filters.configured);
    Answer::ok(&LogFilter {
        filter: holds.as_str().to_owned(),
        configured: filters.configured.as_str().to_owned(),
        seconds_left: filters.left.map(|left: Duration| left.as_secs()),
    })
}

fn query(text: &str) -> Result<Query, Problem> {
    let mut query = Query {
        level: Level::TRACE,
        target: None,
        contains: None,
        since: None,
        before: None,
        limit: PAGE,
    };
    for (key, value) in form_urlencoded::parse(text.as_bytes()) {
        match &*key {
            "level" => {
                let words = "`level` is error, warn, info, debug or trace";
                query.level = value
                    .parse()
                    .map_err(|_word| Problem::bad(words.to_owned()))?;
            }
            "target" => query.target = Some(value.into_owned()),
            "contains" if value.len() > CONTAINS_BYTES_MAX => {
                return Err(Problem::bad(format!(
                    "`contains` has at most {CONTAINS_BYTES_MAX} bytes"
                )));
            }
            "contains" => query.contains = Some(value.into_owned()),
            "since" => {
                let since = instant(&value).ok_or_else(|| {
                    Problem::bad("`since` is a time such as 2026-01-31T12:00:00Z".to_owned())
                })?;
                query.since = Some(since);
            }
            "after" => {
                let number = value.parse();
                query.before = Some(number.map_err(|_digits| {
                    Problem::bad("`after` is what a page had as `next`".to_owned())
                })?);
            }
            "limit" => {
                let limit = value.parse().ok();
                let limit = limit.filter(|limit| (1..=PAGE_MAX).contains(limit));
                query.limit = limit
                    .ok_or_else(|| Problem::bad(format!("`limit` is from 1 to {PAGE_MAX}")))?;
            }
            _ => return Err(Problem::bad(format!("there is no parameter `{key}`"))),
        }
    }
    Ok(query)
}
