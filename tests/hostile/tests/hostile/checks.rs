//! `configuration.check`: it may call nobody and remembers nothing, so that it says the same each time; and it ends.

use keywheel_hostile::{Attack, Scene, Seen, rotation, scene};

/// What `config check`, `plan` and `rotate` end with, one after the other.
#[track_caller]
fn check(does: &str) -> Seen {
    let attack = Attack {
        does,
        step: "check",
        ..Attack::HONEST
    };
    let scene = scene();
    let subject = scene.prepare(&attack, |_| String::new());
    for command in [&["config", "check"][..], &["plan", &subject.name]] {
        let output = scene.host.run(command, "");
        assert_eq!(output.code, 24, "{output:?}");
        assert!(output.stderr.contains("plan.failed"), "{output:?}");
    }
    scene.rotate(&attack, subject, "end")
}

/// No run begins, and the target is not asked.
#[track_caller]
fn is_ended(does: &str, code: &str) {
    let seen = check(does);
    seen.ends_old(24);
    let _ = seen.output.clone().says(&["plan.failed", code]);
    assert_eq!(seen.audit, Vec::<serde_json::Value>::new());
}

#[test]
fn one_that_asks_for_random_bytes() {
    is_ended("ask-the-host", "plugin.misuse");
}
#[test]
fn one_that_asks_for_the_time() {
    is_ended("ask-the-time", "plugin.misuse");
}
#[test]
fn one_that_never_ends() {
    is_ended("loop", "plugin.");
}
#[test]
fn one_that_takes_all_memory() {
    is_ended("memory", "plugin.memory");
}

/// It would object from the second call on, whether that is in one process or in the next.
#[test]
fn one_that_counts_its_calls() {
    let attack = Attack {
        does: "count-its-calls",
        step: "check",
        ..Attack::HONEST
    };
    // Its own: rotations that others have left open are missing in the configuration.
    let scene = Scene::set_up();
    let [one, other] = [scene.create(&attack), scene.create(&attack)];
    let rotations = [&one, &other].map(|subject| rotation(&subject.name, &attack, ""));
    scene.configure("", &rotations);
    for _ in 0..2 {
        let _ = scene.host.run(&["config", "check"], "").ends(0);
    }
    scene.rotate(&attack, one, "end").goes_through();
    scene.rotate(&attack, other, "end").goes_through();
}

/// What it says of a configuration is shown in part.
#[test]
fn one_that_finds_no_end_of_problems() {
    let attack = Attack {
        does: "flood",
        step: "check",
        ..Attack::HONEST
    };
    let scene = scene();
    let subject = scene.prepare(&attack, |_| String::new());
    let seen = scene.rotate(&attack, subject, "end");
    seen.ends_old(20);
    let said = &seen.output.stderr;
    assert_eq!(
        said.matches("config.plugin-setting").count(),
        100,
        "{}",
        said.len()
    );
    assert!(said.len() < 1 << 20, "{}", said.len());
}
