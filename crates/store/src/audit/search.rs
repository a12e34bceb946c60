//! Finding records in segments.
//!
//! One statement sees one moment, several do not: the last segment may have grown between two of them. So whoever goes on
//! forwards does it at a record's number, not at a segment's.

use std::ops::ControlFlow;

use super::segment::{BLOCK, Found, Records};
use super::{AuditFilter, Fields, Outcome, Recorded};
use crate::db::{self, Connection, Failure, Value, values};

/// Most segments that one statement fetches. The first of a search fetches one: nearly always that is enough.
const TOGETHER_MAX: usize = 16;

/// Among so few records the times are looked at with them.
const NARROW: i64 = 64 * BLOCK;

/// In which segments to look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range<'a> {
    /// The number of the first record.
    pub(super) from: i64,
    /// That of the last.
    pub(super) to: i64,
    /// In those with a record of this principal, or about it.
    pub(super) name: Option<&'a str>,
    /// And of this one.
    pub(super) other: Option<&'a str>,
    /// In those with records from this moment on, in microseconds since 1970.
    pub(super) since_us: i64,
    /// In those with records from before this moment.
    pub(super) until_us: i64,
}

impl Range<'_> {
    /// All there are.
    pub(super) const ALL: Self = Self {
        from: i64::MIN,
        to: i64::MAX,
        name: None,
        other: None,
        since_us: i64::MIN,
        until_us: i64::MAX,
    };

    /// The record with that number alone.
    pub(super) fn one(seq: i64) -> Self {
        Self {
            from: seq,
            to: seq,
            ..Self::ALL
        }
    }

    fn has(&self, found: &Found<'_>) -> bool {
        let at_us = found.row.at_us;
        (self.from..=self.to).contains(&found.seq) && self.is_when(at_us)
    }

    fn is_when(&self, at_us: i64) -> bool {
        at_us >= self.since_us && (at_us < self.until_us || self.until_us == i64::MAX)
    }

    /// The same, no wider than the times allow; `None` if there is nothing then. They have an index of their own, which is
    /// read without the records.
    pub(super) fn narrowed(mut self, connection: &Connection) -> db::Result<Option<Self>> {
        let is_narrow = self.to.saturating_sub(self.from) <= NARROW;
        if is_narrow || (self.since_us, self.until_us) == (i64::MIN, i64::MAX) {
            return Ok(Some(self));
        }
        let sql = "SELECT min(first_seq), max(first_seq) FROM audit_segments
            WHERE latest_us >= ?1 AND earliest_us < ?2";
        let (first, last): (Option<i64>, Option<i64>) =
            connection.only(sql, values![self.since_us, self.until_us], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let Some((first, last)) = first.zip(last) else {
            return Ok(None);
        };
        // No segment goes beyond a block; what came into the last of these meanwhile is looked at as well.
        self.from = self.from.max(first);
        self.to = self.to.min(last.saturating_add(BLOCK));
        Ok(Some(self))
    }

    /// The statement that fetches the next segments, and its values.
    fn query(&self, order: &str, count: usize) -> (String, [Value<'_>; 7]) {
        // Also the one in the middle of which it begins, but not the last one behind whose end it does.
        const FROM: &str =
            "coalesce((SELECT max(first_seq) FROM audit_segments WHERE first_seq <= ?1), ?1)";
        const ABOUT: &str = "SELECT segment FROM audit_names AS own WHERE own.name = ?6";
        const BOTH: &str = "EXISTS (SELECT 1 FROM audit_names AS its WHERE its.name = ?7 AND its.segment = own.segment)";
        let between = |column: &str| format!("{column} >= {FROM} AND {column} <= ?2");
        let times = "last_seq >= ?1 AND latest_us >= ?3 AND earliest_us < ?4";
        let columns = "first_seq, last_seq, records";
        let sql = match (self.name, self.other) {
            (None, _) => format!(
                "SELECT {columns} FROM audit_segments WHERE {} AND {times} ORDER BY first_seq {order} LIMIT ?5",
                between("first_seq")
            ),
            (Some(_), other) => {
                let both = other.map_or(String::new(), |_| format!(" AND {BOTH}"));
                format!(
                    "SELECT {columns} FROM ({ABOUT} AND {}{both}) AS named
                    JOIN audit_segments ON first_seq = named.segment WHERE {times}
                    ORDER BY named.segment {order} LIMIT ?5",
                    between("own.segment")
                )
            }
        };
        let text = |name: Option<_>| name.map_or(Value::Null, Value::Text);
        let values = [
            Value::Number(self.from),
            Value::Number(self.to),
            Value::Number(self.since_us),
            Value::Number(self.until_us),
            Value::Number(i64::try_from(count).unwrap_or(i64::MAX)),
            text(self.name),
            text(self.other),
        ];
        (sql, values)
    }

    fn fetch(
        &self,
        connection: &Connection,
        order: &str,
        count: usize,
    ) -> db::Result<Vec<Fetched>> {
        let (sql, values) = self.query(order, count);
        let values = match (self.name, self.other) {
            (None, _) => values.get(..5),
            (Some(_), None) => values.get(..6),
            (Some(_), Some(_)) => values.get(..),
        };
        connection.all(&sql, values.unwrap_or_default(), |row| {
            Ok(Fetched {
                first: row.get(0)?,
                last: row.get(1)?,
                records: row.get(2)?,
            })
        })
    }
}

/// A segment as the database has it.
struct Fetched {
    first: i64,
    last: i64,
    records: Vec<u8>,
}

impl Fetched {
    fn read(&self, mut visit: impl FnMut(&Found<'_>)) -> db::Result<()> {
        let mut records = Records::of(self.first, self.last, &self.records)?;
        while let Some(found) = records.next()? {
            visit(&found);
        }
        Ok(())
    }
}

/// Where records of that name are, or about it, one segment after the other: at most `count` with their records.
pub(super) fn segments(
    connection: &Connection,
    range: Range<'_>,
    count: usize,
) -> db::Result<Vec<(i64, i64, Vec<u8>)>> {
    let found = range.fetch(connection, "ASC", count)?;
    Ok(found
        .into_iter()
        .map(|segment| (segment.first, segment.last, segment.records))
        .collect())
}

/// Goes through the records there, the oldest first, until it is told to stop.
pub(super) fn each(
    connection: &Connection,
    range: Range<'_>,
    mut visit: impl FnMut(&Found<'_>) -> db::Result<ControlFlow<()>>,
) -> db::Result<()> {
    each_segment(connection, range, |range, segment| {
        let mut records = Records::of(segment.first, segment.last, &segment.records)?;
        while let Some(found) = records.next()? {
            if range.has(&found) && visit(&found)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// Goes through the segments there, the oldest first, until it is told to stop.
fn each_segment(
    connection: &Connection,
    range: Range<'_>,
    mut visit: impl FnMut(&Range<'_>, &Fetched) -> db::Result<ControlFlow<()>>,
) -> db::Result<()> {
    let Some(mut range) = range.narrowed(connection)? else {
        return Ok(());
    };
    let mut count = 1;
    while range.from <= range.to {
        let segments = range.fetch(connection, "ASC", count)?;
        let is_last = segments.len() < count;
        for segment in &segments {
            let is_over = visit(&range, segment)?.is_break();
            if is_over || segment.last >= range.to {
                return Ok(());
            }
            range.from = segment.last + 1;
        }
        if is_last {
            break;
        }
        count = (count * 2).min(TOGETHER_MAX);
    }
    Ok(())
}

/// Goes on while that is so.
pub(super) fn on_while(more: bool) -> ControlFlow<()> {
    if more {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}

/// The first records there that match, the oldest first.
pub(super) fn first(
    connection: &Connection,
    range: Range<'_>,
    limit: usize,
    matches: impl Fn(&Fields<'_>) -> bool,
) -> db::Result<Vec<Recorded>> {
    let mut all = Vec::new();
    if limit == 0 {
        return Ok(all);
    }
    each(connection, range, |found| {
        if matches(&found.row) {
            all.push(found.to_recorded());
        }
        Ok(on_while(all.len() < limit))
    })?;
    Ok(all)
}

/// The first records there that match, the oldest first, and where segments that cannot be read begin, of which there are
/// none.
pub(super) fn first_readable(
    connection: &Connection,
    range: Range<'_>,
    limit: usize,
    matches: impl Fn(&Fields<'_>) -> bool,
) -> db::Result<(Vec<Recorded>, Vec<i64>)> {
    let (mut all, mut damaged) = (Vec::new(), Vec::new());
    each_segment(connection, range, |range, segment| {
        let before = all.len();
        let read = segment.read(|found| {
            if range.has(found) && matches(&found.row) {
                all.push(found.to_recorded());
            }
        });
        match read {
            Ok(()) => {}
            Err(Failure::Segment(first)) => {
                all.truncate(before);
                damaged.push(first);
            }
            Err(error) => return Err(error),
        }
        Ok(on_while(all.len() < limit))
    })?;
    all.truncate(limit);
    Ok((all, damaged))
}

/// The last records there that match, the oldest first.
pub(super) fn last(
    connection: &Connection,
    range: Range<'_>,
    limit: usize,
    matches: impl Fn(&Fields<'_>) -> bool,
) -> db::Result<Vec<Recorded>> {
    let mut all = Vec::new();
    let Some(mut range) = range.narrowed(connection)? else {
        return Ok(all);
    };
    let mut count = 1;
    while all.len() < limit {
        let segments = range.fetch(connection, "DESC", count)?;
        for segment in &segments {
            let mut its = Vec::new();
            segment.read(|found| {
                if range.has(found) && matches(&found.row) {
                    its.push(found.to_recorded());
                }
            })?;
            all.extend(its.into_iter().rev());
            range.to = segment.first.saturating_sub(1);
        }
        if segments.len() < count {
            break;
        }
        count = (count * 2).min(TOGETHER_MAX);
    }
    all.truncate(limit);
    all.reverse();
    Ok(all)
}

/// Whether a record there matches.
pub(super) fn any(
    connection: &Connection,
    range: Range<'_>,
    matches: impl Fn(&Fields<'_>) -> bool,
) -> db::Result<bool> {
    let mut is_any = false;
    each(connection, range, |found| {
        is_any = matches(&found.row);
        Ok(on_while(!is_any))
    })?;
    Ok(is_any)
}

impl AuditFilter {
    /// Where to look.
    pub(super) fn range(&self, after_seq: i64) -> Range<'_> {
        Range {
            from: after_seq.saturating_add(1),
            name: self.principal.as_deref(),
            since_us: self.since_us.unwrap_or(i64::MIN),
            until_us: self.until_us.unwrap_or(i64::MAX),
            ..Range::ALL
        }
    }

    /// Whether it wants this record of those that are there.
    pub(super) fn wants(&self, row: &Fields<'_>) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == found
        };
        (self.begun || row.outcome != Outcome::Pending)
            && is(&self.principal, Some(row.principal))
            && is(&self.entry, row.entry)
            && is(&self.outcome, Some(row.outcome.as_str()))
            && is(&self.method, Some(row.method))
            && is(&self.upstream, row.upstream)
            && is(&self.call_id, Some(row.call_id))
    }
}

#[cfg(test)]
mod tests;
