//! What would use up the host.

use std::fs;

use keywheel_hostile::{Attack, Seen, attack, scene};

#[track_caller]
fn bomb(does: &str) -> Seen {
    attack(&Attack {
        does,
        lines: "[limits]\nmemory = \"32 MiB\"\ncpu = \"2s\"",
        ..Attack::HONEST
    })
}

macro_rules! bombs {
    ($($name:ident = $does:literal stopped as $code:literal;)+) => {
        $(#[test]
        fn $name() {
            bomb($does).gives_up(40, "create", $code);
        })+
    };
}

bombs! {
    memory = "memory" stopped as "plugin.memory";
    processor = "cpu" stopped as "plugin.cpu";
    stack = "stack" stopped as "plugin.stack";
    host_calls = "host-calls" stopped as "plugin.host-calls";
    handles = "handles" stopped as "plugin.handles";
    concealed_bytes = "conceal" stopped as "secret.conceal";
    a_panic = "panic" stopped as "plugin.panic";
    a_step_that_never_returns_and_holds_a_connection = "hold" stopped as "plugin.deadline";
}

#[test]
fn an_answer_of_8_mebibytes() {
    bomb("answer").parks("create", "target.limit", "target");
}

/// In the host's memory, where the plugin's own limit does not count.
#[test]
fn compositions_of_compositions() {
    bomb("compose").parks("create", "plugin.composed", "withdrawn");
}
#[test]
fn copies_in_a_frame_that_is_never_sent() {
    bomb("compose-in-frames").parks("create", "plugin.composed", "withdrawn");
}

/// A run keeps so much and no more.
#[test]
fn state() {
    let patient = Attack {
        does: "state",
        lines: "[limits]\ncpu = \"30s\"",
        ..Attack::HONEST
    };
    let scene = scene();
    let subject = scene.prepare(&patient, |_| String::new());
    let text = fs::read_to_string(scene.host.file("keywheel.toml")).unwrap();
    fs::write(
        scene.host.file("keywheel.toml"),
        text.replace("step = \"3s\"", "step = \"60s\""),
    )
    .unwrap();
    scene
        .rotate(&patient, subject, "end")
        .gives_up(40, "create", "store.limit");
}

/// Two hundred lines are kept, each of 4 KiB at most; the rest is counted.
#[test]
fn a_flood_of_log_lines() {
    let seen = bomb("log");
    seen.goes_through();
    let said = &seen.output.stderr;
    assert_eq!(said.matches("hostile-redis create: flood").count(), 200, "{said}");
    assert!(
        said.contains("501 log lines over the limit were dropped"),
        "{said}"
    );
    assert!(said.lines().all(|line| line.len() < 9000), "{said}");
}
