//! What the result of a plugin's step means.

use keywheel_model::{Effect as Reach, ErrorKind, Outcome, SlotClass, StepError, StepName};

use super::Work;
use crate::mutant::Mutation;
use crate::{Call, Cause, Ending, Phase, StepOk, Trouble};

/// What `plan` found would stop a rotation.
pub(super) const REFUSED: &str = "plan.refused";

impl Work {
    pub(super) fn on_step(&mut self, call: &Call, result: &Result<StepOk, StepError>) {
        match result {
            Ok(ok) => match &ok.outcome {
                Outcome::Done => self.on_step_done(call.step, ok),
                Outcome::Wait(ms) => {
                    if let Some(until) = ok.current_valid_until {
                        self.state.old_valid_until = Some(until);
                    }
                    self.pause(self.now + std::time::Duration::from_millis((*ms).into()));
                }
                Outcome::Blocked(text) => {
                    // The person may act on the target long before the run is resumed.
                    self.state.interrupted = true;
                    self.park(Cause::Blocked, text.clone());
                }
                Outcome::Impossible(text) => self.on_impossible(call.step, text),
            },
            Err(error) => self.on_step_failed(call, error),
        }
    }

    fn on_step_done(&mut self, step: StepName, ok: &StepOk) {
        match step {
            StepName::Plan => self.planned(&ok.problems),
            StepName::Create => self.on_created(ok),
            StepName::Apply if self.state.phase == Phase::Repair => {
                self.state.believe_at = self.now + self.state.settings.belief_delay();
                self.go(Phase::ProveRepair);
            }
            StepName::Apply => self.applied(),
            StepName::Revoke => {
                self.state.believe_at = self.now + self.state.settings.belief_delay();
                self.revoked();
            }
            StepName::Rollback => self.undone(),
            StepName::Test | StepName::Announce | StepName::Promote | StepName::Propagate => {}
        }
    }

    fn planned(&mut self, problems: &[String]) {
        let settings = &self.state.settings;
        let mut problems = problems.to_vec();
        let told_apart = settings.longest_staleness();
        if settings
            .server_grace_ms
            .is_some_and(|grace| told_apart > std::time::Duration::from_millis(grace))
        {
            problems.push(
                "the target kills the old credential before every consumer has read the new one".to_owned(),
            );
        }
        if settings.has_gap() && !settings.gap_accepted {
            problems.push(
                "consumers would be refused for a while: give each a hook with announce = true, or set gap = \"accept\""
                    .to_owned(),
            );
        }
        if !settings.can_ask() && settings.proof != crate::ProofPolicy::Accept {
            problems.push("the target cannot be asked: set proof = \"accept\"".to_owned());
        }
        if self.state.adopts() {
            if !problems.is_empty() {
                self.log_failure(StepName::Plan, REFUSED, &problems.join("; "));
            }
            self.begin_check();
        } else if problems.is_empty() {
            self.go(Phase::Create);
        } else {
            let problems = problems.join("; ");
            self.log_failure(StepName::Plan, REFUSED, &problems);
            self.end(Ending::Failed, problems);
        }
    }

    fn on_created(&mut self, ok: &StepOk) {
        let Some(version) = &ok.pending else {
            return self.park(Cause::Impossible, "create ended without a pending version");
        };
        self.state.roles.pending = Some(version.clone());
        if ok.current_valid_until.is_some() {
            self.state.old_valid_until = ok.current_valid_until;
        }
        // The target has replaced its own credential; nobody can bring the old one back for good.
        self.state.no_way_back |= matches!(self.state.settings.class, SlotClass::E | SlotClass::F);
        self.created();
    }

    /// The plugin says that it has made the target refuse the previous version.
    fn revoked(&mut self) {
        if !self.state.settings.can_ask() {
            return self.go(Phase::Retire);
        }
        if self.state.old_valid_until.is_none() {
            // Whoever made the new one did not leave word: the old one ends not later than this.
            let grace = self
                .state
                .settings
                .server_grace_ms
                .map(std::time::Duration::from_millis);
            self.state.old_valid_until = grace.map(|grace| self.now + grace);
        }
        let mut not_before = self.state.believe_at;
        if let Some(until) = self.state.old_valid_until {
            not_before = not_before.max(until);
        }
        self.go(Phase::ProveDead);
        // An expected refusal is asked for once, when it can be expected (rule P14).
        if not_before > self.now && !self.wrong(Mutation::RefusalProbedOverAndOver) {
            self.pause(not_before);
        }
    }

    fn undone(&mut self) {
        if self.state.settings.can_ask() && self.state.roles.current.is_some() {
            self.state.believe_at = self.now + self.state.settings.belief_delay();
            self.go(Phase::ProveUndone);
        } else {
            self.go(Phase::Abandon);
        }
    }

