//! Checks an export without the gate that wrote it: nothing is needed but the file and the log's verifier key.
//!
//! It is read once, line by line, in memory that does not grow. Each line must be exactly what the export writes, so
//! there is no byte that could be changed; each record must follow from the one before by the chain; each checkpoint
//! must be signed, and fit the records in front of it. Anybody can work out a chain: what no checkpoint goes over, in front
//! of the file or at its end, is not shown by it.

use std::io::{BufRead, Read as _};

use serde::Deserialize;
use serde_json::value::RawValue;
use store::audit::LogState;
use store::audit::merkle::{Frontier, Hash, leaf};
use store::audit::text::{commitment, hex, link};

use super::acts::ERASED;
use super::checkpoint::{Checkpoint, CheckpointVerifier};
use super::export::{VERSION, head, noted, record_line};
use super::places::{self, Places};

/// Longest line that is read: a record has at most a few bounded texts, and arguments as long as a request.
const LINE_MAX: u64 = 64 * 1024 * 1024;

/// What whoever checks an export knows of it, and puts up with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    /// A checkpoint of the same log that was kept elsewhere: with it, an end that was cut off is found also where the
    /// first line was changed to match.
    pub known: Option<&'a Checkpoint>,
    /// The place that the file is to begin with, if it is a part; `None`: where the log begins, as its newest checkpoint
    /// has it.
    pub from: Option<u64>,
    /// Whether records may stand at the end that no checkpoint goes over.
    pub unsigned: bool,
    /// Whether records may be erased that no record of an erasure names.
    pub unexplained: bool,
}

/// What holds of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The log's name.
    pub log: String,
    /// The place of the first record.
    pub from: u64,
    /// That after the last.
    pub to: u64,
    /// The records whose personal part is erased.
    pub erased: Places,
    /// Those of them that no record of an erasure names, as far as a checkpoint goes over both.
    pub unexplained: Places,
    /// The last checkpoint that its records fit.
    pub checkpoint: Option<Checkpoint>,
    /// Records after the last checkpoint: the chain holds, but nobody signed for their end.
    pub unsigned: u64,
    /// The place that the log began with, when it was last signed for.
    pub begin: u64,
}

/// What does not hold, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", self.position())]
pub struct Tampered {
    /// Of the file, from 1: as far as it was read until this was known.
    pub line: u64,
    /// The record that it is about, by its place in the log.
    pub place: Option<u64>,
    /// What is wrong.
    pub fault: Fault,
}

impl Tampered {
    /// Where it is, for people.
    fn position(&self) -> String {
        let record = self.place.map(|place| format!("record {place}"));
        let record = record.unwrap_or_else(|| "before the first record".to_owned());
        match self.fault {
            // Known at the end, and that is not where it is.
            Fault::Unexplained { .. } => record,
            _ => format!("line {}, {record}", self.line),
        }
    }
}

