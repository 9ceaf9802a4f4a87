use std::str::FromStr;

use keywheel_model::{RunId, Timestamp};
use rusqlite::{OptionalExtension, Row, params};

use crate::transaction::{at, parsed};
use crate::{Error, Reader, Transaction};

/// What a sealed value of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SealedKind {
    /// A secret captured from a target's answer.
    Escrow,
    /// A secret that a plugin noted for its next step.
    State,
}

impl SealedKind {
    /// The word in the table, also part of what the ciphertext is bound to.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Escrow => "escrow",
            Self::State => "state",
        }
    }
}

/// A run's sealed value: ciphertext that only the vault can open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The run.
    pub run: RunId,
    /// Its key within run and kind.
    pub key: String,
    /// The value's ciphertext.
    pub ciphertext: Vec<u8>,
    /// Its key, wrapped.
    pub wrapped_key: Vec<u8>,
    /// Labels, JSON, not secret.
    pub meta: String,
    /// When it was stored.
    pub created: Timestamp,
}

const COLUMNS: &str = "run, key, ciphertext, wrapped_key, meta, created";

fn read(row: &Row<'_>) -> rusqlite::Result<Sealed> {
    Ok(Sealed {
        run: parsed(row, 0, RunId::from_str)?,
        key: row.get(1)?,
        ciphertext: row.get(2)?,
        wrapped_key: row.get(3)?,
        meta: row.get(4)?,
        created: at(row, 5)?,
    })
}

impl Reader<'_> {
    /// One sealed value.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn sealed(&self, run: &RunId, kind: SealedKind, key: &str) -> Result<Option<Sealed>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM sealed WHERE run = ?1 AND kind = ?2 AND key = ?3");
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement
            .query_row([run.as_str(), kind.as_str(), key], read)
            .optional()?)
    }

    /// All sealed values of a kind, of one run or of all.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn sealed_of(&self, run: Option<&RunId>, kind: SealedKind) -> Result<Vec<Sealed>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM sealed WHERE (?1 IS NULL OR run = ?1) AND kind = ?2 ORDER BY run, key"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![run.map(RunId::as_str), kind.as_str()], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Transaction<'_> {
    /// Stores a sealed value; `created` is set here. An existing one is replaced.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn put_sealed(&self, kind: SealedKind, sealed: &Sealed) -> Result<(), Error> {
        let sql = "INSERT INTO sealed (run, kind, key, ciphertext, wrapped_key, meta, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                   ON CONFLICT (run, kind, key) DO UPDATE
                   SET ciphertext = excluded.ciphertext, wrapped_key = excluded.wrapped_key, meta = excluded.meta";
        self.connection.prepare_cached(sql)?.execute(params![
            sealed.run.as_str(),
            kind.as_str(),
            sealed.key,
            sealed.ciphertext,
            sealed.wrapped_key,
            sealed.meta,
            self.now.as_unix_ms()
        ])?;
        Ok(())
    }

    /// Removes a sealed value. Returns whether it was there.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn remove_sealed(&self, run: &RunId, kind: SealedKind, key: &str) -> Result<bool, Error> {
        let sql = "DELETE FROM sealed WHERE run = ?1 AND kind = ?2 AND key = ?3";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .execute([run.as_str(), kind.as_str(), key])?
            > 0)
    }
}
