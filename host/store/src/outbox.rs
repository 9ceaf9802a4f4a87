use std::time::Duration;

use keywheel_model::Timestamp;
use rusqlite::{Row, params};

use crate::transaction::at;
use crate::{Error, Reader, Transaction};

/// Something to be told to the world, at least once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Its number: what a receiver can recognise a repetition by.
    pub id: u64,
    /// About what: `run.parked`, `run.resolved`.
    pub topic: String,
    /// Which thing: what a later notification on the same thing resolves.
    pub key: String,
    /// The body, JSON without secrets.
    pub body: String,
    /// When it was written.
    pub created: Timestamp,
    /// Not sent before.
    pub not_before: Timestamp,
    /// Tries begun, this one included.
    pub attempts: u32,
}

const COLUMNS: &str = "id, topic, key, body, created, not_before, attempts";

fn read(row: &Row<'_>) -> rusqlite::Result<Notification> {
    Ok(Notification {
        id: row.get(0)?,
        topic: row.get(1)?,
        key: row.get(2)?,
        body: row.get(3)?,
        created: at(row, 4)?,
        not_before: at(row, 5)?,
        attempts: row.get(6)?,
    })
}

impl Reader<'_> {
    /// Notifications not yet delivered, oldest first, at most `limit`.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn undelivered(&self, limit: u32) -> Result<Vec<Notification>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM outbox WHERE done IS NULL ORDER BY id LIMIT ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement.query_map([limit], read)?.collect::<Result<_, _>>()?)
    }
}

impl Transaction<'_> {
    /// Puts a notification in the outbox, in the transaction of the change that it tells of. Returns its number.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn notify(&self, topic: &str, key: &str, body: &serde_json::Value) -> Result<u64, Error> {
        let sql = "INSERT INTO outbox (topic, key, body, created, not_before, attempts) VALUES (?1, ?2, ?3, ?4, ?4, 0)";
        let now = self.now.as_unix_ms();
        self.connection
            .prepare_cached(sql)?
            .execute(params![topic, key, body.to_string(), now])?;
        u64::try_from(self.connection.last_insert_rowid()).map_err(|_| Error::Unreadable {
            what: "outbox".to_owned(),
        })
    }

    /// Claims what is due: it is not handed out again before `retry_after`, and comes again then unless it was delivered.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn claim_notifications(&self, limit: u32, retry_after: Duration) -> Result<Vec<Notification>, Error> {
        let now = self.now.as_unix_ms();
        let sql = format!(
            "UPDATE outbox SET attempts = attempts + 1, not_before = ?2 WHERE id IN
             (SELECT id FROM outbox WHERE done IS NULL AND not_before <= ?1 ORDER BY not_before, id LIMIT ?3)
             RETURNING {COLUMNS}"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let again = (self.now + retry_after).as_unix_ms();
        let mut claimed = statement
            .query_map(params![now, again, limit], read)?
            .collect::<Result<Vec<_>, _>>()?;
        claimed.sort_by_key(|notification| notification.id);
        Ok(claimed)
    }

    /// It was delivered. Repeated, it changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delivered(&self, id: u64) -> Result<(), Error> {
        let sql = "UPDATE outbox SET done = coalesce(done, ?2) WHERE id = ?1";
        let changed = self
            .connection
            .prepare_cached(sql)?
            .execute(params![id, self.now.as_unix_ms()])?;
        if changed == 0 {
            Err(Error::NotFound {
                what: format!("notification {id}"),
            })
        } else {
            Ok(())
        }
    }

    /// Forgets what was delivered before then. How many that were.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn forget_delivered(&self, before: Timestamp) -> Result<usize, Error> {
        let sql = "DELETE FROM outbox WHERE done < ?1";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .execute([before.as_unix_ms()])?)
    }
}
