//! Rotations that are kept waiting for each other, for their target, or for a person.

use std::fs;
use std::thread;
use std::time::Duration;

use keywheel_e2e::{Host, redis_user};
use keywheel_kit::{Redis, RedisOptions, faketime, random_password};
use serde_json::Value;

use crate::scene::{Scene, Serving, until};

/// Three users of one server, `r0` to `r2`, all adopted, each with these lines.
pub(crate) fn three(lines: &str) -> Scene {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let host = Host::init();
    // Once is enough.
    let deadlines = if lines.contains("deadlines") {
        ""
    } else {
        "deadlines = { step = \"3s\" }"
    };
    for number in 0..3 {
        let old = random_password();
        let (user, secret) = (format!("app{number}"), format!("app/{number}"));
        server.create_user(&user, &old).unwrap();
        let named = format!("name = \"r{number}\"\n");
        let rotation = redis_user(&server, "1s")
            .replace("app-redis", &format!("r{number}"))
            .replacen(&named, &format!("{named}{lines}\n"), 1)
            .replace("deadlines = { step = \"3s\" }", deadlines)
            .replace("app/redis", &secret)
            .replace("user = \"app\"", &format!("user = \"{user}\""));
        host.configure(&rotation);
        if number == 0 {
            host.add_plugin("redis", &[server.port()]);
            let _ = host.import("admin/redis", server.admin_password()).ends(0);
        }
        let _ = host.import(&secret, &old).ends(0);
    }
    // Users that are in its file come back with it.
    assert_eq!(server.command(&["ACL", "SAVE"]).unwrap().trim(), "OK");
    Scene::of(server, host)
}

pub(crate) fn entries(scene: &Scene, kind: &str) -> Vec<Value> {
    let list = scene.run(&["status", "-o", "json"]).json();
    let list = list.as_array().unwrap().iter();
    list.filter(|entry| entry["kind"] == kind).cloned().collect()
}

pub(crate) fn versions(scene: &Scene, number: u8) -> usize {
    scene.host.versions(&format!("app/{number}")).len()
}

fn is_rotated(scene: &Scene) -> usize {
    (0..3).filter(|number| versions(scene, *number) > 1).count()
}

/// Start and end of each run that was begun by itself.
fn runs(scene: &Scene) -> Vec<(String, u64, Option<u64>)> {
    let list = scene.run(&["run", "list", "-o", "json"]).json();
    let list = list.as_array().unwrap().iter();
    let begun = list.filter(|run| run["trigger"] != "adopt");
    let of = |run: &Value| {
        let rotation = run["rotation"].as_str().unwrap().to_owned();
        (
            rotation,
            run["started-at"].as_u64().unwrap(),
            run["finished-at"].as_u64(),
        )
    };
    begun.map(of).collect()
}

pub(crate) fn rewrite(scene: &Scene, from: &str, to: &str) {
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(&file, text.replace(from, to)).unwrap();
}

/// The users live on one server, on which three may be rotated at once: it is the group that keeps them apart.
#[test]
fn linked_rotations_go_one_after_the_other_with_time_between() {
    let scene = three("schedule = \"@every 1h\"");
    scene.configure_first(
        "[schedule]\nat_once_per_target = 3\njitter = \"0s\"\n\n[[linked]]\nname = \"pair\"\nrotations = [\"r0\", \"r1\", \"r2\"]\noffset = \"4s\"\n",
    );
    rewrite(&scene, "@every 1h", "@every 1s");
    let serving = scene.serve();
    let mut waits = Vec::new();
    // Each is due again before the others had their turn, and keeps none waiting for ever.
    until("each had its turn", || {
        waits.extend(entries(&scene, "schedule-linked"));
        is_rotated(&scene) == 3 && runs(&scene).len() > 4
    });
    let _ = serving.ends();
    let mut runs = runs(&scene);
    runs.sort_by_key(|(_, started, _)| *started);
    for pair in runs.windows(2) {
        let ((before, _, ended), (after, started, _)) = (&pair[0], &pair[1]);
        let ended = ended.expect("two were open at once");
        assert!(*started >= ended, "two were open at once: {runs:?}");
        assert!(before == after || *started >= ended + 4000, "{runs:?}");
    }
    // Why one waits is told.
    let what = |entry: &Value| entry["what"].as_str().unwrap().to_owned();
    assert!(
        waits.iter().any(|entry| what(entry).contains("in group pair")),
        "{waits:?}"
    );
}

