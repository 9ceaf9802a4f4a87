//! One table for many rotations (`each`), on a host that runs and by commands alone.

use std::fs;
use std::os::unix::net::UnixDatagram;

use keywheel_e2e::{Host, redis_user};
use keywheel_kit::{Redis, RedisOptions, random_password};
use rustix::process::Signal;

use crate::scene::{DEADLINE, Scene, until};

/// Users of one server by a table, adopted; `more` stands in the template.
fn scene(users: &[&str], more: &str) -> Scene {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let host = Host::init();
    let name = format!("name = \"redis-{{user}}\"\neach = \"users.csv\"\n{more}");
    let lines = redis_user(&server, "1s")
        .replace("name = \"app-redis\"", &name)
        .replace("app/redis", "{team}/{user}")
        .replace("user = \"app\"", "user = \"{user}\"");
    host.configure(&lines);
    let scene = Scene::of(server, host);
    rows(&scene, users);
    scene.host.add_plugin("redis", &[scene.server.port()]);
    let admin = scene.server.admin_password().to_owned();
    let _ = scene.host.import("admin/redis", &admin).ends(0);
    for user in users {
        let old = random_password();
        scene.server.create_user(user, &old).unwrap();
        let _ = scene.host.import(&format!("shop/{user}"), &old).ends(0);
    }
    scene
}

/// Each in a row of its own; the last column is nobody's.
fn rows(scene: &Scene, users: &[&str]) {
    let rows: String = users
        .iter()
        .map(|user| format!("shop,{user},\"a, b\"\n"))
        .collect();
    let path = scene.host.file("users.csv");
    let new = scene.host.file("users.csv.new");
    fs::write(&new, format!("team,user,note\n{rows}")).unwrap();
    fs::rename(new, path).unwrap();
}

fn count(scene: &Scene, user: &str) -> usize {
    scene.host.versions(&format!("shop/{user}")).len()
}

