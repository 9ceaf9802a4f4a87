//! What an event changes. Each returns whether a next effect is to be chosen.

use keywheel_model::{Effect as Reach, SlotClass, StepName};

use super::Work;
use crate::mutant::Mutation;
use crate::{Call, Cause, Choice, Effect, Entry, Event, NoteKind, Phase, Report, Wish};

impl Work {
    pub(super) fn take(&mut self, event: &Event) -> bool {
        if self.state.is_over() {
            return matches!(event, Event::Recovered);
        }
        match event {
            Event::Start => self.on_start(),
            Event::Done { op, report } => self.on_done(*op, report),
            Event::Timer => self.on_timer(),
            Event::Recovered => self.on_recovered(),
            Event::FenceLost => self.on_fence_lost(),
            Event::Cancel => self.on_wish(Wish::Cancel),
            Event::RollBack => self.on_wish(Wish::RollBack),
            Event::GiveUp => self.on_give_up(),
            Event::Resume(choice) => self.on_resume(*choice),
            Event::EndWait { spares_consumers } => self.on_end_wait(*spares_consumers),
            Event::Reported { consumer, version } => {
                self.state.roles.current.as_ref() == Some(version) && self.on_reported(consumer)
            }
            Event::Withdrawn { what } => self.on_withdrawn(what),
        }
    }

    fn on_start(&mut self) -> bool {
        if self.state.op != 0 {
            return false;
        }
        self.note(NoteKind::Started, None, "");
        true
    }

    fn on_done(&mut self, op: u64, report: &Report) -> bool {
        if op != self.state.op {
            return false;
        }
        let Some(effect) = self.state.doing.take() else {
            return false;
        };
        match (&effect, report) {
            (Effect::Lease, Report::Lease(lease)) => self.on_lease(lease),
            (Effect::EndSessions, Report::Sessions { ended }) => self.on_sessions(*ended),
            (Effect::ReadHead, Report::Head(head)) => self.on_head(head),
            (Effect::ReadHead, Report::HeadUnreadable(error)) => self.on_unreadable(error),
            (Effect::Call(call), Report::Step(result)) => self.on_step(call, result),
            (Effect::Call(call), Report::Verdict(result)) => self.on_verdict(call, result),
            (Effect::Call(_), Report::OverBudget { until }) => self.on_over_budget(*until),
            (Effect::Mirror { .. }, Report::Stored(result)) => self.on_mirrored(result),
            (Effect::Announce { .. }, Report::Announced(result)) => self.on_announced(result),
            (Effect::Promote { version, .. }, Report::Stored(result)) => self.on_promoted(version, result),
            (Effect::Abandon { .. }, Report::Stored(result)) => self.on_abandoned(result),
            (Effect::MarkRevoked { .. }, Report::Stored(result)) => self.on_retired(result),
            (
                Effect::Propagate { .. },
                Report::Told {
                    reported,
                    not_before,
                    failed,
                },
            ) => self.on_told(reported, *not_before, failed.as_ref()),
            // A report that does not fit its effect says nothing about it: as if the host had died.
            (effect, _) => self.interrupted_in(effect),
        }
        true
    }

    fn on_timer(&mut self) -> bool {
        match self.state.doing {
            Some(Effect::Sleep { until }) if until <= self.now => {
                self.wake();
                true
            }
            _ => false,
        }
    }

    /// After a pause the lease, the settling and the head come first.
    fn wake(&mut self) {
        self.state.proof_is_old = true;
        self.state.doing = None;
        self.state.pause_until = None;
        self.state.entry = Entry::Lease;
    }

    fn on_recovered(&mut self) -> bool {
        self.note(NoteKind::Recovered, None, "");
        self.lost_track();
        true
    }

    fn on_fence_lost(&mut self) -> bool {
        self.state.fence = None;
        if matches!(self.state.doing, Some(Effect::Park)) {
            return false;
        }
        self.lost_track();
        true
    }

