//! `write`: one text file, as a whole or at its end.
//!
//! A new or replaced file is first written beside its place under a name nobody uses, and then put there in
//! one step: a reader sees the old one or the new one, never a half.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::reply::Failure;
use super::root::{Place, Roots};

const CONTENT_BYTES_MAX: usize = 1 << 20;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Write {
    /// The file: a root's name, then the path inside it, such as `docs/guide/start.md`. Its folder must exist.
    path: String,
    /// The text, at most 1 MiB.
    content: String,
    /// What to do; `create` unless said.
    #[serde(default)]
    mode: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum How {
    /// Write a new file; fails if there is one.
    #[default]
    Create,
    /// Write the file, over the old one if there is one.
    Overwrite,
    /// Write after the end of a file that exists.
    Append,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Written {
    path: String,
    /// How many bytes were written.
    bytes: usize,
}

pub(super) fn write(roots: &Roots, ask: &Write) -> Result<Written, Failure> {
    if ask.content.len() > CONTENT_BYTES_MAX {
        return Err(Failure::new(format!(
            "`content` has more than {CONTENT_BYTES_MAX} bytes. Write the first part, then `append` the rest."
        )));
    }
    let place = roots.find(&ask.path)?;
    match ask.mode {
        How::Append => append(&place, &ask.content)?,
        How::Create | How::Overwrite => replace(&place, &ask.content, ask.mode)?,
    }
    Ok(Written {
        path: ask.path.clone(),
        bytes: ask.content.len(),
    })
}

fn append(place: &Place<'_>, content: &str) -> Result<(), Failure> {
    let (mut file, _) = place.open_file(OFlag::O_WRONLY | OFlag::O_APPEND)?;
    file.write_all(content.as_bytes())
        .and_then(|()| file.sync_data())
        .map_err(|error| place.broken(&error))
}

fn replace(place: &Place<'_>, content: &str, how: How) -> Result<(), Failure> {
    let (beside, name) = place.split()?;
    let folder = beside.open(OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let mode = match fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => None,
        Err(errno) => return Err(place.failure(errno)),
        Ok(_) if how == How::Create => return Err(place.failure(Errno::EEXIST)),
        Ok(old) => match SFlag::from_bits_truncate(old.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Some(old.st_mode & 0o777),
            SFlag::S_IFDIR => return Err(place.failure(Errno::EISDIR)),
            // Putting a file where a link is would cut the link; writing through it could surprise as much.
            _ => {
                return Err(Failure(format!(
                    "`{}` is a link or special file; write to a file.",
                    place.quote()
                )));
            }
        },
    };
    let draft = format!(".{}.draft", Uuid::new_v4().simple());
    let put = put(&folder, &draft, content, mode).and_then(|()| match how {
        // A hard link fails when the name is taken; a rename would not.
        How::Create => linkat(&folder, draft.as_str(), &folder, name, AtFlags::empty()),
        How::Overwrite | How::Append => renameat(&folder, draft.as_str(), &folder, name),
    });
    // After a rename there is no draft any more; the draft of a new file has its own name now as well.
    let cleared = match unlinkat(&folder, draft.as_str(), UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    };
    put.and(cleared).map_err(|errno| place.failure(errno))
}

/// Writes the draft and sees it to the disk.
fn put(folder: &OwnedFd, draft: &str, content: &str, mode: Option<u32>) -> Result<(), Errno> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(
        folder,
        draft,
        flags,
        Mode::from_bits_truncate(0o644),
    )?);
    let mut written = || -> io::Result<()> {
        file.write_all(content.as_bytes())?;
        if let Some(mode) = mode {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        file.sync_all()
    };
    written().map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}
