//! What is wrong with one rotation, target or user keeps no other one waiting.

use std::fs;

use keywheel_e2e::redis_user;
use keywheel_kit::{Redis, RedisOptions, random_password};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::fleet::{entries, three, versions};
use crate::scene::{Scene, until};

/// Its plugin is lost when the host is started, or what is known of it cannot be read.
#[test]
fn a_rotation_of_which_nothing_can_be_started_keeps_no_other_one_waiting() {
    let scene = three("schedule = \"@every 1s\"");
    scene.configure_first("[schedule]\njitter = \"0s\"\n\n[[notify]]\nname = \"log\"\nkind = \"log\"\n");
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    // Of the second one, which stands in the middle.
    let named = "name = \"r1\"\n";
    let at = text.find(named).unwrap();
    let lost = text[at..].replacen("plugin = \"redis\"", "plugin = \"lost\"", 1);
    fs::write(&file, format!("{}{lost}", &text[..at])).unwrap();
    let mut serving = scene.serve();
    until("the others are rotated again and again", || {
        versions(&scene, 0) > 2 && versions(&scene, 2) > 2
    });
    assert_eq!(entries(&scene, "plugin-unknown").len(), 1);
    let listed = scene.run(&["schedule", "list"]).ends(0).stdout;
    assert!(listed.contains("r1") && listed.contains("r2"), "{listed}");
    // People are told of it, too.
    assert!(serving.started().wait_for("plugin-unknown"));
    let _ = serving.ends();
    assert_eq!(versions(&scene, 1), 1);

    fs::write(&file, text).unwrap();
    let database = rusqlite::Connection::open(scene.host.file("state/keywheel.db")).unwrap();
    let damage = "INSERT OR REPLACE INTO meta (key, value) VALUES ('parked-r1', 'nonsense')";
    let _ = database.execute(damage, []).unwrap();
    drop(database);
    let before = (versions(&scene, 0), versions(&scene, 2));
    let serving = scene.serve();
    until("the others are rotated again", || {
        versions(&scene, 0) > before.0 && versions(&scene, 2) > before.1
    });
    let told = entries(&scene, "rotation-unreadable");
    assert_eq!(
        (told.len(), &told[0]["subject"]),
        (1, &Value::from("rotation r1")),
        "{told:#?}"
    );
    let _ = serving.ends();
    assert_eq!(versions(&scene, 1), 1);
}

/// A server that answers nobody; it does again when this is dropped.
struct Silent(Pid);

impl Silent {
    fn is(server: &Redis) -> Self {
        let pid = i32::try_from(server.pid().unwrap()).unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// The graces of three runs are over, and their server is silent: two of them would be all that is done at once.
#[test]
fn open_runs_on_a_silent_target_leave_room_for_what_is_due_elsewhere() {
    let scene = three("deadlines = { step = \"1m\" }");
    for rotation in ["r0", "r1", "r2"] {
        let _ = scene.run(&["rotate", rotation, "--wait", "0s"]).ends(0);
    }
    let other = Redis::start(RedisOptions::default()).unwrap();
    let password = random_password();
    other.create_user("app", &password).unwrap();
    let lines = redis_user(&other, "1s")
        .replacen(
            "name = \"app-redis\"\n",
            "name = \"other\"\nschedule = \"@every 1s\"\n",
            1,
        )
        .replace("app-redis", "other")
        .replace("app/redis", "other/redis")
        .replace("admin/redis", "admin/other");
    scene.host.configure(&lines);
    fs::remove_file(scene.host.file("policies/redis.toml")).unwrap();
    let ports = [scene.server.port(), other.port()];
    scene.host.add_plugin("redis", &ports);
    let _ = scene.host.import("admin/other", other.admin_password()).ends(0);
    let _ = scene.host.import("other/redis", &password).ends(0);
    scene.configure_first("[schedule]\nat_once = 2\njitter = \"0s\"\n");
    let silent = Silent::is(&scene.server);
    let serving = scene.serve();
    until("the other one is rotated", || {
        scene.host.versions("other/redis").len() > 1
    });
    // No try on the silent one has come to its end meanwhile.
    let runs = scene.run(&["run", "list", "--open", "-o", "json"]).json();
    let waits = runs.as_array().unwrap().iter();
    let waits: Vec<&Value> = waits.filter(|run| run["rotation"] != "other").collect();
    assert_eq!(waits.len(), 3, "{runs:#}");
    assert!(waits.iter().all(|run| run["trouble"].is_null()), "{waits:#?}");
    drop(silent);
    until("they are over", || {
        let runs = scene.run(&["run", "list", "--open", "-o", "json"]).json();
        runs.as_array()
            .unwrap()
            .iter()
            .all(|run| run["rotation"] == "other")
    });
    let _ = serving.ends();
}

/// Somebody who was asked something, and does not answer, keeps no host from being stopped.
#[test]
fn a_command_that_waits_for_an_answer_does_not_keep_the_host() {
    let scene = Scene::new("1s");
    let serving = scene.serve();
    let mut asked = scene
        .host
        .start(&mut scene.host.command(&["secret", "import", "some/thing"]));
    let fds = format!("/proc/{}/fd", asked.child.id());
    until("it has the host's ear", || {
        let fds = fs::read_dir(&fds).into_iter().flatten().flatten();
        let mut links = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
        links.any(|link| link.to_string_lossy().starts_with("socket:"))
    });
    // One round to the host and back, after it.
    let _ = scene.run(&["run", "list"]).ends(0);
    let stopped = serving.ends();
    assert!(!stopped.stderr.contains("host.drain"), "{}", stopped.stderr);
    assert!(asked.child.try_wait().unwrap().is_none(), "nobody has answered");
    drop(asked.child.stdin.take());
    assert_ne!(scene.host.wait(asked).code, 0);
    assert!(scene.host.versions("app/redis").len() == 1);
}
