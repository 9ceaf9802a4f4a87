use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not an id of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {kind}: expected `{prefix}` and 26 characters of 0-9 a-v")]
pub struct ParseIdError {
    kind: &'static str,
    prefix: &'static str,
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
const LENGTH: usize = 26;

/// 48 bits of milliseconds, then 82 random bits: ids sort by the time they were made.
fn fresh(prefix: &str, unix_ms: u64) -> String {
    let value = (u128::from(unix_ms) & 0xffff_ffff_ffff) << 82 | (rand::random::<u128>() >> 46);
    encode(prefix, value)
}

fn encode(prefix: &str, value: u128) -> String {
    let mut text = String::with_capacity(prefix.len() + LENGTH);
    text.push_str(prefix);
    for place in (0..LENGTH).rev() {
        let digit = usize::try_from(value >> (5 * place) & 31).unwrap_or(0);
        text.push(char::from(ALPHABET[digit]));
    }
    text
}

fn number(text: &str) -> u128 {
    let digits = text.bytes().skip(text.len().saturating_sub(LENGTH));
    digits.fold(0, |number, digit| {
        let place = ALPHABET.iter().position(|known| *known == digit);
        number << 5 | u128::try_from(place.unwrap_or(0)).unwrap_or(0)
    })
}

fn check(text: &str, kind: &'static str, prefix: &'static str) -> Result<(), ParseIdError> {
    match text.strip_prefix(prefix) {
        Some(rest) if rest.len() == LENGTH && rest.bytes().all(|b| ALPHABET.contains(&b)) => Ok(()),
        _ => Err(ParseIdError { kind, prefix }),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A new id; ids sort by the time they were made.
            pub fn fresh(now: crate::Timestamp) -> Self {
                Self(fresh($prefix, now.as_unix_ms()))
            }

            /// A deterministic id, for models and tests that must repeat.
            pub fn from_number(number: u64) -> Self {
                Self(encode($prefix, u128::from(number)))
            }

            /// The number that it is written from: of each id another one.
            pub fn number(&self) -> u128 {
                number(&self.0)
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                check(text, $kind, $prefix)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, ParseIdError> {
                check(&text, $kind, $prefix)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// One execution of a rotation. Text: `run-` and 26 characters.
    RunId, "a run id", "run-"
}

id! {
    /// One version of a secret. Text: `ver-` and 26 characters.
    VersionId, "a version id", "ver-"
}

/// A fencing token: grows with every holder of a lease. An effect carries the one it was started under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// The restore epoch (rule P2): raised whenever the state may be older than the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Epoch(pub u32);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    #[test]
    fn ids_sort_by_time_and_read_back() {
        let early = RunId::fresh(Timestamp::from_unix_ms(1_000));
        let late = RunId::fresh(Timestamp::from_unix_ms(2_000));
        assert!(early < late);
        assert_eq!(early.as_str().parse::<RunId>(), Ok(early));
    }

    #[test]
    fn an_id_is_written_from_its_number() {
        for number in [0, 1, 31, 32, u64::MAX] {
            assert_eq!(RunId::from_number(number).number(), u128::from(number));
        }
        let id = VersionId::fresh(Timestamp::from_unix_ms(1_764_000_000_123));
        assert_eq!(id.number() >> 82, 1_764_000_000_123);
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let version = VersionId::from_number(7);
        let error = version.as_str().parse::<RunId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "not a run id: expected `run-` and 26 characters of 0-9 a-v"
        );
    }
}
