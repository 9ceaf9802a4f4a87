//! The binary, driven as a person would, in a folder of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// A host's folder and the binary.
pub(super) struct Host {
    binary: PathBuf,
    folder: PathBuf,
}

impl Host {
    pub(super) fn new(binary: PathBuf, folder: PathBuf) -> Self {
        Self { binary, folder }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).current_dir(&self.folder).env("NO_COLOR", "1");
        command
    }

    /// Runs a command and shows it. `stdin` is a secret: it is not shown. Exit code 10 is advice: `plan` found something to do.
    pub(super) fn run(&self, args: &[&str], stdin: Option<&str>) -> anyhow::Result<()> {
        println!("$ keywheel {}", args.join(" "));
        let mut child = self
            .command(args)
            .stdin(if stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .spawn()
            .context("cannot start the host")?;
        if let (Some(secret), Some(mut pipe)) = (stdin, child.stdin.take()) {
            pipe.write_all(secret.as_bytes())?;
        }
        let status = child.wait()?;
        ensure!(
            matches!(status.code(), Some(0 | 10)),
            "`keywheel {}` ended with {status}",
            args.join(" ")
        );
        Ok(())
    }

    /// The whole configuration, after the part that `init` wrote.
    pub(super) fn configure(&self, rotations: &str) -> anyhow::Result<()> {
        let path = self.folder.join("keywheel.toml");
        let first = self.folder.join("keywheel.toml.of-init");
        if !first.exists() {
            fs::copy(&path, &first)?;
        }
        fs::write(&path, format!("{}\n{rotations}", fs::read_to_string(first)?))?;
        self.run(&["config", "check"], None)
    }

    pub(super) fn drop_plugin(&self, file: &Path) -> anyhow::Result<()> {
        let name = file.file_name().context("a plugin without a file name")?;
        println!("$ cp {} plugins/", Path::new(name).display());
        fs::copy(file, self.folder.join("plugins").join(name))?;
        Ok(())
    }

    /// The current value of a secret, for the proof only: it goes through a file that is removed at once, and is never shown.
    pub(super) fn value(&self, name: &str) -> anyhow::Result<String> {
        let file = self.folder.join("value-for-the-proof");
        let path = file.to_str().context("the temporary folder has no UTF-8 name")?;
        let args = [
            "--quiet",
            "secret",
            "read",
            name,
            "--reason",
            "demo: proof by login",
            "--to",
            path,
        ];
        ensure!(
            self.command(&args).stdin(Stdio::null()).status()?.success(),
            "secret {name} cannot be read"
        );
        let value = fs::read_to_string(&file)?;
        fs::remove_file(&file)?;
        Ok(value.trim_end_matches('\n').to_owned())
    }

    /// Starts a rotation, and kills it with SIGKILL when it says that it applies the new credential.
    pub(super) fn kill_in_the_middle(&self, rotation: &str) -> anyhow::Result<()> {
        println!("$ keywheel rotate {rotation} --wait end");
        let mut child = self
            .command(&["rotate", rotation, "--wait", "end"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stderr.take().context("no standard error")?).lines();
        let started = Instant::now();
        for line in lines {
            let line = line?;
            println!("{line}");
            if line.contains("apply") {
                child.kill()?;
                child.wait()?;
                println!("(killed)");
                return Ok(());
            }
            ensure!(
                started.elapsed() < Duration::from_mins(1),
                "the rotation did not come to its `apply`"
            );
        }
        child.wait()?;
        bail!("the rotation ended before it could be killed")
    }
}
