use keywheel_model::{Effect, ErrorKind};

use super::reply::{Reported, Trouble};
use crate::session::{one_line, stream_error};
use crate::statement::Dialect;
use crate::{Error, SqlError};

/// What a caller should do about an error of the server. Numbers from 4000 to 4999 are MariaDB's, from 3000 MySQL's.
fn kind_of(number: u16) -> ErrorKind {
    match number {
        // Refused; without a password; host not allowed; expired; must change; locked; blocked for a time.
        1045 | 1698 | 1130 | 1862 | 1820 | 3118 | 4151 | 3955 | 4150 => ErrorKind::Unauthenticated,
        // No right to it; the server or the transaction takes no writes.
        1044 | 1142 | 1143 | 1227 | 1290 | 1370 | 1410 | 1792 | 1836 => ErrorKind::Denied,
        // Killed at its own deadline.
        1969 | 3024 => ErrorKind::Timeout,
        // Too many connections; shutting down; a lock; killed by hand; too many of this user or from this host.
        1040 | 1053 | 1129 | 1158..=1161 | 1203 | 1205 | 1213 | 1226 | 1317 | 1927 => ErrorKind::Unavailable,
        // No such database, table, column, routine, grant, account.
        1049 | 1054 | 1109 | 1133 | 1141 | 1146 | 1305 | 1396 => ErrorKind::NotFound,
        1007 | 1050 | 1061 | 1062 => ErrorKind::Conflict,
        // Syntax; values; a hash of the wrong length; the server's rules for passwords.
        1064 | 1115 | 1149 | 1264 | 1292 | 1366 | 1372 | 1406 | 1819 | 1827 | 3638 => ErrorKind::Invalid,
        _ => ErrorKind::Other,
    }
}

/// A statement that the server gave up half-way may have had its effect.
fn effect_of(number: u16, sent: Effect) -> Effect {
    if matches!(number, 1053 | 1158..=1161 | 1317 | 1927 | 1969 | 3024) {
        sent
    } else {
        Effect::None
    }
}

/// Whether the server closes the session with this error.
fn ends_session(number: u16) -> bool {
    matches!(number, 1053 | 1158..=1161 | 1927)
}

/// Whether no password was looked at: there are too many connections, or the host is shut out.
pub(crate) fn is_before_login(number: u32) -> bool {
    matches!(number, 1040 | 1129)
}

impl Trouble {
    /// Whether the session is of use after it.
    pub(super) fn leaves_session(&self) -> bool {
        matches!(self, Self::Reported(reported) if !ends_session(reported.number))
    }

    /// Types it. `sent` is what a lost connection would mean; `secret` keeps the server's words out (rule H6).
    pub(super) fn typed(self, doing: &'static str, secret: bool, sent: Effect) -> Error {
        match self {
            Self::Reported(Reported {
                number,
                sqlstate,
                message,
            }) => Error::Sql(SqlError {
                sqlstate,
                dialect: Dialect::MySql,
                number: Some(number.into()),
                kind: kind_of(number),
                effect: effect_of(number, sent),
                message: (!secret).then(|| one_line(&message)),
            }),
            Self::Stream(source) => {
                let whose = ("of the protocol of MySQL", super::packet::ANSWER_BYTES);
                stream_error(source, doing, sent, whose)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(number: u16) -> Trouble {
        Trouble::Reported(Reported {
            number,
            sqlstate: "HY000".to_owned(),
            message: "said 'LeakMe'".to_owned(),
        })
    }

    #[test]
    fn a_statement_that_was_given_up_half_way_may_have_been_done() {
        for (number, effect, usable) in [
            (1969, Effect::Maybe, true),
            (1927, Effect::Maybe, false),
            (1396, Effect::None, true),
            (1205, Effect::None, true),
        ] {
            assert_eq!(reported(number).leaves_session(), usable, "{number}");
            assert_eq!(
                reported(number).typed("", false, Effect::Maybe).effect(),
                effect,
                "{number}"
            );
        }
    }

    #[test]
    fn a_statement_with_a_secret_keeps_the_number_and_nothing_else() {
        let error = reported(1064).typed("", true, Effect::Maybe);
        assert_eq!(
            error.to_string(),
            "the server refused with error 1064 (SQLSTATE HY000)"
        );
        assert_eq!(
            (error.code().as_ref(), error.kind()),
            ("sql.1064", ErrorKind::Invalid)
        );
    }
}
