//! What goes over the socket: frames of a kind, a length and bytes. Both sides are the same binary; a version in the first frame says so.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Error;

/// Of the language. A side of another version is refused.
pub(crate) const VERSION: u32 = 1;

/// No frame has more.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// From the command: what is wanted; once, first.
    Hello = 1,
    /// From the command: the answer to a question.
    Answer = 2,
    /// From the command: there is none; why.
    NoAnswer = 3,
    /// From the command: stop at the next journalled point.
    Stop = 4,
    /// From the host: for standard output.
    Out = 10,
    /// From the host: for standard error.
    Err = 11,
    /// From the host: a question.
    Ask = 12,
    /// From the host: how it ended; last.
    Exit = 13,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [
            Self::Hello,
            Self::Answer,
            Self::NoAnswer,
            Self::Stop,
            Self::Out,
            Self::Err,
            Self::Ask,
            Self::Exit,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// What the command's terminal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each with its own sentence"
)]
pub struct Facts {
    /// Standard input is a terminal.
    pub stdin: bool,
    /// Standard output is one.
    pub stdout: bool,
    /// Standard error is one.
    pub stderr: bool,
    /// No colours are wanted (`NO_COLOR`, `TERM=dumb`).
    pub plain: bool,
}

/// What a command wants of the running host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hello {
    pub(crate) version: u32,
    /// Its words, without the program's name.
    pub words: Vec<String>,
    /// Where it was started: relative paths are from there.
    pub folder: std::path::PathBuf,
    /// Its terminal.
    pub facts: Facts,
}

impl Hello {
    /// In this version's language.
    pub fn new(words: Vec<String>, folder: std::path::PathBuf, facts: Facts) -> Self {
        Self {
            version: VERSION,
            words,
            folder,
            facts,
        }
    }
}

/// What is done with a file on the command's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileAction {
    /// Its bytes are the answer: at most so many, and one more where there are more.
    Read(usize),
    /// A new one is made (0600) and has these bytes.
    Create,
    /// One that is there gets these bytes instead of its own, and is synced.
    Fill,
    /// It is removed.
    Remove,
}

/// One frame. Its bytes may be a secret.
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

/// Writes one frame, and sends it off.
///
/// # Errors
/// It is too long; the connection.
pub(crate) fn write(to: &mut impl Write, kind: Kind, bytes: &[u8]) -> Result<(), Error> {
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|_| bytes.len() <= BYTES_MAX);
    let length = length.ok_or(Error::Language {
        what: "a part is too long",
    })?;
    let mut head = [0; 5];
    head[0] = kind as u8;
    head[1..].copy_from_slice(&length.to_be_bytes());
    let written = to
        .write_all(&head)
        .and_then(|()| to.write_all(bytes))
        .and_then(|()| to.flush());
    written.map_err(|source| Error::Broken { source })
}

/// Reads one frame; none: the other side has closed between two frames.
///
/// # Errors
/// It is of no kind, or too long; the connection.
pub(crate) fn read(from: &mut impl Read) -> Result<Option<Frame>, Error> {
    let broken = |source| Error::Broken { source };
    let mut head = [0; 5];
    loop {
        match from.read(&mut head[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(error)),
        }
    }
    from.read_exact(&mut head[1..]).map_err(broken)?;
    let kind = Kind::of(head[0]).ok_or(Error::Language {
        what: "a part of an unknown kind",
    })?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > BYTES_MAX {
        return Err(Error::Language {
            what: "a part is too long",
        });
    }
    // Never grown: no copy of a secret is left behind.
    let mut bytes = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut bytes).map_err(broken)?;
    Ok(Some(Frame { kind, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_no_frame_is_refused() {
        let mut wire = Vec::new();
        write(&mut wire, Kind::Out, b"words").unwrap();
        write(&mut wire, Kind::Exit, &[41]).unwrap();
        let mut from = wire.as_slice();
        let frame = read(&mut from).unwrap().unwrap();
        assert_eq!(
            (frame.kind, frame.bytes.as_slice()),
            (Kind::Out, b"words".as_slice())
        );
        let frame = read(&mut from).unwrap().unwrap();
        assert_eq!(
            (frame.kind, frame.bytes.as_slice()),
            (Kind::Exit, [41].as_slice())
        );
        assert!(read(&mut from).unwrap().is_none());
        for wrong in [
            &[99, 0, 0, 0, 0][..],
            &[10, 255, 255, 255, 255],
            &[10, 0, 0, 0, 9, 1],
            &[10, 0],
        ] {
            assert!(read(&mut &*wrong).is_err(), "{wrong:?}");
        }
        assert!(write(&mut wire, Kind::Out, &vec![0; BYTES_MAX + 1]).is_err());
    }
}
