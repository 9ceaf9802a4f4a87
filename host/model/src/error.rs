use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the caller should do about an error. The same closed set as `error-kind` in `wit/core`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The policy forbids it; pointless to retry until an operator changes the policy.
    Denied,
    /// The request itself is wrong.
    Invalid,
    /// The named thing does not exist.
    NotFound,
    /// The thing exists in a state that excludes this operation.
    Conflict,
    /// The remote side refused the credential that was used.
    Unauthenticated,
    /// The remote side or the network is unavailable, or throttles.
    Unavailable,
    /// The deadline passed.
    Timeout,
    /// A host limit was reached.
    Limit,
    /// The run was cancelled.
    Cancelled,
    /// Anything else.
    Other,
}

/// Whether an operation took effect on the remote side. Ordered by how bad not knowing it is: of two reports the greater counts (rule H13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It certainly did not take effect.
    None,
    /// It certainly took effect, at least in part.
    Applied,
    /// It may have taken effect: sent, but the answer was lost.
    Maybe,
}

/// The error of a step: what happened, what to do about it, and whether the target may have changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    /// What the caller should do.
    pub kind: ErrorKind,
    /// Whether the target may have changed.
    pub effect: Effect,
    /// Stable, dotted, lower case: `sql.28p01`, `net.refused`.
    pub code: String,
    /// For people; never holds secret material.
    pub message: String,
    /// Earliest sensible retry, when the remote side gave one, in milliseconds.
    pub retry_after_ms: Option<u32>,
}

impl StepError {
    /// An error without effect on the target.
    pub fn new(kind: ErrorKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            effect: Effect::None,
            code: code.into(),
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// The same error with the given effect.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Earliest sensible retry.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_ms.map(|ms| Duration::from_millis(ms.into()))
    }
}
