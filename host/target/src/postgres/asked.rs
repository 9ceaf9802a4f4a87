//! What the server's messages to a login say that the driver does not tell: whether it asked for the password before it let the login in, and which
//! process it says that the session is served by.
//!
//! Only a login that was asked proves a credential: under `trust`, `peer` or `cert` of `pg_hba.conf` any password opens the server. A pooler makes up the
//! process: the one behind it is another.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use tokio_postgres::tls::TlsConnect;

use super::tap::{Tap, Tapped};

/// The type of a message, and its length with these four bytes of it.
const HEADER_BYTES: usize = 5;
/// What is looked at of a message: a kind of authentication, or a number of a process.
const NUMBER_BYTES: usize = 4;
const LET_IN: u8 = 1;
const OTHER: u8 = 2;

/// What the server has said so far; shared with the stream that it comes by.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(Arc<Said>);

#[derive(Debug, Default)]
struct Said {
    first: AtomicU8,
    backend: AtomicU32,
}

impl Asked {
    /// Whether the server let the login in without having asked for anything.
    pub(super) fn was_let_in_unasked(&self) -> bool {
        self.0.first.load(Ordering::Relaxed) == LET_IN
    }

    /// The process that the session is said to be served by; some servers name none.
    pub(super) fn backend(&self) -> Option<u32> {
        Some(self.0.backend.load(Ordering::Relaxed)).filter(|process| *process != 0)
    }

    fn note_first(&self, kind: u8, number: u32) {
        let unasked = kind == b'R' && number == 0;
        self.0
            .first
            .store(if unasked { LET_IN } else { OTHER }, Ordering::Relaxed);
    }

    fn note_backend(&self, process: u32) {
        self.0.backend.store(process, Ordering::Relaxed);
    }
}

/// A stream of which the server's messages are looked at until it is ready for statements; nothing of them is kept.
pub(super) type Watched<S> = Tapped<S, Head>;

/// Where in the messages it is.
pub(super) struct Head {
    header: [u8; HEADER_BYTES],
    number: [u8; NUMBER_BYTES],
    /// Bytes of the message that have come.
    seen: usize,
    is_first: bool,
    is_over: bool,
    asked: Asked,
}

impl Head {
    pub(super) fn new(asked: Asked) -> Self {
        Self {
            header: [0; HEADER_BYTES],
            number: [0; NUMBER_BYTES],
            seen: 0,
            is_first: true,
            is_over: false,
            asked,
        }
    }

    /// Bytes of the message, its type included; fewer than the header has are no message.
    fn whole(&self) -> usize {
        let [_, length @ ..] = self.header;
        usize::try_from(u32::from_be_bytes(length))
            .unwrap_or(usize::MAX)
            .saturating_add(1)
    }

    /// Takes what is of the message that is being read, and gives what comes after it.
    fn take<'r>(&mut self, read: &'r [u8]) -> &'r [u8] {
        let whole = self.whole();
        let (place, left) = if self.seen < HEADER_BYTES {
            (&mut self.header[self.seen..], HEADER_BYTES - self.seen)
        } else {
            let at = (self.seen - HEADER_BYTES).min(NUMBER_BYTES);
            (&mut self.number[at..], whole - self.seen)
        };
        let wanted = if place.is_empty() {
            left
        } else {
            left.min(place.len())
        };
        let (mine, rest) = read.split_at(wanted.min(read.len()));
        place.iter_mut().zip(mine).for_each(|(to, from)| *to = *from);
        self.seen += mine.len();
        if self.seen >= HEADER_BYTES {
            self.came();
        }
        rest
    }

    /// The header is there, and as much of the rest as was seen.
    fn came(&mut self) {
        let whole = self.whole();
        if whole < HEADER_BYTES {
            // The driver says what is wrong with it.
            self.is_over = true;
            return;
        }
        if self.seen == whole.min(HEADER_BYTES + NUMBER_BYTES) {
            self.note();
        }
        if self.seen == whole {
            self.seen = 0;
        }
    }

    /// The header has come and, where the message has one, its number.
    fn note(&mut self) {
        let number = u32::from_be_bytes(self.number);
        let has_number = self.whole() >= HEADER_BYTES + NUMBER_BYTES;
        if std::mem::take(&mut self.is_first) && has_number {
            self.asked.note_first(self.header[0], number);
        }
        match self.header[0] {
            b'K' if has_number => self.asked.note_backend(number),
            b'Z' => self.is_over = true,
            _ => {}
        }
    }
}

impl Tap for Head {
    fn look(&mut self, mut read: &[u8]) {
        while !read.is_empty() && !self.is_over {
            read = self.take(read);
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

    /// A login by a password, as a server answers it: asked, let in, two settings, the process, ready; then a row with a `K` of its own.
    #[test]
    fn the_process_is_told_however_the_messages_are_cut_and_nothing_after_them_is_looked_at() {
        let login = [
            &b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"[..],
            b"R\0\0\0\x08\0\0\0\0",
            b"S\0\0\0\x09K\0on\0S\0\0\0\x04",
            b"K\0\0\0\x0c\0\x01\x02\x03\x09\x09\x09\x09",
            b"Z\0\0\0\x05I",
            b"K\0\0\0\x0c\x07\x07\x07\x07\0\0\0\0",
        ]
        .concat();
        for size in 1..=login.len() {
            let asked = Asked::default();
            let mut head = Head::new(asked.clone());
            login.chunks(size).for_each(|piece| head.look(piece));
            assert_eq!(asked.backend(), Some(0x0001_0203), "{size}");
            assert!(!asked.was_let_in_unasked(), "{size}");
        }
    }

    #[test]
    fn what_is_no_message_ends_the_look() {
        for wrong in [&b"K\0\0\0\x03\0\0\0\x01"[..], b"K\0\0\0\0\0\0\0\x01", &[0xff; 64]] {
            let asked = Asked::default();
            let mut head = Head::new(asked.clone());
            head.look(wrong);
            head.look(&[b'K', 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0]);
            assert_eq!(asked.backend(), None, "{wrong:?}");
        }
    }
}
