use keywheel_model::{SlotClass, StepName, Timestamp, VersionId};
use serde::{Deserialize, Serialize};

/// What the driver does next for a run. One at a time; its result comes back as [`Event::Done`](crate::Event::Done) with the number of the effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Take or renew the lease on principal and secret. Answer: [`Report::Lease`](crate::Report::Lease). The driver keeps it alive while the run has it.
    Lease,
    /// End the sessions through which earlier attempts on this principal (of this run, or of a holder before it) could still act (rules P1, P7).
    /// Answer: [`Report::Sessions`](crate::Report::Sessions).
    EndSessions,
    /// Read all versions of the secret with their stages. Answer: [`Report::Head`](crate::Report::Head); a vault that cannot be read is an error,
    /// never an empty head (rule P16).
    ReadHead,
    /// Call the plugin. Answer: [`Report::Step`](crate::Report::Step), or [`Report::Verdict`](crate::Report::Verdict) for `test`.
    Call(Call),
    /// Write the pending version under its sibling name in a remote vault and read it back (rule P4). Answer: [`Report::Stored`](crate::Report::Stored).
    Mirror {
        /// The pending version.
        version: VersionId,
    },
    /// Run the announce hooks (rule P8). Answer: [`Report::Announced`](crate::Report::Announced).
    Announce {
        /// The pending version that consumers get beside the current one.
        version: VersionId,
    },
    /// Make a version current, if the current one is still `expected`; the old current becomes previous. Repeating it after it took effect answers
    /// ok. Answer: [`Report::Stored`](crate::Report::Stored).
    Promote {
        /// The current version that this was decided on. None: there is none yet.
        expected: Option<VersionId>,
        /// The version to make current. A pending one keeps its identity; for an older one the vault makes a new version that points at its
        /// material, with the same identity as far as this machine is concerned.
        version: VersionId,
    },
    /// Mark a version that may still land on the target as abandoned; keep and probe it until then (rule P1). Answer: [`Report::Stored`](crate::Report::Stored).
    Abandon {
        /// The version.
        version: VersionId,
        /// Not deleted before.
        keep_until: Timestamp,
    },
    /// Mark a version revoked; keep its material until then (rule P10). Answer: [`Report::Stored`](crate::Report::Stored).
    MarkRevoked {
        /// The version.
        version: VersionId,
        /// Not deleted before.
        keep_until: Timestamp,
    },
    /// Tell the consumers of the version. Answer: [`Report::Told`](crate::Report::Told).
    Propagate {
        /// The version that is current now.
        version: VersionId,
    },
    /// Nothing until then; answer [`Event::Timer`](crate::Event::Timer). Every other event may come earlier.
    Sleep {
        /// The time to wake.
        until: Timestamp,
    },
    /// Nothing until a person acts: the run is parked, its cause is in the state. The lease is given up; `state.settled_at` is
    /// kept with it for the next holder.
    Park,
    /// The run has ended: give the lease up, keeping `state.settled_at` with it, and stop driving. No answer.
    Release,
}

impl Effect {
    /// Whether the state that asks for this effect must be durable *before* the effect starts. Where it says false a crash may lose the state: the
    /// run then goes on from an older one, and the machine finds out by reading the head and probing. This saves commits, never safety: the explorer
    /// runs both ways.
    pub fn needs_write_ahead(&self, class: SlotClass) -> bool {
        match self {
            Self::Call(call) => match call.step {
                StepName::Create => class.target_issues(),
                StepName::Apply | StepName::Revoke | StepName::Rollback => true,
                _ => false,
            },
            Self::Announce { .. }
            | Self::Promote { .. }
            | Self::Sleep { .. }
            | Self::Park
            | Self::Release => true,
            Self::Lease
            | Self::EndSessions
            | Self::ReadHead
            | Self::Mirror { .. }
            | Self::Abandon { .. }
            | Self::MarkRevoked { .. }
            | Self::Propagate { .. } => false,
        }
    }

    /// Whether it can change something outside the journal, so that it needs a live fence at its start.
    pub fn needs_fence(&self) -> bool {
        !matches!(
            self,
            Self::Lease | Self::ReadHead | Self::Sleep { .. } | Self::Park | Self::Release
        )
    }
}

/// A call of one of the plugin's steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Call {
    /// `plan`, `create`, `apply`, `test`, `revoke` or `rollback`.
    pub step: StepName,
    /// The version it is about: the pending one of `apply`; the subject of `test` and `revoke`. `apply` with the current version puts back what the
    /// target has lost: the driver binds it as the run's pending secret for this call.
    pub subject: Option<VersionId>,
    /// What the plugin sees as `current`, `pending` and `previous`.
    pub roles: Roles,
    /// 1 for the first try of this step.
    pub attempt: u32,
    /// An earlier try may have reached the target: look before you act.
    pub interrupted: bool,
    /// Given to the server's side as far as it has deadlines: past this nothing of this call may land.
    pub deadline: Timestamp,
}

/// The versions of a run by their parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Roles {
    /// What clients use now.
    pub current: Option<VersionId>,
    /// What is being rotated in.
    pub pending: Option<VersionId>,
    /// What was current before.
    pub previous: Option<VersionId>,
}
