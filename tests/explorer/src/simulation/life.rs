//! A world over many runs: what makes a long life out of the explorer's short histories.

use std::sync::Arc;

use keywheel_model::{SlotClass, Stage, Strategy, Trigger};
use keywheel_workflow::State;

use crate::invariant::{Violation, at_every_instant};
use crate::moves::{Move, Rig};
use crate::scene::{Scene, span};
use crate::target::Target;
use crate::vault::{Cred, run_id};
use crate::world::{Mode, Worker, World};

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// One of the explorer's moves.
    Move(Move),
    /// A host begins a run.
    Begin(usize),
    /// A host begins a run that puts an older value back, where there is one that a person may want back; else any run.
    GoBack(usize),
    /// Nothing, for so long.
    Wait(u64),
    /// All is at rest. What is over is forgotten, and so many faults may happen until the next day. `older`: what may be restored stays what it was.
    Day {
        /// Faults.
        faults: u8,
        /// Backups are not made anew.
        older: bool,
    },
    /// After a fault from outside that no run could mend: a person imports the secret anew.
    Anew,
}

/// A world, and how long its vault keeps what is revoked and abandoned.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) world: World,
    kept_until: Vec<(Cred, u64)>,
}

impl Life {
    pub(super) fn new(scene: &Scene) -> Self {
        let mut world = World::new(scene);
        for worker in &mut world.workers {
            worker.mode = Mode::Idle;
        }
        world.faults = 0;
        Self {
            world,
            kept_until: Vec::new(),
        }
    }

    /// Whether nothing is left of any fault.
    pub(super) fn is_clean(&self) -> bool {
        let world = &self.world;
        !(world.outside || world.beyond_deadline || world.disk_lost || world.given_up)
            && world.flights.is_empty()
    }

    /// What comes of a turn.
    pub(super) fn after(&self, rig: &Rig<'_>, turn: Turn) -> Result<Self, Violation> {
        let mut next = Self {
            world: match turn {
                Turn::Move(what) => return self.moved(rig, what),
                _ => self.world.clone(),
            },
            kept_until: self.kept_until.clone(),
        };
        match turn {
            Turn::Move(_) => {}
            Turn::Begin(worker) => next.begin(rig.scene, worker, Trigger::Schedule),
            Turn::GoBack(worker) => {
                let trigger = next.why(rig.scene);
                next.begin(rig.scene, worker, trigger);
            }
            Turn::Wait(span) => {
                let until = next.world.now + span;
                rig.wait(&mut next.world, until)?;
            }
            Turn::Day { faults, older } => next.day(rig.scene, faults, older),
            Turn::Anew => {
                let now = self.world.now;
                next = Self::new(rig.scene);
                next.world.now = now;
            }
        }
        at_every_instant(rig.scene, &next.world)?;
        Ok(next)
    }

    fn moved(&self, rig: &Rig<'_>, what: Move) -> Result<Self, Violation> {
        let mut world = rig.make(&self.world, what)?;
        let idle = |world: &World| {
            world
                .workers
                .iter()
                .filter(|host| host.mode == Mode::Idle)
                .count()
        };
        if what == Move::DriftCheck || idle(&world) > idle(&self.world) {
            // What kept a parked run from going on may be mended, or another run is over: people try again.
            world.resumes = 0;
        }
        Ok(Self {
            world,
            kept_until: self.kept_until.clone(),
        })
    }

    /// As the product: neither of accounts used in turn nor where the target makes its credentials, nor beside a pending version.
    fn why(&self, scene: &Scene) -> Trigger {
        let in_turn = scene.class == SlotClass::C && scene.strategy == Strategy::TwoSlot;
        let can = matches!(scene.class, SlotClass::A | SlotClass::B | SlotClass::C) && !in_turn;
        let world = &self.world;
        let may = can && !scene.weak_vault && world.vault.newest(Stage::Pending).is_none();
        if may && world.wanted_back().is_some() {
            Trigger::Rollback
        } else {
            Trigger::Schedule
        }
    }

