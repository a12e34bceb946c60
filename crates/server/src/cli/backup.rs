//! `portcullis backup create|verify|restore`: all that the gate keeps, in one file that only its passphrase opens.
//!
//! What stands in the database goes out and in as `store` does it, whichever kind of database it is; the file is sealed as
//! `auth::sealed_file` does it. In front stands one line that says what it is, and has the master key if that is a file of
//! ours: without it, what is sealed in the database cannot be opened again.

mod scratch;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use auth::sealed_file::{Opener, Sealer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use observe::{Checkpoint, CheckpointVerifier, Expected, Verified};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Contents, Location, Store};
use zeroize::Zeroizing;

use self::scratch::Scratch;
use super::record::Act;
use super::{Common, Exit, existing, now, output, terminal};
use crate::audit;
use crate::config::Loaded;
use crate::vault::{self, Source};

/// What the first line calls it.
const KIND: &str = "portcullis backup 1";
/// Longest first line that is read.
const HEAD_BYTES_MAX: u64 = 64 * 1024;
/// Longest passphrase that is read.
const PASSPHRASE_BYTES_MAX: u64 = 4096;
/// What is asked at a terminal.
const QUESTION: &str = "passphrase (not shown): ";
const QUESTION_AGAIN: &str = "the same passphrase again (not shown): ";

/// `portcullis backup`.
#[derive(Debug, Clone, Subcommand)]
pub enum BackupCommand {
    /// Write all that the gate keeps into a file. Gates may go on working.
    #[command(
        after_help = "Examples:\n  portcullis backup create monday.backup --passphrase-file phrase.txt\n  \
                            pass show gate | portcullis backup create monday.backup --passphrase-file -\n\n\
                            The config is not in it, nor are files that it names: keep those where you keep your code."
    )]
    Create {
        /// A file that there is not yet.
        file: PathBuf,
        /// How it is sealed.
        #[command(flatten)]
        passphrase: Passphrase,
        /// Leave the master key out: whoever restores must have it from elsewhere.
        #[arg(long)]
        without_master_key: bool,
    },
    /// Try a backup: restore it into a place that is thrown away, and check the audit log in it.
    #[command(
        after_help = "Example:\n  portcullis backup verify monday.backup --passphrase-file phrase.txt"
    )]
    Verify {
        /// The backup.
        file: PathBuf,
        /// How it was sealed.
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// Fill an empty database with what is in a backup. No gate may be running on it.
    #[command(
        after_help = "Examples:\n  portcullis backup restore monday.backup --passphrase-file phrase.txt\n  \
                            PORTCULLIS__DATA_DIR=/srv/gate portcullis backup restore monday.backup --passphrase-file phrase.txt\n\n\
                            A backup of an SQLite file can be restored into a PostgreSQL, and the other way round."
    )]
    Restore {
        /// The backup.
        file: PathBuf,
        /// How it was sealed.
        #[command(flatten)]
        passphrase: Passphrase,
    },
}

/// What seals and opens the file.
#[derive(Debug, Clone, Args)]
pub struct Passphrase {
    /// A file whose first line is the passphrase, 12 characters or more; `-` is standard input, where nothing is shown of what is typed.
    #[arg(id = "passphrase_file", long = "passphrase-file", value_name = "FILE")]
    file: PathBuf,
}

/// The first line of what is sealed.
#[derive(Serialize, Deserialize)]
struct Head {
    kind: String,
    /// Of the program that wrote it.
    version: String,
    /// When, RFC 3339.
    at: String,
    /// The audit log's verifier key and its newest checkpoint.
    log: String,
    checkpoint: Option<String>,
    /// The file with the master key, base64.
    master_key: Option<Zeroizing<String>>,
    /// Where it was.
    master_key_source: String,
}

