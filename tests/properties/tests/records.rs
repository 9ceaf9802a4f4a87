//! What is kept on the disk, damaged: the vault's records, keys and backups, the audit trail and its checkpoints, rows of the journal. Whatever was
//! altered, nothing stops the host, no value is read as another one, and what is whole is still read.

#![allow(clippy::expect_used, reason = "a test may stop")]

#[path = "inputs/kept.rs"]
mod kept;

use std::path::Path;

use keywheel_model::SecretBytes;
use keywheel_properties::{any_text, budget, edited_bytes, flipped};
use keywheel_store::Error as StoreError;
use keywheel_vault::{Embedded, Error, Unlock, Vault as _};
use proptest::prelude::*;
use rusqlite::Connection;

use crate::kept::{KEPT, author, by_hand, columns, copied, database, open, run, set};

/// The vault is what it was, or says that it is damaged. How many values of versions could be read.
async fn is_sound_or_says_so(dir: &Path, key: &Path) -> Result<usize, TestCaseError> {
    let store = match open(dir) {
        Ok(store) => store,
        Err(error) => {
            prop_assert!(damage_of_store(&error), "{}: {}", error.code(), error);
            return Ok(0);
        }
    };
    let vault = match Embedded::open(store, Some(key)).await {
        Ok(vault) => vault,
        Err(error) => {
            prop_assert!(
                is_damage(&error) || error.code() == "vault.wrong-key",
                "{}: {}",
                error.code(),
                error
            );
            return Ok(0);
        }
    };
    let mut read = 0;
    for (name, id, value) in &KEPT.versions {
        match vault.read(name, id).await {
            Ok(found) => {
                prop_assert_eq!(found.expose(), value.as_slice(), "another value");
                read += 1;
            }
            Err(error) => prop_assert!(is_damage(&error), "{}: {}", error.code(), error),
        }
        if let Err(error) = vault.head(name).await {
            prop_assert!(is_damage(&error), "{}: {}", error.code(), error);
        }
    }
    for (kept, value) in [
        (vault.escrow(&author(), "k").await, b"escrowed".as_slice()),
        (vault.state(&author(), "k").await, b"state"),
    ] {
        match kept {
            Ok(Some(found)) => prop_assert_eq!(found.value.expose(), value),
            Ok(None) => {}
            Err(error) => prop_assert!(is_damage(&error), "{}: {}", error.code(), error),
        }
    }
    match vault.check_records().await {
        Ok(records) if records.faulty == 0 => {
            prop_assert_eq!(read, KEPT.versions.len(), "a fault that the check does not see");
        }
        Ok(_) => {}
        Err(error) => prop_assert!(is_damage(&error), "{}: {}", error.code(), error),
    }
    Ok(read)
}

fn is_damage(error: &Error) -> bool {
    match error {
        Error::Damaged { .. }
        | Error::NewerFormat { .. }
        | Error::NoVersion { .. }
        | Error::NotInitialised => true,
        Error::Store(error) => damage_of_store(error),
        _ => false,
    }
}

fn bytes_of(connection: &Connection, (table, column, row): (&str, &str, &str)) -> Vec<u8> {
    let sql = format!("SELECT CAST({column} AS BLOB) FROM {table} WHERE {row}");
    connection.query_row(&sql, [], |row| row.get(0)).expect("a row")
}

/// What SQLite or a type of a column says of a database that was altered.
fn damage_of_store(error: &StoreError) -> bool {
    matches!(
        error.code(),
        "store.damaged"
            | "store.sql"
            | "store.unreadable"
            | "store.not-ours"
            | "store.newer-format"
            | "store.not-found"
            | "store.setting"
    )
}