#[test]
fn every_command_takes_a_row_by_its_name() {
    let scene = scene(
        &["ann", "bob"],
        "schedule = \"@every 36h\"\nlabels = { who = \"{user}\" }",
    );
    let checked = scene.host.json(&["config", "check"]);
    assert_eq!(checked["rotations"], 2);
    let _ = scene.run(&["plan", "redis-ann"]).ends(10);
    let _ = scene.run(&["rotate", "redis-ann", "--wait", "end"]).ends(0);
    let _ = scene
        .run(&["rotate", "-l", "who=bob", "--yes", "--wait", "end"])
        .ends(0);
    assert_eq!((count(&scene, "ann"), count(&scene, "bob")), (2, 2));
    assert!(
        scene
            .server
            .login("ann", &scene.host.read("shop/ann", None))
            .unwrap()
            .is_accepted()
    );
    let _ = scene.run(&["target", "test", "redis-bob"]).ends(0);
    let _ = scene.run(&["drift", "check"]).ends(0).says(&[]);
    let listed = scene.host.json(&["schedule", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let run = scene.host.json(&["run", "show", "redis-bob"]);
    let due = run["finished-at"].as_u64().unwrap() + 36 * 3_600_000;
    let next = scene.host.json(&["schedule", "next", "redis-bob"]);
    let told = next[0]["times"][0]["due"].as_u64().unwrap();
    // Jitter puts it off by a tenth of that at most.
    assert!(told.abs_diff(due) < 4 * 3_600_000, "{told} {due}");
    let _ = scene
        .run(&["schedule", "pause", "redis-ann", "--reason", "holiday"])
        .ends(0);
    let _ = scene
        .run(&["schedule", "unpause", "redis-ann", "--reason", "back"])
        .ends(0);
    assert_eq!(
        scene.host.json(&["secret", "show", "shop/ann"])["rotation"],
        "redis-ann"
    );
    let _ = scene.run(&["policy", "explain", "redis-ann"]).ends(0);
    let _ = scene.run(&["status"]).ends(0);
    let _ = scene
        .run(&["rotate", "redis-carl"])
        .ends(23)
        .says(&["error[rotation.not-found]"]);
    // A row that is taken out is no rotation any more; what was rotated stays.
    rows(&scene, &["ann"]);
    let _ = scene.run(&["rotate", "redis-bob"]).ends(23);
    assert_eq!(
        scene.host.json(&["secret", "show", "shop/bob"])["rotation"],
        serde_json::Value::Null
    );
}

/// Whether the files say what was not taken.
fn is_refused(scene: &Scene) -> bool {
    scene
        .run(&["status", "-o", "json"])
        .stdout
        .contains("configuration-refused")
}

#[test]
fn rows_are_rotated_when_they_are_due_and_a_file_that_is_wrong_leaves_the_old_ones() {
    let scene = scene(&["ann", "bob"], "schedule = \"@every 2s\"");
    let serving = scene.serve();
    until("both are rotated, again and again", || {
        count(&scene, "ann") > 2 && count(&scene, "bob") > 2
    });
    let _ = scene
        .run(&["schedule", "pause", "redis-bob", "--reason", "holiday"])
        .ends(0);
    // One of a name that another has: nothing of the file is taken.
    rows(&scene, &["ann", "bob", "bob"]);
    serving.signal(Signal::HUP);
    until("it is told", || is_refused(&scene));
    let before = count(&scene, "ann");
    until("what was accepted goes on", || count(&scene, "ann") > before);
    // Mended, with one more.
    let old = random_password();
    scene.server.create_user("carl", &old).unwrap();
    rows(&scene, &["ann", "bob", "carl"]);
    serving.signal(Signal::HUP);
    until("it is taken", || !is_refused(&scene));
    let _ = scene.host.import("shop/carl", &old).ends(0);
    until("the new one is rotated", || count(&scene, "carl") > 1);
    let bob = count(&scene, "bob");
    let paused = scene.run(&["status", "-o", "json"]).stdout;
    assert!(paused.contains("schedule-paused"), "{paused}");
    let _ = scene
        .run(&["schedule", "unpause", "redis-bob", "--reason", "back"])
        .ends(0);
    until("the other one goes on", || count(&scene, "bob") > bob);
    // Taken out, it is never due again.
    rows(&scene, &["bob", "carl"]);
    serving.signal(Signal::HUP);
    until("it is gone", || scene.run(&["plan", "redis-ann"]).code == 23);
    let _ = serving.ends();
    let _ = scene.run(&["audit", "verify"]).ends(0);
}

#[test]
fn a_row_whose_credential_was_never_imported_is_told_once_it_was_due() {
    let scene = scene(&["ann"], "schedule = \"@every 2s\"");
    rows(&scene, &["ann", "dora"]);
    scene.configure_first("[schedule]\ntries = 1\n");
    let serving = scene.serve();
    until("it is parked", || {
        let status = scene.run(&["status", "-o", "json"]).stdout;
        status.contains("rotation-parked")
            && status.contains("redis-dora")
            && status.contains("secret-missing")
    });
    let before = count(&scene, "ann");
    until("the other one goes on", || count(&scene, "ann") > before);
    let _ = serving.ends();
}

/// Very many rows take longer to check than a service manager waits.
#[test]
fn a_host_that_reads_very_many_rows_stops_at_once_when_it_is_told_to() {
    let scene = scene(&["ann"], "schedule = \"@every 36h\"");
    let socket = scene.host.outside("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let told = || {
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let serving = scene.serve_by(scene.host.command(&["serve"]).env("NOTIFY_SOCKET", &socket));
    while !told().starts_with("READY=1") {}
    let users: Vec<String> = (0..40_000).map(|number| format!("user{number}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).chain(["ann"]).collect();
    rows(&scene, &users);
    while !told().starts_with("RELOADING=1") {}
    serving.signal(Signal::TERM);
    let next = told();
    assert!(next.starts_with("STOPPING=1"), "{next}");
    let ended = serving.ends();
    assert!(
        !ended.stderr.contains("read the configuration again"),
        "{}",
        ended.stderr
    );
    // The rows that it was in the middle of are taken by the next one, as a whole.
    let serving = scene.serve();
    let _ = scene.run(&["schedule", "next", "redis-user39999"]).ends(0);
    let _ = scene.run(&["rotate", "redis-ann", "--wait", "end"]).ends(0);
    let _ = serving.ends();
    let _ = scene.run(&["audit", "verify"]).ends(0);
}
