use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::SERVER_DEADLINE;

const PAUSE: Duration = Duration::from_millis(10);

/// A started server, with the watcher that ends it should we die first.
pub(crate) struct Running {
    child: Child,
    watcher: Watcher,
    stop_with: Signal,
}

impl Running {
    /// Starts it in a process group of its own, so that Ctrl-C on the terminal reaches us and not the server.
    pub(crate) fn start(command: &mut Command, log: &Path, stop_with: Signal) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let program = command.get_program().to_owned();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let watcher = Watcher::of_process(child.id())?;
        Ok(Self {
            child,
            watcher,
            stop_with,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready`; fails when the server ends first or takes too long.
    pub(crate) fn wait_until(&mut self, mut ready: impl FnMut() -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended while starting ({status})");
            }
            if ready() {
                return Ok(());
            }
            if begun.elapsed() > SERVER_DEADLINE {
                bail!("the server was not ready in {} s", SERVER_DEADLINE.as_secs());
            }
            sleep(PAUSE);
        }
    }

    /// Asks it to end, and after the deadline makes it.
    pub(crate) fn stop(mut self) -> Result<ExitStatus> {
        self.end(self.stop_with)
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill9(mut self) -> Result<ExitStatus> {
        self.end(Signal::KILL)
    }

    fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        self.watcher.dismiss();
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        kill_process(Pid::from_child(&self.child), signal)?;
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > SERVER_DEADLINE {
                self.child.kill()?;
            }
            sleep(PAUSE);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end(self.stop_with);
    }
}

/// A shell that waits for the end of a pipe that only we hold: when we are gone, however that came, it cleans up.
pub(crate) struct Watcher(Child);

impl Watcher {
    fn of_process(pid: u32) -> Result<Self> {
        Self::start(
            "cat >/dev/null; kill -INT $0; for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 $0 2>/dev/null || exit 0; sleep 0.5; done; kill -KILL $0",
            &pid.to_string(),
        )
    }

    /// Removes a folder once we are gone.
    pub(crate) fn of_folder(path: &Path) -> Result<Self> {
        Self::start(
            "cat >/dev/null; sleep 6; rm -rf -- \"$0\"",
            &path.display().to_string(),
        )
    }

    fn start(script: &str, argument: &str) -> Result<Self> {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(script)
            .arg(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        Ok(Self(command.spawn().context("cannot start a watcher")?))
    }

    /// It has nothing to do any more.
    fn dismiss(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.dismiss();
    }
}
