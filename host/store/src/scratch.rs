use keywheel_model::RunId;
use rusqlite::{OptionalExtension, params};

use crate::{Error, Reader, Transaction};

/// Most bytes of one value, and most keys of one run.
const VALUE_LIMIT: usize = 256 * 1024;
const KEY_LIMIT: usize = 256;
const NAME_LIMIT: usize = 256;

impl Reader<'_> {
    /// A run's scratch state: what a plugin noted for its next step. Not secret.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn scratch(&self, run: &RunId, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let sql = "SELECT value FROM scratch WHERE run = ?1 AND key = ?2";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_row([run.as_str(), key], |row| row.get(0))
            .optional()?)
    }

    /// What an earlier try of the run recorded under a label.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn recorded(&self, run: &RunId, label: &str) -> Result<Option<Vec<u8>>, Error> {
        let sql = "SELECT value FROM recorded WHERE run = ?1 AND label = ?2";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_row([run.as_str(), label], |row| row.get(0))
            .optional()?)
    }
}

impl Transaction<'_> {
    /// Sets a run's scratch state. Never a secret's value: that goes to the vault.
    ///
    /// # Errors
    /// [`Error::Limit`] beyond 256 KiB a value, 256 keys a run, 256 bytes a key.
    pub fn set_scratch(&self, run: &RunId, key: &str, value: &[u8]) -> Result<(), Error> {
        check(key, value)?;
        let others = "SELECT count(*) FROM scratch WHERE run = ?1 AND key <> ?2";
        let others: usize = self
            .connection
            .prepare_cached(others)?
            .query_row([run.as_str(), key], |row| row.get(0))?;
        if others >= KEY_LIMIT {
            return Err(Error::Limit {
                what: "the number of keys in a run's state",
                limit: KEY_LIMIT,
            });
        }
        let sql = "INSERT INTO scratch (run, key, value) VALUES (?1, ?2, ?3)
                   ON CONFLICT (run, key) DO UPDATE SET value = excluded.value";
        self.connection
            .prepare_cached(sql)?
            .execute(params![run.as_str(), key, value])?;
        Ok(())
    }

    /// Removes a run's scratch state; one that is not there is no error.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn delete_scratch(&self, run: &RunId, key: &str) -> Result<(), Error> {
        let sql = "DELETE FROM scratch WHERE run = ?1 AND key = ?2";
        self.connection
            .prepare_cached(sql)?
            .execute([run.as_str(), key])?;
        Ok(())
    }

    /// Records an answer for later tries of the run. The same again changes nothing.
    ///
    /// # Errors
    /// [`Error::Conflict`] when something else stands there, [`Error::Limit`].
    pub fn record(&self, run: &RunId, label: &str, value: &[u8]) -> Result<(), Error> {
        check(label, value)?;
        let sql = "INSERT INTO recorded (run, label, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        self.connection
            .prepare_cached(sql)?
            .execute(params![run.as_str(), label, value])?;
        if self.recorded(run, label)?.as_deref() == Some(value) {
            return Ok(());
        }
        Err(Error::Conflict {
            what: format!("the record {label:?} of run {run}"),
        })
    }
}

fn check(key: &str, value: &[u8]) -> Result<(), Error> {
    if key.len() > NAME_LIMIT {
        return Err(Error::Limit {
            what: "the bytes of a key",
            limit: NAME_LIMIT,
        });
    }
    if value.len() > VALUE_LIMIT {
        return Err(Error::Limit {
            what: "the bytes of a value",
            limit: VALUE_LIMIT,
        });
    }
    Ok(())
}
