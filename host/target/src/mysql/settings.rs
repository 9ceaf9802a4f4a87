use crate::postgres::Access;
use crate::statement::{Dialect, Statement};
use crate::{Deadline, Error};

/// What a session's quoting rests on: no `ANSI_QUOTES`, no `NO_BACKSLASH_ESCAPES`, one character set throughout. A value that does not fit
/// is an error, never cut.
pub(super) const PINS: &str = "SET NAMES utf8mb4, SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
     SESSION autocommit = 1, SESSION completion_type = 'NO_CHAIN'";

/// The server's deadlines for the next statement (rule P1). A wait for a lock ends at half of it: then that can still be answered. MySQL
/// bounds only what reads, and the waits for locks in whole seconds.
pub(super) fn deadlines(dialect: Dialect, deadline: Deadline) -> String {
    let ms = deadline.for_server().as_millis().clamp(1, 30_000_000_000);
    let statement = match dialect {
        Dialect::MariaDb => format!("max_statement_time = {}.{:03}", ms / 1000, ms % 1000),
        _ => format!("max_execution_time = {}", ms.min(4_000_000_000)),
    };
    let lock = (ms / 2000).clamp(1, 1_000_000);
    format!(
        "SET SESSION {statement}, SESSION lock_wait_timeout = {lock}, SESSION innodb_lock_wait_timeout = {lock}"
    )
}

/// By the statement's first word: what only reads, and what a shape may declare. Everything else is the host's, or nobody's.
pub(super) fn check(statement: &Statement, access: Access) -> Result<(), Error> {
    const READING: [&str; 5] = ["SELECT", "WITH", "VALUES", "TABLE", "SHOW"];
    const WRITING: [&str; 11] = [
        "ALTER", "CALL", "CREATE", "DELETE", "DROP", "GRANT", "INSERT", "RENAME", "REPLACE", "REVOKE",
        "UPDATE",
    ];
    let verb = statement.verb();
    if verb.is_empty() {
        return Err(Error::invalid(
            "a statement begins with SQL text, and that with a word",
        ));
    }
    if READING.contains(&verb.as_str()) {
        // A transaction that only reads lets it through.
        let writes_file = |word: &String| matches!(word.as_str(), "OUTFILE" | "DUMPFILE");
        if statement.words().iter().any(writes_file) {
            return Err(Error::invalid("no statement writes files of the server"));
        }
        return Ok(());
    }
    if access == Access::Read {
        return Err(Error::invalid(
            "a statement that no shape lets write begins with SELECT, WITH, VALUES, TABLE or SHOW",
        ));
    }
    if !WRITING.contains(&verb.as_str()) {
        return Err(Error::invalid(
            "transactions, settings, files and prepared statements are the host's",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn deadlines_are_in_the_units_of_each_server_and_never_off() {
        let of = |dialect, ms| deadlines(dialect, Deadline::after(Duration::from_millis(ms)));
        let zero = of(Dialect::MariaDb, 0);
        assert!(
            zero.contains("max_statement_time = 0.001,") && zero.contains(" lock_wait_timeout = 1,"),
            "{zero}"
        );
        assert!(of(Dialect::MySql, 0).contains("max_execution_time = 1,"));
        let long = of(Dialect::MySql, 10_000);
        assert!(long.contains(" lock_wait_timeout = 4,"), "{long}");
    }
}
