//! A seeded simulation: hundreds of runs of one secret in a row, with all kinds of faults at a rate, a recovery between them, and the invariants of the
//! search at every instant. What the search shows for every short history this tries on long ones. A seed repeats its history exactly.

mod life;

use std::collections::VecDeque;
use std::fmt;

use keywheel_model::{SlotClass, Stage, Strategy};
use keywheel_workflow::ProofPolicy;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::invariant::{Check, Invariant, Violation, current_is_accepted, faultless_runs_succeed, violated};
use crate::moves::{Move, Rig, Way};
use crate::scene::{Kinds, Scene, Wrong, span};
use crate::search::goes_on;
use crate::world::Mode;

use life::{Life, Turn};

/// Turns of one seed's history, unless asked otherwise.
pub const TURNS: u64 = 10_000;

/// After this many turns without a fault a world is at rest, or it never will be.
const MOST_CALM_TURNS: u32 = 4_000;

/// Most runs between two recoveries.
const MOST_RUNS_A_DAY: u32 = 6;

/// More kept versions than this, and time passes until the vault has forgotten some.
const MANY_VERSIONS: usize = 40;

/// How much happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Turns.
    pub steps: u64,
    /// Runs begun, drift checks among them.
    pub runs: u64,
    /// Faults.
    pub faults: u64,
    /// Times when everything was at rest, checked, and no fault was left to recover from.
    pub recoveries: u64,
    /// Times when, after a fault from outside, a run was parked for good and a person started the secret anew.
    pub anew: u64,
}

impl Figures {
    /// Adds another history's.
    pub fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.runs += other.runs;
        self.faults += other.faults;
        self.recoveries += other.recoveries;
        self.anew += other.anew;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "steps={} runs={} faults={} recoveries={} anew={}",
            self.steps, self.runs, self.faults, self.recoveries, self.anew
        )
    }
}

/// A violation, with all that is needed to look at it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed that repeats it.
    pub seed: u64,
    /// The scene that the seed stands for.
    pub scene: Scene,
    /// What was violated.
    pub violation: Violation,
    /// The history since everything was at rest and clean for the last time.
    pub history: String,
    /// How much had happened.
    pub figures: Figures,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "seed {}: {:?}", self.seed, self.scene)?;
        write!(out, "{}", self.history)?;
        write!(
            out,
            "seed {} violates {:?} after {}: {}",
            self.seed, self.violation.invariant, self.figures, self.violation.detail
        )
    }
}

/// Simulates a seed's history of so many turns.
///
/// # Errors
///
/// The first violation.
pub fn simulate(seed: u64, turns: u64, wrong: Wrong) -> Result<Figures, Box<Failure>> {
    let mut dice = StdRng::seed_from_u64(seed);
    let scene = scene_of(seed, &mut dice);
    let life = Life::new(&scene);
    let mut simulation = Simulation {
        rig: Rig { scene: &scene, wrong },
        first: life.clone(),
        life,
        history: Vec::new(),
        dice,
        queue: VecDeque::new(),
        moves: Vec::new(),
        today: Today::default(),
        figures: Figures::default(),
    };
    match simulation.run(turns) {
        Ok(()) => Ok(simulation.figures),
        Err(violation) => Err(Box::new(Failure {
            seed,
            violation,
            history: simulation.explain(),
            figures: simulation.figures,
            scene: scene.clone(),
        })),
    }
}

/// The scene of a seed. Eight seeds in a row have all eight classes.
fn scene_of(seed: u64, dice: &mut StdRng) -> Scene {
    let classes = SlotClass::ALL;
    #[expect(clippy::cast_possible_truncation, reason = "below eight")]
    let class = classes[(seed % classes.len() as u64) as usize];
    let two = dice.random_bool(0.3);
    let scene = Scene::one("simulation", class);
    let alternating = class == SlotClass::C && dice.random_bool(0.4);
    let weak_vault = dice.random_bool(0.5);
    Scene {
        strategy: if alternating {
            Strategy::TwoSlot
        } else {
            scene.strategy
        },
        announce: scene.announce && !alternating && dice.random_bool(0.6),
        weak_vault,
        two_names: weak_vault && dice.random_bool(0.5),
        ends_sessions: scene.ends_sessions && dice.random_bool(0.7),
        belief: if dice.random_bool(0.7) { scene.belief } else { 0 },
        proof: if dice.random_bool(0.2) {
            ProofPolicy::Deferred
        } else {
            ProofPolicy::Login
        },
        reports: dice.random_bool(0.3),
        free_choices: crate::moves::MOST_RESUMES,
        workers: if two { 2 } else { 1 },
        // Faults are handed out day by day.
        faults: u8::MAX,
        kinds: Kinds {
            stalls: two,
            outside: true,
            // The server keeps its deadline where accounts take turns: see the row `C in turn` of the search.
            beyond_deadline: !alternating,
            ..Kinds::ALL
        },
        ..scene
    }
}

