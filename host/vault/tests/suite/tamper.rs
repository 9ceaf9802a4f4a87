use std::fs;
use std::path::Path;

use keywheel_model::{SecretBytes, SecretName, VersionId};
use keywheel_vault::{Embedded, Error, NewSlot, Promotion, Rider, Unlock, Vault};
use rusqlite::{Connection, params};

use crate::{Home, name, pending, store, text, value};

const PLANTED: &str = "planted-1f6b93";

/// Two secrets, the first with two versions.
async fn planted() -> (Home, Vec<(SecretName, VersionId)>) {
    let home = Home::new().await;
    let by = home.author(1, &["a", "b"]).await;
    let mut ids = Vec::new();
    for (secret, text, promote) in [("a", "-one", true), ("a", "-two", false), ("b", "-three", false)] {
        let planted = format!("{PLANTED}{text}");
        let id = home
            .vault
            .put_pending(&by, pending(secret, &planted), Rider::none())
            .await
            .expect("pending");
        if promote {
            let promotion = Promotion {
                name: name(secret),
                pending: id.clone(),
                expected_current: None,
                also: Vec::new(),
            };
            home.vault
                .promote(&by, promotion, Rider::none())
                .await
                .expect("promote");
        }
        ids.push((name(secret), id));
    }
    home.vault
        .put_escrow(&by, "k", value(PLANTED), Rider::none())
        .await
        .expect("escrow");
    home.vault
        .put_state(&by, "k", value(PLANTED), Rider::none())
        .await
        .expect("state");
    (home, ids)
}

/// Changes the closed database by hand.
fn by_hand(dir: &Path, change: impl FnOnce(&Connection)) {
    let connection = Connection::open(dir.join("state/keywheel.db")).expect("database");
    change(&connection);
}

fn blob(connection: &Connection, column: &str, id: &VersionId) -> Vec<u8> {
    let sql = format!("SELECT {column} FROM version WHERE id = ?1");
    connection
        .query_row(&sql, [id.as_str()], |row| row.get(0))
        .expect("blob")
}

fn set_blob(connection: &Connection, column: &str, id: &VersionId, bytes: &[u8]) {
    let sql = format!("UPDATE version SET {column} = ?2 WHERE id = ?1");
    assert_eq!(
        connection
            .execute(&sql, params![id.as_str(), bytes])
            .expect("update"),
        1
    );
}

fn assert_damaged(error: &Error, id: &VersionId) {
    assert_eq!(error.code(), "vault.damaged", "{error}");
    assert!(
        error.to_string().contains(id.as_str()),
        "the record is named: {error}"
    );
}

#[tokio::test]
async fn no_file_of_the_store_holds_a_value() {
    let (home, ids) = planted().await;
    assert_eq!(
        text(&home.vault.read(&ids[1].0, &ids[1].1).await.expect("value")),
        format!("{PLANTED}-two")
    );
    let mut seen = 0;
    for entry in fs::read_dir(home.dir.path().join("state")).expect("directory") {
        let bytes = fs::read(entry.expect("entry").path()).expect("file");
        seen += bytes.len();
        assert!(
            !bytes
                .windows(PLANTED.len())
                .any(|window| window == PLANTED.as_bytes())
        );
    }
    assert!(seen > 10_000, "the log and the database were looked at");
}

#[tokio::test]
async fn ciphertext_moved_to_another_secret_or_version_does_not_open() {
    let (home, ids) = planted().await;
    let (dir, clock, _) = home.close();
    for (from, to) in [(0, 1), (2, 1)] {
        let (from, to) = (&ids[from].1, &ids[to].1);
        let mut kept = Vec::new();
        by_hand(dir.path(), |db| {
            for column in ["ciphertext", "wrapped_key"] {
                kept.push((column, blob(db, column, to)));
                set_blob(db, column, to, &blob(db, column, from));
            }
        });
        {
            let vault = Embedded::open(store(dir.path(), &clock), Some(&dir.path().join("key")))
                .await
                .expect("open");
            assert_damaged(&vault.read(&ids[1].0, to).await.expect_err("moved"), to);
        }
        by_hand(dir.path(), |db| {
            for (column, bytes) in &kept {
                set_blob(db, column, to, bytes);
            }
        });
    }
}

#[tokio::test]
async fn every_flipped_bit_of_a_record_is_damage_and_names_it() {
    let (home, ids) = planted().await;
    let (dir, clock, _) = home.close();
    let (secret, id) = &ids[2];
    let vault = Embedded::open(store(dir.path(), &clock), Some(&dir.path().join("key")))
        .await
        .expect("open");
    let other = Connection::open(dir.path().join("state/keywheel.db")).expect("a second connection");
    other
        .execute_batch("PRAGMA synchronous = OFF")
        .expect("only for speed");
    for column in ["ciphertext", "wrapped_key"] {
        let sound = blob(&other, column, id);
        for at in 0..sound.len() {
            let mut flipped = sound.clone();
            flipped[at] ^= 1 << (at % 8);
            set_blob(&other, column, id, &flipped);
            let error = vault.read(secret, id).await.expect_err("flipped");
            match error {
                Error::NewerFormat { .. } => assert!(at < 2, "only the first two bytes say the format"),
                error => assert_damaged(&error, id),
            }
        }
        set_blob(&other, column, id, &sound[..20]);
        assert_damaged(&vault.read(secret, id).await.expect_err("cut short"), id);
        set_blob(&other, column, id, &sound);
    }
    vault.read(secret, id).await.expect("sound again");
}

