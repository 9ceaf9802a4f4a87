//! Values of statements, and how names are compared.

use std::cmp::Ordering;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    /// `bit`.
    Bit(bool),
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    pub(crate) fn of(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A number for every value that can be read as one; else 0.
    pub(crate) fn number(&self) -> i64 {
        match self {
            Self::Int(number) => *number,
            Self::Bit(flag) => i64::from(*flag),
            Self::Text(text) => text.trim().parse().unwrap_or(0),
            Self::Null | Self::Bytes(_) => 0,
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        self.number() != 0
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Int(number) => number.to_string(),
            Self::Bit(flag) => u8::from(*flag).to_string(),
            Self::Null | Self::Bytes(_) => String::new(),
        }
    }

    /// None where one is null.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        Some(match (self, other) {
            (Self::Null, _) | (_, Self::Null) => return None,
            (Self::Text(left), Self::Text(right)) => key(left).cmp(&key(right)),
            (Self::Bytes(left), Self::Bytes(right)) => left.cmp(right),
            (left, right) => left.number().cmp(&right.number()),
        })
    }
}

/// By the usual collation: neither case nor spaces at the end tell two apart.
pub(crate) fn same(left: &str, right: &str) -> bool {
    key(left) == key(right)
}

fn key(text: &str) -> String {
    text.trim_end_matches(' ').to_lowercase()
}
