//! One state of everything: vault, target, hosts, requests on their way, and what consumers may hold.

use std::sync::Arc;

use keywheel_model::{SlotClass, Stage, Strategy, Timestamp, Trigger};
use keywheel_workflow::{Call, Effect, State};

use crate::scene::Scene;
use crate::target::{Key, Target};
use crate::vault::{AGAIN, Cred, Vault, run_id, value_of};

/// How a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// At work, or waiting.
    Up,
    /// Crashed; its journal is what it will know.
    Down,
    /// Stands still and will go on where it was.
    Stalled,
    /// Its run is over and released.
    Idle,
    /// Its run is begun; the older value that it is to put back is not stored yet.
    Begun,
}

/// A host with its run.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The number of the run.
    pub run: u8,
    /// In memory.
    pub state: Arc<State>,
    /// In the journal.
    pub durable: Arc<State>,
    /// How it is.
    pub mode: Mode,
    /// What its last login showed to be accepted, and when.
    pub saw: Option<(Cred, u64)>,
}

/// A request on its way, whose sender knows no more about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    /// What it is.
    pub what: Sent,
    /// After this it cannot land. None: the server keeps no deadline.
    pub until: Option<u64>,
}

/// What is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// A plugin's request to the target.
    Call(u8, Call),
    /// A write of a current version to a vault without compare-and-set.
    Promote(Cred),
}

/// The lease of secret and principal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LeaseTable {
    /// Who has it.
    pub holder: Option<usize>,
    /// The token of the last holder.
    pub fence: u64,
    /// When it lapses, if its holder does not renew it any more.
    pub lapses: Option<u64>,
    /// Until when effects of those who gave it up may land.
    pub settled: u64,
}

/// What may be restored.
#[derive(Debug, Hash)]
pub struct Snapshot {
    /// The vault then.
    pub vault: Vault,
    /// The journal of the host then.
    pub durable: Arc<State>,
}

/// Everything.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts about the history that invariants ask for"
)]
pub struct World {
    /// The time.
    pub now: u64,
    /// The vault.
    pub vault: Vault,
    /// The target.
    pub target: Target,
    /// The lease.
    pub lease: LeaseTable,
    /// Failed logins of the account and when they are forgotten.
    pub failed_logins: (u8, u64),
    /// The hosts.
    pub workers: Vec<Worker>,
    /// Requests on their way.
    pub flights: Vec<Flight>,
    /// What consumers may hold, and how long. None: it is current.
    pub holds: Vec<(Cred, Option<u64>)>,
    /// Given to consumers beside the current one.
    pub announced: Option<Cred>,
    /// A login with it was accepted, seen by the host.
    pub proved: Vec<Cred>,
    /// What a plugin keeps of a run: for class E the slot it regenerates and its image before; for class H the order.
    pub notes: Vec<(u8, usize, Cred)>,
    /// What a person pasted for which run (class G).
    pub pasted: Vec<(u8, Cred)>,
    /// Faults left.
    pub faults: u8,
    /// How often a person resumed a parked run.
    pub resumes: u8,
    /// The drift check has run.
    pub drifted: bool,
    /// An effect lives longer than its deadline.
    pub beyond_deadline: bool,
    /// Something happened outside.
    pub outside: bool,
    /// The grant is taken away.
    pub withdrawn: bool,
    /// A value in the vault is half of the old and half of the new pair.
    pub mixed: bool,
    /// A host's disk was lost, and with it the markers of its run.
    pub disk_lost: bool,
    /// A run was given up: what it has left on the target nobody has looked at.
    pub given_up: bool,
    /// Older states of vault and journal.
    pub snapshots: Vec<Arc<Snapshot>>,
    /// An older state of the target.
    pub backup: Arc<Target>,
}

/// The number of the run that is the drift check.
pub const DRIFT_RUN: u8 = 20;

/// The credential in use at the start.
pub const FIRST: Cred = 1;

