//! Long random histories: 100,000 turns at a seed that is printed. It is the same each time, so that a change fails by its own fault and not by
//! chance: `cargo xtask simulate` is what looks for histories that nobody has seen, at a fresh one. `KEYWHEEL_SEED` sets another.
#![allow(clippy::print_stdout, reason = "the seed is what a failure is repeated by")]

use keywheel_explorer::invariant::Invariant;
use keywheel_explorer::scene::Wrong;
use keywheel_explorer::simulation::{Figures, TURNS, simulate};
use keywheel_workflow::Mutation;

const SEEDS: u64 = 10;
/// Among the ten that follow is one that found that a version of class F was forgotten when its run was given up.
const FIRST_SEED: u64 = 462_192_576;

fn first_seed() -> u64 {
    std::env::var("KEYWHEEL_SEED").map_or(FIRST_SEED, |text| match text.parse() {
        Ok(seed) => seed,
        Err(error) => panic!("KEYWHEEL_SEED={text}: {error}"),
    })
}

#[test]
fn a_hundred_thousand_turns_violate_nothing() {
    let first = first_seed();
    println!("KEYWHEEL_SEED={first}");
    let mut sum = Figures::default();
    for seed in first..first + SEEDS {
        match simulate(seed, TURNS, Wrong::default()) {
            Ok(figures) => sum.add(figures),
            Err(failure) => panic!("{failure}"),
        }
    }
    println!("{sum}");
    assert_eq!(sum.steps, SEEDS * TURNS);
    assert!(sum.faults > 0 && sum.runs > 100 * SEEDS, "{sum}");
}

#[test]
fn a_seed_repeats_itself() {
    let seed = first_seed();
    println!("KEYWHEEL_SEED={seed}");
    let once = simulate(seed, 2_000, Wrong::default()).expect("nothing is violated");
    assert_eq!(
        once,
        simulate(seed, 2_000, Wrong::default()).expect("the same again")
    );
    assert_ne!(
        once,
        simulate(seed + 1, 2_000, Wrong::default()).expect("another history")
    );
}

/// A wrong protocol is found, and its seed tells the same history each time.
#[test]
fn a_failing_seed_repeats_its_history() {
    let wrong = Wrong::machine(Mutation::RevokeBeforePropagate);
    let failing = (0..100)
        .map(|number| 8 * number)
        .find_map(|seed| simulate(seed, TURNS, wrong).err())
        .expect("a revocation before the consumers know is found in class A");
    assert_eq!(failing.violation.invariant, Invariant::NoConsumerIsRefused);
    let again = simulate(failing.seed, TURNS, wrong).expect_err("the same violation");
    assert_eq!(again.violation, failing.violation);
    assert_eq!(again.history, failing.history);
    assert!(failing.history.contains("Revoke"), "{failing}");
}

/// What a search of one run cannot show: the next run finds what one that was given up has left.
#[test]
fn a_version_that_is_forgotten_when_its_run_is_given_up_is_missed_by_the_next_run() {
    let wrong = Wrong::machine(Mutation::GivenUpForgotten);
    let failing = (0..100)
        .find_map(|seed| simulate(seed, TURNS, wrong).err())
        .expect("the next run pushes out what it does not know of");
    assert_eq!(failing.violation.invariant, Invariant::NoConsumerIsRefused);
    simulate(failing.seed, TURNS, Wrong::default()).expect("the right protocol does not");
}
