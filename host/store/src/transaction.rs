use std::ops::Deref;

use keywheel_model::{SecretBytes, Timestamp};
use rusqlite::Connection;

/// A consistent view of the store. Its reading functions stand in the file of each noun.
pub struct Reader<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) now: Timestamp,
    pub(crate) store_id: &'a str,
}

impl Reader<'_> {
    /// The time at which this transaction began, by the store's clock. All its rows carry it.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The store's id: random, made with the store, kept by backups.
    pub fn store_id(&self) -> &str {
        self.store_id
    }
}

/// A change of the store that is kept as a whole or not at all. Also reads, and sees its own writes.
pub struct Transaction<'a> {
    pub(crate) reader: Reader<'a>,
    pub(crate) audit_key: Option<&'a SecretBytes>,
}

impl<'a> Deref for Transaction<'a> {
    type Target = Reader<'a>;

    fn deref(&self) -> &Reader<'a> {
        &self.reader
    }
}

/// Begins or ends a transaction or a savepoint: one of a few statements, which stay prepared.
pub(crate) fn frame(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

/// A column that holds a time.
pub(crate) fn at(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_unix_ms)
}

/// A text column, read as a type of the model.
pub(crate) fn parsed<T, E>(
    row: &rusqlite::Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let text = row.get_ref(column)?.as_str()?;
    parse(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}