/// `portcullis backup`.
///
/// # Errors
/// If the database or the file cannot be used, or the file is damaged.
pub(super) fn backup(common: &Common, command: &BackupCommand) -> anyhow::Result<Exit> {
    match command {
        BackupCommand::Create {
            file,
            passphrase,
            without_master_key,
        } => create(common, file, &passphrase.read_new()?, *without_master_key),
        BackupCommand::Verify { file, passphrase } => verify(common, file, &passphrase.read()?),
        BackupCommand::Restore { file, passphrase } => restore(common, file, &passphrase.read()?),
    }
}

impl Passphrase {
    /// The passphrase, without the newline at its end. What is typed at a terminal is not shown.
    fn read(&self) -> anyhow::Result<Zeroizing<String>> {
        self.read_by(|from| terminal::typed(from, QUESTION))
    }

    /// One that nothing was sealed with yet: of a slip at a terminal nobody would know before the backup is needed.
    fn read_new(&self) -> anyhow::Result<Zeroizing<String>> {
        self.read_by(|from| terminal::typed_twice(from, QUESTION, QUESTION_AGAIN))
    }

    fn read_by(
        &self,
        typed: impl FnOnce(&File) -> io::Result<Option<Zeroizing<Vec<u8>>>>,
    ) -> anyhow::Result<Zeroizing<String>> {
        let from = if self.file.as_os_str() == "-" {
            terminal::stdin()?
        } else {
            let opened = File::open(&self.file);
            opened.with_context(|| format!("cannot read `{}`", self.file.display()))?
        };
        let mut text = Zeroizing::new(String::new());
        if let Some(typed) = typed(&from).context("the passphrase cannot be read")? {
            text.push_str(std::str::from_utf8(&typed).context("a passphrase is text")?);
        } else {
            BufReader::new(from.take(PASSPHRASE_BYTES_MAX))
                .read_line(&mut text)
                .context("the passphrase cannot be read")?;
        }
        while text.ends_with(['\n', '\r']) {
            text.pop();
        }
        ensure!(
            !text.is_empty(),
            "there is no passphrase in `{}`",
            self.file.display()
        );
        Ok(text)
    }
}

fn create(
    common: &Common,
    file: &Path,
    passphrase: &str,
    without_master_key: bool,
) -> anyhow::Result<Exit> {
    let loaded = common.load_settings()?;
    let draft = Draft::new(file)?;
    let (head, contents) = runtime()?.block_on(async {
        let store = existing(&loaded)?;
        let done = write(&store, &loaded, &draft, passphrase, without_master_key).await;
        store.close().await;
        done
    })?;
    draft.keep()?;
    let size = fs::metadata(file)?.len();
    if common.json {
        output::json(&json!({
            "file": file, "bytes": size, "rows": contents.rows(), "schema": contents.schema,
            "has_master_key": head.master_key.is_some(),
        }))?;
    }
    output::say(format!(
        "{} rows, {size} bytes: {}",
        contents.rows(),
        file.display()
    ));
    if head.master_key.is_none() {
        output::say(format!(
            "{} is not in it: without it nothing that is sealed can be opened again",
            head.master_key_source
        ));
    }
    output::say(format!(
        "try it: portcullis backup verify {} --passphrase-file …",
        file.display()
    ));
    Ok(Exit::Done)
}

