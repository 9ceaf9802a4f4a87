use keywheel_model::{Effect, ErrorKind};

use super::reply::{Reported, Trouble};
use crate::session::{one_line, stream_error};
use crate::statement::Dialect;
use crate::{Error, SqlError};

/// From here on the server closes the session.
const FATAL: u8 = 20;

/// What a caller should do about an error of the server.
fn kind_of(number: u32) -> ErrorKind {
    match number {
        // Refused; by Windows alone; disabled; locked; expired; must change; not from this address (Azure).
        18456 | 18452 | 18470 | 18486..=18488 | 40615 | 40914 => ErrorKind::Unauthenticated,
        // No right to it, to the database, or to any; the database takes no writes.
        229 | 230 | 262 | 297 | 300 | 916 | 3906 | 4060 | 4064 | 4613 | 5011 | 15247 | 40532 => {
            ErrorKind::Denied
        }
        // Starting, stopping, moving (Azure: 4xxxx and the like); a lock; no memory; no room.
        701
        | 802
        | 921
        | 922
        | 927
        | 983
        | 1204
        | 1205
        | 1222
        | 4221
        | 6005
        | 8645
        | 8651
        | 10928
        | 10929
        | 17142
        | 17197
        | 17300
        | 18401
        | 18451
        | 40143
        | 40197
        | 40501
        | 40540
        | 40613
        | 49918..=49920 => ErrorKind::Unavailable,
        // No such object, database, procedure; no such account, or no right to it.
        208 | 911 | 2812 | 15007 | 15151 => ErrorKind::NotFound,
        1801 | 2714 | 15023 | 15025 => ErrorKind::Conflict,
        // Syntax, names, values; the server's rules for passwords.
        102
        | 105
        | 113
        | 137
        | 156
        | 170
        | 195
        | 207
        | 245
        | 8114
        | 15113..=15122
        | 15128
        | 33062..=33064
        | 33233
        | 33234
        | 40630..=40632 => ErrorKind::Invalid,
        _ => ErrorKind::Other,
    }
}

/// Whether no password was looked at: the server, or the database at it, takes nobody now.
pub(crate) fn is_before_login(number: u32) -> bool {
    matches!(kind_of(number), ErrorKind::Unavailable)
}

/// The one of several errors that says most: a refused login says so last, and why first.
pub(super) fn most_telling(errors: Vec<Reported>) -> Option<Reported> {
    const REFUSED: u32 = 18456;
    let at = errors
        .iter()
        .position(|error| error.number != REFUSED)
        .unwrap_or(0);
    errors.into_iter().nth(at)
}

impl Trouble {
    /// Whether the session is of use after it.
    pub(super) fn leaves_session(&self) -> bool {
        matches!(self, Self::Reported(reported) if reported.class < FATAL)
    }

    /// Types it. `sent` is what a lost connection would mean; `secret` keeps the server's words out (rule H6).
    pub(super) fn typed(self, doing: &'static str, secret: bool, sent: Effect) -> Error {
        match self {
            Self::Reported(Reported {
                number,
                class,
                message,
            }) => Error::Sql(SqlError {
                dialect: Dialect::MsSql,
                sqlstate: String::new(),
                number: Some(number),
                kind: kind_of(number),
                // A statement that the server gave up with its session may have had its effect.
                effect: if class >= FATAL { sent } else { Effect::None },
                message: (!secret).then(|| one_line(&message)),
            }),
            Self::Column(name, number) => Error::Column {
                name,
                type_name: format!("0x{number:02X}"),
                effect: sent,
            },
            Self::Stream(source) => {
                let whose = ("of the protocol of SQL Server", super::packet::ANSWER_BYTES);
                stream_error(source, doing, sent, whose)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(number: u32, class: u8) -> Reported {
        Reported {
            number,
            class,
            message: "said N'LeakMe'".to_owned(),
        }
    }

    #[test]
    fn a_statement_with_a_secret_keeps_the_number_and_nothing_else() {
        let error = Trouble::Reported(reported(15118, 16)).typed("", true, Effect::Maybe);
        assert_eq!(error.to_string(), "the server refused with error 15118");
        assert_eq!(
            (error.code().as_ref(), error.kind(), error.effect()),
            ("sql.15118", ErrorKind::Invalid, Effect::None)
        );
    }

    #[test]
    fn an_error_that_ends_the_session_leaves_doubt() {
        let fatal = Trouble::Reported(reported(596, 21));
        assert!(!fatal.leaves_session());
        assert_eq!(fatal.typed("", false, Effect::Maybe).effect(), Effect::Maybe);
    }

    #[test]
    fn what_is_said_beside_a_refused_login_says_more() {
        let of = |numbers: &[u32]| most_telling(numbers.iter().map(|number| reported(*number, 14)).collect());
        assert_eq!(of(&[4060, 18456]).map(|error| error.number), Some(4060));
        assert_eq!(of(&[18456]).map(|error| error.number), Some(18456));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_server_that_takes_nobody_now_has_refused_no_password() {
        assert!(is_before_login(40613) && is_before_login(18401));
        for number in [18456, 18486, 18487, 4060, 15151] {
            assert!(!is_before_login(number), "{number}");
        }
    }
}