    fn begin(&mut self, scene: &Scene, worker: usize, trigger: Trigger) {
        let run = self.world.fresh_run();
        self.world.resumes = 0;
        let state = Arc::new(State::new(run_id(run), scene.settings(trigger)));
        self.world.workers[worker] = Worker {
            run,
            state: Arc::clone(&state),
            durable: state,
            mode: if trigger == Trigger::Rollback {
                Mode::Begun
            } else {
                Mode::Down
            },
            saw: None,
        };
    }

    fn day(&mut self, scene: &Scene, faults: u8, older: bool) {
        let world = &mut self.world;
        let meddled = world.outside || world.disk_lost || world.beyond_deadline || world.given_up;
        // As long as current stands where the next run would push it out, what happens then is still the fault's doing.
        if world
            .vault
            .current()
            .is_some_and(|current| world.target.is_settled_on(current))
        {
            world.outside = false;
            world.beyond_deadline = false;
            world.disk_lost = false;
            world.given_up = false;
        }
        if meddled {
            // Consumers have read the vault again, and the inventory has found what nobody knows or what came back to life.
            world.holds = world
                .vault
                .current()
                .map(|current| (current, None))
                .into_iter()
                .collect();
            world.announced = None;
            if let Target::Keys(keys) = &mut world.target {
                let over = |stage| matches!(stage, Stage::Revoked | Stage::Abandoned);
                keys.retain(|key| {
                    world
                        .vault
                        .get(key.cred)
                        .is_some_and(|version| !over(version.stage))
                });
            }
        }
        world.withdrawn = false;
        world.mixed = false;
        world.resumes = 0;
        world.drifted = false;
        world.vault.epoch = 0;
        world.notes.clear();
        world.pasted.clear();
        world.faults = faults;
        self.forget();
        let world = &mut self.world;
        if !older || world.snapshots.is_empty() {
            world.backup = Arc::new(world.target.clone());
            world.snapshots.clear();
            if scene.kinds.outside && !scene.weak_vault {
                world.remember(0);
            }
        }
    }

    /// What is revoked or abandoned is kept for the horizon and deleted then.
    fn forget(&mut self) {
        let world = &mut self.world;
        for version in &world.vault.versions {
            let over = matches!(version.stage, Stage::Revoked | Stage::Abandoned);
            let known = self.kept_until.iter().any(|(cred, _)| *cred == version.cred);
            if over && !known {
                self.kept_until.push((version.cred, world.now + span::HORIZON));
            }
        }
        let kept = &mut self.kept_until;
        world.vault.versions.retain(|version| {
            let over = matches!(version.stage, Stage::Revoked | Stage::Abandoned);
            !over
                || kept
                    .iter()
                    .any(|(cred, until)| *cred == version.cred && *until > world.now)
        });
        kept.retain(|(cred, _)| {
            world
                .vault
                .get(*cred)
                .is_some_and(|version| matches!(version.stage, Stage::Revoked | Stage::Abandoned))
        });
        let vault = &world.vault;
        match &mut world.target {
            Target::Served { served, valid } => valid.retain(|cred| {
                let restorable = world.snapshots.iter().any(|kept| kept.vault.holds(*cred));
                cred == served || vault.holds(*cred) || restorable
            }),
            Target::Clock { dying, .. } => dying.retain(|(_, until)| *until > world.now),
            _ => {}
        }
        let known = |cred: Cred| vault.holds(cred) || world.target.creds().contains(&cred);
        world.proved.retain(|cred| known(*cred));
        world.announced = world.announced.filter(|cred| known(*cred));
    }

    /// The turn, for people.
    pub(super) fn told(&self, turn: Turn) -> String {
        let doing = match turn {
            Turn::Move(Move::Effect(worker, _) | Move::Stall(worker, _)) => {
                format!("{:?}", self.world.workers[worker].state.doing)
            }
            _ => String::new(),
        };
        format!("t={} {turn:?} {doing}\n", self.world.now)
    }
}
