use keywheel_model::{Effect as Reach, StepError, StepName, Timestamp, VersionId};

use crate::mutant::{Mutation, Mutations};
use crate::{
    Call, Cause, Effect, Ended, Ending, Entry, Event, Note, NoteKind, Parked, Phase, State, Trouble,
};

mod act;
mod calls;
mod entry;
mod events;
mod give_up;
mod head;
mod log;
mod logins;
mod writes;

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// The new state. Durable before `effect` starts where the effect needs it; its notes in the same transaction.
    pub state: State,
    /// What to do now. None: go on waiting for what is in flight (`state.doing`), or the run is over and released.
    pub effect: Option<Effect>,
    /// Facts for audit and notification.
    pub notes: Vec<Note>,
}

/// The machine: what follows from an event.
pub fn step(state: &State, event: &Event, now: Timestamp) -> Next {
    run(state, event, now, Mutations::none())
}

pub(crate) fn run(state: &State, event: &Event, now: Timestamp, wrong: Mutations) -> Next {
    let mut work = Work {
        state: state.clone(),
        now,
        notes: Vec::new(),
        wrong,
    };
    let effect = work.take(event).then(|| work.choose());
    Next {
        state: work.state,
        effect,
        notes: work.notes,
    }
}

/// A step in the making.
struct Work {
    state: State,
    now: Timestamp,
    notes: Vec<Note>,
    wrong: Mutations,
}

impl Work {
    /// Whether the protocol is deliberately wrong in this way. Constant false outside the explorer's tests.
    fn wrong(&self, mutation: Mutation) -> bool {
        self.wrong.has(mutation)
    }

    fn note(&mut self, kind: NoteKind, version: Option<VersionId>, detail: impl Into<String>) {
        self.notes.push(Note {
            kind,
            version,
            detail: detail.into(),
        });
    }

    /// Moves on to a phase; its counters start anew. Before effects that cannot be taken back the head is read again (rule P3).
    fn go(&mut self, phase: Phase) {
        self.log_leave(step_of(phase));
        let check = matches!(
            phase,
            Phase::Create
                | Phase::Apply
                | Phase::Promote
                | Phase::Propagate
                | Phase::Revoke
                | Phase::Retire
                | Phase::Undo
                | Phase::Abandon
                | Phase::RollForward
                | Phase::Repair
        );
        self.state.phase = phase;
        self.state.entry = if check && !self.wrong(Mutation::HeadNotVerified) {
            Entry::Head
        } else {
            Entry::Ready
        };
        self.state.attempt = 0;
        self.state.interrupted = false;
        self.state.pause_until = None;
        self.state.trouble = None;
    }

    /// Goes to a phase by way of lease, settling and head: after anything whose effect is not known.
    fn go_in_doubt(&mut self, phase: Phase) {
        self.go(phase);
        self.state.entry = Entry::Lease;
    }

    /// The same step again after a pause; the run parks when it has been tried often enough.
    fn again(&mut self, cause: Cause, trouble: Trouble, at_least_ms: u64) {
        self.state.attempt = self.state.attempt.saturating_add(1);
        if self.state.attempt >= self.state.settings.max_attempts {
            self.park(cause, format!("{}: {}", trouble.code, trouble.message));
            self.state.trouble = Some(trouble);
            return;
        }
        let settings = &self.state.settings;
        let pause = settings.back_off.pause(self.state.attempt, settings.seed);
        let pause = pause.max(std::time::Duration::from_millis(at_least_ms));
        self.pause(self.now + pause);
        self.state.trouble = Some(trouble);
    }

    fn pause(&mut self, until: Timestamp) {
        self.state.pause_until = Some(until);
        self.state.trouble = None;
    }

    fn park(&mut self, cause: Cause, detail: impl Into<String>) {
        let back_to = self.state.phase;
        self.park_to(cause, detail, back_to);
    }

