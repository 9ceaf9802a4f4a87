//! A restore or a backup that is killed on its way: at each place of the test build, and by time.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use keywheel_e2e::{Host, Output};

use crate::{backup, restore, text};

/// How many of the places that a command dies at leave what was there before: all those up to one, and none behind it. That one is between two places
/// that are known by name.
#[track_caller]
fn change_between(places: &[String], done: &[bool], around: [&str; 2]) {
    let first = done.iter().position(|done| *done);
    let first = first.unwrap_or_else(|| panic!("no kill left it done: {places:?}"));
    let (before, after) = done.split_at(first);
    assert!(
        !before.is_empty() && after.iter().all(|done| *done),
        "{places:?}: {done:?}"
    );
    assert_eq!(
        [&places[first - 1], &places[first]],
        around,
        "{places:?}: {done:?}"
    );
    println!(
        "{}: {} places before it, {} after",
        around[0],
        before.len(),
        after.len()
    );
}

/// What lies beside the state and has to do with it.
fn beside_the_state(host: &Host) -> Vec<String> {
    let entries = fs::read_dir(host.folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("state.")).collect()
}

/// The test build dies at each place on the way of a restore: up to the one where the two states change places the old one is there, from then on the new one.
#[test]
fn a_restore_that_dies_at_any_place_leaves_the_old_state_or_the_new_one() {
    let scene = Host::init();
    let _ = scene.import("some/secret", "of the backup").ends(0);
    let kept = backup(&scene, "kept.age");
    let _ = scene.import("some/secret", "of the state").ends(0);
    let words = ["vault", "restore", text(&kept), "--force"];
    let places = scene.copy().places_on(&words);
    let mut done = Vec::new();
    for number in 0..places.len() {
        let (host, place) = (scene.copy(), &places[number]);
        host.dies_at(&words, &places, number);
        let left = beside_the_state(&host);
        let value = host.read("some/secret", None);
        let is_new = match value.as_str() {
            "of the state" => false,
            "of the backup" => true,
            other => panic!("{place}: {other}"),
        };
        // What did not take its place is told of; what made room for it is kept.
        assert_eq!(left.len(), 1, "{place}: {left:?}");
        assert_eq!(
            left[0].starts_with("state.before-restore-"),
            is_new || place == "restore-ready",
            "{place}: {left:?}"
        );
        let status = host.run(&["status"], "").stdout;
        assert_eq!(
            status.contains("a restore was interrupted"),
            !is_new,
            "{place}: {status}"
        );
        let _ = host.run(&["audit", "verify"], "").ends(0);
        done.push(is_new);
        // Again: it comes to its end, and nothing is told any more.
        let _ = restore(&host, &kept, &["--force"]).ends(0);
        assert_eq!(host.read("some/secret", None), "of the backup", "{place}");
        let status = host.run(&["status"], "").stdout;
        assert!(!status.contains("a restore was interrupted"), "{place}: {status}");
    }
    change_between(&places, &done, ["restore-ready", "restore-after"]);
}

/// The same where no state is left: none is there, or the whole one.
#[test]
fn a_restore_into_nothing_that_dies_at_any_place_leaves_nothing_or_a_state() {
    let scene = Host::init();
    let _ = scene.import("some/secret", "of the backup").ends(0);
    let kept = backup(&scene, "kept.age");
    fs::remove_dir_all(scene.file("state")).unwrap();
    let words = ["vault", "restore", text(&kept)];
    let places = scene.copy().places_on(&words);
    let mut done = Vec::new();
    for number in 0..places.len() {
        let host = scene.copy();
        host.dies_at(&words, &places, number);
        let is_there = host.file("state").exists();
        done.push(is_there);
        if !is_there {
            let _ = host.run(&["status"], "").ends(23).says(&["store.no-state"]);
            let _ = restore(&host, &kept, &[]).ends(0);
        }
        assert_eq!(host.read("some/secret", None), "of the backup", "{places:?}");
        assert_eq!(beside_the_state(&host), Vec::<String>::new());
        let _ = host.run(&["audit", "verify"], "").ends(0);
    }
    change_between(&places, &done, ["restore-before", "restore-after"]);
}

/// The file of a backup is whole, or not there; and a backup that was killed is in nobody's way.
#[test]
fn a_backup_that_dies_at_any_place_is_whole_or_not_there() {
    let scene = Host::init();
    let _ = scene.import("some/secret", "of the state").ends(0);
    // From the folder of the host.
    let words = ["vault", "backup", "../outside/kept.age"];
    let places = scene.copy().places_on(&words);
    let mut done = Vec::new();
    for number in 0..places.len() {
        let (host, place) = (scene.copy(), &places[number]);
        let kept = host.outside("kept.age");
        host.dies_at(&words, &places, number);
        done.push(kept.exists());
        assert_eq!(host.read("some/secret", None), "of the state", "{place}");
        // The next one takes away what was left.
        let next = if kept.exists() { "next.age" } else { "kept.age" };
        let _ = backup(&host, next);
        for part in [host.outside("kept.age.part"), host.file("state/keywheel.backup")] {
            assert!(!part.exists(), "{place}: {}", part.display());
        }
        let _ = host.import("some/secret", "of later").ends(0);
        let _ = restore(&host, &kept, &["--force"]).ends(0);
        assert_eq!(host.read("some/secret", None), "of the state", "{place}");
    }
    change_between(&places, &done, ["backup-before", "backup-after"]);
}

