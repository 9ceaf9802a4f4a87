//! Servers that copy another one.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{ADMIN, Postgres, PostgresOptions};
use crate::process::Watcher;
use crate::{SERVER_DEADLINE, command};

impl Postgres {
    /// Starts a server that streams from this one, and waits until it does. Its certificate is by the same authority.
    ///
    /// # Errors
    /// When this one cannot be copied, or the copy does not come up; with its log.
    pub fn replica(&self, options: PostgresOptions) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("kw-pg-").tempdir_in("/tmp")?;
        self.account.give(folder.path())?;
        let watcher = Watcher::of_folder(folder.path())?;
        let mut copy = self.client("pg_basebackup", ADMIN, &self.admin_password);
        copy.arg("-D").arg(folder.path().join("data"));
        copy.args(["-w", "-R", "-c", "fast", "--no-sync", "--no-manifest"]);
        command::run(&mut copy)?;
        let mut replica = Self {
            running: None,
            installed: self.installed.clone(),
            account: self.account,
            options,
            port: 0,
            admin_password: self.admin_password.clone(),
            authority: self.authority.clone(),
            folder,
            _watcher: watcher,
        };
        replica.write_files()?;
        replica.launch_anywhere()?;
        replica.wait_until_it_streams()?;
        Ok(replica)
    }

    /// Starts this one again as a standby that nobody sends anything to.
    ///
    /// # Errors
    /// When it does not come up; with its log.
    pub fn stand_by(&mut self) -> Result<()> {
        self.stop()?;
        let signal = self.folder.path().join("data/standby.signal");
        self.account.write(&signal, "")?;
        self.restart()
    }

    /// Holds back, or lets go again, what the primary sends. Once it holds, nothing more shows here.
    ///
    /// # Errors
    /// With psql's words.
    pub fn hold_replay(&self, hold: bool) -> Result<()> {
        let (verb, state) = if hold {
            ("pause", "paused")
        } else {
            ("resume", "not paused")
        };
        self.sql(&format!("SELECT pg_wal_replay_{verb}()"))?;
        self.wait_for(&format!("pg_get_wal_replay_pause_state() = '{state}'"))
    }

    fn wait_until_it_streams(&self) -> Result<()> {
        self.wait_for("EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')")
    }

    fn wait_for(&self, condition: &str) -> Result<()> {
        let begun = Instant::now();
        while self.sql(&format!("SELECT {condition}"))? != "t" {
            if begun.elapsed() > SERVER_DEADLINE {
                bail!("{condition}: not in time\n{}", super::tail(&self.log()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}
