use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::account::{Account, is_root};
use crate::command;
use crate::install::Installed;
use crate::mariadb::Family;
use crate::postgres::tail;
use crate::process::Running;
use crate::{MariaDb, MariaDbOptions};

/// A running MySQL server. All that [`MariaDb`] has, it has too, and the client that is used is MariaDB's.
pub struct MySql(MariaDb);

impl MySql {
    /// Starts one, with a copy of the tables that are made once a process.
    ///
    /// # Errors
    /// When the server is not to be had or does not come up; with its log.
    pub fn start(options: MariaDbOptions) -> Result<Self> {
        MariaDb::start_as(Family::MySql, options).map(Self)
    }
}

impl Deref for MySql {
    type Target = MariaDb;

    fn deref(&self) -> &MariaDb {
        &self.0
    }
}

impl DerefMut for MySql {
    fn deref_mut(&mut self) -> &mut MariaDb {
        &mut self.0
    }
}

/// The server's command as far as it is always the same.
pub(crate) fn server(installed: &Installed, account: Account) -> Command {
    let (mut command, base) = (installed.command(account, "mysqld"), installed.base());
    command
        .arg("--no-defaults")
        .arg(format!("--basedir={}", base.display()));
    if installed.is_newer() {
        for (option, folder) in [
            ("lc-messages-dir", "share/mysql"),
            ("character-sets-dir", "share/mysql/charsets"),
            ("plugin-dir", "lib/mysql/plugin"),
        ] {
            command.arg(format!("--{option}={}", base.join(folder).display()));
        }
    }
    if is_root() {
        command.arg("--user=root");
    }
    command.args([
        "--secure-file-priv=",
        "--mysqlx=OFF",
        "--skip-log-bin",
        "--performance-schema=OFF",
        "--innodb-redo-log-capacity=8M",
    ]);
    command
}

/// Makes the tables and the server's keys, and runs the SQL of a file.
pub(crate) fn make_tables(installed: &Installed, account: Account, folder: &Path, sql: &Path) -> Result<()> {
    let at = |name: &str| folder.join(name).display().to_string();
    let begin = || {
        let mut command = server(installed, account);
        command
            .env("TMPDIR", folder)
            .current_dir(folder)
            .arg(format!("--datadir={}", at("data")));
        command
    };
    command::run(begin().arg("--initialize-insecure"))?;
    // While it makes its tables it takes no accounts.
    let (mut once, log) = (begin(), folder.join("log"));
    once.arg("--skip-networking")
        .arg(format!("--socket={}", at("socket")))
        .arg(format!("--pid-file={}", at("pid")))
        .arg(format!("--init-file={}", sql.display()));
    let mut running = Running::start(&mut once, &log, Signal::TERM)?;
    let said = || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    let ready = running.wait_until(|| said().contains("ready for connections"));
    ready.with_context(|| format!("MySQL does not start:\n{}", tail(&said())))?;
    running.stop().map(drop)
}
