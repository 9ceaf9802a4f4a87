//! Rotations that a person has paused.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::scene::{Scene, until};

impl Scene {
    fn schedule(&self, schedule: &str) {
        let file = self.host.file("keywheel.toml");
        let text = fs::read_to_string(&file).unwrap();
        let named = "name = \"app-redis\"\n";
        assert!(text.contains(named));
        let lines = format!("{named}schedule = \"{schedule}\"\n");
        fs::write(&file, text.replacen(named, &lines, 1)).unwrap();
    }

    fn versions(&self) -> usize {
        self.host.versions("app/redis").len()
    }
}

#[test]
fn a_paused_rotation_is_left_alone_until_somebody_ends_that() {
    let scene = Scene::new("1s");
    scene.schedule("@every 1s");
    let serving = scene.serve();
    until("it was rotated by itself", || scene.versions() > 2);
    let why = "the cache moves";
    let paused = scene
        .run(&["schedule", "pause", "app-redis", "--reason", why, "-o", "json"])
        .ends(0)
        .json();
    assert_eq!(paused[0]["paused"]["reason"], why, "{paused}");
    // What was under way comes to its end.
    until("nothing is under way", || scene.state() == "succeeded");
    let before = scene.versions();
    thread::sleep(Duration::from_secs(4));
    assert_eq!(scene.versions(), before);
    let listed = scene.run(&["schedule", "list"]).ends(0).stdout;
    assert!(listed.contains("paused"), "{listed}");
    // It holds back what is due: a person may have forgotten it.
    let status = scene.run(&["status"]).ends(10).stdout;
    assert!(
        status.contains(why) && status.contains("keywheel schedule unpause app-redis"),
        "{status}"
    );
    // By hand it goes on, and stays paused.
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    let after = scene.versions();
    assert!(after > before);
    // A host that is started again still knows.
    let _ = serving.ends();
    let serving = scene.serve();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(scene.versions(), after);
    let _ = scene.run(&["schedule", "unpause", "app-redis"]).ends(0);
    until("it is rotated again", || scene.versions() > after);
    let _ = serving.ends();
    let trail = scene.run(&["audit", "search", "-o", "json"]).ends(0).stdout;
    for action in ["schedule.pause", "schedule.unpause"] {
        assert!(trail.contains(action), "{trail}");
    }
}

#[test]
fn a_pause_ends_by_itself_at_its_time() {
    let scene = Scene::new("1s");
    scene.schedule("@every 1s");
    let words = ["schedule", "pause", "app-redis", "--reason", "test", "--until"];
    let told = scene
        .run(&[&words[..], &["30s", "-o", "json"]].concat())
        .ends(0)
        .json();
    let end = told[0]["paused"]["until"].as_u64().unwrap();
    let before = scene.versions();
    let serving = scene.serve();
    until("its time has come", || scene.versions() > before);
    let _ = serving.ends();
    // Not before.
    let list = scene
        .run(&["run", "list", "app-redis", "-o", "json"])
        .ends(0)
        .json();
    let runs = list.as_array().unwrap().iter();
    let begun = runs
        .filter(|run| run["trigger"] == "schedule")
        .filter_map(|run| run["started-at"].as_u64())
        .min();
    assert!(begun.is_some_and(|begun| begun >= end), "{end}: {list:#}");
    // Times that are none, and rotations that are none, change nothing.
    let _ = scene
        .run(&[&words[..], &["2020-01-01"]].concat())
        .ends(2)
        .says(&["error[schedule.past]"]);
    let _ = scene
        .run(&["schedule", "pause", "app-redis", "nobody", "--reason", "test"])
        .ends(23)
        .says(&["error[rotation.not-found]"]);
    let again = scene.run(&["schedule", "unpause", "app-redis"]).ends(0);
    let _ = again.says(&["was not paused"]);
}
