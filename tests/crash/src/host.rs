//! The product's binary and the folder of one host.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// No command may take longer, whatever is done to it.
pub(crate) const COMMAND_DEADLINE: Duration = Duration::from_mins(1);

const PAUSE: Duration = Duration::from_micros(500);

/// A host's folder, made by `keywheel init`.
pub(crate) struct Host {
    binary: PathBuf,
    /// The same with failpoints.
    failpoints: PathBuf,
    folder: PathBuf,
    /// Everything that it ever printed.
    log: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit code; 128 and its number where a signal ended it.
    pub(crate) code: i32,
    /// What it printed, both ways.
    pub(crate) printed: String,
}

impl Host {
    pub(crate) fn init((binary, failpoints): (&Path, &Path), folder: PathBuf, log: PathBuf) -> Result<Self> {
        let host = Self {
            binary: binary.to_owned(),
            failpoints: failpoints.to_owned(),
            folder,
            log,
        };
        let recovery = host.folder.with_extension("recovery").display().to_string();
        let folder = host.folder.display().to_string();
        let mut init = Command::new(&host.binary);
        init.args(["init", &folder, "--recovery-to", &recovery]);
        let output = host.start(&mut init, "")?.wait(COMMAND_DEADLINE)?;
        ensure!(
            output.code == 0,
            "keywheel init ends with {}:\n{}",
            output.code,
            output.printed
        );
        Ok(host)
    }

    /// A folder like this one elsewhere: a copy of it.
    pub(crate) fn beside(&self, folder: PathBuf) -> Self {
        Self {
            binary: self.binary.clone(),
            failpoints: self.failpoints.clone(),
            folder,
            log: self.log.clone(),
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.command_of(&self.binary, words)
    }

    fn command_of(&self, binary: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command
            .args(words)
            .current_dir(&self.folder)
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG");
        command
    }

    /// The same, by the test build: it dies when it is at the place for this time.
    pub(crate) fn failing(&self, words: &[&str], place: &str, time: u64) -> Command {
        let mut command = self.command_of(&self.failpoints, words);
        command.env(
            "FAILPOINTS",
            format!("{place}={}*off->return", time.saturating_sub(1)),
        );
        command
    }

    /// The same, by the test build: it writes the places that it passes into a file.
    pub(crate) fn traced(&self, words: &[&str], trace: &Path) -> Command {
        let mut command = self.command_of(&self.failpoints, words);
        command.env("KEYWHEEL_FAILPOINT_TRACE", trace);
        command
    }

    /// The same by another clock. What time has passed since something is not changed, only what day it is.
    pub(crate) fn faked(&self, words: &[&str], library: &Path, offset: &str) -> Command {
        let mut command = self.command(words);
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME", offset)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    }

    /// The same where no file may grow beyond so many bytes.
    pub(crate) fn limited(&self, words: &[&str], bytes: u64) -> Command {
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--fsize={bytes}"))
            .arg("--")
            .arg(&self.binary);
        command
            .args(words)
            .current_dir(&self.folder)
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG");
        command
    }

    pub(crate) fn start(&self, command: &mut Command, stdin: &str) -> Result<Started> {
        let out = tempfile::NamedTempFile::new()?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(out.reopen()?)
            .stderr(OpenOptions::new().append(true).open(out.path())?)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        if let Some(mut pipe) = child.stdin.take() {
            // A command that does not want its input closes it.
            let _ = pipe.write_all(stdin.as_bytes());
        }
        let words = command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>();
        Ok(Started {
            child,
            out,
            end: None,
            asked: Instant::now(),
            words: words.join(" "),
            log: self.log.clone(),
        })
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, words: &[&str], stdin: &str) -> Result<Output> {
        self.start(&mut self.command(words), stdin)?
            .wait(COMMAND_DEADLINE)
    }

    /// The same for one that has to end well.
    pub(crate) fn done(&self, words: &[&str], stdin: &str) -> Result<String> {
        let output = self.run(words, stdin)?;
        ensure!(
            output.code == 0,
            "keywheel {} ends with {}:\n{}",
            words.join(" "),
            output.code,
            output.printed
        );
        Ok(output.printed)
    }
}

/// How it is found that a host which serves has done what is looked at. Taken when it was told to end.
type End = Box<dyn Fn() -> Result<bool> + Send>;

/// How often that is asked.
const ASK: Duration = Duration::from_millis(5);

/// A command that runs.
pub(crate) struct Started {
    child: Child,
    /// For one that serves until it is told to end.
    end: Option<End>,
    asked: Instant,
    out: tempfile::NamedTempFile,
    words: String,
    log: PathBuf,
}

impl Started {
    /// Resident memory in MiB, and open descriptors.
    pub(crate) fn size(&self) -> Result<(u64, usize)> {
        let process = Path::new("/proc").join(self.child.id().to_string());
        let status = fs::read_to_string(process.join("status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        let descriptors = fs::read_dir(process.join("fd"))?.count();
        Ok((kib.context("a process without memory")? / 1024, descriptors))
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)?;
        Ok(())
    }

    /// `SIGTERM` as soon as this is so.
    pub(crate) fn end_when(&mut self, is_done: impl Fn() -> Result<bool> + Send + 'static) {
        self.end = Some(Box::new(is_done));
    }

    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        if let Some(end) = &self.end
            && self.asked.elapsed() > ASK
        {
            self.asked = Instant::now();
            if end()? {
                self.end = None;
                self.signal(Signal::TERM)?;
            }
        }
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for the end; past the deadline it is killed, and that is an error.
    pub(crate) fn wait(mut self, deadline: Duration) -> Result<Output> {
        let begun = Instant::now();
        let status = loop {
            if self.has_ended()?
                && let Some(status) = self.child.try_wait()?
            {
                break status;
            }
            if begun.elapsed() > deadline {
                self.child.kill()?;
                self.child.wait()?;
                bail!(
                    "keywheel {} does not end within {} s",
                    self.words,
                    deadline.as_secs()
                );
            }
            sleep(PAUSE);
        };
        let printed = String::from_utf8_lossy(&fs::read(self.out.path())?).into_owned();
        let code = code_of(status);
        let mut log = File::options().create(true).append(true).open(&self.log)?;
        writeln!(log, "$ keywheel {}\n{printed}-> {code}", self.words)?;
        Ok(Output { code, printed })
    }
}

fn code_of(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
