//! Searches a scene by hand.
#![expect(clippy::print_stdout, reason = "a tool that prints")]
use keywheel_explorer::scene::*;
use keywheel_explorer::search::*;
use keywheel_model::SlotClass;
fn main() {
    let only = std::env::args().nth(2).unwrap_or_default();
    for class in SlotClass::ALL {
        if !only.is_empty() && !only.contains(&format!("{class:?}")) { continue; }
        for weak in [false, true] {
            for two in [false, true] {
                if two && only.contains('1') || !two && only.contains('2') { continue; }
                let mut scene = if two { Scene::two("x", class) } else { Scene::one("x", class) };
                if weak { scene = scene.weak(); }
                if let Some(n) = std::env::args().nth(1) { scene.faults = n.parse().unwrap_or(1).min(scene.faults); }
                let at = std::time::Instant::now();
                let found = search(&scene, Wrong::default());
                println!("{class:?} weak={weak} two={two}: {} states {} transitions depth {} in {:?}", found.states, found.transitions, found.depth, at.elapsed());
                if let Some((violation, way)) = found.violation {
                    println!("{violation:?}\n{}", explain(&scene, Wrong::default(), &way));
                    return;
                }
            }
        }
    }
}
