use keywheel_model::Timestamp;
use rusqlite::{Row, named_params, params};

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
}

/// Some of the topics: those that begin so, or all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topics {
    /// How they begin.
    pub prefix: &'static str,
    /// Whether those are meant, or all others.
    pub has: bool,
}

const COLUMNS: &str = "id, topic, key, body, created";
const OF_TOPICS: &str = "(substr(topic, 1, length(:prefix)) = :prefix) = :has";

fn read(row: &Row<'_>) -> rusqlite::Result<Notification> {
    Ok(Notification {
        id: row.get(0)?,
        topic: row.get(1)?,
        key: row.get(2)?,
        body: row.get(3)?,
        created: at(row, 4)?,
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

    /// Notifications not yet delivered, of these topics, after that number; the oldest first, at most `limit`.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn notifications_after(
        &self,
        after: u64,
        topics: &Topics,
        limit: u32,
    ) -> Result<Vec<Notification>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM outbox WHERE done IS NULL AND id > :after AND {OF_TOPICS} ORDER BY id LIMIT :limit"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let wanted = named_params! {
            ":after": after, ":prefix": topics.prefix, ":has": topics.has, ":limit": limit,
        };
        Ok(statement.query_map(wanted, read)?.collect::<Result<_, _>>()?)
    }

    /// The number of the newest notification; 0: there was none yet, or it is forgotten.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn newest_notification(&self) -> Result<u64, Error> {
        let sql = "SELECT coalesce(max(id), 0) FROM outbox";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_row([], |row| row.get(0))?)
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

    /// Those of these topics after `from`, up to `through`, were delivered to everybody. Repeated, it changes nothing.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn delivered(&self, topics: &Topics, from: u64, through: u64) -> Result<(), Error> {
        let sql = format!(
            "UPDATE outbox SET done = :now WHERE done IS NULL AND id > :from AND id <= :through AND {OF_TOPICS}"
        );
        self.connection.prepare_cached(&sql)?.execute(named_params! {
            ":now": self.now.as_unix_ms(), ":from": from, ":through": through,
            ":prefix": topics.prefix, ":has": topics.has,
        })?;
        Ok(())
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
