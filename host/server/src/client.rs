//! The command's side of the socket.

use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::frame::{self, Hello, Kind};
use crate::listener::check_length;
use crate::session::is_named;
use crate::{Ask, Error};

/// The host takes what is said to it within this time.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// What a command can do where it was started. Each call may block.
pub trait Here {
    /// Writes to standard output.
    ///
    /// # Errors
    /// It cannot be written.
    fn out(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Writes to standard error.
    fn err(&mut self, bytes: &[u8]);
    /// Answers a question of the host's; `bytes` go with it. A file is one that the command line names.
    ///
    /// # Errors
    /// There is no answer.
    fn answer(&mut self, ask: &Ask, bytes: &[u8]) -> io::Result<Zeroizing<Vec<u8>>>;
}

/// A connection to the running host.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

/// Asks the host to stop at the next journalled point, from another thread.
#[derive(Debug)]
pub struct Stopping(UnixStream);

impl Stopping {
    /// Asks.
    ///
    /// # Errors
    /// The connection.
    pub fn ask(&mut self) -> Result<(), Error> {
        frame::write(&mut self.0, Kind::Stop, &[])
    }
}

impl Client {
    /// Connects to the host that listens at a path; none: nobody listens there.
    ///
    /// # Errors
    /// This user may not; [`Error::Stranger`] listens there, to whom nothing is said.
    pub fn connect(path: &Path) -> Result<Option<Self>, Error> {
        if check_length(path).is_err() {
            // Nobody can listen there.
            return Ok(None);
        }
        match UnixStream::connect(path) {
            Ok(stream) => {
                check_listener(&stream, path)?;
                let set = stream.set_write_timeout(Some(WRITE_DEADLINE));
                set.map_err(|source| Error::Broken { source })?;
                Ok(Some(Self { stream }))
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Error::Peer {
                uid: rustix::process::geteuid().as_raw(),
            }),
            Err(_) => Ok(None),
        }
    }

    /// What asks the host to stop.
    ///
    /// # Errors
    /// The connection.
    pub fn stopping(&self) -> Result<Stopping, Error> {
        let stream = self.stream.try_clone();
        stream.map(Stopping).map_err(|source| Error::Broken { source })
    }

    /// Has the host do it, and says how it ended. Blocks.
    ///
    /// # Errors
    /// The connection broke before the end; the host speaks another language.
    pub fn run(&mut self, hello: &Hello, here: &mut dyn Here) -> Result<u8, Error> {
        let words = serde_json::to_vec(hello).unwrap_or_default();
        // A host that refuses does not wait for it: what it says counts, and not that it hears no more.
        let greeted = frame::write(&mut self.stream, Kind::Hello, &words);
        let broken = || Error::Broken {
            source: io::ErrorKind::UnexpectedEof.into(),
        };
        loop {
            let Some(frame) = frame::read(&mut self.stream)? else {
                return greeted.and_then(|()| Err(broken()));
            };
            match frame.kind {
                Kind::Out => {
                    if here.out(&frame.bytes).is_err() {
                        // Nobody reads it any more: that is the end, as of every other command.
                        return Ok(0);
                    }
                }
                Kind::Err => here.err(&frame.bytes),
                Kind::Ask => self.answer(hello, &frame.bytes, here)?,
                Kind::Exit => return frame.bytes.first().copied().ok_or_else(broken),
                _ => {
                    return Err(Error::Language {
                        what: "a part of an unknown kind",
                    });
                }
            }
        }
    }

    fn answer(&mut self, hello: &Hello, question: &[u8], here: &mut dyn Here) -> Result<(), Error> {
        let wrong = Error::Language {
            what: "a question that cannot be understood",
        };
        let at = question.iter().position(|byte| *byte == b'\n');
        let Some((words, bytes)) = at.map(|at| (&question[..at], &question[at + 1..])) else {
            return Err(wrong);
        };
        let ask: Ask = serde_json::from_slice(words).map_err(|_| wrong)?;
        let answer = match &ask {
            // The host may run as a user with fewer rights than this command's.
            Ask::File(_, path) if !is_named(&hello.words, path) => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the command line does not name that file",
            )),
            ask => here.answer(ask, bytes),
        };
        match answer {
            Ok(bytes) => frame::write(&mut self.stream, Kind::Answer, &bytes),
            Err(error) => frame::write(&mut self.stream, Kind::NoAnswer, worded(&error).as_bytes()),
        }
    }
}

/// Who listens is known to the kernel from when they began to. While no host runs somebody else may, where the folder lets them.
fn check_listener(stream: &UnixStream, path: &Path) -> Result<(), Error> {
    let broken = |source: io::Error| Error::Broken { source };
    let listens = rustix::net::sockopt::socket_peercred(stream).map_err(|error| broken(error.into()))?;
    let uid = listens.uid.as_raw();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let owner = std::fs::metadata(folder.unwrap_or(Path::new(".")))
        .map_err(broken)?
        .uid();
    if [0, rustix::process::geteuid().as_raw(), owner].contains(&uid) {
        return Ok(());
    }
    Err(Error::Stranger {
        path: path.to_owned(),
        uid,
    })
}

/// Kinds of errors that are told apart on the other side.
const KINDS: [(io::ErrorKind, &str); 4] = [
    (io::ErrorKind::NotFound, "not-found"),
    (io::ErrorKind::AlreadyExists, "already-exists"),
    (io::ErrorKind::PermissionDenied, "permission-denied"),
    (io::ErrorKind::StorageFull, "storage-full"),
];

fn worded(error: &io::Error) -> String {
    let kind = KINDS.iter().find(|(kind, _)| *kind == error.kind());
    format!("{} {error}", kind.map_or("other", |(_, word)| word))
}

pub(crate) fn unworded(words: String) -> io::Error {
    let (word, text) = words.split_once(' ').unwrap_or(("other", &words));
    let kind = KINDS.iter().find(|(_, known)| *known == word);
    io::Error::new(
        kind.map_or(io::ErrorKind::Other, |(kind, _)| *kind),
        text.to_owned(),
    )
}

/// Writes to a stream of this process, all of it.
///
/// # Errors
/// It cannot be written.
pub fn write_out(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}
