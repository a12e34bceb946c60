//! A word on how long the log is and what stands in it, signed: what is handed to others, who can then tell when the log
//! is changed behind it.
//!
//! The form is that of transparency logs, so that their tools read it: a signed note with an Ed25519 signature
//! (C2SP signed-note) over a checkpoint (C2SP tlog-checkpoint), whose extension lines are the chain's value, the time, and,
//! once records were taken off the log's front, the place where it begins.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use store::audit::merkle::Hash;

/// The signature algorithm's number in a key's name: Ed25519.
const ED25519_ID: u8 = 1;
/// Bytes of a public key.
const PUBLIC_LEN: usize = 32;
/// What a signature's line begins with.
const DASH: &str = "\u{2014} ";

/// How long a log is and what stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: a name that no other has, without spaces.
    pub origin: String,
    /// How many records it has.
    pub size: u64,
    /// The tree's root over them.
    pub root: Hash,
    /// The chain's value after the last of them.
    pub chain: Hash,
    /// When: seconds since 1970.
    pub at: u64,
    /// The place of the first record that was still there then.
    pub begin: u64,
}

/// The key that signs a log's checkpoints.
pub struct CheckpointKey {
    public: CheckpointVerifier,
    pair: Ed25519KeyPair,
}

/// What checks them. As text it is a verifier key of signed notes, `NAME+ID+KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointVerifier {
    name: String,
    public: [u8; PUBLIC_LEN],
}

/// Why a text is no checkpoint that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// Not of the form.
    #[error("this is no checkpoint")]
    Form,
    /// Somebody else's.
    #[error("it is not signed with the key of this log")]
    Unsigned,
    /// Changed since it was signed.
    #[error("its signature does not hold")]
    Signature,
}

/// The text is no verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a verifier key looks like `NAME+01234567+BASE64`, as `portcullis audit key` prints it")]
pub struct BadVerifier;

impl Checkpoint {
    /// The signed note.
    #[must_use]
    pub fn sign(&self, key: &CheckpointKey) -> String {
        let text = self.text();
        let CheckpointVerifier { name, .. } = &key.public;
        let mut signature = key.public.id().to_vec();
        signature.extend_from_slice(key.pair.sign(text.as_bytes()).as_ref());
        format!("{text}\n{DASH}{name} {}\n", BASE64.encode(signature))
    }

    /// Reads a signed note. Signatures of others may stand beside the one that counts.
    ///
    /// # Errors
    /// If it is none, or its signature does not hold.
    pub fn open(note: &str, key: &CheckpointVerifier) -> Result<Self, BadCheckpoint> {
        let (text, signatures) = note.split_once("\n\n").ok_or(BadCheckpoint::Form)?;
        let text = format!("{text}\n");
        let read = Self::read(&text).ok_or(BadCheckpoint::Form)?;
        let mut verdict = BadCheckpoint::Unsigned;
        for line in signatures.lines() {
            let parts = line
                .strip_prefix(DASH)
                .and_then(|line| line.split_once(' '));
            let (name, signature) = parts.ok_or(BadCheckpoint::Form)?;
            let signature = BASE64
                .decode(signature)
                .map_err(|_bad| BadCheckpoint::Form)?;
            let Some((id, signature)) = signature.split_first_chunk::<4>() else {
                return Err(BadCheckpoint::Form);
            };
            if name != key.name || *id != key.id() {
                continue;
            }
            if UnparsedPublicKey::new(&ED25519, key.public)
                .verify(text.as_bytes(), signature)
                .is_ok()
            {
                return Ok(read);
            }
            verdict = BadCheckpoint::Signature;
        }
        Err(verdict)
    }

    fn text(&self) -> String {
        let begin = match self.begin {
            0 => String::new(),
            begin => format!("begin {begin}\n"),
        };
        format!(
            "{}\n{}\n{}\nchain {}\nat {}\n{begin}",
            self.origin,
            self.size,
            BASE64.encode(self.root),
            BASE64.encode(self.chain),
            self.at
        )
    }

    /// Only what is written exactly as [`Self::text`] writes it.
    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let read = Self {
            origin: lines.next()?.to_owned(),
            size: lines.next()?.parse().ok()?,
            root: hash(lines.next()?)?,
            chain: hash(lines.next()?.strip_prefix("chain ")?)?,
            at: lines.next()?.strip_prefix("at ")?.parse().ok()?,
            begin: match lines.next() {
                Some(line) => line.strip_prefix("begin ")?.parse().ok()?,
                None => 0,
            },
        };
        (read.text() == text).then_some(read)
    }
}

impl CheckpointKey {
    /// The key of that seed (RFC 8032). `name` is the log's; `None` if it has a space, a plus or nothing in it.
    #[must_use]
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        let is_name = !name.is_empty() && !name.contains(|c: char| c == '+' || c.is_whitespace());
        is_name.then(|| Self {
            public: CheckpointVerifier {
                name: name.to_owned(),
                public,
            },
            pair,
        })
    }

    /// What checks its signatures.
    #[must_use]
    pub fn verifier(&self) -> &CheckpointVerifier {
        &self.public
    }
}

impl fmt::Debug for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointKey").finish_non_exhaustive()
    }
}

impl CheckpointVerifier {
    /// The log whose key it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of the algorithm, and the key.
    fn encoded(&self) -> Vec<u8> {
        let mut key = vec![ED25519_ID];
        key.extend_from_slice(&self.public);
        key
    }

    /// By which signatures say whose they are.
    fn id(&self) -> [u8; 4] {
        let mut text = format!("{}\n", self.name).into_bytes();
        text.extend_from_slice(&self.encoded());
        let hash = digest(&SHA256, &text);
        hash.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Display for CheckpointVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        write!(
            f,
            "{}+{id:08x}+{}",
            self.name,
            BASE64.encode(self.encoded())
        )
    }
}

impl FromStr for CheckpointVerifier {
    type Err = BadVerifier;

    fn from_str(text: &str) -> Result<Self, BadVerifier> {
        let text = text.trim();
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(BadVerifier);
        };
        let key = BASE64.decode(key).map_err(|_bad| BadVerifier)?;
        let read = match key.split_first() {
            Some((&ED25519_ID, public)) => public.try_into().ok().map(|public| Self {
                name: name.to_owned(),
                public,
            }),
            _ => None,
        };
        // The id is in it twice over.
        read.filter(|read| read.to_string() == text)
            .ok_or(BadVerifier)
    }
}

fn hash(text: &str) -> Option<Hash> {
    BASE64.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
