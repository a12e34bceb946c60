//! The folders that may be touched, and the one way into them.
//!
//! A path is resolved by the kernel, from the root's own descriptor, with orders not to leave it: `..`,
//! absolute paths and links that lead outside fail there (`openat2`, Linux 5.6). We compare no strings, and
//! between check and use there is no gap, because they are one system call.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use super::super::Error;
use super::super::reply::Failure;

/// How often an open is tried again because somebody renamed a folder on the way.
const TRIES_MAX: usize = 8;
/// Most characters of a path that are quoted back.
const QUOTE_CHARS_MAX: usize = 200;

#[derive(Debug)]
pub(super) struct Roots(Vec<Root>);

#[derive(Debug)]
struct Root {
    name: String,
    folder: OwnedFd,
}

/// A path somebody asked for: which root, and what inside it. Not yet known to exist.
#[derive(Debug)]
pub(super) struct Place<'a> {
    root: &'a Root,
    inside: &'a str,
    whole: &'a str,
}

impl Roots {
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut roots: Vec<Root> = Vec::new();
        for path in paths {
            let failed = |source| Error::Root {
                path: path.clone(),
                source,
            };
            // The operator's own path: links in it are the operator's.
            let real = path.canonicalize().map_err(failed)?;
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let folder = open(&real, flags, Mode::empty())
                .map_err(|errno| failed(io::Error::from(errno)))?;
            let name = free_name(&roots, &real);
            roots.push(Root { name, folder });
        }
        Ok(Self(roots))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|root| root.name.as_str())
    }

    /// Which root a path names.
    pub(super) fn find<'a>(&'a self, path: &'a str) -> Result<Place<'a>, Failure> {
        let (name, inside) = path.split_once('/').unwrap_or((path, ""));
        let inside = if inside.is_empty() { "." } else { inside };
        match self.0.iter().find(|root| root.name == name) {
            Some(root) => Ok(Place {
                root,
                inside,
                whole: path,
            }),
            None => {
                let names: Vec<String> = self.names().map(|name| format!("`{name}`")).collect();
                Err(Failure(format!(
                    "`{}` does not begin with the name of a root. The roots are {}; write `root/path/inside`.",
                    quote(path),
                    names.join(", ")
                )))
            }
        }
    }
}

impl<'a> Place<'a> {
    /// Opens what is there, if it lies inside the root.
    pub(super) fn open(&self, flags: OFlag) -> Result<OwnedFd, Failure> {
        // Nothing here may wait for a pipe's other end, nor make a terminal ours.
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let flags = if flags.contains(OFlag::O_PATH) {
            flags - OFlag::O_NONBLOCK - OFlag::O_NOCTTY
        } else {
            flags
        };
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let mut tries = 0;
        loop {
            tries += 1;
            match openat2(&self.root.folder, self.inside, how) {
                Ok(opened) => return Ok(opened),
                Err(Errno::EAGAIN | Errno::EINTR) if tries < TRIES_MAX => {}
                Err(errno) => return Err(self.failure(errno)),
            }
        }
    }

    /// Opens a regular file. Anything else is refused before a byte is read or written.
    pub(super) fn open_file(&self, flags: OFlag) -> Result<(File, Metadata), Failure> {
        let file = File::from(self.open(flags)?);
        let facts = file.metadata().map_err(|error| self.broken(&error))?;
        if facts.is_dir() {
            return Err(Failure(format!(
                "`{}` is a folder. Use `list` to see what is in it.",
                self.quote()
            )));
        }
        if !facts.is_file() {
            return Err(self.special());
        }
        Ok((file, facts))
    }

    /// The folder this lies in, and its name there.
    pub(super) fn split(&self) -> Result<(Self, &'a str), Failure> {
        let (folder, name) = match self.inside.rsplit_once('/') {
            // With nothing before the last `/` the path would be absolute, which the kernel refuses.
            Some(("", name)) => ("/", name),
            Some((folder, name)) => (folder, name),
            None => (".", self.inside),
        };
        if matches!(name, "" | "." | "..") {
            return Err(Failure(format!(
                "`{}` does not end in the name of a file.",
                self.quote()
            )));
        }
        Ok((
            Self {
                root: self.root,
                inside: folder,
                whole: self.whole,
            },
            name,
        ))
    }

    pub(super) fn quote(&self) -> String {
        quote(self.whole)
    }

    pub(super) fn special(&self) -> Failure {
        Failure(format!(
            "`{}` is a device, pipe or socket, which these tools do not touch.",
            self.quote()
        ))
    }

    pub(super) fn broken(&self, error: &io::Error) -> Failure {
        match error.raw_os_error() {
            Some(errno) => self.failure(Errno::from_raw(errno)),
            None => Failure(format!(
                "`{}` could not be read or written to the end. Try again.",
                self.quote()
            )),
        }
    }

    pub(super) fn failure(&self, errno: Errno) -> Failure {
        let path = self.quote();
        Failure(match errno {
            Errno::ENOENT => {
                format!("There is no `{path}`. Use `list` or `search` to find the right path.")
            }
            Errno::ENOTDIR => {
                format!("`{path}` is not a folder, or goes through something that is none.")
            }
            Errno::EISDIR => format!("`{path}` is a folder. Use `list` to see what is in it."),
            Errno::EXDEV => {
                format!(
                    "`{path}` leads out of its root, by `..`, `/` or a link. Stay inside the roots."
                )
            }
            Errno::ELOOP => format!("`{path}` goes through links that may not be followed."),
            Errno::EACCES | Errno::EPERM | Errno::EROFS => {
                format!("The gateway has no permission for `{path}`. Ask its operator.")
            }
            Errno::EEXIST => {
                format!("`{path}` exists. Use the mode `overwrite` or `append`, or another name.")
            }
            Errno::ENXIO => return self.special(),
            Errno::ENAMETOOLONG | Errno::EINVAL => {
                format!("`{path}` is no path that this system can have.")
            }
            Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG => {
                format!("There is no room to write `{path}`.")
            }
            _ => format!(
                "`{path}` could not be opened just now. Try again, or ask the gateway's operator."
            ),
        })
    }
}

fn free_name(taken: &[Root], path: &Path) -> String {
    let base = path
        .file_name()
        .map_or_else(|| "root".into(), |name| name.to_string_lossy());
    let mut name = base.to_string();
    let mut number = 1;
    while taken.iter().any(|root| root.name == name) {
        number += 1;
        name = format!("{base}-{number}");
    }
    name
}

fn quote(path: &str) -> String {
    path.chars().take(QUOTE_CHARS_MAX).collect()
}
