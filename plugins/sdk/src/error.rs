//! Errors of steps: made with [`error`], read with [`ErrorExt`].

use crate::{Effect, Error, ErrorKind, Verdict};

/// An error without an effect on the target. `code` is stable, dotted and lower case; `message` is for people.
pub fn error(kind: ErrorKind, code: &str, message: impl Into<String>) -> Error {
    Error { kind, effect: Effect::None, code: code.to_owned(), message: message.into(), retry_after: None }
}

/// The code of [`admin_refused`]; the host knows it.
const ADMIN_REFUSED: &str = "admin.refused";

/// The code of [`missing`]; the host knows it.
const MISSING: &str = "account.missing";

/// The account (`the role`, and its name) is not on the target. As the answer of `test` it parks the run with the way out: to make
/// the account there.
pub fn missing(what: &str, name: &str) -> Error {
    error(ErrorKind::NotFound, MISSING, format!("{what} {name} does not exist"))
}

/// The target lets the account in whatever the credential is, so that a login proves none. As the answer of `test` it parks the run.
pub fn not_asked(message: impl Into<String>) -> Error {
    error(ErrorKind::Other, "login.not-asked", message)
}

/// The target refuses the administrator's login: another try would be refused too. The host tells people which input to look at.
pub fn admin_refused() -> Error {
    error(ErrorKind::Unauthenticated, ADMIN_REFUSED, "the administrator's login was refused")
}

/// What `test` says of a refused login, once the administrator has looked why no password at all would be taken; `None`: this one is wrong.
///
/// # Errors
/// There is no such account, or the administrator itself is refused.
pub fn refused_because(why: Result<Option<String>, Error>) -> Result<Verdict, Error> {
    match why {
        Ok(why) => Ok(why.map_or(Verdict::Rejected, Verdict::Account)),
        Err(problem) if problem.is_missing() || problem.is_refusal() => Err(problem),
        Err(problem) => Ok(Verdict::Unknown(format!("refused, but not known why: {}", problem.message))),
    }
}

/// What a plugin asks of an error that the host gave it.
pub trait ErrorExt {
    /// The SQLSTATE that the server sent, in capitals, if it sent one.
    fn sqlstate(&self) -> Option<String>;

    /// The server's own number, if it sent one (MySQL, MariaDB).
    fn server_error(&self) -> Option<u16>;

    /// Whether it is [`missing`].
    fn is_missing(&self) -> bool;

    /// Whether it is [`admin_refused`].
    fn is_admin_refused(&self) -> bool;

    /// Whether it says that the login or the right to do this was refused, so that another try would be refused too.
    fn is_refusal(&self) -> bool;

    /// Whether it says that a value is not what is read there, or lacks a part of it.
    fn is_of_value(&self) -> bool;

    /// The same error of a step that has changed the target before. Not knowing stays worse than knowing.
    #[must_use]
    fn after_an_effect(self) -> Self;

    /// The same error with the place it happened at in front of its message, unless that names it already.
    #[must_use]
    fn at(self, place: &str) -> Self;
}

impl ErrorExt for Error {
    fn sqlstate(&self) -> Option<String> {
        let state = self.code.strip_prefix("sql.")?;
        let is_state = state.len() == 5 && state.bytes().all(|byte| byte.is_ascii_alphanumeric());
        // `sql.query` and its like are words of the host; every SQLSTATE has a digit.
        (is_state && state.bytes().any(|byte| byte.is_ascii_digit())).then(|| state.to_ascii_uppercase())
    }

    fn server_error(&self) -> Option<u16> {
        self.code.strip_prefix("sql.")?.parse().ok()
    }

    fn is_missing(&self) -> bool {
        self.code == MISSING
    }

    fn is_admin_refused(&self) -> bool {
        self.code == ADMIN_REFUSED
    }

    fn is_refusal(&self) -> bool {
        matches!(self.kind, ErrorKind::Unauthenticated | ErrorKind::Denied)
    }

    fn is_of_value(&self) -> bool {
        matches!(self.kind, ErrorKind::Invalid | ErrorKind::NotFound)
    }

    fn after_an_effect(mut self) -> Self {
        if self.effect == Effect::None {
            self.effect = Effect::Applied;
        }
        self
    }

    fn at(mut self, place: &str) -> Self {
        if !self.message.contains(place) {
            self.message = format!("{place}: {}", self.message);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlstate_is_told_from_a_word_of_the_host() {
        let coded = |code: &str| error(ErrorKind::Other, code, "").sqlstate();
        assert_eq!(coded("sql.28p01").as_deref(), Some("28P01"));
        for word in ["sql.query", "sql.tls", "sql.connect", "http.28p01", "sql."] {
            assert_eq!(coded(word), None, "{word}");
        }
        assert_eq!((coded("sql.1045"), error(ErrorKind::Other, "sql.1045", "").server_error()), (None, Some(1045)));
        assert_eq!(error(ErrorKind::Other, "sql.28p01", "").server_error(), None);
    }

    #[test]
    fn an_effect_before_an_error_is_kept_and_doubt_stays_doubt() {
        let failed = error(ErrorKind::Other, "x", "");
        assert_eq!(failed.clone().after_an_effect().effect, Effect::Applied);
        let doubtful = Error { effect: Effect::Maybe, ..failed };
        assert_eq!(doubtful.after_an_effect().effect, Effect::Maybe);
    }
}
