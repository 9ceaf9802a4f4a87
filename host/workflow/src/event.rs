use keywheel_model::{Epoch, Fence, Outcome, RunId, Stage, StepError, Timestamp, Verdict, VersionId};
use serde::{Deserialize, Serialize};

/// What happened. The only input of the machine besides the time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The run begins. Once.
    Start,
    /// The effect with this number ended. One whose number is not the awaited one is ignored: it was delivered twice, or comes from a life before.
    Done {
        /// [`State::op`](crate::State::op) of the effect.
        op: u64,
        /// Its result.
        report: Report,
    },
    /// The time of a [`Sleep`](crate::Effect::Sleep) has come.
    Timer,
    /// The host was restarted: the state was loaded from the journal, and the effect in it may or may not have happened.
    Recovered,
    /// The lease is lost, or cannot be shown to be held any more. The effect in flight may have happened.
    FenceLost,
    /// A person wants the run to stop: rolled back if nothing is promoted yet, otherwise brought to its end.
    Cancel,
    /// A person wants the run rolled back; refused after the promotion (the state tells so, see [`State::past_no_return`](crate::State::past_no_return)).
    RollBack,
    /// A person ends a run whose target is gone, as it stands: nothing more is asked of the target, and nothing is claimed about it. Ignored unless
    /// [`State::can_be_given_up`](crate::State::can_be_given_up).
    GiveUp,
    /// A person wants a run that is parked, or waits for a time, to go on. One that waits for consumers proves current, and waits on.
    Resume(Choice),
    /// A person ends the wait for consumers. Ignored unless [`State::can_end_wait`](crate::State::can_end_wait).
    EndWait {
        /// Only the grace ends: what consumers have declared is waited for still, and so is what the host waits for.
        spares_consumers: bool,
    },
    /// A consumer says that it uses this version.
    Reported {
        /// Its name in the configuration.
        consumer: String,
        /// What it uses.
        version: VersionId,
    },
    /// The plugin was removed or its grant was taken away: the run parks at once (rule P12).
    Withdrawn {
        /// What is missing, for people.
        what: String,
    },
}

/// How a person answers a run that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// The cause is gone: go on where it stopped.
    Retry,
    /// Put the vault's current version on the target again (the target or the vault was restored, or changed by hand).
    ApplyCurrent,
    /// The vault's head is right as it is, though a person wrote it: take it as the truth and verify it. For [`Cause::ByHand`](crate::Cause::ByHand) only.
    AcceptHead,
}

/// The result of an effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// Of [`Lease`](crate::Effect::Lease).
    Lease(Lease),
    /// Of [`EndSessions`](crate::Effect::EndSessions): whether the target has confirmed that no earlier session lives. False where the target has
    /// no such means; the machine then waits for the deadline.
    Sessions {
        /// Confirmed.
        ended: bool,
    },
    /// Of [`ReadHead`](crate::Effect::ReadHead).
    Head(Head),
    /// The vault could not be read. Never reported as an empty head (rule P16).
    HeadUnreadable(StepError),
    /// Of a [`Call`](crate::Effect::Call) other than `test`. A trap or a time-out is an error with the effect `maybe`; the effect is the worse of
    /// what the plugin claims and what the host saw (rule H13).
    Step(Result<StepOk, StepError>),
    /// Of a `test`. Only what the host itself saw counts as accepted or rejected (rule H7).
    Verdict(Result<Verdict, StepError>),
    /// The login was not even tried: the account's budget of failed logins is used up. The budget is kept by the driver, durably, per account and over
    /// all runs (rule P14): a login is booked before it starts and given back when it was accepted.
    OverBudget {
        /// When the budget has room again.
        until: Timestamp,
    },
    /// Of a write to the vault.
    Stored(Result<(), StoreFailure>),
    /// Of [`Announce`](crate::Effect::Announce): ok when every hook with `announce = true` ended with 0.
    Announced(Result<(), StepError>),
    /// Of [`Propagate`](crate::Effect::Propagate): those consumers that have reported the version so far, and what the host itself still waits for.
    Told {
        /// Names of consumers.
        reported: Vec<String>,
        /// The host does not let the previous version be revoked yet, whoever has reported; it is asked again then.
        #[serde(default)]
        not_before: Option<Timestamp>,
        /// One that was to be told did not take it: it is told again after a pause, as long as it is waited for.
        #[serde(default)]
        failed: Option<StepError>,
    },
}

/// The answer to a request for the lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lease {
    /// This run has it.
    Held {
        /// The token: grows with every holder.
        fence: Fence,
        /// Before this time effects of an earlier holder may still land. If the lease was given up in order (`Park`, `Release`): the
        /// [`settled_at`](crate::State::settled_at) of the state that gave it up, which the driver keeps with the lease. If it lapsed or the host was
        /// restarted: the lapse (or now) plus the deadline of effects. For the holder that never lost it: any time in the past.
        settled_at: Timestamp,
    },
    /// Another run or host has it.
    Busy {
        /// When it is worth asking again.
        until: Timestamp,
    },
}

/// The versions of a secret that a vault keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Head {
    /// The restore epoch now (rule P2).
    pub epoch: Epoch,
    /// All kept versions, newest first.
    pub versions: Vec<Kept>,
}

/// A kept version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kept {
    /// Its identity.
    pub version: VersionId,
    /// Its stage.
    pub stage: Stage,
    /// The run that made it; none for one imported or written by a person.
    pub run: Option<RunId>,
}

impl Head {
    /// The newest version in a stage.
    pub fn newest(&self, stage: Stage) -> Option<&Kept> {
        self.versions.iter().find(|kept| kept.stage == stage)
    }

    /// The current version.
    pub fn current(&self) -> Option<&VersionId> {
        self.newest(Stage::Current).map(|kept| &kept.version)
    }

    /// The stage of a version.
    pub fn stage_of(&self, version: &VersionId) -> Option<Stage> {
        self.versions
            .iter()
            .find(|kept| kept.version == *version)
            .map(|kept| kept.stage)
    }
}

/// A plugin's step that ended well.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StepOk {
    /// How.
    pub outcome: Outcome,
    /// Of `create`: the version that is durably pending now.
    pub pending: Option<VersionId>,
    /// Until when the target keeps accepting `current` by its own clock, when it said so (class F).
    pub current_valid_until: Option<Timestamp>,
    /// Of `plan`: what would stop the run. Not empty: refused before the first write.
    pub problems: Vec<String>,
}

impl StepOk {
    /// Done, without anything to tell.
    pub fn done() -> Self {
        Self {
            outcome: Outcome::Done,
            pending: None,
            current_valid_until: None,
            problems: Vec::new(),
        }
    }
}

/// Why a write to the vault failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreFailure {
    /// The head is not what the write was decided on; nothing was written.
    Conflict,
    /// Anything else, with the effect it may have had.
    Failed(StepError),
}