/// `kill -9` at moments that no place of the test build names: the old state or the new one is there, and opens.
#[test]
fn a_restore_or_a_backup_that_is_killed_at_any_time_leaves_a_whole_state() {
    let host = Host::init();
    let _ = host.import("some/secret", "of the backup").ends(0);
    let kept = backup(&host, "kept.age");
    let _ = host.import("some/secret", "of the state").ends(0);
    let mut seen = [0, 0];
    let words = ["vault", "restore", text(&kept), "--force"];
    // How long a whole one takes here and now: the kills are spread over that.
    let begun = Instant::now();
    let _ = host.run(&words, "").ends(0);
    let whole = begun.elapsed();
    let _ = host.import("some/secret", "of the state").ends(0);
    for round in 0..16 {
        let mut running = host.start(&mut host.command(&words));
        thread::sleep(whole * round / 14);
        let _ = running.child.kill();
        let _ = host.wait(running);
        match host.read("some/secret", None).as_str() {
            "of the state" => seen[0] += 1,
            "of the backup" => seen[1] += 1,
            other => panic!("{other}"),
        }
        let _ = host.import("some/secret", "of the state").ends(0);
    }
    println!(
        "killed restores: {} left the old state, {} the new one",
        seen[0], seen[1]
    );
    for round in 0..8 {
        let to = host.outside(&format!("killed-{round}.age"));
        let mut running = host.start(&mut host.command(&["vault", "backup", text(&to)]));
        thread::sleep(whole * round / 8);
        let _ = running.child.kill();
        let _ = host.wait(running);
        if to.exists() {
            let _ = restore(&host, &to, &["--force"]).ends(0);
        }
        assert_eq!(host.read("some/secret", None), "of the state");
    }
    // What a killed restore has left is told until another one ends.
    let last = backup(&host, "last.age");
    let _ = restore(&host, &last, &["--force"]).ends(0);
    let _ = host.run(&["doctor"], "").ends(0);
}

/// Starts a restore that waits for the bytes of its backup, and kills it there.
fn kill_a_restore(host: &Host, more: &[&str]) {
    let pipe = host.outside("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let words = [&["vault", "restore", text(&pipe)][..], more].concat();
    let mut running = host.start(&mut host.command(&words));
    let (made, begun) = (host.file("state.restoring"), Instant::now());
    while !made.exists() {
        assert!(begun.elapsed() < Duration::from_mins(1), "{}", running.stderr());
        thread::sleep(Duration::from_millis(5));
    }
    running.child.kill().unwrap();
    let _ = host.wait(running);
    fs::remove_file(pipe).unwrap();
    assert!(made.exists());
}

#[test]
fn a_restore_that_was_killed_is_told_of_until_another_one_has_cleared_up_after_it() {
    let host = Host::init();
    let _ = host.import("some/secret", "of the backup").ends(0);
    let kept = backup(&host, "kept.age");
    let _ = host.import("some/secret", "of the state").ends(0);
    let left = host.file("state.restoring").display().to_string();

    kill_a_restore(&host, &["--force"]);
    let told = |output: &Output| {
        for words in [
            "a restore was interrupted",
            "the state is the one of before",
            &left,
            "vault restore FILE --force",
        ] {
            assert!(output.stdout.contains(words), "{words}: {output:?}");
        }
    };
    told(&host.run(&["status"], "").ends(10));
    told(&host.run(&["doctor"], "").ends(10));
    assert_eq!(host.read("some/secret", None), "of the state");
    let _ = restore(&host, &kept, &["--force"]).ends(0);
    assert!(!Path::new(&left).exists());
    let _ = host.run(&["status"], "").ends(0);
    let _ = host.run(&["doctor"], "").ends(0);
    assert_eq!(host.read("some/secret", None), "of the backup");

    // Ended between the two names: what was made ready lies where the state of before was to be kept.
    let _ = host.import("some/secret", "of the state").ends(0);
    let before = host.file("state.before");
    fs::rename(host.file("state"), &before).unwrap();
    let _ = restore(&host, &kept, &[]).ends(0);
    let _ = host.run(&["vault", "restored"], "").ends(0);
    let ready = host.file("state.before-restore-1");
    fs::rename(host.file("state"), &ready).unwrap();
    fs::rename(before, host.file("state")).unwrap();
    let found = host.run(&["status"], "").ends(10);
    assert!(
        found.stdout.contains(text(&ready)) && found.stdout.contains("the state is the one of before"),
        "{found:?}"
    );
    fs::remove_dir_all(ready).unwrap();
    let _ = host.run(&["status"], "").ends(0);

    // Without a state nothing can be opened: what cannot says why, and how to get on.
    fs::remove_dir_all(host.file("state")).unwrap();
    kill_a_restore(&host, &[]);
    for command in ["status", "vault status", "secret list"] {
        let words: Vec<&str> = command.split(' ').collect();
        let _ = host.run(&words, "").ends(23).says(&[
            "store.no-state",
            "a restore was interrupted before it put a state there",
            &left,
            "hint: `keywheel vault restore FILE` again",
        ]);
    }
    let doctor = host.run(&["doctor"], "").ends(50);
    assert!(
        doctor.stdout.contains("a restore was interrupted before"),
        "{doctor:?}"
    );
    let _ = restore(&host, &kept, &[]).ends(0);
    assert!(!Path::new(&left).exists());
    assert_eq!(host.read("some/secret", None), "of the backup");
}
