use std::fmt;

use serde::{Deserialize, Serialize};

/// One step of the protocol. `Announce`, `Promote` and `Propagate` are the host's; the rest call the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepName {
    /// Looks and says what would stop the run; no effect possible.
    Plan,
    /// Makes the credential; it is durably pending before the call returns.
    Create,
    /// Consumers of a one-slot target that can hold two get current and pending.
    Announce,
    /// Makes the target accept the pending credential.
    Apply,
    /// Asks the target.
    Test,
    /// Pending becomes current in the vault.
    Promote,
    /// Consumers are told; waits for their reports or their declared staleness.
    Propagate,
    /// Makes the target refuse the previous credential, and proves it.
    Revoke,
    /// Undoes create and apply; before promotion only.
    Rollback,
}

impl StepName {
    /// The word used in configuration, output and the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Create => "create",
            Self::Announce => "announce",
            Self::Apply => "apply",
            Self::Test => "test",
            Self::Promote => "promote",
            Self::Propagate => "propagate",
            Self::Revoke => "revoke",
            Self::Rollback => "rollback",
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which of the credentials still opens the target, as far as the host has proved it. Always computed, always shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Safety {
    /// Current is accepted; pending is not yet.
    OldValid,
    /// One of the two is, and the host has yet to ask which: on a target with one slot, where a change is under way or its answer was lost.
    OneValid,
    /// Both are accepted.
    BothValid,
    /// Only the new one is accepted.
    NewValid,
}

impl fmt::Display for Safety {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OldValid => "old-valid",
            Self::OneValid => "one-valid",
            Self::BothValid => "both-valid",
            Self::NewValid => "new-valid",
        })
    }
}

/// Why a run was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// Its schedule.
    Schedule,
    /// A person.
    Manual,
    /// Its credential expires.
    Expiry,
    /// Its credential is known to others.
    Compromise,
    /// An existing credential is taken over: verified, never changed (rule P15).
    Adopt,
    /// The drift check found `current` refused.
    Drift,
    /// The vault was restored (rule P2).
    Restore,
    /// The value of an older version is to be current again.
    Rollback,
}

impl Trigger {
    /// The word, as it is serialised.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Manual => "manual",
            Self::Expiry => "expiry",
            Self::Compromise => "compromise",
            Self::Adopt => "adopt",
            Self::Drift => "drift",
            Self::Restore => "restore",
            Self::Rollback => "rollback",
        }
    }
}

/// The part a secret plays in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// What clients use now.
    Current,
    /// What is being rotated in.
    Pending,
    /// What was current before.
    Previous,
    /// What this call of `test` or `revoke` is about.
    Subject,
}

/// How a step ended well. Mirrors `outcome` in `wit/plugin`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done.
    Done,
    /// Not finished on the target; call again after this many milliseconds.
    Wait(u32),
    /// A person has to act; the text says what.
    Blocked(String),
    /// This target cannot do this step; the text says why.
    Impossible(String),
}

/// What the target says of a credential. Mirrors `verdict` in `wit/plugin`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It opens the target.
    Accepted,
    /// The right credential with too few rights: alive, never promoted.
    Limited(String),
    /// It does not.
    Rejected,
    /// The account is locked, disabled or expired: proves nothing.
    Account(String),
    /// Could not be found out; never read as a rejection.
    Unknown(String),
}
