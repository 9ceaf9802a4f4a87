//! What a person reads of the steps so far. Nothing is decided by it.

use keywheel_model::StepName;

use super::{Work, step_of};
use crate::{NoteKind, StepLog};

impl Work {
    /// A login within another step, such as the one that proves the old credential dead, is part of that step.
    pub(super) fn log_call(&mut self, step: StepName) {
        let shown = step_of(self.state.phase).unwrap_or(step);
        let is_known = self.state.log.iter().any(|entry| entry.step == shown);
        if shown == step || !is_known {
            self.log_begin(shown);
        }
    }

    pub(super) fn log_begin(&mut self, step: StepName) {
        let now = self.now;
        if let Some(entry) = self.state.log.iter_mut().find(|entry| entry.step == step) {
            entry.tries = entry.tries.saturating_add(1);
            if entry.ended.take().is_some() {
                entry.again = Some(now);
            }
            entry.failed = false;
        } else {
            self.state.log.push(StepLog {
                step,
                began: now,
                again: None,
                ended: None,
                tries: 1,
                code: None,
                message: None,
                failed: false,
            });
            self.note(NoteKind::StepBegan(step), None, "");
        }
    }

    /// The run goes on to another step: nothing stays open behind it. A step that it left for another without having seen its end, such as
    /// an `apply` whose reply was lost, is not told as done.
    pub(super) fn log_leave(&mut self, next: Option<StepName>) {
        let (now, own) = (self.now, step_of(self.state.phase));
        let mut done = None;
        for entry in self.state.log.iter_mut().filter(|entry| entry.ended.is_none()) {
            if Some(entry.step) == next {
                continue;
            }
            entry.ended = Some(now);
            if Some(entry.step) != own {
                entry.failed = true;
            } else if !entry.failed {
                done = own;
            }
        }
        if let Some(step) = done {
            self.note(NoteKind::StepEnded(step), None, "");
        }
    }

    /// A step whose end was not seen turns out to have done its work.
    pub(super) fn log_done_after_all(&mut self, step: StepName) {
        let now = self.now;
        let open = |entry: &&mut StepLog| entry.step == step && entry.ended.is_none();
        if let Some(entry) = self.state.log.iter_mut().find(open) {
            entry.ended = Some(now);
            entry.failed = false;
            self.note(NoteKind::StepEnded(step), None, "");
        }
    }

    pub(super) fn log_failure(&mut self, step: StepName, code: &str, message: &str) {
        if let Some(entry) = self.state.log.iter_mut().find(|entry| entry.step == step) {
            entry.code = Some(code.to_owned());
            entry.message = Some(message.to_owned());
            entry.failed = true;
        }
        self.note(NoteKind::StepFailed(step), None, code);
    }
}
