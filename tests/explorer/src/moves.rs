//! What can happen next in a world, and what then comes of it.

mod perform;

use std::sync::Arc;

use keywheel_model::{Fence, SlotClass, StepName};
use keywheel_workflow::{Cause, Choice, Effect, Ending, Event, Report, Wish, step_mutated};

use crate::driver::Driver;
use crate::invariant::{
    Check, Violation, at_every_instant, at_rest, both_rejected_is_put_back, current_is_accepted,
    delivered_twice_counts_once, faultless_runs_succeed, succeeded_ends_accepted,
};
use crate::scene::{Fault, Scene, Wrong};
use crate::world::{DRIFT_RUN, Mode, World};

/// Most resumes of one history.
pub const MOST_RESUMES: u8 = 8;

/// How a host's next effect goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// Well.
    Well,
    /// Crash before it; the state that asks for it is in the journal or not.
    CrashBefore {
        /// Journalled.
        written: bool,
    },
    /// Crash after it.
    CrashAfter {
        /// Journalled.
        written: bool,
    },
    /// Crash after the target has issued a credential and before it is stored, or between two names.
    CrashBetween,
    /// Fails without effect.
    Fails,
    /// Takes effect, the reply is lost or the plugin traps.
    ReplyLost,
    /// Takes effect on the target, and the reply with the issued credential is lost; or by one of two names.
    CaptureLost,
    /// Fails although it took effect.
    FailsThoughApplied,
    /// Lost on its way.
    RequestLost,
    /// Nothing is heard of it; it may land until its deadline.
    Late,
    /// It may land even after that.
    LateBeyondDeadline,
    /// It is delivered twice: the plugin runs twice on the same call, or the vault gets the same write twice.
    Twice,
    /// The target silently takes another value than it was given.
    Mangled,
    /// Consumers are told, and the host does not let the previous version be revoked yet.
    HeldBack,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// A host's effect.
    Effect(usize, Way),
    /// A host is started.
    Recover(usize),
    /// The older value that a run is to put back is stored, pending; or the host dies before that.
    PutBack(usize, bool),
    /// A host stands still, with its effect on its way or not.
    Stall(usize, bool),
    /// It goes on.
    GoOn(usize),
    /// Something on its way arrives.
    Land(usize),
    /// Something on its way never arrives.
    Vanish(usize),
    /// Time passes until somebody wakes.
    Tick,
    /// A person wants the run stopped.
    Cancel(usize),
    /// A person wants it rolled back.
    RollBack(usize),
    /// A person gives up a run that waits for its next try.
    GiveUp(usize),
    /// The plugin's grant is taken away.
    Withdraw(usize),
    /// A person resumes.
    Resume(usize, Choice),
    /// A person resumes a run that waits for a time, or has it put current on the target again within the wait for consumers.
    Hurry(usize, Choice),
    /// A person answers a parked run: it is to stop, to be rolled back, or to be given up.
    Turn(usize, Wish),
    /// Somebody changes the credential on the target.
    ChangeByHand,
    /// The target is set back to the start.
    RestoreTarget,
    /// Vault and journal are set back.
    RestoreVault(usize),
    /// Somebody writes another value into the vault.
    WriteByHand,
    /// The host's disk is lost; a new host takes over.
    LoseDisk,
    /// The drift check runs.
    DriftCheck,
}

/// A scene, and what is wrong in it on purpose.
pub struct Rig<'a> {
    /// Where.
    pub scene: &'a Scene,
    /// What is wrong.
    pub wrong: Wrong,
}

