//! What the vault's head means for the run (rules P2, P3, P15, P16).

use keywheel_model::{Effect as Reach, Stage, StepError, Trigger, VersionId};

use super::Work;
use crate::mutant::Mutation;
use crate::{Candidate, Cause, Check, Ending, Entry, First, Head, Phase, Trouble, Wish};

impl Work {
    pub(super) fn on_unreadable(&mut self, error: &StepError) {
        if self.wrong(Mutation::UnreadableIsEmpty) {
            let epoch = self.state.epoch;
            return self.on_head(&Head {
                epoch,
                versions: Vec::new(),
            });
        }
        self.again(
            Cause::Vault,
            Trouble::new(&error.code, &error.message),
            error.retry_after_ms.unwrap_or(0).into(),
        );
    }

    pub(super) fn on_head(&mut self, head: &Head) {
        self.state.entry = Entry::Ready;
        if self.state.is_given_up() {
            return self.head_of_given_up(head);
        }
        if head.epoch > self.state.epoch && !self.wrong(Mutation::RestoreIgnored) {
            self.state.epoch = head.epoch;
            self.state.check = Check {
                restored: true,
                ..Check::default()
            };
            self.state.phase = Phase::Verify;
        }
        if self.checks() {
            return self.head_of_check(head);
        }
        let first_look = !self.state.seen;
        if first_look {
            self.state.seen = true;
            self.state.roles.current = head.current().cloned();
            self.state.roles.previous = head.newest(Stage::Previous).map(|kept| kept.version.clone());
            match self.state.settings.trigger {
                // `plan` comes first (rule P15): what would stop a rotation is told now, not at the first one.
                Trigger::Adopt => return self.head_of_adoption(head),
                Trigger::Drift | Trigger::Restore => {
                    self.state.check.restored = self.state.settings.trigger == Trigger::Restore;
                    self.begin_check();
                    return self.head_of_check(head);
                }
                Trigger::Rollback
                    if !self.has_own_pending(head) && !self.wrong(Mutation::GoesBackToNothing) =>
                {
                    return self.end(Ending::Cancelled, "it had not begun: no older value was put back");
                }
                _ => {}
            }
        }
        if self.state.promoted {
            self.head_after_promotion(head);
        } else {
            self.head_before_promotion(head, first_look);
            if first_look {
                self.spare_previous();
            }
        }
    }

    /// What there is to adopt: the version that was imported.
    fn head_of_adoption(&mut self, head: &Head) {
        self.state.roles.pending = head.newest(Stage::Pending).map(|kept| kept.version.clone());
        if head.current().is_some() {
            self.end(Ending::Cancelled, "the secret has a current version already");
        } else if self.state.roles.pending.is_none() && self.state.wish.is_none() {
            self.park(
                Cause::AdoptionRequired,
                "nothing is imported: import the credential in use",
            );
        }
    }

    /// A run before this one has left its previous version unrevoked, and nobody knows since when. Consumers may still use it, and making a new
    /// credential may cost the old one its slot.
    fn spare_previous(&mut self) {
        if self.state.roles.previous.is_some() && !self.state.promoted && !self.state.settings.overwrites() {
            self.state.stale_until = Some(self.now + self.state.settings.longest_staleness());
        }
    }

    /// Whether the phase looks at what the vault has instead of holding it against what the run thinks.
    pub(super) fn checks(&self) -> bool {
        matches!(
            self.state.phase,
            Phase::Verify | Phase::RollForward | Phase::Repair | Phase::ProveRepair
        )
    }

    pub(super) fn begin_check(&mut self) {
        let head_accepted = self.state.check.head_accepted;
        let restored = self.state.check.restored;
        self.state.check = Check {
            head_accepted,
            restored,
            ..Check::default()
        };
        self.go(Phase::Verify);
        self.state.entry = Entry::Head;
    }

    fn head_before_promotion(&mut self, head: &Head, first_look: bool) {
        let expected = self.state.roles.current.clone();
        let found = head.current().cloned();
        if self.is_own(head) {
            // Made by this run, which then crashed, and promoted by one that inherited it.
            if first_look {
                self.state.roles.current = self.state.roles.previous.take();
            }
            self.state.roles.pending.clone_from(&found);
        }
        if found.is_some() && found == self.state.roles.pending {
            // The promotion whose reply was lost has happened.
            return self.promotion_is_done();
        }
        if found != expected {
            return self.head_is_foreign(head);
        }
        self.find_pending(head, first_look);
        if found.is_none() && self.state.roles.pending.is_none() && self.first_must_be_adopted() {
            if self.state.wish.is_some() && !self.touched() {
                return self.end_undone("nothing had been made");
            }
            self.park(
                Cause::AdoptionRequired,
                "nothing is current yet: import the credential in use, or set first = \"set\"",
            );
        }
    }

