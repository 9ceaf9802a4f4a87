//! A copy of the state is put back: the next run of each secret only verifies it, and no key or password is lost by that (rule P2).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::fs;
use std::path::Path;

use keywheel_e2e::{Host, role_adopted};
use keywheel_kit::Postgres;
use serde_json::Value;

fn scene() -> (Postgres, Host) {
    let (server, host, _) = role_adopted();
    (server, host)
}

fn rotate(host: &Host) -> keywheel_e2e::Output {
    host.run(&["rotate", "app-db", "--wait", "end"], "")
}

fn is_accepted(server: &Postgres, password: &str) -> bool {
    server.login("app", password).unwrap().is_accepted()
}

/// Copies every file of a folder; permissions go with it.
fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        } else {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    }
}

fn epoch(host: &Host) -> Value {
    host.json(&["vault", "status"])["epoch"].clone()
}

fn steps(run: &Value) -> Vec<&str> {
    let steps = run["steps"].as_array().unwrap().iter();
    steps.map(|step| step["step"].as_str().unwrap()).collect()
}

/// Rotated twice after the copy was made: the vault's current credential is dead, and the living one is not in it.
#[test]
fn a_copy_that_is_older_than_its_target_is_found_verified_and_mended() {
    let (server, host) = scene();
    let (state, kept) = (host.file("state"), host.outside("state"));
    copy(&state, &kept);
    let _ = rotate(&host).ends(0);
    let _ = rotate(&host).ends(0);
    let living = host.read("app/db", None);
    let head = host.outside("head.json").display().to_string();
    let _ = host.run(&["audit", "verify", "--save", &head], "").ends(0);
    assert_eq!(epoch(&host), 0);

    copy(&kept, &state);
    let verify = ["audit", "verify", "--checkpoint", &head];
    for _ in 0..2 {
        let found = host.run(&verify, "").ends(42);
        let _ = found.says(&["audit.behind", "the restore epoch is 1 now", "hint: if a copy"]);
    }
    assert_eq!(epoch(&host), 1, "the same head raises it once");
    let needs = host.run(&["status"], "").ends(10);
    assert!(
        needs.stdout.contains("has not been verified since"),
        "{}",
        needs.stdout
    );
    assert!(is_accepted(&server, &living));
    let tested = host.run(&["target", "test", "app-db"], "").ends(22);
    assert!(
        tested.stdout.contains("current credential: rejected"),
        "{}",
        tested.stdout
    );

    let _ = rotate(&host).ends(41);
    let run = host
        .run(&["run", "show", "app-db", "-o", "json"], "")
        .ends(10)
        .json();
    assert_eq!(run["parked"]["cause"], "restored", "{run:#}");
    assert_eq!(steps(&run), ["test"], "{run:#}");
    assert!(
        is_accepted(&server, &living),
        "a run that verifies changes nothing"
    );

    let odd = host
        .run(&["run", "resume", "app-db", "--accept-head"], "")
        .ends(24);
    let _ = odd.says(&["run.choice", "parked (restored)"]);
    let resume = ["run", "resume", "app-db", "--apply-current", "--wait", "end"];
    let _ = host.run(&resume, "").ends(0);
    assert!(is_accepted(&server, &host.read("app/db", None)));
    assert!(!is_accepted(&server, &living));
    let _ = rotate(&host).ends(0);
    assert_eq!(
        steps(&host.json(&["run", "show", "app-db"])).first(),
        Some(&"plan")
    );
    assert!(is_accepted(&server, &host.read("app/db", None)));
    let _ = host.run(&["status"], "").ends(0);
    let _ = host.run(&["audit", "verify"], "").ends(0);
}

/// A person says it; the copy turns out to be as new as the target.
#[test]
fn a_copy_that_a_person_tells_of_is_verified_before_it_rotates() {
    let (server, host) = scene();
    let _ = rotate(&host).ends(0);
    let current = host.read("app/db", None);
    let told = host
        .run(&["vault", "restored", "--reason", "disk replaced"], "")
        .ends(0);
    let _ = told.says(&["restore epoch 1", "next: keywheel rotate app-db"]);
    let _ = rotate(&host).ends(0);
    let run = host.json(&["run", "show", "app-db"]);
    assert_eq!(run["state"], "succeeded", "{run:#}");
    assert_eq!(steps(&run), ["test"], "{run:#}");
    assert!(
        run["detail"].as_str().unwrap().contains("nothing was rotated"),
        "{run:#}"
    );
    assert_eq!(host.read("app/db", None), current);
    assert!(is_accepted(&server, &current));

    let _ = rotate(&host).ends(0);
    let new = host.read("app/db", None);
    assert_ne!(new, current);
    assert!(is_accepted(&server, &new) && !is_accepted(&server, &current));
    let rows = host.json(&["audit", "search", "--action", "vault.restored"]);
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows:#}");
}

/// The copy was made in the middle of a run, which went on to its end, and so did another: no key of theirs is deleted.
#[test]
fn a_run_that_was_open_in_the_copy_only_verifies() {
    let (server, host) = scene();
    let (state, kept) = (host.file("state"), host.outside("state"));
    let _ = host.run(&["rotate", "app-db", "--wait", "0s"], "").ends(0);
    copy(&state, &kept);
    let resume = ["run", "resume", "app-db", "--wait", "end"];
    let _ = host.run(&resume, "").ends(0);
    let _ = rotate(&host).ends(0);
    let living = host.read("app/db", None);

    copy(&kept, &state);
    let _ = host.run(&["vault", "restored"], "").ends(0);
    let _ = host.run(&resume, "").ends(41);
    let run = host
        .run(&["run", "show", "app-db", "-o", "json"], "")
        .ends(10)
        .json();
    assert_eq!(run["parked"]["cause"], "restored", "{run:#}");
    assert!(is_accepted(&server, &living), "nothing was changed");
    let resume = ["run", "resume", "app-db", "--apply-current", "--wait", "end"];
    let _ = host.run(&resume, "").ends(0);
    assert!(is_accepted(&server, &host.read("app/db", None)));
}
