//! Whole protocol messages whose lengths the host writes, so that whoever composes one never learns how long a secret is.

use keywheel_model::{Effect, SecretBytes};
use zeroize::Zeroizing;

use crate::Error;

/// Longest frame.
pub const FRAME_LIMIT: usize = 64 * 1024;

/// Deepest nesting.
pub const DEPTH_LIMIT: usize = 16;

/// Most pieces and elements of one frame.
pub const PART_LIMIT: usize = 4096;

/// The framing of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// An array of bulk strings (RESP2). A piece at the top is a bulk string; `open` … `close` joins pieces into one.
    Resp,
    /// Nested tag-length-value with definite, minimal lengths (X.690 DER). `open` takes the identifier octets.
    Ber,
}

impl Framing {
    /// The framing of a word: `resp`, `ber`, and `ldap`, which is written in the same way.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "resp" => Some(Self::Resp),
            "ber" | "ldap" => Some(Self::Ber),
            _ => None,
        }
    }
}

#[derive(Debug)]
enum Part {
    Bytes(Vec<u8>),
    Secret(SecretBytes),
    Element { tag: u32, parts: Vec<Part> },
}

/// A message under construction.
#[derive(Debug)]
pub struct Frame {
    framing: Framing,
    /// Open elements, outermost first; the first is the message itself.
    open: Vec<(u32, Vec<Part>)>,
    carries_secret: bool,
    parts: usize,
    bytes: usize,
}

impl Frame {
    /// An empty one.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            open: vec![(0, Vec::new())],
            carries_secret: false,
            parts: 0,
            bytes: 0,
        }
    }

    /// Its framing.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Begins an element. `tag`: for BER the identifier octets as one number (`0x30`, `0x7f21`), for RESP unused.
    ///
    /// # Errors
    /// [`Error::Limit`] beyond [`DEPTH_LIMIT`]; [`Error::Invalid`] for nesting in RESP or a tag that is not whole identifier octets.
    pub fn open(&mut self, tag: u32) -> Result<(), Error> {
        match self.framing {
            Framing::Resp if self.open.len() > 1 => {
                return Err(Error::invalid("a bulk string holds no other"));
            }
            Framing::Ber if !is_identifier(tag) => {
                return Err(Error::invalid(
                    "the tag is not the identifier octets of a BER element",
                ));
            }
            _ if self.open.len() > DEPTH_LIMIT => return Err(limit("the depth of the frame", DEPTH_LIMIT)),
            _ => {}
        }
        self.count(0)?;
        self.open.push((tag, Vec::new()));
        Ok(())
    }

    /// Ends the innermost element.
    ///
    /// # Errors
    /// [`Error::Invalid`] when none is open.
    pub fn close(&mut self) -> Result<(), Error> {
        if self.open.len() < 2 {
            return Err(Error::invalid("no element of the frame is open"));
        }
        if let Some((tag, parts)) = self.open.pop() {
            self.append(Part::Element { tag, parts });
        }
        Ok(())
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.count(bytes.len())?;
        self.append(Part::Bytes(bytes.to_vec()));
        Ok(())
    }

    /// Adds a secret. How long it is only shows, by failing or not, to [`Frame::finish`].
    ///
    /// # Errors
    /// [`Error::Limit`] for too many pieces.
    pub fn secret(&mut self, secret: SecretBytes) -> Result<(), Error> {
        self.count(0)?;
        self.carries_secret = true;
        self.append(Part::Secret(secret));
        Ok(())
    }

    /// Whether a secret is inside.
    pub fn carries_secret(&self) -> bool {
        self.carries_secret
    }

    /// The bytes to send.
    ///
    /// # Errors
    /// [`Error::Invalid`] when an element is still open or nothing is in it; [`Error::Limit`] beyond [`FRAME_LIMIT`].
    pub fn finish(mut self) -> Result<SecretBytes, Error> {
        let parts = match (self.open.pop(), self.open.is_empty()) {
            (Some((_, parts)), true) if !parts.is_empty() => parts,
            _ => {
                return Err(Error::invalid(
                    "the frame is empty or an element of it is still open",
                ));
            }
        };
        let length = encoded_len(self.framing, &parts);
        if length > FRAME_LIMIT {
            return Err(limit("the frame", FRAME_LIMIT));
        }
        let mut out = Zeroizing::new(Vec::with_capacity(length));
        encode(self.framing, &parts, &mut out);
        Ok(SecretBytes::new(std::mem::take(&mut *out)))
    }

    fn append(&mut self, part: Part) {
        if let Some((_, parts)) = self.open.last_mut() {
            parts.push(part);
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), Error> {
        self.parts += 1;
        self.bytes += bytes;
        match (self.parts > PART_LIMIT, self.bytes > FRAME_LIMIT) {
            (true, _) => Err(limit("the number of the frame's pieces", PART_LIMIT)),
            (_, true) => Err(limit("the frame", FRAME_LIMIT)),
            _ => Ok(()),
        }
    }
}

fn limit(what: &'static str, limit: usize) -> Error {
    Error::Limit {
        what,
        limit,
        effect: Effect::None,
    }
}

/// Identifier octets (X.690 8.1.2): one below 0x1f in its low bits, or 0x1f there and then base 128 to an octet below 0x80.
fn is_identifier(tag: u32) -> bool {
    let octets = tag_octets(tag);
    match octets.as_slice() {
        [one] => one & 0x1f != 0x1f,
        [first, middle @ .., last] => {
            first & 0x1f == 0x1f
                && middle.iter().all(|b| b & 0x80 != 0)
                && last & 0x80 == 0
                && octets[1] != 0x80
        }
        [] => false,
    }
}