/// The time since the last recovery.
#[derive(Clone, Debug, Default)]
struct Today {
    /// One turn in so many is a fault, while there are any left.
    one_in: u32,
    /// Faults from outside are among them.
    outside: bool,
    /// A fault has happened, or something of an earlier one was still on its way.
    faulty: bool,
    /// Runs begun.
    begun: u32,
    /// Turns since the last fault.
    calm: u32,
}

struct Simulation<'a> {
    rig: Rig<'a>,
    /// Where the history began.
    first: Life,
    life: Life,
    history: Vec<Turn>,
    dice: StdRng,
    /// Turns that are decided on.
    queue: VecDeque<Turn>,
    moves: Vec<Move>,
    today: Today,
    figures: Figures,
}

impl Simulation<'_> {
    fn run(&mut self, turns: u64) -> Check {
        while self.figures.steps < turns {
            let turn = self.choose()?;
            self.count(turn);
            if matches!(turn, Turn::Day { .. }) && self.life.is_clean() {
                self.first = self.life.clone();
                self.history.clear();
            }
            self.history.push(turn);
            self.life = self.life.after(&self.rig, turn)?;
        }
        Ok(())
    }

    fn count(&mut self, turn: Turn) {
        self.figures.steps += 1;
        self.today.calm += 1;
        match turn {
            Turn::Begin(_) | Turn::GoBack(_) | Turn::Move(Move::DriftCheck) => {
                self.figures.runs += 1;
                self.today.begun += 1;
                self.today.calm = 0;
                // A pending version that a fault from outside has left behind may have to be given up first.
                self.today.faulty |=
                    !self.life.is_clean() || self.life.world.vault.newest(Stage::Pending).is_some();
            }
            Turn::Move(what) if is_fault(what) => {
                self.figures.faults += 1;
                self.today.faulty = true;
                self.today.calm = 0;
            }
            // A person stops a run: it need not succeed any more.
            Turn::Move(Move::Turn(..)) => self.today.faulty = true,
            Turn::Day { .. } => self.figures.recoveries += 1,
            Turn::Anew => self.figures.anew += 1,
            Turn::Move(_) | Turn::Wait(_) => {}
        }
    }

    fn choose(&mut self) -> Result<Turn, Violation> {
        if let Some(turn) = self.queue.pop_front() {
            return Ok(turn);
        }
        if self.today.calm > MOST_CALM_TURNS {
            return violated(Invariant::RunsComeToTheirEnd, "nothing comes to rest");
        }
        let mut moves = std::mem::take(&mut self.moves);
        let world = &self.life.world;
        self.rig.moves(world, &mut moves);
        let on_its_way = !world.flights.is_empty();
        let resting = self.rig.is_resting(world);
        if resting && !on_its_way && !moves.iter().any(|what| goes_on(*what)) {
            self.moves = moves;
            return self.at_rest();
        }
        let chosen = self.begins_another(resting, on_its_way);
        let chosen = chosen.or_else(|| self.pick(&moves));
        self.moves = moves;
        match chosen {
            Some(turn) => Ok(turn),
            None => violated(Invariant::RunsComeToTheirEnd, "nothing can happen any more"),
        }
    }

    /// A further run beside another host's, or while something of an earlier one is still on its way.
    fn begins_another(&mut self, resting: bool, on_its_way: bool) -> Option<Turn> {
        let hosts = &self.life.world.workers;
        if self.today.begun >= MOST_RUNS_A_DAY {
            return None;
        }
        let idle = hosts.iter().position(|host| host.mode == Mode::Idle)?;
        if resting && on_its_way {
            match self.dice.random_range(0..8) {
                0 => return Some(Turn::Begin(idle)),
                1 => return Some(Turn::Wait(self.dice.random_range(1..200))),
                _ => {}
            }
        }
        (!resting && self.dice.random_ratio(1, 40)).then_some(Turn::Begin(idle))
    }

    /// One of the explorer's moves.
    fn pick(&mut self, moves: &[Move]) -> Option<Turn> {
        let mut faults = moves
            .iter()
            .filter(|what| is_fault(**what) && (self.today.outside || !is_outside(**what)))
            .peekable();
        if faults.peek().is_some() && self.dice.random_ratio(1, self.today.one_in.max(1)) {
            let faults: Vec<_> = faults.copied().collect();
            return faults.choose(&mut self.dice).copied().map(Turn::Move);
        }
        let arrives = |what: &Move| matches!(what, Move::Land(_) | Move::Vanish(_));
        let patient = self.dice.random_ratio(7, 8);
        let calm: Vec<_> = moves.iter().copied().filter(|what| !is_fault(*what)).collect();
        let here: Vec<_> = calm.iter().copied().filter(|what| !arrives(what)).collect();
        let among = if patient && !here.is_empty() { here } else { calm };
        among.choose(&mut self.dice).copied().map(Turn::Move)
    }

    /// Everything is at rest: it is checked, and another day begins.
    fn at_rest(&mut self) -> Result<Turn, Violation> {
        let world = &self.life.world;
        self.rig.check_rest(world)?;
        if self.today.begun > 0 && !self.today.faulty {
            faultless_runs_succeed(self.rig.scene, &world.workers)?;
        }
        if (0..world.workers.len()).any(|worker| world.is_parked(worker)) || !current_is_accepted(world) {
            // It says why, and what a person can do: the person does the utmost.
            self.queue.push_back(Turn::Anew);
        }
        self.today = Today {
            one_in: *[4, 12, 30].choose(&mut self.dice).unwrap_or(&12),
            outside: self.dice.random_ratio(1, 4),
            ..Today::default()
        };
        let faults = *[0, 1, 1, 2, 3].choose(&mut self.dice).unwrap_or(&1);
        let older = self.dice.random_ratio(1, 4);
        self.queue.push_back(Turn::Day { faults, older });
        if world.vault.versions.len() > MANY_VERSIONS {
            self.queue.push_back(Turn::Wait(span::HORIZON));
        } else if self.dice.random_bool(0.5) {
            let most = *[span::STALE, 1_000, span::HORIZON / 4]
                .choose(&mut self.dice)
                .unwrap_or(&1);
            self.queue.push_back(Turn::Wait(self.dice.random_range(1..most)));
        }
        let meddled =
            faults > 0 && self.today.outside && self.rig.scene.kinds.outside && self.dice.random_bool(0.2);
        if meddled {
            let outside = [Move::ChangeByHand, Move::RestoreTarget, Move::WriteByHand];
            self.queue
                .extend(outside.choose(&mut self.dice).copied().map(Turn::Move));
        }
        if !meddled || self.dice.random_bool(0.5) {
            let worker = self.dice.random_range(0..self.rig.scene.workers);
            self.queue.push_back(if self.dice.random_ratio(1, 10) {
                Turn::Move(Move::DriftCheck)
            } else if self.dice.random_ratio(1, 4) {
                Turn::GoBack(worker)
            } else {
                Turn::Begin(worker)
            });
        }
        self.queue
            .pop_front()
            .map_or_else(|| violated(Invariant::RunsComeToTheirEnd, "no day"), Ok)
    }

    fn explain(&self) -> String {
        let mut text = format!("    {}\n", self.first.world.brief());
        let mut life = self.first.clone();
        for turn in &self.history {
            text.push_str(&life.told(*turn));
            match life.after(&self.rig, *turn) {
                Ok(after) => life = after,
                Err(violation) => {
                    text.push_str(&format!("    {violation:?}\n"));
                    return text;
                }
            }
            text.push_str(&format!("    {}\n", life.world.brief()));
        }
        text
    }
}

/// Whether a move uses up a fault.
fn is_fault(what: Move) -> bool {
    match what {
        Move::Effect(_, way) => way != Way::Well,
        Move::PutBack(_, stored) => !stored,
        Move::Stall(..)
        | Move::Cancel(_)
        | Move::RollBack(_)
        | Move::GiveUp(_)
        | Move::Hurry(..)
        | Move::Withdraw(_) => true,
        _ => is_outside(what),
    }
}

fn is_outside(what: Move) -> bool {
    matches!(
        what,
        Move::ChangeByHand
            | Move::RestoreTarget
            | Move::RestoreVault(_)
            | Move::WriteByHand
            | Move::LoseDisk
            | Move::Effect(_, Way::Mangled)
    )
}
