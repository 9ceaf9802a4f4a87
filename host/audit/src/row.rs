use std::fmt;
use std::str::FromStr;

use keywheel_model::{RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What happened: the part of a row that its writer knows. Never a secret's value, in no field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who or what did it: `host`, `plugin:postgres`, `uid:1000`.
    pub actor: String,
    /// What was done: dotted, lower case: `secret.promote`, `vault.unseal`.
    pub action: String,
    /// To what: a secret's, a rotation's or a plugin's name.
    pub resource: String,
    /// How it ended: one word: `ok`, `denied`, `failed`, `maybe`.
    pub outcome: String,
    /// The run it belongs to.
    pub run: Option<RunId>,
    /// More, as a JSON object: ids, versions, codes.
    pub details: Value,
}

impl Entry {
    /// An entry of the host itself, without a run and without details.
    pub fn of_host(
        action: impl Into<String>,
        resource: impl Into<String>,
        outcome: impl Into<String>,
    ) -> Self {
        Self {
            actor: "host".to_owned(),
            action: action.into(),
            resource: resource.into(),
            outcome: outcome.into(),
            run: None,
            details: Value::Object(serde_json::Map::new()),
        }
    }

    /// The same entry by another actor.
    #[must_use]
    pub fn by(mut self, actor: impl Into<String>) -> Self {
        self.actor = actor.into();
        self
    }

    /// The same entry within a run.
    #[must_use]
    pub fn in_run(mut self, run: &RunId) -> Self {
        self.run = Some(run.clone());
        self
    }

    /// The same entry with details; a JSON object without secrets.
    #[must_use]
    pub fn with(mut self, details: Value) -> Self {
        self.details = details;
        self
    }
}

/// One row of the trail, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// 1, 2, 3 ... without gaps.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// See [`Entry::actor`].
    pub actor: String,
    /// See [`Entry::action`].
    pub action: String,
    /// See [`Entry::resource`].
    pub resource: String,
    /// See [`Entry::outcome`].
    pub outcome: String,
    /// See [`Entry::run`].
    pub run: Option<String>,
    /// [`Entry::details`] as the very JSON text that was hashed.
    pub details: String,
    /// Hash of the row before, or the genesis hash.
    pub prev: Hash,
    /// Hash of this row.
    pub hash: Hash,
    /// HMAC of `hash` under the audit key; none while the vault was sealed.
    pub seal: Option<Hash>,
}

/// A SHA-256 or HMAC-SHA256 value; 64 lower-case hexadecimal digits as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(pub [u8; 32]);

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash has 64 lower-case hexadecimal digits")]
pub struct ParseHashError;

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Hash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        // By itself `from_str_radix` takes `+f` and `AB`, too: then one hash would have many spellings.
        let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 64 || !text.bytes().all(digits) {
            return Err(ParseHashError);
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| ParseHashError)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Hash {
    type Error = ParseHashError;

    fn try_from(text: String) -> Result<Self, ParseHashError> {
        text.parse()
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_has_one_spelling() {
        let text = "0f".repeat(32);
        assert_eq!(
            text.parse::<Hash>().map(|hash| hash.to_string()).as_ref(),
            Ok(&text)
        );
        for other in [
            text.replace('f', "F"),
            text.replacen("0f", "+f", 1),
            text.replacen("0f", "", 1),
        ] {
            assert!(other.parse::<Hash>().is_err(), "{other}");
        }
    }
}
