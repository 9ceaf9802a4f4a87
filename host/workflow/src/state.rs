use std::time::Duration;

use keywheel_model::{Effect as Reach, Epoch, Fence, RunId, StepName, Timestamp, VersionId};
use serde::{Deserialize, Serialize};

use crate::{Cause, Choice, Effect, Pinned, Roles, Settings};

/// The format of a journalled [`State`]. A reader refuses a greater one.
pub const FORMAT: u32 = 1;

/// A run: all that the machine knows. Journalled as JSON; holds ids of versions, never a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each with its own sentence"
)]
pub struct State {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The run.
    pub run: RunId,
    /// Its pinned settings.
    pub settings: Pinned,
    /// Where it stands.
    pub phase: Phase,
    /// What is still to be made sure of before the phase may act.
    pub entry: Entry,
    /// The number of the effect in `doing`; grows with each.
    pub op: u64,
    /// The effect asked for last, until its result is known.
    pub doing: Option<Effect>,
    /// Nothing is done before this time.
    pub pause_until: Option<Timestamp>,
    /// The lease it works under.
    pub fence: Option<Fence>,
    /// The restore epoch it has seen.
    pub epoch: Epoch,
    /// The versions it works on. After the promotion `current` is the new one and `previous` the old one.
    pub roles: Roles,
    /// What the target may have of the pending version.
    pub reach: Reach,
    /// The present step may have reached the target in an earlier try.
    pub interrupted: bool,
    /// Tries of the present step that ended without a decision.
    pub attempt: u32,
    /// Before this time effects of earlier tries, or of a holder before, may still land.
    pub settled_at: Timestamp,
    /// Before this time the target may reject what it has taken already (rule P9).
    pub believe_at: Timestamp,
    /// A login has proved the version that is being rotated in.
    pub proved: bool,
    /// It slept, or lost sight of the target, since a login proved what is current for it. It does not end well before another one has.
    pub proof_is_old: bool,
    /// The promotion has happened. Never undone.
    pub promoted: bool,
    /// Consumers may use the previous version until then: this run's after the promotion, an earlier run's before it.
    pub stale_until: Option<Timestamp>,
    /// A person has ended the wait for them: it ends then at the latest.
    #[serde(default)]
    pub wait_ends: Option<Timestamp>,
    /// Nobody is waited for any more, and the host does not let the previous version be revoked: it is asked again then.
    #[serde(default)]
    pub held_until: Option<Timestamp>,
    /// A person answers for the end of that, too.
    #[serde(default)]
    pub revokes_now: bool,
    /// A person wants to know within that wait whether the target still accepts current. It is waited on after the answer.
    #[serde(default)]
    pub looks: bool,
    /// Consumers that have reported the new version.
    pub reported: Vec<String>,
    /// Until when the target accepts the old credential by its own clock (class F).
    pub old_valid_until: Option<Timestamp>,
    /// The vault's head has been read: `roles` are set.
    pub seen: bool,
    /// How often a step was begun again after the target was asked what it had done.
    pub rounds: u32,
    /// A person's wish that has not been fulfilled yet.
    pub wish: Option<Wish>,
    /// A later run has rotated the secret, or is about to: this one only takes back what it has left on the target.
    pub superseded: bool,
    /// The plugin said that going back is impossible: the only way is forward.
    pub no_way_back: bool,
    /// A verification in progress.
    pub check: Check,
    /// Why it waits for a person.
    pub parked: Option<Parked>,
    /// What went wrong last, until the run gets past it: what its next try is for. For people; nothing is decided by it.
    #[serde(default)]
    pub trouble: Option<Trouble>,
    /// How it ended.
    pub ended: Option<Ended>,
    /// What happened in each step so far, for people.
    pub log: Vec<StepLog>,
}

/// Where a run stands. What the machine does in each is in the table of the crate's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The plugin looks.
    Plan,
    /// The credential is made.
    Create,
    /// The pending version is copied to the remote vault.
    Mirror,
    /// Consumers get it beside the current one.
    Announce,
    /// The target is made to accept it.
    Apply,
    /// The target is asked whether it does.
    Prove,
    /// It becomes current.
    Promote,
    /// Consumers are told and waited for.
    Propagate,
    /// The current version is proved once more before the old one dies (needed where the promotion was unproved).
    ProveCurrent,
    /// The target is made to refuse the previous one.
    Revoke,
    /// The target is asked whether it does.
    ProveDead,
    /// The previous version is marked revoked.
    Retire,
    /// The plugin undoes create and apply.
    Undo,
    /// The current version is proved after that.
    ProveUndone,
    /// The pending version is marked abandoned.
    Abandon,
    /// Kept versions are tried one after the other: adoption, drift check, restore.
    Verify,
    /// A newer kept version that the target accepts becomes current.
    RollForward,
    /// The current version is put on the target again.
    Repair,
    /// And proved.
    ProveRepair,
    /// Waits for a person.
    Parked,
    /// Over.
    Ended,
}