#[tokio::test]
async fn a_damaged_slot_is_not_called_a_wrong_key() {
    let passphrase = || SecretBytes::copy_of(b"a long passphrase");
    let home = Home::with(|dir| {
        vec![
            NewSlot::KeyFile(dir.join("key")),
            NewSlot::Passphrase(passphrase()),
        ]
    })
    .await;
    let (dir, clock, recovery) = home.close();
    let slots = [
        ("key-file-1", Unlock::KeyFile(dir.path().join("key"))),
        ("passphrase-1", Unlock::Passphrase(passphrase())),
        ("recovery", Unlock::Recovery(recovery)),
    ];
    for (id, unlock) in slots {
        by_hand(dir.path(), |db| {
            let sql = "SELECT wrapped FROM key_slot WHERE id = ?1";
            let mut wrapped: Vec<u8> = db.query_row(sql, [id], |row| row.get(0)).expect("slot");
            let last = wrapped.len() - 1;
            wrapped[last] ^= 1;
            db.execute(
                "UPDATE key_slot SET wrapped = ?2 WHERE id = ?1",
                params![id, wrapped],
            )
            .expect("update");
        });
        let vault = Embedded::open(store(dir.path(), &clock), None)
            .await
            .expect("sealed");
        let error = vault.unseal(unlock).await.expect_err("damaged");
        assert_eq!(
            error.to_string(),
            format!("key slot {id} is damaged: it does not decrypt")
        );
    }
    by_hand(dir.path(), |db| {
        let sql = "UPDATE key_slot SET header = replace(header, '65536', '65537') WHERE id = 'passphrase-1'";
        assert_eq!(db.execute(sql, []).expect("update"), 1);
    });
    let vault = Embedded::open(store(dir.path(), &clock), None)
        .await
        .expect("sealed");
    let error = vault
        .unseal(Unlock::Passphrase(passphrase()))
        .await
        .expect_err("altered");
    assert_eq!(
        error.to_string(),
        "key slot passphrase-1 is damaged: its header was altered"
    );
    let faults = vault
        .slots()
        .await
        .expect("slots")
        .into_iter()
        .filter(|slot| slot.fault.is_some())
        .count();
    assert_eq!(faults, 1);
}

#[tokio::test]
async fn labels_that_cannot_be_read_are_damage_and_not_an_empty_head() {
    let (home, ids) = planted().await;
    let (dir, clock, _) = home.close();
    by_hand(dir.path(), |db| {
        db.execute("UPDATE version SET meta = '{' WHERE id = ?1", [ids[0].1.as_str()])
            .expect("update");
    });
    let vault = Embedded::open(store(dir.path(), &clock), Some(&dir.path().join("key")))
        .await
        .expect("open");
    assert_damaged(&vault.head(&name("a")).await.expect_err("unreadable"), &ids[0].1);
}

#[tokio::test]
async fn a_copy_without_the_key_stays_shut() {
    let (home, ids) = planted().await;
    let copy = tempfile::tempdir().expect("directory");
    store(copy.path(), &home.clock);
    fs::remove_file(copy.path().join("state/keywheel.db")).expect("remove");
    home.vault
        .store()
        .backup_to(&copy.path().join("state/keywheel.db"))
        .await
        .expect("backup");
    let vault = Embedded::open(store(copy.path(), &home.clock), None)
        .await
        .expect("sealed");
    assert_eq!(
        vault.read(&ids[0].0, &ids[0].1).await.expect_err("sealed").code(),
        "vault.sealed"
    );
    vault
        .unseal(Unlock::KeyFile(home.dir.path().join("key")))
        .await
        .expect("with the key");
    assert_eq!(
        text(&vault.read(&ids[0].0, &ids[0].1).await.expect("value")),
        format!("{PLANTED}-one")
    );
}

#[tokio::test]
async fn a_look_at_every_record_names_each_that_does_not_open() {
    let (home, ids) = planted().await;
    let records = home.vault.check_records().await.expect("look");
    assert_eq!((records.sound, records.faulty), (5, 0));
    let (dir, clock, _) = home.close();
    by_hand(dir.path(), |connection| {
        let (_, id) = &ids[0];
        let mut bytes = blob(connection, "ciphertext", id);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let changed = connection.execute(
            "UPDATE version SET ciphertext = ?1 WHERE id = ?2",
            params![bytes, id.as_str()],
        );
        assert_eq!(changed.expect("version"), 1);
        let changed = connection.execute("UPDATE sealed SET meta = 'x' WHERE kind = 'state'", []);
        assert_eq!(changed.expect("state"), 1);
    });
    let store = store(dir.path(), &clock);
    let vault = Embedded::open(store, Some(&dir.path().join("key")))
        .await
        .expect("open");
    let records = vault.check_records().await.expect("look");
    assert_eq!((records.sound, records.faulty), (3, 2));
    let told: Vec<_> = records
        .faults
        .iter()
        .map(|fault| (fault.what, fault.error.to_string()))
        .collect();
    assert!(
        told[0].1.contains(&format!("secret a {}", ids[0].1)) && told[0].0 == "current",
        "{told:?}"
    );
    assert!(told[1].1.starts_with("state "), "{told:?}");
    assert!(
        records
            .faults
            .iter()
            .all(|fault| fault.error.code() == "vault.damaged")
    );
    assert!(!format!("{told:?}").contains(PLANTED));
    vault.seal();
    assert!(matches!(vault.check_records().await, Err(Error::Sealed)));
}
