//! A run whose target is gone is ended by a person, as it stands: nothing is asked of the target, and nothing is claimed about it. Only the vault is
//! told: what the run has made and not promoted is abandoned, and kept like every version that may still land.

use keywheel_model::{SlotClass, Stage};

use super::Work;
use crate::mutant::Mutation;
use crate::{Ending, Head, NoteKind, Phase, Wish};

impl Work {
    pub(super) fn on_give_up(&mut self) -> bool {
        if !self.state.can_be_given_up() {
            return false;
        }
        self.note(NoteKind::Asked, None, "give up");
        if let Some(parked) = self.state.parked.take() {
            self.state.phase = parked.back_to;
        }
        self.state.wish = Some(Wish::GiveUp);
        self.state.doing = None;
        self.state.pause_until = None;
        // A verification has made nothing: a pending version that it has come across is the next run's.
        if self.state.promoted || self.checks() && !self.state.adopts() {
            self.end_given_up();
        } else {
            self.go_in_doubt(Phase::Abandon);
        }
        true
    }

    pub(super) fn head_of_given_up(&mut self, head: &Head) {
        let run = &self.state.run;
        let own = head
            .versions
            .iter()
            .find(|kept| kept.stage == Stage::Pending && kept.run.as_ref() == Some(run));
        let roles = &mut self.state.roles;
        if roles.pending.is_none() {
            roles.pending = own.map(|kept| kept.version.clone());
        }
        if roles.pending.is_some() && head.current() == roles.pending.as_ref() {
            // The promotion whose reply was lost has happened.
            roles.previous = roles.current.take();
            roles.current = roles.pending.take();
            self.state.promoted = true;
        }
        let pending = self.state.roles.pending.as_ref();
        let is_pending = pending.is_some_and(|version| head.stage_of(version) == Some(Stage::Pending));
        // Where a new value pushes another one out, at once, with the next or by the server's clock, this one may be all that the target takes: the next run
        // has to find it pending, and takes it over.
        let settings = &self.state.settings;
        let displaces = settings.overwrites() || matches!(settings.class, SlotClass::B | SlotClass::F);
        let keeps = displaces && self.touched() && !self.wrong(Mutation::GivenUpForgotten);
        if !is_pending || keeps {
            self.end_given_up();
        }
    }

    pub(super) fn end_given_up(&mut self) {
        let phase = self.state.phase;
        let dying = matches!(phase, Phase::ProveDead | Phase::Retire)
            || phase == Phase::Revoke && self.state.interrupted;
        let words = if self.state.promoted {
            "the new credential stays current; the old one is not revoked, and may be accepted still"
        } else if self.state.roles.pending.is_some() {
            "current stays as it was; the new version is kept, because the target may have it"
        } else {
            "current stays as it was"
        };
        self.end(
            Ending::GivenUp,
            format!("given up as it stood, without asking the target: {words}"),
        );
        // What `safety` has to know of where it stood.
        self.state.interrupted = self.state.promoted && dying;
    }
}
