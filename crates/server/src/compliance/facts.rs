//! What the database of a gate says: how long its log is and whether it holds together, how old its keys are, who has a
//! second factor. Only read; a gate may run beside.

use std::io::{self, BufReader, BufWriter, Write as _};
use std::thread;
use std::time::SystemTime;

use jiff::Timestamp;
use observe::{Checkpoint, CheckpointVerifier, Expected};
use policy::Rules;
use serde::{Serialize, Serializer};
use store::{DataKeyKind, Location, PinState, Store};

/// So many records at the log's end are verified. A gate signs after each thousand at the latest, so that the last
/// checkpoint is among them, too.
const RECORDS_VERIFIED: u64 = 10_000;

/// What the database says.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// Which database: the file, or host and name.
    pub place: String,
    /// Records that the audit log has had.
    pub records: u64,
    /// The place of the first that is still there.
    pub first: u64,
    /// When its end was last signed for, if it ever was.
    #[serde(serialize_with = "moment_or_null")]
    pub checkpoint_at: Option<Timestamp>,
    /// Records up to there.
    pub checkpoint_size: Option<u64>,
    /// Whether the log's end is as it was recorded.
    pub chain: Chain,
    /// API keys that are good now.
    pub keys: usize,
    /// Those of them that never end.
    pub keys_without_end: usize,
    /// When the oldest of them was made.
    #[serde(serialize_with = "moment_or_null")]
    pub oldest_key_at: Option<Timestamp>,
    /// When the newest key that secrets are sealed with was made.
    #[serde(serialize_with = "moment_or_null")]
    pub sealing_key_at: Option<Timestamp>,
    /// Local accounts.
    pub accounts: usize,
    /// Those of them that are asked for a one-time password.
    pub accounts_with_totp: usize,
    /// Accounts that have the role `owner` of their own.
    pub owners: usize,
    /// Those of them that are asked for a one-time password.
    pub owners_with_totp: usize,
    /// Receivers of the audit log that were ever sent to, whether or not the config still has them.
    pub sinks: Vec<SinkFact>,
    /// Secrets that are kept.
    pub secrets: usize,
    /// Definitions that are approved.
    pub pins_approved: usize,
    /// Definitions that wait for somebody to look at them.
    pub pins_waiting: usize,
    /// Legal holds in force.
    pub holds: usize,
    /// What was revoked and would otherwise still be good.
    pub revocations: usize,
}

/// How a receiver of the audit log gets on.
#[derive(Debug, Clone, Serialize)]
pub struct SinkFact {
    /// Its name in the config.
    pub name: String,
    /// Since when nothing gets there; `None` while it does.
    #[serde(serialize_with = "moment_or_null")]
    pub failing_since: Option<Timestamp>,
}

/// Whether the log's end is as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Chain {
    /// It is.
    Holds {
        /// How many records were verified, counted back from the end.
        verified: u64,
        /// How many of them nobody has signed for yet.
        unsigned: u64,
    },
    /// It is not.
    Broken {
        /// What is wrong, and where.
        why: String,
    },
    /// Nobody could tell.
    Unchecked {
        /// Why not.
        why: String,
    },
}