/// What is wrong with an export.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// Nothing that an export has, or not as it is written.
    #[error("this is not how an export writes it: it was changed")]
    Form,
    /// Made by a newer version of this program.
    #[error("an export of version {0} is not known here")]
    Version(u64),
    /// Another record than the one that follows.
    #[error(
        "record {found} stands where record {expected} belongs: records were removed, added or moved"
    )]
    Order {
        /// Which one follows.
        expected: u64,
        /// Which one stands there.
        found: u64,
    },
    /// The personal part is not what was committed to.
    #[error("its personal part is not the one that was recorded")]
    Personal,
    /// The record does not lead to the chain's value.
    #[error(
        "it does not follow from what stands before it: it was changed, or a record before it was"
    )]
    Chain,
    /// A checkpoint that does not count.
    #[error("the checkpoint does not count: {0}")]
    Checkpoint(#[from] super::checkpoint::BadCheckpoint),
    /// There is none where one was made.
    #[error("the checkpoint over the records up to here is missing")]
    Missing,
    /// A checkpoint of another log, or that stands elsewhere.
    #[error("the checkpoint is over {size} records of `{origin}`, and does not belong here")]
    Misplaced {
        /// Of which log.
        origin: String,
        /// How many records it goes over.
        size: u64,
    },
    /// Signed for, and not what stands here.
    #[error(
        "the records up to here are not those that were signed for: some were changed, and the chain made to fit, after record {after}"
    )]
    Root {
        /// The last that a checkpoint shows to be unchanged.
        after: u64,
    },
    /// The proof leads to another root.
    #[error("it does not stand in the log of {size} records that was signed for")]
    NotIn {
        /// Of the signed log.
        size: u64,
    },
    /// Not all that the first line promises.
    #[error("the file ends here, and should go on up to record {to}: its end was cut off")]
    CutOff {
        /// The last record that should be there.
        to: u64,
    },
    /// Records in front of the file are missing.
    #[error(
        "the log begins with record {begin}, and the file with {from}: its front was cut off, or it is a part; check a part with `--from {from}`"
    )]
    Front {
        /// The first that should be there.
        begin: u64,
        /// The first that is.
        from: u64,
    },
    /// Another part than the one that was asked for.
    #[error("the file begins with record {from}, not with {wanted}")]
    Part {
        /// The first that should be there.
        wanted: u64,
        /// The first that is.
        from: u64,
    },
    /// Nobody signed for the end.
    #[error(
        "no checkpoint goes over the last {count} records: anybody could have written them; `--allow-unsigned` leaves them out of account"
    )]
    Unsigned {
        /// How many.
        count: u64,
    },
    /// The checkpoint from elsewhere is over other records.
    #[error(
        "the checkpoint from elsewhere goes over {signed} records, and all of them stand in front of this file: it cannot be compared"
    )]
    Uncompared {
        /// How many it goes over.
        signed: u64,
    },
    /// More was signed for than there is.
    #[error(
        "a checkpoint was made over {signed} records, and the file ends with {found}: its end was cut off"
    )]
    Behind {
        /// How many were signed for.
        signed: u64,
        /// How many there are.
        found: u64,
    },
    /// Erased, and nobody recorded that.
    #[error(
        "the personal part is gone of records that no signed record of an erasure in this file names, {count} in all: \
         {places}; an export up to the log's end has all such records; `--allow-unexplained` puts up with it"
    )]
    Unexplained {
        /// How many.
        count: u64,
        /// The first of them, as ranges.
        places: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    chain: String,
    from: u64,
    log: String,
    roots: Vec<String>,
    to: u64,
    version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    checkpoint: Option<std::borrow::Cow<'a, str>>,
    chain: Option<&'a str>,
    #[serde(borrow, default)]
    personal: Option<&'a RawValue>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
    #[serde(default)]
    salt: Option<&'a str>,
    #[serde(default)]
    signed: bool,
}

/// The members of a record that are looked at.
#[derive(Deserialize)]
pub(super) struct Sealed<'a> {
    pub(super) personal: &'a str,
    pub(super) seq: i64,
}

/// Checks an export.
///
/// # Errors
/// The first thing that does not hold, and where.
pub fn verify(
    file: &mut impl BufRead,
    key: &CheckpointVerifier,
    expected: Expected<'_>,
) -> Result<Verified, Tampered> {
    let mut reader = Reader {
        file,
        line: 0,
        place: None,
    };
    match check(&mut reader, key, expected) {
        Ok(verified) => Ok(verified),
        Err(fault) => Err(Tampered {
            line: reader.line,
            place: reader.place,
            fault,
        }),
    }
}

