//! When what is in use stops to be valid. It stands in clear beside the values, so that a host whose vault is sealed can tell it, too.

use std::str::FromStr as _;

use keywheel_model::{SecretName, Timestamp};
use rusqlite::Row;

use crate::transaction::parsed;
use crate::{Error, Reader};

/// When it ends, as the index of `0007.sql` has it: the very same words, or it is not used.
const END: &str = "CASE WHEN json_valid(meta) THEN json_extract(meta, '$.expires') END";

/// A version in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// The secret that it is current of.
    pub secret: SecretName,
    /// Since when there is this version.
    pub created: Timestamp,
    /// When it stops to be valid, where that is known.
    pub expires: Option<Timestamp>,
}

fn in_use(row: &Row<'_>) -> rusqlite::Result<InUse> {
    let expires: Option<u64> = row.get(2)?;
    Ok(InUse {
        secret: parsed(row, 0, SecretName::from_str)?,
        created: Timestamp::from_unix_ms(row.get(1)?),
        expires: expires.map(Timestamp::from_unix_ms),
    })
}

impl Reader<'_> {
    /// Those that stop to be valid before this, the first of them first; no more than `most`.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn expiring(&self, before: Timestamp, most: u32) -> Result<Vec<InUse>, Error> {
        let sql = format!(
            "SELECT secret, created, {END} FROM version WHERE stage = 'current' AND {END} IS NOT NULL AND {END} < ?1 ORDER BY {END} LIMIT ?2"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let found = statement.query_map((before.as_unix_ms(), most), in_use)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Those of which nobody knows when they stop to be valid, by the names of their secrets.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn without_expiry(&self) -> Result<Vec<InUse>, Error> {
        let sql = format!(
            "SELECT secret, created, NULL FROM version WHERE stage = 'current' AND {END} IS NULL ORDER BY secret"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let found = statement.query_map([], in_use)?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn ends_are_found_by_the_index_and_what_is_damaged_hides_none() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE version (secret TEXT, stage TEXT, meta TEXT, created INTEGER)")
            .unwrap();
        connection.execute_batch(include_str!("schema/0007.sql")).unwrap();
        for (secret, stage, meta) in [
            ("a/late", "current", r#"{"expires":2000}"#),
            ("a/soon", "current", r#"{"expires":1000}"#),
            ("a/old", "revoked", r#"{"expires":10}"#),
            ("a/none", "current", r#"{"expires":null}"#),
            ("a/damaged", "current", "{"),
        ] {
            let row = (secret, stage, meta);
            connection
                .execute("INSERT INTO version VALUES (?1, ?2, ?3, 5)", row)
                .unwrap();
        }
        let reader = Reader {
            connection: &connection,
            now: Timestamp::from_unix_ms(0),
            store_id: "",
        };
        let names =
            |found: Vec<InUse>| -> Vec<String> { found.iter().map(|one| one.secret.to_string()).collect() };
        let before = |ms| reader.expiring(Timestamp::from_unix_ms(ms), 10).unwrap();
        assert_eq!(names(before(5000)), ["a/soon", "a/late"]);
        assert_eq!(names(before(1001)), ["a/soon"]);
        assert_eq!(before(1001)[0].expires, Some(Timestamp::from_unix_ms(1000)));
        assert_eq!(names(reader.without_expiry().unwrap()), ["a/damaged", "a/none"]);
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT 1 FROM version WHERE stage = 'current' AND {END} IS NOT NULL AND {END} < 5"
        );
        let plan: String = connection.query_row(&sql, [], |row| row.get(3)).unwrap();
        assert!(plan.contains("version_expiry"), "{plan}");
    }
}
