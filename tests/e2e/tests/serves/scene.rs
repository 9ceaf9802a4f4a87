//! A host that runs, on a Redis of its own.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use keywheel_e2e::{Host, Output, Started, redis_user};
use keywheel_kit::{Redis, RedisOptions, random_password};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) const DEADLINE: Duration = Duration::from_mins(10);

/// A Redis user that is adopted, and the host that runs.
pub(crate) struct Scene {
    pub(crate) server: Redis,
    pub(crate) host: Host,
    pub(crate) old: String,
}

impl Scene {
    pub(crate) fn new(grace: &str) -> Self {
        let server = Redis::start(RedisOptions::default()).unwrap();
        let old = random_password();
        server.create_user("app", &old).unwrap();
        let host = Host::init();
        host.configure(&redis_user(&server, grace));
        host.add_plugin("redis", &[server.port()]);
        let _ = host.import("admin/redis", server.admin_password()).ends(0);
        let _ = host.import("app/redis", &old).ends(0);
        Self { server, host, old }
    }

    /// Of a server and a host that are there.
    pub(crate) fn of(server: Redis, host: Host) -> Self {
        let old = String::new();
        Self { server, host, old }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.host.file("state/socket")
    }

    pub(crate) fn serve(&self) -> Serving<'_> {
        self.serve_by(&mut self.host.command(&["serve"]))
    }

    pub(crate) fn serve_by(&self, command: &mut Command) -> Serving<'_> {
        let serving = Serving {
            scene: self,
            started: Some(self.host.start(command)),
        };
        until("it listens", || UnixStream::connect(self.socket()).is_ok());
        serving
    }

    /// At a socket of its own place.
    pub(crate) fn serve_at(&self, socket: &Path) -> Serving<'_> {
        let started = Some(self.host.start(&mut self.host.command(&["serve"])));
        let serving = Serving { scene: self, started };
        until("it listens", || UnixStream::connect(socket).is_ok());
        serving
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.host.run(words, "")
    }

    /// A command that is in the grace of its rotation.
    pub(crate) fn rotate_and_wait(&self) -> Started {
        let rotate = ["rotate", "app-redis", "--wait", "end"];
        let waiting = self.host.start(&mut self.host.command(&rotate));
        until("it waits", || {
            self.host.versions("app/redis").len() > 1 && self.state() == "waiting"
        });
        waiting
    }

    /// Adds lines before the configuration's own.
    pub(crate) fn configure_first(&self, lines: &str) {
        let file = self.host.file("keywheel.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{lines}\n{text}")).unwrap();
    }

    pub(crate) fn accepts(&self, password: &str) -> bool {
        self.server.login("app", password).unwrap().is_accepted()
    }

    pub(crate) fn state(&self) -> String {
        let run = self.run(&["run", "show", "app-redis", "-o", "json"]).json();
        run["state"].as_str().unwrap().to_owned()
    }
}

/// A host that runs; killed when a test panics.
pub(crate) struct Serving<'s> {
    pub(crate) scene: &'s Scene,
    pub(crate) started: Option<Started>,
}

impl Serving<'_> {
    pub(crate) fn started(&mut self) -> &mut Started {
        self.started.as_mut().unwrap()
    }

    pub(crate) fn signal(&self, wanted: Signal) {
        signal(self.started.as_ref().unwrap(), wanted);
    }

    /// Ended as a service manager does.
    #[track_caller]
    pub(crate) fn ends(mut self) -> Output {
        self.signal(Signal::TERM);
        self.scene.host.wait(self.started.take().unwrap()).ends(0)
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if let Some(started) = &mut self.started {
            let _ = started.child.kill();
            let _ = started.child.wait();
        }
    }
}

#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn signal(started: &Started, signal: Signal) {
    kill_process(Pid::from_child(&started.child), signal).unwrap();
}