/// What was in use before it, where an older value is to be put back.
pub const OLDER: Cred = FIRST + 1;

impl World {
    /// The start of a scene.
    pub fn new(scene: &Scene) -> Self {
        let mut vault = Vault {
            versions: Vec::new(),
            epoch: 0,
            other_name: scene.two_names.then_some(FIRST),
        };
        let goes_back = scene.trigger == Trigger::Rollback;
        if goes_back {
            vault.add(OLDER, Stage::Revoked, None, true);
        }
        if scene.adopting {
            vault.add(FIRST, Stage::Pending, None, true);
        } else if !scene.nothing_imported {
            vault.add(FIRST, Stage::Current, None, true);
        }
        let workers = (1u8..).take(scene.workers).map(|run| {
            let state = Arc::new(State::new(run_id(run), scene.settings(scene.trigger)));
            Worker {
                run,
                state: Arc::clone(&state),
                durable: state,
                mode: if goes_back { Mode::Begun } else { Mode::Down },
                saw: None,
            }
        });
        let target = first_target(scene);
        let mut world = Self {
            now: 1_000,
            vault,
            backup: Arc::new(target.clone()),
            target,
            lease: LeaseTable::default(),
            failed_logins: (0, 0),
            workers: workers.collect(),
            flights: Vec::new(),
            holds: vec![(FIRST, None)],
            announced: None,
            proved: Vec::new(),
            notes: Vec::new(),
            pasted: Vec::new(),
            faults: scene.faults,
            resumes: 0,
            drifted: false,
            beyond_deadline: false,
            outside: false,
            withdrawn: false,
            mixed: false,
            disk_lost: false,
            given_up: false,
            snapshots: Vec::new(),
        };
        if scene.kinds.outside && !scene.weak_vault {
            world.remember(0);
        }
        world
    }

    /// Keeps vault and journal as they are now for a later restore.
    pub fn remember(&mut self, worker: usize) {
        let durable = Arc::clone(&self.workers[worker].durable);
        self.snapshots.push(Arc::new(Snapshot {
            vault: self.vault.clone(),
            durable,
        }));
    }

