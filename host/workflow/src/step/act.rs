//! What each phase does when everything before it is sure.

use keywheel_model::{Effect as Reach, StepName};

use super::Work;
use crate::mutant::Mutation;
use crate::{Cause, Effect, Phase, ProofPolicy};

impl Work {
    /// The effect of the phase; none when it has moved on without one.
    pub(super) fn act(&mut self) -> Option<Effect> {
        if self.state.wish.is_some() && self.heeds_wish() {
            return None;
        }
        if self.spares_previous() {
            return None;
        }
        let roles = self.state.roles.clone();
        match self.state.phase {
            Phase::Plan => Some(self.call(StepName::Plan, None)),
            Phase::Create if self.state.interrupted && self.wrong(Mutation::LostIssueStandsStill) => {
                self.park(Cause::Target, "the reply was lost");
                None
            }
            Phase::Create => Some(self.call(StepName::Create, None)),
            Phase::Mirror => roles.pending.map(|version| Effect::Mirror { version }),
            Phase::Announce => {
                self.log_begin(StepName::Announce);
                roles.pending.map(|version| Effect::Announce { version })
            }
            Phase::Apply => Some(self.call(StepName::Apply, roles.pending)),
            Phase::Prove => Some(self.call(StepName::Test, roles.pending)),
            Phase::Promote => self.promote(),
            Phase::Propagate => {
                self.log_begin(StepName::Propagate);
                roles.current.map(|version| Effect::Propagate { version })
            }
            Phase::ProveCurrent | Phase::ProveUndone | Phase::ProveRepair => {
                Some(self.call(StepName::Test, roles.current))
            }
            Phase::Revoke if roles.previous.is_none() => {
                self.succeed("");
                None
            }
            Phase::Revoke => Some(self.call(StepName::Revoke, roles.previous)),
            Phase::ProveDead => Some(self.call(StepName::Test, roles.previous)),
            Phase::Retire => {
                let keep_until = self.now + self.state.settings.horizon();
                roles
                    .previous
                    .map(|version| Effect::MarkRevoked { version, keep_until })
            }
            Phase::Undo => Some(self.call(StepName::Rollback, roles.pending)),
            Phase::Abandon => self.abandon(),
            Phase::Verify => self.try_next(),
            Phase::RollForward => {
                self.log_begin(StepName::Promote);
                let version = self.state.check.accepted.clone();
                version.map(|version| Effect::Promote {
                    expected: roles.current,
                    version,
                })
            }
            Phase::Repair => Some(self.call(StepName::Apply, roles.current)),
            Phase::Parked | Phase::Ended => None,
        }
    }

    /// Waits for consumers that may still use what an earlier run has left unrevoked.
    fn spares_previous(&mut self) -> bool {
        let acts = matches!(self.state.phase, Phase::Create | Phase::Apply);
        match self.state.stale_until.filter(|until| *until > self.now) {
            Some(until) if acts && !self.state.promoted => {
                self.pause(until);
                true
            }
            _ => false,
        }
    }

    /// Turns back on a person's wish, as long as that is possible.
    fn heeds_wish(&mut self) -> bool {
        if self.state.adopts() && matches!(self.state.phase, Phase::Plan | Phase::Verify) {
            // Nothing was made on the target. The import must not stand in the way of a corrected one.
            if self.state.roles.pending.is_some() {
                self.go(Phase::Abandon);
            } else {
                self.end_undone("stopped: nothing is imported");
            }
            return true;
        }
        if self.state.phase == Phase::Verify {
            self.end_undone("stopped");
            return true;
        }
        let forward = matches!(
            self.state.phase,
            Phase::Plan
                | Phase::Create
                | Phase::Mirror
                | Phase::Announce
                | Phase::Apply
                | Phase::Prove
                | Phase::Promote
        );
        if self.state.promoted
            && self.wrong(Mutation::PromotionUndone)
            && self.state.phase == Phase::Propagate
        {
            self.state.promoted = false;
            self.state.roles.pending = self.state.roles.current.take();
            self.state.roles.current = self.state.roles.previous.take();
            self.state.phase = Phase::Undo;
            return true;
        }
        if !forward || self.state.past_no_return() {
            return false;
        }
        if self.touched() {
            self.go_in_doubt(Phase::Undo);
        } else if self.state.roles.pending.is_some() {
            self.go(Phase::Abandon);
        } else {
            self.end_undone("stopped before anything was changed");
        }
        true
    }

