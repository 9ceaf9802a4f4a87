//! The state is lost and comes back from a backup. `docs/operators.md` has the drill; this is the drill.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

mod killed;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use keywheel_e2e::{Host, Output, role_adopted};
use keywheel_kit::Postgres;
use serde_json::Value;

fn scene() -> (Postgres, Host) {
    let (server, host, _) = role_adopted();
    (server, host)
}

fn rotate(host: &Host) -> Output {
    host.run(&["rotate", "app-db", "--wait", "end"], "")
}

fn is_accepted(server: &Postgres, password: &str) -> bool {
    server.login("app", password).unwrap().is_accepted()
}

fn backup(host: &Host, name: &str) -> PathBuf {
    let file = host.outside(name);
    let made = host.json(&["vault", "backup", text(&file)]);
    assert_eq!(made["file"].as_str(), Some(text(&file)));
    assert_eq!(made["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    file
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// By the recovery identity, as it lies off the machine.
fn restore(host: &Host, from: &Path, more: &[&str]) -> Output {
    let identity = format!("@{}", host.outside("recovery").display());
    let words = ["vault", "restore", text(from), "--recovery", &identity];
    host.run(&[&words[..], more].concat(), "")
}

fn shown(host: &Host) -> Value {
    host.run(&["run", "show", "app-db", "-o", "json"], "").json()
}

fn epoch(host: &Host) -> Value {
    host.json(&["vault", "status"])["epoch"].clone()
}

#[test]
fn everything_but_the_backup_is_lost_and_the_rotation_recovers() {
    let (server, host) = scene();
    let _ = rotate(&host).ends(0);
    let kept = backup(&host, "kept.age");
    let _ = rotate(&host).ends(0);
    let living = host.read("app/db", None);
    let checkpoint = host.outside("head");
    let _ = host
        .run(&["audit", "checkpoint", "--out", text(&checkpoint)], "")
        .ends(0);

    // The disk is gone: state, key file, pinned plugins. The configuration is in version control.
    fs::remove_dir_all(host.file("state")).unwrap();
    fs::remove_file(host.file("vault.key")).unwrap();
    let _ = host.run(&["status"], "").ends(23).says(&["store.no-state"]);
    let without = restore(&host, &kept, &[]).ends(0);
    let _ = without.says(&[
        "vault slot add --key-file",
        "audit verify --checkpoint",
        "next: keywheel drift check",
    ]);
    let _ = host
        .run(&["rotate", "app-db"], "")
        .ends(22)
        .says(&["vault.sealed", "vault.key\" is not there"]);
    // Once more, with a new key file in the place of the lost one.
    fs::remove_dir_all(host.file("state")).unwrap();
    let more = ["--new-key-file", "vault.key", "--reason", "disk lost"];
    let _ = restore(&host, &kept, &more).ends(0);
    assert_eq!(epoch(&host), 1);

    // What there is to do is said: in `status`, by the checkpoint, in `plan`.
    let behind = host.run(&["audit", "verify", "--checkpoint", text(&checkpoint)], "");
    let _ = behind.ends(42).says(&["audit.behind"]);
    let status = host.run(&["status"], "").ends(10);
    assert!(
        status.stdout.contains("has not been verified since"),
        "{}",
        status.stdout
    );
    let plan = host.run(&["plan", "app-db"], "").ends(10);
    assert!(
        plan.stdout.contains("the next run only verifies"),
        "{}",
        plan.stdout
    );

    // The first run verifies, and finds that the target knows another one. Consumers that hold that one go on.
    let _ = rotate(&host).ends(41);
    assert_eq!(shown(&host)["parked"]["cause"], "restored");
    assert!(is_accepted(&server, &living), "nobody is locked out by looking");
    let resume = ["run", "resume", "app-db", "--apply-current", "--wait", "end"];
    let _ = host.run(&resume, "").ends(0);
    assert!(is_accepted(&server, &host.read("app/db", None)));
    let _ = rotate(&host).ends(0);
    assert!(is_accepted(&server, &host.read("app/db", None)));
    let _ = host.run(&["status"], "").ends(0);
    let _ = host.run(&["audit", "verify"], "").ends(0);
    let rows = host.json(&["audit", "search", "--action", "vault.restored", "--oldest-first"]);
    assert_eq!(rows[0]["details"]["why"]["reason"], "disk lost", "{rows:#}");
}

/// The backup was taken after the last rotation: nothing changes for anybody.
#[test]
fn a_backup_of_after_the_last_rotation_changes_nothing_for_consumers() {
    let (server, host) = scene();
    let _ = rotate(&host).ends(0);
    let current = host.read("app/db", None);
    // The head is made before the backup, which has all that it signs.
    let head = host.outside("head");
    let _ = host
        .run(&["audit", "checkpoint", "--out", text(&head)], "")
        .ends(0);
    let kept = backup(&host, "kept.age");
    fs::remove_dir_all(host.file("state")).unwrap();
    // The key file of the configuration opens it, too.
    let _ = host.run(&["vault", "restore", text(&kept)], "").ends(0);
    let _ = host
        .run(&["audit", "verify", "--checkpoint", text(&head)], "")
        .ends(0);
    assert_eq!(epoch(&host), 1);
    let _ = rotate(&host).ends(0);
    assert_eq!(host.read("app/db", None), current, "the first run verifies");
    assert!(is_accepted(&server, &current));
    let _ = rotate(&host).ends(0);
    assert!(is_accepted(&server, &host.read("app/db", None)) && !is_accepted(&server, &current));
}

#[test]
fn a_state_that_is_there_is_kept_beside_and_the_epoch_is_above_both() {
    let host = Host::init();
    let _ = host.import("some/secret", "the value of before").ends(0);
    let kept = backup(&host, "kept.age");
    let again = host.run(&["vault", "backup", text(&kept)], "").ends(24);
    let _ = again.says(&["vault.backup-exists", "overwrite"]);
    for _ in 0..3 {
        let _ = host.run(&["vault", "restored"], "").ends(0);
    }
    let _ = host.import("some/secret", "the value of now").ends(0);

    let _ = restore(&host, &kept, &[])
        .ends(24)
        .says(&["restore.state-there", "--force"]);
    assert_eq!(host.read("some/secret", None), "the value of now");
    let forced = restore(&host, &kept, &["--force", "-o", "json"]).ends(0).json();
    assert_eq!(forced["epoch"], 4, "{forced:#}");
    assert_eq!(host.read("some/secret", None), "the value of before");

    // What was there before is whole, and comes back by hand.
    let before = PathBuf::from(forced["before"].as_str().unwrap());
    let state = host.file("state");
    fs::rename(&state, host.outside("state")).unwrap();
    fs::rename(&before, &state).unwrap();
    assert_eq!(host.read("some/secret", None), "the value of now");
    let left: Vec<_> = fs::read_dir(host.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("state"))
        .collect();
    assert_eq!(left, ["state"], "nothing else is left");
}

#[test]
fn a_running_host_keeps_its_state() {
    let (_server, host) = scene();
    let kept = backup(&host, "kept.age");
    let config = fs::read_to_string(host.file("keywheel.toml")).unwrap();
    fs::write(
        host.file("keywheel.toml"),
        config.replace("grace = \"1s\"", "grace = \"10m\""),
    )
    .unwrap();
    let mut running = host.start(&mut host.command(&["rotate", "app-db", "--wait", "end"]));
    assert!(running.wait_for("waits until"), "{}", running.stderr());
    let _ = restore(&host, &kept, &["--force"])
        .ends(24)
        .says(&["store.in-use"]);
    running.child.kill().unwrap();
    let _ = host.wait(running);
    assert_eq!(shown(&host)["rotation"], "app-db");
}

#[test]
fn what_is_no_whole_backup_or_has_another_key_changes_nothing() {
    let host = Host::init();
    let _ = host.import("some/secret", "a planted value, to be found").ends(0);
    let _ = host
        .run(
            &["vault", "slot", "add", "--passphrase", "-"],
            "correct horse battery\n",
        )
        .ends(0);
    let kept = backup(&host, "kept.age");
    let whole = fs::read(&kept).unwrap();
    for planted in ["a planted value", "some/secret", "SQLite format 3"] {
        let found = whole
            .windows(planted.len())
            .any(|part| part == planted.as_bytes());
        assert!(!found, "{planted} is in the file");
    }

    let state = host.file("state");
    let refused = |bytes: &[u8], code: &str| {
        let file = host.outside("bad.age");
        fs::write(&file, bytes).unwrap();
        let output = restore(&host, &file, &["--force"]).ends(42);
        let _ = output.says(&[code]);
    };
    for cut in [0, 10, 300, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..cut], "vault.backup-damaged");
    }
    for at in [5, 150, whole.len() / 3, whole.len() - 20] {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        let file = host.outside("bad.age");
        fs::write(&file, &altered).unwrap();
        // A stanza that was altered is one that the key does not open.
        let output = restore(&host, &file, &["--force"]);
        assert!(matches!(output.code, 22 | 42), "{at}: {output:?}");
    }
    refused(&[&whole[..], b"more"].concat(), "vault.backup-damaged");

    let other = Host::init();
    let identity = format!("@{}", other.outside("recovery").display());
    let words = ["vault", "restore", text(&kept), "--force"];
    let wrong = host
        .run(&[&words[..], &["--recovery", &identity]].concat(), "")
        .ends(22);
    let _ = wrong.says(&["vault.wrong-key"]);
    let key = other.file("vault.key");
    let wrong = host
        .run(&[&words[..], &["--key-file", text(&key)]].concat(), "")
        .ends(22);
    let _ = wrong.says(&["vault.wrong-key"]);
    let wrong = host
        .run(&[&words[..], &["--passphrase", "-"]].concat(), "another horse\n")
        .ends(22);
    let _ = wrong.says(&["vault.wrong-key"]);
    let nowhere = host.outside("nowhere");
    let _ = restore(&host, &nowhere, &["--force"])
        .ends(23)
        .says(&["vault.backup-missing"]);

    assert_eq!(host.read("some/secret", None), "a planted value, to be found");
    assert_eq!(epoch(&host), 0);
    fs::remove_dir_all(&state).unwrap();
    let right = [&words[..3], &["--passphrase", "-"]].concat();
    let _ = host.run(&right, "correct horse battery\n").ends(0);
    assert_eq!(host.read("some/secret", None), "a planted value, to be found");
}

#[test]
fn a_backup_from_before_a_rekey_says_that_its_keys_are_back_and_which_they_are() {
    let host = Host::init();
    let second = host.outside("second.key");
    let _ = host
        .run(&["vault", "slot", "add", "--key-file", text(&second)], "")
        .ends(0);
    let _ = host.import("some/secret", "a value").ends(0);
    let old = backup(&host, "old.age");
    let slots = |restored: &Value| -> Vec<String> {
        let slots = restored["slots"].as_array().unwrap().iter();
        slots
            .map(|slot| slot["slot"].as_str().unwrap().to_owned())
            .collect()
    };
    // A restore that takes nothing back says nothing of it.
    let same = restore(&host, &old, &["--force", "-o", "json"]).ends(0);
    assert!(!same.stderr.contains("rekey"), "{same:?}");
    let same = same.json();
    assert!(
        same["rekeyed-at"].is_null() && same["slots-back"] == serde_json::json!([]),
        "{same}"
    );
    assert_eq!(slots(&same), ["key-file-1", "key-file-2", "recovery"]);

    let _ = host
        .run(&["vault", "slot", "remove", "key-file-2", "--yes"], "")
        .ends(0);
    let _ = host.run(&["vault", "rekey", "--yes"], "").ends(0);
    let new = backup(&host, "new.age");
    for words in [&["--force"][..], &["--force", "-o", "json"]] {
        let _ = restore(&host, &new, &["--force"]).ends(0);
        let back = restore(&host, &old, words).ends(0).says(&[
            "the backup is older than the last rekey (",
            "slot key-file-2 was taken out after the backup was made, and its key opens the vault again",
            "next: keywheel vault rekey",
        ]);
        if words.len() == 1 {
            let opens = "opens with:     key-file-1, key-file-2, recovery";
            assert!(back.stdout.contains(opens), "{back:?}");
        } else {
            let back = back.json();
            assert!(back["rekeyed-at"].is_number(), "{back}");
            assert_eq!(back["slots-back"], serde_json::json!(["key-file-2"]));
            assert_eq!(slots(&back), ["key-file-1", "key-file-2", "recovery"]);
        }
    }
    // It is true: that key opens it.
    fs::copy(&second, host.outside("kept.key")).unwrap();
    fs::rename(host.file("vault.key"), host.outside("first.key")).unwrap();
    fs::rename(host.outside("kept.key"), host.file("vault.key")).unwrap();
    assert_eq!(host.read("some/secret", None), "a value");
    // Without a state to compare it with nobody can say; then it says that.
    fs::remove_dir_all(host.file("state")).unwrap();
    let alone = restore(&host, &old, &[]).ends(0);
    let _ = alone.says(&["there was no state to compare it with"]);
}
