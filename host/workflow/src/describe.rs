use std::time::Duration;

use keywheel_model::{Effect as Reach, Safety, StepName, Strategy, Timestamp};

use crate::{Effect, Ending, Entry, Phase, RunWord, State, Trouble};

/// A run in words: what lists and timelines show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The word for the whole run.
    pub word: RunWord,
    /// Which of the credentials still opens the target, as far as the host has proved it.
    pub safety: Safety,
    /// Nothing happens before this time.
    pub waits_until: Option<Timestamp>,
    /// What for, while it waits.
    pub waits_for: Option<&'static str>,
    /// What went wrong last, until the run gets past it.
    pub trouble: Option<Trouble>,
    /// The steps so far.
    pub steps: Vec<DescribedStep>,
}

/// A step in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedStep {
    /// Which.
    pub step: StepName,
    /// When its first try began.
    pub began: Timestamp,
    /// When it was taken up again after it had been over.
    pub again: Option<Timestamp>,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// Tries.
    pub tries: u32,
    /// The code of the last failure.
    pub code: Option<String>,
    /// Its message.
    pub message: Option<String>,
    /// The last try failed, or was given up with its effect not known.
    pub failed: bool,
    /// The safety when the step was over; of one that is not over, the run's.
    pub safety: Safety,
}

impl DescribedStep {
    /// How long it took, from its beginning or from when it was taken up again last: what lay between is no work of its own.
    pub fn took(&self) -> Option<Duration> {
        let began = self.again.unwrap_or(self.began);
        self.ended.map(|ended| ended.saturating_since(began))
    }
}

/// A run in words.
pub fn describe(state: &State) -> Description {
    let safety = state.safety();
    let waits_until = match &state.doing {
        Some(Effect::Sleep { until }) => Some(*until),
        _ => None,
    };
    Description {
        word: word(state),
        safety,
        waits_until,
        waits_for: waits_until.map(|until| waits_for(state, until)),
        trouble: state.trouble.clone(),
        steps: state
            .log
            .iter()
            .map(|entry| DescribedStep {
                step: entry.step,
                began: entry.began,
                again: entry.again,
                ended: entry.ended,
                tries: entry.tries,
                code: entry.code.clone(),
                message: entry.message.clone(),
                failed: entry.failed,
                safety: if entry.ended.is_some() && !entry.failed {
                    after(entry.step, state)
                } else {
                    safety
                },
            })
            .collect(),
    }
}

/// The code of a login that was not made, because the account's budget of failed logins is used up (rule P14).
pub(crate) const OVER_BUDGET: &str = "run.budget";

/// The code of a lease that another run has.
pub(crate) const LEASE_HELD: &str = "store.lease-held";

/// The code of a login that told neither yes nor no.
pub(crate) const UNKNOWN: &str = "test.unknown";

/// What a run waits for that only the host holds back. The host, which knows why, says it better while that is so.
const HELD: &str = "its next look at whether the old credential may be revoked";

/// The code of an imported credential that the target refuses.
pub(crate) const REFUSED: &str = "test.refused";

fn waits_for(state: &State, until: Timestamp) -> &'static str {
    match state.trouble.as_ref().map(|trouble| trouble.code.as_str()) {
        Some(LEASE_HELD) => return "another run, which holds the account or the secret",
        Some(OVER_BUDGET) => return "room in the account's budget of failed logins (`probes`)",
        Some(_) => return "the next try",
        None => {}
    }
    if state.entry == Entry::Wait || until == state.settled_at {
        return "what an earlier try has sent may still take effect";
    }
    match state.phase {
        Phase::Create | Phase::Apply if state.stale_until == Some(until) => {
            "consumers that may still use what an earlier run has left"
        }
        Phase::Propagate if state.held_until == Some(until) => HELD,
        // On a one-slot target the old one is dead: nobody can still use it.
        Phase::Propagate if displaces(state) => "consumers that may not have read the new credential yet",
        Phase::Propagate => "consumers that may still use the old credential",
        Phase::Revoke | Phase::Retire if displaces(state) => {
            "the end of the grace, when the target is shown to refuse the old credential"
        }
        Phase::Revoke | Phase::Retire => "the old credential's grace",
        Phase::ProveDead | Phase::Prove | Phase::ProveCurrent => "the target to believe it",
        _ => "its time",
    }
}

