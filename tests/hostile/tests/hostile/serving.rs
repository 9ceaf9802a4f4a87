//! A host that runs, in whose midst attacks are held: by the server, which answers when the test lets it, or since they go on for ever.

use std::fs;
use std::os::unix::net::UnixStream;

use keywheel_e2e::{Output, Started, until};
use keywheel_hostile::{Attack, On, Scene, Seen, Subject, redis, rotation};
use serde_json::Value;

/// A host that runs, with rotations that attack and two that are honest; killed when the test is over.
pub(crate) struct Serving {
    pub(crate) scene: Scene,
    process: Started,
    held: Vec<Subject>,
    bombs: Vec<Subject>,
    healthy: [Subject; 2],
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop();
    }
}

/// On Redis, in the step `create`.
pub(crate) fn attack<'a>(does: &'a str, with: &'a str) -> Attack<'a> {
    Attack {
        does,
        with,
        ..Attack::HONEST
    }
}

/// An honest rotation that waits in its midst until the test lets it go on.
pub(crate) const WAITING: Attack<'_> = Attack {
    does: "memory-at-a-gate",
    with: "0",
    ..Attack::HONEST
};

impl Serving {
    /// `held` comes to where the test holds it, `bombs` go off at once.
    #[track_caller]
    pub(crate) fn with(held: &[Attack<'_>], bombs: &[Attack<'_>]) -> Self {
        // Its own: what attacks is still in its step when the host is gone.
        Self::of(Scene::set_up(), "[limits]\ncpu = \"15m\"", held, bombs)
    }

    /// The same of a scene that nobody else has.
    #[track_caller]
    pub(crate) fn of(scene: Scene, lines: &str, held: &[Attack<'_>], bombs: &[Attack<'_>]) -> Self {
        let mut rotations = Vec::new();
        let mut add = |attack: &Attack<'_>| {
            let subject = scene.create(attack);
            let lines = rotation(&subject.name, attack, attack.with);
            rotations.push(lines.replace("step = \"3s\"", "step = \"10m\""));
            subject
        };
        let held = held.iter().map(&mut add).collect();
        let bombs = bombs.iter().map(&mut add).collect();
        let postgres = Attack {
            plugin: "hostile-postgres",
            on: On::Postgres,
            ..Attack::HONEST
        };
        let healthy = [Attack::HONEST, postgres].map(|honest| add(&honest));
        scene.configure(lines, &rotations);
        let mut serve = scene.host.command(&["serve"]);
        let process = scene.host.start(serve.env("TOKIO_WORKER_THREADS", "2"));
        let serving = Self {
            scene,
            process,
            held,
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

    /// Begins each attack that is held, and waits until it is in the midst of it.
    #[track_caller]
    pub(crate) fn begin_all(&self) -> Vec<Started> {
        let begun: Vec<Started> = self.held.iter().map(|held| self.begin(&held.name)).collect();
        for held in &self.held {
            let at = format!("at-{}", held.name);
            until("the attack is in the midst of it", || {
                redis().command(&["EXISTS", &at]).unwrap() == "1"
            });
        }
        self.all_are_open();
        begun
    }

    /// The host drives each attack that is held, and it has not ended: it has come to where it attacks, and nothing lets it go on. So it was open
    /// through all that has ended by now.
    #[track_caller]
    pub(crate) fn all_are_open(&self) {
        for held in &self.held {
            let run = self.scene.host.json(&["run", "show", &held.name]);
            assert_eq!(
                (&run["driven"], &run["finished-at"]),
                (&true.into(), &Value::Null),
                "{run:#}"
            );
        }
    }

    /// Lets a bomb go off, and waits until it has.
    pub(crate) fn goes_off(&self, bomb: usize) -> Output {
        self.scene.host.wait(self.begin(&self.bombs[bomb].name))
    }

    /// Both healthy rotations come to their end, and what is held is open still.
    #[track_caller]
    pub(crate) fn healthy_ones_go_through(&self) {
        self.healthy_ones_go_on();
        self.all_are_open();
    }

    /// Both come to their end.
    #[track_caller]
    pub(crate) fn healthy_ones_go_on(&self) {
        for healthy in &self.healthy {
            succeeded(&self.scene.host.wait(self.begin(&healthy.name)));
        }
    }

    /// Lets what is held go on, as often as a step is tried.
    pub(crate) fn open_the_gates(&self) {
        for held in &self.held {
            let gate = format!("gate-{}", held.name);
            let open = ["RPUSH", &gate, "opened", "opened", "opened", "opened"];
            let _ = redis().command(&open).unwrap();
        }
    }

    /// The host is killed, and so are the commands that it had.
    pub(crate) fn ends(self, commands: Vec<Started>) {
        drop(self);
        for mut command in commands {
            let _ = command.child.wait();
        }
    }

    /// All that can be seen of the first attack that was held, when the host is gone.
    #[track_caller]
    pub(crate) fn seen_of_held(mut self, output: Output) -> Seen {
        self.stop();
        self.scene.seen(On::Redis, self.held[0].clone(), output)
    }

    /// The same of the first bomb.
    #[track_caller]
    pub(crate) fn seen_of_bomb(mut self, output: Output) -> Seen {
        self.stop();
        self.scene.seen(On::Redis, self.bombs[0].clone(), output)
    }

    fn stop(&mut self) {
        let _ = self.process.child.kill();
        let _ = self.process.child.wait();
        // Nobody looks for a value in it.
        let _ = fs::remove_file(self.scene.host.file("state/socket"));
    }
}

#[track_caller]
pub(crate) fn succeeded(output: &Output) {
    let output = output.clone().ends(0);
    assert_eq!(output.json()[0]["state"], "succeeded", "{output:?}");
}
