use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use zeroize::Zeroizing;

use crate::Error;
use crate::program::{Running, prepared};

/// So much of what it prints is kept.
const SAID_BYTES_MAX: usize = 64 << 10;

/// What is in the pipe when it has ended is read within this time; somebody else may still hold the pipe open.
const LEFT: Duration = Duration::from_millis(200);

/// A program that is asked something; its exit code is the answer, 0 is yes. It gets names alone, as arguments and in its environment, and nothing of this
/// host's environment; standard input is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The program, by its whole path.
    pub program: PathBuf,
    /// Its arguments, as they are.
    pub arguments: Vec<String>,
    /// Its environment, beside `PATH`.
    pub environment: Vec<(&'static str, String)>,
    /// After this it is killed, with all that it has started.
    pub timeout: Duration,
}

/// What came of it. [`Debug`](fmt::Debug) tells no word of what it printed.
pub struct Answer {
    /// It ended with 0, in time.
    pub end: Result<(), Error>,
    /// What it printed, on both streams. Nobody has looked through it: it may hold anything.
    pub said: Zeroizing<Vec<u8>>,
    /// It printed more than is kept.
    pub said_more: bool,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("end", &self.end)
            .field("said", &format_args!("{} bytes", self.said.len()))
            .field("said_more", &self.said_more)
            .finish()
    }
}

impl Hook {
    /// Asks.
    pub async fn ask(&self) -> Answer {
        let mut said = Said::default();
        let end = self.run(&mut said).await;
        Answer {
            end,
            said: said.bytes,
            said_more: said.more,
        }
    }

    async fn run(&self, said: &mut Said) -> Result<(), Error> {
        let unstarted = |source| Error::Start {
            program: self.program.clone(),
            source,
        };
        let (reader, writer) = io::pipe().map_err(unstarted)?;
        let mut pipe = Receiver::from_owned_fd(reader.into()).map_err(unstarted)?;
        let mut process = prepared(&self.program, &self.arguments);
        process
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(unstarted)?)
            .stderr(writer);
        let mut running = Running::start(&mut process, &self.program)?;
        // Its ends of the pipe are the program's alone now.
        drop(process);
        let heard = heard(&mut running, &mut pipe, said);
        let ended = tokio::time::timeout(self.timeout, heard).await;
        running.judged(ended.ok(), &self.program, self.timeout)
    }
}

async fn heard(running: &mut Running, pipe: &mut Receiver, said: &mut Said) -> io::Result<ExitStatus> {
    let status = loop {
        tokio::select! {
            status = running.child.wait() => break status?,
            more = said.hear(pipe) => if !more? { break running.child.wait().await? },
        }
    };
    let rest = async {
        while !said.more && said.hear(pipe).await? {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(LEFT, rest).await;
    Ok(status)
}

/// What was printed so far. The buffers never grow, so that no copy is left behind.
struct Said {
    bytes: Zeroizing<Vec<u8>>,
    more: bool,
}

impl Default for Said {
    fn default() -> Self {
        Self {
            bytes: Zeroizing::new(Vec::with_capacity(SAID_BYTES_MAX)),
            more: false,
        }
    }
}

impl Said {
    /// Reads on; false: it is all. Nothing is lost where this is let go of.
    async fn hear(&mut self, pipe: &mut Receiver) -> io::Result<bool> {
        let mut buffer = Zeroizing::new([0; 4096]);
        let length = pipe.read(&mut *buffer).await?;
        let room = SAID_BYTES_MAX - self.bytes.len();
        self.bytes.extend_from_slice(&buffer[..length.min(room)]);
        self.more |= length > room;
        Ok(length > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn shell(script: &str, timeout: Duration) -> Hook {
        Hook {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            environment: vec![("KEYWHEEL_SECRET", "app/db".to_owned())],
            timeout,
        }
    }

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn its_exit_code_is_the_answer_and_it_gets_names_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let environment = folder.path().join("environment");
        let script = format!("env > {}; cat; echo out; echo err >&2", environment.display());
        let answer = shell(&script, LONG).ask().await;
        assert!(answer.end.is_ok() && !answer.said_more, "{answer:?}");
        assert_eq!(answer.said.as_slice(), b"out\nerr\n");
        let environment = fs::read_to_string(environment).unwrap();
        let mut names: Vec<&str> = environment
            .lines()
            .filter_map(|line| line.split('=').next())
            .filter(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name))
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["KEYWHEEL_SECRET", "PATH"]);
        let no = shell("echo not yet; exit 3", LONG).ask().await;
        let shown = format!("{no:?}");
        assert!(shown.contains("8 bytes") && !shown.contains("110"), "{shown}");
        assert!(no.end.unwrap_err().to_string().contains("code 3"));
        assert_eq!(no.said.as_slice(), b"not yet\n");
    }

    #[tokio::test]
    async fn what_it_prints_is_bounded_and_never_stops_it() {
        let answer = shell("head -c 1000000 /dev/zero; exit 5", LONG).ask().await;
        assert!(answer.end.unwrap_err().to_string().contains("code 5"));
        assert_eq!((answer.said.len(), answer.said_more), (SAID_BYTES_MAX, true));
    }

    /// What it leaves behind in the background keeps the pipe, and it has answered all the same.
    #[tokio::test]
    async fn it_has_answered_when_it_has_ended() {
        let answer = shell("sleep 600 & echo $!; exit 0", LONG).ask().await;
        assert!(answer.end.is_ok(), "{answer:?}");
        let pid = String::from_utf8(answer.said.to_vec()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn one_that_hangs_ends_with_all_that_it_has_started() {
        let answer = shell("sleep 600 & echo $!; wait", Duration::from_secs(2))
            .ask()
            .await;
        assert_eq!(answer.end.unwrap_err().code(), "notify.late");
        let pid = String::from_utf8(answer.said.to_vec()).unwrap();
        crate::program::tests::is_gone(pid.trim()).await;
    }
}
