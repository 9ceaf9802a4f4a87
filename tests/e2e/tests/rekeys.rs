//! New keys for the vault, and a process that is killed while it makes them: the old keys open everything, or the new ones do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::fs;
use std::thread;
use std::time::Instant;

use keywheel_e2e::{Host, Output, role_adopted};
use serde_json::Value;

const SECRETS: usize = 4;

/// A vault with some values, and a passphrase beside its key file.
fn scene() -> Host {
    let host = Host::init();
    let _ = host
        .run(
            &["vault", "slot", "add", "--passphrase", "-"],
            "correct horse battery\n",
        )
        .ends(0);
    for number in 0..SECRETS {
        let _ = host
            .import(
                &format!("some/secret-{number}"),
                &format!("planted value {number}"),
            )
            .ends(0);
    }
    host
}

fn rekey(host: &Host, more: &[&str]) -> Output {
    let words = ["vault", "rekey", "--yes", "--passphrase", "-"];
    host.run(&[&words[..], more].concat(), "correct horse battery\n")
}

/// Every value reads, every record opens, and the trail holds together from its first row on.
#[track_caller]
fn everything_opens(host: &Host) {
    for number in 0..SECRETS {
        let value = host.read(&format!("some/secret-{number}"), None);
        assert_eq!(value, format!("planted value {number}"));
    }
    let _ = host.run(&["audit", "verify"], "").ends(0);
    let doctor = host.run(&["doctor"], "").ends(0);
    assert!(!doctor.stdout.contains("do not"), "{}", doctor.stdout);
}

#[track_caller]
fn opens_with_the_recovery_identity(host: &Host) {
    let identity = fs::read_to_string(host.outside("recovery")).unwrap();
    let _ = host
        .run(&["vault", "unseal", "--recovery", "-"], &identity)
        .ends(0);
}

#[track_caller]
fn opens_with_the_recovery_identity_and_the_passphrase(host: &Host) {
    opens_with_the_recovery_identity(host);
    let _ = host
        .run(&["vault", "unseal", "-"], "correct horse battery\n")
        .ends(0);
}

const VERSIONS_AND_TERMS: &str = "SELECT wrapped_key FROM version UNION ALL SELECT wrapped FROM key_term";

/// The wrapped keys as they lie in the database: versions', terms', slots'.
fn wrapped(host: &Host) -> Vec<Vec<u8>> {
    keys(
        host,
        &format!("{VERSIONS_AND_TERMS} UNION ALL SELECT wrapped FROM key_slot"),
    )
}

