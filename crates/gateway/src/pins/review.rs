//! What an owner does about pins: looks at what waits, and says yes to exactly that. From the store alone, so that it
//! goes without a running gate as well; one that runs beside notices within a second.

use std::time::SystemTime;

use serde_json::Value;
use store::{PinApproval, PinName, PinRow, PinState, Store};

use super::PinKind;
use super::diff::{Change, compare};

/// Digits of a digest that are enough to say which is meant.
pub const DIGEST_DIGITS_MIN: usize = 12;

/// One entry that is pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedEntry {
    /// Which.
    pub of: PinName,
    /// The definition that is approved; texts are left out.
    pub approved: Option<PinRow>,
    /// The definition that is offered in its place and withheld.
    pub waiting: Option<PinRow>,
}

/// What waits of an entry, held against what is approved.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The entry, with texts.
    pub entry: PinnedEntry,
    /// When what waits was approved before, if it was: it is an older definition that came back.
    pub is_return: bool,
    /// Member by member, in their order; `None` if a text was too long to be kept.
    pub changes: Option<Vec<Change>>,
}

/// Why an entry cannot be found, or not approved.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Nothing of that name is pinned.
    #[error("nothing is pinned as `{0}`; `portcullis pin list` shows all there is")]
    Unknown(String),
    /// A tool and a prompt of one name, say.
    #[error("`{name}` is the name of several: say which with --kind ({kinds})")]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The kinds that have it.
        kinds: String,
    },
    /// There is nothing to decide.
    #[error("nothing waits for approval of `{0}`")]
    NothingWaits(String),
    /// Another definition waits than the one that was looked at.
    #[error("`{0}` has changed since it was looked at; look again: nothing was approved")]
    Changed(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl PinnedEntry {
    /// As people name it: `files.read`, or the alias alone where there is one of a kind.
    #[must_use]
    pub fn title(&self) -> String {
        title(&self.of)
    }

    /// Whether something waits for approval.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        self.waiting.is_some()
    }
}

fn title(of: &PinName) -> String {
    super::title(&of.upstream, &of.name)
}

/// All entries that are pinned, by upstream, kind and name.
///
/// # Errors
/// If the store cannot be read.
pub fn list(store: &Store) -> Result<Vec<PinnedEntry>, store::Error> {
    let mut entries: Vec<PinnedEntry> = Vec::new();
    for row in store.list_pins()? {
        match entries.last_mut() {
            Some(last) if last.of == row.of => add(last, row),
            _ => {
                let mut entry = PinnedEntry {
                    of: row.of.clone(),
                    approved: None,
                    waiting: None,
                };
                add(&mut entry, row);
                entries.push(entry);
            }
        }
    }
    Ok(entries)
}

fn add(entry: &mut PinnedEntry, row: PinRow) {
    match row.state {
        PinState::Approved => entry.approved = Some(row),
        PinState::Waiting => entry.waiting = Some(row),
        PinState::Superseded => {}
    }
}

/// The one entry that is meant by `files.read`, of this kind if one is said.
///
/// # Errors
/// If there is none, or several.
pub fn find(store: &Store, title: &str, kind: Option<PinKind>) -> Result<PinName, ReviewError> {
    let found: Vec<PinName> = list(store)?
        .into_iter()
        .filter(|entry| {
            entry.title() == title && kind.is_none_or(|kind| entry.of.kind == kind.as_str())
        })
        .map(|entry| entry.of)
        .collect();
    match found.as_slice() {
        [] => Err(ReviewError::Unknown(title.to_owned())),
        [one] => Ok(one.clone()),
        several => Err(ReviewError::Ambiguous {
            name: title.to_owned(),
            kinds: several
                .iter()
                .map(|one| one.kind.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

/// What waits of an entry, held against what is approved.
///
/// # Errors
/// If the store cannot be read, or knows nothing of it.
pub fn compare_waiting(store: &Store, of: &PinName) -> Result<Comparison, ReviewError> {
    let rows = store.list_pins_of(of)?;
    if rows.is_empty() {
        return Err(ReviewError::Unknown(title(of)));
    }
    let mut entry = PinnedEntry {
        of: of.clone(),
        approved: None,
        waiting: None,
    };
    for row in rows {
        add(&mut entry, row);
    }
    // Where nothing is approved everything is new, and where nothing waits nothing changes.
    let value = |row: &Option<PinRow>| match row {
        None => Some(None),
        Some(row) => {
            let text = row.definition.as_ref()?;
            serde_json::from_str::<Value>(text).ok().map(Some)
        }
    };
    let changes = match (value(&entry.approved), value(&entry.waiting)) {
        (_, Some(None)) => Some(Vec::new()),
        (Some(before), Some(Some(after))) => Some(compare(before.as_ref(), &after)),
        (None, _) | (_, None) => None,
    };
    let decided_at = entry.waiting.as_ref().and_then(|row| row.decided_at);
    Ok(Comparison {
        is_return: decided_at.is_some(),
        changes,
        entry,
    })
}

/// Approves what waits of an entry if it is what was looked at: `digest` is its digest or the beginning of it.
///
/// # Errors
/// If something else waits, or nothing; then nothing is approved.
pub async fn approve(
    store: &Store,
    of: &PinName,
    digest: &str,
    at: SystemTime,
    by: &str,
) -> Result<(), ReviewError> {
    let rows = store.list_pins_of(of)?;
    let waiting = rows.into_iter().find(|row| row.state == PinState::Waiting);
    let Some(waiting) = waiting else {
        return Err(ReviewError::NothingWaits(title(of)));
    };
    if digest.len() < DIGEST_DIGITS_MIN || !waiting.digest.starts_with(digest) {
        return Err(ReviewError::Changed(title(of)));
    }
    let approval = PinApproval {
        of: of.clone(),
        digest: waiting.digest,
    };
    // It may change between the question and the answer: the store looks once more.
    match store.approve_pins(vec![approval], at, by).await?.as_slice() {
        [true] => Ok(()),
        _ => Err(ReviewError::Changed(title(of))),
    }
}

/// Approves several at once, each as it was listed; those that have changed since.
///
/// # Errors
/// If it cannot be written; then nothing is approved.
pub async fn approve_all(
    store: &Store,
    listed: &[PinnedEntry],
    at: SystemTime,
    by: &str,
) -> Result<Vec<String>, store::Error> {
    let waiting: Vec<&PinRow> = listed
        .iter()
        .filter_map(|entry| entry.waiting.as_ref())
        .collect();
    let approvals = waiting
        .iter()
        .map(|row| PinApproval {
            of: row.of.clone(),
            digest: row.digest.clone(),
        })
        .collect();
    let approved = store.approve_pins(approvals, at, by).await?;
    Ok(waiting
        .into_iter()
        .zip(approved)
        .filter(|(_, approved)| !approved)
        .map(|(row, _)| title(&row.of))
        .collect())
}

#[cfg(test)]
mod tests;