impl Facts {
    /// Reads them. `key` checks the log's checkpoints; without one (`Err` says why) the log is not verified.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn read(
        store: &Store,
        place: &Location,
        key: Result<&CheckpointVerifier, String>,
        now: SystemTime,
    ) -> Result<Self, store::Error> {
        let records = store.audit_log()?.tree.size();
        let first = store.audit_first()?;
        let back = records.saturating_sub(RECORDS_VERIFIED).max(first);
        let last = store.audit_checkpoints(back, records)?.pop();
        let signed = last.as_ref().zip(key.as_ref().ok());
        let signed = signed.and_then(|((_, note), key)| Checkpoint::open(note, key).ok());
        let is_good = |until: Option<SystemTime>| until.is_none_or(|until| until > now);
        let keys = store.list_keys()?;
        let good = keys
            .iter()
            .filter(|key| is_good(key.expires_at) && is_good(key.revoked_at));
        let accounts = store.list_accounts()?;
        let owners = accounts
            .iter()
            .filter(|account| account.roles.iter().any(|role| role == Rules::OWNER));
        let pins = store.list_pins()?;
        let pins_in = |state| pins.iter().filter(|pin| pin.state == state).count();
        let holds = store.list_audit_holds()?;
        let sealing = store.list_data_keys()?;
        let sealing = sealing
            .iter()
            .filter(|key| key.kind == DataKeyKind::Seal)
            .map(|key| key.created_at)
            .max();
        Ok(Self {
            place: place.to_string(),
            records,
            first,
            checkpoint_at: signed.and_then(|signed| {
                let at = i64::try_from(signed.at).ok()?;
                Timestamp::from_second(at).ok()
            }),
            checkpoint_size: last.as_ref().map(|(size, _)| *size),
            chain: match key {
                Ok(_) if records == back => Chain::Holds {
                    verified: 0,
                    unsigned: 0,
                },
                Ok(key) => verify(store, key, back, records),
                Err(why) => Chain::Unchecked { why },
            },
            keys: good.clone().count(),
            keys_without_end: good.clone().filter(|key| key.expires_at.is_none()).count(),
            oldest_key_at: good.map(|key| key.created_at).min().and_then(instant),
            sealing_key_at: sealing.and_then(instant),
            accounts: accounts.len(),
            accounts_with_totp: accounts.iter().filter(|one| one.totp.is_some()).count(),
            owners: owners.clone().count(),
            owners_with_totp: owners.filter(|owner| owner.totp.is_some()).count(),
            sinks: store
                .audit_sinks()?
                .into_iter()
                .map(|sink| SinkFact {
                    name: sink.name,
                    failing_since: sink.error.and_then(|(_, since)| instant(since)),
                })
                .collect(),
            secrets: store.list_secrets()?.len(),
            pins_approved: pins_in(PinState::Approved),
            pins_waiting: pins_in(PinState::Waiting),
            holds: holds
                .iter()
                .filter(|hold| hold.released_at.is_none())
                .count(),
            revocations: store.list_revocations()?.len(),
        })
    }
}

fn instant(at: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(at).ok()
}

/// As RFC 3339 has it.
#[expect(clippy::ref_option, reason = "so serde hands it over")]
fn moment_or_null<S: Serializer>(at: &Option<Timestamp>, into: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => into.collect_str(at),
        None => into.serialize_none(),
    }
}

// The log's end goes through a pipe: records can be large, and none is kept.
fn verify(store: &Store, key: &CheckpointVerifier, from: u64, records: u64) -> Chain {
    let unchecked = |why: &dyn std::fmt::Display| Chain::Unchecked {
        why: why.to_string(),
    };
    let (reader, writer) = match io::pipe() {
        Ok(pipe) => pipe,
        Err(error) => return unchecked(&error),
    };
    thread::scope(|scope| {
        let exporting = scope.spawn(move || {
            let mut writer = BufWriter::new(writer);
            let written = observe::export(store, key.name(), from, records, &mut writer);
            let flushed = writer.flush();
            written.map_err(|error| error.to_string())?;
            flushed.map_err(|error| error.to_string())
        });
        let expected = Expected {
            from: Some(from),
            unsigned: true,
            // What is erased while this reads is named behind the end.
            unexplained: true,
            ..Expected::default()
        };
        let verified = observe::verify(&mut BufReader::new(reader), key, expected);
        // A fault ends the reading early, and with it the writing: what was read counts then.
        match (verified, exporting.join()) {
            (Ok(verified), Ok(Ok(()))) => Chain::Holds {
                verified: verified.to - verified.from,
                unsigned: verified.unsigned,
            },
            (Ok(_), Ok(Err(why))) => unchecked(&why),
            (Ok(_), Err(_panic)) => unchecked(&"the log could not be read"),
            (Err(tampered), _) => Chain::Broken {
                why: tampered.to_string(),
            },
        }
    })
}
