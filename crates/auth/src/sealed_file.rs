//! Files that only who knows their passphrase can read: backups.
//!
//! The passphrase becomes a key by Argon2id (RFC 9106), with parameters that stand in the file; the rest is cut into
//! pieces which AES-256-GCM seals one by one, in the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015): the
//! nonce counts the pieces and says which is the last, so that none can be left out, moved or taken from the end.
//!
//! ```text
//! magic (24) · memory KiB (4) · passes (4) · lanes (4) · salt (16) · nonce prefix (7)
//! then for each piece of up to 64 KiB: length of what follows (4) · ciphertext and tag (n + 16)
//! ```
//!
//! Numbers are big-endian. What stands in front of the pieces is authenticated with each of them.

use std::fmt;
use std::io::{self, Read, Write};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

/// What such a file begins with.
pub const MAGIC: &[u8; 24] = b"portcullis sealed file 1";
/// Fewest characters of a passphrase.
pub const PASSPHRASE_CHARS_MIN: usize = 12;

/// Bytes of a whole piece before it is sealed.
const PIECE_LEN: usize = 64 * 1024;
const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;
const SALT_LEN: usize = 16;
const PREFIX_LEN: usize = 7;
const HEAD_LEN: usize = MAGIC.len() + 3 * 4 + SALT_LEN + PREFIX_LEN;
/// Of Argon2id: the second of the recommended options (RFC 9106 section 4).
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// Most that a file may ask of who opens it.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

/// Why a file cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealedFileError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is something else, or of another version.
    #[error("this is no sealed file of this version")]
    Strange,
    /// It asks for more memory or time than a key may cost.
    #[error("its key would cost more than is allowed")]
    Costly,
    /// Another passphrase, or it was changed.
    #[error("it cannot be opened: another passphrase, or the file was changed or cut off")]
    Closed,
    /// Too easy to guess.
    #[error("a passphrase has at least {PASSPHRASE_CHARS_MIN} characters")]
    Short,
    /// The system gives no random bytes, or no memory.
    #[error("no key can be made")]
    NoKey,
}

/// Seals what is written to it. What was not [finished](Self::finish) cannot be opened.
pub struct Sealer<W> {
    stream: Stream,
    piece: Zeroizing<Vec<u8>>,
    into: W,
}

/// Opens what is read from it: each piece is given out once it has proved to be the next one, so that nothing forged is
/// read, but what was read is whole only if reading ended without an error.
pub struct Opener<R> {
    stream: Stream,
    piece: Zeroizing<Vec<u8>>,
    /// How much of the piece was read.
    at: usize,
    is_over: bool,
    from: R,
}

struct Stream {
    key: LessSafeKey,
    head: [u8; HEAD_LEN],
    prefix: [u8; PREFIX_LEN],
    pieces: u32,
}

