//! The same password in another form: what a name in the vault is to hold beside a rotated secret. The host writes it, and no plugin sees it.

use keywheel_model::{ErrorKind, SecretBytes, StepError};

use crate::document::Format;
use crate::error::Error;
use crate::handle::{Alphabet, Labels};

/// What a form is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The password alone.
    Password,
    /// A JSON document with `/password`, and `/username` where it names a user.
    Json,
    /// A text that clients connect with.
    ConnectionString,
}

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// What it is.
    pub kind: Kind,
    /// The first one, where there is none yet.
    pub template: Option<&'w str>,
    /// Where a template has the password, and the name of the user.
    pub words: [&'w str; 2],
    /// Whether the user changes with a rotation: then it has to name one.
    pub user_changes: bool,
}

/// A credential: a password, and the user if the secret names one.
pub struct Credential {
    password: SecretBytes,
    user: Option<SecretBytes>,
}

impl Credential {
    /// What a rotated secret holds. Text that was imported is a connection string if it reads as one in which it is clear where the password is, else
    /// a password.
    ///
    /// # Errors
    /// `secret.form`, of a document without a password.
    pub fn of(labels: &Labels, whole: &SecretBytes) -> Result<Self, StepError> {
        let bytes = whole.expose();
        let known = Format::of(labels);
        let guessed = Format::ConnectionString;
        let format = known.or_else(|| {
            (guessed.may_be(labels) && guessed.value_at(bytes, PASSWORD).is_ok()).then_some(guessed)
        });
        let Some(format) = format else {
            return Ok(Self {
                password: whole.duplicate(),
                user: None,
            });
        };
        let password = format.value_at(bytes, PASSWORD);
        Ok(Self {
            password: password.map_err(|problem| unfit(problem, "the rotated secret"))?,
            user: format.user_of(bytes),
        })
    }

    /// Whether both name the same user, or none.
    pub fn has_user_of(&self, other: &Self) -> bool {
        match (&self.user, &other.user) {
            (Some(one), Some(other)) => one.same_as(other),
            (None, None) => true,
            _ => false,
        }
    }

    /// It in another form: in `own`, what stands there now, the password is replaced and, where both name one, the user; the rest stays byte for byte. Without
    /// that the template is filled in.
    ///
    /// # Errors
    /// `secret.form`: there is neither, or it has no place for the password, or none for a user that changes.
    pub fn written(
        &self,
        wanted: &Wanted<'_>,
        own: Option<&SecretBytes>,
    ) -> Result<(SecretBytes, Labels), StepError> {
        let format = match wanted.kind {
            Kind::Password => {
                let labels = Labels::imported("text/plain", Alphabet::of_foreign(self.password.expose()));
                return Ok((self.password.duplicate(), labels));
            }
            Kind::Json => Format::Json,
            Kind::ConnectionString => Format::ConnectionString,
        };
        let (text, what) = match (own, wanted.template) {
            (Some(own), _) => (own.duplicate(), "what is there now"),
            (None, Some(template)) => (self.filled(template, wanted.words)?, "its template"),
            (None, None) => return Err(refused(ErrorKind::NotFound, MISSING)),
        };
        let made = format.replaced(text.expose(), PASSWORD, &self.password);
        let made = made.map_err(|problem| unfit(problem, what))?;
        let pointer = match format {
            Format::Json => "/username",
            Format::ConnectionString => "/user",
        };
        let made = match (&self.user, format.user_of(text.expose())) {
            (Some(user), Some(_)) => {
                let made = format.replaced(made.expose(), pointer, user);
                made.map_err(|problem| unfit(problem, what))?
            }
            (Some(_), None) if wanted.user_changes => return Err(refused(ErrorKind::Invalid, NO_USER)),
            _ => made,
        };
        let labels = Labels::imported(format.media_type(), Alphabet::of_foreign(made.expose()));
        Ok((made, labels))
    }

    /// A template in which words stand where the host then writes password and user by the rules of the form.
    fn filled(&self, template: &str, [password, user]: [&str; 2]) -> Result<SecretBytes, StepError> {
        if template.contains(user) && self.user.is_none() {
            return Err(refused(ErrorKind::Invalid, NOBODY));
        }
        let text = template.replace(password, "password").replace(user, "user");
        Ok(SecretBytes::copy_of(text.as_bytes()))
    }
}

const PASSWORD: &str = "/password";

const MISSING: &str = "there is nothing yet in which the password could be replaced: import it first, or set `template` to what it is to look like";
const NO_USER: &str =
    "the user changes with each rotation, and it names none: put the one in that is used now";
const NOBODY: &str =
    "its template has a place for a user, and the rotated secret names none: write the name there";

fn refused(kind: ErrorKind, message: &str) -> StepError {
    StepError::new(kind, "secret.form", message)
}

