//! What a move does to the world.

use crate::driver::failed;
use crate::invariant::{Check, at_every_instant};
use crate::scene::span;
use crate::vault::{cred_of, run_id};
use crate::world::{DRIFT_RUN, Flight, Mode, Sent, Worker, World, drift_check};
use keywheel_model::{Effect as Reach, Fence, Stage};
use keywheel_workflow::{Cause, Effect, Event, Phase, Report, State};
use std::sync::Arc;

use super::{Move, Rig, Way};

impl Rig<'_> {
    pub(super) fn effect(&self, world: &mut World, worker: usize, way: Way) -> Check {
        let state = Arc::clone(&world.workers[worker].state);
        let effect = state.doing.clone().unwrap_or(Effect::Release);
        if way != Way::Well {
            world.faults -= 1;
        }
        if let Way::CrashBefore { written } = way {
            self.crash(world, worker, &state, written);
            return Ok(());
        }
        let driver = self.driver();
        if !driver.may_start(world, worker, &effect) {
            return self.deliver(world, worker, &Event::FenceLost);
        }
        let write_ahead = effect.needs_write_ahead(self.scene.class);
        if write_ahead {
            world.workers[worker].durable = Arc::clone(&state);
        }
        match way {
            Way::Well => {
                if matches!(effect, Effect::Release) {
                    return self.release(world, worker);
                }
                let report = driver.perform(world, worker, &effect, false)?;
                self.done(world, worker, report)
            }
            Way::CrashBefore { .. } => Ok(()),
            Way::CrashAfter { written } => {
                driver.perform(world, worker, &effect, false)?;
                self.crash(world, worker, &state, written);
                Ok(())
            }
            Way::CrashBetween => {
                driver.perform(world, worker, &effect, true)?;
                self.crash(world, worker, &state, write_ahead);
                Ok(())
            }
            Way::Fails => self.done(world, worker, failed(&effect, Reach::None)),
            Way::ReplyLost | Way::FailsThoughApplied | Way::CaptureLost => {
                driver.perform(world, worker, &effect, way == Way::CaptureLost)?;
                let reach = if way == Way::FailsThoughApplied {
                    Reach::Applied
                } else {
                    Reach::Maybe
                };
                self.done(world, worker, failed(&effect, reach))
            }
            Way::RequestLost => {
                self.touch(world, &effect);
                self.done(world, worker, failed(&effect, Reach::Maybe))
            }
            Way::Late | Way::LateBeyondDeadline => {
                self.send(world, worker, &effect, way == Way::LateBeyondDeadline);
                self.done(world, worker, failed(&effect, Reach::Maybe))
            }
            Way::Mangled => {
                world.outside = true;
                let report = driver.perform(world, worker, &effect, false)?;
                if let Effect::Call(call) = &effect
                    && let Some(given) = call.subject.as_ref().map(cred_of)
                {
                    let unknown = world.fresh();
                    world.target.mangle(given, unknown);
                }
                self.done(world, worker, report)
            }
            Way::HeldBack => {
                let mut report = driver.perform(world, worker, &effect, false)?;
                if let Report::Told { not_before, .. } = &mut report {
                    *not_before = Some(world.time() + std::time::Duration::from_millis(span::HELD_BACK));
                }
                self.done(world, worker, report)
            }
            Way::Twice => {
                driver.perform(world, worker, &effect, false)?;
                let report = driver.perform(world, worker, &effect, false)?;
                self.done(world, worker, report)
            }
        }
    }

    pub(super) fn release(&self, world: &mut World, worker: usize) -> Check {
        let host = &mut world.workers[worker];
        host.durable = Arc::clone(&host.state);
        host.mode = Mode::Idle;
        if world.lease.holder == Some(worker) && host.state.fence == Some(Fence(world.lease.fence)) {
            world.lease.holder = None;
            world.lease.lapses = None;
            world.lease.settled = world.lease.settled.max(host.state.settled_at.as_unix_ms());
        }
        Ok(())
    }

    pub(super) fn touch(&self, world: &mut World, effect: &Effect) {
        if let Effect::Call(call) = effect {
            self.driver().sent(world, call);
        }
    }

    /// Puts a request on its way.
    pub(super) fn send(&self, world: &mut World, worker: usize, effect: &Effect, beyond: bool) {
        self.touch(world, effect);
        if let Effect::Call(call) = effect
            && crate::plugin::is_done_already(world, call, self.wrong)
        {
            return;
        }
        let deadline = world.now + crate::scene::span::EFFECT_DEADLINE;
        let what = match effect {
            Effect::Call(call) => Sent::Call(
                world.workers[worker].run,
                keywheel_workflow::Call {
                    interrupted: false,
                    ..call.clone()
                },
            ),
            Effect::Promote { version, .. } => Sent::Promote(cred_of(version)),
            _ => return,
        };
        world.beyond_deadline |= beyond;
        world.flights.push(Flight {
            what,
            until: (!beyond).then_some(deadline),
        });
    }

    pub(super) fn crash(&self, world: &mut World, worker: usize, state: &Arc<State>, written: bool) {
        let host = &mut world.workers[worker];
        if written {
            host.durable = Arc::clone(state);
        }
        host.mode = Mode::Down;
        host.saw = None;
        host.state = Arc::clone(&host.durable);
        if world.lease.holder == Some(worker) {
            world.lease.lapses = Some(world.now + crate::scene::span::LEASE);
        }
    }

    pub(super) fn put_back(&self, world: &mut World, worker: usize, stored: bool) -> Check {
        let host = &mut world.workers[worker];
        if !stored {
            world.faults -= 1;
            host.mode = Mode::Down;
            return Ok(());
        }
        host.mode = Mode::Up;
        let run = host.run;
        if let Some(again) = world.wanted_back() {
            world.vault.add(again, Stage::Pending, Some(run), true);
            if world.snapshots.len() == 1 {
                world.remember(0);
            }
        }
        self.deliver(world, worker, &Event::Start)
    }

    pub(super) fn stall(&self, world: &mut World, worker: usize, in_flight: bool) {
        world.faults -= 1;
        let effect = world.workers[worker]
            .state
            .doing
            .clone()
            .unwrap_or(Effect::Release);
        if in_flight && self.driver().may_start(world, worker, &effect) {
            if effect.needs_write_ahead(self.scene.class) {
                let host = &mut world.workers[worker];
                host.durable = Arc::clone(&host.state);
            }
            self.send(world, worker, &effect, false);
        }
        world.workers[worker].mode = Mode::Stalled;
        if world.lease.holder == Some(worker) {
            world.lease.lapses = Some(world.now + crate::scene::span::LEASE);
        }
    }

    pub(super) fn tick(&self, world: &mut World) -> Check {
        let wake = (0..world.workers.len())
            .filter_map(|worker| world.sleeps_until(worker))
            .min()
            .unwrap_or(world.now);
        self.wait(world, wake)?;
        for worker in 0..world.workers.len() {
            if world.sleeps_until(worker).is_some_and(|until| until <= world.now) {
                self.deliver(world, worker, &Event::Timer)?;
            }
        }
        Ok(())
    }

    /// Time passes; at every instant at which the target changes by itself the invariants hold.
    ///
    /// # Errors
    ///
    /// The invariant that does not.
    pub fn wait(&self, world: &mut World, until: u64) -> Check {
        while let Some(change) = world
            .target
            .next_change(world.now)
            .filter(|change| *change < until)
        {
            self.pass(world, change.max(world.now + 1));
            at_every_instant(self.scene, world)?;
        }
        self.pass(world, until.max(world.now));
        Ok(())
    }

    pub(super) fn pass(&self, world: &mut World, until: u64) {
        world.now = until;
        world
            .flights
            .retain(|flight| flight.until.is_none_or(|deadline| deadline > until));
        world.holds.retain(|(_, end)| end.is_none_or(|end| end > until));
        let fresh = world.fresh();
        world.target.ripen(until, fresh);
    }

    /// A person has done what the way out says, and answers.
    pub(super) fn resume(&self, world: &mut World, worker: usize, answer: &Event) -> Check {
        world.resumes += 1;
        world.withdrawn = false;
        let asks = world.workers[worker]
            .state
            .parked
            .as_ref()
            .map(|parked| (parked.cause, parked.back_to));
        let previous = world.workers[worker].state.roles.previous.as_ref().map(cred_of);
        let host = world.workers[worker].run;
        if let (Some((Cause::Blocked, phase)), crate::target::Target::Keys(_)) = (asks, &world.target) {
            let fresh = world.fresh();
            if let crate::target::Target::Keys(keys) = &mut world.target {
                match phase {
                    Phase::Create if world.pasted.iter().all(|(run, _)| *run != host) => {
                        keys.push(crate::target::Key {
                            cred: fresh,
                            run: Some(host),
                            from: 0,
                        });
                        world.pasted.push((host, fresh));
                    }
                    Phase::Revoke => keys.retain(|key| Some(key.cred) != previous),
                    _ => {}
                }
            }
        }
        self.deliver(world, worker, answer)
    }

    pub(super) fn start_drift_check(&self, world: &mut World) -> Check {
        world.drifted = true;
        let state = Arc::new(drift_check(self.scene));
        let worker = Worker {
            run: DRIFT_RUN,
            durable: Arc::clone(&state),
            state,
            mode: Mode::Up,
            saw: None,
        };
        world.workers[0] = worker;
        world.lease.holder = None;
        world.withdrawn = false;
        self.deliver(world, 0, &Event::Start)
    }

    pub(super) fn from_outside(&self, world: &mut World, what: Move) {
        world.faults -= 1;
        // The drift check runs on its own schedule: after this too.
        world.drifted = false;
        if what != Move::LoseDisk {
            world.outside = true;
        }
        let fresh = world.fresh();
        match what {
            Move::ChangeByHand => {
                let current = world.vault.current().unwrap_or(crate::world::FIRST);
                world.target.change_by_hand(current, fresh);
            }
            Move::RestoreTarget => world.target.set_back_to(&world.backup),
            Move::WriteByHand => {
                world.vault.add(fresh, Stage::Pending, None, true);
                if let crate::target::Target::Served { valid, .. } = &mut world.target {
                    valid.push(fresh);
                }
                self.driver().make_current(world, fresh, true);
            }
            Move::RestoreVault(snapshot) => {
                let snapshot = Arc::clone(&world.snapshots[snapshot]);
                let epoch = world.vault.epoch + 1;
                world.vault = snapshot.vault.clone();
                world.vault.epoch = epoch;
                let host = &mut world.workers[0];
                host.durable = Arc::clone(&snapshot.durable);
                host.state = Arc::clone(&snapshot.durable);
                host.mode = Mode::Down;
                host.saw = None;
                // The epoch is part of the fencing token: whoever else was at work has lost its own.
                world.lease.lapses = world.lease.holder.map(|_| world.now);
                world.lease.fence += 1;
            }
            Move::LoseDisk => {
                world.disk_lost = true;
                // The run that people have resumed so often is gone.
                world.resumes = 0;
                // What another host has made is on that one's disk.
                let others: Vec<_> = world.workers[1..].iter().map(|other| Some(other.run)).collect();
                world
                    .vault
                    .versions
                    .retain(|version| version.remote || others.contains(&version.run));
                let run = world.fresh_run();
                let state = Arc::new(State::new(run_id(run), self.scene.settings(self.scene.trigger)));
                world.workers[0] = Worker {
                    run,
                    state: Arc::clone(&state),
                    durable: state,
                    mode: Mode::Down,
                    saw: None,
                };
                if world.lease.holder.is_some() {
                    world.lease.lapses = Some(world.now);
                }
            }
            _ => {}
        }
    }
}
