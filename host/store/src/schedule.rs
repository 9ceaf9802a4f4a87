use std::str::FromStr;

use keywheel_model::{RotationName, Timestamp};
use rusqlite::{OptionalExtension, Row, params};

use crate::transaction::{at, parsed};
use crate::{Error, Reader, Transaction};

/// When a rotation is due next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub rotation: RotationName,
    /// When.
    pub next_due: Timestamp,
    /// Smaller goes first at the same time.
    pub priority: u32,
    /// Why: one word: `schedule`, `expiry`, `retry`.
    pub reason: String,
}

const COLUMNS: &str = "rotation, next_due, priority, reason";

fn read(row: &Row<'_>) -> rusqlite::Result<Due> {
    Ok(Due {
        rotation: parsed(row, 0, RotationName::from_str)?,
        next_due: at(row, 1)?,
        priority: row.get(2)?,
        reason: row.get(3)?,
    })
}

impl Reader<'_> {
    /// When one rotation is due.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn due_of(&self, rotation: &RotationName) -> Result<Option<Due>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM schedule WHERE rotation = ?1");
        Ok(self
            .connection
            .prepare_cached(&sql)?
            .query_row([rotation.as_str()], read)
            .optional()?)
    }

    /// The time at which anything is due next.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT next_due FROM schedule ORDER BY next_due LIMIT 1";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_row([], |row| at(row, 0))
            .optional()?)
    }

    /// What is due at or before a time, most urgent first, at most `limit`.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn due(&self, at: Timestamp, limit: u32) -> Result<Vec<Due>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM schedule WHERE next_due <= ?1 ORDER BY next_due, priority, rotation LIMIT ?2"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement
            .query_map(params![at.as_unix_ms(), limit], read)?
            .collect::<Result<_, _>>()?)
    }
}

impl Transaction<'_> {
    /// Sets when a rotation is due.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn set_due(&self, due: &Due) -> Result<(), Error> {
        let sql = "INSERT INTO schedule (rotation, next_due, priority, reason) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (rotation) DO UPDATE
                   SET next_due = excluded.next_due, priority = excluded.priority, reason = excluded.reason";
        self.connection.prepare_cached(sql)?.execute(params![
            due.rotation.as_str(),
            due.next_due.as_unix_ms(),
            due.priority,
            due.reason
        ])?;
        Ok(())
    }

    /// The rotation is not scheduled any more.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn clear_due(&self, rotation: &RotationName) -> Result<(), Error> {
        let sql = "DELETE FROM schedule WHERE rotation = ?1";
        self.connection
            .prepare_cached(sql)?
            .execute([rotation.as_str()])?;
        Ok(())
    }
}