/// What is made sure of, in this order, before a phase acts: after a start, a pause, a crash, and before every effect that cannot be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// The lease.
    Lease,
    /// No earlier effect can land any more: sessions ended, or the deadline passed.
    Settle,
    /// Like `Settle`, after the sessions could not be ended.
    Wait,
    /// The vault's head is what the run thinks.
    Head,
    /// All of it.
    Ready,
}

/// A person's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// Stop: back if nothing is promoted, else to the end.
    Cancel,
    /// Back.
    RollBack,
    /// Over, as it stands, without the target.
    GiveUp,
}

/// A verification of kept versions: which versions are still to be tried, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each with its own sentence"
)]
pub struct Check {
    /// The queue was made from the head.
    pub begun: bool,
    /// To be tried, in this order.
    pub queue: Vec<Candidate>,
    /// The target refuses the current version.
    pub current_refused: bool,
    /// A kept version, other than the current one, that the target accepts.
    pub accepted: Option<VersionId>,
    /// The repair is a last resort after which the run parks (rule P11).
    pub park_after: bool,
    /// A person said that the vault's head is right, whoever wrote it.
    pub head_accepted: bool,
    /// The vault is of an earlier time than the target: only verify (rule P2).
    pub restored: bool,
}

/// A version that is to be tried.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Candidate {
    /// The version.
    pub version: VersionId,
    /// It was made after the current one.
    pub newer: bool,
}

/// Why a run waits for a person, and what the person can do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Parked {
    /// Why.
    pub cause: Cause,
    /// More about it, for people: a plugin's message, a version.
    pub detail: String,
    /// Where it goes on.
    pub back_to: Phase,
}

/// A failure that the run has not got past yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trouble {
    /// Stable, dotted, lower case.
    pub code: String,
    /// For people; masked before it came here.
    pub message: String,
}

impl Trouble {
    /// A failure by its code and message.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ended {
    /// Well or how else.
    pub ending: Ending,
    /// For people: the problems that `plan` found, the run that superseded this one.
    pub detail: String,
}

/// How a run ended. In each of them but the last the vault's current version is, as far as is known, the one that the target accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Done.
    Succeeded,
    /// Undone on demand, or because it could not be finished.
    RolledBack,
    /// Stopped before anything was changed, or undone after a cancel.
    Cancelled,
    /// Refused before the first write, or given up safely: nothing is changed.
    Failed,
    /// A person ended it as it stood, without its target. What it has left there nobody has looked at.
    GivenUp,
}

/// The word for the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunWord {
    /// Not started.
    Planned,
    /// An effect is in flight.
    Running,
    /// Waits for a time or for consumers.
    Waiting,
    /// Waits for a person.
    Parked,
    /// Ended well.
    Succeeded,
    /// Undone.
    RolledBack,
    /// Stopped.
    Cancelled,
    /// Refused or given up; nothing is changed.
    Failed,
    /// Ended by a person as it stood.
    GivenUp,
}

impl RunWord {
    /// The word, as it is serialised.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Parked => "parked",
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled-back",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::GivenUp => "given-up",
        }
    }
}

/// One step in the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StepLog {
    /// The step.
    pub step: StepName,
    /// When its first try began.
    pub began: Timestamp,
    /// When it was taken up again after it had been over, such as a second login at the end of a wait.
    #[serde(default)]
    pub again: Option<Timestamp>,
    /// When it was over; none while it is not.
    pub ended: Option<Timestamp>,
    /// Tries.
    pub tries: u32,
    /// The code of the last failure.
    pub code: Option<String>,
    /// Its message.
    #[serde(default)]
    pub message: Option<String>,
    /// The last try failed, or was given up with its effect not known.
    #[serde(default)]
    pub failed: bool,
}

impl State {
    /// The clock was set back by that much since the state was kept: what was left of each wait then is what is left now. Ends of validity are the
    /// target's own, by its own clock.
    pub fn set_back(&mut self, by: Duration) {
        self.settled_at = self.settled_at - by;
        self.believe_at = self.believe_at - by;
        for until in [
            &mut self.pause_until,
            &mut self.stale_until,
            &mut self.wait_ends,
            &mut self.held_until,
        ] {
            *until = until.map(|until| until - by);
        }
        match &mut self.doing {
            Some(Effect::Sleep { until }) => *until = *until - by,
            // Until then it may land: that is waited for once it is known that it was cut off.
            Some(Effect::Call(call)) => call.deadline = call.deadline - by,
            _ => {}
        }
    }

