//! A byte stream to one host: TCP, TLS from the first byte, or TLS from the middle (STARTTLS). Every read has a limit and a deadline.
//!
//! What was written and never answered may have taken effect: after the first write every loss and time-out says [`Effect::Maybe`]
//! until an answer is known to be whole, which a protocol's reader says by [`Channel::settle`].

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use keywheel_model::{Effect, SecretBytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::dial::Allow;
use crate::error::IN_PLAINTEXT;
use crate::received::{Cut, End, Received};
use crate::tls::{TlsOptions, Verify, handshake};
use crate::{Deadline, Error, Outbound};

/// Most bytes that one call reads or writes.
pub const CHANNEL_LIMIT: usize = 1 << 20;

const CHUNK: usize = 8 * 1024;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// A handshake on it failed.
    Gone,
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// See the module.
pub struct Channel {
    stream: Stream,
    host: String,
    address: SocketAddr,
    plaintext_allowed: bool,
    verified: bool,
    received: Received,
    /// Came while somebody looked ahead, and is said to whoever reads next.
    broken: Option<Error>,
    peer_certificates: Vec<Vec<u8>>,
    unanswered: u32,
}

impl Channel {
    /// Plain TCP. Secrets are refused before [`Channel::start_tls`], unless a rule allows plaintext here.
    ///
    /// # Errors
    /// As [`crate::dial::Dialer::dial`].
    pub async fn connect(
        outbound: &Outbound,
        rules: &[Allow],
        host: &str,
        port: u16,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let dialled = outbound.dialer.dial(rules, host, port, deadline).await?;
        Ok(Self {
            stream: Stream::Plain(dialled.stream),
            host: dialled.host,
            address: dialled.address,
            plaintext_allowed: dialled.plaintext_allowed,
            verified: false,
            received: Received::default(),
            broken: None,
            peer_certificates: Vec::new(),
            unanswered: 0,
        })
    }

    /// TLS from the first byte.
    ///
    /// # Errors
    /// As [`crate::dial::Dialer::dial`]; [`Error::TlsName`], [`Error::TlsUntrusted`], [`Error::Tls`].
    pub async fn connect_tls(
        outbound: &Outbound,
        rules: &[Allow],
        host: &str,
        port: u16,
        options: &TlsOptions,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let mut channel = Self::connect(outbound, rules, host, port, deadline).await?;
        channel.start_tls(outbound, options, deadline).await?;
        Ok(channel)
    }

    /// TLS from here on. Bytes that came in plaintext before and were not read make it fail: somebody may have put them there.
    ///
    /// # Errors
    /// [`Error::Invalid`] on a stream with TLS or with unread bytes; [`Error::TlsName`], [`Error::TlsUntrusted`], [`Error::Tls`]. The channel
    /// is of no use after a failed handshake.
    pub async fn start_tls(
        &mut self,
        outbound: &Outbound,
        options: &TlsOptions,
        deadline: Deadline,
    ) -> Result<(), Error> {
        if !matches!(self.stream, Stream::Plain(_)) {
            return Err(Error::invalid("the stream has TLS already"));
        }
        if !self.waiting().is_empty() {
            return Err(Error::invalid(
                "bytes came in plaintext that were not read before TLS",
            ));
        }
        let Stream::Plain(plain) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Ok(());
        };
        let stream = handshake(plain, options, &outbound.trust, deadline).await?;
        self.peer_certificates = stream
            .get_ref()
            .1
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|c| c.as_ref().to_vec())
            .collect();
        self.verified = options.verify == Verify::Full;
        self.stream = Stream::Tls(Box::new(stream));
        Ok(())
    }

    /// Up to `limit` bytes; empty at the end of the stream.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Lost`].
    pub async fn read(&mut self, limit: usize, deadline: Deadline) -> Result<Vec<u8>, Error> {
        let limit = self.bounded(limit)?;
        if self.waiting().is_empty() {
            self.fill(deadline).await?;
        }
        let length = limit.min(self.waiting().len());
        Ok(self.take(length))
    }

    /// Up to and including `delimiter`.
    ///
    /// # Errors
    /// [`Error::Limit`] when it does not come within `limit` bytes, [`Error::Timeout`], [`Error::Lost`] (also at the end of the stream).
    pub async fn read_until(
        &mut self,
        delimiter: &[u8],
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Error> {
        let limit = self.bounded(limit)?;
        if delimiter.is_empty() {
            return Err(Error::invalid("the delimiter is empty"));
        }
        let mut searched = 0;
        loop {
            let found = self.waiting()[searched..]
                .windows(delimiter.len())
                .position(|window| window == delimiter);
            match found.map(|at| searched + at + delimiter.len()) {
                Some(end) if end <= limit => return Ok(self.take(end)),
                Some(_) => return Err(self.over_limit(limit)),
                None if self.waiting().len() >= limit => return Err(self.over_limit(limit)),
                None => {}
            }
            searched = (self.waiting().len() + 1).saturating_sub(delimiter.len());
            if self.fill(deadline).await? == 0 {
                return Err(self.lost("reading", io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// What has come and was not read yet.
    pub fn waiting(&self) -> &[u8] {
        self.received.bytes()
    }

    /// How many of the bytes that wait may be shown to somebody who wants to read up to a cut, when the last `window` of them are held
    /// back: see [`crate::received`]. Zero at the end of the stream. A pause is waited for once, also when the deadline passes. Nothing is
    /// taken out: whoever shows them looks through all that waits, and then takes them. What fails tells of what is free, and of nothing else.
    ///
    /// # Errors
    /// As [`Channel::read`] and [`Channel::read_until`].
    pub async fn look_ahead(&mut self, cut: &Cut, window: usize, deadline: Deadline) -> Result<usize, Error> {
        let limit = self.bounded(cut.limit())?;
        if matches!(cut, Cut::Until(delimiter, _) if delimiter.is_empty()) {
            return Err(Error::invalid("the delimiter is empty"));
        }
        // What came after a silence may complete what came before it.
        if (1..CHANNEL_LIMIT).contains(&self.waiting().len()) {
            self.look_on(Duration::ZERO).await;
        }
        let mut looked = false;
        loop {
            let end = self.received.end(cut, window);
            if matches!(end, End::Held(_)) && !(looked && deadline.has_passed()) {
                looked = true;
                if !self.look_on(self.received.quiet()).await {
                    self.received.settle();
                }
                continue;
            }
            match end {
                End::At(length) | End::Held(length @ 1..) => return Ok(length),
                End::Beyond => return Err(self.over_limit(limit)),
                End::Held(_) | End::Open => {
                    if self.fill(deadline).await? == 0 {
                        self.received.settle();
                        match cut {
                            Cut::Some(_) => return Ok(self.waiting().len().min(limit)),
                            Cut::Until(..) if self.received.end(cut, window) == End::Open => {
                                return Err(self.lost("reading", io::ErrorKind::UnexpectedEof.into()));
                            }
                            Cut::Until(..) => {}
                        }
                    }
                }
            }
        }
    }

    /// Takes in more until what was read last may be shown: as many bytes as the window has come after it, or nothing does.
    pub async fn look_beyond(&mut self, window: usize) {
        while !self.received.is_clear_of(window) {
            if !self.look_on(self.received.quiet()).await {
                self.received.settle();
            }
        }
    }

    /// Whether something came within so long.
    async fn look_on(&mut self, quiet: Duration) -> bool {
        match self.fill(Deadline::after(quiet)).await {
            Ok(count) => count > 0,
            Err(Error::Timeout { .. }) => false,
            Err(error) => {
                self.broken = Some(error);
                false
            }
        }
    }

    /// Exactly `length` bytes, as a secret.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::Timeout`], [`Error::Lost`].
    pub async fn read_exact_secret(
        &mut self,
        length: usize,
        deadline: Deadline,
    ) -> Result<SecretBytes, Error> {
        let length = self.bounded(length)?;
        while self.waiting().len() < length {
            if self.fill(deadline).await? == 0 {
                return Err(self.lost("reading", io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(SecretBytes::new(self.take(length)))
    }

    /// Writes bytes that hold no secret.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::Timeout`], [`Error::Lost`].
    pub async fn write(&mut self, bytes: &[u8], deadline: Deadline) -> Result<(), Error> {
        self.bounded(bytes.len())?;
        self.unanswered = self.unanswered.saturating_add(1);
        let effect = self.effect();
        let stream = self.duplex()?;
        let sent = deadline
            .run("writing", effect, async {
                stream.write_all(bytes).await?;
                stream.flush().await
            })
            .await?;
        sent.map_err(|source| self.lost("writing", source))
    }

    /// Writes a secret, or a frame that holds one.
    ///
    /// # Errors
    /// [`Error::UnsafeStream`] in plaintext that no rule allows, or when the certificate was only looked at; else as [`Channel::write`].
    pub async fn write_secret(&mut self, bytes: &SecretBytes, deadline: Deadline) -> Result<(), Error> {
        match &self.stream {
            Stream::Plain(_) if !self.plaintext_allowed => {
                return Err(Error::UnsafeStream { why: IN_PLAINTEXT });
            }
            Stream::Tls(_) if !self.verified => {
                return Err(Error::UnsafeStream {
                    why: "a stream whose certificate was not checked",
                });
            }
            _ => {}
        }
        self.write(bytes.expose(), deadline).await
    }

    /// The answer to one write has come, whole: one less that may have taken effect unknown to us.
    pub fn settle(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// What a loss of the connection would mean now.
    pub fn effect(&self) -> Effect {
        if self.unanswered > 0 {
            Effect::Maybe
        } else {
            Effect::None
        }
    }

    /// DER of the peer's chain, leaf first; empty without TLS.
    pub fn peer_certificates(&self) -> &[Vec<u8>] {
        &self.peer_certificates
    }

    /// Whether the stream has TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The host as it was dialled.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The address dialled.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads once; how many bytes came.
    async fn fill(&mut self, deadline: Deadline) -> Result<usize, Error> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let effect = self.effect();
        let mut chunk = Zeroizing::new([0; CHUNK]);
        let stream = self.duplex()?;
        let read = deadline
            .run("waiting for an answer", effect, stream.read(&mut *chunk))
            .await?;
        let count = read.map_err(|source| self.lost("reading", source))?;
        self.received.push(&chunk[..count]);
        Ok(count)
    }

    /// Takes out the first bytes that wait, at most so many.
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        self.received.take(length.min(self.waiting().len()))
    }

    fn duplex(&mut self) -> Result<&mut dyn Duplex, Error> {
        match &mut self.stream {
            Stream::Plain(stream) => Ok(stream),
            Stream::Tls(stream) => Ok(stream.as_mut()),
            Stream::Gone => Err(Error::invalid("the handshake on this stream failed")),
        }
    }

    fn bounded(&self, length: usize) -> Result<usize, Error> {
        if length == 0 || length > CHANNEL_LIMIT {
            Err(self.over_limit(CHANNEL_LIMIT))
        } else {
            Ok(length)
        }
    }

    fn over_limit(&self, limit: usize) -> Error {
        Error::Limit {
            what: "the number of bytes",
            limit,
            effect: self.effect(),
        }
    }

    fn lost(&self, doing: &'static str, source: io::Error) -> Error {
        Error::Lost {
            doing,
            effect: self.effect(),
            source,
        }
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("host", &self.host)
            .field("address", &self.address)
            .field("tls", &self.is_tls())
            .finish_non_exhaustive()
    }
}
