//! The flow of `cargo xtask demo`, and of `cargo xtask crash`: the host is killed at each step and recovers.

use crate::scene::{Scene, servers};

/// Places at which the test build dies: around the moments when a new value is in the most hands.
const FAILPOINTS: [&str; 4] = [
    "pending-after",
    "intent-after",
    "conclude-before",
    "promote-after",
];

pub(crate) fn run(scene: &mut Scene) {
    postgres(scene);
    killed(scene);
    redis(scene);
    let _ = scene.run("audit verify", "", 0);
    let _ = scene.run("status", "", 0);
    let _ = scene.run("status -o json", "", 0);
}

fn postgres(scene: &mut Scene) {
    let server = &servers().postgres;
    let key_file = scene.host.file("vault.key");
    scene.know_key_file("the key file", &key_file);
    scene.configure(&["app-db"]);
    scene.host.drop_plugin("postgres");
    let _ = scene.run("plugin list", "", 0);
    scene.host.add_plugin("postgres", &[server.port()]);
    let _ = scene.run("secret import admin/db -", server.admin_password(), 0);
    let first = scene.value("the role's first password").to_owned();
    let _ = scene.run("secret import app/db - --wait end", &first, 0);
    let _ = scene.run("plan app-db", "", 10);
    let _ = scene.run("plan app-db -o json", "", 10);
    let _ = scene.run("rotate app-db --wait end", "", 0);
    let _ = scene.run("run show app-db", "", 0);
    let _ = scene.run("run show app-db -o json", "", 0);
    assert!(server.login("app", &first).unwrap().is_refused());
    let now = scene.host.read("app/db", None);
    assert!(server.login("app", &now).unwrap().is_accepted());
    scene.remember_keys();
}

/// By `kill -9` as soon as a step has been told, and at places of the test build's own.
fn killed(scene: &mut Scene) {
    for step in ["create", "apply", "test", "promote"] {
        let mut command = scene.host.command(&["rotate", "app-db", "--wait", "end"]);
        let mut running = scene.host.start(&mut command);
        let _ = running.wait_for(&format!("  {step} "));
        let _ = running.child.kill();
        let _ = scene.host.wait(running);
        recovers(scene, "app-db", &format!("killed after {step}"));
    }
    for point in FAILPOINTS {
        let mut command = scene
            .host
            .failing(&["rotate", "app-db", "--wait", "end"], &format!("{point}=return"));
        let died = scene.host.finish(&mut command, "");
        assert_eq!(died.code, -1, "{point}: {died:?}");
        recovers(scene, "app-db", &format!("killed at {point}"));
    }
}

fn recovers(scene: &mut Scene, rotation: &str, when: &str) {
    scene.keep_state(when);
    let _ = scene.host.run(&["status"], "");
    let _ = scene.host.run(&["run", "show", rotation], "");
    let resumed = scene.host.run(&["run", "resume", rotation, "--wait", "end"], "");
    // It was over before it was killed, or not begun: then the newest run is one that has ended.
    assert!(
        matches!(resumed.code, 0 | 40) || resumed.stderr.contains("run.over"),
        "{when}: {resumed:?}"
    );
}

/// A plugin that the host has never seen is dropped in.
fn redis(scene: &mut Scene) {
    let server = &servers().redis;
    scene.host.drop_plugin("redis");
    let _ = scene.run("plugin list -o json", "", 0);
    scene.host.add_plugin("redis", &[server.port()]);
    scene.configure(&["app-db", "app-redis"]);
    let _ = scene.run("config check", "", 0);
    let _ = scene.run("secret import admin/redis -", server.admin_password(), 0);
    // What is wrong was typed, too.
    let wrong = scene.plant("another password than the user's");
    let _ = scene.run("secret import app/redis - --wait end", &wrong, 40);
    let first = scene.value("the user's first password").to_owned();
    let _ = scene.run("secret import app/redis - --wait end", &first, 0);
    let _ = scene.run("plan app-redis", "", 10);
    let _ = scene.run("rotate app-redis --wait end -o json", "", 0);
    let mut command = scene.host.command(&["rotate", "app-redis", "--wait", "end"]);
    let mut running = scene.host.start(&mut command);
    let _ = running.wait_for("  apply ");
    let _ = running.child.kill();
    let _ = scene.host.wait(running);
    recovers(scene, "app-redis", "killed on Redis");
    assert!(server.login("app", &first).unwrap().is_refused());
}