async fn write(
    store: &Store,
    loaded: &Loaded,
    draft: &Draft,
    passphrase: &str,
    without_master_key: bool,
) -> anyhow::Result<(Head, Contents)> {
    // Before the copy is made: the copy has it.
    let act = Act::begin(store, "admin/backup.create").await?;
    act.end("", &Ok(Exit::Done)).await?;
    let vault = vault::open(store, &loaded.master_key, now())?;
    let key = audit::key(store, &vault, now()).await?;
    let size = audit::sign(store, &key, now()).await?;
    let newest = store.audit_checkpoints(size.saturating_sub(1), size)?.pop();
    let master_key = match &loaded.master_key {
        Source::Own(path) if !without_master_key => {
            let bytes = Zeroizing::new(
                fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?,
            );
            Some(Zeroizing::new(STANDARD.encode(&*bytes)))
        }
        Source::Own(_) | Source::File(_) | Source::Env { .. } | Source::Command(_) => None,
    };
    let head = Head {
        kind: KIND.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: Timestamp::try_from(now())?.to_string(),
        log: key.verifier().to_string(),
        checkpoint: newest.map(|(_, note)| note),
        master_key,
        master_key_source: loaded.master_key.to_string(),
    };
    let mut sealer = Sealer::new(BufWriter::new(&draft.file), passphrase)?;
    let mut line = Zeroizing::new(serde_json::to_vec(&head)?);
    line.push(b'\n');
    sealer.write_all(&line)?;
    // Rows are small, and the sealer takes what it gets.
    let mut rows = BufWriter::new(sealer);
    let contents = store.dump(&mut rows)?;
    let sealer = rows.into_inner().map_err(io::IntoInnerError::into_error)?;
    sealer.finish()?;
    Ok((head, contents))
}

fn verify(common: &Common, file: &Path, passphrase: &str) -> anyhow::Result<Exit> {
    let folder = Scratch::new()?;
    let place = Location::File(folder.path().join("tried.db"));
    let (head, contents) = unpack(file, passphrase, &place)?;
    let mut store = Store::open(&place)?;
    let log = check_log(&mut store, &head, folder.path())?;
    if let Some(text) = &head.master_key {
        vault::try_key(&store, &key_of(text)?)
            .context("the master key in it does not open what is sealed in it")?;
    }
    runtime()?.block_on(store.close());
    tell(common, &head, &contents, &log)?;
    output::say("it can be restored");
    Ok(Exit::Done)
}

fn restore(common: &Common, file: &Path, passphrase: &str) -> anyhow::Result<Exit> {
    let loaded = common.load_settings()?;
    // Tried first, whole: a backup that is damaged at its end must not leave half of it behind.
    let folder = Scratch::new()?;
    let place = Location::File(folder.path().join("tried.db"));
    let (head, _) = unpack(file, passphrase, &place)?;
    let mut tried = Store::open(&place)?;
    let log = check_log(&mut tried, &head, folder.path())?;
    runtime()?.block_on(tried.close());

    let own = match (&loaded.master_key, &head.master_key) {
        (Source::Own(path), Some(text)) => Some((path, text)),
        _ => None,
    };
    if let Some((path, text)) = own
        && path.exists()
    {
        let there = Zeroizing::new(STANDARD.encode(Zeroizing::new(fs::read(path)?)));
        ensure!(
            *there == **text,
            "there is another master key at `{}`: move it away, or restore into another folder",
            path.display()
        );
    }
    let (_, contents) = unpack(file, passphrase, &loaded.database())
        .context("nothing was restored; use an empty database, for instance another `data_dir`")?;
    if let Some((path, text)) = own {
        put_key(path, text)?;
    }
    let opened = runtime()?.block_on(async {
        let store = Store::open(loaded.database())?;
        let opened = vault::open_sealed(&store, &loaded.master_key);
        let act = Act::begin(&store, "admin/backup.restore").await?;
        act.end(&head.at, &Ok(Exit::Done)).await?;
        store.close().await;
        anyhow::Ok(opened.map(drop))
    })?;
    tell(common, &head, &contents, &log)?;
    match opened {
        Ok(()) => output::say("restored; start the gate"),
        Err(error) => {
            output::say(format!(
                "restored, but what is sealed cannot be opened yet: {:#}",
                anyhow::Error::new(error)
            ));
            output::say(format!("it was sealed under {}", head.master_key_source));
            return Ok(Exit::Failed);
        }
    }
    Ok(Exit::Done)
}

