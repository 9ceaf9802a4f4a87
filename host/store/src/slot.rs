use keywheel_model::Timestamp;
use rusqlite::{Row, params};

use crate::transaction::at;
use crate::{Error, Reader, Transaction};

/// A key slot of the vault: the vault's key, wrapped so that one way of opening it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySlot {
    /// Its name.
    pub id: String,
    /// `key-file`, `passphrase`, `recovery`.
    pub kind: String,
    /// How it is opened, JSON: parameters, salt, check value, recipient.
    pub header: String,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
}

fn read(row: &Row<'_>) -> rusqlite::Result<KeySlot> {
    Ok(KeySlot {
        id: row.get(0)?,
        kind: row.get(1)?,
        header: row.get(2)?,
        wrapped: row.get(3)?,
        created: at(row, 4)?,
    })
}

impl Reader<'_> {
    /// All key slots, by name.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn key_slots(&self) -> Result<Vec<KeySlot>, Error> {
        let sql = "SELECT id, kind, header, wrapped, created FROM key_slot ORDER BY id";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_map([], read)?
            .collect::<Result<_, _>>()?)
    }

    /// The keys that wrap versions' keys, themselves wrapped: term and blob, oldest first.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn key_terms(&self) -> Result<Vec<(u32, Vec<u8>)>, Error> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT term, wrapped FROM key_term ORDER BY term")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Transaction<'_> {
    /// Adds a key that wraps versions' keys, itself wrapped.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the term is there.
    pub fn add_key_term(&self, term: u32, wrapped: &[u8]) -> Result<(), Error> {
        let sql = "INSERT INTO key_term (term, wrapped, created) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        let now = self.now.as_unix_ms();
        let added = self
            .connection
            .prepare_cached(sql)?
            .execute(params![term, wrapped, now])?;
        if added == 0 {
            Err(Error::Conflict {
                what: format!("key term {term}"),
            })
        } else {
            Ok(())
        }
    }

    /// Adds a key slot; `created` is set here.
    ///
    /// # Errors
    /// [`Error::Conflict`] when its name is taken.
    pub fn add_key_slot(&self, slot: &KeySlot) -> Result<(), Error> {
        let sql = "INSERT INTO key_slot (id, kind, header, wrapped, created) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT DO NOTHING";
        let KeySlot {
            id,
            kind,
            header,
            wrapped,
            ..
        } = slot;
        let now = self.now.as_unix_ms();
        let added = self
            .connection
            .prepare_cached(sql)?
            .execute(params![id, kind, header, wrapped, now])?;
        if added == 0 {
            Err(Error::Conflict {
                what: format!("key slot {id}"),
            })
        } else {
            Ok(())
        }
    }

    /// Removes a key slot, unless it is the last one: that would lose every secret.
    ///
    /// # Errors
    /// [`Error::Conflict`] for the last one, [`Error::NotFound`].
    pub fn remove_key_slot(&self, id: &str) -> Result<(), Error> {
        let slots = self.key_slots()?;
        if !slots.iter().any(|slot| slot.id == id) {
            return Err(Error::NotFound {
                what: format!("key slot {id}"),
            });
        }
        if slots.len() == 1 {
            return Err(Error::Conflict {
                what: format!("key slot {id}, the last one,"),
            });
        }
        self.connection
            .prepare_cached("DELETE FROM key_slot WHERE id = ?1")?
            .execute([id])?;
        Ok(())
    }
}
