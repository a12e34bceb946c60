//! A report as Markdown: a table per section, then each measure with what shows it.

use std::fmt::Write as _;

use super::report::{MeasureReport, Report};
use super::{Chain, Facts, Status};
use crate::cli::output::printable;

impl Report<'_> {
    /// As Markdown (GitHub's).
    ///
    /// # Errors
    /// Never: a text takes everything.
    pub fn markdown(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        self.write_markdown(&mut page)?;
        Ok(page)
    }

    fn write_markdown(&self, page: &mut String) -> std::fmt::Result {
        writeln!(page, "# {}\n", self.title)?;
        writeln!(
            page,
            "How {} {} stands with this config, on {}. {}\n\n{NOTE}\n",
            self.product, self.version, self.generated_at, self.scope
        )?;
        if self.config_files.is_empty() {
            writeln!(page, "Config: defaults alone.\n")?;
        } else {
            let files: Vec<String> = self.config_files.iter().map(|file| code(file)).collect();
            writeln!(page, "Config: {}.\n", files.join(", "))?;
        }
        writeln!(page, "## Summary\n")?;
        writeln!(
            page,
            "| of {} controls | |\n|---|---:|",
            self.summary.controls
        )?;
        for status in Status::ALL {
            writeln!(page, "| {} | {} |", status.word(), self.summary.of(status))?;
        }
        for section in &self.sections {
            writeln!(page, "\n## {}\n", section.title)?;
            writeln!(
                page,
                "| control | what it is for | status | measures of the gate | left to you, or not covered |"
            )?;
            writeln!(page, "|---|---|---|---|---|")?;
            for control in &section.controls {
                let measures = control.measures.iter().filter_map(|id| self.measure(id));
                let measures: Vec<String> = measures
                    .map(|one| format!("[{}](#{}) ({})", one.title, one.id, one.status.word()))
                    .collect();
                writeln!(
                    page,
                    "| {} | {} | **{}** | {} | {} |",
                    cell(control.id),
                    cell(control.aim),
                    control.status.word(),
                    cell(&measures.join("; ")),
                    cell(control.rest)
                )?;
            }
        }
        writeln!(page, "\n## Measures")?;
        for measure in &self.measures {
            measure.write_markdown(page)?;
        }
        writeln!(page, "\n## Database\n")?;
        match (self.database, &self.database_unread) {
            (Some(facts), _) => {
                writeln!(page, "| | |\n|---|---|")?;
                for (name, value) in facts.rows() {
                    writeln!(page, "| {name} | {} |", cell(&value))?;
                }
            }
            (None, why) => {
                let why = why.as_deref().unwrap_or("it was not read");
                writeln!(page, "{}.", text(why))?;
            }
        }
        Ok(())
    }
}

/// What a reader has to know, whatever the form.
pub(super) const NOTE: &str = "It was judged from the config and, where there is one, the database: it shows what the gate does, and is no certificate. “On” means that all that the gate has for a control is on; a control that is mostly for people or other systems to meet is partly on at best, and what is left is said beside it. Aims are told in our words and do not stand in for the framework’s text.";

impl MeasureReport {
    fn write_markdown(&self, page: &mut String) -> std::fmt::Result {
        writeln!(page, "\n### <a id=\"{}\"></a>{}\n", self.id, self.title)?;
        writeln!(page, "**{}**: {}.\n", self.status.word(), text(&self.why))?;
        writeln!(page, "{}\n", self.does)?;
        if let Some(remedy) = &self.remedy {
            writeln!(page, "- To change that: {}", code(remedy))?;
        }
        for test in &self.tests {
            writeln!(page, "- Test: {}", code(test))?;
        }
        for query in self.queries {
            writeln!(page, "- See for yourself: {}", code(query))?;
        }
        if !self.config.is_empty() {
            writeln!(page, "\n| key | value | from |\n|---|---|---|")?;
            for one in &self.config {
                let (key, value, from) = (code(&one.key), code(&one.value), code(&one.from));
                writeln!(
                    page,
                    "| {} | {} | {} |",
                    cell(&key),
                    cell(&value),
                    cell(&from)
                )?;
            }
        }
        Ok(())
    }
}

impl Facts {
    fn failing(&self) -> String {
        let failing = self.sinks.iter().filter_map(|sink| {
            let since = sink.failing_since?;
            Some(format!("{} since {since}", sink.name))
        });
        let failing: Vec<String> = failing.collect();
        if failing.is_empty() {
            "none".to_owned()
        } else {
            failing.join(", ")
        }
    }

    /// For people: what, and how it stands.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let when =
            |at: Option<jiff::Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        vec![
            ("database", self.place.clone()),
            (
                "records in the audit log",
                format!("{}, those from {} on are kept", self.records, self.first),
            ),
            (
                "last checkpoint",
                match (self.checkpoint_at, self.checkpoint_size) {
                    (Some(at), Some(size)) => format!("{at}, over {size} records"),
                    (None, Some(size)) => {
                        format!("over {size} records; its signature was not checked")
                    }
                    (_, None) => "none".to_owned(),
                },
            ),
            (
                "end of the log",
                match &self.chain {
                    Chain::Holds { verified, unsigned } => format!(
                        "{verified} records verified, {unsigned} of them not signed for yet"
                    ),
                    Chain::Broken { why } => format!("NOT as it was recorded: {why}"),
                    Chain::Unchecked { why } => format!("not verified: {why}"),
                },
            ),
            (
                "API keys in force",
                format!("{}, {} without an end", self.keys, self.keys_without_end),
            ),
            ("oldest of them from", when(self.oldest_key_at)),
            ("key that seals from", when(self.sealing_key_at)),
            (
                "accounts",
                format!(
                    "{}, {} with one-time passwords",
                    self.accounts, self.accounts_with_totp
                ),
            ),
            (
                "owners among them",
                format!(
                    "{}, {} with one-time passwords",
                    self.owners, self.owners_with_totp
                ),
            ),
            ("receivers of records that get nothing", self.failing()),
            ("sealed secrets", self.secrets.to_string()),
            (
                "definitions",
                format!(
                    "{} approved, {} waiting",
                    self.pins_approved, self.pins_waiting
                ),
            ),
            ("legal holds in force", self.holds.to_string()),
            ("revocations in force", self.revocations.to_string()),
        ]
    }
}

// In a cell, nothing begins another one.
fn cell(text: &str) -> String {
    printable(text).replace('|', "\\|").replace('\n', " ")
}

// What a config says is text: no markup of it counts.
fn text(text: &str) -> String {
    printable(text).replace('<', "\\<").replace('\n', " ")
}

// A span of code may hold anything but as many backticks in a row as are around it.
fn code(text: &str) -> String {
    let text = printable(text).replace('\n', " ");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let ticks = "`".repeat(longest + 1);
    if longest == 0 {
        format!("`{text}`")
    } else {
        format!("{ticks} {text} {ticks}")
    }
}
