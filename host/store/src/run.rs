use std::str::FromStr;

use keywheel_model::{RotationName, RunId, SecretName, Timestamp};
use rusqlite::{OptionalExtension, Row, params};

use crate::transaction::{at, parsed};
use crate::{Error, Reader, Transaction};

/// A run as it begins.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// The rotation it is a run of.
    pub rotation: RotationName,
    /// The secret being rotated.
    pub secret: SecretName,
    /// The account on the target, as the lock names it.
    pub principal: String,
    /// The machine's state, JSON; opaque to the store.
    pub state: String,
}

/// A run as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The rotation it is a run of.
    pub rotation: RotationName,
    /// The secret being rotated.
    pub secret: SecretName,
    /// The account on the target.
    pub principal: String,
    /// The machine's state, JSON.
    pub state: String,
    /// Counts the changes of `state`, from 1: the compare-and-set.
    pub version: u64,
    /// When it began.
    pub started: Timestamp,
    /// When `state` last changed.
    pub updated: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// How it ended: one word.
    pub outcome: Option<String>,
}

const COLUMNS: &str = "id, rotation, secret, principal, state, version, started, updated, finished, outcome";

fn read(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        id: parsed(row, 0, RunId::from_str)?,
        rotation: parsed(row, 1, RotationName::from_str)?,
        secret: parsed(row, 2, SecretName::from_str)?,
        principal: row.get(3)?,
        state: row.get(4)?,
        version: row.get(5)?,
        started: at(row, 6)?,
        updated: at(row, 7)?,
        finished: row.get::<_, Option<u64>>(8)?.map(Timestamp::from_unix_ms),
        outcome: row.get(9)?,
    })
}

impl Reader<'_> {
    /// One run.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn run(&self, id: &RunId) -> Result<Option<Run>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM run WHERE id = ?1");
        Ok(self
            .connection
            .prepare_cached(&sql)?
            .query_row([id.as_str()], read)
            .optional()?)
    }

    /// Runs that have not ended, oldest first.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn open_runs(&self) -> Result<Vec<Run>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM run WHERE finished IS NULL ORDER BY id");
        Ok(self
            .connection
            .prepare_cached(&sql)?
            .query_map([], read)?
            .collect::<Result<_, _>>()?)
    }

    /// The run of a secret that has not ended. However many others are open, only that secret's are looked at.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn open_run_of(&self, secret: &SecretName) -> Result<Option<RunId>, Error> {
        let sql = "SELECT id FROM run WHERE secret = ?1 AND finished IS NULL ORDER BY id DESC LIMIT 1";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_row([secret.as_str()], |row| parsed(row, 0, RunId::from_str))
            .optional()?)
    }

    /// The newest runs, of one rotation or of all, newest first, at most `limit`. Of one rotation the open one comes first: where the clock was set
    /// back, later runs have smaller ids.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn runs(&self, rotation: Option<&RotationName>, limit: u32) -> Result<Vec<Run>, Error> {
        let which = if rotation.is_some() {
            "WHERE rotation = ?1 ORDER BY finished IS NULL DESC, id DESC"
        } else {
            "WHERE ?1 IS NULL ORDER BY id DESC"
        };
        let sql = format!("SELECT {COLUMNS} FROM run {which} LIMIT ?2");
        let rotation = rotation.map(RotationName::as_str);
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement
            .query_map(params![rotation, limit], read)?
            .collect::<Result<_, _>>()?)
    }
}

impl Transaction<'_> {
    /// Begins a run, at state version 1.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the id exists.
    pub fn begin_run(&self, run: &NewRun) -> Result<(), Error> {
        let sql = "INSERT INTO run (id, rotation, secret, principal, state, version, started, updated)
                   VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?6) ON CONFLICT DO NOTHING";
        let now = self.now.as_unix_ms();
        let added = self.connection.prepare_cached(sql)?.execute(params![
            run.id.as_str(),
            run.rotation.as_str(),
            run.secret.as_str(),
            run.principal,
            run.state,
            now
        ])?;
        if added == 0 {
            Err(Error::Conflict {
                what: format!("run {}", run.id),
            })
        } else {
            Ok(())
        }
    }

    /// Replaces the machine's state if it is still at `expected`. Returns the new state version. An ended run is still
    /// changed: late work, such as a `revoke` that waited, belongs to it.
    ///
    /// # Errors
    /// [`Error::StateConflict`] when somebody else changed it, [`Error::NotFound`].
    pub fn set_run_state(&self, id: &RunId, expected: u64, state: &str) -> Result<u64, Error> {
        let sql =
            "UPDATE run SET state = ?3, version = version + 1, updated = ?4 WHERE id = ?1 AND version = ?2";
        let now = self.now.as_unix_ms();
        let changed =
            self.connection
                .prepare_cached(sql)?
                .execute(params![id.as_str(), expected, state, now])?;
        if changed == 1 {
            return Ok(expected + 1);
        }
        match self.run(id)? {
            None => Err(Error::NotFound {
                what: format!("run {id}"),
            }),
            Some(run) => Err(Error::StateConflict {
                run: id.clone(),
                expected,
                found: run.version,
            }),
        }
    }

    /// Ends a run, with one word for how. Ending it again with the same word changes nothing.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it ended otherwise, [`Error::NotFound`].
    pub fn finish_run(&self, id: &RunId, outcome: &str) -> Result<(), Error> {
        let sql = "UPDATE run SET finished = ?2, outcome = ?3 WHERE id = ?1 AND finished IS NULL";
        let now = self.now.as_unix_ms();
        if self
            .connection
            .prepare_cached(sql)?
            .execute(params![id.as_str(), now, outcome])?
            == 1
        {
            return Ok(());
        }
        match self.run(id)? {
            None => Err(Error::NotFound {
                what: format!("run {id}"),
            }),
            Some(run) if run.outcome.as_deref() == Some(outcome) => Ok(()),
            Some(_) => Err(Error::Conflict {
                what: format!("the outcome of run {id}"),
            }),
        }
    }
}
