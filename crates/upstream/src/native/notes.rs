//! The pack `notes`: a small memory for each principal. Nobody sees another's; the store keeps them apart.

use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use policy::Clock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use store::{Note, NoteDraft, Store};

use super::reply::{Failure, blocking, input, reply};
use super::tool::{READS, REPLACES, tool};
use super::{Caller, Error};

const TITLE_CHARS_MAX: usize = 200;
const TEXT_BYTES_MAX: usize = 256 * 1024;
const TAGS_MAX: usize = 32;
const TAG_CHARS_MAX: usize = 64;
const RESULTS_MAX: u32 = 100;
const RESULTS_DEFAULT: u32 = 20;
const EXCERPT_CHARS: usize = 200;

#[derive(Debug)]
pub(super) struct Notes {
    store: Store,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Save {
    /// Names the note; a note of this title is replaced. At most 200 characters.
    title: String,
    /// What to remember, at most 256 KiB. Markdown is fine.
    text: String,
    /// Words to find it by, at most 32.
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Titled {
    /// The exact title of the note.
    title: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Search {
    /// Words that the note must all contain, in its title, text or tags.
    query: String,
    /// How many notes to return at most: 1 to 100, 20 unless said.
    #[schemars(range(min = 1, max = 100))]
    limit: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    /// How many notes to return at most: 1 to 100, 20 unless said.
    #[schemars(range(min = 1, max = 100))]
    limit: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
struct Whole {
    title: String,
    text: String,
    tags: Vec<String>,
    /// When it was first saved, UTC.
    created_at: String,
    /// When it last changed, UTC.
    updated_at: String,
}

#[derive(Serialize, JsonSchema)]
struct Saved {
    title: String,
    /// When it was saved, UTC.
    updated_at: String,
}

#[derive(Serialize, JsonSchema)]
struct Found {
    notes: Vec<Excerpt>,
}

#[derive(Serialize, JsonSchema)]
struct Excerpt {
    title: String,
    tags: Vec<String>,
    /// How the text begins.
    excerpt: String,
    /// When it last changed, UTC.
    updated_at: String,
}

#[derive(Serialize, JsonSchema)]
struct Deleted {
    /// Whether there was such a note.
    deleted: bool,
}

pub(super) fn tools() -> Vec<Box<RawValue>> {
    vec![
        tool::<Save, Saved>(
            "save",
            "Save a note",
            "Remembers a text under a title, across conversations. Replaces the note of the same title, so \
             read it first if you mean to add to it. Only the calling principal can see its notes.",
            REPLACES,
        ),
        tool::<Titled, Whole>(
            "read",
            "Read a note",
            "Returns the whole note of a title. Use `search` or `list` to find titles.",
            READS,
        ),
        tool::<Search, Found>(
            "search",
            "Search notes",
            "Finds notes that contain all the given words, best match first, and returns how each begins. \
             Use `read` for the whole text.",
            READS,
        ),
        tool::<List, Found>(
            "list",
            "List notes",
            "Lists the notes that changed last, newest first, and how each begins.",
            READS,
        ),
        tool::<Titled, Deleted>(
            "delete",
            "Delete a note",
            "Deletes the note of a title for good. Deleting what is not there is no failure.",
            REPLACES,
        ),
    ]
}

impl Notes {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        caller: Caller<'_>,
    ) -> Result<Box<RawValue>, Error> {
        let of = caller.principal;
        Ok(match tool {
            "save" => reply(async { self.save(of, input(arguments)?).await }.await),
            "read" => reply(async { self.read(of, input(arguments)?).await }.await),
            "search" => reply(async { self.search(of, input(arguments)?).await }.await),
            "list" => reply(async { self.list(of, input(arguments)?).await }.await),
            "delete" => reply(async { self.delete(of, input(arguments)?).await }.await),
            _ => return Err(Error::UnknownTool(tool.to_owned())),
        })
    }

    async fn save(&self, of: &str, save: Save) -> Result<Saved, Failure> {
        let title = save.title.trim();
        if title.is_empty() || title.chars().count() > TITLE_CHARS_MAX {
            return Err(Failure::new(format!(
                "A title has 1 to {TITLE_CHARS_MAX} characters."
            )));
        }
        if save.text.len() > TEXT_BYTES_MAX {
            return Err(Failure::new(format!(
                "A note has at most {TEXT_BYTES_MAX} bytes. Split it into several notes."
            )));
        }
        let long = |tag: &String| tag.chars().count() > TAG_CHARS_MAX;
        if save.tags.len() > TAGS_MAX || save.tags.iter().any(long) {
            return Err(Failure::new(format!(
                "A note has at most {TAGS_MAX} tags of at most {TAG_CHARS_MAX} characters."
            )));
        }
        let draft = NoteDraft {
            title: title.to_owned(),
            text: save.text,
            tags: save.tags,
        };
        let note = self
            .store
            .put_note(of, draft, self.clock.wall())
            .await
            .map_err(unwell)?;
        Ok(Saved {
            title: note.title,
            updated_at: text_of(note.updated_at),
        })
    }

    async fn read(&self, of: &str, Titled { title }: Titled) -> Result<Whole, Failure> {
        let (store, of) = (self.store.clone(), of.to_owned());
        blocking(
            move || match store.get_note(&of, title.trim()).map_err(unwell)? {
                Some(note) => Ok(Whole {
                    title: note.title,
                    text: note.text,
                    tags: note.tags,
                    created_at: text_of(note.created_at),
                    updated_at: text_of(note.updated_at),
                }),
                None => Err(Failure::new(
                    "There is no note of this title. Find the exact title with `search` or `list`.",
                )),
            },
        )
        .await
    }

    async fn search(&self, of: &str, Search { query, limit }: Search) -> Result<Found, Failure> {
        if query.trim().is_empty() {
            return Err(Failure::new(
                "`query` has no words. Name some, or call `list`.",
            ));
        }
        let (store, of) = (self.store.clone(), of.to_owned());
        blocking(move || found(store.search_notes(&of, &query, bounded(limit)))).await
    }

    async fn list(&self, of: &str, List { limit }: List) -> Result<Found, Failure> {
        let (store, of) = (self.store.clone(), of.to_owned());
        blocking(move || found(store.list_notes(&of, bounded(limit)))).await
    }

    async fn delete(&self, of: &str, Titled { title }: Titled) -> Result<Deleted, Failure> {
        let deleted = self
            .store
            .delete_note(of, title.trim())
            .await
            .map_err(unwell)?;
        Ok(Deleted { deleted })
    }
}

fn bounded(limit: Option<u32>) -> u32 {
    limit.unwrap_or(RESULTS_DEFAULT).clamp(1, RESULTS_MAX)
}

fn found(notes: Result<Vec<Note>, store::Error>) -> Result<Found, Failure> {
    let excerpt = |note: Note| Excerpt {
        title: note.title,
        tags: note.tags,
        excerpt: note.text.chars().take(EXCERPT_CHARS).collect(),
        updated_at: text_of(note.updated_at),
    };
    Ok(Found {
        notes: notes.map_err(unwell)?.into_iter().map(excerpt).collect(),
    })
}

/// RFC 3339 in UTC; a time that no calendar has is left blank.
fn text_of(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| String::new(), |time| time.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn unwell(error: store::Error) -> Failure {
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        "notes could not reach the store"
    );
    Failure::new("The notes cannot be reached just now. Try again later.")
}
