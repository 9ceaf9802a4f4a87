//! Every history of every class of slots, with at most two faults of all kinds for one host, and two crashes or takeovers for two hosts
//! on one vault, with and without compare-and-set. Complete within that bound: nothing is sampled.
#![allow(clippy::print_stdout, reason = "the table is what the test is for")]

use keywheel_explorer::scene::{Scene, Wrong};
use keywheel_explorer::search::{explain, search};
use keywheel_model::SlotClass;

fn explore(hosts: &str, scenes: impl Iterator<Item = Scene>) {
    println!(
        "{:<6} {:<6} {:<5} {:>9} {:>11} {:>6} violations",
        "class", "hosts", "vault", "states", "transitions", "depth"
    );
    for scene in scenes {
        let found = search(&scene, Wrong::default());
        let vault = if scene.weak_vault { "weak" } else { "cas" };
        let class = format!("{:?}", scene.class);
        println!(
            "{class:<6} {hosts:<6} {vault:<5} {:>9} {:>11} {:>6} {}",
            found.states,
            found.transitions,
            found.depth,
            usize::from(found.violation.is_some())
        );
        if let Some((violation, way)) = found.violation {
            panic!(
                "{class} on a {vault} vault: {violation:?}\n{}",
                explain(&scene, Wrong::default(), &way)
            );
        }
    }
}

fn each_class(scene: impl Fn(SlotClass) -> Scene) -> impl Iterator<Item = Scene> {
    SlotClass::ALL
        .into_iter()
        .flat_map(move |class| [scene(class), scene(class).weak()])
}

#[test]
fn one_host_with_two_faults_of_all_kinds_violates_nothing() {
    explore(
        "one",
        each_class(|class| Scene {
            faults: 2,
            ..Scene::one("one", class)
        }),
    );
}

#[test]
fn two_hosts_with_two_crashes_or_takeovers_violate_nothing() {
    explore("two", each_class(|class| Scene::two("two", class)));
}
