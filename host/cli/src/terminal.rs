//! Where a command was started: what it prints goes there, and what is asked is answered there. Of a command that the running host does, that is the
//! other side of its socket.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use keywheel_server::{Ask, Facts, FileAction, Session};
use zeroize::Zeroizing;

use crate::log::Queue;

/// A line that a person types is no longer.
const LINE_BYTES_MAX: u64 = 64;

/// The other side of a command. Its calls may block.
pub(crate) trait Terminal: Send + Sync + std::fmt::Debug {
    /// What it is.
    fn facts(&self) -> Facts;

    /// Whether it is this process's own.
    fn is_own(&self) -> bool;

    /// Bytes to standard output, as they are.
    ///
    /// # Errors
    /// They cannot be written.
    fn out(&self, bytes: &[u8]) -> io::Result<()>;

    /// Text to standard error. Nobody is left to be told when it is gone.
    fn err(&self, text: &str);

    /// How many of those texts nobody has read in time, so that they are lost.
    fn lost(&self) -> usize {
        0
    }

    /// An answer to a question; `bytes` go with it.
    ///
    /// # Errors
    /// There is none.
    fn ask(&self, ask: &Ask, bytes: &[u8]) -> io::Result<Zeroizing<Vec<u8>>>;
}

/// This process's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own;

impl Terminal for Own {
    fn facts(&self) -> Facts {
        Facts {
            stdin: io::stdin().is_terminal(),
            stdout: io::stdout().is_terminal(),
            stderr: io::stderr().is_terminal(),
            plain: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
                || std::env::var_os("TERM").is_some_and(|term| term == "dumb"),
        }
    }

    fn is_own(&self) -> bool {
        true
    }

    fn out(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    fn err(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    fn ask(&self, ask: &Ask, bytes: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        match ask {
            Ask::Line(words) => {
                self.err(words);
                let mut answer = Zeroizing::new(String::new());
                io::stdin().lock().take(LINE_BYTES_MAX).read_line(&mut answer)?;
                Ok(Zeroizing::new(answer.as_bytes().to_vec()))
            }
            Ask::Hidden(words) => {
                let line = rpassword::prompt_password(words)?;
                Ok(Zeroizing::new(line.into_bytes()))
            }
            Ask::Input(most) => at_most(io::stdin().lock(), *most),
            Ask::File(FileAction::Read(most), path) => at_most(File::open(path)?, *most),
            Ask::File(FileAction::Create, path) => {
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)?;
                file.write_all(bytes).map(|()| Zeroizing::default())
            }
            Ask::File(FileAction::Fill, path) => {
                let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
                file.write_all(bytes)?;
                file.sync_all().map(|()| Zeroizing::default())
            }
            Ask::File(FileAction::Remove, path) => fs::remove_file(path).map(|()| Zeroizing::default()),
        }
    }
}

/// This process's own, of a service: what it says goes the way of its log.
#[derive(Debug)]
pub(crate) struct Service(pub(crate) Arc<Queue>);

impl Terminal for Service {
    fn facts(&self) -> Facts {
        Own.facts()
    }

    fn is_own(&self) -> bool {
        true
    }

    fn out(&self, bytes: &[u8]) -> io::Result<()> {
        Own.out(bytes)
    }

    fn err(&self, text: &str) {
        self.0.write(text);
    }

    fn lost(&self) -> usize {
        self.0.lost()
    }

    fn ask(&self, ask: &Ask, bytes: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        Own.ask(ask, bytes)
    }
}

/// The other side of the host's socket.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) session: Arc<Session>,
    pub(crate) facts: Facts,
}

impl Terminal for Remote {
    fn facts(&self) -> Facts {
        self.facts
    }

    fn is_own(&self) -> bool {
        false
    }

    fn out(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = tokio::task::block_in_place(|| self.session.out(bytes));
        sent.map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error))
    }

    fn err(&self, text: &str) {
        let _ = tokio::task::block_in_place(|| self.session.err(text.as_bytes()));
    }

    fn ask(&self, ask: &Ask, bytes: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        tokio::task::block_in_place(|| self.session.ask(ask, bytes))
    }
}

/// All of it, and one byte more than `most` if there is more. The buffer never grows, so that no copy is left behind.
fn at_most(mut from: impl io::Read, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(vec![0; most.saturating_add(1)]);
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(length);
    Ok(buffer)
}
