use keywheel_model::{StepName, VersionId};
use serde::{Deserialize, Serialize};

/// A fact for the audit log and the notification outbox. The driver commits it in the transaction that makes the new state durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Note {
    /// What happened.
    pub kind: NoteKind,
    /// The version it is about.
    pub version: Option<VersionId>,
    /// For people; never holds secret material.
    pub detail: String,
}

/// What happened, for the audit log. Those that [need a person](Self::needs_attention) are also notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// The run began.
    Started,
    /// The host came back and the run goes on.
    Recovered,
    /// A step begins to act on the target.
    StepBegan(StepName),
    /// A step ended well.
    StepEnded(StepName),
    /// A step failed or its effect is not known.
    StepFailed(StepName),
    /// The version became current, unproved where the proof is deferred.
    Promoted {
        /// A login had proved it.
        proved: bool,
    },
    /// The target refuses the version now, proved.
    Revoked,
    /// The version was given up; it is kept and probed.
    Abandoned,
    /// The current version was put on the target again.
    Repaired,
    /// A person asked for something.
    Asked,
    /// The run waits for a person.
    Parked,
    /// The run ended well.
    Succeeded,
    /// The run was undone.
    RolledBack,
    /// The run was stopped.
    Cancelled,
    /// The run was refused or given up.
    Failed,
    /// A person ended the run as it stood.
    GivenUp,
}

impl NoteKind {
    /// Whether people must be told, not only the audit log.
    pub fn needs_attention(self) -> bool {
        matches!(
            self,
            Self::Parked | Self::Failed | Self::RolledBack | Self::Repaired | Self::GivenUp
        )
    }
}
