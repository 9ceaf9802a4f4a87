//! Commands that a chore runs: their output is shown, their failure is an error that names them.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Cargo itself, in a folder. What a surrounding `cargo run` put into the environment for its own build is taken out.
pub(crate) fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"].contains(&text.as_ref())
        {
            command.env_remove(name);
        }
    }
    command
}

/// The same in a mount namespace of its own, in which it may mount what it likes; nothing stays mounted after it. As it is where the machine does
/// not allow that.
pub(crate) fn with_own_mounts(command: Command) -> Command {
    let mut words = vec!["--mount"];
    if !rustix::process::geteuid().is_root() {
        words.extend(["--user", "--map-current-user", "--keep-caps"]);
    }
    let within = |program: &OsStr| {
        let mut within = Command::new("unshare");
        within.args(&words).arg("--").arg(program);
        within
    };
    let allowed = within(OsStr::new("true"))
        .output()
        .is_ok_and(|output| output.status.success());
    if !allowed {
        return command;
    }
    let mut wrapped = within(command.get_program());
    wrapped.args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

/// The command line, for people.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Runs to the end; the output goes to the terminal.
///
/// # Errors
/// It could not be started, or failed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and gives what it wrote to its standard output.
///
/// # Errors
/// It could not be started, failed (its error output is in the message), or wrote no UTF-8.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed: {}\n{}",
            shown(command),
            output.status,
            said.trim_end()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote no UTF-8", shown(command)))
}

/// Runs to the end; each line of its standard output is shown and given to `see`. Says whether it succeeded.
///
/// # Errors
/// It could not be started or read.
pub(crate) fn stream(command: &mut Command, mut see: impl FnMut(&str)) -> anyhow::Result<bool> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.context("cannot read the output")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            see(&line);
        }
    }
    Ok(child.wait().context("cannot wait for the end")?.success())
}

/// Runs to the end and gives whether it succeeded, with what it wrote to its standard output; its error output goes to the terminal.
///
/// # Errors
/// It could not be started, or wrote no UTF-8.
pub(crate) fn read(command: &mut Command) -> anyhow::Result<(bool, String)> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    let text =
        String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote no UTF-8", shown(command)))?;
    Ok((output.status.success(), text))
}

/// Runs, but no longer than `limit`; says whether it succeeded in time.
///
/// # Errors
/// It could not be started or ended.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> anyhow::Result<bool> {
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the end")? {
            return Ok(status.success());
        }
        if begun.elapsed() > limit {
            child.kill().context("cannot end it")?;
            child.wait().context("cannot wait for the end")?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_never_ends_is_ended() {
        let mut sleep = Command::new("sleep");
        assert!(!run_within(sleep.arg("600"), Duration::from_millis(100)).unwrap());
        assert!(run_within(&mut Command::new("true"), Duration::from_mins(1)).unwrap());
    }

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo no >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("sh -c") && error.ends_with("no"), "{error}");
    }
}
