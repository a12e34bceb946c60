//! The file: a ring of blocks, each batch of records in a row of them.
//!
//! The first block holds a random mark that each batch begins with, so that nothing a client sends can pass for a batch.
//! Behind it, a batch is the mark, the number of its first record (8 bytes, little endian as all numbers here), how many
//! there are (4) and how many bytes (4), the first half of the SHA-256 of all that (16), the records, and zeros up to the
//! next block.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::{digest, rand};

use super::recover::remove;
use crate::audit::Packed;
use crate::node::NodeKey;

/// What is read and written at once: past the system's cache nothing smaller can be.
pub(super) const BLOCK: usize = 4096;
/// Blocks of the ring.
const BLOCKS: usize = 1024;
/// Most bytes of one batch.
const BATCH_LEN_MAX: usize = 256 * 1024;
const MARK_LEN: usize = 16;
const SUM_LEN: usize = 16;
/// Mark, number, count, length.
const FRONT_LEN: usize = MARK_LEN + 8 + 4 + 4;
const HEADER_LEN: usize = FRONT_LEN + SUM_LEN;
/// What a file begins with; behind it stand which database it belongs to, and its mark.
const MAGIC: &[u8; 8] = b"pcjrnl01";
const IDENTITY_LEN: usize = 16;
/// How often the file is made anew if somebody takes it away meanwhile.
const TRIES: usize = 8;

/// What tells a database from all others: one that was put in its place has no use for its journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity([u8; IDENTITY_LEN]);

impl Identity {
    /// Of the database that holds this key. Nothing of the key can be told from it.
    pub(crate) fn of(key: &NodeKey) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"portcullis journal");
        context.update(&key.0);
        let whole = context.finish();
        Self(whole.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

/// The journal of the gate with that name.
pub(crate) fn path_of(database: &Path, gate: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(format!(".journal-{gate}"));
    PathBuf::from(name)
}

/// The gate whose journal of this database has that file name.
pub(super) fn gate_of(database: &Path, name: &OsStr) -> Option<String> {
    let database = database.file_name()?.as_bytes();
    let gate = name.as_bytes().strip_prefix(database)?;
    let gate = gate.strip_prefix(b".journal-")?;
    Some(str::from_utf8(gate).ok()?.to_owned())
}

/// Blocks in a row, from 0, the first behind the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    at: usize,
    blocks: usize,
}

/// The file, held by the gate that writes it.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Locked for as long as its gate lives.
    file: File,
    path: PathBuf,
    mark: [u8; MARK_LEN],
    /// What is needed, the oldest first, and the number of its last record.
    used: VecDeque<(Span, u64)>,
    /// Which blocks have been written and not wiped since.
    stained: Box<[bool; BLOCKS]>,
    /// Where the next batch goes.
    next: usize,
    batch: Vec<u8>,
    aligned: Aligned,
}

impl Ring {
    /// Makes the file, in place of one that is not needed any more. Its blocks are written once, so that later none is new
    /// to the file system.
    pub(super) fn create(path: &Path, of: &Identity) -> Result<Self> {
        remove(path)?;
        let ring = Self::lay_out(held(path)?, path, of);
        if ring.is_err() {
            // The disk may be full, and what cannot be used takes room.
            drop(remove(path));
        }
        ring
    }

