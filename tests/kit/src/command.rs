use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// No command of the kit takes longer; an installation may.
const DEADLINE: Duration = Duration::from_mins(10);

/// Runs to the end and gives back what it wrote; fails when the command does, with its own words.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed ({}): {}",
            command.get_program().display(),
            output.status,
            said.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs to the end, within the deadline.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_owned();
    let program = program.display();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let id = rustix::process::Pid::from_child(&child);
    let (done, expired) = std::sync::mpsc::channel::<()>();
    let guard = thread::spawn(move || {
        if expired.recv_timeout(DEADLINE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
    });
    let begun = Instant::now();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let errors = thread::spawn(move || read_all(stderr));
    let stdout = read_all(stdout);
    let stderr = errors.join().unwrap_or_default();
    let status = child.wait();
    drop(done);
    let _ = guard.join();
    if begun.elapsed() >= DEADLINE {
        bail!("{program} did not end in {} s", DEADLINE.as_secs());
    }
    Ok(Output {
        status: status?,
        stdout,
        stderr,
    })
}

fn read_all(pipe: Option<impl std::io::Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    bytes
}
