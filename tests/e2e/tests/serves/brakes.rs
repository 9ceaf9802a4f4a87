//! Many rotations at once, and targets that cannot be reached.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use keywheel_e2e::Host;
use keywheel_kit::{Redis, RedisOptions, faketime, random_password};

use crate::scene::{Scene, Serving, until};

/// So many users of one server; with more than twenty due at once a host asks.
const MANY: usize = 24;

/// A host with many rotations of one server, all adopted.
fn fleet() -> Scene {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let host = Host::init();
    for number in 0..MANY {
        let old = random_password();
        let (user, secret) = (format!("app{number}"), format!("app/{number}"));
        server.create_user(&user, &old).unwrap();
        let lines = keywheel_e2e::redis_user(&server, "1s")
            .replace("app-redis", &format!("r{number}"))
            .replace("app/redis", &secret)
            .replace("user = \"app\"", &format!("user = \"{user}\""));
        host.configure(&lines);
        if number == 0 {
            host.add_plugin("redis", &[server.port()]);
            let _ = host.import("admin/redis", server.admin_password()).ends(0);
        }
        let _ = host.import(&secret, &old).ends(0);
    }
    Scene::of(server, host)
}

/// The same as rows of one table.
fn table() -> Scene {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let host = Host::init();
    let rows: String = (0..MANY).map(|number| format!("{number}\r\n")).collect();
    fs::write(host.file("users.csv"), format!("number\r\n{rows}")).unwrap();
    let lines = keywheel_e2e::redis_user(&server, "1s")
        .replace(
            "name = \"app-redis\"",
            "name = \"r{number}\"\neach = \"users.csv\"",
        )
        .replace("app/redis", "app/{number}")
        .replace("user = \"app\"", "user = \"app{number}\"");
    host.configure(&lines);
    host.add_plugin("redis", &[server.port()]);
    let _ = host.import("admin/redis", server.admin_password()).ends(0);
    for number in 0..MANY {
        let old = random_password();
        server.create_user(&format!("app{number}"), &old).unwrap();
        let _ = host.import(&format!("app/{number}"), &old).ends(0);
    }
    Scene::of(server, host)
}

fn versions(scene: &Scene) -> Vec<usize> {
    (0..MANY)
        .map(|number| scene.host.versions(&format!("app/{number}")).len())
        .collect()
}

/// Each rotation has this schedule.
fn schedule(scene: &Scene, schedule: &str) {
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("schedule = "))
        .flat_map(|line| {
            let named = line.starts_with("name = \"r");
            let schedule = named.then(|| format!("schedule = \"{schedule}\""));
            [Some(line.to_owned()), schedule]
        });
    fs::write(&file, lines.flatten().collect::<Vec<_>>().join("\n")).unwrap();
}

fn status(scene: &Scene, kind: &str) -> Option<serde_json::Value> {
    let list = scene.run(&["status", "-o", "json"]).json();
    let entry = list
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["kind"] == kind);
    entry.cloned()
}

/// A host whose clock is ahead by what stands in a file, which it looks at every second.
fn serve_by_clock<'s>(scene: &'s Scene, ahead: &str) -> Option<Serving<'s>> {
    let library = match faketime() {
        Ok(library) => library,
        Err(missing) => {
            println!("skipped: {missing:#}");
            return None;
        }
    };
    let file = clock(scene);
    fs::write(&file, ahead).unwrap();
    let mut serve = scene.host.command(&["serve"]);
    serve
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &file)
        .env("FAKETIME_CACHE_DURATION", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Some(scene.serve_by(&mut serve))
}

fn clock(scene: &Scene) -> PathBuf {
    scene.host.outside("clock")
}

fn is_rotated(scene: &Scene) -> usize {
    versions(scene).into_iter().filter(|count| *count > 1).count()
}

#[test]
fn many_that_are_late_together_wait_for_a_person() {
    late_together(&fleet());
}

#[test]
fn many_rows_that_are_late_together_wait_for_a_person() {
    late_together(&table());
}

fn late_together(scene: &Scene) {
    schedule(scene, "@every 1h");
    // It learns of them, and is away for a day.
    let Some(serving) = serve_by_clock(scene, "+0") else {
        return;
    };
    thread::sleep(Duration::from_secs(3));
    let _ = serving.ends();
    let Some(serving) = serve_by_clock(scene, "+1d") else {
        return;
    };
    until("it asks", || status(scene, "schedule-held").is_some());
    let held = status(scene, "schedule-held").unwrap();
    let what = held["what"].as_str().unwrap();
    assert!(what.contains(&format!("{MANY} rotations")), "{what}");
    // What a person starts is started.
    let _ = scene.run(&["rotate", "r0", "--wait", "end"]).ends(0);
    assert_eq!(is_rotated(scene), 1);
    let _ = scene
        .run(&["schedule", "release", "--reason", "power cut"])
        .ends(0);
    until("all are rotated", || is_rotated(scene) == MANY);
    assert!(status(scene, "schedule-held").is_none());
    let _ = serving.ends();
    let trail = scene.run(&["audit", "search", "--action", "schedule.release", "-o", "json"]);
    assert!(trail.stdout.contains("power cut"), "{}", trail.stdout);
    // Nobody holds anything back without a host.
    let _ = scene
        .run(&["schedule", "release", "--reason", "again"])
        .ends(24)
        .says(&["error[schedule.no-host]"]);
}

