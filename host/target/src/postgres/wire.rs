//! What a session goes over: TCP, or a Unix socket of this machine.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use keywheel_model::SocketFolder;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::ConnectOptions;
use crate::dial::{Allow, Dialer};
use crate::tls::TlsOptions;
use crate::{Deadline, Error, Outbound};

/// Where a session leads: what was checked when it was dialled.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Address(SocketAddr),
    Socket { folder: SocketFolder, port: u16 },
}

/// A stream to one.
#[derive(Debug)]
pub(super) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A stream that was dialled, where it leads, and the TLS that is to come: none over a socket.
pub(super) type Dialled = (Wire, Place, Option<TlsOptions>);

/// Dials what the options say.
///
/// # Errors
/// As [`Dialer::dial`] and [`Dialer::dial_socket`]; [`Error::PlaintextDenied`].
pub(super) async fn dial(
    outbound: &Outbound,
    rules: &[Allow],
    options: &ConnectOptions,
    deadline: Deadline,
) -> Result<Dialled, Error> {
    let (host, port, dialer) = (&options.host, options.port, &outbound.dialer);
    if SocketFolder::is_meant(host) {
        let folder: SocketFolder = host.parse()?;
        let stream = dialer.dial_socket(rules, &folder, port, deadline).await?;
        return Ok((Wire::Unix(stream), Place::Socket { folder, port }, None));
    }
    let dialled = dialer.dial(rules, host, port, deadline).await?;
    let tls = options.security.of(&dialled, port)?;
    Ok((Wire::Tcp(dialled.stream), Place::Address(dialled.address), tls))
}

impl Place {
    /// A second connection to the very same place.
    pub(super) async fn connect(&self) -> io::Result<Wire> {
        Ok(match self {
            Self::Address(address) => Wire::Tcp(TcpStream::connect(address).await?),
            Self::Socket { folder, port } => {
                Wire::Unix(UnixStream::connect(folder.of_postgres(*port)).await?)
            }
        })
    }

    /// Whether the server says something to who says nothing.
    pub(super) async fn speaks_first(&self, within: Duration) -> bool {
        let spoken = async { self.connect().await?.read_u8().await };
        matches!(tokio::time::timeout(within, spoken).await, Ok(Ok(_)))
    }

    /// Whether `rules` would have opened it for `host`.
    ///
    /// # Errors
    /// As the dialer would refuse it.
    pub(super) fn recheck(&self, dialer: &Dialer, rules: &[Allow], host: &str) -> Result<(), Error> {
        match self {
            Self::Address(address) => dialer.recheck(rules, host, *address),
            Self::Socket { folder, port } => dialer.recheck_socket(rules, folder, *port),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