    fn lost_track(&mut self) {
        self.state.proof_is_old = true;
        if let Some(effect) = self.state.doing.take() {
            self.interrupted_in(&effect);
        }
        if self.state.phase != Phase::Parked {
            self.doubt_proof();
            self.state.fence = None;
            self.state.entry = Entry::Lease;
        }
    }

    /// Without the lease another host may have changed the target: what was proved or applied before counts no more.
    fn doubt_proof(&mut self) {
        if self.state.promoted || !self.state.settings.can_ask() {
            return;
        }
        if self.state.reach == Reach::Applied && !self.state.settings.class.target_issues() {
            self.state.reach = Reach::Maybe;
        }
        // A deferred proof rests on what this host saw committed: that counts no more either.
        let unknown = matches!(
            self.state.phase,
            Phase::Mirror | Phase::Announce | Phase::Apply | Phase::Promote
        );
        if unknown && self.state.roles.pending.is_some() && !self.wrong(Mutation::ApplyReplayed) {
            self.state.proved = false;
            self.state.reach = self.state.reach.max(Reach::Maybe);
            self.state.phase = Phase::Prove;
        }
    }

    /// Nothing is known about how this effect ended.
    pub(super) fn interrupted_in(&mut self, effect: &Effect) {
        match effect {
            Effect::Call(call) => self.call_in_doubt(call),
            Effect::Promote { .. }
            | Effect::Abandon { .. }
            | Effect::MarkRevoked { .. }
            | Effect::Mirror { .. }
                if self.state.settings.remote_vault =>
            {
                self.in_flight_until(self.now + self.state.settings.effect_deadline());
            }
            _ => {}
        }
        self.state.entry = Entry::Lease;
    }

    /// A call that may have acted on the target: nothing is decided before it is settled, and then the target is asked first.
    pub(super) fn call_in_doubt(&mut self, call: &Call) {
        let acts = match call.step {
            StepName::Create => self.state.settings.class.target_issues(),
            StepName::Apply | StepName::Revoke | StepName::Rollback => true,
            _ => false,
        };
        if !acts {
            self.state.entry = Entry::Lease;
            return;
        }
        self.in_flight_until(call.deadline);
        self.state.interrupted = true;
        self.state.entry = Entry::Lease;
        match self.state.phase {
            Phase::Apply => {
                self.state.reach = self.state.reach.max(Reach::Maybe);
                if self.wrong(Mutation::RegenerateOnRetry) {
                    self.state.roles.pending = None;
                    self.go_in_doubt(Phase::Create);
                } else if self.wrong(Mutation::NoProbe) {
                    self.go_in_doubt(Phase::Promote);
                } else if !self.wrong(Mutation::ApplyReplayed) {
                    self.state.attempt = 0;
                    self.state.phase = Phase::Prove;
                }
            }
            Phase::Repair => self.state.phase = Phase::ProveRepair,
            _ => {}
        }
    }

    fn on_wish(&mut self, wish: Wish) -> bool {
        if self.state.is_given_up() {
            return false;
        }
        let refused = self.state.past_no_return() && wish == Wish::RollBack;
        if refused && !self.wrong(Mutation::PromotionUndone) {
            self.note(
                NoteKind::Asked,
                None,
                "roll back: refused, the run can only go forward",
            );
            return false;
        }
        self.note(
            NoteKind::Asked,
            None,
            if wish == Wish::Cancel {
                "cancel"
            } else {
                "roll back"
            },
        );
        self.state.wish = Some(wish);
        if self.state.op == 0 {
            self.end_undone("stopped before it began");
            return true;
        }
        match self.state.doing {
            Some(Effect::Sleep { .. }) if !self.state.promoted => {
                self.wake();
                true
            }
            // Without its grant the plugin cannot undo anything: the wish waits for the grant. An adoption has nothing to undo.
            Some(Effect::Park)
                if self.state.adopts()
                    || self
                        .state
                        .parked
                        .as_ref()
                        .is_none_or(|parked| parked.cause != Cause::Withdrawn) =>
            {
                self.unpark();
                true
            }
            _ => false,
        }
    }

