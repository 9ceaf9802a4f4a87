use keywheel_failpoint::{Point, reach};
use rusqlite::{Connection, TransactionBehavior};

use crate::Error;

/// The newest format of the database that this build knows; `user_version` of the file.
pub const FORMAT: u32 = 2;

const _: () = assert!(FORMAT as usize == MIGRATIONS.len());

/// "KWHL": marks the file as ours for everybody who looks at it.
pub(crate) const APPLICATION_ID: u32 = 0x4b57_484c;

const MIGRATIONS: [&str; 2] = [include_str!("schema/0001.sql"), include_str!("schema/0002.sql")];

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
