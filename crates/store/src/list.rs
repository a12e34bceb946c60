//! Lists of words as a column keeps them: a JSON array.

use crate::db::{self, Failure, Row};

/// As the column keeps it.
pub(crate) fn to_text(words: &[String]) -> String {
    serde_json::Value::from(words).to_string()
}

/// Back again.
pub(crate) fn from_text(row: &Row<'_>, column: usize) -> db::Result<Vec<String>> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| Failure::column(column, error))
}
