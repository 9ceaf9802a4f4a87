use zeroize::Zeroizing;

use crate::postgres::Access;
use crate::statement::Statement;
use crate::{Deadline, Error};

/// What a session's quoting rests on (quoted names, nulls that stay nulls), and that nothing stays open: no transaction by itself, and one in which a
/// statement fails is rolled back.
pub(super) const PINS: &str = "SET QUOTED_IDENTIFIER, ANSI_NULLS, ANSI_PADDING, ANSI_WARNINGS, CONCAT_NULL_YIELDS_NULL, XACT_ABORT ON; \
     SET IMPLICIT_TRANSACTIONS, NOCOUNT, NOEXEC, PARSEONLY OFF; SET TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// What reads.
const READING: [&str; 2] = ["SELECT", "WITH"];
/// What a shape may declare.
const WRITING: [&str; 10] = [
    "ALTER", "CREATE", "DBCC", "DELETE", "DENY", "DROP", "GRANT", "INSERT", "REVOKE", "UPDATE",
];
/// Of nobody but the host.
const HOSTS: [&str; 16] = [
    "BACKUP",
    "BEGIN",
    "BULK",
    "COMMIT",
    "EXEC",
    "EXECUTE",
    "GO",
    "KILL",
    "OPENDATASOURCE",
    "OPENQUERY",
    "OPENROWSET",
    "RECONFIGURE",
    "ROLLBACK",
    "SHUTDOWN",
    "USE",
    "WAITFOR",
];
/// What begins another statement, or makes one write; `NEXT VALUE FOR` takes a number that no rollback gives back.
const CHANGING: [&str; 36] = [
    "BREAK",
    "CHECKPOINT",
    "CLOSE",
    "CONTINUE",
    "DEALLOCATE",
    "DECLARE",
    "DISABLE",
    "DUMP",
    "ENABLE",
    "FETCH",
    "GET",
    "GOTO",
    "IF",
    "INTO",
    "LOAD",
    "MERGE",
    "MOVE",
    "NEXT",
    "OPEN",
    "PRINT",
    "RAISERROR",
    "READTEXT",
    "RECEIVE",
    "RESTORE",
    "RETURN",
    "REVERT",
    "SAVE",
    "SEND",
    "SET",
    "SETUSER",
    "THROW",
    "TRAN",
    "TRUNCATE",
    "UPDATETEXT",
    "WHILE",
    "WRITETEXT",
];

/// A statement as a batch: the server's deadline for locks (rule P1) before it, at half of ours, so that its answer still reaches us. What reads does so
/// in a transaction that is rolled back.
pub(super) fn batch(sql: &str, access: Access, deadline: Deadline) -> Zeroizing<String> {
    let ms = (deadline.for_server().as_millis() / 2).clamp(1, 30_000_000);
    let (begin, end) = match access {
        Access::Read => (
            "BEGIN TRANSACTION;\n",
            ";\nIF @@TRANCOUNT > 0 ROLLBACK TRANSACTION",
        ),
        Access::Write => ("", ""),
    };
    let mut batch = Zeroizing::new(String::with_capacity(sql.len() + 128));
    batch.extend(["SET LOCK_TIMEOUT ", &ms.to_string(), ";\n", begin, sql, end]);
    batch
}

/// By the statement's words. Nothing needs to stand between two statements here, so that every word counts: what reads has none that begins a
/// statement that changes something.
pub(super) fn check(statement: &Statement, access: Access) -> Result<(), Error> {
    let verb = statement.verb();
    if verb.is_empty() {
        return Err(Error::invalid(
            "a statement begins with SQL text, and that with a word",
        ));
    }
    let words = statement.unquoted_words();
    let has = |list: &[&str]| words.iter().skip(1).any(|word| list.contains(&word.as_str()));
    if has(&HOSTS) {
        return Err(Error::invalid(
            "transactions, procedures, files and other servers are the host's",
        ));
    }
    if READING.contains(&verb.as_str()) && !has(&WRITING) && !has(&CHANGING) {
        return Ok(());
    }
    if access == Access::Read {
        return Err(Error::invalid(
            "a statement that no shape lets write is one SELECT, and has no word in it that begins another statement",
        ));
    }
    if !WRITING.contains(&verb.as_str()) {
        return Err(Error::invalid(
            "transactions, settings, procedures and files are the host's",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::statement::Dialect;

    fn checked(sql: &str, access: Access) -> bool {
        let mut statement = Statement::new(Dialect::MsSql);
        statement.text(sql).unwrap();
        check(&statement, access).is_ok()
    }

    #[test]
    fn what_reads_is_one_statement_that_changes_nothing() {
        for good in [
            "SELECT name FROM sys.sql_logins",
            "WITH a AS (SELECT 1 AS b) SELECT b FROM a",
            "SELECT 'DROP LOGIN a', HAS_PERMS_BY_NAME(NULL, NULL, 'ALTER ANY LOGIN')",
        ] {
            assert!(checked(good, Access::Read), "{good}");
        }
        for bad in [
            "SELECT 1 DROP LOGIN a",
            "SELECT 1 INTO b",
            "WITH a AS (SELECT 1 AS b) DELETE FROM a",
            "SELECT NEXT VALUE FOR s",
            "SELECT 1 EXEC xp_cmdshell 'x'",
            "SELECT 1 FROM OPENROWSET('a', 'b', 'c')",
            "SELECT 1 ROLLBACK ALTER LOGIN a DISABLE",
            "ALTER LOGIN a DISABLE",
            "",
        ] {
            assert!(!checked(bad, Access::Read), "{bad}");
        }
        for good in ["ALTER LOGIN a DISABLE", "GRANT ALTER ANY LOGIN TO a"] {
            assert!(checked(good, Access::Write), "{good}");
        }
        for bad in [
            "EXEC x",
            "ALTER LOGIN a DISABLE COMMIT",
            "SET LOCK_TIMEOUT 0",
            "USE master",
            "BEGIN TRANSACTION",
        ] {
            assert!(!checked(bad, Access::Write), "{bad}");
        }
    }

    #[test]
    fn a_batch_bounds_the_waits_for_locks_and_leaves_no_transaction() {
        let of =
            |access, ms| batch("SELECT 1", access, Deadline::after(Duration::from_millis(ms))).to_string();
        assert_eq!(of(Access::Write, 0), "SET LOCK_TIMEOUT 1;\nSELECT 1");
        let read = of(Access::Read, 0);
        let ends = "BEGIN TRANSACTION;\nSELECT 1;\nIF @@TRANCOUNT > 0 ROLLBACK TRANSACTION";
        assert!(read.ends_with(ends), "{read}");
    }
}
