//! The rules are needed: each wrong protocol is caught, by the invariant that is named for it, in a scene in which the right one is not.

use keywheel_explorer::mutants::all;
use keywheel_explorer::print;
use keywheel_explorer::scene::Wrong;
use keywheel_explorer::search::{explain, search_within};

const MOST_STATES: usize = 3_000_000;

#[test]
fn every_wrong_protocol_is_caught_by_its_invariant() {
    let mut escaped = Vec::new();
    // Scenes in which the right protocol has been tried already.
    let mut clean = Vec::new();
    print(&format!(
        "\n{:<50} {:<32} {:>6} {:>9}\n",
        "mutant", "caught by", "depth", "states"
    ));
    for mutant in all() {
        let mut scene = mutant.scene.clone();
        scene.faults = scene.faults.min(2);
        if !clean.contains(&scene) {
            let right = search_within(&scene, Wrong::default(), MOST_STATES);
            if let Some((violation, _)) = right.violation {
                escaped.push(format!(
                    "{}: the right protocol violates {:?}",
                    mutant.rule, violation.invariant
                ));
            }
            clean.push(scene.clone());
        }
        let found = search_within(&scene, mutant.wrong, MOST_STATES);
        let caught = found
            .violation
            .as_ref()
            .map(|(violation, way)| (violation.invariant, way.len()));
        let (by, depth) = caught.map_or(("-".to_owned(), 0), |(by, depth)| (format!("{by:?}"), depth));
        print(&format!(
            "{:<50} {by:<32} {depth:>6} {:>9}\n",
            mutant.rule, found.states
        ));
        if caught.map(|(by, _)| by) != Some(mutant.caught_by) {
            let how = found
                .violation
                .map(|(_, way)| explain(&scene, mutant.wrong, &way))
                .unwrap_or_default();
            escaped.push(format!(
                "{}: expected {:?}, found {by}\n{how}",
                mutant.rule, mutant.caught_by
            ));
        }
    }
    assert!(escaped.is_empty(), "{}", escaped.join("\n"));
}