    /// A run that has not begun.
    pub fn new(run: RunId, settings: Settings) -> Self {
        Self {
            format: FORMAT,
            run,
            epoch: settings.epoch,
            settings: Pinned::new(settings),
            phase: Phase::Plan,
            entry: Entry::Lease,
            op: 0,
            doing: None,
            pause_until: None,
            fence: None,
            roles: Roles::default(),
            reach: Reach::None,
            interrupted: false,
            attempt: 0,
            settled_at: Timestamp::default(),
            believe_at: Timestamp::default(),
            proved: false,
            proof_is_old: false,
            promoted: false,
            stale_until: None,
            wait_ends: None,
            held_until: None,
            revokes_now: false,
            looks: false,
            reported: Vec::new(),
            old_valid_until: None,
            seen: false,
            rounds: 0,
            wish: None,
            superseded: false,
            no_way_back: false,
            check: Check::default(),
            parked: None,
            trouble: None,
            ended: None,
            log: Vec::new(),
        }
    }

    /// Whether the run is over.
    pub fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether the run only takes a credential over that is in use already: it changes nothing on the target.
    pub fn adopts(&self) -> bool {
        self.settings.trigger == keywheel_model::Trigger::Adopt
    }

    /// Whether the run makes no version of its own: it asks which one the target accepts, and puts current on again where none is.
    pub(crate) fn only_looks(&self) -> bool {
        use keywheel_model::Trigger;
        matches!(self.settings.trigger, Trigger::Drift | Trigger::Restore)
    }

    /// Whether the new credential is current, and the run waits for those who may still use the old one, or for the host to let that be revoked; or looks
    /// at current within that wait.
    pub fn waits_for_consumers(&self) -> bool {
        let looks = self.looks && self.parked.is_none() && !self.is_over();
        self.promoted && (self.phase == Phase::Propagate || looks)
    }

    /// Until when it is waited for consumers that have not reported.
    pub(crate) fn consumers_until(&self) -> Option<Timestamp> {
        let until = self.stale_until? + Duration::from_millis(self.settings.grace_ms);
        Some(self.wait_ends.map_or(until, |ends| until.min(ends)))
    }

    /// Whether a person may end that wait: of its grace alone, or also of the time in which consumers may not have read the new credential yet.
    pub fn can_end_wait(&self, spares_consumers: bool) -> bool {
        // Without a login this wait is all that tells a credential that works from one that does not; what the host waits for tells nothing of that.
        let is_proved = self.proved || self.settings.can_ask() || self.is_held();
        self.waits_for_consumers() && (spares_consumers || is_proved)
    }

    /// Whether it is the host alone that the run still waits for.
    pub fn is_held(&self) -> bool {
        self.promoted && self.phase == Phase::Propagate && self.held_until.is_some()
    }

    /// Whether a person may answer the run like this where it stands: parked, or waiting for a time.
    pub fn takes(&self, choice: Choice) -> bool {
        let cause = self.parked.as_ref().map(|parked| parked.cause);
        if self.is_given_up() && choice != Choice::Retry {
            return false;
        }
        match choice {
            Choice::Retry => {
                let waits = self.waits_for_consumers() || matches!(self.doing, Some(Effect::Sleep { .. }));
                cause.is_some() || waits
            }
            Choice::ApplyCurrent => {
                (cause.is_some() || self.waits_for_consumers()) && self.can_apply_current()
            }
            // Anywhere else the head is not in doubt, and what the run has left on the target would be forgotten.
            Choice::AcceptHead => cause == Some(Cause::ByHand),
        }
    }

    /// Whether a person may end the run as it stands: it is parked, or waits for its next try. Elsewhere it goes on by itself, or an effect may be on
    /// its way.
    pub fn can_be_given_up(&self) -> bool {
        let waits = matches!(self.doing, Some(Effect::Sleep { .. })) && self.attempt > 0;
        !self.is_over() && !self.is_given_up() && (self.parked.is_some() || waits)
    }

    /// Whether a person has ended it, and only the vault has still to be told.
    pub fn is_given_up(&self) -> bool {
        self.wish == Some(Wish::GiveUp)
    }

    /// Whether the host can put a value it holds on the target.
    pub(crate) fn can_apply_current(&self) -> bool {
        self.roles.current.is_some() && !self.settings.class.target_issues()
    }

    /// Whether the run can only go forward: it is promoted, or the target has made a credential that it cannot take back.
    pub fn past_no_return(&self) -> bool {
        self.promoted || self.no_way_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_page_explains_every_cause() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operators.md");
        let page = std::fs::read_to_string(path).unwrap();
        for cause in Cause::ALL {
            assert!(page.contains(&format!("\n| `{}` |", cause.as_str())), "{cause:?}");
        }
    }
}
