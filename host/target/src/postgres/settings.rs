use super::Access;
use crate::{Deadline, Error};

/// PostgreSQL 14 and later: a server that waits for a lock looks every second whether its client is still there, and gives up if not.
pub(super) const WATCH_CLIENT: &str = "SELECT set_config('client_connection_check_interval', '1000', false) \
     WHERE current_setting('client_connection_check_interval', true) IS NOT NULL";

/// The process that the server says serves the session (0: it named none). Behind a pooler `pg_backend_pid()` is another.
pub(super) fn backend(process: Option<u32>) -> String {
    format!("SET keywheel.backend = '{}'", process.unwrap_or_default())
}

/// What a session's quoting, names and deadlines rest on.
pub(super) fn pins(application_name: &str, deadline: Deadline) -> Result<String, Error> {
    check_application_name(application_name)?;
    Ok(format!(
        "SET standard_conforming_strings = on; SET client_encoding = 'UTF8'; SET search_path = pg_catalog, pg_temp; \
         SET application_name = '{application_name}'; SET idle_in_transaction_session_timeout = {}; {}",
        server_ms(deadline),
        deadlines(deadline),
    ))
}

/// The server's deadlines for the next statement (rule P1). A wait for a lock ends at half of it: then that can still be answered.
pub(super) fn deadlines(deadline: Deadline) -> String {
    let statement = server_ms(deadline);
    format!(
        "SET statement_timeout = {statement}; SET lock_timeout = {}",
        (statement / 2).max(1)
    )
}

/// When the server has to give up, in milliseconds from now.
fn server_ms(deadline: Deadline) -> u128 {
    deadline.for_server().as_millis().clamp(1, 2_000_000_000)
}

pub(super) fn check_application_name(name: &str) -> Result<(), Error> {
    let good = (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b" ._:/-".contains(&b));
    if good {
        Ok(())
    } else {
        Err(Error::invalid(
            "an application name is 1 to 63 of a-z A-Z 0-9 . _ : / - and spaces",
        ))
    }
}

/// By the statement's first word: what only reads, and what is the host's alone.
pub(super) fn check_verb(verb: &str, access: Access) -> Result<(), Error> {
    const READING: [&str; 5] = ["SELECT", "WITH", "VALUES", "TABLE", "SHOW"];
    const HOSTS: [&str; 20] = [
        "BEGIN",
        "START",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ABORT",
        "SAVEPOINT",
        "RELEASE",
        "SET",
        "RESET",
        "DISCARD",
        "PREPARE",
        "EXECUTE",
        "DEALLOCATE",
        "COPY",
        "LISTEN",
        "UNLISTEN",
        "DECLARE",
        "FETCH",
        "LOAD",
    ];
    if verb.is_empty() {
        return Err(Error::invalid(
            "a statement begins with SQL text, and that with a word",
        ));
    }
    if access == Access::Read && !READING.contains(&verb) {
        return Err(Error::invalid(
            "a statement that no shape lets write begins with SELECT, WITH, VALUES, TABLE or SHOW",
        ));
    }
    if HOSTS.contains(&verb) {
        return Err(Error::invalid(
            "transactions, settings and prepared statements are the host's",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_server_gives_up_before_we_do() {
        for ms in [1, 50, 1_000, 60_000, u64::from(u32::MAX) * 1_000] {
            let deadline = Deadline::after(Duration::from_millis(ms));
            let server = server_ms(deadline);
            assert!(server >= 1 && server <= u128::from(ms).max(1), "{ms}");
        }
        assert!(server_ms(Deadline::after(Duration::from_secs(10))) <= 9_000);
    }

    #[test]
    fn an_application_name_cannot_break_out_of_its_quotes() {
        for bad in ["", "a'b", "a\\", "a;b", "ä", &"a".repeat(64)] {
            assert!(check_application_name(bad).is_err(), "{bad}");
        }
        assert!(check_application_name("keywheel run-1 fence:7").is_ok());
    }
}
