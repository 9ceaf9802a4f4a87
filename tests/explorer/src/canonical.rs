//! The fingerprint of a world: equal for worlds that behave alike. Times count from now; versions are renamed by the order in which they are met;
//! numbers of effects, fencing tokens, logs and texts for people do not count.

use std::hash::Hash;

use keywheel_model::{Timestamp, VersionId};
use keywheel_workflow::{Call, Candidate, Check, Effect, Roles, State};

use crate::fingerprint::Fingerprint;
use crate::target::Target;
use crate::vault::{AGAIN, Cred, Vault, cred_of, value_of};
use crate::world::{Mode, Sent, World};

/// A world on its way into a fingerprint.
struct Canonical<'a> {
    world: &'a World,
    print: Fingerprint,
    /// The new name of each credential; 0: not met yet.
    names: [u8; 256],
    met: u8,
}

/// The world's fingerprint.
pub(crate) fn fingerprint(world: &World) -> u128 {
    let mut canonical = Canonical {
        world,
        print: Fingerprint::default(),
        names: [0; 256],
        met: 0,
    };
    canonical.whole();
    canonical.print.value()
}

impl Canonical<'_> {
    fn plain(&mut self, fact: impl Hash) {
        fact.hash(&mut self.print);
    }

    /// Times in the past are all alike: everybody only asks whether one has come.
    fn time(&mut self, at: u64) {
        self.plain(at.saturating_sub(self.world.now));
    }

    fn time_if(&mut self, at: Option<u64>) {
        self.plain(at.map(|at| at.saturating_sub(self.world.now)));
    }

    fn at(&mut self, at: Timestamp) {
        self.time(at.as_unix_ms());
    }

    fn at_if(&mut self, at: Option<Timestamp>) {
        self.time_if(at.map(Timestamp::as_unix_ms));
    }

    fn cred(&mut self, cred: Cred) {
        let name = &mut self.names[usize::from(cred)];
        if *name == 0 {
            self.met += 1;
            *name = self.met;
        }
        self.print.word((*name).into());
    }

    fn creds(&mut self, creds: &[Cred]) {
        for cred in creds {
            self.cred(*cred);
        }
    }

    fn cred_if(&mut self, cred: Option<Cred>) {
        match cred {
            Some(cred) => self.cred(cred),
            None => self.print.word(0),
        }
    }

    fn version_if(&mut self, version: Option<&VersionId>) {
        self.cred_if(version.map(cred_of));
    }

    fn whole(&mut self) {
        let world = self.world;
        self.vault(&world.vault);
        self.target(&world.target);
        self.plain(world.lease.holder);
        self.time_if(world.lease.lapses);
        self.time(world.lease.settled);
        let (failed, until) = world.failed_logins;
        if until > world.now {
            self.plain(failed);
            self.time(until);
        }
        for worker in &world.workers {
            self.plain((worker.run, worker.mode));
            // Only what was seen just now tells anything.
            self.cred_if(
                worker
                    .saw
                    .filter(|(_, at)| *at == world.now)
                    .map(|(cred, _)| cred),
            );
            if matches!(worker.mode, Mode::Up | Mode::Stalled) {
                self.state(&worker.state);
            }
            if worker.mode == Mode::Idle {
                // How it ended is all that anybody asks.
                self.plain(worker.state.ended.as_ref().map(|ended| ended.ending));
            } else {
                self.state(&worker.durable);
            }
        }
        for flight in &world.flights {
            self.time_if(flight.until);
            match &flight.what {
                Sent::Promote(cred) => self.cred(*cred),
                Sent::Call(run, call) => {
                    self.plain(run);
                    self.call(call);
                }
            }
        }
        self.cred_if(world.announced);
        self.plain((world.notes.len(), world.pasted.len()));
        for (run, slot, cred) in &world.notes {
            self.plain((run, slot));
            self.cred(*cred);
        }
        for (run, cred) in &world.pasted {
            self.plain(run);
            self.cred(*cred);
        }
        for snapshot in &world.snapshots {
            self.vault(&snapshot.vault);
            self.state(&snapshot.durable);
        }
        if world.faults > 0 {
            // Only a fault restores the target.
            self.target(&world.backup);
        }
        self.holds();
        self.proved();
        self.plain((world.faults, world.resumes, world.drifted, world.beyond_deadline));
        self.plain((
            world.outside,
            world.withdrawn,
            world.mixed,
            world.disk_lost,
            world.given_up,
        ));
    }

    /// A set: in the order of the new names. Those without a name are known to consumers alone, so their end is all that tells them apart.
    fn holds(&mut self) {
        let world = self.world;
        let mut holds: Vec<_> = world
            .holds
            .iter()
            .map(|(cred, until)| {
                (
                    self.names[usize::from(*cred)],
                    until.map(|until| until.saturating_sub(world.now)),
                )
            })
            .collect();
        holds.sort_unstable();
        self.plain(holds);
    }

    /// A set of which only those count that are known elsewhere.
    fn proved(&mut self) {
        let named = self
            .world
            .proved
            .iter()
            .map(|cred| self.names[usize::from(*cred)]);
        let set = named
            .filter(|name| *name != 0)
            .fold(0u64, |set, name| set | 1 << (name & 63));
        self.print.word(set);
    }

    fn vault(&mut self, vault: &Vault) {
        self.plain((vault.epoch, vault.versions.len()));
        for version in &vault.versions {
            self.cred(version.cred);
            if version.cred & AGAIN != 0 {
                self.cred(value_of(version.cred));
            }
            self.plain((version.stage, version.run, version.remote, version.sent));
        }
        self.cred_if(vault.other_name);
    }

    fn target(&mut self, target: &Target) {
        match target {
            Target::Set(set) => {
                self.plain(set.len());
                self.creds(set);
            }
            Target::Pair(primary, retained) => {
                self.cred(*primary);
                self.cred_if(*retained);
            }
            Target::One(only) => self.cred(*only),
            Target::Alternate([first, second]) => {
                self.cred_if(*first);
                self.cred_if(*second);
            }
            Target::Keys(keys) => {
                self.plain(keys.len());
                for key in keys {
                    self.cred(key.cred);
                    self.plain(key.run);
                    self.time(key.from);
                }
            }
            Target::Fixed { slots, operation } => {
                self.creds(slots);
                self.plain(operation.map(|running| running.slot));
                self.time_if(operation.map(|running| running.until));
            }
            Target::Clock { newest, dying } => {
                self.cred(newest.cred);
                self.plain((newest.run, dying.len()));
                for (cred, until) in dying {
                    self.cred(*cred);
                    self.time(*until);
                }
            }
            Target::Served { served, valid } => {
                self.cred(*served);
                self.plain(valid.len());
                self.creds(valid);
            }
        }
    }

    /// Every field by name, so that a new one cannot be overlooked.
    fn state(&mut self, state: &State) {
        let State {
            format: _,
            // Told by the worker's number of the run.
            run: _,
            settings: _,
            phase,
            entry,
            op,
            doing,
            pause_until,
            fence,
            epoch,
            roles,
            reach,
            interrupted,
            attempt,
            settled_at,
            believe_at,
            proved,
            proof_is_old,
            promoted,
            stale_until,
            wait_ends,
            held_until,
            revokes_now,
            looks,
            reported,
            old_valid_until,
            seen,
            rounds,
            wish,
            superseded,
            no_way_back,
            check,
            parked,
            trouble: _,
            ended,
            log: _,
        } = state;
        let alive = fence.map(|fence| fence.0 == self.world.lease.fence);
        self.plain((phase, entry, *op == 0, alive, epoch, reach, interrupted, attempt));
        self.plain((
            proved,
            proof_is_old,
            promoted,
            seen,
            rounds,
            wish,
            superseded,
            no_way_back,
        ));
        self.plain((looks, revokes_now));
        self.plain(reported.len());
        self.plain(parked.as_ref().map(|parked| (parked.cause, parked.back_to)));
        self.plain(ended.as_ref().map(|ended| ended.ending));
        self.at(*settled_at);
        self.at(*believe_at);
        for at in [pause_until, stale_until, wait_ends, held_until, old_valid_until] {
            self.at_if(*at);
        }
        self.roles(roles);
        self.check(check);
        self.doing(doing.as_ref());
    }

    fn roles(&mut self, roles: &Roles) {
        let Roles {
            current,
            pending,
            previous,
        } = roles;
        for version in [current, pending, previous] {
            self.version_if(version.as_ref());
        }
    }

    fn check(&mut self, check: &Check) {
        let Check {
            begun,
            queue,
            current_refused,
            accepted,
            park_after,
            head_accepted,
            restored,
        } = check;
        self.plain((begun, current_refused, park_after, head_accepted, restored));
        self.version_if(accepted.as_ref());
        self.plain(queue.len());
        for Candidate { version, newer } in queue {
            self.cred(cred_of(version));
            self.plain(newer);
        }
    }

    fn doing(&mut self, doing: Option<&Effect>) {
        let Some(effect) = doing else {
            return self.print.word(0);
        };
        self.plain(std::mem::discriminant(effect));
        match effect {
            Effect::Call(call) => {
                self.call(call);
                self.at(call.deadline);
            }
            Effect::Promote { expected, version } => {
                self.version_if(expected.as_ref());
                self.cred(cred_of(version));
            }
            Effect::Mirror { version }
            | Effect::Announce { version }
            | Effect::Propagate { version }
            // The fake vault keeps for ever.
            | Effect::Abandon { version, keep_until: _ }
            | Effect::MarkRevoked { version, keep_until: _ } => self.cred(cred_of(version)),
            Effect::Sleep { until } => self.at(*until),
            Effect::Lease | Effect::EndSessions | Effect::ReadHead | Effect::Park | Effect::Release => {}
        }
    }

    fn call(&mut self, call: &Call) {
        let Call {
            step,
            subject,
            roles,
            // For the plugin's log.
            attempt: _,
            interrupted,
            deadline: _,
        } = call;
        self.plain((step, interrupted));
        self.version_if(subject.as_ref());
        self.roles(roles);
    }
}