#[test]
fn by_hand_the_offset_is_answered_for_and_an_open_run_is_not() {
    let scene = three("approval = {}");
    scene.configure_first("[[linked]]\nname = \"pair\"\nrotations = [\"r0\", \"r1\"]\n");
    // Open, and waiting for a person.
    let _ = scene.run(&["rotate", "r0", "--wait", "0s"]).ends(41);
    let answered = [
        "rotate",
        "r1",
        "--wait",
        "end",
        "--ignore-offset",
        "--reason",
        "leaked",
    ];
    let refused = scene.run(&answered).ends(24);
    let _ = refused.says(&["error[rotation.linked]", "never open at once"]);
    let _ = scene.run(&["run", "cancel", "r0"]).ends(0);
    // What has touched nothing keeps nobody waiting.
    rewrite(&scene, "approval = {}", "");
    let _ = scene.run(&["rotate", "r0", "--wait", "end"]).ends(0);
    let refused = scene.run(&["rotate", "r1", "--wait", "end"]).ends(24);
    let _ = refused.says(&["error[rotation.linked]", "--ignore-offset"]);
    assert_eq!(versions(&scene, 1), 1);
    let _ = scene.run(&["rotate", "r1", "--ignore-offset"]).ends(2);
    let _ = scene.run(&answered).ends(0);
    let trail = scene
        .run(&["audit", "search", "--action", "run.begin", "-o", "json"])
        .json();
    let row = &trail[0]["details"];
    assert_eq!(row["ignores-offset-of"], "pair", "{trail:#}");
    assert_eq!(row["reason"], "leaked");
    // Others are none of it.
    let _ = scene.run(&["rotate", "r2", "--wait", "end"]).ends(0);
    // A rotation in two groups, which alone could make a circle, is refused at its place; so is one that is not there.
    for (rotations, why) in [
        ("[\"r1\", \"r2\"]", "linked in"),
        ("[\"r2\", \"nobody\"]", "no rotation"),
    ] {
        let lines = format!("[[linked]]\nname = \"more\"\nrotations = {rotations}\n");
        let text = fs::read_to_string(scene.host.file("keywheel.toml")).unwrap();
        scene.configure_first(&lines);
        let _ = scene
            .run(&["config", "check"])
            .ends(20)
            .says(&[why, "--> keywheel.toml:"]);
        fs::write(scene.host.file("keywheel.toml"), text).unwrap();
    }
}

#[test]
fn a_target_under_maintenance_is_left_alone_until_its_time() {
    let scene = three("schedule = \"@every 1s\"");
    // A run that waits for its consumers, and would go on.
    let _ = scene.run(&["rotate", "r0", "--wait", "0s"]).ends(0);
    let name = format!("localhost:{}", scene.server.port());
    let pause = |length: &str| {
        let words = [
            "schedule",
            "pause",
            "--target",
            &name,
            "--for",
            length,
            "--reason",
            "new disks",
        ];
        scene.run(&words)
    };
    let _ = pause("1h").ends(0);
    let wrong = [
        "schedule",
        "pause",
        "--target",
        "elsewhere:1",
        "--for",
        "1h",
        "--reason",
        "x",
    ];
    let _ = scene
        .run(&wrong)
        .ends(23)
        .says(&["error[target.not-found]", &name]);
    let open_ended = ["schedule", "pause", "--target", &name, "--reason", "x"];
    let _ = scene.run(&open_ended).ends(2);
    // Neither a timer nor the host goes on with it; the host knows after a restart, too.
    for _ in 0..2 {
        let serving = scene.serve();
        thread::sleep(Duration::from_secs(3));
        let _ = serving.ends();
        let _ = scene.run(&["--no-input", "run", "resume", "--all"]);
    }
    assert_eq!(runs(&scene).len(), 1, "{:?}", runs(&scene));
    assert!(runs(&scene)[0].2.is_none());
    let told = entries(&scene, "target-maintenance");
    let what = told[0]["what"].as_str().unwrap();
    assert!(
        what.contains("new disks") && what.contains("2 are due and 1 have"),
        "{what}"
    );
    // A person may.
    let _ = scene.run(&["run", "resume", "r0", "--wait", "end"]).ends(0);
    let _ = scene.run(&["rotate", "r1", "--wait", "end"]).ends(0);
    // It ends by itself, and not before.
    let told = pause("20s").ends(0);
    drop(told);
    let end = entries(&scene, "target-maintenance")[0]["harm-at"]
        .as_u64()
        .unwrap();
    let serving = scene.serve();
    until("all are rotated", || is_rotated(&scene) == 3);
    assert!(entries(&scene, "target-maintenance").is_empty());
    let _ = serving.ends();
    let of_r2: Vec<u64> = runs(&scene)
        .into_iter()
        .filter(|(rotation, ..)| rotation == "r2")
        .map(|(_, started, _)| started)
        .collect();
    assert!(of_r2.iter().all(|started| *started >= end), "{of_r2:?} {end}");
    // Or by a person.
    let _ = pause("1h").ends(0);
    let unpause = ["schedule", "unpause", "--target", &name];
    let _ = scene.run(&unpause).ends(0);
    assert!(entries(&scene, "target-maintenance").is_empty());
    let _ = scene.run(&unpause).ends(0).says(&["was not left alone"]);
    for action in ["schedule.begin-maintenance", "schedule.end-maintenance"] {
        let trail = scene.run(&["audit", "search", "--action", action, "-o", "json"]);
        assert!(trail.stdout.contains(&name), "{}", trail.stdout);
    }
}