    fn lay_out(file: File, path: &Path, of: &Identity) -> Result<Self> {
        let mut mark = [0; MARK_LEN];
        rand::fill(&mut mark).map_err(|_none| Error::other("the system gives no random bytes"))?;
        let mut ring = Self {
            file,
            path: path.to_owned(),
            mark,
            used: VecDeque::new(),
            stained: Box::new([false; BLOCKS]),
            next: 0,
            batch: Vec::new(),
            aligned: Aligned::new(),
        };
        ring.zero(Span {
            at: 0,
            blocks: BLOCKS,
        })?;
        ring.batch.extend_from_slice(MAGIC);
        ring.batch.extend_from_slice(&of.0);
        ring.batch.extend_from_slice(&ring.mark);
        ring.put(0)?;
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            File::open(folder)?.sync_all()?;
        }
        Ok(ring)
    }

    /// Writes a batch, durably; `false` if there is no room for it.
    pub(super) fn write<'a>(
        &mut self,
        first: u64,
        rows: impl Iterator<Item = &'a Packed>,
    ) -> Result<bool> {
        self.batch.clear();
        self.batch.resize(HEADER_LEN, 0);
        let (mut count, mut last) = (0, first);
        for row in rows {
            self.batch.extend_from_slice(row.bytes());
            last = first + count as u64;
            count += 1;
        }
        if self.batch.len() > BATCH_LEN_MAX {
            return Ok(false);
        }
        let blocks = self.batch.len().div_ceil(BLOCK);
        let Some(at) = self.room(blocks) else {
            return Ok(false);
        };
        let length = self.batch.len() - HEADER_LEN;
        let front = front(&self.mark, first, count, length);
        let sum = sum(&front, self.batch.get(HEADER_LEN..).unwrap_or_default());
        for (to, from) in self.batch.iter_mut().zip(front.iter().chain(&sum)) {
            *to = *from;
        }
        if let Some(written) = self.stained.get_mut(at..at + blocks) {
            written.fill(true);
        }
        self.put(1 + at)?;
        self.used.push_back((Span { at, blocks }, last));
        self.next = at + blocks;
        Ok(true)
    }

    /// Where so many blocks in a row are free, behind the newest batch or from the beginning.
    fn room(&self, blocks: usize) -> Option<usize> {
        let fits = |at: usize, end: usize| (at + blocks <= end).then_some(at);
        let Some((oldest, _)) = self.used.front() else {
            return fits(self.next, BLOCKS).or_else(|| fits(0, BLOCKS));
        };
        if self.next > oldest.at {
            fits(self.next, BLOCKS).or_else(|| fits(0, oldest.at))
        } else {
            fits(self.next, oldest.at)
        }
    }

    /// What is in the log up to that number is not needed here any more.
    pub(super) fn free(&mut self, folded: u64) {
        while self
            .used
            .pop_front_if(|(_, last)| *last <= folded)
            .is_some()
        {}
    }

    /// Whether there is something in it that stands in the log already, or soon will.
    pub(super) fn is_stained(&self) -> bool {
        self.stained.contains(&true)
    }

    /// Writes zeros over some of what is not needed any more; whether there is more of it.
    pub(super) fn wipe_some(&mut self) -> Result<bool> {
        let Some(span) = self.unneeded() else {
            return Ok(false);
        };
        self.zero(span)?;
        if let Some(wiped) = self.stained.get_mut(span.at..span.at + span.blocks) {
            wiped.fill(false);
        }
        Ok(self.unneeded().is_some())
    }

    /// Blocks in a row that were written and are not needed, no more than are written at once.
    fn unneeded(&self) -> Option<Span> {
        let mut stained = *self.stained;
        for (used, _) in &self.used {
            if let Some(used) = stained.get_mut(used.at..used.at + used.blocks) {
                used.fill(false);
            }
        }
        let at = stained.iter().position(|is_stained| *is_stained)?;
        let run = stained.iter().skip(at).take(BATCH_LEN_MAX / BLOCK);
        let blocks = run.take_while(|is_stained| **is_stained).count();
        Some(Span { at, blocks })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it a file with nothing in it, for whoever finds it.
    pub(super) fn blank(&mut self) -> Result<()> {
        self.batch.clear();
        self.put(0)
    }

    fn zero(&mut self, span: Span) -> Result<()> {
        let step = BATCH_LEN_MAX / BLOCK;
        let mut at = span.at;
        let end = span.at + span.blocks;
        while at < end {
            let blocks = step.min(end - at);
            self.batch.clear();
            self.batch.resize(blocks * BLOCK, 0);
            self.put(1 + at)?;
            at += blocks;
        }
        self.batch.clear();
        Ok(())
    }

    /// Writes `batch` from that block of the file on, with zeros up to the end of the last block; one at least.
    fn put(&mut self, block: usize) -> Result<()> {
        let bytes = self.aligned.fill(&self.batch)?;
        self.file.write_all_at(bytes, (block * BLOCK) as u64)
    }
}