    fn on_impossible(&mut self, step: StepName, text: &str) {
        match step {
            // What cannot be taken back is the later run's now.
            StepName::Rollback if self.state.superseded && self.state.roles.pending.is_none() => {
                self.end(Ending::Cancelled, "superseded by a later run");
            }
            // The host goes the other way: forward.
            StepName::Rollback => {
                self.state.no_way_back = true;
                let phase = if self.state.roles.pending.is_some() {
                    Phase::Prove
                } else {
                    Phase::Create
                };
                self.go_in_doubt(phase);
                self.state.interrupted = phase == Phase::Create;
            }
            StepName::Revoke => self.revoked(),
            StepName::Create if !self.state.interrupted => self.end(Ending::Failed, text),
            // A person puts it on the target, so that is asked first.
            _ if self.state.phase == Phase::Repair => {
                self.park_to(Cause::Impossible, text, Phase::ProveRepair);
            }
            _ => self.park(Cause::Impossible, text),
        }
    }

    fn on_step_failed(&mut self, call: &Call, error: &StepError) {
        let shown = super::step_of(self.state.phase).unwrap_or(call.step);
        self.log_failure(shown, &error.code, &error.message);
        let cause = Cause::of_code(&error.code);
        if cause == Some(Cause::Reflection) {
            return self.reflected(call, error);
        }
        if self.state.adopts() && call.step == StepName::Plan {
            // What stops a rotation does not stop an adoption: whether the credential is the right one is asked all the same.
            return self.begin_check();
        }
        if error.effect != Reach::None {
            self.call_in_doubt(call);
            if self.state.phase != Phase::Parked && self.state.phase != Phase::Prove {
                let pause = error.retry_after_ms.unwrap_or(0).into();
                let (entry, interrupted) = (self.state.entry, self.state.interrupted);
                let trouble = Trouble::new(&error.code, &error.message);
                self.again(cause.unwrap_or(Cause::Target), trouble, pause);
                (self.state.entry, self.state.interrupted) = (entry, interrupted);
            }
            return;
        }
        if let Some(cause) = cause {
            // Where nothing has happened yet there is nothing to resume either.
            return if self.can_still_fail() {
                self.give_up(&error.message);
            } else {
                self.park_over(cause, error);
            };
        }
        match error.kind {
            // A call that its manifest does not declare, or declares twice: the run keeps this plugin, and no grant changes that.
            ErrorKind::Denied if error.code.starts_with("shape.") => {
                self.on_impossible(call.step, &error.message);
            }
            ErrorKind::Denied if self.is_of_target(error) && self.can_still_fail() => {
                self.give_up(&error.message);
            }
            ErrorKind::Denied if self.is_of_target(error) => self.park_over(Cause::Target, error),
            ErrorKind::Denied => self.park(Cause::Withdrawn, error.message.clone()),
            ErrorKind::Conflict
                if call.step == StepName::Create && self.state.settings.class == SlotClass::E =>
            {
                self.park(Cause::Slots, error.message.clone());
            }
            ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Unauthenticated
                if self.can_still_fail() =>
            {
                self.give_up(&error.message);
            }
            _ if self.state.attempt.saturating_add(1) >= self.state.settings.max_attempts
                && self.can_still_fail() =>
            {
                self.give_up(&error.message);
            }
            _ => self.again(
                Cause::Target,
                Trouble::new(&error.code, &error.message),
                error.retry_after_ms.unwrap_or(0).into(),
            ),
        }
    }

    /// Whether it is the target that does not allow something, such as a right that its administrator lacks: no grant changes that.
    pub(super) fn is_of_target(&self, error: &StepError) -> bool {
        let code = error.code.split('.').next().unwrap_or_default();
        matches!(code, "sql" | "resp" | "http") || code == self.state.settings.plugin.as_str()
    }

    /// Each try would tell the plugin something about the secret: never again by itself (rule H4).
    fn reflected(&mut self, call: &Call, error: &StepError) {
        if error.effect != Reach::None {
            self.call_in_doubt(call);
        }
        self.park(Cause::Reflection, error.message.clone());
    }

    /// Whether nothing at all has happened yet, so that the run may simply fail.
    fn can_still_fail(&self) -> bool {
        let early = matches!(self.state.phase, Phase::Plan | Phase::Create | Phase::Apply);
        early && self.state.rounds == 0 && !self.touched()
    }

    pub(super) fn give_up(&mut self, detail: &str) {
        if self.state.roles.pending.is_some() {
            self.go(Phase::Abandon);
        } else {
            self.end(Ending::Failed, detail);
        }
    }
}