fn keys(host: &Host, sql: &str) -> Vec<Vec<u8>> {
    let database = rusqlite::Connection::open(host.file("state/keywheel.db")).unwrap();
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn rewrap_changes_every_wrapped_key_and_no_value() {
    let host = scene();
    let before = wrapped(&host);
    let done = host.json(&["vault", "rewrap"]);
    assert_eq!(
        (&done["term"], &done["records"]),
        (&Value::from(2), &Value::from(SECRETS))
    );
    let after = wrapped(&host);
    assert_eq!(before.len(), after.len());
    let same = before.iter().filter(|key| after.contains(key)).count();
    assert_eq!(same, 3, "the slots alone are as they were");
    everything_opens(&host);
    opens_with_the_recovery_identity_and_the_passphrase(&host);
    assert_eq!(host.json(&["vault", "rewrap"])["term"], 3);
    everything_opens(&host);
    let rows = host.json(&["audit", "search", "--action", "vault.rewrap"]);
    assert_eq!(rows.as_array().unwrap().len(), 2);
}

/// The root that a removed key, with a copy of before, leads to opens nothing of what is there now.
#[test]
fn rekey_changes_the_root_and_the_trail_of_before_stays_verifiable() {
    let host = scene();
    let head = host.outside("head").display().to_string();
    let _ = host.run(&["audit", "checkpoint", "--out", &head], "").ends(0);
    let key = host.json(&["audit", "checkpoint", "--public-key"])["public_key"].clone();
    let before = wrapped(&host);

    // A slot whose key is not at hand is not dropped by itself.
    let missing = host.run(&["vault", "rekey", "--yes"], "").ends(24);
    let _ = missing.says(&["vault.slot-key-missing", "passphrase-1", "--drop passphrase-1"]);
    let _ = rekey(&host, &["--drop", "no-such"])
        .ends(23)
        .says(&["vault.no-slot"]);
    let _ = host.run(&["vault", "rekey"], "").ends(2).says(&["--yes"]);
    assert_eq!(wrapped(&host), before, "nothing was changed");

    let done = rekey(&host, &["-o", "json"]).ends(0).json();
    assert_ne!(
        done["public-key"], key,
        "checkpoints are signed by another key now"
    );
    let after = wrapped(&host);
    assert!(before.iter().all(|key| !after.contains(key)));
    everything_opens(&host);
    opens_with_the_recovery_identity_and_the_passphrase(&host);

    // The old root opens nothing: neither a term nor a slot of before fits.
    let splice = |sql: &str, place: usize| {
        let state = host.file("state/keywheel.db");
        let kept = fs::read(&state).unwrap();
        let database = rusqlite::Connection::open(&state).unwrap();
        database.execute(sql, [&before[place]]).unwrap();
        drop(database);
        let listed = host.run(&["secret", "list"], "");
        fs::write(&state, kept).unwrap();
        for end in ["-wal", "-shm"] {
            let _ = fs::remove_file(host.file(&format!("state/keywheel.db{end}")));
        }
        listed.code
    };
    assert_eq!(splice("UPDATE key_term SET wrapped = ?1", SECRETS), 42);
    everything_opens(&host);

    // Rows of before are checked with the key of before, and what is altered among them is still found.
    let old_key = key.as_str().unwrap();
    let mine = ["audit", "verify", "--checkpoint", &head];
    let _ = host.run(&mine, "").ends(42).says(&["audit.other-key"]);
    let _ = host
        .run(&[&mine[..], &["--public-key", old_key]].concat(), "")
        .ends(0);
    let _ = rekey(&host, &["--drop", "recovery"]).ends(0);
    everything_opens(&host);
    let database = rusqlite::Connection::open(host.file("state/keywheel.db")).unwrap();
    let guard: String = database
        .query_row(
            "SELECT sql FROM sqlite_schema WHERE name = 'audit_no_update'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let forge = "DROP TRIGGER audit_no_update; UPDATE audit SET seal = zeroblob(32) WHERE seq = 2;";
    database.execute_batch(&format!("{forge} {guard}")).unwrap();
    drop(database);
    let broken = host.run(&["audit", "verify"], "").ends(42);
    let _ = broken.says(&["broken at seq 2: the row's seal is not ours"]);
}

/// The test build dies at each place that either passes on its way: before its commit the old keys open everything, after it the new ones.
#[test]
fn killed_at_each_place_of_its_way_the_old_keys_open_everything_until_the_commit_and_the_new_ones_after_it() {
    let scene = scene();
    let remove = ["vault", "slot", "remove", "passphrase-1", "--yes"];
    let _ = scene.run(&remove, "").ends(0);
    let before = keys(&scene, VERSIONS_AND_TERMS);
    for words in [&["vault", "rewrap"][..], &["vault", "rekey", "--yes"]] {
        let places = scene.copy().places_on(words);
        let mut done = Vec::new();
        for number in 0..places.len() {
            let host = scene.copy();
            host.dies_at(words, &places, number);
            let after = keys(&host, VERSIONS_AND_TERMS);
            let same = after.iter().filter(|key| before.contains(key)).count();
            assert!(
                same == 0 || same == before.len(),
                "{same} of {} at {}",
                before.len(),
                places[number]
            );
            done.push(same == 0);
            everything_opens(&host);
            opens_with_the_recovery_identity(&host);
            assert_eq!(
                keys(&host, VERSIONS_AND_TERMS),
                after,
                "nothing goes on with it by itself"
            );
            let _ = host.run(words, "").ends(0);
            everything_opens(&host);
        }
        let first = done.iter().position(|done| *done);
        let first = first.unwrap_or_else(|| panic!("no kill left the new keys: {places:?}"));
        let (old, new) = done.split_at(first);
        assert!(
            !old.is_empty() && new.iter().all(|done| *done),
            "{places:?}: {done:?}"
        );
        let around = [places[first - 1].as_str(), places[first].as_str()];
        assert_eq!(around, ["commit-before", "commit-after"], "{places:?}: {done:?}");
        println!(
            "{}: {} places left the old keys, {} the new ones",
            words[1],
            old.len(),
            new.len()
        );
    }
}

/// `kill -9` at moments that no place of the test build names. Where they fall is the machine's to say.
#[test]
fn killed_at_any_time_the_old_keys_or_the_new_ones_open_everything() {
    let host = scene();
    for words in [
        &["vault", "rewrap"][..],
        &["vault", "rekey", "--yes", "--drop", "passphrase-1"],
    ] {
        let begun = Instant::now();
        let _ = host.run(words, "").ends(0);
        let whole = begun.elapsed();
        let words = if words[1] == "rekey" { &words[..3] } else { words };
        let mut changed = 0;
        for round in 0..12 {
            let before = keys(&host, VERSIONS_AND_TERMS);
            let mut running = host.start(&mut host.command(words));
            thread::sleep(whole * round / 10);
            let _ = running.child.kill();
            let _ = host.wait(running);
            let _ = host.run(&["doctor"], "").ends(0);
            let after = keys(&host, VERSIONS_AND_TERMS);
            let same = after.iter().filter(|key| before.contains(key)).count();
            assert!(
                same == after.len() || same == 0,
                "{same} of {}: all of it, or nothing",
                after.len()
            );
            changed += u32::from(same == 0);
        }
        everything_opens(&host);
        println!("killed {}: {changed} of 12 had done it", words[1]);
        opens_with_the_recovery_identity(&host);
    }
}

/// Under an open run the root stays: what the run has derived from it for its target must be the same until that is done. A rewrap is in nobody's way.
#[test]
fn a_run_that_is_open_goes_on_after_a_rewrap_and_keeps_a_rekey_off() {
    let (mut server, host, _) = role_adopted();
    server.stop().unwrap();
    let _ = host.run(&["rotate", "app-db", "--wait", "0s"], "").ends(124);
    server.restart().unwrap();
    let _ = host
        .run(&["vault", "rekey", "--yes"], "")
        .ends(24)
        .says(&["run.open", "1 run is open"]);
    let _ = host.run(&["vault", "rewrap"], "").ends(0);
    let _ = host
        .run(&["run", "resume", "app-db", "--wait", "end"], "")
        .ends(0);
    let _ = host.run(&["vault", "rekey", "--yes"], "").ends(0);
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    let current = host.read("app/db", None);
    assert!(server.login("app", &current).unwrap().is_accepted());
    let _ = host.run(&["audit", "verify"], "").ends(0);
}

/// The key of the compile cache comes from the root: what was compiled before is made again, and nobody is warned of what they did themselves.
#[test]
fn after_a_rekey_plugins_are_compiled_again_without_a_word() {
    let host = scene();
    for plugin in ["postgres", "redis"] {
        host.add_plugin(plugin, &[1]);
    }
    let compiled = || {
        let files = fs::read_dir(host.file("state/compiled")).unwrap();
        files
            .map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect::<Vec<_>>()
    };
    let before = compiled();
    assert_eq!(before.len(), 2);
    let _ = rekey(&host, &[]).ends(0);
    for command in ["plugin list", "status", "doctor"] {
        let words: Vec<&str> = command.split(' ').collect();
        let output = host.run(&words, "").ends(0);
        assert!(!output.stderr.contains("WARN"), "{command}: {}", output.stderr);
    }
    let after = compiled();
    assert!(after.len() == 2 && after.iter().all(|file| !before.contains(file)));
}
