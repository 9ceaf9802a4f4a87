//! What a secret with parts is written in. A part has the same name in each: a JSON pointer, which in a connection string is the part's
//! [`canonical`] key behind a slash.

use keywheel_connection_string::{ConnectionString, Error as Unread, canonical};
use keywheel_manifest::Pointer;
use keywheel_model::{ErrorKind, SecretBytes};
use zeroize::Zeroizing;

use crate::encoding;
use crate::error::Error;
use crate::handle::{Labels, Origin};
use crate::http::KEY_ID;
use crate::json;

/// By this media type a connection string is known in which a plugin replaced a part. One that was imported is text: that it is a connection
/// string is the rotation's word.
const CONNECTION_STRING: &str = "application/vnd.keywheel.connection-string";

/// What every connection string has here, and has once: clients do not agree on which of two counts.
const PASSWORD: &str = "password";
const USER: &str = "user";

/// A way to write several parts as one secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// RFC 8259.
    Json,
    /// In any form that `keywheel-connection-string` reads.
    ConnectionString,
}

impl Format {
    /// By the word of a plugin.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "connection-string" | "url" => Some(Self::ConnectionString),
            _ => None,
        }
    }

    /// By the label of a secret; none of one that may be a connection string and is not known to be one.
    pub(crate) fn of(labels: &Labels) -> Option<Self> {
        match labels.media_type.as_str() {
            "application/json" => Some(Self::Json),
            CONNECTION_STRING => Some(Self::ConnectionString),
            _ => None,
        }
    }

    /// The media type of what a part was replaced in.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::ConnectionString => CONNECTION_STRING,
        }
    }

    /// Whether text with these labels may be one: what was imported has no other label.
    pub(crate) fn may_be(self, labels: &Labels) -> bool {
        self == Self::ConnectionString && labels.media_type == "text/plain"
    }

    /// Whether the host may take parts out of a whole with these labels. Into which parts a text falls depends on all of it, so a connection
    /// string is what a person imported: one of a generator or a plugin would tell by its parts what is in it (rule H10). One of text alone is
    /// read without this: the plugin has all of it.
    pub(crate) fn is_parsed(self, labels: &Labels) -> bool {
        match self {
            Self::Json => labels.origin.is_whole(),
            Self::ConnectionString => labels.origin == Origin::Imported,
        }
    }

    /// The name of a part by a plugin's key.
    pub(crate) fn pointer(self, key: &str) -> Result<Pointer, Error> {
        let (text, hint) = match self {
            Self::Json => (
                key.to_owned(),
                "a part is named by a JSON pointer, such as `/password`",
            ),
            Self::ConnectionString => (
                format!("/{}", canonical(key).replace('~', "~0").replace('/', "~1")),
                "a part of a connection string is named by a key, such as `password`",
            ),
        };
        let pointer: Result<Pointer, _> = text.parse();
        let plain = |pointer: &Pointer| pointer.as_str().split('/').all(|segment| segment != "*");
        pointer
            .ok()
            .filter(plain)
            .ok_or_else(|| Error::invalid("secret.part", hint))
    }

    /// Whether two pointers are the same part.
    pub(crate) fn is_same(self, one: &str, other: &str) -> bool {
        one == other || self == Self::ConnectionString && canonical(&key(one)) == canonical(&key(other))
    }

    /// The value of the string at a pointer.
    pub(crate) fn value_at(self, document: &[u8], pointer: &str) -> Result<SecretBytes, Error> {
        match self {
            Self::Json => json::string_at(document, pointer).ok_or_else(|| missing(document, pointer)),
            Self::ConnectionString => {
                let value = read(document)?.part(&key(pointer)).map_err(unread)?;
                Ok(SecretBytes::copy_of(value.as_bytes()))
            }
        }
    }

    /// How that value stands in the document, where it may be written in another way than those that every secret is watched in.
    pub(crate) fn written_at(self, document: &[u8], pointer: &str) -> Option<SecretBytes> {
        match self {
            Self::Json => None,
            Self::ConnectionString => {
                let written = read(document).ok()?.written(&key(pointer)).ok()?;
                Some(SecretBytes::copy_of(written.as_bytes()))
            }
        }
    }

    /// The user that a document names; a connection string may leave it empty, and then it names none.
    pub(crate) fn user_of(self, document: &[u8]) -> Option<SecretBytes> {
        match self {
            Self::Json => ["/username", KEY_ID]
                .iter()
                .find_map(|place| self.value_at(document, place).ok()),
            Self::ConnectionString => {
                let user = self.value_at(document, "/user").ok()?;
                (!user.expose().is_empty()).then_some(user)
            }
        }
    }

    /// The document with the string at a pointer replaced, the rest byte for byte.
    pub(crate) fn replaced(
        self,
        document: &[u8],
        pointer: &str,
        value: &SecretBytes,
    ) -> Result<SecretBytes, Error> {
        let text = Zeroizing::new(String::from_utf8_lossy(value.expose()).into_owned());
        match self {
            Self::Json => replaced_in_json(document, pointer, &text),
            Self::ConnectionString => {
                let made = read(document)?.with_part(&key(pointer), &text);
                Ok(SecretBytes::copy_of(made.map_err(unread)?.as_bytes()))
            }
        }
    }
}

/// The key in a pointer that [`Format::pointer`] made.
fn key(pointer: &str) -> String {
    let key = pointer.strip_prefix('/').unwrap_or(pointer);
    key.replace("~1", "/").replace("~0", "~")
}

