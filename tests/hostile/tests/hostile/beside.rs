//! Healthy rotations beside attacks, in one running host: while the step of the attack is open, they come to their end. Nothing here is measured
//! in time. An attack goes on until the test lets it end, or for ten minutes, and the host has two threads, so that one that did one thing after the
//! other would never come to what is healthy.

use std::os::unix::net::UnixStream;

use keywheel_e2e::{Output, Started, until};
use keywheel_hostile::{Attack, On, Scene, Taken, redis, rotation, scene};
use serde_json::Value;

/// A host that runs, with rotations that attack and two that are honest; killed when the test is over.
struct Serving {
    scene: Scene,
    process: Started,
    attacks: Vec<String>,
    bombs: Vec<String>,
    healthy: [String; 2],
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.child.kill();
        let _ = self.process.child.wait();
    }
}

fn attack<'a>(does: &'a str, with: &'a str) -> Attack<'a> {
    Attack {
        does,
        with,
        ..Attack::HONEST
    }
}

impl Serving {
    #[track_caller]
    fn with(attacks: &[Attack<'_>], bombs: &[Attack<'_>]) -> Self {
        // Its own: what attacks is still in its step when the host is gone.
        let scene = Scene::set_up();
        let mut rotations = Vec::new();
        let mut add = |attack: &Attack<'_>| {
            let subject = scene.create(attack);
            let lines = rotation(&subject.name, attack, attack.with);
            rotations.push(lines.replace("step = \"3s\"", "step = \"10m\""));
            subject.name
        };
        let attacks = attacks.iter().map(&mut add).collect();
        let bombs = bombs.iter().map(&mut add).collect();
        let postgres = Attack {
            plugin: "hostile-postgres",
            on: On::Postgres,
            ..Attack::HONEST
        };
        let healthy = [Attack::HONEST, postgres].map(|honest| add(&honest));
        scene.configure("[limits]\ncpu = \"15m\"", &rotations);
        let mut serve = scene.host.command(&["serve"]);
        let process = scene.host.start(serve.env("TOKIO_WORKER_THREADS", "2"));
        let serving = Self {
            scene,
            process,
            attacks,
            bombs,
            healthy,
        };
        let socket = serving.scene.host.file("state/socket");
        until("it listens", || UnixStream::connect(&socket).is_ok());
        serving
    }

    /// A command that the host rotates for.
    fn begin(&self, name: &str) -> Started {
        let rotate = ["rotate", name, "--wait", "end", "-o", "json"];
        self.scene.host.start(&mut self.scene.host.command(&rotate))
    }

    /// Begins each attack, and waits until it is in the midst of it.
    #[track_caller]
    fn begin_all(&self) -> Vec<Started> {
        let begun: Vec<Started> = self.attacks.iter().map(|name| self.begin(name)).collect();
        for name in &self.attacks {
            let at = format!("at-{name}");
            until("the attack is in the midst of it", || {
                redis().command(&["EXISTS", &at]).unwrap() == "1"
            });
            self.is_open(name);
        }
        begun
    }

    /// The host drives it, and it has not ended: it has come to where it attacks, and nothing lets it go on.
    #[track_caller]
    fn is_open(&self, name: &str) {
        let run = self.scene.host.json(&["run", "show", name]);
        assert_eq!(
            (&run["driven"], &run["finished-at"]),
            (&true.into(), &Value::Null),
            "{run:#}"
        );
    }

    /// Both healthy rotations come to their end, by a host that has all attacks in their steps before and after.
    #[track_caller]
    fn healthy_ones_go_through(&self) {
        for name in &self.healthy {
            succeeded(&self.scene.host.wait(self.begin(name)));
            self.attacks.iter().for_each(|name| self.is_open(name));
        }
    }

    /// The host is killed, and so are the commands that it had.
    fn ends(self, commands: Vec<Started>) {
        drop(self);
        for mut command in commands {
            let _ = command.child.wait();
        }
    }

    /// Lets the attacks go on.
    fn open_the_gates(&self) {
        for name in &self.attacks {
            redis()
                .command(&["RPUSH", &format!("gate-{name}"), "opened"])
                .unwrap();
        }
    }
}

#[track_caller]
fn succeeded(output: &Output) {
    let output = output.clone().ends(0);
    assert_eq!(output.json()[0]["state"], "succeeded", "{output:?}");
}

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

/// All of these at once, and beside them bombs that go off.
#[test]
fn attacks_of_every_kind() {
    let held = [
        attack("hold-for-ever", ""),
        attack("cpu-for-ever", ""),
        attack("cpu-for-ever", ""),
        attack("memory-at-a-gate", "100"),
        attack("flood-at-a-gate", ""),
    ];
    let bombs = [
        "memory",
        "stack",
        "log",
        "host-calls",
        "conceal",
        "answer",
        "panic",
    ]
    .map(|does| attack(does, ""));
    let serving = Serving::with(&held, &bombs);
    let begun = serving.begin_all();
    let bombs: Vec<Started> = serving.bombs.iter().map(|name| serving.begin(name)).collect();
    serving.healthy_ones_go_through();
    for bomb in bombs {
        let ended = serving.scene.host.wait(bomb);
        assert!([0, 40, 41].contains(&ended.code), "{ended:?}");
    }
    serving.attacks.iter().for_each(|name| serving.is_open(name));
    serving.ends(begun);
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