/// Past the system's cache where the file system can: of what is written through it, the disk is told twice.
fn open(path: &Path) -> Result<File> {
    let with = |flags| {
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .custom_flags(flags)
            .open(path)
    };
    match with(libc::O_DSYNC | libc::O_DIRECT) {
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            // Some file systems have made it before they refuse.
            drop(remove(path));
            with(libc::O_DSYNC)
        }
        opened => opened,
    }
}

/// A new file, locked. Whoever looks for what gates have left may take one for such that is not locked yet.
fn held(path: &Path) -> Result<File> {
    for _ in 0..TRIES {
        let file = open(path)?;
        file.lock()?;
        if is_at(&file, path)? {
            return Ok(file);
        }
    }
    Err(ErrorKind::ResourceBusy.into())
}

/// Whether it is this file that has that name.
pub(super) fn is_at(file: &File, path: &Path) -> Result<bool> {
    let here = file.metadata()?;
    match path.metadata() {
        Ok(there) => Ok((here.dev(), here.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Bytes that begin where a block may.
#[derive(Debug)]
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new() -> Self {
        let bytes = vec![0; BATCH_LEN_MAX + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK);
        Self { bytes, start }
    }

    /// The same, with zeros up to the end of its last block.
    fn fill(&mut self, batch: &[u8]) -> Result<&[u8]> {
        let length = batch.len().div_ceil(BLOCK).max(1) * BLOCK;
        let room = self.bytes.get_mut(self.start..self.start + length);
        let room = room.ok_or(ErrorKind::InvalidInput)?;
        let (front, rest) = room.split_at_mut(batch.len());
        front.copy_from_slice(batch);
        rest.fill(0);
        Ok(room)
    }
}

fn front(mark: &[u8; MARK_LEN], first: u64, count: usize, length: usize) -> [u8; FRONT_LEN] {
    // Both are far below: of a batch and its records.
    let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let mut front = [0; FRONT_LEN];
    let parts = mark.iter().copied().chain(first.to_le_bytes());
    let parts = parts.chain(short(count)).chain(short(length));
    for (to, from) in front.iter_mut().zip(parts) {
        *to = from;
    }
    front
}

fn sum(front: &[u8; FRONT_LEN], records: &[u8]) -> [u8; SUM_LEN] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(front);
    context.update(records);
    let whole = context.finish();
    let half = whole.as_ref().first_chunk();
    half.copied().unwrap_or_default()
}

/// The records in a file, by their numbers, in that order: all that were not written over.
pub(super) fn records(file: &[u8]) -> Vec<(u64, Packed)> {
    let mut found = Vec::new();
    let Some(mark) = mark_of(file) else {
        return found;
    };
    let mut rest = file.get(BLOCK..).unwrap_or_default();
    while !rest.is_empty() {
        let blocks = match batch(rest, &mark) {
            Some((first, rows, length)) => {
                found.extend((first..).zip(rows));
                length.div_ceil(BLOCK)
            }
            None => 1,
        };
        rest = rest.get(blocks * BLOCK..).unwrap_or_default();
    }
    found.sort_by_key(|(number, _)| *number);
    found
}

fn mark_of(file: &[u8]) -> Option<[u8; MARK_LEN]> {
    let behind = file.strip_prefix(MAGIC)?.get(IDENTITY_LEN..)?;
    behind.first_chunk().copied()
}

/// Whether it belongs to another database. One that has no head yet, or none any more, belongs to none.
pub(super) fn is_of_another(file: &[u8], of: &Identity) -> bool {
    file.strip_prefix(MAGIC)
        .is_some_and(|behind| !behind.starts_with(&of.0))
}

/// The batch at the beginning of these bytes, if there is one: the number of its first record, its records, and its length.
fn batch(bytes: &[u8], mark: &[u8; MARK_LEN]) -> Option<(u64, Vec<Packed>, usize)> {
    let numbers = bytes.strip_prefix(mark)?;
    let (first, numbers) = numbers.split_first_chunk()?;
    let (count, numbers) = numbers.split_first_chunk()?;
    let (length, numbers) = numbers.split_first_chunk()?;
    let (said, records) = numbers.split_first_chunk()?;
    let first = u64::from_le_bytes(*first);
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let mut records = records.get(..length)?;
    if sum(&front(mark, first, count, length), records) != *said {
        return None;
    }
    let mut rows = Vec::with_capacity(count);
    for _ in 0..count {
        rows.push(Packed::decode(&mut records)?);
    }
    Some((first, rows, HEADER_LEN + length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::AuditRow;
    use crate::audit::tests::row;

    const SOME: Identity = Identity([7; IDENTITY_LEN]);

    fn numbers(path: &Path) -> Vec<u64> {
        let file = std::fs::read(path).unwrap();
        records(&file)
            .into_iter()
            .map(|(number, _)| number)
            .collect()
    }

    fn packed(length: usize) -> Packed {
        let row = AuditRow {
            arguments: Some("x".repeat(length)),
            ..row("a")
        };
        Packed::new(&row.fields())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever is written, freed and wiped: what is not freed is there, and after wiping nothing else is.
        #[test]
        fn what_is_needed_stays(steps in prop::collection::vec((1_usize..40, 0_usize..6_000, 0_u64..40, 0_u8..8), 1..60)) {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("ring");
            let mut ring = Ring::create(&path, &SOME).unwrap();
            let (mut last, mut folded) = (0, 0);
            for (count, length, behind, wipes) in steps {
                let rows: Vec<Packed> = (0..count).map(|_| packed(length)).collect();
                if ring.write(last + 1, rows.iter()).unwrap() {
                    last += count as u64;
                } else {
                    folded = last;
                }
                folded = folded.max(last.saturating_sub(behind * 10));
                ring.free(folded);
                let found = numbers(&path);
                for number in folded + 1..=last {
                    prop_assert!(found.contains(&number), "{number} of {folded}..{last}");
                }
                prop_assert!(found.is_sorted());
                if wipes == 0 {
                    while ring.wipe_some().unwrap() {}
                    let kept = numbers(&path);
                    // A batch is kept whole.
                    prop_assert!(kept.len() as u64 <= last - folded + 39, "{} of {folded}..{last}", kept.len());
                    prop_assert!(ring.used.is_empty() == kept.is_empty());
                }
            }
            ring.blank().unwrap();
            prop_assert_eq!(numbers(&path), <[u64; 0]>::default());
        }
    }

    #[test]
    fn a_batch_that_is_not_whole_is_none() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("ring");
        let mut ring = Ring::create(&path, &SOME).unwrap();
        assert!(ring.write(1, [packed(10)].iter()).unwrap());
        assert!(ring.write(2, [packed(10)].iter()).unwrap());
        let file = std::fs::read(&path).unwrap();
        assert_eq!(numbers(&path), [1, 2]);
        let length = HEADER_LEN + 200;
        for at in 0..length {
            let mut damaged = file.clone();
            damaged[BLOCK + at] ^= 1;
            let left: Vec<u64> = records(&damaged)
                .iter()
                .map(|(number, _)| *number)
                .collect();
            assert_eq!(left, [2], "{at}");
        }
        for short in [0, 1, BLOCK - 1, BLOCK, BLOCK + 100, 2 * BLOCK] {
            assert!(records(&file[..short]).len() <= 1);
        }
    }

    #[test]
    fn what_a_client_sends_is_no_batch() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("ring");
        let mut ring = Ring::create(&path, &SOME).unwrap();
        // Looks like a file of its own, and like a batch of another's at the beginning of a block.
        let mut forged = Vec::new();
        forged.extend_from_slice(Packed::new(&row("forged").fields()).bytes());
        let front = front(&[0; MARK_LEN], 7, 1, forged.len());
        let batch = [front.as_slice(), &sum(&front, &forged), &forged].concat();
        ring.batch = batch;
        ring.put(1).unwrap();
        assert_eq!(numbers(&path), <[u64; 0]>::default());
    }
}
