//! One record and the proof that it stands in a log that was signed for, without the log's other records: a JSON object
//! with the record, the hashes that lead from it to the tree's root (RFC 9162, section 2.1.3), and the checkpoint.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use store::Store;
use store::audit::merkle::{leaf, root_by};
use store::audit::text::{commitment, hex};

use super::checkpoint::{Checkpoint, CheckpointVerifier};
use super::export::ExportError;
use super::verify::{Fault, Sealed, unhex, unhex_bytes};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof<'a> {
    #[serde(borrow)]
    checkpoint: std::borrow::Cow<'a, str>,
    path: Vec<&'a str>,
    #[serde(borrow)]
    personal: Option<&'a RawValue>,
    place: u64,
    #[serde(borrow)]
    record: &'a RawValue,
    salt: Option<&'a str>,
}

/// The proof of the record at `place`, by the first checkpoint that goes over it; `None` if none does yet.
///
/// # Errors
/// If the log cannot be read.
pub fn prove(store: &Store, place: u64) -> Result<Option<String>, ExportError> {
    let size = store.audit_log()?.tree.size();
    let entry = store.audit_entries(place, 1)?.into_iter().next();
    let Some(entry) = entry.filter(|entry| entry.place == place) else {
        return Err(ExportError::NoSuch {
            from: place,
            to: place.saturating_add(1),
            first: store.audit_first()?,
            last: size,
        });
    };
    let over = store.audit_checkpoints(place, u64::MAX)?.into_iter().next();
    let Some((size, note)) = over else {
        return Ok(None);
    };
    let path = store.audit_path(place, size)?;
    let raw = |text: String| RawValue::from_string(text).ok();
    let (salt, personal) = match entry.personal {
        Some((salt, personal)) => (Value::from(hex(&salt)), raw(personal)),
        None => (Value::Null, None),
    };
    let path: Vec<String> = path.iter().map(|hash| hex(hash)).collect();
    let (record, personal) = (raw(entry.record), json_of(personal));
    Ok(Some(format!(
        "{{\"checkpoint\":{},\"path\":{},\"personal\":{personal},\"place\":{place},\"record\":{},\"salt\":{salt}}}",
        json!(note),
        json!(path),
        json_of(record),
    )))
}

fn json_of(text: Option<Box<RawValue>>) -> String {
    text.map_or_else(|| "null".to_owned(), |text| text.get().to_owned())
}

/// What a proof shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// The checkpoint that the record is under.
    pub checkpoint: Checkpoint,
    /// Whether it is proved as well who called, from where, with what and why. It is not of a record that is erased, nor where
    /// somebody left it out.
    pub is_personal: bool,
}

/// Checks such a proof.
///
/// # Errors
/// What does not hold.
pub fn verify_proof(text: &str, key: &CheckpointVerifier) -> Result<Proved, Fault> {
    let proof: Proof<'_> = serde_json::from_str(text).map_err(|_bad| Fault::Form)?;
    let checkpoint = Checkpoint::open(&proof.checkpoint, key)?;
    let sealed: Sealed<'_> =
        serde_json::from_str(proof.record.get()).map_err(|_bad| Fault::Form)?;
    let is_personal = proof.personal.is_some();
    if let Some(personal) = proof.personal {
        let salt = proof.salt.and_then(unhex_bytes).ok_or(Fault::Form)?;
        if hex(&commitment(&salt, personal.get())) != sealed.personal {
            return Err(Fault::Personal);
        }
    }
    let path: Option<Vec<_>> = proof.path.iter().map(|hash| unhex(hash)).collect();
    let leaf = leaf(proof.record.get().as_bytes());
    let root = root_by(
        leaf,
        proof.place,
        checkpoint.size,
        &path.ok_or(Fault::Form)?,
    );
    if root == Some(checkpoint.root) {
        Ok(Proved {
            checkpoint,
            is_personal,
        })
    } else {
        Err(Fault::NotIn {
            size: checkpoint.size,
        })
    }
}
