//! Programs of the operator's: started with nothing of this host's environment, in a group of their own, and gone with all that they have started when
//! their time is over.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command as Process};

use crate::Error;

/// Where a program finds others, if it looks for any.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program that is not started yet; what it reads and writes is the caller's to say.
pub(crate) fn prepared(program: &Path, arguments: &[String]) -> Process {
    let mut process = Process::new(program);
    process
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .process_group(0)
        .kill_on_drop(true);
    process
}

/// One that runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    group: Group,
}

impl Running {
    pub(crate) fn start(process: &mut Process, program: &Path) -> Result<Self, Error> {
        let child = process.spawn().map_err(|source| Error::Start {
            program: program.to_owned(),
            source,
        })?;
        Ok(Self {
            group: Group::of(&child),
            child,
        })
    }

    /// How it ended within its time, and whether that was well. One that has not ended is killed.
    pub(crate) fn judged(
        mut self,
        ended: Option<io::Result<ExitStatus>>,
        program: &Path,
        timeout: Duration,
    ) -> Result<(), Error> {
        if matches!(ended, Some(Ok(_))) {
            self.group.0 = None;
        }
        let program = program.to_owned();
        match ended {
            Some(Ok(status)) if status.success() => Ok(()),
            Some(Ok(status)) => Err(Error::Ended {
                program,
                ended: words(status),
            }),
            Some(Err(source)) => Err(Error::Start { program, source }),
            None => Err(Error::Late { program, timeout }),
        }
    }
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no code".to_owned(),
    }
}

/// A program that has not ended, and all that it has started; killed when dropped. The number is its own as long as nobody has waited for its end.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended in this moment.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;

    /// Waits until a process has ended.
    pub(crate) async fn is_gone(pid: &str) {
        for _ in 0..1000 {
            let status = fs::read_to_string(format!("/proc/{pid}/stat"));
            if status.map_or(true, |status| status.contains(") Z ")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{pid} lives");
    }
}
