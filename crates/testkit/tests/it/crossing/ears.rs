//! A socket whose every byte is searched, as it comes, for canaries: one's own are counted, another's is a finding.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use uuid::Uuid;

/// How every canary begins; nothing else that is said does.
const MARK: &[u8] = b"canary-";

/// What one principal has heard, over all its connections.
#[derive(Debug)]
pub(super) struct Watch {
    /// The secret that only this principal may hear.
    pub(super) canary: String,
    own: AtomicUsize,
    foreign: AtomicUsize,
    wrong: AtomicUsize,
    /// The first of what was wrong, in words.
    example: OnceLock<String>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            canary: format!("canary-{}", Uuid::new_v4().simple()),
            own: AtomicUsize::new(0),
            foreign: AtomicUsize::new(0),
            wrong: AtomicUsize::new(0),
            example: OnceLock::new(),
        }
    }

    /// How often its own canary came.
    pub(super) fn own(&self) -> usize {
        self.own.load(Ordering::Relaxed)
    }

    /// How often another's did.
    pub(super) fn foreign(&self) -> usize {
        self.foreign.load(Ordering::Relaxed)
    }

    /// How often it got what belongs to another question.
    pub(super) fn wrong(&self) -> usize {
        self.wrong.load(Ordering::Relaxed)
    }

    pub(super) fn mark_wrong(&self, words: &str) {
        self.example.get_or_init(|| words.to_owned());
        self.wrong.fetch_add(1, Ordering::Relaxed);
    }

    /// The first of that.
    pub(super) fn example(&self) -> Option<&str> {
        self.example.get().map(String::as_str)
    }

    /// Searches what is known to be whole.
    pub(super) fn search(&self, text: &str) {
        Search::default().take(text.as_bytes(), self);
    }
}

/// The end of what came, where it may be the beginning of a canary.
#[derive(Debug, Default)]
struct Search {
    kept: Vec<u8>,
}

impl Search {
    fn take(&mut self, bytes: &[u8], watch: &Watch) {
        self.kept.extend_from_slice(bytes);
        let size = watch.canary.len();
        let mut at = 0;
        while let Some(rest) = self.kept.get(at..).filter(|rest| rest.len() >= size) {
            if rest.first() == MARK.first() && rest.starts_with(MARK) {
                let counter = if rest.starts_with(watch.canary.as_bytes()) {
                    &watch.own
                } else {
                    &watch.foreign
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }
            at += 1;
        }
        self.kept.drain(..at);
    }
}

/// A connection of one principal.
#[derive(Debug)]
pub(super) struct Ears<S> {
    socket: S,
    watch: Arc<Watch>,
    search: Search,
}

impl<S> Ears<S> {
    pub(super) fn on(socket: S, watch: &Arc<Watch>) -> Self {
        Self {
            socket,
            watch: Arc::clone(watch),
            search: Search::default(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ears<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(context, buffer);
        if let Some(came) = buffer.filled().get(before..) {
            this.search.take(came, &this.watch);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ears<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}
