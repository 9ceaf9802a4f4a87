//! Whether the server asked for the password before it let a login in. The driver does not tell, and only a login that was asked proves a
//! credential: under `trust`, `peer` or `cert` of `pg_hba.conf` any password opens the server.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio_postgres::tls::TlsConnect;

use super::tap::{Tap, Tapped};

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
pub(super) type Watched<S> = Tapped<S, Head>;

/// As much of that message as has come.
pub(super) struct Head {
    bytes: [u8; HEAD_BYTES],
    seen: usize,
    asked: Asked,
}

impl Head {
    pub(super) fn new(asked: Asked) -> Self {
        Self {
            bytes: [0; HEAD_BYTES],
            seen: 0,
            asked,
        }
    }
}

impl Tap for Head {
    fn look(&mut self, read: &[u8]) {
        let wanted = &mut self.bytes[self.seen..];
        let taken = wanted.len().min(read.len());
        if taken == 0 {
            return;
        }
        wanted[..taken].copy_from_slice(&read[..taken]);
        self.seen += taken;
        if self.seen == HEAD_BYTES {
            self.asked.note(&self.bytes);
        }
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
    C::Stream: Unpin,
    C::Future: Send + 'static,
{
    type Stream = Watched<C::Stream>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let Self { inner, asked } = self;
        let connecting = inner.connect(stream);
        Box::pin(async move { Ok(Watched::new(connecting.await?, Head::new(asked))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pieces: &[&[u8]]) -> bool {
        let asked = Asked::default();
        let mut head = Head::new(asked.clone());
        for piece in pieces {
            head.look(piece);
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
