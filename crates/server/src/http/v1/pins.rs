//! Pinned definitions: listed, compared, approved, forgotten.

use gateway::pins::PinKind;
use gateway::pins::review::{self, PinnedEntry, ReviewError};
use policy::UpstreamId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{PinName, PinRow, Store};

use super::problem::Problem;
use super::shape::{page, time};
use super::{Answer, Asked};

/// Most definitions that are approved at once.
const APPROVALS_MAX: usize = 100;

/// An entry that is pinned.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Pin {
    /// As people name it: `files.read`, or the alias alone where there is one of a kind.
    entry: String,
    upstream: String,
    kind: Kind,
    /// What the upstream calls it; empty where there is one of a kind.
    name: String,
    /// Whether what is offered waits for approval, and is withheld until then.
    withheld: bool,
    approved: Option<Definition>,
    waiting: Option<Definition>,
}

/// What is pinned.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "PinKind")]
enum Kind {
    Server,
    Instructions,
    Tool,
    Prompt,
    Resource,
    Template,
}

/// A definition, by its digest.
#[derive(Debug, Serialize, JsonSchema)]
struct Definition {
    /// SHA-256 over the canonical form (RFC 8785), in hex.
    digest: String,
    /// How long the canonical form is.
    bytes: u64,
    /// When it was last found to be offered anew.
    seen_at: String,
    approved_at: Option<String>,
    approved_by: Option<String>,
}

/// What waits, and how it differs from what is approved.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PinDiff {
    pin: Pin,
    /// Whether it is an older definition that was approved once and has come back.
    is_return: bool,
    /// Member by member; null if a definition was too long to be kept.
    changes: Option<Vec<MemberChange>>,
}

/// One member that differs.
#[derive(Debug, Serialize, JsonSchema)]
struct MemberChange {
    /// Where it stands: a JSON Pointer (RFC 6901).
    at: String,
    /// What it was; null if it was not there.
    before: Option<Value>,
    /// What it is; null if it is not there any more.
    after: Option<Value>,
}

/// What is approved: exactly these definitions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PinApprove")]
pub(super) struct Approve {
    /// At most 100.
    pins: Vec<Approval>,
}

/// One definition that was looked at.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PinApproval")]
struct Approval {
    upstream: String,
    kind: Kind,
    #[serde(default)]
    name: String,
    /// The digest of what was looked at.
    digest: String,
}

/// What became of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PinsApproved")]
pub(super) struct Approved {
    /// These are served now.
    approved: Vec<String>,
    /// Of these something else waits by now, or nothing: look again.
    changed_since: Vec<String>,
}

/// Of which upstream everything is forgotten.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PinForget")]
pub(super) struct Forget {
    upstream: String,
}

impl Kind {
    fn of(word: &str) -> Self {
        match PinKind::parse(word) {
            Some(PinKind::Server) => Self::Server,
            Some(PinKind::Instructions) => Self::Instructions,
            Some(PinKind::Prompt) => Self::Prompt,
            Some(PinKind::Resource) => Self::Resource,
            Some(PinKind::Template) => Self::Template,
            // The table takes no other.
            Some(PinKind::Tool) | None => Self::Tool,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Server => PinKind::Server,
            Self::Instructions => PinKind::Instructions,
            Self::Tool => PinKind::Tool,
            Self::Prompt => PinKind::Prompt,
            Self::Resource => PinKind::Resource,
            Self::Template => PinKind::Template,
        }
        .as_str()
    }
}

impl Definition {
    fn of(row: &PinRow) -> Self {
        Self {
            digest: row.digest.clone(),
            bytes: row.bytes,
            seen_at: time(row.seen_at),
            approved_at: row.decided_at.map(time),
            approved_by: row.by.clone(),
        }
    }
}

impl Pin {
    fn of(entry: &PinnedEntry) -> Self {
        Self {
            entry: entry.title(),
            upstream: entry.of.upstream.clone(),
            kind: Kind::of(&entry.of.kind),
            name: entry.of.name.clone(),
            withheld: entry.is_withheld(),
            approved: entry.approved.as_ref().map(Definition::of),
            waiting: entry.waiting.as_ref().map(Definition::of),
        }
    }

