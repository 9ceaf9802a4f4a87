use std::path::Path;

use keywheel_model::{Epoch, Fence, Timestamp};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use crate::{Error, Reader, Transaction};

/// Fences of one restore epoch; the epoch stands above these bits, so that a restored store never repeats a fence.
const FENCE_BITS: u32 = 40;

/// Gives a new store its id. Returns the id.
pub(crate) fn establish(connection: &mut Connection, now: Timestamp) -> Result<String, Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if read(&transaction, "store")?.is_none() {
        let id = format!("{:032x}", rand::random::<u128>());
        for (key, value) in [
            ("store", id),
            ("created", now.as_unix_ms().to_string()),
            ("epoch", "0".to_owned()),
        ] {
            write(&transaction, key, &value)?;
        }
    }
    let id = read(&transaction, "store")?.ok_or_else(|| Error::Unreadable {
        what: "meta store".to_owned(),
    })?;
    transaction.commit()?;
    Ok(id)
}

fn read(connection: &Connection, key: &str) -> Result<Option<String>, Error> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

fn write(connection: &Connection, key: &str, value: &str) -> Result<(), Error> {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    connection.prepare_cached(sql)?.execute(params![key, value])?;
    Ok(())
}

/// The restore epoch of a database that no host has opened.
pub(crate) fn epoch_of(path: &Path) -> Result<Epoch, Error> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    epoch_in(&connection)
}

fn epoch_in(connection: &Connection) -> Result<Epoch, Error> {
    u32::try_from(number(connection, "epoch")?)
        .map(Epoch)
        .map_err(|_| Error::Unreadable {
            what: "meta epoch".to_owned(),
        })
}

fn number(connection: &Connection, key: &str) -> Result<u64, Error> {
    match read(connection, key)? {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| Error::Unreadable {
            what: format!("meta {key}"),
        }),
    }
}

impl Reader<'_> {
    /// A fact about the store itself: `audit.key` (which key seals the trail), `vault.format`.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn meta(&self, key: &str) -> Result<Option<String>, Error> {
        read(self.connection, key)
    }

    /// The restore epoch (rule P2).
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn epoch(&self) -> Result<Epoch, Error> {
        epoch_in(self.connection)
    }

    /// Whether a fence was given in the present restore epoch.
    pub(crate) fn is_of_this_epoch(&self, fence: Fence) -> Result<bool, Error> {
        Ok(fence.0 >> FENCE_BITS == u64::from(self.epoch()?.0))
    }
}

impl Transaction<'_> {
    /// Records a fact about the store itself.
    ///
    /// # Errors
    /// [`Error::Conflict`] for the keys that the store keeps by itself.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<(), Error> {
        if matches!(key, "store" | "created" | "epoch" | "fence") {
            return Err(Error::Conflict {
                what: format!("meta {key}"),
            });
        }
        write(self.connection, key, value)
    }

    /// Forgets a fact, if it is known and none that the store keeps by itself.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn forget_meta(&self, key: &str) -> Result<(), Error> {
        let sql = "DELETE FROM meta WHERE key = ?1 AND key NOT IN ('store', 'created', 'epoch', 'fence')";
        self.connection.prepare_cached(sql)?.execute([key])?;
        Ok(())
    }

    /// Deletes the notes whose keys begin so. `beginning` ends with a space; what does not is no such beginning, and nothing is deleted.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn forget_meta_of(&self, beginning: &str) -> Result<(), Error> {
        let Some(before) = beginning.strip_suffix(' ') else {
            return Ok(());
        };
        let sql = "DELETE FROM meta WHERE key >= ?1 AND key < ?2";
        let end = format!("{before}!");
        self.connection.prepare_cached(sql)?.execute([beginning, &end])?;
        Ok(())
    }

    /// Begins the next restore epoch; fences of older ones are dead from now on: runs go on after a takeover.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn raise_epoch(&self) -> Result<Epoch, Error> {
        self.raise_epoch_above(Epoch(0))
    }

    /// The same, above that of another life of this store, too.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn raise_epoch_above(&self, other: Epoch) -> Result<Epoch, Error> {
        let next = Epoch(self.epoch()?.max(other).0.saturating_add(1));
        write(self.connection, "epoch", &next.0.to_string())?;
        Ok(next)
    }

    /// A fence that no one ever had: above all before it, and above all of earlier epochs.
    pub(crate) fn next_fence(&self) -> Result<Fence, Error> {
        let floor = u64::from(self.epoch()?.0) << FENCE_BITS;
        let next = (number(self.connection, "fence")? + 1).max(floor + 1);
        write(self.connection, "fence", &next.to_string())?;
        Ok(Fence(next))
    }
}