/// Its administrator is refused, so that each try fails: after the last one it is parked, and stays that until somebody says so or has rotated it.
#[test]
fn a_rotation_that_has_used_its_tries_is_parked_until_it_is_released() {
    let scene = three("schedule = \"@every 1s\"");
    scene.configure_first("[schedule]\ntries = 0\n");
    rewrite(&scene, "user = \"app2\"", "user = \"nobody2\"");
    let serving = scene.serve();
    until("it is parked", || !entries(&scene, "rotation-parked").is_empty());
    // The others go on.
    until("the others are rotated", || is_rotated(&scene) == 2);
    let parked = &entries(&scene, "rotation-parked")[0];
    assert_eq!(parked["subject"], "rotation r2");
    assert!(
        parked["way-out"]
            .as_str()
            .unwrap()
            .contains("keywheel schedule release r2"),
        "{parked}"
    );
    let _ = serving.ends();
    let of_r2 = || runs(&scene).iter().filter(|run| run.0 == "r2").count();
    let before = of_r2();
    let serving = scene.serve();
    thread::sleep(Duration::from_secs(4));
    assert_eq!(of_r2(), before);
    assert_eq!(entries(&scene, "rotation-parked").len(), 1);
    let listed = scene.run(&["schedule", "list"]).ends(0).stdout;
    assert!(listed.contains("parked"), "{listed}");
    rewrite(&scene, "user = \"nobody2\"", "user = \"app2\"");
    let release = ["schedule", "release", "r2", "--reason", "mended"];
    // The host may not have read what was mended yet.
    until("it is rotated", || {
        let _ = scene.run(&release).ends(0);
        versions(&scene, 2) > 1
    });
    assert!(entries(&scene, "rotation-parked").is_empty());
    let _ = scene.run(&release).ends(0).says(&["was not parked"]);
    let _ = serving.ends();
    let trail = scene.run(&["audit", "search", "--action", "schedule.unpark", "-o", "json"]);
    assert!(trail.stdout.contains("mended"), "{}", trail.stdout);
}

/// Each life of the host is too short for more than one try.
#[test]
fn tries_are_counted_through_restarts() {
    let scene = three("schedule = \"@every 1s\"");
    scene.configure_first("[schedule]\ntries = 1\n");
    rewrite(&scene, "user = \"app2\"", "user = \"nobody2\"");
    for parked in [0, 1] {
        let mut serving = scene.serve();
        let fails = "what is due was not started rotation=r2";
        assert!(serving.started().wait_for(fails));
        let _ = serving.ends();
        assert_eq!(entries(&scene, "rotation-parked").len(), parked);
    }
    // Whoever releases it gives it all of them.
    let release = ["schedule", "release", "r2", "--reason", "test"];
    let _ = scene.run(&release).ends(0);
    let mut serving = scene.serve();
    assert!(
        serving
            .started()
            .wait_for("what is due was not started rotation=r2")
    );
    let _ = serving.ends();
    assert!(entries(&scene, "rotation-parked").is_empty());
}

#[test]
fn what_is_parked_for_a_dead_target_goes_on_once_that_answers() {
    let mut scene = three("schedule = \"@every 1s\"\ndeadlines = { run = \"1s\", step = \"5s\" }");
    scene.configure_first("[schedule]\ntries = 0\n");
    scene.server.stop().unwrap();
    {
        let serving = scene.serve();
        until("one is parked", || !entries(&scene, "rotation-parked").is_empty());
        let _ = serving.ends();
    }
    until("it can be started again", || scene.server.restart().is_ok());
    let serving = scene.serve();
    until("all are rotated", || is_rotated(&scene) == 3);
    assert!(entries(&scene, "rotation-parked").is_empty());
    let _ = serving.ends();
    let trail = scene.run(&["audit", "search", "--action", "schedule.unpark", "-o", "json"]);
    assert!(trail.stdout.contains("answers again"), "{}", trail.stdout);
}

/// A host whose clock is this much ahead, by a file that it looks at every second.
fn serve_by_clock<'s>(scene: &'s Scene, ahead: &str) -> Option<Serving<'s>> {
    let library = match faketime() {
        Ok(library) => library,
        Err(missing) => {
            println!("skipped: {missing:#}");
            return None;
        }
    };
    let file = scene.host.outside("clock");
    fs::write(&file, ahead).unwrap();
    let mut serve = scene.host.command(&["serve"]);
    serve
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &file)
        .env("FAKETIME_CACHE_DURATION", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Some(scene.serve_by(&mut serve))
}