fn check(
    reader: &mut Reader<'_, impl BufRead>,
    key: &CheckpointVerifier,
    expected: Expected<'_>,
) -> Result<Verified, Fault> {
    let known = expected.known;
    let mut text = String::new();
    if !reader.next(&mut text)? {
        return Err(Fault::Form);
    }
    let (log, mut state, to) = begin(&text)?;
    let from = state.tree.size();
    if let Some(wanted) = expected.from.filter(|wanted| *wanted != from) {
        return Err(Fault::Part { wanted, from });
    }
    if let Some(known) = known.filter(|known| known.size < from) {
        return Err(Fault::Uncompared { signed: known.size });
    }
    // What stands in front of the file is known only by what its first line says.
    if let Some(known) = known.filter(|known| known.size == from && from > 0) {
        fits(known, &log, &state, None, from)?;
    }
    // The first record may have any number; those that follow count on from it.
    let mut base = None;
    let (mut erased, mut explained) = (Places::default(), Explained::default());
    let (mut last, mut unsigned) = (None::<Checkpoint>, 0);
    let mut is_signed = false;
    while reader.next(&mut text)? {
        let place = state.tree.size();
        let line: Line<'_> = serde_json::from_str(&text).map_err(|_bad| Fault::Form)?;
        if let Some(note) = &line.checkpoint {
            if text != noted(note) || !is_signed {
                return Err(Fault::Form);
            }
            is_signed = false;
            let checkpoint = Checkpoint::open(note, key)?;
            fits(&checkpoint, &log, &state, last.as_ref(), from)?;
            (last, unsigned) = (Some(checkpoint), 0);
            explained.sign();
            continue;
        }
        if is_signed {
            return Err(Fault::Missing);
        }
        is_signed = line.signed;
        reader.place = Some(place);
        if place == to {
            return Err(Fault::Order {
                expected: place,
                found: place + 1,
            });
        }
        let (seq, is_erased) = follow(&text, &line, &mut state, &mut explained)?;
        let first = *base.get_or_insert(i128::from(seq) - i128::from(place));
        let found = i128::from(seq) - first;
        if found != i128::from(place) {
            return Err(Fault::Order {
                expected: place,
                found: u64::try_from(found).unwrap_or_default(),
            });
        }
        if is_erased {
            erased.push_within(place, places::RANGES_MAX);
        }
        unsigned += 1;
        if let Some(known) = known.filter(|known| known.size == place + 1) {
            fits(known, &log, &state, last.as_ref(), from)?;
        }
    }
    if is_signed {
        return Err(Fault::Missing);
    }
    if state.tree.size() < to {
        reader.place = Some(state.tree.size());
        return Err(Fault::CutOff {
            to: to.saturating_sub(1),
        });
    }
    if let Some(known) = known.filter(|known| known.size > to) {
        reader.place = Some(to);
        return Err(Fault::Behind {
            signed: known.size,
            found: to,
        });
    }
    if unsigned > 0 && !expected.unsigned {
        reader.place = Some(to - unsigned);
        return Err(Fault::Unsigned { count: unsigned });
    }
    // The newest says it best: what it has as gone was taken off in order.
    let newest = known.into_iter().chain(&last).max_by_key(|one| one.size);
    let begin = newest.map_or(0, |newest| newest.begin);
    if expected.from.is_none() && from > begin {
        return Err(Fault::Front { begin, from });
    }
    let mut explained = explained.places(base.unwrap_or_default());
    // What nobody signed for is not proved anyway, erased or not.
    explained.push((to - unsigned, u64::MAX));
    let unexplained = erased.without(explained);
    if unexplained.count() > 0 && !expected.unexplained {
        let place = unexplained.ranges().first().map(|(first, _)| *first);
        reader.place = place.or(reader.place);
        return Err(Fault::Unexplained {
            count: unexplained.count(),
            places: unexplained.shortly(),
        });
    }
    Ok(Verified {
        log,
        from,
        to,
        begin,
        unexplained,
        erased,
        checkpoint: last,
        unsigned,
    })
}

/// Reads the first line.
fn begin(text: &str) -> Result<(String, LogState, u64), Fault> {
    let read: Head = serde_json::from_str(text).map_err(|_bad| Fault::Form)?;
    if read.version != VERSION {
        return Err(Fault::Version(read.version));
    }
    let roots: Option<Vec<Hash>> = read.roots.iter().map(|root| unhex(root)).collect();
    let tree = roots.and_then(|roots| Frontier::restore(read.from, roots));
    let state = tree
        .zip(unhex(&read.chain))
        .map(|(tree, chain)| LogState { tree, chain })
        .ok_or(Fault::Form)?;
    if text != head(&read.log, &state, read.to) || read.to < read.from {
        return Err(Fault::Form);
    }
    Ok((read.log, state, read.to))
}

