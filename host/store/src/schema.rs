use std::collections::BTreeMap;
use std::sync::OnceLock;

use keywheel_failpoint::{Point, reach};
use rusqlite::{Connection, TransactionBehavior};

use crate::Error;

/// The newest format of the database that this build knows; `user_version` of the file.
pub const FORMAT: u32 = 7;

const _: () = assert!(FORMAT as usize == MIGRATIONS.len());

/// "KWHL": marks the file as ours for everybody who looks at it.
pub(crate) const APPLICATION_ID: u32 = 0x4b57_484c;

const MIGRATIONS: [&str; 7] = [
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
    include_str!("schema/0003.sql"),
    include_str!("schema/0004.sql"),
    include_str!("schema/0005.sql"),
    include_str!("schema/0006.sql"),
    include_str!("schema/0007.sql"),
];

/// Brings the file to the newest format, each migration in a transaction of its own together with its number.
pub(crate) fn migrate(connection: &mut Connection, from: u32) -> Result<(), Error> {
    for (number, sql) in (1..)
        .zip(MIGRATIONS)
        .skip(usize::try_from(from).unwrap_or(usize::MAX))
    {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", number)?;
        reach(Point::MigrateBefore);
        transaction.commit()?;
        reach(Point::MigrateAfter);
    }
    Ok(())
}

/// Tables, indices, triggers and views: the text that made each, by kind and name.
type Objects = BTreeMap<(String, String), String>;

/// What is not as the migrations make it. Whoever can write the file could keep rows from being written, or have them deleted again, by a trigger of
/// his own; the rows that are left would hold together.
pub(crate) fn strangers(connection: &Connection) -> Result<Option<String>, Error> {
    let (wanted, found) = (wanted()?, objects(connection)?);
    let said = |(kind, name): &(String, String), what: &str| {
        let name: String = name.chars().take(64).collect();
        Some(format!(
            "the {} `{}` {what}",
            kind.escape_debug(),
            name.escape_debug()
        ))
    };
    for (object, sql) in wanted {
        match found.get(object) {
            None => return Ok(said(object, "is gone")),
            Some(other) if other != sql => return Ok(said(object, "was altered")),
            Some(_) => {}
        }
    }
    let stranger = found.keys().find(|object| !wanted.contains_key(*object));
    Ok(stranger.and_then(|object| said(object, "is none of this host's")))
}

fn wanted() -> Result<&'static Objects, Error> {
    static WANTED: OnceLock<Objects> = OnceLock::new();
    if let Some(wanted) = WANTED.get() {
        return Ok(wanted);
    }
    let memory = Connection::open_in_memory()?;
    MIGRATIONS
        .into_iter()
        .try_for_each(|sql| memory.execute_batch(sql))?;
    let objects = objects(&memory)?;
    Ok(WANTED.get_or_init(|| objects))
}

fn objects(connection: &Connection) -> Result<Objects, Error> {
    // What SQLite counts for its planner is no schema of ours, and changes nothing.
    let sql = "SELECT type, name, coalesce(sql, '') FROM sqlite_schema WHERE NOT (type = 'table' AND name GLOB 'sqlite_stat[134]')";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
