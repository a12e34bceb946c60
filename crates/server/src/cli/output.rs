//! What a command prints: data on stdout, words for people on stderr, colour only on a terminal.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

/// Writes data to stdout.
///
/// # Errors
/// If nobody reads it.
pub fn data(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Writes a line of data to stdout.
///
/// # Errors
/// If nobody reads it.
pub fn line(text: impl fmt::Display) -> io::Result<()> {
    data(format!("{text}\n").as_bytes())
}

/// Writes a value as JSON to stdout: readable on a terminal, one line elsewhere.
///
/// # Errors
/// If nobody reads it.
pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> io::Result<()> {
    let text = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    line(text?)
}

/// Says something to the person at the terminal. Nobody listening is no error.
pub fn say(text: impl fmt::Display) {
    let said = writeln!(io::stderr().lock(), "{text}");
    drop(said);
}

/// Says why a command failed: each cause in its line.
pub fn error(error: &anyhow::Error) {
    let (red, plain) = if colour() {
        ("\u{1b}[31m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    let causes = error
        .chain()
        .map(|cause| printable(&cause.to_string()))
        .collect::<Vec<_>>();
    say(format!(
        "{red}error:{plain} {}",
        causes.join(
            "
  because "
        )
    ));
}

/// Whether an error only says that nobody reads our output any more.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A text that may come from anywhere, without what would act on a terminal; line ends stay.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Rows under headings, as wide as they need to be; the last column is not padded.
#[must_use]
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings
        .iter()
        .map(|heading| heading.chars().count())
        .collect();
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            row.iter()
                .map(|cell| printable(cell).replace('\n', " "))
                .collect()
        })
        .collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let headings: Vec<String> = headings
        .iter()
        .map(|heading| heading.to_uppercase())
        .collect();
    for row in std::iter::once(&headings).chain(&rows) {
        let padded = widths
            .iter()
            .zip(row)
            .map(|(width, cell)| format!("{cell:width$}"));
        text += padded.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[expect(
    clippy::disallowed_methods,
    reason = "a word to every program about its colours, not a setting of ours"
)]
fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var("NO_COLOR").map_or(true, |value| value.is_empty())
}