    fn has_own_pending(&self, head: &Head) -> bool {
        let is_own = |kept: &crate::Kept| kept.run.as_ref() == Some(&self.state.run);
        head.versions
            .iter()
            .any(|kept| is_own(kept) && matches!(kept.stage, Stage::Pending | Stage::Current))
    }

    fn is_own(&self, head: &Head) -> bool {
        head.newest(Stage::Current)
            .is_some_and(|kept| kept.run.as_ref() == Some(&self.state.run))
    }

    fn first_must_be_adopted(&self) -> bool {
        let rule = self.state.settings.first == First::Adopt;
        rule && !self.wrong(Mutation::FirstRunSets) && !self.wrong(Mutation::UnreadableIsEmpty)
    }

    /// A pending version in the vault is never passed over: its value may be on the target, whoever made it.
    fn find_pending(&mut self, head: &Head, first_look: bool) {
        if self.wrong(Mutation::RegenerateOnRetry) {
            return;
        }
        if let Some(known) = &self.state.roles.pending {
            match head.stage_of(known) {
                Some(Stage::Pending) => {}
                Some(Stage::Abandoned) if self.state.phase == Phase::Abandon => self.end_undone("undone"),
                Some(_) => self.end(
                    Ending::Cancelled,
                    "another run has given this one's pending version up",
                ),
                None => self.park(Cause::Vault, "the pending version is missing in the vault"),
            }
            return;
        }
        let run = &self.state.run;
        let own = head
            .versions
            .iter()
            .find(|kept| kept.stage == Stage::Pending && kept.run.as_ref() == Some(run));
        if let Some(kept) = own {
            self.state.roles.pending = Some(kept.version.clone());
            let early = matches!(self.state.phase, Phase::Create | Phase::Plan);
            if early && self.state.settings.class.target_issues() {
                self.created();
            } else if early {
                // The host went away in between: another may have found the version and applied it.
                self.state.reach = Reach::Maybe;
                self.go_to_proof_of_inherited();
            }
        } else if let Some(kept) = head.newest(Stage::Pending)
            && (first_look || self.state.phase == Phase::Create)
        {
            if self.touched() {
                // What this run may have had issued goes; the pending version is the other's.
                self.state.superseded = true;
                self.state.wish = Some(Wish::Cancel);
                return self.go_in_doubt(Phase::Undo);
            }
            self.state.roles.pending = Some(kept.version.clone());
            self.state.reach = Reach::Maybe;
            self.go_to_proof_of_inherited();
        }
    }

    fn go_to_proof_of_inherited(&mut self) {
        self.go(Phase::Prove);
        self.state.entry = Entry::Ready;
    }

    fn head_after_promotion(&mut self, head: &Head) {
        let found = head.current();
        if found.is_some() && found == self.state.roles.current.as_ref() {
            if self.state.phase == Phase::Promote {
                self.promotion_is_done();
            } else if self.state.phase == Phase::Revoke && self.is_overtaken(head) {
                self.state.superseded = true;
                self.end(
                    Ending::Succeeded,
                    "a later run is under way and revokes what is left",
                );
            } else if self.state.phase == Phase::Revoke && self.state.roles.previous.is_none() {
                self.next_previous(head);
            }
            return;
        }
        if found.is_some() && (found == self.state.roles.previous.as_ref() || self.is_of_before(head)) {
            // A promotion from before landed late, or was written over: the right head is written again (rule P3).
            if self.state.phase != Phase::Promote {
                self.go(Phase::Promote);
                self.state.entry = Entry::Ready;
            }
            return;
        }
        self.head_is_foreign(head);
    }

    /// Whether a run has made the head before this run's version was made.
    fn is_of_before(&self, head: &Head) -> bool {
        let place = |version: Option<&VersionId>| {
            head.versions
                .iter()
                .position(|kept| Some(&kept.version) == version)
        };
        let (found, own) = (place(head.current()), place(self.state.roles.current.as_ref()));
        let by_run = head.newest(Stage::Current).is_some_and(|kept| kept.run.is_some());
        by_run && own.is_some() && found > own
    }

    /// The head is neither what the run found nor what it made.
    fn head_is_foreign(&mut self, head: &Head) {
        let writer = head.newest(Stage::Current).map(|kept| kept.run.clone());
        match writer {
            Some(Some(run)) if run != self.state.run => self.superseded(head),
            Some(_) if self.state.check.head_accepted => self.begin_check(),
            Some(_) => self.park_to(
                Cause::ByHand,
                "the secret's head was written by a person",
                Phase::Verify,
            ),
            None => self.park(Cause::Vault, "the current version is missing in the vault"),
        }
    }

