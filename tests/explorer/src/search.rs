//! Breadth-first search over every history of a scene. Complete within the scene's bound of faults: nothing is sampled.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::invariant::Violation;
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

type Visited = HashMap<u128, (u128, Move), BuildHasherDefault<Plain>>;

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

/// Searches a scene. Stops at the first violation, which is one of the shortest.
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
    let root = first.fingerprint();
    let mut visited = Visited::default();
    visited.insert(root, (root, Move::Tick));
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
        for (print, world) in &frontier {
            rig.moves(world, &mut moves);
            if rig.is_resting(world)
                && world.flights.is_empty()
                && !moves.iter().any(|what| goes_on(*what))
                && let Err(violation) = rig.check_rest(world)
            {
                found.violation = Some((violation, history(&visited, root, *print)));
                return found;
            }
            for what in &moves {
                found.transitions += 1;
                match rig.make(world, *what) {
                    Ok(after) => {
                        let after_print = after.fingerprint();
                        if let std::collections::hash_map::Entry::Vacant(vacant) = visited.entry(after_print)
                        {
                            vacant.insert((*print, *what));
                            next.push((after_print, after));
                        }
                    }
                    Err(violation) => {
                        let mut way = history(&visited, root, *print);
                        way.push(*what);
                        found.states = visited.len();
                        found.violation = Some((violation, way));
                        return found;
                    }
                }
            }
        }
        assert!(
            visited.len() <= most_states,
            "{}: too many states to search",
            scene.name
        );
        found.states = visited.len();
        found.depth += usize::from(!next.is_empty());
        frontier = next;
    }
    found
}

/// Whether a move brings a resting world on without a further fault.
pub(crate) fn goes_on(what: Move) -> bool {
    matches!(
        what,
        Move::Resume(..)
            | Move::DriftCheck
            | Move::Effect(_, crate::moves::Way::Well)
            | Move::Recover(_)
            | Move::Tick
    )
}

fn history(visited: &Visited, root: u128, mut print: u128) -> Vec<Move> {
    let mut way = Vec::new();
    while print != root {
        let Some((before, what)) = visited.get(&print) else {
            break;
        };
        way.push(*what);
        print = *before;
    }
    way.reverse();
    way
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