    /// What follows the durable pending version.
    pub(super) fn created(&mut self) {
        let issued = self.state.settings.class.target_issues();
        self.state.reach = if issued { Reach::Applied } else { Reach::None };
        if self.wrong(Mutation::PromoteBeforeSet) {
            return self.go(Phase::Promote);
        }
        if self.state.settings.remote_vault && !self.wrong(Mutation::NotMirrored) {
            self.go(Phase::Mirror);
        } else {
            self.mirrored();
        }
    }

    pub(super) fn mirrored(&mut self) {
        if self.state.settings.announces() && !self.wrong(Mutation::NotAnnounced) {
            self.go(Phase::Announce);
        } else {
            self.go(Phase::Apply);
        }
    }

    /// `apply` has succeeded as far as the host saw.
    pub(super) fn applied(&mut self) {
        self.state.reach = Reach::Applied;
        self.state.believe_at = self.now + self.state.settings.belief_delay();
        if self.wrong(Mutation::PromoteBeforeSet) {
            return self.go(Phase::Propagate);
        }
        match self.state.settings.proof {
            ProofPolicy::Login => self.go(Phase::Prove),
            ProofPolicy::Deferred | ProofPolicy::Accept => self.go(Phase::Promote),
        }
    }

    fn promote(&mut self) -> Option<Effect> {
        self.log_begin(StepName::Promote);
        let roles = &self.state.roles;
        let (expected, version) = if self.state.promoted {
            (roles.previous.clone(), roles.current.clone())
        } else {
            (roles.current.clone(), roles.pending.clone())
        };
        version.map(|version| Effect::Promote { expected, version })
    }

    /// Consumers have the new version: what remains is the old one.
    pub(super) fn propagated(&mut self) {
        let settings = &self.state.settings;
        let asks = settings.can_ask() && !self.wrong(Mutation::RevokedUnproved);
        // Where revoking changes the target the new credential is proved once more: it may have died while consumers were waited for.
        let is_fresh = self.state.proved && !self.state.proof_is_old;
        if asks && !(is_fresh && settings.overwrites()) {
            self.go(Phase::ProveCurrent);
        } else {
            self.go(Phase::Revoke);
        }
    }

    pub(super) fn all_reported(&self) -> bool {
        // Nobody is declared: somebody who is not may still read the secret, so the grace is kept.
        let consumers = &self.state.settings.consumers;
        !consumers.is_empty()
            && consumers
                .iter()
                .all(|consumer| self.state.reported.contains(&consumer.name))
    }

    fn abandon(&mut self) -> Option<Effect> {
        let Some(version) = self.state.roles.pending.clone() else {
            self.end_undone("undone");
            return None;
        };
        let keep_until = self.now + self.state.settings.horizon();
        Some(Effect::Abandon { version, keep_until })
    }

    fn try_next(&mut self) -> Option<Effect> {
        if let Some(candidate) = self.state.check.queue.first() {
            let subject = candidate.version.clone();
            return Some(self.call(StepName::Test, Some(subject)));
        }
        self.nothing_accepted();
        None
    }

    /// The target refuses every kept version.
    fn nothing_accepted(&mut self) {
        if self.state.check.restored {
            self.park(
                Cause::Restored,
                "the target accepts none of the versions that the restored vault holds",
            );
        } else if self.can_apply_current() && !self.wrong(Mutation::NothingPutBack) {
            self.state.check.park_after = true;
            self.go_in_doubt(Phase::Repair);
        } else {
            self.park(Cause::NothingAccepted, "the target accepts no kept version");
        }
    }

    /// Whether the host can put a value it holds on the target.
    pub(super) fn can_apply_current(&self) -> bool {
        self.state.can_apply_current()
    }
}
