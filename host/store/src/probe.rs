use std::time::Duration;

use keywheel_model::{RunId, Timestamp};
use rusqlite::params;

use crate::transaction::at;
use crate::{Error, Reader, Transaction};

impl Reader<'_> {
    /// Probes of an account within the window before now. Accounts are shared by runs, and so is the budget (rule P14).
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn probes(&self, account: &str, window: Duration) -> Result<u32, Error> {
        let sql = "SELECT count(*) FROM probe WHERE account = ?1 AND at > ?2";
        let since = (self.now - window).as_unix_ms();
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_row(params![account, since], |row| row.get(0))?)
    }
}

impl Transaction<'_> {
    /// Spends one probe of the account, before it is made. Returns how many are left in the window.
    ///
    /// # Errors
    /// [`Error::BudgetSpent`] with the time at which the next one is allowed.
    pub fn spend_probe(
        &self,
        account: &str,
        run: &RunId,
        limit: u32,
        window: Duration,
    ) -> Result<u32, Error> {
        let since = (self.now - window).as_unix_ms();
        // The newest stay: a clock that jumps forward and is set right again must not make them forgotten.
        let old = "DELETE FROM probe WHERE account = ?1 AND at <= ?2 AND rowid NOT IN
                   (SELECT rowid FROM probe WHERE account = ?1 ORDER BY at DESC, rowid DESC LIMIT ?3)";
        self.connection
            .prepare_cached(old)?
            .execute(params![account, since, limit])?;
        let spent = self.probes(account, window)?;
        if spent >= limit {
            let free_at = if limit == 0 {
                Timestamp::from_unix_ms(u64::MAX)
            } else {
                self.oldest(account, limit)? + window
            };
            return Err(Error::BudgetSpent {
                account: account.to_owned(),
                free_at,
            });
        }
        let sql = "INSERT INTO probe (account, at, run) VALUES (?1, ?2, ?3)";
        self.connection.prepare_cached(sql)?.execute(params![
            account,
            self.now.as_unix_ms(),
            run.as_str()
        ])?;
        Ok(limit - spent - 1)
    }

    /// Sets probes back that were booked by a clock far ahead of now: further than the window they cannot be right, and would be waited for until
    /// that day. They count from now on, so that none is forgotten. A transaction of its own: one that then refuses a probe keeps nothing.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn set_probes_back(&self, account: &str, window: Duration) -> Result<(), Error> {
        let sql = "UPDATE probe SET at = ?3 WHERE account = ?1 AND at > ?2";
        let latest = (self.now + window).as_unix_ms();
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute(params![account, latest, self.now.as_unix_ms()])?;
        Ok(())
    }

    /// Gives the run's newest probe of the account back: it was no failed login. None there: no error.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn refund_probe(&self, account: &str, run: &RunId) -> Result<(), Error> {
        let sql = "DELETE FROM probe WHERE rowid = (SELECT rowid FROM probe WHERE account = ?1 AND run = ?2
                   ORDER BY at DESC, rowid DESC LIMIT 1)";
        self.connection
            .prepare_cached(sql)?
            .execute(params![account, run.as_str()])?;
        Ok(())
    }

    /// The one of the newest `limit` probes that leaves the window first.
    fn oldest(&self, account: &str, limit: u32) -> Result<Timestamp, Error> {
        let sql = "SELECT at FROM probe WHERE account = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_row(params![account, limit - 1], |row| at(row, 0))?)
    }
}