    /// The time in the machine's words.
    pub fn time(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.now)
    }

    /// A number that nothing here uses.
    pub fn fresh(&self) -> Cred {
        let used = self.used();
        (FIRST..AGAIN)
            .find(|cred| !used[usize::from(*cred)])
            .unwrap_or(AGAIN - 1)
    }

    /// The version that a person wants back: revoked, of a value that the target refuses; and the number of the new version that has its value.
    pub fn wanted_back(&self) -> Option<Cred> {
        let used = self.used();
        let mut revoked = self
            .vault
            .versions
            .iter()
            .filter(|version| version.stage == Stage::Revoked && version.cred & AGAIN == 0)
            .map(|version| version.cred);
        revoked
            .find(|cred| !used[usize::from(cred | AGAIN)] && !self.target.accepts(*cred, self.now))
            .map(|cred| cred | AGAIN)
    }

    fn used(&self) -> [bool; 256] {
        let mut used = [false; 256];
        let flights = self.flights.iter().filter_map(|flight| match &flight.what {
            Sent::Promote(cred) => Some(*cred),
            Sent::Call(_, call) => call.subject.as_ref().map(crate::vault::cred_of),
        });
        let versions = self.vault.versions.iter().map(|version| version.cred);
        let snapshots = self
            .snapshots
            .iter()
            .flat_map(|snapshot| snapshot.vault.versions.iter().map(|kept| kept.cred));
        let rest = self
            .holds
            .iter()
            .map(|(cred, _)| *cred)
            .chain(self.notes.iter().map(|(_, _, cred)| *cred));
        let rest = rest
            .chain(self.target.creds())
            .chain(self.backup.creds())
            .chain(self.announced)
            .chain(self.pasted.iter().map(|(_, cred)| *cred))
            .chain(self.proved.iter().copied());
        for cred in versions.chain(flights).chain(snapshots).chain(rest) {
            used[usize::from(cred)] = true;
            used[usize::from(value_of(cred))] = true;
        }
        used
    }

    /// A number that no run here has.
    pub fn fresh_run(&self) -> u8 {
        let flights = self.flights.iter().filter_map(|flight| match &flight.what {
            Sent::Call(run, _) => Some(*run),
            Sent::Promote(_) => None,
        });
        let vaults = std::iter::once(&self.vault).chain(self.snapshots.iter().map(|kept| &kept.vault));
        let made = vaults.flat_map(|vault| vault.versions.iter().filter_map(|version| version.run));
        let noted = self.notes.iter().map(|(run, ..)| *run);
        let pasted = self.pasted.iter().map(|(run, _)| *run);
        let used: Vec<u8> = flights
            .chain(made)
            .chain(noted)
            .chain(pasted)
            .chain(self.workers.iter().map(|worker| worker.run))
            .chain(self.target.runs())
            .chain(self.backup.runs())
            .collect();
        (1..)
            .find(|run| *run != DRIFT_RUN && !used.contains(run))
            .unwrap_or(u8::MAX)
    }

    /// Where hosts, vault and target stand, for people.
    pub fn brief(&self) -> String {
        let hosts = self
            .workers
            .iter()
            .map(|host| (host.mode, host.run, host.state.phase, host.state.entry));
        let hosts: Vec<_> = hosts
            .map(|(mode, run, phase, entry)| format!("{mode:?} run {run} {phase:?}/{entry:?}"))
            .collect();
        let kept = self
            .vault
            .versions
            .iter()
            .filter(|kept| kept.stage != Stage::Revoked);
        let kept: Vec<_> = kept
            .map(|kept| format!("{} {:?} of {:?}", kept.cred, kept.stage, kept.run))
            .collect();
        format!(
            "[{}] vault=[{}] and {} revoked; target={:?}",
            hosts.join(", "),
            kept.join(", "),
            self.vault.versions.len() - kept.len(),
            self.target
        )
    }

    /// When the worker wants to be woken, if it sleeps.
    pub fn sleeps_until(&self, worker: usize) -> Option<u64> {
        match &self.workers[worker].state.doing {
            Some(Effect::Sleep { until }) if self.workers[worker].mode == Mode::Up => {
                Some(until.as_unix_ms())
            }
            _ => None,
        }
    }

    /// Whether the worker waits for a person.
    pub fn is_parked(&self, worker: usize) -> bool {
        self.workers[worker].mode == Mode::Up
            && matches!(self.workers[worker].state.doing, Some(Effect::Park))
    }

    /// Equal for worlds that behave alike, see `canonical.rs`.
    pub fn fingerprint(&self) -> u128 {
        crate::canonical::fingerprint(self)
    }
}

fn first_target(scene: &Scene) -> Target {
    let first = Key {
        cred: FIRST,
        run: None,
        from: 0,
    };
    match scene.class {
        SlotClass::A => Target::Set(vec![FIRST]),
        SlotClass::B => Target::Pair(FIRST, None),
        SlotClass::C if scene.strategy == Strategy::TwoSlot => Target::Alternate([Some(FIRST), None]),
        SlotClass::C => Target::One(FIRST),
        SlotClass::D | SlotClass::G => Target::Keys(vec![first]),
        // The second slot holds a key that nobody uses.
        SlotClass::E => Target::Fixed {
            slots: [FIRST, FIRST + 1],
            operation: None,
        },
        SlotClass::F => Target::Clock {
            newest: first,
            dying: Vec::new(),
        },
        SlotClass::H => Target::Served {
            served: FIRST,
            valid: vec![FIRST],
        },
    }
}

/// The run that a drift check is.
pub fn drift_check(scene: &Scene) -> State {
    State::new(run_id(DRIFT_RUN), scene.settings(Trigger::Drift))
}
