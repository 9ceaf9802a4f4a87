//! What the result of a write to the vault, or of telling consumers, means.

use keywheel_model::{Effect as Reach, StepError, StepName, Timestamp, Trigger, VersionId};

use super::Work;
use crate::describe::REFUSED;
use crate::mutant::Mutation;
use crate::{BackOff, Cause, Ending, NoteKind, Phase, StepLog, StoreFailure, Trouble};

/// The longest pause before a consumer that could not be told is told again.
const MOST_BEFORE_TELLING_MS: u64 = 5 * 60_000;

impl Work {
    pub(super) fn on_mirrored(&mut self, result: &Result<(), StoreFailure>) {
        match result {
            Ok(()) => self.mirrored(),
            Err(failure) => self.write_failed(failure),
        }
    }

    pub(super) fn on_announced(&mut self, result: &Result<(), StepError>) {
        match result {
            Ok(()) => self.go(Phase::Apply),
            Err(error) => {
                self.log_failure(StepName::Announce, &error.code, &error.message);
                let last = self.state.attempt.saturating_add(1) >= self.state.settings.max_attempts;
                match (last, self.state.settings.gap_accepted) {
                    (true, true) => self.go(Phase::Apply),
                    (true, false) => self.give_up("consumers could not be told of the pending version"),
                    _ => self.again(
                        Cause::Target,
                        Trouble::new(&error.code, &error.message),
                        error.retry_after_ms.unwrap_or(0).into(),
                    ),
                }
            }
        }
    }

    /// A write that failed. The head is read again before anything else: it may have been written after all.
    fn write_failed(&mut self, failure: &StoreFailure) {
        let trouble = match failure {
            StoreFailure::Conflict => Trouble::new("vault.head-moved", "the head has changed"),
            StoreFailure::Failed(error) => {
                if error.effect != Reach::None {
                    self.in_flight_until(self.now + self.state.settings.effect_deadline());
                }
                Trouble::new(&error.code, &error.message)
            }
        };
        self.again(Cause::Vault, trouble, 0);
        self.state.entry = crate::Entry::Lease;
    }

    pub(super) fn on_promoted(&mut self, version: &VersionId, result: &Result<(), StoreFailure>) {
        match result {
            Ok(()) if self.state.phase == Phase::RollForward => {
                self.state.check.accepted = Some(version.clone());
                self.rolled_forward();
            }
            Ok(()) => self.promotion_is_done(),
            Err(failure) => self.write_failed(failure),
        }
    }

    pub(super) fn promotion_is_done(&mut self) {
        // Also one whose reply was lost: it is told as what it turned out to be.
        self.log_done_after_all(StepName::Promote);
        let roles = &mut self.state.roles;
        if !self.state.promoted {
            roles.previous = roles.current.take();
            roles.current = roles.pending.take();
            self.state.promoted = true;
        }
        let mut wait = self.state.settings.longest_staleness();
        if !self.state.proved {
            wait = wait.max(std::time::Duration::from_millis(
                self.state.settings.deferred_proof_ms,
            ));
        }
        self.state.stale_until = Some(self.now + wait);
        self.state.held_until = None;
        self.state.rounds = 0;
        let proved = self.state.proved;
        self.note(
            NoteKind::Promoted { proved },
            self.state.roles.current.clone(),
            "",
        );
        if self.wrong(Mutation::PromoteBeforeSet) && self.state.reach == Reach::None {
            self.state.phase = Phase::Apply;
            self.state.roles.pending = self.state.roles.current.clone();
        } else if self.wrong(Mutation::RevokeBeforePropagate) {
            self.go(Phase::Revoke);
        } else {
            self.go(Phase::Propagate);
        }
    }

    pub(super) fn rolled_forward(&mut self) {
        let roles = &mut self.state.roles;
        if self.state.check.accepted.is_some() && roles.current != self.state.check.accepted {
            roles.previous = roles.current.take();
            roles.current = self.state.check.accepted.take();
        }
        if roles.pending == roles.current {
            roles.pending = None;
        }
        self.note(
            NoteKind::Promoted { proved: true },
            self.state.roles.current.clone(),
            "",
        );
        if self.state.adopts() {
            self.state.roles.pending = None;
            let detail = self.adopted();
            return self.succeed(&detail);
        }
        self.succeed("a version that had landed late is current now");
    }

