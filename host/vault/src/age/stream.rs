//! Age files of any length, to several recipients: the payload goes through in chunks of 64 KiB, so that memory does not grow with it.
//!
//! Each chunk is authenticated with its number, the last one as the last: a file that was cut, lengthened, or whose chunks were moved does
//! not open. Stanzas of kinds that are not known are left alone, as the format asks, so that the `age` tool opens a file that has others.

use std::io::{self, BufRead, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::Nonce;
use chacha20poly1305::aead::Aead;
use hmac::Mac;
use zeroize::Zeroizing;

use super::{
    CHUNK, Identity, MAC_LINE, Recipient, VERSION_LINE, chacha, expand, header_mac, unwrap_stanza,
    wrap_stanza,
};
use crate::Error;
use crate::seal::fill;

const TAG: usize = 16;
const STANZA_LINE: &str = "-> ";
const X25519: &str = "X25519";
/// The characters of a full line of a stanza's body.
const COLUMNS: usize = 64;
/// What a header may take: it is read before anything of it is authenticated.
const HEADER_MAX: u64 = 256 * 1024;

/// The key of one file.
pub(crate) type FileKey = Zeroizing<[u8; 16]>;

/// One way of opening a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stanza {
    /// Its kind, then what the kind needs. No spaces in them.
    pub(crate) words: Vec<String>,
    /// What opens to the file's key.
    pub(crate) body: Vec<u8>,
}

impl Stanza {
    /// For the holder of an identity.
    fn for_recipient(recipient: Recipient, key: &FileKey) -> Result<Self, Error> {
        let (share, body) = wrap_stanza(recipient, key)?;
        Ok(Self {
            words: vec![X25519.to_owned(), share],
            body,
        })
    }

    /// The file's key, if the stanza is for this identity.
    pub(crate) fn open(&self, identity: &Identity) -> Option<FileKey> {
        match self.words.as_slice() {
            [kind, share] if kind == X25519 => unwrap_stanza(identity, share, &self.body),
            _ => None,
        }
    }

    fn write_to(&self, header: &mut Vec<u8>) {
        header.extend(format!("{STANZA_LINE}{}\n", self.words.join(" ")).bytes());
        let body = STANDARD_NO_PAD.encode(&self.body);
        let mut lines = body.as_bytes().chunks(COLUMNS).peekable();
        let mut ends_full = true;
        while let Some(line) = lines.next() {
            header.extend_from_slice(line);
            header.push(b'\n');
            ends_full = lines.peek().is_some() || line.len() == COLUMNS;
        }
        if ends_full {
            // A body ends with a line that is not full, be it empty.
            header.push(b'\n');
        }
    }
}

/// Writes an age file.
pub(crate) struct Sealer<W: Write> {
    to: W,
    chunks: Chunks,
    waiting: Zeroizing<Vec<u8>>,
}

impl<W: Write> Sealer<W> {
    /// Writes the header. `more` makes further stanzas for the file's key.
    ///
    /// # Errors
    /// The random source, or what `more` says; what the writer says is the inner result.
    pub(crate) fn begin(
        mut to: W,
        recipients: &[Recipient],
        more: impl FnOnce(&FileKey) -> Result<Vec<Stanza>, Error>,
    ) -> Result<io::Result<Self>, Error> {
        let mut key = FileKey::default();
        fill(&mut *key)?;
        let mut header = VERSION_LINE.as_bytes().to_vec();
        for recipient in recipients {
            Stanza::for_recipient(*recipient, &key)?.write_to(&mut header);
        }
        more(&key)?.iter().for_each(|stanza| stanza.write_to(&mut header));
        header.extend(MAC_LINE.bytes());
        let mac = header_mac(&*key, &header)?.finalize().into_bytes();
        header.extend(format!(" {}\n", STANDARD_NO_PAD.encode(mac)).bytes());
        let mut nonce = [0; 16];
        fill(&mut nonce)?;
        header.extend(nonce);
        let chunks = Chunks::new(&key, &nonce)?;
        Ok(to.write_all(&header).map(|()| Self {
            to,
            chunks,
            waiting: Zeroizing::new(Vec::with_capacity(CHUNK)),
        }))
    }