fn word(state: &State) -> RunWord {
    if let Some(ended) = &state.ended {
        return match ended.ending {
            Ending::Succeeded => RunWord::Succeeded,
            Ending::RolledBack => RunWord::RolledBack,
            Ending::Cancelled => RunWord::Cancelled,
            Ending::Failed => RunWord::Failed,
            Ending::GivenUp => RunWord::GivenUp,
        };
    }
    match (&state.doing, state.op) {
        _ if state.parked.is_some() => RunWord::Parked,
        (_, 0) => RunWord::Planned,
        (Some(Effect::Sleep { .. }), _) => RunWord::Waiting,
        _ => RunWord::Running,
    }
}

/// Whether the new credential displaced the old one on the target as soon as it was accepted.
fn displaces(state: &State) -> bool {
    state.settings.class.has_gap() && state.settings.strategy == Strategy::OneSlot
}

fn both_or_new(state: &State) -> Safety {
    if displaces(state) {
        Safety::NewValid
    } else {
        Safety::BothValid
    }
}

/// On a one-slot target whose credential was changed, or may have been.
fn overwritten(state: &State) -> Safety {
    if state.reach == Reach::Applied {
        Safety::NewValid
    } else {
        Safety::OneValid
    }
}

/// The safety after a step that ended well.
fn after(step: StepName, state: &State) -> Safety {
    if state.adopts() {
        // There is one credential, and it stays.
        return Safety::OldValid;
    }
    match step {
        StepName::Apply | StepName::Promote | StepName::Propagate => both_or_new(state),
        StepName::Test if state.proved => both_or_new(state),
        StepName::Test if displaces(state) && state.reach != Reach::None => overwritten(state),
        StepName::Plan | StepName::Create | StepName::Announce | StepName::Rollback | StepName::Test => {
            Safety::OldValid
        }
        StepName::Revoke => Safety::NewValid,
    }
}

impl State {
    /// Nothing of this run is on its target, as far as the host knows: it has changed nothing there, and the target has made nothing for it.
    pub fn is_untouched(&self) -> bool {
        let was_issued = self.settings.class.target_issues() && self.roles.pending.is_some();
        self.reach == Reach::None && !was_issued && !self.has_repaired()
    }

    /// Current was put on the target again: something was done there, and nothing of what is pending.
    fn has_repaired(&self) -> bool {
        let mut log = self.log.iter();
        self.reach == Reach::None
            && log.any(|entry| entry.step == StepName::Apply && entry.ended.is_some() && !entry.failed)
    }

    /// Which of the credentials still opens the target. Where both can, what may have happened and is not proved counts for the credential
    /// that consumers hold; where one overwrites the other, nobody knows which one it is from the start of the change until the target has answered.
    pub fn safety(&self) -> Safety {
        let ending = self.ended.as_ref().map(|ended| ended.ending);
        let is_undone = ending.is_some_and(|ending| ending != Ending::GivenUp) && !self.promoted;
        let may_be_overwritten = self.reach != Reach::None
            || self.phase == Phase::Apply && matches!(self.doing, Some(Effect::Call(_)));
        let dying = matches!(self.phase, Phase::ProveDead | Phase::Retire)
            // Of a run that was given up: the old one may have died.
            || ending == Some(Ending::GivenUp) && self.interrupted
            || self.phase == Phase::Revoke
                && (self.interrupted || matches!(self.doing, Some(Effect::Call(_))));
        // A run that a restore made a verification ends well with the old one still to be revoked by the next.
        let dead = self.promoted && ending == Some(Ending::Succeeded) && self.roles.previous.is_none();
        if self.promoted && (dying || dead) {
            Safety::NewValid
        } else if self.promoted || self.proved && self.reach != Reach::None {
            both_or_new(self)
        } else if displaces(self) && may_be_overwritten && !is_undone {
            overwritten(self)
        } else {
            Safety::OldValid
        }
    }
}
