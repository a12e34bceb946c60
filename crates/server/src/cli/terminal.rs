//! Asks for a value at a terminal that does not show what is typed.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::AsFd as _;

use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

/// What Ctrl-C sends.
const INTERRUPT: u8 = 0x03;
/// Bytes of a line before its end: terminals drop the rest without a word.
const LINE_BYTES_MAX: usize = 4095;

/// Shows nothing of what is typed for as long as it lives.
struct Silent<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        // Ctrl-C would end us before the terminal is as it was: it ends the line instead.
        silent
            .local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ISIG);
        silent.control_chars[SpecialCharacterIndices::VEOL as usize] = INTERRUPT;
        tcsetattr(terminal, SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _restored = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

/// Standard input, past the standard library's buffer, where a secret would stay.
pub(super) fn stdin() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// One line from whoever is at the terminal that this is, unseen; `None` if it is none.
///
/// # Errors
/// If the person breaks off, or the terminal cannot be read.
pub(super) fn typed(stdin: &File, question: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let is_terminal = stdin.is_terminal();
    let ask = || ask(stdin, &mut io::stderr(), question, None);
    is_terminal.then(ask).transpose()
}

/// The same of what nobody could put right later: it is asked for once more, and has to be the same.
///
/// # Errors
/// As [`typed`], or if it is not.
pub(super) fn typed_twice(
    stdin: &File,
    question: &str,
    again: &str,
) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let is_terminal = stdin.is_terminal();
    let ask = || ask(stdin, &mut io::stderr(), question, Some(again));
    is_terminal.then(ask).transpose()
}

/// One line from this terminal, unseen; the questions go to `to`.
///
/// # Errors
/// If the person breaks off or answers `again` otherwise, or the terminal cannot be read.
fn ask(
    terminal: &File,
    to: &mut impl io::Write,
    question: &str,
    again: Option<&str>,
) -> io::Result<Zeroizing<Vec<u8>>> {
    // Over both questions: nothing of what is typed between them is shown or lost.
    let _silent = Silent::new(terminal)?;
    let first = answer(terminal, to, question)?;
    if let Some(again) = again
        && answer(terminal, to, again)? != first
    {
        return Err(io::Error::other("it was typed differently the second time"));
    }
    Ok(first)
}

fn answer(
    terminal: &File,
    to: &mut impl io::Write,
    question: &str,
) -> io::Result<Zeroizing<Vec<u8>>> {
    write!(to, "{question}")?;
    to.flush()?;
    let line = line(terminal);
    writeln!(to)?;
    line
}

fn line(mut terminal: &File) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(vec![0; LINE_BYTES_MAX + 1]);
    // A terminal gives a line at a time.
    let length = terminal.read(&mut line)?;
    line.truncate(length);
    match line.pop() {
        Some(b'\n') if line.len() < LINE_BYTES_MAX => Ok(line),
        Some(b'\n') => Err(io::Error::other(
            "a terminal takes no longer line; write it to a file and use `< FILE`",
        )),
        Some(_) | None => Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::thread;

    use nix::pty::openpty;

    use super::*;

    /// What is typed at a terminal, what was read of it, and all that the terminal showed.
    fn typed(keys: &[u8]) -> (io::Result<Zeroizing<Vec<u8>>>, String) {
        let pty = openpty(None, None).unwrap();
        let (mut keyboard, terminal) = (File::from(pty.master), File::from(pty.slave));
        let before = tcgetattr(&terminal).unwrap();
        let mut screen = terminal.try_clone().unwrap();
        let line = thread::scope(|scope| {
            let asked = scope.spawn(|| ask(&terminal, &mut screen, "value: ", None));
            // Once it asks, nothing is shown any more.
            let mut shown = [0; 7];
            keyboard.read_exact(&mut shown).unwrap();
            assert_eq!(&shown, b"value: ");
            keyboard.write_all(keys).unwrap();
            asked.join().unwrap()
        });
        assert_eq!(tcgetattr(&terminal).unwrap(), before, "as it was");
        let mut shown = [0; 64];
        let length = keyboard.read(&mut shown).unwrap();
        (line, String::from_utf8(shown[..length].to_vec()).unwrap())
    }

    #[test]
    fn what_is_typed_is_read_and_not_shown() {
        let (line, shown) = typed(b"hunter2\n");
        assert_eq!(&**line.unwrap(), b"hunter2");
        assert_eq!(shown, "\r\n");
    }

    #[test]
    fn whoever_breaks_off_gives_nothing_and_leaves_the_terminal_as_it_was() {
        for keys in [&b"hunter2\x03"[..], b"\x04"] {
            let (line, shown) = typed(keys);
            assert_eq!(line.unwrap_err().kind(), io::ErrorKind::Interrupted);
            assert_eq!(shown, "\r\n");
        }
    }

    #[test]
    fn a_line_that_the_terminal_would_cut_is_refused() {
        let (line, _) = typed(&[&[b'x'; 5000][..], b"\n"].concat());
        assert!(line.unwrap_err().to_string().contains("no longer line"));
    }
}