    /// Writes the last chunk: without it the file does not open.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let last = self.chunks.seal(&self.waiting, true)?;
        self.to.write_all(&last)?;
        Ok(self.to)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.waiting.len() == CHUNK {
            let sealed = self.chunks.seal(&self.waiting, false)?;
            self.to.write_all(&sealed)?;
            self.waiting.clear();
        }
        let taken = bytes.len().min(CHUNK - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads an age file. What it gives is authenticated chunk by chunk; that it was all is known when it has ended.
pub(crate) struct Opener<R: BufRead> {
    from: R,
    chunks: Chunks,
    plain: Zeroizing<Vec<u8>>,
    given: usize,
    ended: bool,
}

impl<R: BufRead> Opener<R> {
    /// Reads the header. `unwrap` finds the file's key in a stanza.
    ///
    /// # Errors
    /// What `unwrap` says; [`Error::BackupDamaged`] when it is no age file, or the header was altered.
    pub(crate) fn begin(
        mut from: R,
        unwrap: impl FnOnce(&[Stanza]) -> Result<FileKey, Error>,
    ) -> Result<Self, Error> {
        let damaged = |what| Error::BackupDamaged { what };
        let (header, stanzas, mac) =
            read_header(&mut from).ok_or_else(|| damaged("its first lines are not those of an age file"))?;
        let key = unwrap(&stanzas)?;
        header_mac(&*key, &header)?
            .verify_slice(&mac)
            .map_err(|_| damaged("its header was altered"))?;
        let mut nonce = [0; 16];
        from.read_exact(&mut nonce)
            .map_err(|_| damaged("it ends after its header"))?;
        Ok(Self {
            from,
            chunks: Chunks::new(&key, &nonce)?,
            plain: Zeroizing::default(),
            given: 0,
            ended: false,
        })
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let mut sealed = Vec::with_capacity(CHUNK + TAG);
        let limit = u64::try_from(CHUNK + TAG).unwrap_or(u64::MAX);
        self.from.by_ref().take(limit).read_to_end(&mut sealed)?;
        let last = sealed.len() < CHUNK + TAG || self.from.fill_buf()?.is_empty();
        self.plain = self.chunks.open(&sealed, last)?;
        self.given = 0;
        self.ended = last;
        Ok(())
    }
}

impl<R: BufRead> Read for Opener<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.given == self.plain.len() {
            if self.ended {
                return Ok(0);
            }
            self.next_chunk()?;
        }
        let rest = &self.plain[self.given..];
        let count = rest.len().min(to.len());
        to[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}

/// The STREAM of a payload: the nonce of a chunk is its number (11 bytes) and whether it is the last.
struct Chunks {
    key: Zeroizing<[u8; 32]>,
    number: u64,
}

impl Chunks {
    fn new(key: &FileKey, nonce: &[u8; 16]) -> Result<Self, Error> {
        Ok(Self {
            key: expand(&**key, Some(nonce), b"payload")?,
            number: 0,
        })
    }

    fn nonce(&mut self, last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.number.to_be_bytes());
        nonce[11] = u8::from(last);
        self.number += 1;
        Nonce::from(nonce)
    }

    fn seal(&mut self, plain: &[u8], last: bool) -> io::Result<Vec<u8>> {
        let nonce = self.nonce(last);
        chacha(&self.key)
            .encrypt(&nonce, plain)
            .map_err(|_| io::Error::other("encryption failed"))
    }

    /// An empty chunk is only ever the whole payload.
    fn open(&mut self, sealed: &[u8], last: bool) -> io::Result<Zeroizing<Vec<u8>>> {
        let first = self.number == 0;
        let nonce = self.nonce(last);
        let plain = chacha(&self.key).decrypt(&nonce, sealed).ok().map(Zeroizing::new);
        plain.filter(|plain| first || !plain.is_empty()).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "a part of it was altered, or its end is missing",
            )
        })
    }
}

/// The authenticated bytes of a header, its stanzas, and its code.
fn read_header(from: &mut impl BufRead) -> Option<(Vec<u8>, Vec<Stanza>, Vec<u8>)> {
    let mut lines = Lines {
        from: from.take(HEADER_MAX),
        read: Vec::new(),
    };
    if lines.next()? != VERSION_LINE.trim_end() {
        return None;
    }
    let mut stanzas = Vec::new();
    loop {
        let before = lines.read.len();
        let line = lines.next()?;
        if let Some(mac) = line.strip_prefix(MAC_LINE) {
            let mac = STANDARD_NO_PAD.decode(mac.strip_prefix(' ')?).ok()?;
            lines.read.truncate(before + MAC_LINE.len());
            return Some((lines.read, stanzas, mac));
        }
        let words: Vec<String> = line
            .strip_prefix(STANZA_LINE)?
            .split(' ')
            .map(str::to_owned)
            .collect();
        let mut body = String::new();
        loop {
            let line = lines.next()?;
            body.push_str(&line);
            if line.len() < COLUMNS {
                break;
            }
        }
        let body = STANDARD_NO_PAD.decode(body).ok()?;
        stanzas.push(Stanza { words, body });
    }
}

struct Lines<R> {
    from: R,
    read: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Option<String> {
        let begin = self.read.len();
        self.from.read_until(b'\n', &mut self.read).ok()?;
        let line = self.read.get(begin..)?.strip_suffix(b"\n")?;
        std::str::from_utf8(line).ok().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests;
