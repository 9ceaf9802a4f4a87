//! A state that cannot be used: of a newer format, with another key, damaged.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use keywheel_e2e::Host;

use crate::{Subject, server};

/// Changes the database while no host has it.
fn by_hand(host: &Host, sql: &str) {
    let database = Connection::open(host.file("state/keywheel.db")).unwrap();
    database.execute_batch(sql).unwrap();
}

fn copy(from: &Path, to: &Path) {
    // The permissions go with it.
    fs::copy(from, to).unwrap();
}

#[test]
fn a_state_of_a_newer_format_is_left_alone() {
    let subject = Subject::ready("state_newer");
    let database = Connection::open(subject.host.file("state/keywheel.db")).unwrap();
    let format: u32 = database
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    drop(database);
    by_hand(&subject.host, "PRAGMA user_version = 1000");
    let before = fs::read(subject.host.file("state/keywheel.db")).unwrap();
    for command in [
        &["rotate", "app-db"][..],
        &["plan", "app-db"],
        &["secret", "list"],
        &["run", "list"],
    ] {
        let output = subject.host.run(command, "").ends(24);
        let _ = output.says(&[
            "store.newer-format",
            "format 1000",
            "hint: use the newer keywheel",
        ]);
    }
    assert_eq!(fs::read(subject.host.file("state/keywheel.db")).unwrap(), before);
    assert!(subject.takes(&subject.old));
    by_hand(&subject.host, &format!("PRAGMA user_version = {format}"));
    let _ = subject.rotate().ends(0);
    subject.has_rotated();
    subject.leaves_no_trace();
}

#[test]
fn another_vaults_key_is_a_wrong_key_and_changes_nothing() {
    let subject = Subject::ready("state_key");
    let key = subject.host.file("vault.key");
    let kept = subject.host.outside("vault.key");
    copy(&key, &kept);
    let other = Host::init();
    fs::remove_file(&key).unwrap();
    copy(&other.file("vault.key"), &key);
    for command in [
        &["rotate", "app-db"][..],
        &["secret", "read", "app/db", "--reason", "test", "--to", "value"],
    ] {
        let output = subject.host.run(command, "").ends(22);
        let _ = output.says(&[
            "vault.wrong-key",
            "hint: use the key that was made with this state",
        ]);
    }
    assert!(!subject.host.file("value").exists());
    fs::remove_file(&key).unwrap();
    let output = subject.host.run(&["rotate", "app-db"], "").ends(22);
    let _ = output.says(&["vault.sealed", "hint: "]);
    copy(&kept, &key);
    subject.is_as_before("after refusals");
    let _ = subject.rotate().ends(0);
    subject.has_rotated();
    subject.leaves_no_trace();
}

#[test]
fn a_damaged_record_is_called_damaged_and_nothing_is_changed() {
    let subject = Subject::ready("state_bits");
    let host = &subject.host;
    let flip = |secret: &str| {
        by_hand(
            host,
            &format!(
                "UPDATE version SET ciphertext = CAST(substr(ciphertext, 1, 30) || x'00' || substr(ciphertext, 32) AS BLOB) WHERE secret = '{secret}'"
            ),
        );
    };
    let state = host.file("state/keywheel.db");
    let kept = host.outside("keywheel.db");
    copy(&state, &kept);
    for (secret, commands) in [
        ("app/db", &[&["target", "test", "app-db"][..]][..]),
        (
            "admin/db",
            &[
                &["plan", "app-db"],
                &["target", "test", "app-db"],
                &["rotate", "app-db", "--wait", "end"],
            ],
        ),
    ] {
        flip(secret);
        let to = host.outside("value").display().to_string();
        let read = host
            .run(&["secret", "read", secret, "--reason", "test", "--to", &to], "")
            .ends(42);
        let _ = read.says(&[
            "vault.damaged",
            &format!("secret {secret} "),
            "hint: keep the file, and restore the newest backup",
        ]);
        assert!(!host.outside("value").exists());
        let found = host.run(&["-o", "json", "doctor"], "").ends(50).json();
        let (version, stage) = &host.versions(secret)[0];
        let damaged = format!("vault.damaged: secret {secret} {version} is damaged");
        assert!(
            found.as_array().unwrap().iter().any(|finding| {
                let detail = finding["detail"].as_str().unwrap();
                detail.starts_with(&damaged)
                    && detail.ends_with(&format!("({stage})"))
                    && finding["result"] == "failure"
                    && finding["advice"] == "keep the file, and restore the newest backup"
            }),
            "{damaged}: {found}"
        );
        for command in commands {
            let output = host.run(command, "");
            assert_eq!(output.code, 42, "{secret}: {command:?}: {output:?}");
            let said = output.stdout + &output.stderr;
            assert!(
                said.contains("vault.damaged") && said.contains(&format!("secret {secret} ")),
                "{secret}: {command:?}: {said}"
            );
        }
        copy(&kept, &state);
    }
    subject.is_as_before("after refusals");
    let sound = host.run(&["doctor"], "").ends(0);
    assert!(sound.stdout.contains("records       2 open"), "{sound:?}");
    // The file itself.
    let mut bytes = fs::read(&state).unwrap();
    bytes[100..4000].fill(0x5a);
    fs::write(&state, bytes).unwrap();
    for command in [&["rotate", "app-db"][..], &["secret", "list"]] {
        let output = host.run(command, "").ends(42);
        let _ = output.says(&[
            "store.damaged",
            "keywheel.db",
            "hint: keep the file, and restore the newest backup",
        ]);
    }
    copy(&kept, &state);
    subject.is_as_before("with the sound file back");
    let _ = subject.rotate().ends(0);
    subject.has_rotated();
    subject.leaves_no_trace();
}

#[test]
fn the_wrong_password_of_an_existing_role_is_not_adopted() {
    let subject = Subject::new("state_adopt");
    let host = &subject.host;
    host.add_plugin("postgres", &[server().port()]);
    let _ = host.import("admin/db", server().admin_password()).ends(0);
    let verifier = || {
        server()
            .sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'state_adopt'")
            .unwrap()
    };
    let before = verifier();
    let wrong = keywheel_kit::random_password();
    let output = host.import("app/db", &wrong).ends(40);
    assert!(
        output
            .stdout
            .contains("the target refuses the imported credential; nothing was changed"),
        "{output:?}"
    );
    assert!(
        output
            .stdout
            .contains("hint: the target is untouched; import the credential that is in use"),
        "{output:?}"
    );
    assert_eq!(verifier(), before);
    assert!(subject.takes(&subject.old));
    // Nothing was adopted, so there is nothing to rotate; and the refusal is not in the way of the right password.
    let _ =
        subject
            .rotate()
            .ends(24)
            .says(&["run.adoption-required", "keywheel secret import app/db", "hint: "]);
    assert_eq!(verifier(), before);
    let _ = host.import("app/db", &subject.old).ends(0);
    let _ = subject.rotate().ends(0);
    subject.has_rotated();
    subject.leaves_no_trace();
    host.left_no_trace(&[wrong], &[]);
}
