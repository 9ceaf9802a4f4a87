//! A backup of another format than this version's: of an older one, which is brought to this one where it is put back, and of a newer one, which is refused.
//!
//! No keywheel of another format can be had. So the backup is made by a host of today which runs, and in whose open database the format is another one for
//! that moment.

use std::fs;
use std::path::PathBuf;

use keywheel_e2e::{Host, Output};
use rustix::process::{Pid, Signal, kill_process};

use crate::migrates::{NEWEST, PLACES, ROTATE, database, format_of, take_back, values, with_runs};

/// A backup that the host makes while it runs, of what is made of its database then.
fn backup_of(host: &Host, name: &str, change: impl FnOnce(&Host)) -> PathBuf {
    let mut serving = host.start(&mut host.command(&["serve"]));
    assert!(serving.wait_for("keeps "), "{}", serving.stderr());
    change(host);
    let kept = host.outside(name);
    let _ = host.run(&["vault", "backup", kept.to_str().unwrap()], "").ends(0);
    kill_process(Pid::from_child(&serving.child), Signal::TERM).unwrap();
    let _ = host.wait(serving).ends(0);
    kept
}

fn restore(kept: &str) -> [&str; 6] {
    ["vault", "restore", kept, "--force", "--reason", "drill"]
}

#[test]
fn a_backup_of_the_first_format_is_brought_to_this_one_where_it_is_put_back() {
    let (postgres, redis, host) = with_runs();
    let kept = backup_of(&host, "old.age", take_back);
    let kept = kept.to_str().unwrap();
    assert_eq!(format_of(&host), 1);
    let before = values(&host);
    let _ = host.import("some/later", "a value of after the backup").ends(0);
    assert_eq!(format_of(&host), NEWEST);

    // It is the backup that is migrated, beside the state of now: that one is there whatever ends the migration.
    for place in PLACES {
        let orders = format!("{place}=return");
        let died = host.finish(&mut host.failing(&restore(kept), &orders), "");
        assert_eq!(died.signal, Some(9), "{orders}: {died:?}");
        assert_eq!(host.read("some/later", None), "a value of after the backup");
    }
    let _ = host.run(&restore(kept), "").ends(0);
    assert_eq!(format_of(&host), NEWEST);
    assert_eq!(values(&host), before);
    let gone = [
        "secret",
        "read",
        "some/later",
        "--reason",
        "test",
        "--to",
        "nowhere",
    ];
    let _ = host.run(&gone, "").ends(23);
    let _ = host.run(&["audit", "verify"], "").ends(0);
    let runs = host.json(&["run", "list"]);
    assert_eq!(runs.as_array().unwrap().len(), 4, "{runs:#}");
    assert_eq!(host.json(&["run", "show", "app-redis"])["state"], "waiting");

    // What was begun goes on, and what was over begins again: first it is verified.
    let end = ["run", "resume", "app-redis", "--end-grace", "--reason", "test"];
    let _ = host.run(&[&end[..], &["--wait", "end"]].concat(), "").ends(0);
    for _ in 0..2 {
        let _ = host.run(&ROTATE, "").ends(0);
    }
    let (db, cache) = (host.read("app/db", None), host.read("app/redis", None));
    assert!(!before.values().any(|value| *value == db));
    assert!(postgres.login("app", &db).unwrap().is_accepted());
    assert!(redis.login("app", &cache).unwrap().is_accepted());
}

#[test]
fn a_backup_of_a_newer_format_is_refused_with_a_way_out_and_nothing_is_changed() {
    let host = Host::init();
    let _ = host.import("some/secret", "of the backup").ends(0);
    let set = |host: &Host, format: u32| {
        database(host)
            .pragma_update(None, "user_version", format)
            .unwrap();
    };
    let kept = backup_of(&host, "newer.age", |host| set(host, 1000));
    set(&host, NEWEST);
    let _ = host.import("some/secret", "of the state").ends(0);
    let refused = |output: Output| {
        let _ = output.ends(24).says(&[
            "error[store.newer-format]",
            "format 1000",
            "hint: use the newer keywheel",
        ]);
    };
    refused(host.run(&restore(kept.to_str().unwrap()), ""));
    assert_eq!(host.read("some/secret", None), "of the state");
    let beside: Vec<_> = fs::read_dir(host.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("state."))
        .collect();
    assert_eq!(beside, Vec::<String>::new());
    // Where there is no state, none is made.
    fs::remove_dir_all(host.file("state")).unwrap();
    refused(host.run(&restore(kept.to_str().unwrap()), ""));
    let _ = host.run(&["status"], "").ends(23).says(&["store.no-state"]);
}
