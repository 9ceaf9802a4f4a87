//! What a login, or a login that was not made, means.

use keywheel_model::{
    Effect as Reach, ErrorKind, SlotClass, StepError, StepName, Timestamp, Trigger, Verdict, VersionId,
};

use super::Work;
use crate::describe::{OVER_BUDGET, REFUSED, UNKNOWN};
use crate::mutant::Mutation;
use crate::{Call, Cause, Ending, NoteKind, Phase, Trouble};

/// One node of a target accepts the credential, and another refuses it.
const NODES_DIFFER: &str = "nodes.differ";

/// How often a look at current is tried that nobody has to wait for.
const MOST_LOOKS: u32 = 3;

impl Work {
    pub(super) fn on_over_budget(&mut self, until: Timestamp) {
        let message = "the account's budget of failed logins is used up";
        self.login_failed(OVER_BUDGET, message);
        if self.looks_no_longer() {
            return;
        }
        let wait = until.saturating_since(self.now);
        self.again(
            Cause::Budget,
            Trouble::new(OVER_BUDGET, message),
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        );
    }

    pub(super) fn on_verdict(&mut self, call: &Call, result: &Result<Verdict, StepError>) {
        let subject = call.subject.as_ref();
        match result {
            Ok(Verdict::Accepted) => self.on_accepted(subject),
            Ok(Verdict::Limited(text)) => self.on_limited(text),
            Ok(Verdict::Rejected) => self.on_rejected(),
            Ok(Verdict::Account(text)) => self.park(Cause::Account, text.clone()),
            Ok(Verdict::Unknown(_)) | Err(_) if self.wrong(Mutation::UnreachableIsDenied) => self.refused(),
            Ok(Verdict::Unknown(text)) => {
                self.login_failed(UNKNOWN, text);
                if !self.looks_no_longer() {
                    self.again(Cause::Target, Trouble::new(UNKNOWN, text), 0);
                }
            }
            Err(error) => self.login_not_made(error),
        }
    }

    /// A look at current within the wait for consumers that gets no answer, however often it asks, is over: nobody waits for it, and what is waited for is
    /// not hurt by it. The proof at the end of the wait is another matter.
    fn looks_no_longer(&mut self) -> bool {
        let most = self.state.settings.max_attempts.min(MOST_LOOKS);
        let last = self.state.attempt.saturating_add(1) >= most;
        let gives_up = last && self.state.looks && self.state.phase == Phase::ProveCurrent;
        if gives_up {
            self.state.looks = false;
            self.go(Phase::Propagate);
        }
        gives_up
    }

    fn login_not_made(&mut self, error: &StepError) {
        self.login_failed(&error.code, &error.message);
        if let Some(cause) = Cause::of_code(&error.code) {
            return self.park_over(cause, error);
        }
        let is_malformed = matches!(error.kind, ErrorKind::Invalid | ErrorKind::NotFound);
        if is_malformed && self.state.adopts() && self.state.phase == Phase::Verify {
            // Another try would find the same value: the import is given up, so that a corrected one can be made.
            return self.give_import_up();
        }
        if error.code == NODES_DIFFER && self.state.phase == Phase::Verify && !self.state.adopts() {
            // One was set back behind the host's back: asking again does not change that, and a person says which is right.
            return self.park_over(Cause::Target, error);
        }
        if error.kind == ErrorKind::Unauthenticated && self.state.phase == Phase::Verify {
            // The administrator who was to say why is refused too. A person has to give another credential, and nothing here waits for the answer.
            return self.park_over(Cause::Target, error);
        }
        if error.kind == ErrorKind::Denied && !self.is_of_target(error) {
            // The plugin is not allowed to ask: another try would be denied, too, and says nothing of the credential.
            let is_undeclared = error.code.starts_with("shape.");
            let cause = if is_undeclared {
                Cause::Impossible
            } else {
                Cause::Withdrawn
            };
            return self.park(cause, error.message.clone());
        }
        if self.looks_no_longer() {
            return;
        }
        self.again(
            Cause::Target,
            Trouble::new(&error.code, &error.message),
            error.retry_after_ms.unwrap_or(0).into(),
        );
    }

    fn give_import_up(&mut self) {
        let candidate = self
            .state
            .check
            .queue
            .first()
            .map(|candidate| candidate.version.clone());
        self.state.roles.pending = candidate;
        self.go(Phase::Abandon);
    }

