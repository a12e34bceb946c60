//! Where the master key comes from: a file, a variable, a command; unless said, a file beside the database.
//!
//! A key is 32 random bytes, as they are or in base64. Whatever else is found is refused and never repeated.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use auth::{MASTER_KEY_LEN, MasterKey};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use zeroize::Zeroizing;

/// The file in the data folder.
pub const FILE: &str = "master.key";
/// Most that is read of a key, whatever it comes from.
const KEY_BYTES_MAX: usize = 1024;
/// How long the command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What the command sees of our environment.
const ENVIRONMENT: [&str; 9] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
];

/// Where the master key is. Can be printed: it is not the key.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// The file that is made at the first start.
    Own(PathBuf),
    /// A file of the operator's.
    File(PathBuf),
    /// An environment variable, in base64.
    Env {
        /// Its name.
        name: String,
        /// What it held when the config was read.
        value: Option<Zeroizing<String>>,
    },
    /// What a program writes to its stdout: one that asks a KMS. The program by its whole path, and its arguments.
    Command(Vec<String>),
}

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be read or made.
    #[error("the master key `{}` cannot be used", path.display())]
    File {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// Others could read it.
    #[error("the master key `{0}` can be read by others; run `chmod 600 {0}`", path.display())]
    Open {
        /// Where it is.
        path: PathBuf,
    },
    /// There is no such variable.
    #[error("the master key is to be in the environment variable `{name}`, which is not set")]
    Unset {
        /// Its name.
        name: String,
    },
    /// The command did not yield it.
    #[error("the command `{program}` gave no master key: {why}")]
    Command {
        /// Its program.
        program: String,
        /// What happened.
        why: String,
    },
    /// What is there is no key.
    #[error(
        "{what} is not a master key, which is {MASTER_KEY_LEN} random bytes, raw or in base64: {why}"
    )]
    NoKey {
        /// Where it came from.
        what: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(path) | Self::File(path) => write!(f, "the master key `{}`", path.display()),
            Self::Env { name, .. } => write!(f, "the master key in `${name}`"),
            Self::Command(words) => {
                let program = words.first().map(String::as_str).unwrap_or_default();
                write!(f, "the master key of the command `{program}`")
            }
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Source {
    /// The key that is there now. Waits for the command, up to ten seconds.
    ///
    /// # Errors
    /// If there is none, or it is none.
    pub fn key(&self) -> Result<MasterKey, SourceError> {
        let text = match self {
            Self::Own(path) | Self::File(path) => from_file(path)?,
            Self::Env { name, value } => match value {
                Some(value) => Zeroizing::new(value.as_bytes().to_vec()),
                None => return Err(SourceError::Unset { name: name.clone() }),
            },
            Self::Command(words) => from_command(words, COMMAND_TIMEOUT)?,
        };
        parse(&text).map_err(|why| SourceError::NoKey {
            what: self.to_string(),
            why,
        })
    }
}

/// The key that such a file held: it is in memory, and goes into none.
pub(super) fn of_file(bytes: &[u8], what: &str) -> Result<MasterKey, SourceError> {
    parse(bytes).map_err(|why| SourceError::NoKey {
        what: what.to_owned(),
        why,
    })
}

/// 32 raw bytes, or 43 or 44 characters of base64.
fn parse(text: &[u8]) -> Result<MasterKey, &'static str> {
    let mut key = Zeroizing::new([0_u8; MASTER_KEY_LEN]);
    if let Ok(raw) = <&[u8; MASTER_KEY_LEN]>::try_from(text) {
        // What can be typed has not a quarter of the bits, or is a passphrase.
        if raw.iter().all(u8::is_ascii_graphic) {
            return Err("these are characters, not random bytes");
        }
        key.copy_from_slice(raw);
    } else {
        let text = text.trim_ascii().trim_ascii_end();
        let text = text.strip_suffix(b"=").unwrap_or(text);
        let engine = if text.iter().any(|byte| matches!(byte, b'-' | b'_')) {
            URL_SAFE_NO_PAD
        } else {
            STANDARD_NO_PAD
        };
        // The decoder wants room for its estimate, which is more than what comes out.
        let mut room = Zeroizing::new([0_u8; MASTER_KEY_LEN + 3]);
        match engine.decode_slice(text, &mut *room) {
            Ok(MASTER_KEY_LEN) => key.copy_from_slice(&room[..MASTER_KEY_LEN]),
            Ok(_) | Err(_) => return Err("it has another length or form"),
        }
    }
    let [first, rest @ ..] = &*key;
    if rest.iter().all(|byte| byte == first) {
        return Err("it is a placeholder");
    }
    Ok(MasterKey::new(*key))
}

fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let failed = |cause| SourceError::File {
        path: path.to_owned(),
        cause,
    };
    let file = fs::File::open(path).map_err(failed)?;
    // Of what was opened, not of what is there by now.
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(SourceError::Open {
            path: path.to_owned(),
        });
    }
    let mut text = Zeroizing::new(vec![0; KEY_BYTES_MAX]);
    let length = fill(file, &mut text).map_err(failed)?;
    text.truncate(length);
    Ok(text)
}

/// Reads until the end or until the buffer is full, without a copy that would stay behind.
fn fill(mut from: impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(room) = buffer.get_mut(length..).filter(|room| !room.is_empty()) {
        match from.read(room) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// A child that is gone when this is, with all that it started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The group may be empty by now; then there is nothing to end.
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ended = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        drop(self.0.wait());
    }
}

pub(super) fn from_command(
    words: &[String],
    deadline: Duration,
) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let program = words.first().map(String::as_str).unwrap_or_default();
    let failed = |why: String| SourceError::Command {
        program: program.to_owned(),
        why,
    };
    let mut command = Command::new(program);
    command.args(words.iter().skip(1)).env_clear();
    command.envs(
        ENVIRONMENT
            .iter()
            .filter_map(|name| Some((*name, std::env::var_os(name)?))),
    );
    // What it says on stderr is for the operator, who sees ours.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0);
    let child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let mut running = Running(child);
    let stdout = running.0.stdout.take();
    let stdout = stdout.ok_or_else(|| failed("it has no stdout".to_owned()))?;
    read_within(&mut running.0, stdout, deadline).map_err(failed)
}

/// Looks again and again rather than waiting in a thread: a thread in `read` could not be ended.
fn read_within(
    child: &mut Child,
    mut stdout: ChildStdout,
    deadline: Duration,
) -> Result<Zeroizing<Vec<u8>>, String> {
    fcntl(&stdout, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|error| error.to_string())?;
    let mut text = Zeroizing::new(vec![0; KEY_BYTES_MAX + 1]);
    let (mut length, mut waited, mut is_read) = (0, Duration::ZERO, false);
    loop {
        let room = text.get_mut(length..).unwrap_or_default();
        if room.is_empty() {
            return Err("it writes more than 1 KiB".to_owned());
        }
        match stdout.read(room) {
            Ok(0) => is_read = true,
            Ok(more) => {
                length += more;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.to_string()),
        }
        if is_read && let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            if !status.success() {
                return Err(format!("it ended with {status}"));
            }
            text.truncate(length);
            return Ok(text);
        }
        if waited >= deadline {
            return Err(format!("it was not done within {deadline:?}"));
        }
        thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
}

/// Makes a file with a new key if there is none. Whole or not at all: it is written beside and linked into place.
pub(crate) fn make(path: &Path) -> Result<(), SourceError> {
    let mut key = Zeroizing::new([0; MASTER_KEY_LEN]);
    let no_random = || io::Error::other("the operating system gave no random bytes");
    let filled = SystemRandom::new().fill(&mut *key);
    filled
        .map_err(|_unspecified| no_random())
        .and_then(|()| write_new(path, &*key))
        .map_err(|cause| SourceError::File {
            path: path.to_owned(),
            cause,
        })
}

/// Puts what such a file held back, if there is none.
pub(crate) fn put(path: &Path, key: &[u8]) -> Result<(), SourceError> {
    write_new(path, key).map_err(|cause| SourceError::File {
        path: path.to_owned(),
        cause,
    })
}

fn write_new(path: &Path, key: &[u8]) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    // With a PostgreSQL for a database nobody has made it yet.
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let draft = path.with_extension(format!("key.{}", std::process::id()));
    let mut options = OpenOptions::new();
    let mut file = options
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&draft)?;
    let linked = file
        .write_all(key)
        .and_then(|()| file.sync_all())
        .and_then(|()| match fs::hard_link(&draft, path) {
            // Another process was first: its key is the one.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    fs::remove_file(&draft)?;
    linked
}
