//! Whether the server asked for the password before it let a login in. The driver does not tell, and only a login that was asked proves a
//! credential: under `trust`, `peer` or `cert` of `pg_hba.conf` any password opens the server.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// `R`, four bytes of length, four of what is asked for: the first thing that a server says to a login, if it says no error.
const HEAD_BYTES: usize = 9;
const LET_IN: u8 = 1;
const OTHER: u8 = 2;

/// What the server's first message was; shared with the stream that it comes by.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(Arc<AtomicU8>);

impl Asked {
    /// Whether the server let the login in without having asked for anything.
    pub(super) fn was_let_in_unasked(&self) -> bool {
        self.0.load(Ordering::Relaxed) == LET_IN
    }

    fn note(&self, head: &[u8]) {
        let unasked = head.first() == Some(&b'R') && head.ends_with(&[0, 0, 0, 0]);
        self.0
            .store(if unasked { LET_IN } else { OTHER }, Ordering::Relaxed);
    }
}

/// A stream in the clear of which the server's first message is looked at; nothing of it is kept.
pub(super) struct Watched<S> {
    inner: S,
    head: [u8; HEAD_BYTES],
    seen: usize,
    asked: Asked,
}

impl<S> Watched<S> {
    pub(super) fn new(inner: S, asked: Asked) -> Self {
        Self {
            inner,
            head: [0; HEAD_BYTES],
            seen: 0,
            asked,
        }
    }

    fn look(&mut self, read: &[u8]) {
        let wanted = &mut self.head[self.seen..];
        let taken = wanted.len().min(read.len());
        if taken == 0 {
            return;
        }
        wanted[..taken].copy_from_slice(&read[..taken]);
        self.seen += taken;
        if self.seen == HEAD_BYTES {
            self.asked.note(&self.head);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.look(&buf.filled()[before..]);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Watched<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

/// A TLS connector whose stream is watched inside of the TLS.
pub(super) struct Watching<C> {
    pub(super) inner: C,
    pub(super) asked: Asked,
}

impl<S, C> TlsConnect<S> for Watching<C>
where
    C: TlsConnect<S>,
    C::Future: Send + 'static,
{
    type Stream = Watched<C::Stream>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let Self { inner, asked } = self;
        let connecting = inner.connect(stream);
        Box::pin(async move { Ok(Watched::new(connecting.await?, asked)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pieces: &[&[u8]]) -> bool {
        let asked = Asked::default();
        let mut watched = Watched::new((), asked.clone());
        for piece in pieces {
            watched.look(piece);
        }
        asked.was_let_in_unasked()
    }

    #[test]
    fn the_first_message_tells_in_however_many_pieces_it_comes() {
        assert!(seen(&[b"R\0\0\0\x08\0\0\0\0S\0\0\0\x16"]));
        assert!(seen(&[b"R", b"\0\0\0\x08\0", b"\0\0", b"\0"]));
        for asked in [3, 5, 10] {
            assert!(!seen(&[
                &[b'R', 0, 0, 0, 12, 0, 0, 0, asked],
                b"R\0\0\0\x08\0\0\0\0"
            ]));
        }
        assert!(!seen(&[b"E\0\0\0\x10\0\0\0\0"]), "an error is no login");
        assert!(!seen(&[b"R\0\0\0\x08\0"]), "not whole");
    }
}
