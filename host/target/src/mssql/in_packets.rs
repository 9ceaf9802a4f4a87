use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zeroize::Zeroizing;

use super::packet::{HEADER_BYTES, PRELOGIN, Stream, cut, garbled, read_header};

/// The way of TLS within TDS 7.4: while it shakes hands, each flight stands in packets of the type of PRELOGIN; after that, in none.
pub(super) struct InPackets<S> {
    stream: S,
    is_over: bool,
    header: [u8; HEADER_BYTES],
    /// How much of the header is there.
    have: usize,
    /// What is left of the packet that is being read.
    left: usize,
    /// What is to be wrapped, then what is on its way.
    unsent: Vec<u8>,
    sending: Zeroizing<Vec<u8>>,
    sent: usize,
}

impl<S: Stream> InPackets<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            is_over: false,
            header: [0; HEADER_BYTES],
            have: 0,
            left: 0,
            unsent: Vec::new(),
            sending: Zeroizing::default(),
            sent: 0,
        }
    }

    /// The handshake is done: bytes go as they are.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// Sends what was written, as one message.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.sent < self.sending.len() {
                let rest = &self.sending[self.sent..];
                let count = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.sent += count;
            } else if self.unsent.is_empty() {
                return Poll::Ready(Ok(()));
            } else {
                self.sending = cut(PRELOGIN, &std::mem::take(&mut self.unsent));
                self.sent = 0;
            }
        }
    }

    fn poll_header(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.have < HEADER_BYTES {
            let mut buffer = ReadBuf::new(&mut self.header[self.have..]);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            let count = buffer.filled().len();
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.have += count;
        }
        let (kind, _, length) = read_header(self.header)?;
        if kind != PRELOGIN {
            return Poll::Ready(Err(garbled()));
        }
        (self.have, self.left) = (0, length);
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncRead for InPackets<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_over {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        ready!(this.poll_send(context))?;
        while this.left == 0 {
            ready!(this.poll_header(context))?;
        }
        let most = this.left.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
        ready!(Pin::new(&mut this.stream).poll_read(context, &mut part))?;
        let count = part.filled().len();
        this.left -= count;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for InPackets<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_over {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        }
        self.unsent.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn flights_stand_in_packets_until_the_handshake_is_over() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let mut stream = InPackets::new(ours);
        stream.write_all(b"ab").await.unwrap();
        stream.write_all(b"c").await.unwrap();
        stream.flush().await.unwrap();
        let mut seen = [0; 11];
        theirs.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"\x12\x01\0\x0B\0\0\x01\0abc");
        // In two packets, of which one is empty, and in parts.
        theirs.write_all(b"\x12\0\0\x08\0\0\0\0\x12\x01\0").await.unwrap();
        theirs.write_all(b"\x0A\0\0\0\0xy").await.unwrap();
        let mut seen = [0; 2];
        stream.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"xy");
        stream.end();
        stream.write_all(b"raw").await.unwrap();
        theirs.write_all(b"too").await.unwrap();
        let mut seen = [0; 3];
        theirs.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"raw");
        stream.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"too");
    }

    #[tokio::test]
    async fn a_handshake_outside_of_its_packets_is_refused() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"\x04\x01\0\x0A\0\0\0\0xy").await.unwrap();
        let refused = InPackets::new(ours).read_u8().await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }
}
