use std::fmt;

use serde::{Deserialize, Serialize};

/// The stage of a version of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Durable, not yet what clients use.
    Pending,
    /// What clients use.
    Current,
    /// What clients used before, kept longer than any effect can live.
    Previous,
    /// Refused by the target, proved so; kept for a horizon (rule P10).
    Revoked,
    /// A pending one that was given up but may still land on the target (rule P1).
    Abandoned,
}

impl Stage {
    /// The word used in configuration, output and the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Current => "current",
            Self::Previous => "previous",
            Self::Revoked => "revoked",
            Self::Abandoned => "abandoned",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
