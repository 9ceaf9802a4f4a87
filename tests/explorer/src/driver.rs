//! The fake driver: performs an effect on vault, target and lease, and says what came of it.

use keywheel_model::{Effect as Reach, ErrorKind, Fence, Stage, StepError, StepName, Timestamp, Verdict};
use keywheel_workflow::{Call, Effect, Lease, Report, StoreFailure};

use crate::invariant::{Check, Invariant, Violation, violated};
use crate::plugin::Plugin;
use crate::scene::{Fault, Scene, Wrong, span};
use crate::vault::{Cred, cred_of};
use crate::world::{DRIFT_RUN, Flight, Sent, World};

/// A host's driver in a scene.
pub struct Driver<'a> {
    /// Where.
    pub scene: &'a Scene,
    /// What is wrong on purpose.
    pub wrong: Wrong,
}

/// An error with an effect.
pub fn failure(effect: Reach) -> StepError {
    StepError::new(ErrorKind::Unavailable, "fake", "").with_effect(effect)
}

/// What the driver reports of an effect that failed, with what it may have done.
pub fn failed(effect: &Effect, reach: Reach) -> Report {
    match effect {
        Effect::ReadHead => Report::HeadUnreadable(failure(Reach::None)),
        Effect::Call(call) if call.step == StepName::Test => {
            Report::Verdict(Ok(Verdict::Unknown(String::new())))
        }
        Effect::Call(_) => Report::Step(Err(failure(reach))),
        Effect::EndSessions => Report::Sessions { ended: false },
        Effect::Announce { .. } => Report::Announced(Err(failure(reach))),
        _ => Report::Stored(Err(StoreFailure::Failed(failure(reach)))),
    }
}

