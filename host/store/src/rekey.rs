//! What a change of the vault's keys writes. All of it is one transaction: before it the old keys open everything, after it the new ones.

use std::str::FromStr;

use keywheel_model::{RunId, SecretBytes, SecretName, VersionId};
use rusqlite::params;

use crate::transaction::parsed;
use crate::{Error, KeySlot, Reader, SealedKind, Transaction};

impl Reader<'_> {
    /// The versions that have a value of their own, with their secrets.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn owners(&self) -> Result<Vec<(VersionId, SecretName)>, Error> {
        let sql = "SELECT id, secret FROM version WHERE wrapped_key IS NOT NULL ORDER BY id";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| {
            Ok((
                parsed(row, 0, VersionId::from_str)?,
                parsed(row, 1, SecretName::from_str)?,
            ))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The sealed values of a kind: run and key.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn sealed_names(&self, kind: SealedKind) -> Result<Vec<(RunId, String)>, Error> {
        let sql = "SELECT run, key FROM sealed WHERE kind = ?1 ORDER BY run, key";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([kind.as_str()], |row| {
            Ok((parsed(row, 0, RunId::from_str)?, row.get(1)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Transaction<'_> {
    /// Replaces the wrapped key of a version.
    ///
    /// # Errors
    /// [`Error::NotFound`] where it has none.
    pub fn set_wrapped_key(&self, id: &VersionId, wrapped: &[u8]) -> Result<(), Error> {
        let sql = "UPDATE version SET wrapped_key = ?2 WHERE id = ?1 AND wrapped_key IS NOT NULL";
        let changed = self
            .connection
            .prepare_cached(sql)?
            .execute(params![id.as_str(), wrapped])?;
        found(changed, || format!("version {id}"))
    }

    /// Replaces the wrapped key of a run's sealed value.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn set_sealed_key(
        &self,
        run: &RunId,
        kind: SealedKind,
        key: &str,
        wrapped: &[u8],
    ) -> Result<(), Error> {
        let sql = "UPDATE sealed SET wrapped_key = ?4 WHERE run = ?1 AND kind = ?2 AND key = ?3";
        let changed = self.connection.prepare_cached(sql)?.execute(params![
            run.as_str(),
            kind.as_str(),
            key,
            wrapped
        ])?;
        found(changed, || format!("{} of {run}", kind.as_str()))
    }

    /// Replaces all keys that wrap versions' keys.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn replace_key_terms(&self, terms: &[(u32, Vec<u8>)]) -> Result<(), Error> {
        self.connection.execute("DELETE FROM key_term", [])?;
        terms
            .iter()
            .try_for_each(|(term, wrapped)| self.add_key_term(*term, wrapped))
    }

    /// Replaces all key slots.
    ///
    /// # Errors
    /// [`Error::Conflict`] when there would be none: that would lose every secret.
    pub fn replace_key_slots(&self, slots: &[KeySlot]) -> Result<(), Error> {
        if slots.is_empty() {
            return Err(Error::Conflict {
                what: "a vault without key slots".to_owned(),
            });
        }
        self.connection.execute("DELETE FROM key_slot", [])?;
        slots.iter().try_for_each(|slot| self.add_key_slot(slot))
    }

    /// The same transaction, with another key that seals its audit rows.
    pub fn sealing_with<T>(&self, key: &SecretBytes, write: impl FnOnce(&Transaction<'_>) -> T) -> T {
        write(&Transaction {
            reader: Reader {
                connection: self.connection,
                now: self.now,
                store_id: self.store_id,
            },
            audit_key: Some(key),
        })
    }
}

fn found(changed: usize, what: impl FnOnce() -> String) -> Result<(), Error> {
    if changed == 0 {
        return Err(Error::NotFound { what: what() });
    }
    Ok(())
}
