use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;

/// Under whose name a server runs: its own user when we are root (PostgreSQL refuses root), else ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account(Option<(u32, u32)>);

impl Account {
    /// The server's own user; made if it is missing and we are root.
    pub(crate) fn of_server(name: &str) -> Result<Self> {
        if !is_root() {
            return Ok(Self(None));
        }
        if lookup(name)?.is_none() {
            command::run(Command::new("useradd").args([
                "--system",
                "--no-create-home",
                "--user-group",
                "--shell",
                "/usr/sbin/nologin",
                name,
            ]))?;
        }
        let ids = lookup(name)?.with_context(|| format!("user {name} is missing and could not be made"))?;
        Ok(Self(Some(ids)))
    }

    /// Ours.
    pub(crate) fn own() -> Self {
        Self(None)
    }

    /// A command that runs under it.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.0 {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Gives it a file or folder.
    pub(crate) fn give(self, path: &Path) -> Result<()> {
        match self.0 {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid))
                .with_context(|| format!("cannot give {} away", path.display())),
            None => Ok(()),
        }
    }

    /// Writes a file that only it can read.
    pub(crate) fn write(self, path: &Path, content: &str) -> Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(content.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.give(path)
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn lookup(name: &str) -> Result<Option<(u32, u32)>> {
    let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if fields.next() == Some(name) {
            let ids = fields.nth(1).zip(fields.next());
            let (uid, gid) = ids.with_context(|| format!("/etc/passwd has a broken line for {name}"))?;
            return Ok(Some((uid.parse()?, gid.parse()?)));
        }
    }
    Ok(None)
}
