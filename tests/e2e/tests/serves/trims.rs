//! What is old is forgotten, and nothing that anybody needs.

use std::fs;
use std::path::Path;

use keywheel_e2e::Host;
use rusqlite::Connection;

use crate::scene::{Scene, until};

fn database(host: &Host) -> Connection {
    Connection::open(host.file("state/keywheel.db")).unwrap()
}

fn count(host: &Host, sql: &str) -> u64 {
    database(host).query_row(sql, [], |row| row.get(0)).unwrap()
}

/// As if the rotation had failed so many times, two years ago: a run that is over, with all that its journal has, again and again.
fn age(host: &Host, runs: u32) {
    let database = database(host);
    for number in 0..runs {
        // Ids sort by the time they were made.
        let id = format!("run-0{number:025}");
        let sql = "INSERT INTO run SELECT ?1, rotation, secret, principal, state, version, started - 63072000000, updated - 63072000000,
                       finished - 63072000000, outcome FROM run WHERE finished IS NOT NULL ORDER BY id DESC LIMIT 1";
        assert_eq!(database.execute(sql, [&id]).unwrap(), 1);
        for sql in [
            "INSERT INTO recorded SELECT ?1, label, value FROM recorded WHERE run = (SELECT run FROM recorded LIMIT 1)",
            "INSERT INTO intent SELECT NULL, ?1, step, attempt, seq, kind, destination, secrets, fence, epoch, at, session FROM intent
                 WHERE run = (SELECT run FROM intent LIMIT 1)",
        ] {
            assert!(database.execute(sql, [&id]).unwrap() > 0, "{sql}");
        }
    }
}

fn checkpoint(host: &Host, name: &str) -> String {
    let file = host.outside(name).display().to_string();
    let _ = host.run(&["audit", "checkpoint", "--out", &file], "").ends(0);
    file
}

fn write_retention(scene: &Scene, lines: &str) {
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let bare = text
        .split_once("# retained\n")
        .map_or(text.as_str(), |(_, bare)| bare);
    fs::write(&file, format!("[retention]\n{lines}\n# retained\n{bare}")).unwrap();
}

/// The command and the running host do the same; and the values, the rotation and the trail are as they were.
#[test]
fn old_runs_and_old_rows_go_and_what_is_needed_stays() {
    let scene = Scene::new("1s");
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    age(&scene.host, 60);
    let (versions, value) = (
        scene.host.versions("app/redis"),
        scene.host.read("app/redis", None),
    );
    let runs = "SELECT count(*) FROM run";
    let before = count(&scene.host, runs);
    assert_eq!(before, 62, "an adoption, a rotation, and those of two years ago");
    let early = checkpoint(&scene.host, "early");
    let trimmed = scene.run(&["vault", "trim", "-o", "json"]).ends(0).json();
    // Sixty are old, and fifty of all are the newest.
    assert_eq!(trimmed["runs"], 12, "{trimmed}");
    assert_eq!(trimmed["audit-rows"], 0, "the trail is kept unless it is said");
    assert_eq!(count(&scene.host, runs), 50);
    let orphans = "SELECT (SELECT count(*) FROM intent WHERE run NOT IN (SELECT id FROM run))
                        + (SELECT count(*) FROM recorded WHERE run NOT IN (SELECT id FROM run))";
    assert_eq!(count(&scene.host, orphans), 0);
    let compared = "SELECT count(*) FROM meta m WHERE key LIKE 'compared %' AND ";
    let of_version =
        "EXISTS (SELECT 1 FROM version v WHERE key LIKE 'compared ' || v.secret || '@' || v.id || ' %')";
    assert!(count(&scene.host, &format!("{compared}{of_version}")) > 0);
    assert_eq!(count(&scene.host, &format!("{compared}NOT {of_version}")), 0);
    let again = scene.run(&["vault", "trim", "-o", "json"]).ends(0).json();
    assert_eq!(again["runs"], 0);
    // By the running host, which takes another configuration without a restart.
    let serving = scene.serve();
    write_retention(&scene, "audit = \"1s\"\nruns = \"1s\"");
    let rows = "SELECT count(*) FROM audit WHERE seq = 1";
    until("the beginning of the trail is gone", || {
        count(&scene.host, rows) == 0
    });
    until("the trail is sound", || scene.run(&["audit", "verify"]).code == 0);
    let _ = serving.ends();
    let verified = scene.run(&["audit", "verify", "-o", "json"]).ends(0).json();
    assert!(verified["cut"].as_u64().unwrap() > 5, "{verified}");
    let cut = scene.run(&["audit", "verify", "--checkpoint", &early]).ends(42);
    let _ = cut.says(&["error[audit.cut-off]", "hint: take a newer checkpoint"]);
    let late = checkpoint(&scene.host, "late");
    let _ = scene.run(&["audit", "verify", "--checkpoint", &late]).ends(0);
    let found = scene
        .run(&["audit", "search", "--action", "audit.cut", "-o", "json"])
        .ends(0);
    assert!(found.stdout.contains("\"actor\": \"keeper\""), "{}", found.stdout);
    // Who had a value has it; the rotation goes on, and back.
    assert_eq!(scene.host.versions("app/redis"), versions);
    assert_eq!(scene.host.read("app/redis", None), value);
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    let oldest = &versions.last().unwrap().0;
    let back = [
        "secret",
        "rollback",
        "app/redis",
        oldest,
        "--reason",
        "test",
        "--wait",
        "end",
    ];
    let _ = scene.run(&back).ends(0);
    assert!(scene.accepts(&scene.host.read("app/redis", None)));
    assert_eq!(scene.host.read("app/redis", None), scene.old);
    let _ = scene.run(&["doctor"]);
    let _ = scene.run(&["audit", "verify"]).ends(0);
}

