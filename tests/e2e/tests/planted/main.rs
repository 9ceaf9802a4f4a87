//! Values that can be recognised, as passwords, as administrators' passwords, as keys and as keys of keys, go through everything that the binary does:
//! the demo, kills, every verb that a secret enters, and wrong input. Then all that came out is searched for each of them, plain and in every usual
//! encoding. `docs/security.md` has the command; what is searched stands in [`evidence`], what was let out on purpose in [`purpose`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

mod commands;
mod control;
mod demo;
mod evidence;
mod keys;
mod mistakes;
mod outlets;
mod purpose;
mod scene;
mod served;
mod terminal;

use std::collections::BTreeSet;

use keywheel_e2e::Search;

use crate::scene::Scene;

/// What is found is what was let out on purpose, and all of that: so that nothing leaks, and the search finds what there is.
#[test]
fn no_planted_value_shows_but_where_it_was_sent_on_purpose() {
    let mut scene = Scene::set_up();
    demo::run(&mut scene);
    commands::run(&mut scene);
    served::run(&mut scene);
    terminal::run(&mut scene);
    mistakes::run(&mut scene);
    scene.remember_versions();
    scene.remember_keys();
    let evidence = scene.evidence();
    evidence.is_whole();
    let search = Search::of(scene.values());
    let found: BTreeSet<(String, String)> = keywheel_e2e::places(&search, &evidence.traces)
        .into_keys()
        .collect();
    let (found, purpose) = purpose::apart(found);
    println!(
        "{} values in {} traces, {} bytes; on purpose in {} places",
        scene.values().count(),
        evidence.traces.len(),
        evidence.bytes(),
        purpose.len()
    );
    assert_eq!(found, BTreeSet::new(), "leaks");
    purpose::is_whole(&purpose);
}