#[test]
fn a_clock_that_was_set_back_and_what_has_not_run_for_too_long_are_told() {
    let scene = three("schedule = \"@every 1d\"\ndeadlines = { run = \"10m\" }");
    // It learns of them, and of the day.
    let Some(serving) = serve_by_clock(&scene, "+0") else {
        return;
    };
    thread::sleep(Duration::from_secs(2));
    fs::write(scene.host.outside("clock"), "+1h").unwrap();
    until("the jump is told", || !entries(&scene, "clock-jumped").is_empty());
    let ahead = &entries(&scene, "clock-jumped")[0]["what"];
    assert!(ahead.as_str().unwrap().contains("ahead by"), "{ahead}");
    // Something is written by that clock.
    let _ = scene
        .run(&["schedule", "pause", "r0", "--reason", "test"])
        .ends(0);
    fs::write(scene.host.outside("clock"), "+0").unwrap();
    until("that it went back is told", || {
        let jumped = entries(&scene, "clock-jumped");
        jumped
            .iter()
            .any(|entry| entry["what"].as_str().unwrap().contains("back by"))
    });
    assert_eq!(entries(&scene, "clock-behind").len(), 1);
    let _ = serving.ends();
    // Also without a host, from what the trail has.
    assert_eq!(entries(&scene, "clock-behind").len(), 1);
    assert!(entries(&scene, "rotation-overdue").is_empty());
    // Nobody starts anything for four days.
    let library = faketime().unwrap();
    let mut status = scene.host.command(&["status", "-o", "json"]);
    status
        .env("LD_PRELOAD", library)
        .env("FAKETIME", "+4d")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let list = scene.host.finish(&mut status, "").ends(10).json();
    let overdue = list.as_array().unwrap().iter();
    let overdue: Vec<&Value> = overdue
        .filter(|entry| entry["kind"] == "rotation-overdue")
        .collect();
    // The paused one is told as that.
    assert_eq!(overdue.len(), 2, "{list:#}");
}

#[test]
fn what_skips_its_times_is_told_when_nothing_has_rotated_it_for_too_long() {
    for schedule in [
        "{ cron = \"0 3 * * *\", catch_up = \"skip\" }",
        "{ every = \"6h\", window = [{ start = \"0 1 * * *\", for = \"10m\" }] }",
    ] {
        let scene = three(&format!("schedule = {schedule}\ndeadlines = {{ run = \"10m\" }}"));
        let Some(serving) = serve_by_clock(&scene, "+0") else {
            return;
        };
        until("it has seen them", || {
            let next = scene.run(&["schedule", "next", "-o", "json"]);
            next.code == 0 && next.stdout.contains("r2")
        });
        let _ = serving.ends();
        // At four times of a day: in its window, if it has one, and outside.
        for hours in [0, 7, 13, 19].map(|hours| hours + 24 * 40) {
            let mut status = scene.host.command(&["status", "-o", "json"]);
            status
                .env("LD_PRELOAD", faketime().unwrap())
                .env("FAKETIME", format!("+{hours}h"))
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            let list = scene.host.finish(&mut status, "").ends(10).json();
            let kinds = list.as_array().unwrap().iter().map(|entry| &entry["kind"]);
            assert_eq!(
                kinds.filter(|kind| **kind == "rotation-overdue").count(),
                3,
                "{hours}: {list:#}"
            );
        }
    }
}

#[test]
fn no_more_of_one_plugin_are_started_at_once_than_that() {
    let scene = three("schedule = \"@every 1s\"");
    scene.configure_first("[schedule]\nat_once_per_target = 3\nat_once_per_plugin = 1\n");
    let serving = scene.serve();
    until("each was rotated twice", || {
        (0..3).all(|number| versions(&scene, number) > 2)
    });
    let _ = serving.ends();
    // None was started before the last one had promoted.
    let list = scene.run(&["run", "list", "-o", "json"]).json();
    let promoted = |run: &Value| {
        let steps = run["steps"].as_array().unwrap().iter();
        let mut promoted = steps.filter(|step| step["step"] == "promote");
        promoted.find_map(|step| step["ended-at"].as_u64())
    };
    let mut made: Vec<(u64, u64)> = list
        .as_array()
        .unwrap()
        .iter()
        .filter(|run| run["trigger"] == "schedule")
        .filter_map(|run| Some((run["started-at"].as_u64()?, promoted(run)?)))
        .collect();
    made.sort_unstable();
    assert!(made.len() > 4, "{made:?}");
    for pair in made.windows(2) {
        assert!(pair[1].0 >= pair[0].1, "{made:?}");
    }
    let shown = scene.run(&["config", "show", "-o", "json"]).ends(0).stdout;
    assert!(shown.contains("schedule.at_once_per_plugin"), "{shown}");
}