fn rotate(scene: &Scene) {
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
}

/// As if that had been two months ago: when it was revoked, and until when it was to be kept.
fn age_versions(host: &Host) {
    let database = database(host);
    let guard = "SELECT sql FROM sqlite_schema WHERE name = 'version_event_no_update'";
    let guard: String = database.query_row(guard, [], |row| row.get(0)).unwrap();
    let aged = "DROP TRIGGER version_event_no_update; UPDATE version_event SET at = at - 5184000000;
        UPDATE meta SET value = CAST(CAST(value AS INTEGER) - 5184000000 AS TEXT) WHERE key LIKE 'keep-until.%'";
    database.execute_batch(&format!("{aged}; {guard}")).unwrap();
}

/// Only where it is said; and never one that was promised to be kept for longer, nor the newest.
#[test]
fn versions_that_are_long_revoked_go_where_that_is_said_and_the_newest_stay() {
    let scene = Scene::new("1s");
    for _ in 0..12 {
        rotate(&scene);
    }
    let versions = scene.host.versions("app/redis");
    assert_eq!(versions.len(), 13, "the one that was imported, and twelve");
    let trim = || scene.run(&["vault", "trim", "-o", "json"]).ends(0).json();
    write_retention(&scene, "versions = \"30d\"");
    assert_eq!(trim()["versions"], 0, "they are not that old");
    age_versions(&scene.host);
    write_retention(&scene, "");
    assert_eq!(trim()["versions"], 0, "for ever is the default");
    write_retention(&scene, "versions = \"30d\"");
    // After a restore any of them may be what the target takes, until a run has looked.
    let _ = scene.run(&["vault", "restored", "--reason", "test"]).ends(0);
    assert_eq!(trim()["versions"], 0, "nothing has been verified since");
    rotate(&scene);
    assert_eq!(trim()["versions"], 3, "of thirteen, all but the newest ten");
    assert_eq!(trim()["versions"], 0);
    assert_eq!(scene.host.versions("app/redis"), versions[..10]);
    let gone = [
        "secret",
        "rollback",
        "app/redis",
        &versions[12].0,
        "--reason",
        "test",
    ];
    let gone = scene.run(&gone);
    assert_ne!(gone.code, 0, "{gone:?}");
    let told = scene.run(&["audit", "search", "--action", "version.forget", "-o", "json"]);
    assert!(told.ends(0).stdout.contains("\"versions\": 3"));
    let left = "SELECT count(*) FROM meta WHERE key LIKE '%' || (SELECT max(v.id) FROM version v WHERE v.number = 4)";
    assert!(count(&scene.host, left) > 0, "what is kept is known as before");
    let orphans = "SELECT (SELECT count(*) FROM version_event WHERE version NOT IN (SELECT id FROM version))
        + (SELECT count(*) FROM meta WHERE key LIKE 'keep-until.%' AND substr(key, 12) NOT IN (SELECT id FROM version))";
    assert_eq!(count(&scene.host, orphans), 0);
    // It is no other configuration of a rotation.
    write_retention(&scene, "versions = \"180d\"");
    let _ = scene.run(&["rotate", "app-redis", "--wait", "0s"]);
    let open = scene.run(&["run", "show", "app-redis", "-o", "json"]).json();
    assert_eq!(open["other-configuration"], false, "{open:#}");
    assert_eq!(open["finished-at"], serde_json::Value::Null, "{open:#}");
    let _ = scene
        .run(&["run", "resume", "app-redis", "--wait", "end"])
        .ends(0);
    let _ = scene.run(&["audit", "verify"]).ends(0);
    let _ = scene.run(&["doctor"]).ends(0);
}

