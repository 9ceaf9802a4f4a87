//! A stream that is looked at while it is read: of both uses of one the delegation stands here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

/// What looks at the bytes that come.
pub(super) trait Tap: Unpin {
    /// Whether more may be read.
    ///
    /// # Errors
    /// Why not: the stream fails with it.
    fn admit(&self) -> io::Result<()> {
        Ok(())
    }

    /// What has come.
    fn look(&mut self, read: &[u8]);
}

/// A stream with a tap.
pub(super) struct Tapped<S, T> {
    inner: S,
    tap: T,
}

impl<S, T> Tapped<S, T> {
    pub(super) fn new(inner: S, tap: T) -> Self {
        Self { inner, tap }
    }
}

impl<S: AsyncRead + Unpin, T: Tap> AsyncRead for Tapped<S, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.tap.admit()?;
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.tap.look(&buf.filled()[before..]);
        polled
    }
}

impl<S: AsyncWrite + Unpin, T: Unpin> AsyncWrite for Tapped<S, T> {
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

impl<S: TlsStream + Unpin, T: Tap> TlsStream for Tapped<S, T> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}
