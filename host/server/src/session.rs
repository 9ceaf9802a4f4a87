//! One command on the host's side of the socket.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::Error;
use crate::frame::{self, FileAction, Frame, Hello, Kind, VERSION};

/// A command that does not take what is said to it for so long is left.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// A command must say what it wants within this time.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// A person may take so long to answer.
const ANSWER_DEADLINE: Duration = Duration::from_mins(10);

/// What is asked of the command's side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// A line that a person types, after these words.
    Line(String),
    /// The same without echo.
    Hidden(String),
    /// All of standard input: at most so many bytes, and one more where there are more.
    Input(usize),
    /// Something with a file that its command line names.
    File(FileAction, PathBuf),
}

/// A question as it is sent: words in JSON, a line break, and bytes.
pub(crate) fn question(ask: &Ask, bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let words = serde_json::to_vec(ask).unwrap_or_default();
    let mut whole = Zeroizing::new(Vec::with_capacity(words.len() + 1 + bytes.len()));
    whole.extend_from_slice(&words);
    whole.push(b'\n');
    whole.extend_from_slice(bytes);
    whole
}

/// A stream that is read until then, however little comes at a time.
struct Within<'s> {
    stream: &'s UnixStream,
    until: Instant,
}

impl Read for Within<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        (&mut &*self.stream).read(bytes)
    }
}

/// A command that has connected.
#[derive(Debug)]
pub struct Session {
    stream: Mutex<UnixStream>,
    answers: Mutex<Option<Receiver<Answer>>>,
    reader: Mutex<Option<UnixStream>>,
    stop: watch::Sender<bool>,
}

type Answer = Result<Zeroizing<Vec<u8>>, String>;

