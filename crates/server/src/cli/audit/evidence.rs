//! `portcullis audit export|verify|prove|key|checkpoint`: the log for those who do not take our word for it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use observe::{Checkpoint, CheckpointKey, CheckpointVerifier, Expected, Verified};
use serde_json::json;
use store::{AuditFilter, Store};

use super::super::record::Act;
use super::super::{Common, Exit, existing, now, output};
use crate::{audit, vault};

/// Longest proof that is read: one record and some thirty hashes.
const PROOF_MAX: u64 = 64 * 1024 * 1024;

pub(super) fn export(
    common: &Common,
    from: Option<u64>,
    to: Option<u64>,
    file: Option<&Path>,
) -> anyhow::Result<Exit> {
    with_key(common, async |store, key| {
        // Before it is signed for: the export has it.
        let act = Act::begin(store, "admin/audit.export").await?;
        act.end("", &Ok(Exit::Done)).await?;
        let from = match from {
            Some(from) => from,
            None => store.audit_first()?,
        };
        // The export ends with a checkpoint: nobody has to take our word for its last records.
        let size = audit::sign(store, key, now()).await?;
        let log = key.verifier().name();
        let to = to.unwrap_or(size);
        let count = match file {
            Some(file) => {
                // Names and reasons are in it: it is for its owner's eyes until they say otherwise.
                let mut options = OpenOptions::new();
                let made = options.write(true).create_new(true).mode(0o600).open(file);
                let made = made.with_context(|| format!("cannot create `{}`", file.display()))?;
                let mut out = BufWriter::new(made);
                let count = observe::export(store, log, from, to, &mut out)?;
                out.into_inner()
                    .map_err(io::IntoInnerError::into_error)?
                    .sync_all()?;
                count
            }
            None => {
                let mut out = BufWriter::new(io::stdout().lock());
                let count = observe::export(store, log, from, to, &mut out)?;
                out.flush()?;
                count
            }
        };
        output::say(format!(
            "{count} records; check them with `portcullis audit verify FILE --key '{}'`",
            key.verifier()
        ));
        Ok(Exit::Done)
    })
}

pub(super) fn key(common: &Common) -> anyhow::Result<Exit> {
    with_key(common, async |_store, key| {
        output::line(key.verifier())?;
        Ok(Exit::Done)
    })
}

pub(super) fn checkpoint(common: &Common) -> anyhow::Result<Exit> {
    with_key(common, async |store, key| {
        let size = audit::sign(store, key, now()).await?;
        let Some((_, note)) = store.audit_checkpoints(size.saturating_sub(1), size)?.pop() else {
            output::say("no call was recorded yet");
            return Ok(Exit::Failed);
        };
        output::data(note.as_bytes())?;
        Ok(Exit::Done)
    })
}

pub(super) fn prove(common: &Common, call: &str) -> anyhow::Result<Exit> {
    with_key(common, async |store, key| {
        let seq = match call.parse() {
            Ok(seq) => seq,
            Err(_) => {
                let filter = AuditFilter {
                    call_id: Some(call.to_owned()),
                    ..AuditFilter::default()
                };
                let found = store.audit_tail(1, None, &filter)?.pop();
                found
                    .with_context(|| format!("no record of a call `{call}`"))?
                    .seq
            }
        };
        audit::sign(store, key, now()).await?;
        let place = store.audit_place(seq)?;
        let place = place.context("that record is from before the log could prove anything")?;
        let proof = observe::prove(store, place)?;
        output::line(proof.context("there is no checkpoint over that record yet")?)?;
        Ok(Exit::Done)
    })
}