impl<W: Write> Sealer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// If the passphrase is short, or the file cannot be written.
    pub fn new(mut into: W, passphrase: &str) -> Result<Self, SealedFileError> {
        if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
            return Err(SealedFileError::Short);
        }
        let (mut salt, mut prefix) = ([0; SALT_LEN], [0; PREFIX_LEN]);
        rand::fill(&mut salt).map_err(|_unspecified| SealedFileError::NoKey)?;
        rand::fill(&mut prefix).map_err(|_unspecified| SealedFileError::NoKey)?;
        let mut head = Vec::with_capacity(HEAD_LEN);
        head.extend_from_slice(MAGIC);
        for cost in [MEMORY_KIB, PASSES, LANES] {
            head.extend_from_slice(&cost.to_be_bytes());
        }
        head.extend_from_slice(&salt);
        head.extend_from_slice(&prefix);
        let head = head.try_into().map_err(|_long| SealedFileError::Strange)?;
        let stream = Stream::new(head, passphrase)?;
        into.write_all(&stream.head)?;
        Ok(Self {
            stream,
            piece: Zeroizing::new(Vec::with_capacity(PIECE_LEN)),
            into,
        })
    }

    /// Writes what is left, and says that this is all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> Result<W, SealedFileError> {
        self.seal(true)?;
        self.into.flush()?;
        Ok(self.into)
    }

    fn seal(&mut self, is_last: bool) -> Result<(), SealedFileError> {
        let (nonce, aad) = self.stream.next(is_last)?;
        let mut sealed = std::mem::take(&mut *self.piece);
        let done = self
            .stream
            .key
            .seal_in_place_append_tag(nonce, aad, &mut sealed);
        done.map_err(|_unspecified| SealedFileError::NoKey)?;
        let length = u32::try_from(sealed.len()).map_err(|_long| SealedFileError::Strange)?;
        self.into.write_all(&length.to_be_bytes())?;
        self.into.write_all(&sealed)?;
        sealed.clear();
        *self.piece = sealed;
        Ok(())
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Not when it gets full: the last piece must not be empty because the one before it happened to be whole.
        if self.piece.len() == PIECE_LEN {
            self.seal(false).map_err(io::Error::other)?;
        }
        let room = PIECE_LEN - self.piece.len();
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.piece.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

impl<R: Read> Opener<R> {
    /// Begins to read a file.
    ///
    /// # Errors
    /// If it is no such file, or would cost too much. Whether the passphrase is right shows when it is read.
    pub fn new(mut from: R, passphrase: &str) -> Result<Self, SealedFileError> {
        let mut head = [0; HEAD_LEN];
        from.read_exact(&mut head)
            .map_err(|_short| SealedFileError::Strange)?;
        Ok(Self {
            stream: Stream::new(head, passphrase)?,
            piece: Zeroizing::new(Vec::new()),
            at: 0,
            is_over: false,
            from,
        })
    }

    /// The next piece.
    fn open(&mut self) -> Result<(), SealedFileError> {
        let mut length = [0; 4];
        let cut = |_cut| SealedFileError::Closed;
        self.from.read_exact(&mut length).map_err(cut)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if !(TAG_LEN..=PIECE_LEN + TAG_LEN).contains(&length) {
            return Err(SealedFileError::Closed);
        }
        let mut sealed = vec![0; length];
        self.from.read_exact(&mut sealed).map_err(cut)?;
        // Only a piece that is not whole can be the last, or one that nothing comes after: both are tried.
        let before = self.stream.pieces;
        for is_last in [false, true] {
            self.stream.pieces = before;
            let (nonce, aad) = self.stream.next(is_last)?;
            let mut tried = sealed.clone();
            if let Ok(piece) = self.stream.key.open_in_place(nonce, aad, &mut tried) {
                let length = piece.len();
                tried.truncate(length);
                self.piece = Zeroizing::new(tried);
                (self.at, self.is_over) = (0, is_last);
                return self.end();
            }
        }
        Err(SealedFileError::Closed)
    }

    /// Nothing stands behind the last piece.
    fn end(&mut self) -> Result<(), SealedFileError> {
        if self.is_over && self.from.read(&mut [0])? != 0 {
            return Err(SealedFileError::Closed);
        }
        Ok(())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() && !self.is_over {
            self.open()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        let left = self.piece.get(self.at..).unwrap_or_default();
        let length = left.len().min(into.len());
        for (to, from) in into.iter_mut().zip(left) {
            *to = *from;
        }
        self.at += length;
        Ok(length)
    }
}

impl Stream {
    fn new(head: [u8; HEAD_LEN], passphrase: &str) -> Result<Self, SealedFileError> {
        let rest = head.strip_prefix(MAGIC).ok_or(SealedFileError::Strange)?;
        let (memory, rest) = number(rest)?;
        let (passes, rest) = number(rest)?;
        let (lanes, rest) = number(rest)?;
        let (salt, prefix) = rest
            .split_at_checked(SALT_LEN)
            .ok_or(SealedFileError::Strange)?;
        if memory > MEMORY_KIB_MAX || passes > PASSES_MAX || lanes > LANES_MAX {
            return Err(SealedFileError::Costly);
        }
        let params = Params::new(memory, passes, lanes, Some(KEY_LEN))
            .map_err(|_bad| SealedFileError::Strange)?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
            .map_err(|_bad| SealedFileError::NoKey)?;
        let key =
            UnboundKey::new(&AES_256_GCM, &*key).map_err(|_unspecified| SealedFileError::NoKey)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            prefix: prefix
                .try_into()
                .map_err(|_long| SealedFileError::Strange)?,
            head,
            pieces: 0,
        })
    }

    /// What the next piece is sealed with, besides the key.
    fn next(&mut self, is_last: bool) -> Result<(Nonce, Aad<[u8; HEAD_LEN]>), SealedFileError> {
        let mut nonce = [0; NONCE_LEN];
        let bytes = self
            .prefix
            .into_iter()
            .chain(self.pieces.to_be_bytes())
            .chain([u8::from(is_last)]);
        for (to, from) in nonce.iter_mut().zip(bytes) {
            *to = from;
        }
        // 256 TiB; no nonce comes twice.
        let next = self.pieces.checked_add(1);
        self.pieces = next.ok_or(SealedFileError::Strange)?;
        Ok((Nonce::assume_unique_for_key(nonce), Aad::from(self.head)))
    }
}

fn number(bytes: &[u8]) -> Result<(u32, &[u8]), SealedFileError> {
    let (number, rest) = bytes.split_first_chunk().ok_or(SealedFileError::Strange)?;
    Ok((u32::from_be_bytes(*number), rest))
}

impl<W> fmt::Debug for Sealer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

impl<R> fmt::Debug for Opener<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener(…)")
    }
}

#[cfg(test)]
mod tests;
