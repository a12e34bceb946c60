//! Notes: a small memory for each principal, with full-text search. Nobody sees another's.

mod plain;

use std::time::SystemTime;

use crate::db::{self, Connection, Row, ToValue as _, values};
use crate::list;
use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

/// Most words of a search that are looked for.
const SEARCH_WORDS_MAX: usize = 32;

/// What a note is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteDraft {
    /// Names it among its principal's notes.
    pub title: String,
    /// What it says.
    pub text: String,
    /// Words to find it by.
    pub tags: Vec<String>,
}

/// A note that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Names it for good.
    pub id: i64,
    /// Names it among its principal's notes.
    pub title: String,
    /// What it says.
    pub text: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// When it was first kept.
    pub created_at: SystemTime,
    /// When it last changed.
    pub updated_at: SystemTime,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT notes.id, notes.title, notes.text, notes.tags, notes.created_at, notes.updated_at ",
            $rest
        )
    };
}

impl Store {
    /// Keeps a note: a new one, or over the one of the same title.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_note(
        &self,
        principal: &str,
        draft: NoteDraft,
        now: SystemTime,
    ) -> Result<Note, Error> {
        let principal = principal.to_owned();
        self.change(move |connection| put(connection, &principal, &draft, to_micros(now)))
            .await
    }

    /// The note of this title.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_note(&self, principal: &str, title: &str) -> Result<Option<Note>, Error> {
        let sql = select!("FROM notes WHERE principal = ?1 AND title = ?2");
        self.read(|connection| connection.one(sql, values![principal, title], note))
    }

    /// Deletes the note of this title; `false` if there is none.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn delete_note(&self, principal: &str, title: &str) -> Result<bool, Error> {
        let (principal, title) = (principal.to_owned(), title.to_owned());
        self.change(move |connection| {
            let sql = "DELETE FROM notes WHERE principal = ?1 AND title = ?2";
            Ok(connection.execute(sql, values![principal, title])? > 0)
        })
        .await
    }

    /// The notes that changed last, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_notes(&self, principal: &str, limit: u32) -> Result<Vec<Note>, Error> {
        let sql =
            select!("FROM notes WHERE principal = ?1 ORDER BY updated_at DESC, id DESC LIMIT ?2");
        self.read(|connection| connection.all(sql, values![principal, limit], note))
    }

    /// The notes that have all the words of `text`, best match first. No word has a special meaning.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn search_notes(
        &self,
        principal: &str,
        text: &str,
        limit: u32,
    ) -> Result<Vec<Note>, Error> {
        let words: Vec<&str> = text
            .split(|c: char| c.is_whitespace() || c.is_control())
            // A word without a letter or digit has nothing that is indexed; as a phrase it would match nothing.
            .filter(|word| word.chars().any(char::is_alphanumeric))
            .take(SEARCH_WORDS_MAX)
            .collect();
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let in_file = select!(
            "FROM notes_index JOIN notes ON notes.id = notes_index.rowid
            WHERE notes_index MATCH ?1 AND notes.principal = ?2 ORDER BY rank, notes.id LIMIT ?3"
        );
        let on_server = select!(
            "FROM notes, CAST(CAST(?1 AS TEXT) AS tsquery) AS query
            WHERE words @@ query AND notes.principal = ?2
            ORDER BY ts_rank(words, query) DESC, notes.id LIMIT ?3"
        );
        self.read(|connection| {
            let (sql, query) =
                connection.either((in_file, quoted(&words)), (on_server, plain::query(&words)));
            connection.all(sql, values![query, principal, limit], note)
        })
    }
}

macro_rules! insert {
    ($column:literal, $value:literal, $update:literal) => {
        concat!(
            "INSERT INTO notes (principal, title, text, tags, created_at, updated_at",
            $column,
            ") VALUES (?1, ?2, ?3, ?4, ?5, ?5",
            $value,
            ") ON CONFLICT (principal, title) DO UPDATE
            SET text = excluded.text, tags = excluded.tags, updated_at = excluded.updated_at",
            $update,
            " RETURNING id, title, text, tags, created_at, updated_at"
        )
    };
}

fn put(connection: &Connection, principal: &str, draft: &NoteDraft, now: i64) -> db::Result<Note> {
    let tags = list::to_text(&draft.tags);
    let mut values = values![principal, draft.title, draft.text, tags, now].to_vec();
    // A file keeps its index itself.
    let (sql, is_indexed) = connection.either(
        (insert!("", "", ""), true),
        (
            insert!(
                ", words",
                ", CAST(CAST(?6 AS TEXT) AS tsvector)",
                ", words = excluded.words"
            ),
            false,
        ),
    );
    let words = plain::index([&draft.title, &draft.text].into_iter().chain(&draft.tags));
    if !is_indexed {
        values.push(words.to_value());
    }
    connection.only(sql, &values, note)
}

/// Makes the words to find notes by, after notes were put there past [`Store::put_note`].
pub(crate) fn index_all(connection: &Connection) -> db::Result<()> {
    if connection.either(true, false) {
        return Ok(());
    }
    let all = "SELECT id, title, text, tags, created_at, updated_at FROM notes";
    let sql = "UPDATE notes SET words = CAST(CAST(?2 AS TEXT) AS tsvector) WHERE id = ?1";
    for found in connection.all(all, &[], note)? {
        let words = plain::index([&found.title, &found.text].into_iter().chain(&found.tags));
        connection.execute(sql, values![found.id, words])?;
    }
    Ok(())
}

fn note(row: &Row<'_>) -> db::Result<Note> {
    Ok(Note {
        id: row.get(0)?,
        title: row.get(1)?,
        text: row.get(2)?,
        tags: list::from_text(row, 3)?,
        created_at: from_micros(row.get(4)?),
        updated_at: from_micros(row.get(5)?),
    })
}

/// Each word as a quoted phrase that may go on: nothing in it is query syntax any more.
fn quoted(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("\"{}\"*", word.replace('"', "\"\"")))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests;
