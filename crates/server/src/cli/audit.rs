//! `portcullis audit`: the record of calls, for people and for scripts.

mod evidence;
mod privacy;
mod sealed;
mod sinks;

use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use observe::sinks::native;
use store::{AuditFilter, Outcome, Recorded, Store};

use super::arguments::Unusable;
use super::commands::{Audit, Search};
use super::output;
use super::{Common, Exit, existing};

const POLL_EVERY: Duration = Duration::from_millis(500);
/// Records read at once while following.
const BATCH_MAX: u32 = 1000;

pub(super) fn audit(common: &Common, audit: Audit) -> anyhow::Result<Exit> {
    match audit {
        Audit::Tail {
            lines,
            follow,
            principal,
        } => tail(common, lines, follow, principal),
        Audit::Search(wanted) => search(common, &wanted),
        Audit::Sinks => sinks::list(common),
        Audit::Export { from, to, output } => evidence::export(common, from, to, output.as_deref()),
        Audit::Verify {
            file,
            key,
            checkpoint,
            from,
            allow_unsigned,
            allow_unexplained,
        } => {
            let expected = observe::Expected {
                from,
                unsigned: allow_unsigned,
                unexplained: allow_unexplained,
                ..observe::Expected::default()
            };
            evidence::verify(common, &file, &key, checkpoint.as_deref(), expected)
        }
        Audit::Prove { call } => evidence::prove(common, &call),
        Audit::Key => evidence::key(common),
        Audit::Checkpoint => evidence::checkpoint(common),
        Audit::Keygen { out } => sealed::keygen(common, &out),
        Audit::Open { file, key } => sealed::open(common, &file, &key),
        Audit::Subject { principal, out } => privacy::subject(common, &principal, &out),
        Audit::Erase {
            principal,
            until,
            yes,
        } => privacy::erase(common, &principal, until.as_deref(), yes),
        Audit::Hold(hold) => privacy::hold(common, &hold),
    }
}

fn search(common: &Common, wanted: &Search) -> anyhow::Result<Exit> {
    if let Some(word) = &wanted.outcome
        && !Outcome::ALL.iter().any(|one| one.as_str() == word)
    {
        let words = Outcome::ALL.map(Outcome::as_str).join(", ");
        let why = format!("`{word}` is no outcome; there are {words}");
        return Err(Unusable(why).into());
    }
    let filter = AuditFilter {
        principal: wanted.principal.clone(),
        upstream: wanted.upstream.clone(),
        entry: wanted.entry.clone(),
        method: wanted.method.clone(),
        begun: wanted.outcome.as_deref() == Some(Outcome::Pending.as_str()),
        outcome: wanted.outcome.clone(),
        call_id: wanted.call.clone(),
        since_us: time_said(wanted.since.as_deref(), "--since")?,
        until_us: time_said(wanted.until.as_deref(), "--until")?,
    };
    let store = existing(&common.load_settings()?)?;
    let records = store.audit_tail(wanted.lines, None, &filter)?;
    let text = if common.json {
        records
            .iter()
            .map(|record| format!("{}\n", native(record)))
            .collect()
    } else {
        Columns::default().lines(&records)
    };
    output::data(text.as_bytes())?;
    if records.is_empty() {
        output::say("no record is like that");
    }
    Ok(Exit::Done)
}

/// A time that an option says, in microseconds since 1970.
fn time_said(text: Option<&str>, option: &str) -> Result<Option<i64>, Unusable> {
    let read = text.map(moment).transpose();
    read.map_err(|_no_time| {
        Unusable(format!(
            "`{option}` is no time; write 2026-11-01 or 2026-11-01T08:00:00Z"
        ))
    })
}

/// A date, which begins at midnight here, or a moment; in microseconds since 1970.
fn moment(text: &str) -> anyhow::Result<i64> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment.as_microsecond());
    }
    let day: jiff::civil::Date = text.parse()?;
    Ok(day
        .to_zoned(TimeZone::system())?
        .timestamp()
        .as_microsecond())
}

fn tail(
    common: &Common,
    lines: u32,
    follow: bool,
    principal: Option<String>,
) -> anyhow::Result<Exit> {
    let path = common.load_settings()?.database();
    let was_there = path.exists();
    if !was_there {
        output::say(format!(
            "no call was recorded yet: there is no database at `{path}`"
        ));
        if !follow {
            return Ok(Exit::Done);
        }
        while !path.exists() {
            thread::sleep(POLL_EVERY);
        }
    }
    let store = Store::open(&path)?;
    let filter = AuditFilter {
        principal,
        ..AuditFilter::default()
    };
    let mut records = if was_there {
        store.audit_tail(lines, None, &filter)?
    } else {
        store.audit_tail(BATCH_MAX, Some(0), &filter)?
    };
    // Following starts after the last of all, not after the last of those that were wanted.
    let mut seen = match records.last() {
        Some(last) => last.seq,
        None if !was_there => 0,
        None => store
            .audit_tail(1, None, &AuditFilter::default())?
            .last()
            .map_or(0, |last| last.seq),
    };
    let mut columns = Columns::default();
    loop {
        let text = if common.json {
            records
                .iter()
                .map(|record| format!("{}\n", native(record)))
                .collect()
        } else {
            columns.lines(&records)
        };
        output::data(text.as_bytes())?;
        if !follow {
            return Ok(Exit::Done);
        }
        seen = records.last().map_or(seen, |last| last.seq);
        if records.is_empty() {
            thread::sleep(POLL_EVERY);
        }
        records = store.audit_tail(BATCH_MAX, Some(seen), &filter)?;
    }
}

/// How wide the columns are so far: a stream has no last line to measure.
#[derive(Default)]
struct Columns {
    widths: [usize; 7],
}

impl Columns {
    fn lines(&mut self, records: &[Recorded]) -> String {
        let rows: Vec<[String; 7]> = records.iter().map(cells).collect();
        for (column, cell) in rows.iter().flat_map(|row| row.iter().enumerate()) {
            self.widths[column] = self.widths[column].max(cell.chars().count());
        }
        let line = |row: &[String; 7]| {
            let padded = row
                .iter()
                .zip(self.widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        rows.iter().map(line).collect()
    }
}

fn cells(Recorded { row, .. }: &Recorded) -> [String; 7] {
    // The name that the client used; it has its upstream's in front unless the config says otherwise.
    let entry = row.entry.clone().unwrap_or_else(|| "-".to_owned());
    let when = time(row.at_us).to_zoned(TimeZone::system());
    [
        when.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        row.outcome.as_str().to_owned(),
        milliseconds(row.duration_us),
        row.principal.clone(),
        row.method.to_string(),
        entry,
        row.reason.clone().unwrap_or_default(),
    ]
    .map(|cell| output::printable(&cell).replace('\n', " "))
}

fn milliseconds(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us % 1000 / 100)
}

fn time(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap_or_default()
}