impl Session {
    pub(crate) fn of(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(WRITE_DEADLINE))?;
        let reader = stream.try_clone()?;
        Ok(Self {
            stream: Mutex::new(stream),
            answers: Mutex::default(),
            reader: Mutex::new(Some(reader)),
            stop: watch::Sender::new(false),
        })
    }

    /// What the command wants; from then on what it says is heard. Blocks.
    ///
    /// # Errors
    /// It speaks another version's language, or nothing within its time.
    pub fn hello(self: &Arc<Self>) -> Result<Hello, Error> {
        let mut reader = lock(&self.reader).take().ok_or(Error::Language {
            what: "it was greeted twice",
        })?;
        let mut first = Within {
            stream: &reader,
            until: Instant::now() + HELLO_DEADLINE,
        };
        let frame = frame::read(&mut first)?.filter(|frame| frame.kind == Kind::Hello);
        let hello = frame.and_then(|frame| serde_json::from_slice::<Hello>(&frame.bytes).ok());
        let hello = hello
            .filter(|hello| hello.version == VERSION)
            .ok_or(Error::Language {
                what: "its first words",
            })?;
        reader
            .set_read_timeout(None)
            .map_err(|source| Error::Broken { source })?;
        // One question at a time: who answers what nobody asked does not speak as agreed.
        let (answered, answers) = sync_channel(1);
        *lock(&self.answers) = Some(answers);
        let session = Arc::clone(self);
        // Ends with the connection, which is shut down when the command has ended.
        thread::Builder::new()
            .name("keywheel-command".to_owned())
            .spawn(move || session.hear(&mut reader, &answered))
            .map_err(|source| Error::Broken { source })?;
        Ok(hello)
    }

    fn hear(&self, reader: &mut UnixStream, answered: &SyncSender<Answer>) {
        while let Ok(Some(Frame { kind, bytes })) = frame::read(reader) {
            let heard = match kind {
                Kind::Answer => answered.try_send(Ok(bytes)).is_ok(),
                Kind::NoAnswer => answered
                    .try_send(Err(String::from_utf8_lossy(&bytes).into_owned()))
                    .is_ok(),
                Kind::Stop => {
                    self.stop.send_replace(true);
                    true
                }
                _ => break,
            };
            if !heard {
                break;
            }
        }
        // Whoever goes away wants no more than what is journalled.
        self.stop.send_replace(true);
    }

    /// No answer is waited for any more: whoever waits for one gets none. What is said to the command still reaches it.
    pub fn hears_no_more(&self) {
        // A connection that is gone says nothing either.
        let _ = lock(&self.stream).shutdown(std::net::Shutdown::Read);
    }

    /// Becomes true when the command wants to stop, or is gone.
    pub fn stop(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// For standard output.
    ///
    /// # Errors
    /// The command is gone, or does not take it.
    pub fn out(&self, bytes: &[u8]) -> Result<(), Error> {
        self.send_all(Kind::Out, bytes)
    }

    /// For standard error.
    ///
    /// # Errors
    /// As [`Self::out`].
    pub fn err(&self, bytes: &[u8]) -> Result<(), Error> {
        self.send_all(Kind::Err, bytes)
    }

    fn send_all(&self, kind: Kind, bytes: &[u8]) -> Result<(), Error> {
        let mut stream = lock(&self.stream);
        bytes
            .chunks(frame::BYTES_MAX)
            .try_for_each(|part| frame::write(&mut *stream, kind, part))
    }

    /// Asks, and waits for the answer. Blocks. `bytes` go with the question: what is written to a file.
    ///
    /// # Errors
    /// The command is gone, or has no answer: its words, as an error of the system.
    pub fn ask(&self, ask: &Ask, bytes: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        let asked = frame::write(&mut *lock(&self.stream), Kind::Ask, &question(ask, bytes));
        asked.map_err(io::Error::other)?;
        let answers = lock(&self.answers);
        let gone = || {
            let words = "no answer is waited for: the host stops, or the command is gone";
            io::Error::new(io::ErrorKind::BrokenPipe, words)
        };
        match answers.as_ref().ok_or_else(gone)?.recv_timeout(ANSWER_DEADLINE) {
            Ok(answer) => answer.map_err(crate::client::unworded),
            Err(_) => Err(gone()),
        }
    }

    /// How it ended: the last word.
    pub fn exit(&self, code: u8) {
        let mut stream = lock(&self.stream);
        // Nobody is left to be told when it is gone.
        let _ = frame::write(&mut *stream, Kind::Exit, &[code]);
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }

    /// Says why it is not heard.
    pub fn refuse(&self, error: &Error) {
        let text = format!("error[{}]: {error}\n  hint: {}\n", error.code(), error.hint());
        let _ = self.err(text.as_bytes());
        self.exit(REFUSED);
    }
}

/// The exit code of a command that may not speak to this host: who it is is not let in.
const REFUSED: u8 = 22;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the command line names this file, so that the host may have something done with it.
pub(crate) fn is_named(words: &[String], path: &Path) -> bool {
    let Some(path) = path.to_str() else { return false };
    words.iter().any(|word| {
        word == path
            || word.strip_prefix('@') == Some(path)
            || word.split_once('=').is_some_and(|(_, value)| value == path)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A thousand bytes, one at a time: each comes soon enough for a deadline of its own.
    #[test]
    fn first_words_have_one_deadline_however_they_come() {
        let (host, mut command) = UnixStream::pair().unwrap();
        let session = Arc::new(Session::of(host).unwrap());
        let said = thread::spawn(move || {
            let head = [Kind::Hello as u8, 0, 0, 3, 232];
            let bytes = head.into_iter().chain([b' '; 1000]);
            let mut said = 0;
            for byte in bytes {
                thread::sleep(Duration::from_millis(20));
                if command.write_all(&[byte]).is_err() {
                    break;
                }
                said += 1;
            }
            said
        });
        let heard = session.hello();
        assert!(matches!(heard, Err(Error::Broken { .. })), "{heard:?}");
        drop(session);
        assert!(said.join().unwrap() < 1005);
    }
}