    fn unpark(&mut self) {
        let Some(parked) = self.state.parked.take() else {
            return;
        };
        self.state.proof_is_old = true;
        self.state.doing = None;
        self.state.trouble = None;
        self.state.phase = parked.back_to;
        self.state.attempt = 0;
        self.state.rounds = 0;
        self.doubt_proof();
        self.state.entry = Entry::Lease;
    }

    fn on_resume(&mut self, choice: Choice) -> bool {
        if !self.state.takes(choice) {
            return false;
        }
        self.note(
            NoteKind::Asked,
            None,
            match choice {
                Choice::Retry => "resume: try again",
                Choice::ApplyCurrent => "resume: apply current",
                Choice::AcceptHead => "resume: the vault's head is right",
            },
        );
        let looks = self.state.waits_for_consumers();
        if self.state.parked.is_some() {
            self.unpark();
        } else {
            self.hurry();
        }
        match choice {
            Choice::Retry if looks && self.state.settings.can_ask() => {
                self.state.looks = true;
                self.go_in_doubt(Phase::ProveCurrent);
            }
            Choice::Retry => {}
            Choice::ApplyCurrent if looks => {
                self.state.looks = true;
                self.go_in_doubt(Phase::Repair);
            }
            Choice::ApplyCurrent => {
                self.state.check.restored = false;
                self.state.check.park_after = false;
                // Put on by shifting, current would push the pending version into the other slot, where a run that inherits it takes it for the newer
                // one and revokes current: undoing empties that slot.
                let shifts = self.state.settings.class == SlotClass::B;
                let undoes = shifts && !self.state.promoted && self.touched();
                self.state.phase = if undoes { Phase::Undo } else { Phase::Repair };
            }
            Choice::AcceptHead => {
                self.state.check.head_accepted = true;
                self.begin_check();
            }
        }
        true
    }

    /// What is waited for is asked for again: whatever has still to pass is waited for all the same.
    fn hurry(&mut self) {
        self.lost_track();
        self.state.pause_until = None;
        self.state.trouble = None;
    }

    fn on_end_wait(&mut self, spares_consumers: bool) -> bool {
        if !self.state.can_end_wait(spares_consumers) {
            return false;
        }
        let (asked, until) = if spares_consumers {
            ("end the grace", self.state.stale_until.unwrap_or(self.now))
        } else {
            ("revoke now", self.now)
        };
        self.note(NoteKind::Asked, None, asked);
        let ends = self.state.wait_ends.map_or(until, |ends| ends.min(until));
        self.state.wait_ends = Some(ends);
        self.state.revokes_now |= !spares_consumers;
        self.hurry();
        true
    }

    fn on_reported(&mut self, consumer: &str) -> bool {
        if !self.state.promoted || self.state.reported.iter().any(|known| known == consumer) {
            return false;
        }
        self.state.reported.push(consumer.to_owned());
        self.state.reported.sort();
        let waiting =
            self.state.phase == Phase::Propagate && matches!(self.state.doing, Some(Effect::Sleep { .. }));
        if waiting && self.all_reported() {
            self.wake();
            return true;
        }
        false
    }

    fn on_withdrawn(&mut self, what: &str) -> bool {
        // What is given up calls no plugin any more.
        if self.wrong(Mutation::WithdrawalIgnored) || self.state.is_given_up() {
            return false;
        }
        if let Some(parked) = &mut self.state.parked {
            parked.cause = Cause::Withdrawn;
            what.clone_into(&mut parked.detail);
            return false;
        }
        if let Some(effect) = self.state.doing.take() {
            self.interrupted_in(&effect);
        }
        if self.state.phase != Phase::Parked {
            self.park(Cause::Withdrawn, what);
        }
        true
    }
}