/// Takes in a record; its number, and whether its personal part is erased.
fn follow(
    text: &str,
    line: &Line<'_>,
    state: &mut LogState,
    explained: &mut Explained,
) -> Result<(i64, bool), Fault> {
    let (Some(chain), Some(record)) = (line.chain.and_then(unhex), line.record) else {
        return Err(Fault::Form);
    };
    let salt = match line.salt {
        Some(salt) => format!("\"{salt}\""),
        None => "null".to_owned(),
    };
    let personal = line.personal.map_or("null", RawValue::get);
    if text != record_line(&chain, personal, record.get(), &salt, line.signed) {
        return Err(Fault::Form);
    }
    let sealed: Sealed<'_> = serde_json::from_str(record.get()).map_err(|_bad| Fault::Form)?;
    let after = link(&state.chain, &leaf(record.get().as_bytes()));
    if after != chain {
        // What is changed in the personal part alone is told apart below; here the record itself is not the one.
        return Err(Fault::Chain);
    }
    let is_erased = match (line.personal, line.salt) {
        (None, None) => true,
        (Some(personal), Some(salt)) => {
            let salt = unhex_bytes(salt).ok_or(Fault::Form)?;
            if hex(&commitment(&salt, personal.get())) != sealed.personal {
                return Err(Fault::Personal);
            }
            false
        }
        _ => return Err(Fault::Form),
    };
    explained.note(record.get());
    state.tree.push(leaf(record.get().as_bytes()), |_filled| {});
    state.chain = chain;
    Ok((sealed.seq, is_erased))
}

/// Whether a checkpoint is one over what was read so far.
fn fits(
    checkpoint: &Checkpoint,
    log: &str,
    state: &LogState,
    last: Option<&Checkpoint>,
    from: u64,
) -> Result<(), Fault> {
    if checkpoint.origin != log || checkpoint.size != state.tree.size() {
        return Err(Fault::Misplaced {
            origin: checkpoint.origin.clone(),
            size: checkpoint.size,
        });
    }
    if checkpoint.root != state.tree.root() || checkpoint.chain != state.chain {
        let after = last.map_or(from, |last| last.size);
        return Err(Fault::Root {
            after: after.saturating_sub(1),
        });
    }
    Ok(())
}

/// Lines of a file, counted.
struct Reader<'f, R> {
    file: &'f mut R,
    line: u64,
    place: Option<u64>,
}

impl<R: BufRead> Reader<'_, R> {
    /// The next line, without its end; `false` at the end of the file.
    fn next(&mut self, text: &mut String) -> Result<bool, Fault> {
        let mut bytes = Vec::new();
        let mut limited = self.file.by_ref().take(LINE_MAX);
        limited.read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(false);
        }
        self.line += 1;
        if bytes.pop() != Some(b'\n') {
            return Err(Fault::Form);
        }
        *text = String::from_utf8(bytes).map_err(|_bad| Fault::Form)?;
        Ok(true)
    }
}

/// What the records of erasures say was erased, as numbers of records.
#[derive(Default)]
struct Explained {
    ranges: Vec<(u64, u64)>,
    /// So many of these stand in records that a checkpoint goes over: the others anybody could have written.
    signed: usize,
}

/// The members of a record of an erasure.
#[derive(Deserialize)]
struct Erasure<'a> {
    #[serde(borrow)]
    entry: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    method: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    transport: std::borrow::Cow<'a, str>,
}

impl Explained {
    /// Takes in what a record explains, if it is one of an erasure.
    fn note(&mut self, record: &str) {
        // Looked for first: reading each record once more would take as long as hashing it.
        if !record.contains(ERASED) {
            return;
        }
        let read = serde_json::from_str::<Erasure<'_>>(record);
        let read = read.ok().filter(|read| read.method == ERASED);
        // What a client calls its tool is no record of ours.
        let Some(read) = read.filter(|read| read.transport == "cli") else {
            return;
        };
        let ranges = read.entry.as_deref().and_then(places::ranges);
        let room = places::RANGES_MAX.saturating_sub(self.ranges.len());
        self.ranges.extend(ranges.into_iter().flatten().take(room));
    }

    /// A checkpoint goes over all so far.
    fn sign(&mut self) {
        self.signed = self.ranges.len();
    }

    /// What is signed for, as places, where the first record of the log has the number `base`.
    fn places(self, base: i128) -> Vec<(u64, u64)> {
        let place = |seq: u64| u64::try_from(i128::from(seq) - base).ok();
        let ranges = self.ranges.into_iter().take(self.signed);
        ranges
            .filter_map(|(first, last)| Some((place(first).unwrap_or(0), place(last)?)))
            .collect()
    }
}

pub(super) fn unhex(text: &str) -> Option<Hash> {
    unhex_bytes(text)?.try_into().ok()
}

pub(super) fn unhex_bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    // Lower case only, as `hex` writes it: one value has one form.
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect();
    bytes.filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests;