    fn login_failed(&mut self, code: &str, message: &str) {
        let shown = super::step_of(self.state.phase).unwrap_or(StepName::Test);
        self.log_failure(shown, code, message);
    }

    fn on_limited(&mut self, text: &str) {
        match self.state.phase {
            // Alive is all that these ask.
            Phase::ProveDead => self.still_alive(),
            Phase::ProveUndone => self.go(Phase::Abandon),
            _ => self.park(Cause::Limited, text),
        }
    }

    fn on_accepted(&mut self, subject: Option<&VersionId>) {
        self.state.proof_is_old &= !matches!(
            self.state.phase,
            Phase::Prove | Phase::ProveCurrent | Phase::ProveRepair | Phase::Verify
        );
        match self.state.phase {
            Phase::Prove => {
                self.log_done_after_all(StepName::Apply);
                self.state.reach = Reach::Applied;
                self.state.proved = true;
                self.go(Phase::Promote);
            }
            Phase::ProveCurrent => {
                self.state.proved = true;
                self.proved_again(Phase::Revoke);
            }
            Phase::ProveDead => self.still_alive(),
            Phase::ProveUndone => self.go(Phase::Abandon),
            Phase::ProveRepair => self.repaired(),
            Phase::Verify => self.on_candidate_accepted(subject),
            _ => {}
        }
    }

    /// A rejection proves something only after the time that the target takes to believe (rule P9).
    fn on_rejected(&mut self) {
        let early = self.now < self.state.believe_at;
        if early && self.state.phase != Phase::ProveDead && !self.wrong(Mutation::BeliefIgnored) {
            return self.pause(self.state.believe_at);
        }
        self.refused();
    }

    fn refused(&mut self) {
        match self.state.phase {
            Phase::Prove => self.pending_refused(),
            Phase::ProveCurrent => self.current_refused(),
            Phase::ProveDead if self.wrong(Mutation::RefusalProbedOverAndOver) => {}
            Phase::ProveDead => self.go(Phase::Retire),
            Phase::ProveUndone => self.put_back(),
            Phase::ProveRepair => self.repair_refused(),
            Phase::Verify => self.candidate_refused(),
            _ => {}
        }
    }

    fn pending_refused(&mut self) {
        let target_issues = self.state.settings.class.target_issues();
        if self.state.reach == Reach::Applied || target_issues {
            // The target took it, and does not know it: the old one goes back if it can (rule P11).
            return if self.wrong(Mutation::NothingPutBack) {
                self.park(Cause::BothRejected, "the target refuses what it was given");
            } else if self.state.past_no_return() {
                // Made by the target and lost there: it is given up if the old one still works.
                self.go(Phase::ProveUndone);
            } else {
                self.go_in_doubt(Phase::Undo);
            };
        }
        // Settled and refused: it has not landed. The same value again; a version inherited from a run that died may not be mirrored or
        // announced yet. A rollback that the plugin could not do has nothing to do any more: whoever wants back gets it.
        self.state.no_way_back = false;
        self.state.rounds = self.state.rounds.saturating_add(1);
        if self.state.rounds >= self.state.settings.max_attempts {
            self.park_to(
                Cause::Target,
                "the effect of apply got lost again and again",
                Phase::Apply,
            );
        } else {
            self.created();
        }
    }

    /// After the promotion the target refuses the new version. It is put on again, never undone.
    fn current_refused(&mut self) {
        if self.can_apply_current() && self.state.rounds < self.state.settings.max_attempts {
            self.state.rounds = self.state.rounds.saturating_add(1);
            self.go_in_doubt(Phase::Repair);
        } else if self.can_apply_current() {
            self.park(Cause::NothingAccepted, "the target refuses the promoted version");
        } else {
            // The target makes its credentials itself: another kept one may be the one that it knows.
            self.begin_check();
        }
    }

    /// Undone, and yet the current version is refused.
    fn put_back(&mut self) {
        if self.can_apply_current() && !self.wrong(Mutation::NothingPutBack) {
            self.state.check.park_after = true;
            self.go_in_doubt(Phase::Repair);
        } else {
            self.park_to(
                Cause::BothRejected,
                "the target refuses current and pending",
                Phase::Abandon,
            );
        }
    }