impl Driver<'_> {
    /// Whether the effect may start: its fence is the living one.
    pub fn may_start(&self, world: &World, worker: usize, effect: &Effect) -> bool {
        if !effect.needs_fence() || self.is_unfenced() {
            return true;
        }
        let own = world.workers[worker].state.fence;
        world.lease.holder == Some(worker) && own == Some(Fence(world.lease.fence))
    }

    fn is_unfenced(&self) -> bool {
        self.wrong.has(Fault::FenceUnchecked) || self.wrong.has(Fault::LockedByName)
    }

    /// Performs the effect. `cut`: the host is gone before an issued credential could be stored.
    ///
    /// # Errors
    ///
    /// The invariant that the effect violates.
    pub fn perform(
        &self,
        world: &mut World,
        worker: usize,
        effect: &Effect,
        cut: bool,
    ) -> Result<Report, Violation> {
        // Two locks under two names: each host has its own, and in its own eyes a live fence.
        let locked = world.lease.holder == Some(worker) || self.wrong.has(Fault::LockedByName);
        if effect.needs_fence() && !locked {
            return violated(
                Invariant::EffectsHaveALiveFence,
                format!("{effect:?} without the lease"),
            );
        }
        Ok(match effect {
            Effect::Lease => self.lease(world, worker),
            Effect::EndSessions => {
                if self.scene.ends_sessions && !self.wrong.has(Fault::SessionsLeft) {
                    world
                        .flights
                        .retain(|flight| flight.until.is_none() || matches!(flight.what, Sent::Promote(_)));
                }
                Report::Sessions {
                    ended: self.scene.ends_sessions,
                }
            }
            Effect::ReadHead => {
                if locked && !self.wrong.has(Fault::OtherNameForgotten) {
                    Self::other_name_follows(world);
                }
                Report::Head(world.vault.head())
            }
            Effect::Call(call) => self.call(world, worker, call, cut)?,
            Effect::Mirror { version } => {
                if let Some(kept) = world.vault.get_mut(cred_of(version)) {
                    kept.remote = true;
                }
                Report::Stored(Ok(()))
            }
            Effect::Announce { version } => {
                // The hook gives consumers both: what they have held before is gone.
                world.announced = Some(cred_of(version));
                world.holds.retain(|(_, until)| until.is_none());
                Report::Announced(Ok(()))
            }
            Effect::Promote { expected, version } => {
                Report::Stored(self.promote(world, expected.as_ref().map(cred_of), cred_of(version), cut)?)
            }
            Effect::Abandon { version, .. } => self.mark(world, cred_of(version), Stage::Abandoned),
            Effect::MarkRevoked { version, .. } => self.mark(world, cred_of(version), Stage::Revoked),
            Effect::Propagate { .. } => {
                let reported = if self.scene.reports {
                    vec![String::new()]
                } else {
                    Vec::new()
                };
                if self.scene.reports {
                    world.holds.retain(|(_, until)| until.is_none());
                }
                Report::Told {
                    reported,
                    not_before: None,
                    failed: None,
                }
            }
            Effect::Sleep { .. } | Effect::Park | Effect::Release => Report::Told {
                reported: Vec::new(),
                not_before: None,
                failed: None,
            },
        })
    }

    fn lease(&self, world: &mut World, worker: usize) -> Report {
        let early = self.wrong.has(Fault::TakeoverAtOnce);
        let lapsed = world.lease.lapses.is_some_and(|at| early || at <= world.now);
        let busy = world.lease.holder.is_some_and(|holder| holder != worker) && !lapsed;
        if busy && !self.wrong.has(Fault::LockedByName) {
            let until = world.lease.lapses.unwrap_or(world.now + span::LEASE);
            return Report::Lease(Lease::Busy {
                until: Timestamp::from_unix_ms(until),
            });
        }
        let settled_at = match (world.lease.holder, world.lease.lapses) {
            (Some(holder), _)
                if holder == worker
                    && world.workers[worker].state.fence == Some(Fence(world.lease.fence)) =>
            {
                0
            }
            // This host was down or stood still: its own effects of before are as strange to it as another's.
            (Some(holder), _) if holder == worker => world.now + span::EFFECT_DEADLINE,
            (Some(_), _) if early || self.wrong.has(Fault::DeadlineForgotten) => 0,
            (Some(_), lapses) => lapses.unwrap_or(world.now) + span::EFFECT_DEADLINE,
            (None, _) => world.lease.settled,
        };
        if settled_at != 0 || world.lease.holder != Some(worker) {
            world.lease.fence += 1;
        }
        world.lease.holder = Some(worker);
        world.lease.lapses = None;
        Report::Lease(Lease::Held {
            fence: Fence(world.lease.fence),
            settled_at: Timestamp::from_unix_ms(settled_at),
        })
    }

    fn call(&self, world: &mut World, worker: usize, call: &Call, cut: bool) -> Result<Report, Violation> {
        if world.withdrawn {
            return violated(
                Invariant::WithdrawnIsObeyed,
                format!("{} is called without its grant", call.step),
            );
        }
        if call.step == StepName::Test {
            return Ok(self.login(world, worker, call));
        }
        if call.step == StepName::Revoke {
            let current = call.roles.current.as_ref().map(cred_of);
            if self.scene.proof != keywheel_workflow::ProofPolicy::Accept
                && !current.is_some_and(|current| world.proved.contains(&current))
            {
                return violated(
                    Invariant::NothingIsRevokedUnproved,
                    "no login has proved the current version",
                );
            }
        }
        // What could not be proved is not put on the target; what may be there already is another matter.
        let begins = call.step == StepName::Apply
            && !call.interrupted
            && world.workers[worker].state.phase == keywheel_workflow::Phase::Apply;
        if begins && let Some(until) = self.spent_until(world) {
            return Ok(Report::OverBudget { until });
        }
        self.sent(world, call);
        let run = world.workers[worker].run;
        Ok(Report::Step(
            Plugin {
                scene: self.scene,
                wrong: self.wrong,
                run,
                late: false,
            }
            .step(world, call, cut)?,
        ))
    }

    /// Notes that the value of an apply is on its way to the target.
    pub fn sent(&self, world: &mut World, call: &Call) {
        if call.step == StepName::Apply
            && let Some(version) = call
                .subject
                .as_ref()
                .and_then(|subject| world.vault.get_mut(cred_of(subject)))
        {
            version.sent = true;
        }
    }

    /// `Some`: the account's budget of failed logins is used up until then.
    fn spent_until(&self, world: &mut World) -> Option<Timestamp> {
        if world.failed_logins.1 <= world.now {
            world.failed_logins.0 = 0;
        }
        let is_spent = world.failed_logins.0 >= span::LOCKOUT_BUDGET && !self.wrong.has(Fault::NoBudget);
        is_spent.then(|| Timestamp::from_unix_ms(world.failed_logins.1))
    }

    fn login(&self, world: &mut World, worker: usize, call: &Call) -> Report {
        let Some(cred) = call.subject.as_ref().map(cred_of) else {
            return Report::Verdict(Err(failure(Reach::None)));
        };
        if let Some(until) = self.spent_until(world) {
            return Report::OverBudget { until };
        }
        let shown = world.target.shows(cred, world.now);
        let saw = &mut world.workers[worker].saw;
        if shown {
            *saw = Some((cred, world.now));
        } else {
            *saw = saw.filter(|(other, _)| *other != cred);
        }
        if shown {
            if let Err(place) = world.proved.binary_search(&cred) {
                world.proved.insert(place, cred);
            }
            return Report::Verdict(Ok(Verdict::Accepted));
        }
        world.failed_logins = (world.failed_logins.0 + 1, world.now + span::LOCKOUT_WINDOW);
        Report::Verdict(Ok(Verdict::Rejected))
    }

    fn promote(
        &self,
        world: &mut World,
        expected: Option<Cred>,
        cred: Cred,
        cut: bool,
    ) -> Result<Result<(), StoreFailure>, Violation> {
        let current = world.vault.current();
        if current == Some(cred) {
            Self::other_name_follows(world);
            return Ok(Ok(()));
        }
        if !self.scene.weak_vault && current != expected {
            return Ok(Err(StoreFailure::Conflict));
        }
        if !world.vault.holds(cred) {
            return Ok(Err(StoreFailure::Failed(failure(Reach::None))));
        }
        self.promotion_is_allowed(world, current == expected, cred)?;
        self.make_current(world, cred, cut);
        Ok(Ok(()))
    }

    fn promotion_is_allowed(&self, world: &World, informed: bool, cred: Cred) -> Check {
        let proof = self.scene.proof;
        let proved = world.proved.contains(&cred);
        let set = world.target.accepts(cred, world.now);
        let place = |wanted| {
            world
                .vault
                .versions
                .iter()
                .position(|version| version.cred == wanted)
        };
        let checks = informed && world.workers[0].run == DRIFT_RUN;
        let was = checks
            && world
                .vault
                .get(cred)
                .is_some_and(|version| matches!(version.stage, Stage::Previous | Stage::Revoked));
        if was && !self.scene.class.target_issues() && place(cred) < world.vault.current().and_then(place) {
            return violated(
                Invariant::PromotedIsNeverUndone,
                format!("{cred} is older than what is current"),
            );
        }
        if proof == keywheel_workflow::ProofPolicy::Login && !proved
            || !set && !world.outside && !world.beyond_deadline
        {
            return violated(
                Invariant::NothingIsPromotedUnproved,
                format!("{cred} becomes current, unproved"),
            );
        }
        Ok(())
    }

    /// The write itself, whenever it lands. `cut`: the host is gone between the two names.
    pub fn make_current(&self, world: &mut World, cred: Cred, cut: bool) {
        if self.wrong.has(Fault::OtherNameFirst) {
            Self::show_by_other_name(world, cred);
            if cut {
                return;
            }
        }
        let old = world.vault.current();
        world.vault.make_current(cred);
        if self.wrong.has(Fault::PreviousForgotten) {
            world
                .vault
                .versions
                .retain(|version| version.stage != Stage::Previous);
        }
        world.mixed =
            self.wrong.has(Fault::PairSplit) && self.scene.strategy == keywheel_model::Strategy::TwoSlot;
        Self::readers_turn(world, old, cred);
        if !cut {
            Self::other_name_follows(world);
        }
    }

    fn other_name_follows(world: &mut World) {
        if let Some(current) = world.vault.current() {
            Self::show_by_other_name(world, current);
        }
    }

    fn show_by_other_name(world: &mut World, cred: Cred) {
        if let Some(old) = world.vault.other_name.replace(cred) {
            if old != cred {
                Self::readers_turn(world, Some(old), cred);
            }
        } else {
            world.vault.other_name = None;
        }
    }

    /// A name shows another value: whoever reads it holds the old one for as long as the staleness, unless there is another name that shows it still.
    fn readers_turn(world: &mut World, old: Option<Cred>, cred: Cred) {
        let is_shown = old == world.vault.current() || old == world.vault.other_name;
        for (held, until) in &mut world.holds {
            if Some(*held) == old && until.is_none() && !is_shown {
                *until = Some(world.now + span::STALE);
            }
        }
        world.holds.retain(|(held, _)| *held != cred);
        world.holds.push((cred, None));
        world.holds.sort_unstable();
    }

    fn mark(&self, world: &mut World, cred: Cred, stage: Stage) -> Report {
        let current = world.vault.current() == Some(cred);
        match world.vault.get_mut(cred) {
            Some(version) if !current => {
                version.stage = stage;
                version.sent = false;
            }
            _ => return Report::Stored(Err(StoreFailure::Conflict)),
        }
        let forgotten = match stage {
            Stage::Abandoned => self.wrong.has(Fault::AbandonedForgotten),
            _ => self.wrong.has(Fault::RevokedForgotten),
        };
        if forgotten {
            world.vault.versions.retain(|version| version.cred != cred);
        }
        Report::Stored(Ok(()))
    }

    /// Something on its way arrives.
    ///
    /// # Errors
    ///
    /// The invariant that it violates.
    pub fn land(&self, world: &mut World, flight: Flight) -> Check {
        match flight.what {
            Sent::Promote(cred) => {
                if world.vault.holds(cred) {
                    self.make_current(world, cred, false);
                }
            }
            Sent::Call(run, call) => {
                Plugin {
                    scene: self.scene,
                    wrong: self.wrong,
                    run,
                    late: true,
                }
                .step(world, &call, true)?
                .ok();
            }
        }
        Ok(())
    }
}
