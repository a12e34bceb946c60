//! A file of JSON lines, for its owner's eyes, put aside when it is large or old.
//!
//! A batch is in it as a whole or not at all: a write that fails is taken back, and what a crash left behind of a line is
//! cut off before the next one. A file that somebody else has moved away (logrotate) is begun anew.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, remove_file, rename};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use store::Recorded;

use super::format::Source;
use super::{FileSettings, SinkError};

/// How far back the beginning of a line is looked for that a crash cut off: no record is longer.
const TORN_MAX: u64 = 16 << 20;

/// The file, open or not.
#[derive(Debug)]
pub(super) struct JsonFile {
    settings: FileSettings,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    device: u64,
    inode: u64,
    begun: SystemTime,
}

impl JsonFile {
    pub(super) fn new(settings: FileSettings) -> Self {
        Self {
            settings,
            open: None,
        }
    }

    /// Appends a batch, and waits until it is on the disk. Blocks.
    pub(super) fn append(
        &mut self,
        records: &[Recorded],
        source: &Source,
        now: SystemTime,
    ) -> Result<(), SinkError> {
        let mut lines = String::new();
        for record in records {
            lines.push_str(&self.settings.format.value(record, source).to_string());
            lines.push('\n');
        }
        let appended = self.write(lines.as_bytes(), now);
        if appended.is_err() {
            // Whatever is wrong with it, the next try begins with a new look at it.
            self.open = None;
        }
        appended
    }

    fn write(&mut self, lines: &[u8], now: SystemTime) -> Result<(), SinkError> {
        self.look()?;
        if self.is_full(lines.len() as u64, now)? {
            self.put_aside()?;
            self.look()?;
        }
        let path = &self.settings.path;
        let open = self.open.as_mut().ok_or(SinkError::Interrupted)?;
        let before = about(&open.file, path)?.len();
        let written = open
            .file
            .write_all(lines)
            .and_then(|()| open.file.sync_data());
        written.map_err(|cause| {
            // If not even that can be done, the end is cut off when it is opened again.
            drop(open.file.set_len(before));
            failed("write to", path)(cause)
        })
    }

    /// Opens the file unless it is open, and still the one that has its name.
    fn look(&mut self) -> Result<(), SinkError> {
        let path = &self.settings.path;
        if let Some(open) = &self.open {
            match std::fs::metadata(path) {
                Ok(there) if (there.dev(), there.ino()) == (open.device, open.inode) => {
                    return Ok(());
                }
                Ok(_another) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failed("look at", path)(error)),
            }
        }
        if let Some(folder) = folder(path) {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(folder);
            made.map_err(failed("make the folder of", path))?;
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(path).map_err(failed("open", path))?;
        mend(&mut file).map_err(failed("mend the end of", path))?;
        sync_folder(path)?;
        let about = about(&file, path)?;
        let begun = about.created().or_else(|_unknown| about.modified());
        self.open = Some(Open {
            file,
            device: about.dev(),
            inode: about.ino(),
            begun: begun.map_err(failed("look at", path))?,
        });
        Ok(())
    }

    fn is_full(&self, more: u64, now: SystemTime) -> Result<bool, SinkError> {
        let Some(open) = &self.open else {
            return Ok(false);
        };
        let length = about(&open.file, &self.settings.path)?.len();
        let age = now.duration_since(open.begun).unwrap_or_default();
        let is_old = self.settings.age_max.is_some_and(|most| age >= most);
        Ok(length > 0 && (is_old || length.saturating_add(more) > self.settings.size_max))
    }

    /// `audit.jsonl` becomes `audit.jsonl.1`, what was that `.2`, and the oldest goes.
    fn put_aside(&mut self) -> Result<(), SinkError> {
        self.open = None;
        let FileSettings { path, keep, .. } = &self.settings;
        let aside = |number: u32| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        let there = |done: std::io::Result<()>, doing| match done {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(doing, path)(error)),
            Ok(()) | Err(_) => Ok(()),
        };
        if *keep == 0 {
            there(remove_file(path), "remove")?;
        } else {
            there(remove_file(aside(*keep)), "remove the oldest of")?;
            for number in (1..*keep).rev() {
                there(rename(aside(number), aside(number + 1)), "put aside")?;
            }
            there(rename(path, aside(1)), "put aside")?;
        }
        sync_folder(path)
    }
}

/// Cuts off a line that has no end: its record is written again, for nobody was told that it is there.
fn mend(file: &mut File) -> std::io::Result<()> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TORN_MAX);
    let mut last = [0];
    if length == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(());
    }
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(TORN_MAX).read_to_end(&mut tail)?;
    let whole = tail
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    file.set_len(from + whole as u64)?;
    file.sync_data()
}

/// So that the names are on the disk, too.
fn sync_folder(path: &Path) -> Result<(), SinkError> {
    let folder = folder(path).unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed("keep the name of", path))
}

fn folder(path: &Path) -> Option<&Path> {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
}

fn about(file: &File, path: &Path) -> Result<Metadata, SinkError> {
    file.metadata().map_err(failed("look at", path))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SinkError {
    let path = path.to_owned();
    move |cause| SinkError::File { doing, path, cause }
}

#[cfg(test)]
mod tests;