    /// What stands for it in `after`.
    fn key(&self) -> String {
        [self.upstream.as_str(), self.kind.as_str(), &self.name].join(" ")
    }
}

impl From<ReviewError> for Problem {
    fn from(error: ReviewError) -> Self {
        match error {
            ReviewError::Unknown(_) => Self::missing(error.to_string()),
            ReviewError::Ambiguous { .. } => Self::bad(error.to_string()),
            ReviewError::NothingWaits(_) | ReviewError::Changed(_) => {
                Self::conflict(error.to_string())
            }
            ReviewError::Store(error) => Self::ours(&error),
        }
    }
}

fn store<'a>(asked: &'a Asked<'_>) -> &'a Store {
    &asked.auth().parts().store
}

pub(super) fn list(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let all = review::list(store(asked)).map_err(|error| Problem::ours(&error))?;
    let all = all.iter().map(Pin::of).collect();
    Answer::ok(&page(all, asked.query, Pin::key)?)
}

pub(super) fn withheld(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let all = review::list(store(asked)).map_err(|error| Problem::ours(&error))?;
    let waiting = all.into_iter().filter(PinnedEntry::is_withheld).collect();
    let page = page(waiting, asked.query, |entry| Pin::of(entry).key())?;
    let mut items = Vec::with_capacity(page.items.len());
    for entry in &page.items {
        let compared = review::compare_waiting(store(asked), &entry.of)?;
        items.push(PinDiff {
            pin: Pin::of(&compared.entry),
            is_return: compared.is_return,
            changes: compared.changes.map(|changes| {
                let each = changes.into_iter();
                each.map(|one| MemberChange {
                    at: one.at,
                    before: one.before,
                    after: one.after,
                })
                .collect()
            }),
        });
    }
    Answer::ok(&super::shape::Page {
        items,
        next: page.next,
    })
}

pub(super) async fn approve(asked: &mut Asked<'_>) -> Result<Answer, Problem> {
    let wanted: Approve = asked.read()?;
    if wanted.pins.is_empty() || wanted.pins.len() > APPROVALS_MAX {
        let detail = format!("`pins` has from 1 to {APPROVALS_MAX} entries");
        return Err(Problem::bad(detail));
    }
    let (mut approved, mut changed_since) = (Vec::new(), Vec::new());
    let at = asked.auth().parts().clock.wall();
    let by = asked.principal.id.as_str();
    for one in wanted.pins {
        let of = PinName {
            upstream: one.upstream,
            kind: one.kind.as_str().to_owned(),
            name: one.name,
        };
        let title = gateway::pins::title(&of.upstream, &of.name);
        match review::approve(store(asked), &of, &one.digest, at, by).await {
            Ok(()) => approved.push(title),
            Err(ReviewError::Changed(_) | ReviewError::NothingWaits(_)) => {
                changed_since.push(title);
            }
            Err(error) => return Err(error.into()),
        }
    }
    asked.edge.gate.look_at_pins();
    asked.subject = Some(
        approved
            .iter()
            .chain(&changed_since)
            .cloned()
            .collect::<Vec<_>>()
            .join(" "),
    );
    if approved.is_empty() {
        return Err(Problem::conflict(
            "All of these have changed since they were looked at: nothing was approved",
        ));
    }
    Answer::ok(&Approved {
        approved,
        changed_since,
    })
}

pub(super) async fn forget(asked: &mut Asked<'_>) -> Result<Answer, Problem> {
    let wanted: Forget = asked.read()?;
    let upstream =
        UpstreamId::parse(&wanted.upstream).map_err(|error| Problem::bad(error.to_string()))?;
    asked.subject = Some(upstream.to_string());
    let forgotten = store(asked)
        .forget_pins(upstream.as_str())
        .await
        .map_err(|error| Problem::ours(&error))?;
    if forgotten == 0 {
        return Err(Problem::missing("nothing of this upstream is pinned"));
    }
    asked.edge.gate.look_at_pins();
    Ok(Answer::nothing())
}
