//! Packets, and what they go over: TCP, TLS whose handshake stands in packets (7.4), TLS first (8.0).

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub(crate) const BATCH: u8 = 0x01;
pub(crate) const RPC: u8 = 0x03;
pub(crate) const ANSWER: u8 = 0x04;
pub(crate) const ATTENTION: u8 = 0x06;
pub(crate) const TRANSACTION: u8 = 0x0E;
pub(crate) const LOGIN: u8 = 0x10;
pub(crate) const PRELOGIN: u8 = 0x12;

/// The size that both sides keep to.
pub(crate) const PACKET_BYTES: usize = 4096;
const HEADER_BYTES: usize = 8;
/// Longest message of a client.
const MESSAGE_BYTES: usize = 1 << 20;

/// The stream of a connection.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, Framed>>),
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl Wire {
    /// TLS on a fresh stream, by the name that TDS 8.0 has for itself and no other.
    pub(crate) fn strict(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let wire = shake_hands(Framed::new(stream, false), config)?;
        match &wire {
            Self::Tls(tls) if tls.conn.alpn_protocol() == Some(b"tds/8.0") => Ok(wire),
            _ => Err(garbled("TLS without the protocol tds/8.0")),
        }
    }

    /// TLS after PRELOGIN: the handshake's records stand in packets, those after it do not.
    pub(crate) fn upgrade(self, config: Arc<ServerConfig>) -> io::Result<Self> {
        match self {
            Self::Plain(stream) => shake_hands(Framed::new(stream, true), config),
            Self::Tls(_) => Err(garbled("TLS within TLS")),
        }
    }

    /// Back to TCP, where the login alone was to be encrypted.
    pub(crate) fn downgrade(self) -> Self {
        match self {
            Self::Tls(tls) => Self::Plain(tls.sock.stream),
            plain @ Self::Plain(_) => plain,
        }
    }

    /// A whole message and its type.
    pub(crate) fn read_message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut message = Vec::new();
        loop {
            let mut header = [0; HEADER_BYTES];
            self.read_exact(&mut header)?;
            let [kind, status, high, low, ..] = header;
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length < HEADER_BYTES || message.len() + length > MESSAGE_BYTES {
                return Err(garbled("a packet's length"));
            }
            let start = message.len();
            message.resize(start + length - HEADER_BYTES, 0);
            self.read_exact(&mut message[start..])?;
            if status & 1 == 1 {
                return Ok((kind, message));
            }
        }
    }

    pub(crate) fn write_message(&mut self, kind: u8, message: &[u8]) -> io::Result<()> {
        self.write_all(&packets(kind, message))?;
        self.flush()
    }
}

/// A message cut into packets.
fn packets(kind: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.len() + HEADER_BYTES);
    let mut parts = message.chunks(PACKET_BYTES - HEADER_BYTES).peekable();
    let mut number = 1_u8;
    while let Some(part) = parts.next() {
        let length = u16::try_from(part.len() + HEADER_BYTES).unwrap_or(u16::MAX);
        let is_last = u8::from(parts.peek().is_none());
        bytes.extend([kind, is_last]);
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, 0, number, 0]);
        bytes.extend_from_slice(part);
        number = number.wrapping_add(1);
    }
    bytes
}

fn shake_hands(mut stream: Framed, config: Arc<ServerConfig>) -> io::Result<Wire> {
    let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    while tls.wants_write() {
        tls.write_tls(&mut stream)?;
    }
    stream.flush()?;
    stream.in_packets = false;
    Ok(Wire::Tls(Box::new(StreamOwned::new(tls, stream))))
}

/// What TLS runs over: while it shakes hands within 7.4, each flight is a message of its own.
pub(crate) struct Framed {
    stream: TcpStream,
    in_packets: bool,
    /// Of the packet that is being read.
    left: usize,
    unsent: Vec<u8>,
}

impl Framed {
    fn new(stream: TcpStream, in_packets: bool) -> Self {
        Self {
            stream,
            in_packets,
            left: 0,
            unsent: Vec::new(),
        }
    }
}

impl Read for Framed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.in_packets {
            return self.stream.read(buffer);
        }
        self.flush()?;
        while self.left == 0 {
            let mut header = [0; HEADER_BYTES];
            self.stream.read_exact(&mut header)?;
            let [kind, _, high, low, ..] = header;
            let length = usize::from(u16::from_be_bytes([high, low]));
            if kind != PRELOGIN || length < HEADER_BYTES {
                return Err(garbled("a handshake outside of PRELOGIN packets"));
            }
            self.left = length - HEADER_BYTES;
        }
        let most = buffer.len().min(self.left);
        let read = self.stream.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

impl Write for Framed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.in_packets {
            return self.stream.write(bytes);
        }
        self.unsent.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.unsent.is_empty() {
            let message = std::mem::take(&mut self.unsent);
            self.stream.write_all(&packets(PRELOGIN, &message))?;
        }
        self.stream.flush()
    }
}

pub(crate) fn garbled(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
