//! `portcullis audit sinks`: where the log is sent on to, and how far each receiver is. A gate need not run for it.

use jiff::Timestamp;
use serde_json::{Value, json};
use store::{SinkRow, Store};

use super::super::key::local;
use super::super::{Common, Exit, output};

/// What there is to say of a sink.
struct Line {
    name: String,
    /// `None`: nothing was ever sent.
    row: Option<SinkRow>,
    is_configured: bool,
}

impl Line {
    fn state(&self) -> &'static str {
        match &self.row {
            _ if !self.is_configured => "not in the config",
            None => "not begun",
            Some(row) if row.error.is_some() => "failing",
            Some(row) if row.holder.is_none() => "no gate runs",
            Some(_) => "sending",
        }
    }

    fn lag(&self, end: i64) -> Option<i64> {
        let row = self.row.as_ref()?;
        Some(end.saturating_sub(row.position).max(0))
    }

    fn in_json(&self, end: i64) -> Value {
        let row = self.row.as_ref();
        let error = row.and_then(|row| row.error.as_ref());
        let since = error.map(|(_, since)| Timestamp::try_from(*since).unwrap_or_default());
        json!({
            "name": self.name,
            "state": self.state(),
            "position": row.map(|row| row.position),
            "lag": self.lag(end),
            "error": error.map(|(error, _)| error),
            "failing_since": since.map(|since| since.to_string()),
        })
    }

    fn cells(&self, end: i64) -> Vec<String> {
        let dash = || "-".to_owned();
        let row = self.row.as_ref();
        let error = row.and_then(|row| row.error.as_ref());
        vec![
            self.name.clone(),
            self.state().to_owned(),
            row.map_or_else(dash, |row| row.position.to_string()),
            self.lag(end).map_or_else(dash, |lag| lag.to_string()),
            error.map_or_else(dash, |(_, since)| local(*since)),
            error.map_or_else(dash, |(error, _)| error.clone()),
        ]
    }
}

/// Lists the sinks of the config, and those that once were in it.
pub(super) fn list(common: &Common) -> anyhow::Result<Exit> {
    let loaded = common.load_settings()?;
    let path = loaded.database();
    let (end, rows) = if path.exists() {
        let store = Store::open(&path)?;
        (store.audit_end()?, store.audit_sinks()?)
    } else {
        output::say(format!(
            "nothing was sent yet: there is no database at `{path}`"
        ));
        (0, Vec::new())
    };
    let mut lines: Vec<Line> = loaded
        .sinks
        .iter()
        .map(|sink| Line {
            name: sink.name.clone(),
            row: None,
            is_configured: true,
        })
        .collect();
    for row in rows {
        match lines.iter_mut().find(|line| line.name == row.name) {
            Some(line) => line.row = Some(row),
            None => lines.push(Line {
                name: row.name.clone(),
                row: Some(row),
                is_configured: false,
            }),
        }
    }
    if common.json {
        let all: Vec<Value> = lines.iter().map(|line| line.in_json(end)).collect();
        output::json(&all)?;
        return Ok(Exit::Done);
    }
    if lines.is_empty() {
        output::say("the log is sent nowhere; add an [audit.sinks.NAME]");
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = lines.iter().map(|line| line.cells(end)).collect();
    let headings = ["sink", "state", "position", "lag", "failing since", "error"];
    output::data(output::table(&headings, &rows).as_bytes())?;
    Ok(Exit::Done)
}