    /// Parks over a failure that no further try gets past.
    fn park_over(&mut self, cause: Cause, error: &StepError) {
        let trouble = Trouble::new(&error.code, &error.message);
        if cause == Cause::Reflection {
            return self.park(cause, trouble.message);
        }
        self.park(cause, format!("{}: {}", trouble.code, trouble.message));
        self.state.trouble = Some(trouble);
    }

    fn park_to(&mut self, cause: Cause, detail: impl Into<String>, back_to: Phase) {
        let detail = detail.into();
        self.note(NoteKind::Parked, None, format!("{}: {detail}", cause.as_str()));
        self.state.parked = Some(Parked {
            cause,
            detail,
            back_to,
        });
        self.state.phase = Phase::Parked;
        self.state.pause_until = None;
        self.state.trouble = None;
        self.state.fence = None;
    }

    fn end(&mut self, ending: Ending, detail: impl Into<String>) {
        let detail = detail.into();
        let kind = match ending {
            Ending::Succeeded => NoteKind::Succeeded,
            Ending::RolledBack => NoteKind::RolledBack,
            Ending::Cancelled => NoteKind::Cancelled,
            Ending::Failed => NoteKind::Failed,
            Ending::GivenUp => NoteKind::GivenUp,
        };
        self.note(kind, self.state.roles.current.clone(), detail.clone());
        self.go(Phase::Ended);
        self.state.wish = None;
        self.state.ended = Some(Ended { ending, detail });
    }

    /// Ends well. While the run slept somebody may have changed the credential on the target: then current has to show itself once more.
    fn succeed(&mut self, detail: &str) {
        let asks = self.state.proof_is_old && self.state.settings.can_ask();
        if !asks || self.wrong(Mutation::EndsUnproved) {
            self.end(Ending::Succeeded, detail);
        } else if self.state.promoted {
            self.go(Phase::ProveCurrent);
        } else {
            self.begin_check();
        }
    }

    /// The ending that the wish asks for, or `Failed` when nobody asked.
    fn end_undone(&mut self, detail: &str) {
        let ending = match self.state.wish {
            Some(crate::Wish::Cancel) => Ending::Cancelled,
            Some(crate::Wish::RollBack) => Ending::RolledBack,
            Some(crate::Wish::GiveUp) => Ending::GivenUp,
            None => Ending::Failed,
        };
        self.end(ending, detail);
    }

    /// Effects that have begun may land until then.
    fn in_flight_until(&mut self, deadline: Timestamp) {
        self.state.settled_at = self.state.settled_at.max(deadline);
    }

    fn call(&mut self, step: StepName, subject: Option<VersionId>) -> Effect {
        self.log_call(step);
        Effect::Call(Call {
            step,
            subject,
            roles: self.state.roles.clone(),
            attempt: self
                .state
                .attempt
                .saturating_add(self.state.rounds)
                .saturating_add(1),
            interrupted: self.state.interrupted || self.state.rounds > 0,
            deadline: self.now + self.state.settings.effect_deadline(),
        })
    }

    /// Whether the target may have something of this run that would have to be taken back.
    fn touched(&self) -> bool {
        let issuing = self.state.settings.class.target_issues()
            && (self.state.phase == Phase::Create && self.state.interrupted
                || self.state.roles.pending.is_some());
        self.state.reach != Reach::None || issuing
    }
}

/// The step under which a phase is shown.
pub(crate) fn step_of(phase: Phase) -> Option<StepName> {
    Some(match phase {
        Phase::Plan => StepName::Plan,
        Phase::Create | Phase::Mirror => StepName::Create,
        Phase::Announce => StepName::Announce,
        Phase::Apply | Phase::Repair => StepName::Apply,
        Phase::Prove | Phase::ProveCurrent | Phase::ProveRepair | Phase::Verify => StepName::Test,
        Phase::Promote | Phase::RollForward => StepName::Promote,
        Phase::Propagate => StepName::Propagate,
        Phase::Revoke | Phase::ProveDead | Phase::Retire => StepName::Revoke,
        Phase::Undo | Phase::ProveUndone | Phase::Abandon => StepName::Rollback,
        Phase::Parked | Phase::Ended => return None,
    })
}