proptest! {
    #![proptest_config(budget(48))]

    #[test]
    fn a_record_that_was_altered_is_damage_and_the_others_are_read(column in columns(), edit in edited_bytes(vec![vec![0]]), share: u16, bit: u8, whole: bool) {
        let dir = copied();
        let mut altered = false;
        by_hand(dir.path(), |connection| {
            let before = bytes_of(connection, column);
            let after = if whole { edit.clone() } else { flipped(&before, share, bit) };
            altered = before != after;
            set(connection, column, &after);
        });
        let read = run(is_sound_or_says_so(dir.path(), &KEPT.dir.path().join("key")))?;
        match column {
            ("version", "ciphertext" | "wrapped_key", _) if altered => prop_assert_eq!(read, KEPT.versions.len() - 1),
            ("sealed", ..) => prop_assert_eq!(read, KEPT.versions.len()),
            ("version", ..) => prop_assert!(read >= KEPT.versions.len() - 1, "the other secret is sound"),
            _ => {}
        }
    }

    #[test]
    fn a_database_that_was_altered_or_cut_gives_no_other_value(damage in prop_oneof![
        3 => (any::<u16>(), any::<u8>()).prop_map(|(share, bit)| Damage::Flip { share, bit }),
        1 => any::<u16>().prop_map(|share| Damage::Cut { share }),
        1 => (any::<u16>(), any::<u8>()).prop_map(|(share, with)| Damage::Page { share, with }),
    ]) {
        let dir = copied();
        let path = database(dir.path());
        let before = std::fs::read(&path).expect("database");
        std::fs::write(&path, damage.of(&before)).expect("written");
        run(is_sound_or_says_so(dir.path(), &KEPT.dir.path().join("key")))?;
    }

    #[test]
    fn a_backup_is_what_was_written_or_refused(file in edited_bytes(vec![std::fs::read(&KEPT.backup).expect("backup")]), share: u16, bit: u8, flip: bool, by_key_file: bool) {
        let dir = tempfile::tempdir().expect("directory");
        let sound = std::fs::read(&KEPT.backup).expect("backup");
        let file = if flip { flipped(&sound, share, bit) } else { file };
        std::fs::write(dir.path().join("b.age"), &file).expect("written");
        let unlock = if by_key_file { Unlock::KeyFile(KEPT.dir.path().join("key")) } else { Unlock::Recovery(KEPT.recovery.duplicate()) };
        let to = dir.path().join("restored.db");
        match run(Embedded::unpack(&dir.path().join("b.age"), unlock, &to)) {
            Ok((contents, _)) => {
                prop_assert_eq!(&file, &sound, "what was altered is refused");
                prop_assert_eq!(std::fs::metadata(&to).expect("restored").len(), contents.bytes);
            }
            Err(error) => {
                prop_assert_ne!(&file, &sound);
                let known = ["vault.backup-damaged", "vault.backup-format", "vault.wrong-key", "vault.damaged", "vault.newer-format"];
                prop_assert!(known.contains(&error.code()), "{}: {}", error.code(), error);
            }
        }
    }

    #[test]
    fn a_key_that_is_another_one_opens_nothing(text in prop_oneof![any_text(), near(&KEPT.recovery)], file in edited_bytes(vec![std::fs::read(KEPT.dir.path().join("key")).expect("key")])) {
        let dir = copied();
        let key = std::fs::read(KEPT.dir.path().join("key")).expect("key");
        let path = dir.path().join("other");
        std::fs::write(&path, &file).expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).expect("mode");
        let identity = Unlock::Recovery(SecretBytes::copy_of(text.as_bytes()));
        let tries = [
            (identity, text.as_bytes().to_vec(), KEPT.recovery.expose().to_vec()),
            (Unlock::KeyFile(path), file, key),
        ];
        run(async {
            let vault = Embedded::open(open(dir.path()).expect("store"), None).await.expect("sealed");
            for (unlock, tried, right) in tries {
                // Both are read whatever their case, and with or without the end of the line.
                let plain = |text: &[u8]| text.trim_ascii().to_ascii_lowercase();
                match vault.unseal(unlock).await {
                    Ok(()) => prop_assert_eq!(plain(&tried), plain(&right), "another key opened it"),
                    Err(error) => {
                        prop_assert_ne!(tried, right);
                        let known = ["vault.wrong-key", "vault.malformed", "vault.key-file"];
                        prop_assert!(known.contains(&error.code()), "{}", error.code());
                    }
                }
                vault.seal();
            }
            Ok(())
        })?;
    }
}

/// The text of an identity with some characters changed.
fn near(identity: &SecretBytes) -> impl Strategy<Value = String> + use<> {
    edited_bytes(vec![identity.expose().to_vec()])
        .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip {
        share: u16,
        bit: u8,
    },
    Cut {
        share: u16,
    },
    /// A torn write: a page of 4096 bytes holds something else.
    Page {
        share: u16,
        with: u8,
    },
}

impl Damage {
    fn of(self, file: &[u8]) -> Vec<u8> {
        let place = |share: u16| usize::from(share) * file.len() / (usize::from(u16::MAX) + 1);
        match self {
            Self::Flip { share, bit } => flipped(file, share, bit),
            Self::Cut { share } => file[..place(share)].to_vec(),
            Self::Page { share, with } => {
                let mut torn = file.to_vec();
                let page = place(share) / 4096 * 4096;
                let end = torn.len().min(page + 4096);
                torn[page..end].fill(with);
                torn
            }
        }
    }
}
