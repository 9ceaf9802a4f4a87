//! The way to a mail server: TLS before anything is said, or STARTTLS and nothing before that.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use crate::Error;

/// What a server says before TLS is not longer.
const REPLY_BYTES: usize = 16 * 1024;

/// In place of the greeting that was read before TLS.
const GREETING: &[u8] = b"220 TLS\r\n";

/// Has the server begin with TLS (RFC 3207). Nothing is read ahead: what somebody slips in behind its last reply is part of a handshake that fails.
pub(super) async fn ask_for_tls(stream: &mut TcpStream, hello: &str) -> Result<(), Error> {
    reply(stream, 220).await?;
    say(stream, &format!("EHLO {hello}\r\n")).await?;
    let offered = reply(stream, 250).await?;
    let offers = |line: &str| {
        line.get(4..)
            .is_some_and(|word| word.trim().eq_ignore_ascii_case("STARTTLS"))
    };
    if !offered.lines().any(offers) {
        return Err(mail("it does not offer STARTTLS, and nothing is sent without"));
    }
    say(stream, "STARTTLS\r\n").await?;
    reply(stream, 220).await.map(|_| ())
}

async fn say(stream: &mut TcpStream, line: &str) -> Result<(), Error> {
    stream.write_all(line.as_bytes()).await.map_err(broken)
}

/// The lines of its reply, if that has this code.
async fn reply(stream: &mut TcpStream, wanted: u16) -> Result<String, Error> {
    let mut said = Vec::new();
    let mut begun = 0;
    loop {
        said.push(stream.read_u8().await.map_err(broken)?);
        if said.len() > REPLY_BYTES {
            return Err(mail("its reply is too long"));
        }
        if said.last() != Some(&b'\n') {
            continue;
        }
        let is_last = said.get(begun + 3) != Some(&b'-');
        begun = said.len();
        if is_last {
            break;
        }
    }
    let text = String::from_utf8_lossy(&said).into_owned();
    match text.get(..3).and_then(|code| code.parse::<u16>().ok()) {
        Some(code) if code == wanted => Ok(text),
        Some(status @ 400..=499) => Err(Error::Busy {
            status,
            retry_after: None,
        }),
        Some(code) => Err(mail(&format!("it has answered {code}"))),
        None => Err(mail("it has answered what is no reply")),
    }
}

fn broken(error: io::Error) -> Error {
    mail(&format!("it broke off: {error}"))
}

fn mail(what: &str) -> Error {
    Error::Mail {
        what: what.to_owned(),
    }
}

/// A stream over TLS, as if the server had greeted on it.
#[derive(Debug)]
pub(super) struct Spoken<S> {
    greeting: &'static [u8],
    stream: S,
    peer: SocketAddr,
}

impl<S> Spoken<S> {
    pub(super) fn new(stream: S, peer: SocketAddr, is_greeted: bool) -> Self {
        Self {
            greeting: if is_greeted { GREETING } else { b"" },
            stream,
            peer,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin + fmt::Debug> AsyncTokioStream for Spoken<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Spoken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, into);
        }
        let (now, later) = self.greeting.split_at(self.greeting.len().min(into.remaining()));
        into.put_slice(now);
        self.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Spoken<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