/// `expected` has no checkpoint yet: that is the file's.
pub(super) fn verify(
    common: &Common,
    file: &Path,
    key: &str,
    checkpoint: Option<&Path>,
    expected: Expected<'_>,
) -> anyhow::Result<Exit> {
    let key: CheckpointVerifier = match key.parse() {
        Ok(key) => key,
        Err(bad) => fs::read_to_string(key)
            .map_err(|_no_file| bad)
            .context("`--key` is neither a verifier key nor a file with one")?
            .trim()
            .parse()
            .with_context(|| format!("`{key}` is a file, but without a verifier key"))?,
    };
    let known = match checkpoint {
        Some(path) => {
            let note = fs::read_to_string(path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            let read = Checkpoint::open(&note, &key);
            Some(read.with_context(|| format!("`{}` does not count", path.display()))?)
        }
        None => None,
    };
    let mut reader: Box<dyn BufRead> = if file.as_os_str() == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let opened =
            File::open(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        Box::new(BufReader::new(opened))
    };
    // A proof begins with its checkpoint, an export with the chain's value.
    if reader.fill_buf()?.starts_with(b"{\"checkpoint\"") {
        let mut text = String::new();
        reader.take(PROOF_MAX).read_to_string(&mut text)?;
        return proved(common, text.trim_end(), &key);
    }
    let expected = Expected {
        known: known.as_ref(),
        ..expected
    };
    let verified = match observe::verify(&mut reader, &key, expected) {
        Ok(verified) => verified,
        Err(tampered) => {
            if common.json {
                output::json(&json!({
                    "ok": false,
                    "line": tampered.line,
                    "record": tampered.place,
                    "fault": tampered.fault.to_string(),
                }))?;
            }
            output::say(format!(
                "NOT shown to be the log as it was recorded: {tampered}"
            ));
            return Ok(Exit::Failed);
        }
    };
    if common.json {
        output::json(&json!({
            "ok": true,
            "log": verified.log,
            "from": verified.from,
            "to": verified.to,
            "begin": verified.begin,
            "erased": verified.erased.count(),
            "erased_places": verified.erased.ranges(),
            "erased_unexplained": verified.unexplained.ranges(),
            "signed": verified.checkpoint.as_ref().map(|one| one.size),
            "unsigned": verified.unsigned,
        }))?;
    }
    tell(&verified);
    if known.is_none() {
        output::say(
            "an end that was cut off shows only against a checkpoint from elsewhere: `--checkpoint FILE`",
        );
    }
    // Without a signature it is only a chain that anybody could have made.
    Ok(
        if verified.checkpoint.is_some() || verified.to == verified.from {
            Exit::Done
        } else {
            Exit::Failed
        },
    )
}

/// Says what is proved of an export, and what is not.
fn tell(verified: &Verified) {
    let Verified { from, unsigned, .. } = *verified;
    match &verified.checkpoint {
        Some(signed) => {
            output::say(format!(
                "{} records of {} are as they were recorded, and none of them is missing",
                verified.to - from - unsigned,
                verified.log
            ));
            output::say(format!(
                "signed up to record {} on {}",
                signed.size - 1,
                day(signed.at)
            ));
        }
        None => output::say("no checkpoint is in it: nobody signed for any of them"),
    }
    if from > verified.begin {
        output::say(format!(
            "this is a part, from record {from}: of those in front of it nothing is shown"
        ));
    } else if from > 0 {
        output::say(format!(
            "the log begins with record {from}: those before it were past their time"
        ));
    }
    if unsigned > 0 {
        output::say(format!(
            "NOT proved: {unsigned} records, from record {} on, which nobody signed for",
            verified.to - unsigned
        ));
    }
    if verified.erased.count() > 0 {
        output::say(format!(
            "the personal part of {} of them was erased: {}",
            verified.erased.count(),
            verified.erased.shortly()
        ));
    }
    if verified.unexplained.count() > 0 {
        output::say(format!(
            "NOT explained: no signed record of an erasure in this file names {} of these: {}",
            verified.unexplained.count(),
            verified.unexplained.shortly()
        ));
    }
}

fn proved(common: &Common, text: &str, key: &CheckpointVerifier) -> anyhow::Result<Exit> {
    match observe::verify_proof(text, key) {
        Ok(proved) => {
            let checkpoint = proved.checkpoint;
            if common.json {
                output::json(&json!({
                    "ok": true,
                    "log": checkpoint.origin,
                    "size": checkpoint.size,
                    "personal": proved.is_personal,
                }))?;
            }
            output::say(format!(
                "the record stands in {}, among the {} that were signed for on {}",
                checkpoint.origin,
                checkpoint.size,
                day(checkpoint.at)
            ));
            if !proved.is_personal {
                output::say(
                    "who called, from where, with what and why is NOT in this proof: erased, or left out",
                );
            }
            Ok(Exit::Done)
        }
        Err(fault) => {
            if common.json {
                output::json(&json!({ "ok": false, "fault": fault.to_string() }))?;
            }
            output::say(format!("NOT proved: {fault}"));
            Ok(Exit::Failed)
        }
    }
}

fn day(at: u64) -> String {
    let seconds = i64::try_from(at).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| "-".to_owned(), |at| at.to_string())
}

/// Does something with the log and the key that signs for it.
fn with_key(
    common: &Common,
    work: impl AsyncFnOnce(&Store, &CheckpointKey) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let loaded = common.load_settings()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = existing(&loaded)?;
        let vault = vault::open(&store, &loaded.master_key, now())?;
        let key = audit::key(&store, &vault, now()).await?;
        let exit = work(&store, &key).await;
        store.close().await;
        exit
    })
}