/// Opens the file and fills an empty database with it.
fn unpack(file: &Path, passphrase: &str, place: &Location) -> anyhow::Result<(Head, Contents)> {
    let opened = File::open(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let named = || format!("`{}`", file.display());
    let opener = Opener::new(BufReader::new(opened), passphrase).with_context(named)?;
    let mut rows = BufReader::new(opener);
    let mut line = Zeroizing::new(Vec::new());
    let mut first = Read::take(&mut rows, HEAD_BYTES_MAX);
    first.read_until(b'\n', &mut line).with_context(named)?;
    let head: Head = serde_json::from_slice(&line)
        .context("this is a sealed file, but no backup of a version that is known here")?;
    ensure!(
        head.kind == KIND,
        "it is a `{}`, and this version reads `{KIND}`",
        head.kind
    );
    let contents = Store::restore(place, &mut rows).with_context(named)?;
    // To its end, where it proves that nothing is missing.
    let mut rest = [0];
    let more = rows.read(&mut rest).with_context(named)?;
    ensure!(more == 0, "something stands behind the last row");
    Ok((head, contents))
}

/// Checks the audit log of a restored database with the key that the backup names.
fn check_log(store: &mut Store, head: &Head, folder: &Path) -> anyhow::Result<Verified> {
    let verifier: CheckpointVerifier = head.log.parse()?;
    let known = head.checkpoint.as_deref();
    let known = known
        .map(|note| Checkpoint::open(note, &verifier))
        .transpose()?;
    let path = folder.join("log.jsonl");
    let mut out = BufWriter::new(File::create(&path)?);
    observe::export(
        store,
        verifier.name(),
        store.audit_first()?,
        u64::MAX,
        &mut out,
    )?;
    drop(out.into_inner().map_err(io::IntoInnerError::into_error)?);
    let mut read = BufReader::new(File::open(&path)?);
    // What came after the last checkpoint at the moment of copying is under the passphrase's seal. A log with erased records
    // that nothing explains is still worth more than none.
    let expected = Expected {
        known: known.as_ref(),
        unsigned: true,
        unexplained: true,
        ..Expected::default()
    };
    observe::verify(&mut read, &verifier, expected)
        .map_err(|tampered| anyhow::anyhow!("{tampered}"))
        .context("the audit log in it does not hold")
}

fn tell(common: &Common, head: &Head, contents: &Contents, log: &Verified) -> anyhow::Result<()> {
    if common.json {
        output::json(&json!({
            "at": head.at, "version": head.version, "rows": contents.rows(), "schema": contents.schema,
            "has_master_key": head.master_key.is_some(), "log": log.log,
            "records": log.to - log.from, "records_unsigned": log.unsigned, "records_erased": log.erased.count(),
        }))?;
    }
    output::say(format!(
        "of {}, {} rows; its audit log holds, {} records, {} after the last checkpoint",
        head.at,
        contents.rows(),
        log.to - log.from,
        log.unsigned
    ));
    if head.master_key.is_none() {
        output::say(format!(
            "the master key is not in it: {}",
            head.master_key_source
        ));
    }
    Ok(())
}

fn put_key(path: &Path, text: &str) -> anyhow::Result<()> {
    Ok(vault::put(path, &key_of(text)?)?)
}

fn key_of(text: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let key = STANDARD.decode(text).context("no master key is in it")?;
    Ok(Zeroizing::new(key))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// A file that is there once it is whole.
struct Draft {
    file: File,
    path: PathBuf,
    to: PathBuf,
}

impl Draft {
    fn new(to: &Path) -> anyhow::Result<Self> {
        ensure!(
            !to.exists(),
            "`{}` is there already; nothing is overwritten",
            to.display()
        );
        let mut name = to.file_name().context("no file is named")?.to_owned();
        name.push(format!(".{}", std::process::id()));
        let path = to.with_file_name(name);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot create `{}`", path.display()))?;
        Ok(Self {
            file,
            path,
            to: to.to_owned(),
        })
    }

    fn keep(self) -> anyhow::Result<()> {
        self.file.sync_all()?;
        // Not over another that came meanwhile.
        fs::hard_link(&self.path, &self.to)
            .with_context(|| format!("cannot create `{}`", self.to.display()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}