/// At each place of the test build: the trail holds together, and the next time goes on with it.
#[test]
fn a_cut_that_is_killed_anywhere_leaves_a_trail_that_can_be_verified() {
    let scene = Scene::new("1s");
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    age(&scene.host, 60);
    write_retention(&scene, "audit = \"1s\"");
    std::thread::sleep(std::time::Duration::from_secs(2));
    let words = ["vault", "trim"];
    let places = scene.host.copy().places_on(&words);
    assert!(places.len() > 8, "{places:?}");
    for number in 0..places.len() {
        let host = scene.host.copy();
        host.dies_at(&words, &places, number);
        let verified = host.run(&["audit", "verify"], "");
        assert_eq!(verified.code, 0, "{number} of {places:?}: {verified:?}");
        let _ = host.run(&words, "").ends(0);
        let _ = host.run(&["audit", "verify"], "").ends(0);
        assert_eq!(count(&host, "SELECT count(*) FROM audit WHERE seq = 1"), 0);
        assert_eq!(count(&host, "SELECT count(*) FROM run"), 50);
    }
}

/// Whoever takes rows away without the vault's key is found, and what he has left is not cut.
#[test]
fn rows_that_somebody_else_has_taken_are_missed_and_such_a_trail_is_not_cut() {
    let scene = Scene::new("1s");
    let taken = "DROP TRIGGER audit_no_delete; DELETE FROM audit WHERE seq <= 3; INSERT OR REPLACE INTO meta VALUES ('audit-cut', '3')";
    let trigger = trigger(&scene.host.file("state/keywheel.db"));
    let database = database(&scene.host);
    database.execute_batch(&format!("{taken}; {trigger}")).unwrap();
    drop(database);
    let _ = scene
        .run(&["audit", "verify"])
        .ends(42)
        .says(&["error[audit.broken]", "seq 1"]);
    write_retention(&scene, "audit = \"1s\"");
    std::thread::sleep(std::time::Duration::from_secs(2));
    let rows = count(&scene.host, "SELECT count(*) FROM audit");
    let _ = scene
        .run(&["vault", "trim"])
        .ends(42)
        .says(&["error[audit.broken]"]);
    assert!(count(&scene.host, "SELECT count(*) FROM audit") >= rows);
}

fn trigger(file: &Path) -> String {
    let sql = "SELECT sql FROM sqlite_schema WHERE name = 'audit_no_delete'";
    let database = Connection::open(file).unwrap();
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}