impl Rig<'_> {
    fn driver(&self) -> Driver<'_> {
        Driver {
            scene: self.scene,
            wrong: self.wrong,
        }
    }

    /// Everything that can happen next. Empty: at rest.
    pub fn moves(&self, world: &World, into: &mut Vec<Move>) {
        into.clear();
        for worker in 0..world.workers.len() {
            self.moves_of(world, worker, into);
        }
        for flight in 0..world.flights.len() {
            into.push(Move::Land(flight));
        }
        if self.can_tick(world) {
            into.push(Move::Tick);
        }
        let resting = self.is_resting(world);
        if resting {
            // What lives longer than its deadline may land at any later time, or never.
            (0..world.flights.len()).for_each(|flight| into.push(Move::Vanish(flight)));
            let waits = into
                .iter()
                .any(|what| matches!(what, Move::Resume(..) | Move::Turn(..)));
            if !waits
                && world.flights.is_empty()
                && !world.drifted
                && !current_is_accepted(world)
                && !self.scene.nothing_imported
            {
                into.push(Move::DriftCheck);
            }
        }
        if world.faults > 0 && self.scene.kinds.outside {
            self.outside_moves(world, into);
        }
    }

    /// Whether every host is idle or parked.
    pub fn is_resting(&self, world: &World) -> bool {
        (0..world.workers.len())
            .all(|worker| world.workers[worker].mode == Mode::Idle || world.is_parked(worker))
    }

    fn moves_of(&self, world: &World, worker: usize, into: &mut Vec<Move>) {
        let host = &world.workers[worker];
        match host.mode {
            Mode::Down => return into.push(Move::Recover(worker)),
            Mode::Stalled => return into.push(Move::GoOn(worker)),
            Mode::Idle => return,
            Mode::Begun => {
                into.push(Move::PutBack(worker, true));
                if world.faults > 0 && self.scene.kinds.crashes {
                    into.push(Move::PutBack(worker, false));
                }
                return;
            }
            Mode::Up => {}
        }
        let kinds = self.scene.kinds;
        let faulty = world.faults > 0;
        match &host.state.doing {
            Some(Effect::Sleep { .. }) => {}
            Some(Effect::Park) => self.resumes(world, worker, into),
            _ => into.push(Move::Effect(worker, Way::Well)),
        }
        if !faulty {
            return;
        }
        let effect = host.state.doing.as_ref().unwrap_or(&Effect::Release);
        if kinds.crashes {
            self.crashes(worker, effect, into);
        }
        if kinds.effects {
            self.failures(worker, effect, into);
        }
        if kinds.stalls && !matches!(effect, Effect::Sleep { .. } | Effect::Park | Effect::Release) {
            into.push(Move::Stall(worker, false));
            if matches!(effect, Effect::Call(call) if call.step != StepName::Test && call.step != StepName::Plan)
            {
                into.push(Move::Stall(worker, true));
            }
        }
        if kinds.people && host.state.wish.is_none() && !host.state.is_over() && host.run != DRIFT_RUN {
            into.extend([Move::Cancel(worker), Move::RollBack(worker)]);
            if host.state.parked.is_none() && host.state.can_be_given_up() {
                into.push(Move::GiveUp(worker));
            }
            if matches!(effect, Effect::Sleep { .. }) {
                let all = [Choice::Retry, Choice::ApplyCurrent];
                let taken = all.into_iter().filter(|choice| host.state.takes(*choice));
                into.extend(taken.map(|choice| Move::Hurry(worker, choice)));
            }
            if !world.withdrawn {
                into.push(Move::Withdraw(worker));
            }
        }
    }

    fn crashes(&self, worker: usize, effect: &Effect, into: &mut Vec<Move>) {
        let write_ahead = effect.needs_write_ahead(self.scene.class);
        let looks = matches!(
            effect,
            Effect::Lease | Effect::ReadHead | Effect::EndSessions | Effect::Sleep { .. } | Effect::Park
        ) || matches!(effect, Effect::Call(call) if call.step == StepName::Plan);
        into.push(Move::Effect(worker, Way::CrashBefore { written: false }));
        into.push(Move::Effect(worker, Way::CrashBefore { written: true }));
        if looks {
            return;
        }
        into.push(Move::Effect(worker, Way::CrashAfter { written: true }));
        if !write_ahead {
            into.push(Move::Effect(worker, Way::CrashAfter { written: false }));
        }
        if self.has_between(effect) {
            into.push(Move::Effect(worker, Way::CrashBetween));
        }
    }

    /// Whether the effect has two halves: it reaches the target before something of it is stored, or writes two names.
    fn has_between(&self, effect: &Effect) -> bool {
        let issues = matches!(self.scene.class, SlotClass::D | SlotClass::F | SlotClass::H);
        matches!(effect, Effect::Promote { .. }) && self.scene.two_names
            || matches!(effect, Effect::Call(call) if call.step == StepName::Create)
                && (issues || self.wrong.has(Fault::SetBeforeStored))
    }

    fn failures(&self, worker: usize, effect: &Effect, into: &mut Vec<Move>) {
        let mut can = |way| into.push(Move::Effect(worker, way));
        let class = self.scene.class;
        match effect {
            Effect::ReadHead | Effect::EndSessions => can(Way::Fails),
            Effect::Announce { .. } => [Way::Fails, Way::Twice].into_iter().for_each(&mut can),
            Effect::Propagate { .. } => [Way::Twice, Way::HeldBack].into_iter().for_each(&mut can),
            Effect::Call(call) if matches!(call.step, StepName::Test | StepName::Plan) => can(Way::Fails),
            Effect::Call(call) => {
                [
                    Way::Fails,
                    Way::ReplyLost,
                    Way::FailsThoughApplied,
                    Way::RequestLost,
                    Way::Late,
                ]
                .into_iter()
                .for_each(&mut can);
                if self.has_between(effect) {
                    can(Way::CaptureLost);
                }
                let slots = matches!(class, SlotClass::A | SlotClass::B | SlotClass::C);
                if self.scene.kinds.beyond_deadline && slots && call.step != StepName::Create {
                    can(Way::LateBeyondDeadline);
                }
                if self.scene.kinds.outside && slots && call.step == StepName::Apply {
                    can(Way::Mangled);
                }
                can(Way::Twice);
            }
            Effect::Mirror { .. }
            | Effect::Abandon { .. }
            | Effect::MarkRevoked { .. }
            | Effect::Promote { .. } => {
                [Way::Fails, Way::ReplyLost, Way::RequestLost, Way::Twice]
                    .into_iter()
                    .for_each(&mut can);
                if self.scene.weak_vault && matches!(effect, Effect::Promote { .. }) {
                    can(Way::Late);
                    can(Way::LateBeyondDeadline);
                }
                if self.has_between(effect) {
                    can(Way::CaptureLost);
                }
            }
            _ => {}
        }
    }

    fn resumes(&self, world: &World, worker: usize, into: &mut Vec<Move>) {
        let Some(parked) = &world.workers[worker].state.parked else {
            return;
        };
        if world.resumes >= MOST_RESUMES {
            return;
        }
        if self.scene.kinds.people && world.resumes < self.scene.free_choices {
            return self.choices(world, worker, into);
        }
        let choice = match parked.cause {
            Cause::AdoptionRequired => return,
            Cause::ByHand => Choice::AcceptHead,
            Cause::Restored | Cause::NothingAccepted if !self.scene.class.target_issues() => {
                Choice::ApplyCurrent
            }
            _ => Choice::Retry,
        };
        into.push(Move::Resume(worker, choice));
    }

    /// Everything that `run resume`, `run cancel` and `run rollback` take for a parked run, whatever its cause.
    fn choices(&self, world: &World, worker: usize, into: &mut Vec<Move>) {
        let state = &world.workers[worker].state;
        let all = [Choice::Retry, Choice::ApplyCurrent, Choice::AcceptHead];
        let taken = all.into_iter().filter(|choice| state.takes(*choice));
        into.extend(taken.map(|choice| Move::Resume(worker, choice)));
        if state.can_be_given_up() {
            into.push(Move::Turn(worker, Wish::GiveUp));
        }
        if state.wish.is_none() {
            into.push(Move::Turn(worker, Wish::Cancel));
            if !state.past_no_return() {
                into.push(Move::Turn(worker, Wish::RollBack));
            }
        }
    }

    fn outside_moves(&self, world: &World, into: &mut Vec<Move>) {
        into.extend([Move::ChangeByHand, Move::RestoreTarget]);
        if world.vault.current().is_some() {
            into.push(Move::WriteByHand);
        }
        for snapshot in 0..world.snapshots.len() {
            into.push(Move::RestoreVault(snapshot));
        }
        if self.scene.weak_vault && world.workers[0].mode != Mode::Idle {
            into.push(Move::LoseDisk);
        }
    }

    /// Time passes only when nobody has anything else to do: a host that is slow is a host that stalls.
    fn can_tick(&self, world: &World) -> bool {
        let waits = |worker: usize| match world.workers[worker].mode {
            Mode::Up => world.sleeps_until(worker).is_some() || world.is_parked(worker),
            _ => true,
        };
        let mut workers = 0..world.workers.len();
        workers.clone().all(waits) && workers.any(|worker| world.sleeps_until(worker).is_some())
    }

    /// What comes of a move.
    ///
    /// # Errors
    ///
    /// The invariant that it violates.
    pub fn make(&self, before: &World, what: Move) -> Result<World, Violation> {
        let mut world = before.clone();
        match what {
            Move::Effect(worker, way) => self.effect(&mut world, worker, way)?,
            Move::Recover(worker) => {
                let host = &mut world.workers[worker];
                host.mode = Mode::Up;
                host.state = Arc::clone(&host.durable);
                let started = host.state.op != 0;
                self.deliver(
                    &mut world,
                    worker,
                    &if started { Event::Recovered } else { Event::Start },
                )?;
                if world.withdrawn {
                    self.deliver(&mut world, worker, &Event::Withdrawn { what: String::new() })?;
                }
            }
            Move::PutBack(worker, stored) => self.put_back(&mut world, worker, stored)?,
            Move::Stall(worker, in_flight) => self.stall(&mut world, worker, in_flight),
            Move::GoOn(worker) => {
                world.workers[worker].mode = Mode::Up;
                if world.lease.holder == Some(worker) {
                    world.lease.lapses = None;
                }
                if !self.wrong.has(Fault::FenceUnchecked) {
                    self.deliver(&mut world, worker, &Event::FenceLost)?;
                }
                if world.withdrawn {
                    self.deliver(&mut world, worker, &Event::Withdrawn { what: String::new() })?;
                }
            }
            Move::Land(flight) => {
                let flight = world.flights.remove(flight);
                world.drifted = false;
                self.driver().land(&mut world, flight)?;
            }
            Move::Vanish(flight) => {
                world.flights.remove(flight);
            }
            Move::Tick => self.tick(&mut world)?,
            Move::Cancel(worker) => self.fault(&mut world, worker, &Event::Cancel)?,
            Move::RollBack(worker) => self.fault(&mut world, worker, &Event::RollBack)?,
            Move::GiveUp(worker) => self.fault(&mut world, worker, &Event::GiveUp)?,
            Move::Hurry(worker, choice) => self.fault(&mut world, worker, &Event::Resume(choice))?,
            Move::Withdraw(worker) => {
                world.withdrawn = true;
                self.fault(&mut world, worker, &Event::Withdrawn { what: String::new() })?;
                for other in (0..world.workers.len()).filter(|other| *other != worker) {
                    if world.workers[other].mode == Mode::Up {
                        self.deliver(&mut world, other, &Event::Withdrawn { what: String::new() })?;
                    }
                }
            }
            Move::Resume(worker, choice) => {
                self.resume(&mut world, worker, &Event::Resume(choice))?;
            }
            Move::Turn(worker, wish) => {
                let event = match wish {
                    Wish::Cancel => Event::Cancel,
                    Wish::RollBack => Event::RollBack,
                    Wish::GiveUp => Event::GiveUp,
                };
                // The drift check asks again.
                world.drifted = false;
                self.resume(&mut world, worker, &event)?;
            }
            Move::DriftCheck => self.start_drift_check(&mut world)?,
            outside => self.from_outside(&mut world, outside),
        }
        at_every_instant(self.scene, &world)?;
        Ok(world)
    }

    fn fault(&self, world: &mut World, worker: usize, event: &Event) -> Check {
        world.faults -= 1;
        self.deliver(world, worker, event)
    }

    /// Gives an event to a host's machine.
    pub fn deliver(&self, world: &mut World, worker: usize, event: &Event) -> Check {
        let now = world.time();
        let next = step_mutated(&world.workers[worker].state, event, now, self.wrong.machine);
        let held = world.workers[worker].state.fence == Some(Fence(world.lease.fence));
        if matches!(event, Event::Done { .. }) {
            let again = step_mutated(&next.state, event, now, self.wrong.machine);
            delivered_twice_counts_once(&next.state, &again)?;
        }
        let mut state = next.state;
        world.given_up |= *event == Event::GiveUp;
        state.log.clear();
        let parks = matches!(state.doing, Some(Effect::Park));
        if !world.workers[worker].state.is_over() {
            succeeded_ends_accepted(world, worker, &state)?;
        }
        if world.workers[worker].state.parked.is_none() {
            both_rejected_is_put_back(self.scene, world, &state)?;
        }
        if parks && held && world.lease.holder == Some(worker) {
            let settled = world.lease.settled.max(state.settled_at.as_unix_ms());
            world.lease = crate::world::LeaseTable {
                holder: None,
                lapses: None,
                settled,
                ..world.lease
            };
        }
        let host = &mut world.workers[worker];
        host.state = Arc::new(state);
        if matches!(host.state.doing, Some(Effect::Sleep { .. } | Effect::Park)) {
            host.durable = Arc::clone(&host.state);
        }
        Ok(())
    }

    fn done(&self, world: &mut World, worker: usize, report: Report) -> Check {
        let op = world.workers[worker].state.op;
        self.deliver(world, worker, &Event::Done { op, report })
    }

    /// Checks a world in which nothing can happen any more.
    ///
    /// # Errors
    ///
    /// The invariant that does not hold.
    pub fn check_rest(&self, world: &World) -> Check {
        // A person who stops a run, or gives it up, gets no success.
        let is_obeyed = |ending| matches!(ending, Ending::Cancelled | Ending::RolledBack | Ending::GivenUp);
        let stopped = world.resumes > 0
            && world.workers.iter().any(|host| {
                host.state
                    .ended
                    .as_ref()
                    .is_some_and(|ended| is_obeyed(ended.ending))
            });
        if world.faults == self.scene.faults && !stopped {
            faultless_runs_succeed(self.scene, &world.workers)?;
        }
        at_rest(self.scene, world)
    }
}
