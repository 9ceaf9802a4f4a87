use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// What the server may send for one statement.
pub(super) const ANSWER_BYTES: usize = 16 << 20;

/// Length of three bytes, number of the packet.
const HEADER_BYTES: usize = 4;
/// A packet of this length goes on in the next one: longer than anything that is spoken of here.
const CONTINUED: usize = 0xFF_FFFF;

/// What packets go over once the way is settled.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Whole packets over a stream, numbered, with a bound on what one answer may bring.
pub(super) struct Packets<S> {
    stream: S,
    number: u8,
    left: usize,
}

impl<S: Stream> Packets<S> {
    pub(super) fn new(stream: S) -> Self {
        Self::from(stream, 0)
    }

    /// Goes on at a number.
    pub(super) fn from(stream: S, number: u8) -> Self {
        Self {
            stream,
            number,
            left: ANSWER_BYTES,
        }
    }

    /// The next command and its answer.
    pub(super) fn begin(&mut self) {
        self.number = 0;
        self.left = ANSWER_BYTES;
    }

    /// The stream, and the number of the next packet.
    pub(super) fn apart(self) -> (S, u8) {
        (self.stream, self.number)
    }

    pub(super) async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header).await?;
        let [low, middle, high, number] = header;
        let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        if number != self.number {
            return Err(garbled());
        }
        if length >= CONTINUED || length + HEADER_BYTES > self.left {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.left -= length + HEADER_BYTES;
        self.number = number.wrapping_add(1);
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await?;
        Ok(payload)
    }

    /// Sends one packet; its copy here is wiped.
    pub(super) async fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        if payload.len() >= CONTINUED {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut packet = Zeroizing::new(Vec::with_capacity(HEADER_BYTES + payload.len()));
        packet.extend_from_slice(&payload.len().to_le_bytes()[..3]);
        packet.push(self.number);
        packet.extend_from_slice(payload);
        self.number = self.number.wrapping_add(1);
        self.stream.write_all(&packet).await?;
        self.stream.flush().await
    }
}

/// What came is not of this protocol.
pub(super) fn garbled() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_packet_out_of_order_or_longer_than_an_answer_may_be_is_refused() {
        for (sent, kind) in [
            ([1, 0, 0, 1, 7].as_slice(), io::ErrorKind::InvalidData),
            (&[0xFF, 0xFF, 0xFF, 0], io::ErrorKind::QuotaExceeded),
            (&[9, 0, 0, 0, 7], io::ErrorKind::UnexpectedEof),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(64);
            theirs.write_all(sent).await.unwrap();
            drop(theirs);
            assert_eq!(Packets::new(ours).read().await.unwrap_err().kind(), kind);
        }
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut packets = Packets::new(ours);
        theirs.write_all(&[2, 0, 0, 0, 7, 8]).await.unwrap();
        assert_eq!(packets.read().await.unwrap(), [7, 8]);
        packets.write(b"ab").await.unwrap();
        let mut seen = [0; 6];
        theirs.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, [2, 0, 0, 1, b'a', b'b']);
    }
}