    /// An adoption is not refused for what would stop a rotation, but it is not silent about it either.
    fn adopted(&self) -> String {
        let plan = self.state.log.iter().find(|entry| entry.step == StepName::Plan);
        match plan {
            Some(StepLog {
                failed: true,
                code: Some(code),
                message: Some(message),
                ..
            }) => {
                let found = if code == super::calls::REFUSED {
                    message.clone()
                } else {
                    format!("{code}: {message}")
                };
                format!("adopted; it cannot be rotated yet: {found}")
            }
            _ => "adopted".to_owned(),
        }
    }

    pub(super) fn on_told(
        &mut self,
        reported: &[String],
        not_before: Option<Timestamp>,
        failed: Option<&StepError>,
    ) {
        for name in reported {
            if !self.state.reported.contains(name) {
                self.state.reported.push(name.clone());
            }
        }
        self.state.reported.sort();
        if let Some(error) = failed {
            self.log_failure(StepName::Propagate, &error.code, &error.message);
        }
        let until = self.state.consumers_until().unwrap_or(self.now);
        let enough = self.all_reported() && self.state.proved;
        let is_over = self.now >= until || enough || self.wrong(Mutation::PreviousDroppedEarly);
        let held = not_before.filter(|_| is_over && !self.state.revokes_now);
        self.state.held_until = held;
        if let Some(held) = held {
            self.pause(held);
        } else if is_over {
            self.propagated();
        } else if let Some(error) = failed {
            // Whoever cannot be told keeps nothing back for longer than it was waited for anyway.
            self.pause(until.min(self.now + self.pause_before_telling()));
            self.state.trouble = Some(Trouble::new(&error.code, &error.message));
        } else {
            self.pause(until);
        }
    }

    /// Nobody gives a run up because a consumer cannot be told, so that its tries are those of the step.
    fn pause_before_telling(&self) -> std::time::Duration {
        let told = self
            .state
            .log
            .iter()
            .find(|entry| entry.step == StepName::Propagate);
        let settings = &self.state.settings;
        let back_off = BackOff {
            cap_ms: MOST_BEFORE_TELLING_MS,
            ..settings.back_off
        };
        back_off.pause(told.map_or(1, |entry| entry.tries), settings.seed)
    }

    pub(super) fn on_abandoned(&mut self, result: &Result<(), StoreFailure>) {
        match result {
            Ok(()) => {
                self.note(NoteKind::Abandoned, self.state.roles.pending.clone(), "");
                if self.state.is_given_up() {
                    self.end_given_up();
                } else if self.state.adopts() && self.state.wish.is_some() {
                    self.end_undone("the imported value was given up; nothing was changed on the target");
                } else if self.state.adopts() {
                    let refused = self
                        .state
                        .log
                        .iter()
                        .any(|entry| entry.code.as_deref() == Some(REFUSED));
                    let why = if refused {
                        "the target refuses the imported credential; nothing was changed".to_owned()
                    } else {
                        let found = self
                            .state
                            .log
                            .iter()
                            .rev()
                            .find_map(|entry| entry.message.as_ref());
                        let found = found.map(|found| format!(" ({found})")).unwrap_or_default();
                        format!(
                            "the imported value is not what the rotation needs{found}; nothing was changed"
                        )
                    };
                    self.end(Ending::Failed, why);
                } else if self.state.settings.trigger == Trigger::Rollback && self.state.check.restored {
                    self.end(
                        Ending::Failed,
                        "the state was restored: the target accepts the current version, and the older value was not put back",
                    );
                } else if self.state.check.begun {
                    self.succeed("current was put on the target again");
                } else {
                    self.end_undone("undone");
                }
            }
            Err(failure) => self.write_failed(failure),
        }
    }

    pub(super) fn on_retired(&mut self, result: &Result<(), StoreFailure>) {
        match result {
            Ok(()) => {
                self.note(NoteKind::Revoked, self.state.roles.previous.clone(), "");
                self.state.roles.previous = None;
                self.state.rounds = 0;
                self.state.old_valid_until = None;
                self.go(Phase::Revoke);
            }
            Err(failure) => self.write_failed(failure),
        }
    }
}