    fn still_alive(&mut self) {
        self.state.rounds = self.state.rounds.saturating_add(1);
        if self.state.rounds >= self.state.settings.max_attempts {
            return self.park_to(
                Cause::StillAlive,
                "the target still accepts the previous version",
                Phase::ProveCurrent,
            );
        }
        let settings = &self.state.settings;
        let pause = settings.back_off.pause(self.state.rounds, settings.seed);
        // A late statement may have changed which of the two is the old one (rule P7): never revoked again before current has shown itself.
        self.go_in_doubt(Phase::ProveCurrent);
        self.pause(self.now + pause);
    }

    fn on_candidate_accepted(&mut self, subject: Option<&VersionId>) {
        let newer = self
            .state
            .check
            .queue
            .first()
            .is_some_and(|candidate| candidate.newer);
        let adopting = self.state.adopts();
        if subject == self.state.roles.current.as_ref() {
            let shifts = self.state.settings.class == SlotClass::B;
            if shifts && self.state.check.restored && self.state.roles.pending.is_some() {
                // A pending version of before the restore may be in either slot: promoted by a later run, the revocation would hit current.
                return self.go_in_doubt(Phase::Repair);
            }
            let goes_back = self.state.settings.trigger == Trigger::Rollback;
            if goes_back && self.state.check.restored && self.state.roles.pending.is_some() {
                // What a person wanted back before the restore is nothing that a later run should find, and promote.
                return self.go_in_doubt(Phase::Abandon);
            }
            let detail = if self.state.check.restored {
                "the state was restored: the target accepts the current version; nothing was rotated"
            } else {
                "the target accepts the current version"
            };
            return self.end(Ending::Succeeded, detail);
        }
        self.state.check.accepted = subject.cloned();
        if newer || adopting || self.wrong(Mutation::OlderPromoted) {
            // It landed late, after its run had given it up.
            self.go(Phase::RollForward);
        } else if self.state.check.restored {
            self.park(
                Cause::Restored,
                "the target accepts an older version than the vault's current one",
            );
        } else if self.can_apply_current() {
            // The target was set back: current goes on again (rule P10).
            self.go_in_doubt(Phase::Repair);
        } else {
            // The target makes its credentials itself: the only one that works is the right head (rule P3).
            self.go(Phase::RollForward);
        }
    }

    fn candidate_refused(&mut self) {
        let refused = self.state.check.queue.remove(0);
        self.state.attempt = 0;
        if self.state.roles.current.as_ref() == Some(&refused.version) {
            self.state.check.current_refused = true;
        }
        if self.state.adopts() && self.state.check.queue.is_empty() {
            let message = "the target refuses the imported credential";
            self.login_failed(REFUSED, message);
            self.state.roles.pending = Some(refused.version);
            self.go(Phase::Abandon);
        }
    }

    fn repaired(&mut self) {
        self.note(NoteKind::Repaired, self.state.roles.current.clone(), "");
        if self.state.promoted && !self.state.check.begun {
            self.state.proved = true;
            // Put on again before consumers have left the old one: they are still waited for.
            let waits = self.state.consumers_until().is_some_and(|until| self.now < until);
            return self.proved_again(if waits { Phase::Propagate } else { Phase::Revoke });
        }
        // Put on after what is pending, current may have pushed that where the next run would not look for it: that one makes its own.
        let looks = self.state.check.begun || self.state.only_looks();
        let back_to = if looks && self.state.roles.pending.is_none() {
            Phase::Verify
        } else {
            Phase::Abandon
        };
        if self.state.check.park_after {
            self.state.check.begun = back_to == Phase::Abandon && self.state.check.begun;
            self.park_to(
                Cause::BothRejected,
                "current was put on the target again and works",
                back_to,
            );
        } else if back_to == Phase::Verify {
            self.end(Ending::Succeeded, "current was put on the target again");
        } else {
            self.go(Phase::Abandon);
        }
    }

    /// Current has shown itself after the promotion. A person who looked on the way has ended no wait by that.
    fn proved_again(&mut self, next: Phase) {
        let looked = std::mem::take(&mut self.state.looks);
        let ends_wait = !looked || self.wrong(Mutation::LookEndsWait);
        self.go(if ends_wait { next } else { Phase::Propagate });
    }

    fn repair_refused(&mut self) {
        self.state.rounds = self.state.rounds.saturating_add(1);
        if self.state.rounds < self.state.settings.max_attempts {
            self.go_in_doubt(Phase::Repair);
        } else {
            self.park_to(
                Cause::NothingAccepted,
                "current was put on the target again and is refused",
                Phase::Repair,
            );
        }
    }
}