#[test]
fn a_clock_that_jumps_ahead_makes_nothing_due_by_itself() {
    jumps_ahead(&fleet());
}

#[test]
fn a_clock_that_jumps_ahead_makes_no_row_due_by_itself() {
    jumps_ahead(&table());
}

fn jumps_ahead(scene: &Scene) {
    schedule(scene, "@every 2h");
    let Some(serving) = serve_by_clock(scene, "+0") else {
        return;
    };
    assert!(status(scene, "schedule-held").is_none());
    fs::write(clock(scene), "+1d").unwrap();
    until("it asks", || status(scene, "schedule-held").is_some());
    assert_eq!(is_rotated(scene), 0);
    let _ = serving.ends();
}

#[test]
fn no_more_than_a_share_is_started_within_an_hour() {
    braked(&fleet());
}

#[test]
fn no_more_than_a_share_of_rows_is_started_within_an_hour() {
    braked(&table());
}

fn braked(scene: &Scene) {
    schedule(scene, "@every 1s");
    scene.configure_first("[schedule]\nbrake = 0.5\nat_once_per_target = 4\n");
    let serving = scene.serve();
    // Half of them are twelve, and twenty are never too many.
    until("the brake holds", || {
        is_rotated(scene) == 20
            && status(scene, "schedule-braked")
                .is_some_and(|braked| braked["what"].as_str().unwrap().starts_with("4 rotations"))
    });
    // Those that count already go on.
    let before: usize = versions(scene).iter().sum();
    until("they go on", || {
        versions(scene).iter().sum::<usize>() > before + 20
    });
    assert_eq!(is_rotated(scene), 20);
    let _ = serving.ends();
}

#[test]
fn a_dead_target_is_tried_by_one_of_its_rotations_and_by_all_once_it_answers() {
    dead_target(fleet());
}

#[test]
fn a_dead_target_is_tried_by_one_row_of_its_table_and_by_all_once_it_answers() {
    dead_target(table());
}

fn dead_target(mut scene: Scene) {
    schedule(&scene, "@every 1s");
    assert_eq!(scene.server.command(&["ACL", "SAVE"]).unwrap().trim(), "OK");
    scene.server.stop().unwrap();
    {
        let serving = scene.serve();
        until("that is found", || status(&scene, "target-down").is_some());
        let _ = serving.ends();
    }
    // One was begun or asked about its target; the others stand as they were.
    let begun = scene.run(&["run", "list", "--open", "-o", "json"]).json();
    assert!(begun.as_array().is_none_or(|runs| runs.len() <= 1), "{begun:#}");
    until("it can be started again", || scene.server.restart().is_ok());
    let serving = scene.serve();
    until("all are rotated", || is_rotated(&scene) == MANY);
    assert!(status(&scene, "target-down").is_none());
    let _ = serving.ends();
}

/// What was done by a clock that stood a month ahead counts for nothing; what is done by the right one after it does. Else it would be due again and again,
/// for a month.
#[test]
fn a_rotation_by_a_clock_that_was_a_month_ahead_hides_no_later_one() {
    let library = match faketime() {
        Ok(library) => library,
        Err(missing) => {
            println!("skipped: {missing:#}");
            return;
        }
    };
    let scene = Scene::new("1s");
    let file = scene.host.file("keywheel.toml");
    let named = "name = \"app-redis\"\n";
    let text = fs::read_to_string(&file).unwrap();
    let every_second = "schedule = { cron = \"* * * * * *\", seconds = true, jitter = \"0s\" }";
    fs::write(
        &file,
        text.replacen(named, &format!("{named}{every_second}\n"), 1),
    )
    .unwrap();
    let rotate = ["rotate", "app-redis", "--wait", "end"];
    let mut ahead = scene.host.command(&rotate);
    ahead
        .env("LD_PRELOAD", library)
        .env("FAKETIME", "+30d")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let _ = scene.host.wait(scene.host.start(&mut ahead)).ends(0);
    let _ = scene.run(&rotate).ends(0);
    let runs = scene.run(&["run", "list", "-o", "json"]).json();
    let started = runs.as_array().unwrap().iter();
    let started: Vec<u64> = started.map(|run| run["started-at"].as_u64().unwrap()).collect();
    let ahead = *started.iter().max().unwrap();
    let day = 86_400_000;
    let last = started.into_iter().filter(|at| at + 20 * day < ahead).max();
    let last = last.expect("its clock was not ahead");
    let next = scene.run(&["schedule", "next", "app-redis", "-o", "json"]).json();
    let desired = next[0]["times"][0]["desired"].as_u64().unwrap();
    assert!(
        desired > last,
        "of a time before it is due once more: {last}, {next:#}"
    );
}
