//! A command that the running host does: over its socket, with this terminal as its own.

use std::io;
use std::path::Path;
use std::time::Duration;

use keywheel_config::Draft;
use keywheel_server::client::{Client, Here};
use keywheel_server::{Ask, Facts, Hello};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::args::Global;
use crate::cmd::host;
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Output, harmless};
use crate::terminal::{Own, Terminal as _};

/// Where a program that the host has started finds it.
const SOCKET: &str = "KEYWHEEL_SOCKET";

/// A host that is asked for another command's sake says it within this time, and in so many bytes.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
const TOLD_BYTES_MAX: usize = 256 << 20;

/// Has the running host do this process's command, and says how it ended; none: no host is running.
///
/// # Errors
/// The host refuses, or the connection breaks.
pub(crate) async fn to_host(global: &Global, output: &Output) -> Result<Option<ExitCode>, Failure> {
    let Some(client) = connect(global)? else {
        return Ok(None);
    };
    let words: Option<Vec<String>> = std::env::args_os()
        .skip(1)
        .map(|word| word.into_string().ok())
        .collect();
    let words = words.ok_or_else(|| {
        let message = "a word of the command line is no UTF-8, and a running host takes no other";
        Failure::new(ExitCode::Usage, "usage.invalid", message)
    })?;
    let folder = std::env::current_dir().map_err(|error| {
        Failure::because(
            ExitCode::Unexpected,
            "host.folder",
            "cannot see where this is",
            &error,
        )
    })?;
    let hello = Hello::new(words, folder, Own.facts());
    let exit = follow(client, hello, output).await?;
    Ok(Some(ExitCode::of_number(exit).unwrap_or(ExitCode::Unexpected)))
}

/// What the running host prints for the words of a command that asks nothing; none: no host is running, or it does not say in time.
pub(crate) async fn told(global: &Global, words: &[&str]) -> Option<Vec<u8>> {
    let mut client = connect(global).ok()??;
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    let facts = Facts {
        stdin: false,
        stdout: false,
        stderr: false,
        plain: true,
    };
    let hello = Hello::new(words, std::env::current_dir().ok()?, facts);
    let (tell, told) = oneshot::channel();
    // A thread of its own: whoever gives up on it does not wait for its end.
    std::thread::spawn(move || {
        let mut kept = Kept::default();
        let is_well = matches!(client.run(&hello, &mut kept), Ok(0));
        // Nobody waits any more where it cannot be told.
        let _ = tell.send(is_well.then_some(kept.0));
    });
    tokio::time::timeout(TOLD_WITHIN, told).await.ok()?.ok()?
}

/// To the socket that the environment names, as the host does for the programs that it starts; else to that of the configuration.
fn connect(global: &Global) -> Result<Option<Client>, Failure> {
    let named = std::env::var_os(SOCKET).filter(|named| !named.is_empty());
    if let Some(named) = &named
        && let Some(client) = Client::connect(Path::new(named))?
    {
        return Ok(Some(client));
    }
    match (Draft::open(&global.config), named) {
        (Ok(draft), _) => Ok(Client::connect(draft.socket())?),
        // Whoever names a socket has no configuration, as a rule.
        (Err(_), Some(named)) => {
            let message = format!(
                "no host listens at {}, which {SOCKET} names",
                Path::new(&named).display()
            );
            let failure = Failure::new(ExitCode::Unreachable, "socket.silent", message);
            Err(failure.hint("is it running, and is this the `socket` of its configuration? Without KEYWHEEL_SOCKET the command reads the configuration itself"))
        }
        // What is wrong with the configuration the command itself tells.
        (Err(_), None) => Ok(None),
    }
}

async fn follow(mut client: Client, hello: Hello, output: &Output) -> Result<u8, Failure> {
    let stop = host::stop_on_signal(output)?;
    let mut stopping = client.stopping()?;
    let asking = tokio::spawn(async move {
        stop.requested().await;
        // Where it cannot be sent, the connection is gone, and with it the command.
        let _ = tokio::task::block_in_place(|| stopping.ask());
    });
    let done = tokio::task::spawn_blocking(move || client.run(&hello, &mut Terminal)).await;
    asking.abort();
    let died = |_| {
        Failure::new(
            ExitCode::Unexpected,
            "host.defect",
            "the command's own thread died",
        )
    };
    Ok(done.map_err(died)??)
}

/// Keeps what is printed. What is wrong is told by how it ends.
#[derive(Default)]
struct Kept(Vec<u8>);

impl Here for Kept {
    fn out(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.0.len() + bytes.len() > TOLD_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn err(&mut self, _bytes: &[u8]) {}

    fn answer(&mut self, _ask: &Ask, _bytes: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

struct Terminal;

impl Here for Terminal {
    fn out(&mut self, bytes: &[u8]) -> io::Result<()> {
        Own.out(bytes)
    }

    fn err(&mut self, bytes: &[u8]) {
        Own.err(&harmless(&String::from_utf8_lossy(bytes)));
    }

    fn answer(&mut self, ask: &Ask, bytes: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        match ask {
            Ask::Line(words) => Own.ask(&Ask::Line(harmless(words).into_owned()), bytes),
            Ask::Hidden(words) => Own.ask(&Ask::Hidden(harmless(words).into_owned()), bytes),
            ask => Own.ask(ask, bytes),
        }
    }
}

impl From<keywheel_server::Error> for Failure {
    fn from(error: keywheel_server::Error) -> Self {
        let exit = match &error {
            keywheel_server::Error::Peer { .. }
            | keywheel_server::Error::OnlyReads { .. }
            | keywheel_server::Error::Stranger { .. } => ExitCode::Auth,
            keywheel_server::Error::InUse { .. } => ExitCode::Conflict,
            keywheel_server::Error::TooLong { .. } | keywheel_server::Error::NotASocket { .. } => {
                ExitCode::ConfigInvalid
            }
            _ => ExitCode::Unexpected,
        };
        Self::from_error(exit, error.code(), &error).hint(error.hint())
    }
}
