use std::error::Error as StdError;
use std::io;

use keywheel_model::{Effect, ErrorKind};
use tokio_postgres::error::{DbError, Severity};

use crate::session::one_line;
use crate::statement::Dialect;
use crate::{Error, SqlError};

/// What a caller should do about an SQLSTATE (PostgreSQL, appendix A).
pub(super) fn kind_of(sqlstate: &str) -> ErrorKind {
    match sqlstate {
        "57014" => ErrorKind::Timeout,
        "55P03" | "40001" | "40P01" | "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => {
            ErrorKind::Unavailable
        }
        "42501" | "25006" => ErrorKind::Denied,
        "42704" | "42P01" | "42883" | "42703" | "3D000" | "3F000" => ErrorKind::NotFound,
        "42710" | "42P04" | "42P06" | "42P07" | "2BP01" | "55006" => ErrorKind::Conflict,
        _ => match sqlstate.get(..2).unwrap_or_default() {
            "28" => ErrorKind::Unauthenticated,
            "08" | "53" | "58" => ErrorKind::Unavailable,
            "23" => ErrorKind::Conflict,
            "0A" | "22" | "42" => ErrorKind::Invalid,
            "54" => ErrorKind::Limit,
            _ => ErrorKind::Other,
        },
    }
}

/// The server rolled back what it reports an error for, except when it was ended from outside: then the commit may have come first.
fn effect_of(sqlstate: &str, sent: Effect) -> Effect {
    if sqlstate.starts_with("57P") || sqlstate.starts_with("08") {
        sent
    } else {
        Effect::None
    }
}

/// Whether the server closes the session with this error. Its word comes before the end of the stream that the driver would notice.
pub(super) fn ends_session(error: &tokio_postgres::Error) -> bool {
    let severity = error.as_db_error().and_then(DbError::parsed_severity);
    matches!(severity, Some(Severity::Fatal | Severity::Panic))
}

/// Types an error of the driver. `sent` is what a lost connection would mean; `secret` keeps the server's words out (rule H6).
pub(super) fn of_statement(error: tokio_postgres::Error, secret: bool, sent: Effect) -> Error {
    if let Some(reported) = error.as_db_error() {
        let sqlstate = reported.code().code().to_owned();
        // A server that gives up in the middle of a commit may have written it.
        let effect = if ends_session(&error) {
            sent
        } else {
            effect_of(&sqlstate, sent)
        };
        let kind = kind_of(&sqlstate);
        let message = (!secret).then(|| one_line(reported.message()));
        return Error::Sql(SqlError {
            sqlstate,
            dialect: Dialect::Postgres,
            number: None,
            kind,
            effect,
            message,
        });
    }
    if error.is_closed() || has_io_source(&error) {
        return Error::Lost {
            doing: "talking to the server",
            effect: sent,
            source: io_of(error),
        };
    }
    Error::Protocol {
        expected: "what the driver understands",
        effect: sent,
    }
}

/// Types a failed login; nothing had taken effect.
pub(super) fn of_login(name: &str, error: tokio_postgres::Error) -> Error {
    if error.as_db_error().is_some() {
        return of_statement(error, false, Effect::None);
    }
    if let Some(refused) = handshake_error(&error) {
        return crate::tls::failure(name, io::Error::other(refused));
    }
    if error
        .source()
        .is_some_and(|source| source.to_string() == "server does not support TLS")
    {
        return Error::TlsMissing {
            name: name.to_owned(),
        };
    }
    if has_io_source(&error) || error.is_closed() {
        return Error::Lost {
            doing: "logging in",
            effect: Effect::None,
            source: io_of(error),
        };
    }
    Error::Protocol {
        expected: "a login that this host can do (SCRAM-SHA-256, or no password)",
        effect: Effect::None,
    }
}

fn handshake_error(error: &tokio_postgres::Error) -> Option<rustls::Error> {
    let mut next: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(cause) = next {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Some(found.clone());
        }
        next = cause.source();
    }
    None
}

fn has_io_source(error: &tokio_postgres::Error) -> bool {
    error.source().is_some_and(<dyn StdError>::is::<io::Error>)
}

/// The driver's errors that are not the server's hold no statement text.
fn io_of(error: tokio_postgres::Error) -> io::Error {
    let kind = error
        .source()
        .and_then(|s| s.downcast_ref::<io::Error>())
        .map_or(io::ErrorKind::ConnectionAborted, io::Error::kind);
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_was_ended_from_outside_may_have_committed() {
        assert_eq!(effect_of("57P01", Effect::Maybe), Effect::Maybe);
        assert_eq!(effect_of("57014", Effect::Maybe), Effect::None);
        assert_eq!(effect_of("42704", Effect::Maybe), Effect::None);
    }

    #[test]
    fn a_refused_login_is_told_from_a_server_that_is_away() {
        assert_eq!(kind_of("28P01"), ErrorKind::Unauthenticated);
        assert_eq!(kind_of("28000"), ErrorKind::Unauthenticated);
        for away in ["53300", "57P03", "08006", "55P03"] {
            assert_eq!(kind_of(away), ErrorKind::Unavailable, "{away}");
        }
    }
}