fn unfit(problem: Error, what: &str) -> StepError {
    match problem {
        Error::Answer(found) => {
            let message = format!("{what}: {}", found.message);
            StepError::new(ErrorKind::Invalid, "secret.form", message)
        }
        Error::Stop(_) | Error::Host(_) => refused(ErrorKind::Other, "it could not be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretBytes {
        SecretBytes::copy_of(text.as_bytes())
    }

    fn credential(media_type: &str, text: &str) -> Credential {
        let labels = Labels::imported(media_type, Alphabet::of_foreign(text.as_bytes()));
        Credential::of(&labels, &secret(text)).unwrap()
    }

    fn wanted(kind: Kind, template: Option<&str>) -> Wanted<'_> {
        Wanted {
            kind,
            template,
            words: ["{password}", "{user}"],
            user_changes: false,
        }
    }

    fn text(made: Result<(SecretBytes, Labels), StepError>) -> String {
        String::from_utf8(made.unwrap().0.expose().to_vec()).unwrap()
    }

    const JSON: &str = "application/json";

    #[test]
    fn what_is_there_keeps_every_byte_but_password_and_user() {
        let pair = credential(JSON, r#"{"username": "app_b", "password": "p'2;"}"#);
        for (kind, own, made) in [
            (Kind::Password, "old", "p'2;"),
            (
                Kind::ConnectionString,
                "Server=db ; uid=app_a;Pwd = 'p1' ;Encrypt=yes;",
                "Server=db ; uid=app_b;Pwd = \"p'2;\" ;Encrypt=yes;",
            ),
            (
                Kind::ConnectionString,
                "postgres://app_a:p1@db/x?sslmode=verify-full",
                "postgres://app_b:p%272%3B@db/x?sslmode=verify-full",
            ),
            (
                Kind::Json,
                r#"{ "host":"db", "username" :"app_a","password":"p1" }"#,
                r#"{ "host":"db", "username" :"app_b","password":"p'2;" }"#,
            ),
            (
                Kind::ConnectionString,
                "redis://:p1@cache/0",
                "redis://:p%272%3B@cache/0",
            ),
        ] {
            assert_eq!(text(pair.written(&wanted(kind, None), Some(&secret(own)))), made);
        }
    }

    #[test]
    fn the_first_one_is_made_of_the_template() {
        let pair = credential(JSON, r#"{"username": "app_b", "password": "p 2"}"#);
        let bare = credential("text/plain", "p 2");
        let url = "postgres://{user}:{password}@db/x";
        let of =
            |credential: &Credential, kind, template| credential.written(&wanted(kind, Some(template)), None);
        assert_eq!(
            text(of(&pair, Kind::ConnectionString, url)),
            "postgres://app_b:p%202@db/x"
        );
        let json = r#"{"username":"{user}","password":"{password}"}"#;
        assert_eq!(
            text(of(&pair, Kind::Json, json)),
            r#"{"username":"app_b","password":"p 2"}"#
        );
        let fixed = "host=db user=app password={password}";
        assert_eq!(
            text(of(&bare, Kind::ConnectionString, fixed)),
            "host=db user=app password='p 2'"
        );
        let nobody = of(&bare, Kind::ConnectionString, url).unwrap_err();
        assert_eq!(
            (nobody.code.as_str(), nobody.message.as_str()),
            ("secret.form", NOBODY)
        );
        let none = bare
            .written(&wanted(Kind::ConnectionString, None), None)
            .unwrap_err();
        assert_eq!(none.message, MISSING);
    }

    #[test]
    fn one_that_names_no_user_is_refused_where_the_user_changes() {
        let pair = credential(JSON, r#"{"username": "app_b", "password": "p2"}"#);
        let mut wanted = wanted(Kind::ConnectionString, None);
        wanted.user_changes = true;
        let refused = pair
            .written(&wanted, Some(&secret("redis://:p1@cache/0")))
            .unwrap_err();
        assert_eq!(refused.message, NO_USER);
        let other = credential(JSON, r#"{"username": "app_a", "password": "p1"}"#);
        assert!(!pair.has_user_of(&other) && pair.has_user_of(&pair));
    }

    #[test]
    fn what_has_no_place_for_a_password_is_named_without_what_it_holds() {
        let bare = credential("text/plain", "p-2");
        let refused = bare
            .written(&wanted(Kind::ConnectionString, None), Some(&secret("planted-1")))
            .unwrap_err();
        assert_eq!(refused.code, "secret.form");
        assert!(
            refused.message.starts_with("what is there now: ") && !refused.message.contains("planted"),
            "{}",
            refused.message
        );
        let twice = bare.written(
            &wanted(Kind::ConnectionString, None),
            Some(&secret("Password=planted-1;Pwd=planted-2")),
        );
        let twice = twice.unwrap_err().message;
        assert!(
            twice.contains("stands in it twice") && !twice.contains("planted"),
            "{twice}"
        );
    }
}
