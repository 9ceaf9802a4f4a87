use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text cannot be a name. Says which rule and at which byte; the way out is in the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a name may not be empty")]
    Empty,
    /// Over the limit.
    #[error("a name has at most {limit} bytes, this one has {length}")]
    TooLong {
        /// Most bytes allowed.
        limit: usize,
        /// Bytes found.
        length: usize,
    },
    /// A character outside the closed alphabet: control characters, look-alikes, spaces.
    #[error("character {character:?} at byte {at} is not allowed; use {allowed}")]
    Character {
        /// What was found.
        character: char,
        /// Byte offset.
        at: usize,
        /// The alphabet in words.
        allowed: &'static str,
    },
    /// An empty, `.` or `..` segment, or one that begins or ends with a dot.
    #[error(
        "segment {segment:?} is not allowed; each part between slashes begins and ends with a letter or digit"
    )]
    Segment {
        /// The segment.
        segment: String,
    },
}

const SECRET_ALPHABET: &str = "a-z A-Z 0-9 . _ - and / between parts";
const PLAIN_ALPHABET: &str = "a-z 0-9 and - after a first letter";

fn check_secret(text: &str) -> Result<(), NameError> {
    check_length(text, 127)?;
    for (at, character) in text.char_indices() {
        if !(character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-' | '/')) {
            return Err(NameError::Character {
                character,
                at,
                allowed: SECRET_ALPHABET,
            });
        }
    }
    for segment in text.split('/') {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        if !edge(segment.bytes().next()) || !edge(segment.bytes().next_back()) || segment.contains("..") {
            return Err(NameError::Segment {
                segment: segment.to_owned(),
            });
        }
    }
    Ok(())
}

fn check_plain(text: &str) -> Result<(), NameError> {
    check_length(text, 63)?;
    for (at, character) in text.char_indices() {
        let good =
            character.is_ascii_lowercase() || at > 0 && (character.is_ascii_digit() || character == '-');
        if !good {
            return Err(NameError::Character {
                character,
                at,
                allowed: PLAIN_ALPHABET,
            });
        }
    }
    Ok(())
}

fn check_length(text: &str, limit: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > limit {
        return Err(NameError::TooLong {
            limit,
            length: text.len(),
        });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The name of a secret in a vault: parts of ASCII letters, digits, `.`, `_`, `-`, joined by `/`; at most 127 bytes.
    SecretName, check_secret
}

name! {
    /// The name of a configured rotation: lower-case letters, digits, `-`; at most 63 bytes.
    RotationName, check_plain
}

name! {
    /// The name of a plugin, as its manifest gives it: lower-case letters, digits, `-`; at most 63 bytes.
    PluginName, check_plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traversal_control_and_look_alike_characters_are_refused() {
        for bad in [
            "",
            "../x",
            "a/../b",
            "a//b",
            "/a",
            "a/",
            ".a",
            "a.",
            "a b",
            "a\nb",
            "a\0",
            "pаssword",
            "a..b",
        ] {
            assert!(bad.parse::<SecretName>().is_err(), "{bad:?}");
        }
        assert!("app/db.main_1".parse::<SecretName>().is_ok());
    }

    #[test]
    fn a_megabyte_is_refused_without_repeating_it() {
        let error = "a".repeat(1 << 20).parse::<SecretName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "a name has at most 127 bytes, this one has 1048576"
        );
    }

    #[test]
    fn a_rotation_begins_with_a_letter() {
        assert!("1db".parse::<RotationName>().is_err());
        assert!("db-1".parse::<RotationName>().is_ok());
    }
}
