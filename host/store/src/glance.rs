//! What is read of a database that no host has opened, by whoever holds its directory. Nothing of it is checked: it may be why another is to take its
//! place.

use std::path::Path;

use keywheel_model::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::Error;

/// When the newest row of the trail with this action was written.
pub(crate) fn last_of(path: &Path, action: &str) -> Result<Option<Timestamp>, Error> {
    let sql = "SELECT at FROM audit WHERE action = ?1 ORDER BY seq DESC LIMIT 1";
    let at: Option<u64> = open(path)?
        .query_row(sql, [action], |row| row.get(0))
        .optional()?;
    Ok(at.map(Timestamp::from_unix_ms))
}

/// The names of the key slots.
pub(crate) fn slots_of(path: &Path) -> Result<Vec<String>, Error> {
    let connection = open(path)?;
    let mut statement = connection.prepare("SELECT id FROM key_slot ORDER BY id")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn open(path: &Path) -> Result<Connection, Error> {
    Ok(Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY,
    )?)
}
