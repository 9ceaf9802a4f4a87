use std::str::FromStr;

use keywheel_model::{RotationName, RunId, SecretName, Timestamp};
use rusqlite::{OptionalExtension, Row, ToSql, params};

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
        let sql = format!("SELECT id FROM run {OPEN_OF_SECRET}");
        Ok(self
            .connection
            .prepare_cached(&sql)?
            .query_row([secret.as_str()], |row| parsed(row, 0, RunId::from_str))
            .optional()?)
    }

    /// The newest runs, of one rotation or of all, newest first, at most `limit`. Of one rotation the open one comes first: where the clock was set
    /// back, later runs have smaller ids.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn runs(&self, rotation: Option<&RotationName>, limit: u32) -> Result<Vec<Run>, Error> {
        let Some(rotation) = rotation else {
            return self.runs_by(NEWEST, params![limit]);
        };
        let rotation = rotation.as_str();
        let mut runs = self.runs_by(OPEN_OF_ROTATION, params![rotation, limit])?;
        let left = limit.saturating_sub(u32::try_from(runs.len()).unwrap_or(limit));
        runs.extend(self.runs_by(OVER_OF_ROTATION, params![rotation, left])?);
        Ok(runs)
    }

    fn runs_by(&self, which: &str, values: &[&dyn ToSql]) -> Result<Vec<Run>, Error> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM run {which}"))?;
        Ok(statement.query_map(values, read)?.collect::<Result<_, _>>()?)
    }
}

/// Which runs, by an index each: a run's row is large, and a rotation has many in the course of years.
const NEWEST: &str = "ORDER BY id DESC LIMIT ?1";
const OPEN_OF_ROTATION: &str = "WHERE rotation = ?1 AND finished IS NULL ORDER BY id DESC LIMIT ?2";
const OVER_OF_ROTATION: &str = "WHERE rotation = ?1 AND finished IS NOT NULL ORDER BY id DESC LIMIT ?2";
const OPEN_OF_SECRET: &str = "WHERE secret = ?1 AND finished IS NULL ORDER BY id DESC LIMIT 1";

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

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn what_is_asked_of_a_rotation_costs_the_same_however_many_runs_it_has_had() {
        let mut database = Connection::open_in_memory().unwrap();
        crate::schema::migrate(&mut database, 0).unwrap();
        for (which, index) in [
            (OPEN_OF_ROTATION, "run_open_of_rotation"),
            (OVER_OF_ROTATION, "run_of_rotation"),
            (OPEN_OF_SECRET, "run_open_of_secret"),
        ] {
            let sql = format!("EXPLAIN QUERY PLAN SELECT {COLUMNS} FROM run {which}");
            let mut statement = database.prepare(&sql).unwrap();
            let lines = statement.raw_query().mapped(|row| row.get::<_, String>(3));
            let plan: Vec<String> = lines.map(Result::unwrap).collect();
            assert!(
                plan.len() == 1 && plan[0].contains(&format!("INDEX {index} (")),
                "{which}: {plan:?}"
            );
        }
    }
}