    /// A later run has rotated the secret. What this one has left on the target is taken back; the secret is the other's.
    fn superseded(&mut self, head: &Head) {
        let touched = self.touched() || self.state.phase == Phase::Undo;
        let own = self
            .state
            .roles
            .pending
            .as_ref()
            .is_some_and(|version| head.stage_of(version) == Some(Stage::Pending));
        self.state.roles.current = head.current().cloned();
        self.state.superseded = true;
        if self.state.promoted {
            return self.end(Ending::Succeeded, "superseded by a later run");
        }
        self.state.roles.previous = None;
        self.state.wish = Some(Wish::Cancel);
        if !own {
            self.state.roles.pending = None;
        }
        if touched && (own || self.state.settings.class.target_issues()) {
            self.go_in_doubt(Phase::Undo);
        } else if own {
            self.go(Phase::Abandon);
        } else {
            self.end(Ending::Cancelled, "superseded by a later run");
        }
    }

    /// Another run has a pending version: what it has set on the target may go down with a late revocation (rules P6, P7).
    fn is_overtaken(&self, head: &Head) -> bool {
        let run = &self.state.run;
        head.versions
            .iter()
            .any(|kept| kept.stage == Stage::Pending && kept.run.as_ref() != Some(run))
    }

    /// After one previous version was retired: others that earlier runs have left.
    fn next_previous(&mut self, head: &Head) {
        match head.newest(Stage::Previous) {
            Some(kept) => self.state.roles.previous = Some(kept.version.clone()),
            None => self.succeed(""),
        }
    }

    fn head_of_check(&mut self, head: &Head) {
        if self.state.phase == Phase::RollForward && head.current() == self.state.check.accepted.as_ref() {
            return self.rolled_forward();
        }
        let check = &self.state.check;
        let lost = !self.state.promoted && !check.begun && !check.restored;
        if lost && self.state.roles.pending.is_some() && head.current() == self.state.roles.pending.as_ref() {
            // The promotion whose reply was lost has happened, whatever a person has answered since: from here on the run only goes forward.
            return self.promotion_is_done();
        }
        if self.state.phase == Phase::Repair && self.state.promoted && self.is_overtaken(head) {
            self.state.superseded = true;
            return self.end(
                Ending::Succeeded,
                "a later run is under way: what is put on the target now would push out its version",
            );
        }
        let acts = matches!(
            self.state.phase,
            Phase::Repair | Phase::ProveRepair | Phase::RollForward
        );
        if acts && head.current() != self.state.roles.current.as_ref() {
            // Another run has been here: what is current now is verified, not what was.
            return self.begin_check();
        }
        if self.state.phase != Phase::Verify {
            return;
        }
        let found = head.current().cloned();
        let changed = found != self.state.roles.current;
        if self.state.roles.pending == found {
            self.state.roles.pending = None;
        }
        self.state.roles.current = found;
        if self.state.check.begun && !changed {
            return;
        }
        self.state.check.begun = true;
        self.state.check.queue = probing_order(head);
        self.state.believe_at = self.now + self.state.settings.belief_delay();
        self.state.seen = true;
        if self.state.adopts() {
            // Only what was imported: a value that was refused and given up before is not what the person means now.
            let pending = head.newest(Stage::Pending).map(|kept| kept.version.clone());
            self.state
                .check
                .queue
                .retain(|candidate| pending.as_ref() == Some(&candidate.version));
            return self.head_of_adoption(head);
        }
        if self.state.roles.pending.is_none() {
            // Whoever made it: putting current on again does away with it, see `repaired`.
            self.state.roles.pending = head.newest(Stage::Pending).map(|kept| kept.version.clone());
        }
        if self.state.check.queue.is_empty() || head.current().is_none() && !self.state.check.restored {
            self.park(
                Cause::AdoptionRequired,
                "nothing is current yet: import the credential in use",
            );
        }
    }
}

/// Current first; then what may have landed late; then what the target may have been restored to, newest first.
fn probing_order(head: &Head) -> Vec<Candidate> {
    let stages: [&[Stage]; 3] = [
        &[Stage::Current],
        &[Stage::Pending, Stage::Abandoned],
        &[Stage::Previous, Stage::Revoked],
    ];
    let current = head.versions.iter().position(|kept| kept.stage == Stage::Current);
    let mut order = Vec::with_capacity(head.versions.len());
    for wanted in stages {
        for (place, kept) in head
            .versions
            .iter()
            .enumerate()
            .filter(|(_, kept)| wanted.contains(&kept.stage))
        {
            let newer = current.is_none_or(|current| place < current);
            order.push(Candidate {
                version: kept.version.clone(),
                newer,
            });
        }
    }
    order
}