/// A text in which it is clear where the password is and who has it. What is no connection string has no parts at all: the rest of a bare password
/// with a `=` in it is no key that can be asked for.
fn read(document: &[u8]) -> Result<ConnectionString<'_>, Error> {
    let text = std::str::from_utf8(document).map_err(|_| unread(Unread::Unknown))?;
    let read = ConnectionString::parse(text).map_err(unread)?;
    read.part(PASSWORD).map_err(unread)?;
    match read.part(USER) {
        Ok(_) | Err(Unread::Missing { .. }) => Ok(read),
        Err(problem) => Err(unread(problem)),
    }
}

/// For the guest. Where something is tells how long what stands before it is, so it is left out.
fn unread(problem: Unread) -> Error {
    match problem {
        Unread::Missing { form, key } => Error::answer(
            ErrorKind::NotFound,
            "secret.part",
            format!("there is no `{}` in it, read as {form}", key.escape_debug()),
        ),
        Unread::Twice { key, .. } => {
            let key = key.escape_debug();
            Error::invalid(
                "secret.part",
                format!("`{key}` stands in it twice, under one name or two: take one out"),
            )
        }
        Unread::Malformed { form, .. } => Error::invalid(
            "secret.part",
            format!("it begins like {form}, and is none: look at how its values are quoted"),
        ),
        Unread::Control { .. } => Error::invalid("secret.part", "there is a control character in it"),
        Unread::Unknown | Unread::Ambiguous { .. } | Unread::Unwritable { .. } | Unread::TooLong => {
            Error::invalid("secret.part", problem.to_string())
        }
    }
}

/// Why there is no string at the place that a plugin asks for. Of other names in the document it is told nothing: they may be secret.
fn missing(document: &[u8], key: &str) -> Error {
    let shown = key.escape_debug();
    let Some(doubled) = json::doubled(document) else {
        return Error::answer(
            ErrorKind::NotFound,
            "secret.part",
            format!("there is no string at `{shown}`"),
        );
    };
    let is_on_the_way = key
        .strip_prefix(&doubled)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let place = if !is_on_the_way {
        "another name".to_owned()
    } else if key == doubled {
        format!("`{shown}`")
    } else {
        format!("the name `{}`", doubled.escape_debug())
    };
    Error::invalid(
        "secret.part",
        format!(
            "what is at `{shown}` is not clear: {place} stands twice in the same object of this JSON document; take the wrong one out"
        ),
    )
}

fn replaced_in_json(document: &[u8], key: &str, value: &str) -> Result<SecretBytes, Error> {
    let nodes = json::scan(document).ok_or_else(|| match json::doubled(document) {
        Some(_) => missing(document, key),
        None => Error::invalid("secret.part", "this secret is no JSON document"),
    })?;
    let node = nodes
        .into_iter()
        .find(|node| node.pointer == key && node.string)
        .ok_or_else(|| missing(document, key))?;
    let mut made = Zeroizing::new(Vec::with_capacity(document.len() + value.len() * 2 + 2));
    made.extend_from_slice(&document[..=node.span.start]);
    encoding::json(value, &mut made);
    made.extend_from_slice(&document[node.span.end - 1..]);
    Ok(SecretBytes::copy_of(&made))
}

/// The part of a stored secret that a key names, for whoever may have the whole: a member of a JSON document by its name or its pointer, a part of a
/// connection string by its key.
pub fn part_of(labels: &Labels, whole: &[u8], key: &str) -> Option<SecretBytes> {
    let connection_string = Format::ConnectionString;
    let format =
        Format::of(labels).or_else(|| connection_string.may_be(labels).then_some(connection_string))?;
    let pointer = if key.starts_with('/') {
        key.to_owned()
    } else {
        format!("/{}", key.replace('~', "~0").replace('/', "~1"))
    };
    format.value_at(whole, &pointer).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(result: Result<SecretBytes, Error>) -> String {
        match result {
            Err(Error::Answer(error)) => error.message,
            _ => panic!("it was understood"),
        }
    }

    #[test]
    fn a_part_has_one_name_whatever_the_string_calls_it() {
        for (text, key) in [
            ("postgres://app:p-1@db/shop", "password"),
            ("Server=db;User ID=app;Pwd=p-1", "Password"),
            ("host=db user=app password='p-1'", "PWD"),
        ] {
            let pointer = Format::ConnectionString.pointer(key).unwrap();
            assert_eq!(pointer.as_str(), "/password");
            let value = Format::ConnectionString.value_at(text.as_bytes(), pointer.as_str());
            assert_eq!(value.unwrap().expose(), b"p-1", "{text}");
            let user = Format::ConnectionString.user_of(text.as_bytes()).unwrap();
            assert_eq!(user.expose(), b"app", "{text}");
        }
        assert!(Format::ConnectionString.is_same("/username", "/user"));
        assert!(!Format::Json.is_same("/username", "/user"));
        assert!(Format::ConnectionString.user_of(b"redis://:p-1@cache").is_none());
    }

    #[test]
    fn what_is_not_clear_has_no_parts_and_no_place_is_told() {
        for (text, words) in [
            ("Server=db;Password=p-1;Pwd=p-2", "`password` stands in it twice"),
            ("postgres://a:p-1@db/x?user=b", "`user` stands in it twice"),
            (
                "postgres://app@db/x",
                "there is no `password` in it, read as a URL",
            ),
            ("p-bare-1", "this is no connection string"),
            ("p-bare=1", "there is no `password` in it"),
            ("postgres://a:%zz@db", "it begins like a URL, and is none"),
        ] {
            let said = said(Format::ConnectionString.value_at(text.as_bytes(), "/host"));
            assert!(said.starts_with(words), "{text}: {said}");
            let shows = |char: char| char.is_ascii_digit();
            assert!(!said.contains(shows), "{said}");
        }
    }
}