fn tag_octets(tag: u32) -> Vec<u8> {
    let bytes = tag.to_be_bytes();
    let first = bytes.iter().position(|b| *b != 0).unwrap_or(3);
    bytes[first..].to_vec()
}

/// Length octets (X.690 8.1.3), minimal.
fn length_octets(length: usize) -> Vec<u8> {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => vec![short],
        _ => {
            let bytes = length.to_be_bytes();
            let first = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len() - 1);
            let mut octets = vec![0x80 | u8::try_from(bytes.len() - first).unwrap_or(0x7f)];
            octets.extend_from_slice(&bytes[first..]);
            octets
        }
    }
}

/// The length of the content of parts: without what the message itself wraps around them.
fn content_len(framing: Framing, parts: &[Part]) -> usize {
    parts
        .iter()
        .map(|part| match part {
            Part::Bytes(bytes) => bytes.len(),
            Part::Secret(secret) => secret.expose().len(),
            Part::Element { tag, parts } => {
                let inner = content_len(framing, parts);
                match framing {
                    Framing::Resp => inner,
                    Framing::Ber => tag_octets(*tag).len() + length_octets(inner).len() + inner,
                }
            }
        })
        .sum()
}

fn encoded_len(framing: Framing, parts: &[Part]) -> usize {
    match framing {
        Framing::Ber => content_len(framing, parts),
        Framing::Resp => {
            let bulk = |part: &Part| {
                let inner = content_len(framing, std::slice::from_ref(part));
                1 + inner.to_string().len() + 2 + inner + 2
            };
            1 + parts.len().to_string().len() + 2 + parts.iter().map(bulk).sum::<usize>()
        }
    }
}

fn encode(framing: Framing, parts: &[Part], out: &mut Vec<u8>) {
    match framing {
        Framing::Ber => encode_content(framing, parts, out),
        Framing::Resp => {
            out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
            for part in parts {
                let part = std::slice::from_ref(part);
                out.extend_from_slice(format!("${}\r\n", content_len(framing, part)).as_bytes());
                encode_content(framing, part, out);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

fn encode_content(framing: Framing, parts: &[Part], out: &mut Vec<u8>) {
    for part in parts {
        match part {
            Part::Bytes(bytes) => out.extend_from_slice(bytes),
            Part::Secret(secret) => out.extend_from_slice(secret.expose()),
            Part::Element { tag, parts } => {
                if framing == Framing::Ber {
                    out.extend_from_slice(&tag_octets(*tag));
                    out.extend_from_slice(&length_octets(content_len(framing, parts)));
                }
                encode_content(framing, parts, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(frame: Frame) -> Vec<u8> {
        frame.finish().unwrap().expose().to_vec()
    }

    #[test]
    fn resp_lengths_are_written_by_the_host_and_pieces_join_in_an_element() {
        let mut frame = Frame::new(Framing::Resp);
        frame.bytes(b"ACL").unwrap();
        frame.bytes(b"SETUSER").unwrap();
        frame.bytes(b"a\r\nb").unwrap();
        frame.open(0).unwrap();
        frame.bytes(b"#").unwrap();
        frame.secret(SecretBytes::copy_of("pä$".as_bytes())).unwrap();
        frame.close().unwrap();
        assert!(frame.carries_secret());
        assert!(!format!("{frame:?}").contains("pä"));
        assert_eq!(
            sent(frame),
            "*4\r\n$3\r\nACL\r\n$7\r\nSETUSER\r\n$4\r\na\r\nb\r\n$5\r\n#pä$\r\n".as_bytes()
        );
    }

    #[test]
    fn ber_lengths_nest_and_grow() {
        // LDAP simple bind (RFC 4511 4.2): message 1, version 3, name "cn=a", password of 200 bytes.
        let mut frame = Frame::new(Framing::Ber);
        frame.open(0x30).unwrap();
        frame.open(0x02).unwrap();
        frame.bytes(&[1]).unwrap();
        frame.close().unwrap();
        frame.open(0x60).unwrap();
        for (tag, bytes) in [(0x02, &[3][..]), (0x04, b"cn=a")] {
            frame.open(tag).unwrap();
            frame.bytes(bytes).unwrap();
            frame.close().unwrap();
        }
        frame.open(0x80).unwrap();
        frame.secret(SecretBytes::new(vec![b'x'; 200])).unwrap();
        frame.close().unwrap();
        frame.close().unwrap();
        frame.close().unwrap();
        let mut expected = vec![
            0x30, 0x81, 218, 0x02, 1, 1, 0x60, 0x81, 212, 0x02, 1, 3, 0x04, 4, b'c', b'n', b'=', b'a', 0x80,
            0x81, 200,
        ];
        expected.extend([b'x'; 200]);
        assert_eq!(sent(frame), expected);
    }

    #[test]
    fn an_open_an_empty_and_a_too_large_frame_are_refused() {
        let mut open = Frame::new(Framing::Resp);
        open.bytes(b"AUTH").unwrap();
        open.open(0).unwrap();
        assert!(open.finish().is_err());
        assert!(Frame::new(Framing::Ber).finish().is_err());
        let mut large = Frame::new(Framing::Resp);
        large.secret(SecretBytes::new(vec![0; FRAME_LIMIT])).unwrap();
        assert!(matches!(large.finish(), Err(Error::Limit { .. })));
        let mut deep = Frame::new(Framing::Ber);
        assert!((0..=DEPTH_LIMIT).any(|_| deep.open(0x30).is_err()));
        assert!(Frame::new(Framing::Resp).close().is_err());
        for bad in [0x1f, 0x1f80, 0x3001, 0x007f_8021] {
            assert!(Frame::new(Framing::Ber).open(bad).is_err(), "{bad:#x}");
        }
        assert!(Frame::new(Framing::Ber).open(0x7f21).is_ok());
    }
}
