//! Healthy rotations beside attacks, in one running host: while the step of the attack is open, they come to their end. Nothing here is measured
//! in time. An attack goes on until the test lets it end, or for ten minutes, and the host has two threads, so that one that did one thing after the
//! other would never come to what is healthy.

use keywheel_hostile::{Attack, On, Taken, rotation, scene};

use crate::serving::{Serving, WAITING, attack, succeeded};

/// Attacks that wait for the server: it answers when the healthy rotations are over, and then they come to their end as well.
#[track_caller]
fn until_the_gate_opens(attacks: &[Attack<'_>]) {
    let serving = Serving::with(attacks, &[]);
    let begun = serving.begin_all();
    serving.healthy_ones_go_through();
    serving.open_the_gates();
    for started in begun {
        succeeded(&serving.scene.host.wait(started));
    }
}

/// Attacks that go on for as long as anybody lets them.
#[track_caller]
fn for_ever(attacks: &[Attack<'_>]) {
    let serving = Serving::with(attacks, &[]);
    let begun = serving.begin_all();
    serving.healthy_ones_go_through();
    serving.ends(begun);
}

#[test]
fn steps_that_never_return_and_hold_connections() {
    for_ever(&[attack("hold-for-ever", ""); 3]);
}

/// More of them than the host has threads.
#[test]
fn loops_without_end() {
    for_ever(&[attack("cpu-for-ever", ""); 3]);
}

#[test]
fn memory_that_is_held() {
    until_the_gate_opens(&[attack("memory-at-a-gate", "100"); 3]);
}

#[test]
fn floods_of_log_lines_and_host_calls() {
    until_the_gate_opens(&[attack("flood-at-a-gate", ""); 3]);
}

/// How each bomb ends: exit code, and the code of its step.
const BOMBS: [(&str, i32, Option<&str>); 7] = [
    ("memory", 40, Some("plugin.memory")),
    ("stack", 40, Some("plugin.stack")),
    ("log", 0, None),
    ("host-calls", 40, Some("plugin.host-calls")),
    ("conceal", 40, Some("secret.conceal")),
    ("answer", 41, Some("target.limit")),
    ("panic", 40, Some("plugin.panic")),
];

/// One after the other, while a healthy rotation is in its midst; then that comes to its end.
#[test]
fn bombs_that_go_off() {
    let serving = Serving::with(&[WAITING], &BOMBS.map(|(does, ..)| attack(does, "")));
    let waiting = serving.begin_all().pop().unwrap();
    for (bomb, (does, exit, code)) in BOMBS.into_iter().enumerate() {
        let ended = serving.goes_off(bomb).ends(exit);
        let steps = ended.json()[0]["steps"].clone();
        let found = steps
            .as_array()
            .unwrap()
            .iter()
            .find(|step| step["step"] == "create");
        assert_eq!(found.unwrap()["code"].as_str(), code, "{does}: {ended:?}");
    }
    serving.healthy_ones_go_through();
    serving.open_the_gates();
    succeeded(&serving.scene.host.wait(waiting));
}

/// All that can be held, at once.
#[test]
fn attacks_of_every_kind() {
    for_ever(&[
        attack("hold-for-ever", ""),
        attack("cpu-for-ever", ""),
        attack("cpu-for-ever", ""),
        attack("memory-at-a-gate", "100"),
        attack("flood-at-a-gate", ""),
    ]);
}

/// The administrator's session that one rotation has spoilt is not the next one's.
#[test]
fn a_rotation_after_a_plugin_that_left_the_administrators_session_read_only() {
    let scene: Taken = scene();
    let spoils = Attack {
        plugin: "hostile-postgres",
        on: On::Postgres,
        does: "spoil-the-session",
        ..Attack::HONEST
    };
    let honest = Attack { does: "", ..spoils };
    let (spoilt, healthy) = (scene.create(&spoils), scene.create(&honest));
    let rotations = [
        rotation(&spoilt.name, &spoils, ""),
        rotation(&healthy.name, &honest, ""),
    ];
    scene.configure("", &rotations);
    // In one process, so that its pool has the session when the second one asks for it.
    let output = scene
        .host
        .run(&["rotate", &spoilt.name, &healthy.name, "-o", "json"], "");
    let runs = output.json();
    assert_eq!(runs[0]["steps"][1]["code"], "attack.left", "{runs:#}");
    assert_eq!(runs[1]["state"], "succeeded", "{runs:#}");
}
