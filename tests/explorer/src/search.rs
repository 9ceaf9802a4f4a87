//! Breadth-first search over every history of a scene. Complete within the scene's bound of faults: nothing is sampled.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::invariant::{Invariant, Violation};
use crate::moves::{Move, Rig};
use crate::scene::{Scene, Wrong};
use crate::world::World;

/// Fingerprints are hashes already.
#[derive(Default)]
pub struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "the low half of a hash is a hash")]
        {
            self.0 = value as u64;
        }
    }
}

/// Every state that was met, by its fingerprint and by its number.
#[derive(Default)]
struct Met {
    numbers: HashMap<u128, u32, BuildHasherDefault<Plain>>,
    /// From which state by which move each was met first. The first one is its own.
    from: Vec<(u32, Move)>,
    /// Transitions without a fault.
    faultless: Vec<(u32, u32)>,
}

impl Met {
    /// The number of a state, and whether it is new.
    fn meet(&mut self, print: u128, from: u32, what: Move) -> (u32, bool) {
        let next = u32::try_from(self.from.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(print).or_insert(next);
        if number == next {
            self.from.push((from, what));
        }
        (number, number == next)
    }

    /// The moves that lead to a state.
    fn history(&self, mut state: u32) -> Vec<Move> {
        let mut way = Vec::new();
        while state != 0 {
            let (before, what) = self.from[state as usize];
            way.push(what);
            state = before;
        }
        way.reverse();
        way
    }

    /// A state from which a run can go round for ever though nothing goes wrong any more: what is left when every state is taken away that no
    /// other one leads to, again and again.
    fn endless(&mut self) -> Option<u32> {
        self.faultless.sort_unstable();
        let mut entries = vec![0u32; self.from.len()];
        for (_, to) in &self.faultless {
            entries[*to as usize] += 1;
        }
        let mut ready: Vec<u32> = (0..)
            .zip(&entries)
            .filter_map(|(state, entries)| (*entries == 0).then_some(state))
            .collect();
        while let Some(state) = ready.pop() {
            let first = self.faultless.partition_point(|(from, _)| *from < state);
            for (_, to) in self.faultless[first..]
                .iter()
                .take_while(|(from, _)| *from == state)
            {
                entries[*to as usize] -= 1;
                if entries[*to as usize] == 0 {
                    ready.push(*to);
                }
            }
        }
        (0..)
            .zip(&entries)
            .find_map(|(state, entries)| (*entries != 0).then_some(state))
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Distinct states.
    pub states: usize,
    /// Transitions between them.
    pub transitions: usize,
    /// Length of the longest shortest history.
    pub depth: usize,
    /// The first violation, with the history that leads to it.
    pub violation: Option<(Violation, Vec<Move>)>,
}

/// More states than this mean that the scene has grown beyond the search: it fails instead of sampling.
pub const MOST_STATES: usize = 40_000_000;

/// Searches a scene. Stops at the first violation, which is one of the shortest; looks for runs without an end when there is none.
///
/// # Panics
///
/// When the scene has more than [`MOST_STATES`] states.
pub fn search(scene: &Scene, wrong: Wrong) -> Found {
    search_within(scene, wrong, MOST_STATES)
}

/// The same with another bound on the states.
///
/// # Panics
///
/// When the scene has more states than that.
pub fn search_within(scene: &Scene, wrong: Wrong, most_states: usize) -> Found {
    let rig = Rig { scene, wrong };
    let first = World::new(scene);
    let mut met = Met::default();
    let (root, _) = met.meet(first.fingerprint(), 0, Move::Tick);
    let mut found = Found {
        states: 1,
        transitions: 0,
        depth: 0,
        violation: None,
    };
    let mut frontier = vec![(root, first)];
    let mut moves = Vec::new();
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for (state, world) in frontier {
            rig.moves(&world, &mut moves);
            if rig.is_resting(&world)
                && world.flights.is_empty()
                && !moves.iter().any(|what| goes_on(*what))
                && let Err(violation) = rig.check_rest(&world)
            {
                found.violation = Some((violation, met.history(state)));
                return found;
            }
            for what in &moves {
                found.transitions += 1;
                match rig.make(&world, *what) {
                    Ok(mut after) => {
                        if after.faults == 0 {
                            // Nothing can be restored any more.
                            after.snapshots.clear();
                        }
                        let (number, new) = met.meet(after.fingerprint(), state, *what);
                        if after.faults == world.faults {
                            met.faultless.push((state, number));
                        }
                        if new {
                            next.push((number, after));
                        }
                    }
                    Err(violation) => {
                        let mut way = met.history(state);
                        way.push(*what);
                        found.states = met.from.len();
                        found.violation = Some((violation, way));
                        return found;
                    }
                }
            }
        }
        assert!(
            met.from.len() <= most_states,
            "{}: too many states to search",
            scene.name
        );
        found.states = met.from.len();
        found.depth += usize::from(!next.is_empty());
        frontier = next;
    }
    if let Some(state) = met.endless() {
        let violation = Violation {
            invariant: Invariant::RunsComeToTheirEnd,
            detail: "goes round for ever though nothing goes wrong".to_owned(),
        };
        found.violation = Some((violation, met.history(state)));
    }
    found
}

/// Whether a move brings a resting world on without a further fault.
pub(crate) fn goes_on(what: Move) -> bool {
    matches!(
        what,
        Move::Resume(..)
            | Move::Turn(..)
            | Move::DriftCheck
            | Move::Effect(_, crate::moves::Way::Well)
            | Move::Recover(_)
            | Move::PutBack(..)
            | Move::Tick
    )
}

/// A history with the effects and reports in it, for people.
pub fn explain(scene: &Scene, wrong: Wrong, way: &[Move]) -> String {
    let rig = Rig { scene, wrong };
    let mut world = World::new(scene);
    let mut text = String::new();
    for what in way {
        let doing = match what {
            Move::Effect(worker, _) | Move::Stall(worker, _) => {
                format!("{:?}", world.workers[*worker].state.doing)
            }
            _ => String::new(),
        };
        text.push_str(&format!("t={} {what:?} {doing}\n", world.now));
        match rig.make(&world, *what) {
            Ok(after) => {
                world = after;
                text.push_str(&format!("    {}\n", world.brief()));
            }
            Err(violation) => {
                text.push_str(&format!("    {violation:?}\n"));
                break;
            }
        }
    }
    text
}
