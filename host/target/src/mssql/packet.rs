use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// A batch of statements.
pub(super) const BATCH: u8 = 0x01;
/// What the server sends.
pub(super) const ANSWER: u8 = 0x04;
pub(super) const LOGIN: u8 = 0x10;
pub(super) const PRELOGIN: u8 = 0x12;

/// What the server may send for one message of ours.
pub(super) const ANSWER_BYTES: usize = 16 << 20;

/// Type, whether it is the last of its message, length, and what is not used.
pub(super) const HEADER_BYTES: usize = 8;
/// The size of packets that every server takes.
const PACKET_BYTES: usize = 4096;
const LAST: u8 = 1;

/// What packets go over once the way is settled.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Whole messages over a stream.
pub(super) struct Packets<S> {
    stream: S,
}

impl<S: Stream> Packets<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream }
    }

    /// A whole answer.
    pub(super) async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut message = Vec::new();
        loop {
            let mut header = [0; HEADER_BYTES];
            self.stream.read_exact(&mut header).await?;
            let (kind, is_last, length) = read_header(header)?;
            if kind != ANSWER {
                return Err(garbled());
            }
            if message.len() + length > ANSWER_BYTES {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            let start = message.len();
            message.resize(start + length, 0);
            self.stream.read_exact(&mut message[start..]).await?;
            if is_last {
                return Ok(message);
            }
        }
    }

    /// Sends one message; its copy here is wiped.
    pub(super) async fn write(&mut self, kind: u8, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(&cut(kind, message)).await?;
        self.stream.flush().await
    }
}

/// Type, whether it is the last one, and how many bytes follow.
pub(super) fn read_header(header: [u8; HEADER_BYTES]) -> io::Result<(u8, bool, usize)> {
    let [kind, status, high, low, ..] = header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let content = length.checked_sub(HEADER_BYTES).ok_or_else(garbled)?;
    Ok((kind, status & LAST != 0, content))
}

/// A message as packets.
pub(super) fn cut(kind: u8, message: &[u8]) -> Zeroizing<Vec<u8>> {
    const CONTENT_BYTES: usize = PACKET_BYTES - HEADER_BYTES;
    let count = message.len().div_ceil(CONTENT_BYTES);
    let mut bytes = Zeroizing::new(Vec::with_capacity(message.len() + count * HEADER_BYTES));
    let mut number = 1_u8;
    for (at, content) in message.chunks(CONTENT_BYTES).enumerate() {
        // At most 4096.
        let length = u16::try_from(content.len() + HEADER_BYTES).unwrap_or(u16::MAX);
        bytes.extend([kind, if at + 1 == count { LAST } else { 0 }]);
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, 0, number, 0]);
        bytes.extend_from_slice(content);
        number = number.wrapping_add(1);
    }
    bytes
}

/// What came is not of this protocol.
pub(super) fn garbled() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_packet_of_another_kind_or_length_and_an_answer_without_end_are_refused() {
        let long: Vec<u8> = (0..300)
            .flat_map(|_| [vec![4, 0, 0xFF, 0xFF, 0, 0, 0, 0], vec![0; 65527]].concat())
            .collect();
        for (sent, kind) in [
            ([4, 1, 0, 7, 0, 0, 0, 0].as_slice(), io::ErrorKind::InvalidData),
            (&[1, 1, 0, 9, 0, 0, 0, 0, 7], io::ErrorKind::InvalidData),
            (&[4, 1, 0, 10, 0, 0, 0, 0, 7], io::ErrorKind::UnexpectedEof),
            (&long, io::ErrorKind::QuotaExceeded),
        ] {
            assert_eq!(
                Packets::new(tokio::io::join(sent, tokio::io::sink()))
                    .read()
                    .await
                    .unwrap_err()
                    .kind(),
                kind
            );
        }
    }

    #[tokio::test]
    async fn messages_are_cut_and_put_together_again() {
        let message: Vec<u8> = (0..=250).cycle().take(10_000).collect();
        let sent = cut(ANSWER, &message);
        assert_eq!(sent.len(), message.len() + 3 * HEADER_BYTES);
        let mut packets = Packets::new(tokio::io::join(sent.as_slice(), tokio::io::sink()));
        assert_eq!(packets.read().await.unwrap(), message);
    }
}
