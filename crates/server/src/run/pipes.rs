//! Stdin and stdout without a thread in between, where the system lets us.
//!
//! Clients connect pipes or sockets, which can be polled. Anything else (a terminal, a file) goes through tokio's
//! blocking threads: slower by two changes of thread a message, and nobody types that fast.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// Where a client's messages come from.
pub(super) fn stdin() -> Box<dyn AsyncRead + Send + Unpin> {
    let direct = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .ok()
        .and_then(|fd| match kind(&fd)? {
            Kind::Pipe => pipe::Receiver::from_owned_fd(fd)
                .ok()
                .map(|pipe| Box::new(pipe) as Box<_>),
            Kind::Socket => {
                socket(fd).map(|socket| Box::new(socket) as Box<dyn AsyncRead + Send + Unpin>)
            }
        });
    direct.unwrap_or_else(|| Box::new(tokio::io::stdin()))
}

/// Where messages to the client go.
pub(super) fn stdout() -> Box<dyn AsyncWrite + Send + Unpin> {
    let direct = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .ok()
        .and_then(|fd| match kind(&fd)? {
            Kind::Pipe => pipe::Sender::from_owned_fd(fd)
                .ok()
                .map(|pipe| Box::new(pipe) as Box<_>),
            Kind::Socket => {
                socket(fd).map(|socket| Box::new(socket) as Box<dyn AsyncWrite + Send + Unpin>)
            }
        });
    direct.unwrap_or_else(|| Box::new(tokio::io::stdout()))
}

enum Kind {
    Pipe,
    Socket,
}

fn kind(fd: &OwnedFd) -> Option<Kind> {
    let file = std::fs::File::from(fd.try_clone().ok()?);
    let kind = file.metadata().ok()?.file_type();
    match () {
        () if kind.is_fifo() => Some(Kind::Pipe),
        () if kind.is_socket() => Some(Kind::Socket),
        () => None,
    }
}

fn socket(fd: OwnedFd) -> Option<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true).ok()?;
    UnixStream::from_std(stream).ok()
}
