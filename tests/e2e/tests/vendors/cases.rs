//! The table: what is held of every vendor.

use keywheel_api::{Fault, Key, Reply};

use crate::scene::{Facts, Scene};

/// All cases. `more`: lines of the configuration.
pub(crate) fn all(facts: &'static Facts, more: &str) {
    let [one, other] = Scene::of(facts, [(facts.of, more); 2]);
    std::thread::scope(|scope| {
        scope.spawn(|| a_crash_leaves_one_orphan_that_does_not_stay(&other));
        a_key_lives_and_dies(&one);
    });
}

fn a_key_lives_and_dies(scene: &Scene) {
    let first = a_new_key_works_and_the_old_one_dies(scene);
    dead_and_alive_are_told_apart(scene);
    a_plan_says_what_stands_in_the_way(scene);
    let second = what_is_echoed_is_withheld(scene);
    a_run_that_is_given_up_leaves_nothing(scene, &first, &second);
    scene.left_no_trace(&[&first, &second]);
}

/// Whatever trouble there is on the way, it ends in one key.
fn a_new_key_works_and_the_old_one_dies(scene: &Scene) -> Key {
    let plan = scene.plan().ends(10);
    let code = format!("{}.", scene.facts.plugin);
    assert!(
        !plan.stdout.contains(&code),
        "no problem and no warning: {plan:?}"
    );
    assert_eq!(
        (scene.asked(scene.facts.create), scene.keys().len()),
        (0, 1),
        "what was only asked about is not done"
    );
    let (fault, tries) = (scene.facts.fault)();
    scene.server.fail(scene.facts.create, fault);
    let rotated = scene.rotate();
    assert_eq!(rotated.code, 0, "{rotated:?}\n{:#?}", scene.server.log());
    assert_eq!(
        scene.asked(scene.facts.create),
        tries,
        "{:#?}",
        scene.server.log()
    );
    assert!(!scene.server.accepts(&scene.old.value));
    scene.is_rotated()
}

/// A key that is not known is dead, one that lacks a right is alive, and trouble is no verdict.
fn dead_and_alive_are_told_apart(scene: &Scene) {
    let test = ["target", "test", scene.name()];
    let _ = scene.run(&test).ends(0);
    let cases = [
        ((scene.facts.dead)(), "rejected"),
        ((scene.facts.alive)(), scene.facts.alive_verdict),
        (Reply::status(500), "null"),
    ];
    for (reply, word) in cases {
        for _ in 0..scene.facts.looks {
            scene.server.fail(scene.facts.test, Fault::None);
        }
        scene.server.fail(scene.facts.test, Fault::Before(reply.clone()));
        let tested = scene.run(&[&test[..], &["-o", "json"]].concat());
        let verdict = tested.json()["verdict"].to_string();
        assert!(
            tested.code != 0 && verdict.contains(word),
            "{reply:?}: {word}: {tested:?}"
        );
    }
}

/// After the vendor has answered, and before any of it is kept: the next try deletes what nobody knows.
fn a_crash_leaves_one_orphan_that_does_not_stay(scene: &Scene) {
    scene.dies_at("escrow-before");
    let made = scene.keys().into_iter().find(|key| key.id != scene.old.id);
    let orphan = made.unwrap();
    let _ = scene
        .run(&["run", "resume", scene.name(), "--wait", "end"])
        .ends(0);
    assert!(!scene.server.accepts(&orphan.value) && !scene.server.accepts(&scene.old.value));
    let second = scene.is_rotated();
    assert_eq!(scene.asked(scene.facts.create), 2, "{:#?}", scene.server.log());
    scene.left_no_trace(&[&orphan, &second]);
}

fn a_plan_says_what_stands_in_the_way(scene: &Scene) {
    let facts = scene.facts;
    if let Some(most) = facts.most {
        let others = most
            - scene
                .server
                .keys()
                .iter()
                .filter(|key| key.of.as_deref() == facts.of)
                .count();
        let others: Vec<Key> = (0..others)
            .map(|at| {
                scene
                    .server
                    .make_for(&format!("other {at}"), facts.scopes, facts.of)
            })
            .collect();
        let plan = scene.plan().ends(24);
        let said = format!("{}{}", plan.stdout, plan.stderr);
        assert!(said.contains(&format!("{}.limit", facts.plugin)), "{said}");
        for key in &others {
            scene.server.delete(&key.id);
        }
    }
    scene.server.allow(&scene.admin.id, &[]);
    let plan = scene.plan().ends(facts.powerless.0);
    let said = format!("{}{}", plan.stdout, plan.stderr);
    assert!(said.contains(facts.powerless.1), "{said}");
    scene.server.allow(&scene.admin.id, facts.admin_scopes);
    let _ = scene.plan().ends(10);
}

/// What was sent comes back in a field that is shown: the run waits for a person.
fn what_is_echoed_is_withheld(scene: &Scene) -> Key {
    let before = scene.keys()[0].clone();
    scene
        .server
        .fail(scene.facts.create, Fault::Echo(scene.facts.shown));
    let _ = scene.rotate().ends(41);
    let shown = scene.run(&["run", "show", scene.name()]);
    assert!(shown.stdout.contains("reflection"), "{shown:?}");
    assert!(scene.server.accepts(&before.value));
    scene.keys().into_iter().find(|key| key.id != before.id).unwrap()
}

/// Of what it has made it knows the name alone.
fn a_run_that_is_given_up_leaves_nothing(scene: &Scene, before: &Key, made: &Key) {
    let _ = scene.run(&["run", "cancel", scene.name(), "--wait", "end"]);
    assert!(!scene.server.accepts(&made.value), "{:#?}", scene.server.log());
    assert_eq!(scene.is_rotated().id, before.id);
}
