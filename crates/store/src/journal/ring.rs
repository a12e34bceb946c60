//! The file: a ring of blocks, each batch of records in a row of them.
//!
//! The first block holds a random mark that each batch begins with, so that nothing a client sends can pass for a batch.
//! Behind it, a batch is the mark, the number of its first record (8 bytes, little endian as all numbers here), how many
//! there are (4) and how many bytes (4), the first half of the SHA-256 of all that (16), the records, and zeros up to the
//! next block.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, remove_file};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::{digest, rand};

use crate::audit::Packed;

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
/// What a file begins with, and behind it its mark.
const MAGIC: &[u8; 8] = b"pcjrnl01";

/// The journal of the gate with that name.
pub(crate) fn path_of(database: &Path, gate: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(format!(".journal-{gate}"));
    PathBuf::from(name)
}

/// The gate whose journal of this database has that file name.
pub(super) fn gate_of<'a>(database: &Path, name: &'a str) -> Option<&'a str> {
    let database = database.file_name()?.to_str()?;
    name.strip_prefix(database)?.strip_prefix(".journal-")
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
    /// What was written and is not needed any more.
    stained: Vec<Span>,
    /// Where the next batch goes.
    next: usize,
    batch: Vec<u8>,
    aligned: Aligned,
}

impl Ring {
    /// Makes the file, in place of one that is not needed any more. Its blocks are written once, so that later none is new
    /// to the file system.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let ring = Self::lay_out(path);
        if ring.is_err() {
            // The disk may be full, and what cannot be used takes room.
            drop(remove_file(path));
        }
        ring
    }

    fn lay_out(path: &Path) -> Result<Self> {
        match remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = open(path)?;
        file.lock()?;
        let mut mark = [0; MARK_LEN];
        rand::fill(&mut mark).map_err(|_none| Error::other("the system gives no random bytes"))?;
        let mut ring = Self {
            file,
            path: path.to_owned(),
            mark,
            used: VecDeque::new(),
            stained: Vec::new(),
            next: 0,
            batch: Vec::new(),
            aligned: Aligned::new(),
        };
        ring.zero(Span {
            at: 0,
            blocks: BLOCKS,
        })?;
        ring.batch.extend_from_slice(MAGIC);
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
        rows: impl ExactSizeIterator<Item = &'a Packed>,
    ) -> Result<bool> {
        let count = rows.len();
        self.batch.clear();
        self.batch.resize(HEADER_LEN, 0);
        let mut last = first;
        for (nth, row) in rows.enumerate() {
            row.encode(&mut self.batch);
            last = first + nth as u64;
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
        while let Some((span, _)) = self.used.pop_front_if(|(_, last)| *last <= folded) {
            match self.stained.last_mut() {
                Some(before) if before.at + before.blocks == span.at => {
                    before.blocks += span.blocks;
                }
                Some(_) | None => self.stained.push(span),
            }
        }
    }

    /// Whether there is something in it that stands in the log already, or soon will.
    pub(super) fn is_stained(&self) -> bool {
        !(self.stained.is_empty() && self.used.is_empty())
    }

    /// Writes zeros over what is not needed any more.
    pub(super) fn wipe(&mut self) -> Result<()> {
        for span in std::mem::take(&mut self.stained) {
            // Some of it may be in use again.
            let mut at = span.at;
            while at < span.at + span.blocks {
                let holder = self
                    .used
                    .iter()
                    .find(|(used, _)| (used.at..used.at + used.blocks).contains(&at));
                if let Some((used, _)) = holder {
                    at = used.at + used.blocks;
                    continue;
                }
                let ends = self.used.iter().map(|(used, _)| used.at);
                let end = ends.filter(|end| *end > at).min().unwrap_or(BLOCKS);
                let end = end.min(span.at + span.blocks);
                self.zero(Span {
                    at,
                    blocks: end - at,
                })?;
                at = end;
            }
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file. What is in it is in the log: it is made unreadable first, so that a name which comes back after a
    /// crash is no harm.
    pub(super) fn remove(mut self) -> Result<()> {
        self.batch.clear();
        self.put(0)?;
        remove_file(&self.path)
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
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(flags)
            .open(path)
    };
    match with(libc::O_DSYNC | libc::O_DIRECT) {
        Err(error) if error.kind() == ErrorKind::InvalidInput => with(libc::O_DSYNC),
        opened => opened,
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
    file.strip_prefix(MAGIC)?.first_chunk().copied()
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

    fn numbers(path: &Path) -> Vec<u64> {
        let file = std::fs::read(path).unwrap();
        records(&file)
            .into_iter()
            .map(|(number, _)| number)
            .collect()
    }

    fn packed(length: usize) -> Packed {
        Packed::new(&AuditRow {
            arguments: Some("x".repeat(length)),
            ..row("a")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever is written, freed and wiped: what is not freed is there, and after wiping nothing else is.
        #[test]
        fn what_is_needed_stays(steps in prop::collection::vec((1_usize..40, 0_usize..6_000, 0_u64..40, 0_u8..8), 1..60)) {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("ring");
            let mut ring = Ring::create(&path).unwrap();
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
                    ring.wipe().unwrap();
                    let kept = numbers(&path);
                    // A batch is kept whole.
                    prop_assert!(kept.len() as u64 <= last - folded + 39, "{} of {folded}..{last}", kept.len());
                    prop_assert!(ring.used.is_empty() == kept.is_empty());
                }
            }
            ring.remove().unwrap();
            prop_assert!(!path.exists());
        }
    }

    #[test]
    fn a_batch_that_is_not_whole_is_none() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("ring");
        let mut ring = Ring::create(&path).unwrap();
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
        let mut ring = Ring::create(&path).unwrap();
        // Looks like a file of its own, and like a batch of another's at the beginning of a block.
        let mut forged = Vec::new();
        Packed::new(&row("forged")).encode(&mut forged);
        let front = front(&[0; MARK_LEN], 7, 1, forged.len());
        let batch = [front.as_slice(), &sum(&front, &forged), &forged].concat();
        ring.batch = batch;
        ring.put(1).unwrap();
        assert_eq!(numbers(&path), <[u64; 0]>::default());
    }
}
