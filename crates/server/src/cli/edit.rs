//! Changing files that belong to somebody else: a backup first, then all of it at once.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Most backups of one file.
const BACKUPS_MAX: u32 = 1000;

/// Copies a file to `NAME.bak`, `NAME.bak.2`, … whichever is free.
pub(super) fn back_up(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let candidates = (1..=BACKUPS_MAX).map(|nth| match nth {
        1 => path.with_file_name(format!("{name}.bak")),
        nth => path.with_file_name(format!("{name}.bak.{nth}")),
    });
    for backup in candidates {
        // Taken by creating it, so that two of us never write the same one.
        match fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&backup)
        {
            Ok(_) => {
                fs::copy(path, &backup)?;
                return Ok(backup);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!(
        "there are {BACKUPS_MAX} backups of it already"
    )))
}

/// Replaces a file's text, or creates it for this user alone; its folder too. Nobody ever reads half of it.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A link stays one: what it points to is what changes.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let draft = folder.join(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
    let written = (|| {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft)?;
        file.write_all(text.as_bytes())?;
        if let Ok(before) = fs::metadata(&path) {
            file.set_permissions(before.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&draft, &path)
    })();
    if written.is_err() {
        let removed = fs::remove_file(&draft);
        drop(removed);
    }
    written
}

/// What changed, with a little of what stands around it. One run of lines is enough for edits like ours.
pub(super) fn diff(before: &str, after: &str) -> String {
    const AROUND: usize = 2;
    let (before, after): (Vec<&str>, Vec<&str>) =
        (before.lines().collect(), after.lines().collect());
    let head = before
        .iter()
        .zip(&after)
        .take_while(|(one, other)| one == other)
        .count();
    let shorter = before.len().min(after.len()) - head;
    let tail = before
        .iter()
        .rev()
        .zip(after.iter().rev())
        .take(shorter)
        .take_while(|(one, other)| one == other)
        .count();
    let (removed_to, added_to) = (before.len() - tail, after.len() - tail);
    let runs = [
        (" ", &after[head.saturating_sub(AROUND)..head]),
        ("-", &before[head..removed_to]),
        ("+", &after[head..added_to]),
        (" ", &after[added_to..(added_to + AROUND).min(after.len())]),
    ];
    let marked = |(mark, lines): (&str, &[&str])| {
        lines
            .iter()
            .map(|line| format!("{mark} {line}\n"))
            .collect::<String>()
    };
    runs.into_iter().map(marked).collect()
}
