//! What comes back from the disk: states of runs, rows and heads of the trail, records and backups of the vault.

use std::fs;
use std::path::Path;

use keywheel_audit::{Checkpoint, Entry, Exported, Hash, PublicKey, Row, Signer, genesis, link, verify};
use keywheel_model::{SecretBytes, Timestamp};
use keywheel_properties::{any_text, edited, edited_bytes, json_text};
use keywheel_vault::{Embedded, Unlock, Vault as _};
use keywheel_workflow::{State, step};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rusqlite::params;

use super::{Held, KIB, MIB, Watch, held, holds, turn};

#[path = "../inputs/states.rs"]
mod states;
#[path = "../inputs/kept.rs"]
mod vault;

use states::{NOW, answers};
use vault::{KEPT, author, by_hand, columns, copied, database, open, run, set};

/// A tree of JSON: what it is made into has a place for each of its members, and a vector grows.
const TREE: usize = 16;

/// A state holds what is in its text, and the next one is another such state with a note or two.
#[test]
fn a_state_of_a_run() {
    let _turn = turn();
    let states = states::states();
    let nested = (
        select(vec!["[", "{\"a\":", "\"\\u0000", "1,", "[],"]),
        1..60_000_usize,
    )
        .prop_map(|(piece, length)| piece.repeat(length.div_ceil(piece.len())));
    let texts = prop_oneof![4 => edited(states.clone()), 1 => nested.clone(), 1 => (select(states), nested).prop_map(|(state, piece)| {
        state.replacen(":[", &format!(":[{piece}"), 1)
    })];
    holds("a state of a run", 256, texts, |text| {
        held(16 * KIB + TREE * text.len(), || {
            let state = serde_json::from_str::<State>(text).ok()?;
            for event in answers(state.op) {
                drop(step(&state, &event, NOW));
            }
            Some(state)
        })
    });
}

fn trail() -> impl Strategy<Value = (Vec<Row>, usize)> {
    let entry = (any_text(), any_text(), json_text());
    let entries = vec(entry, 1..40);
    (entries, any::<usize>(), 0..4_u8, "[a-z\"]{1,400}").prop_map(|(entries, at, how, with)| {
        let mut prev = genesis("store");
        let mut rows = Vec::new();
        for (seq, (actor, resource, details)) in (1..).zip(entries) {
            let entry = Entry::of_host("a.b", &resource, "ok").by(actor).with(details);
            let row = link(prev, seq, NOW, &entry, None);
            prev = row.hash;
            rows.push(row);
        }
        let at = at % rows.len();
        match how {
            0 => rows[at].details.push_str(&with),
            1 => rows[at].prev.0[0] ^= 1,
            2 => drop(rows.remove(at)),
            _ => {}
        }
        let length = rows
            .iter()
            .map(|row| row.details.len() + row.actor.len() + row.resource.len())
            .max();
        (rows, length.unwrap_or_default())
    })
}

/// One row at a time, however long the trail is.
#[test]
fn the_trail() {
    let _turn = turn();
    holds("the trail", 192, trail(), |(rows, longest)| {
        held(16 * KIB + 16 * longest, || verify(rows, "store", None, &[]))
    });
    let row = |text: &String| held(16 * KIB + TREE * text.len(), || serde_json::from_str::<Row>(text));
    let rows = trail().prop_map(|(rows, _)| serde_json::to_string(&rows.first()).expect("JSON"));
    holds(
        "a row of the trail",
        192,
        rows.prop_flat_map(|row| edited(vec![row])),
        row,
    );
    let signer = Signer::from_seed(&SecretBytes::copy_of(&[7; 32])).expect("key");
    let head = Checkpoint {
        store: "5f0c".to_owned(),
        seq: 42,
        hash: Hash([9; 32]),
        at: Timestamp::from_unix_ms(1),
    };
    let files = prop_oneof![
        3 => edited(vec![signer.export(&head), signer.public_key().to_pem(), serde_json::to_string(&head).expect("JSON")]),
        1 => any_text(),
        1 => (any_text(), 1..800_usize).prop_map(|(text, times)| text.repeat(times)),
    ];
    holds("a head of the trail", 256, files, |file| {
        held(16 * KIB + TREE * file.len(), || {
            (Exported::read(file).is_ok(), file.parse::<PublicKey>().is_ok())
        })
    });
}

/// A store and a vault that are open: connections, threads, the compiled statements.
const OPEN: usize = 512 * KIB;

/// Opens it and reads all there is.
fn all_of(dir: &Path, key: &Path, bound: usize) -> Held {
    run(async {
        let watch = Watch::begin();
        let Ok(store) = open(dir) else {
            return watch.end(bound);
        };
        if let Ok(vault) = Embedded::open(store, Some(key)).await {
            for (name, id, _) in &KEPT.versions {
                let _ = vault.read(name, id).await;
                let _ = vault.head(name).await;
            }
            let _ = vault.escrow(&author(), "k").await;
            let _ = vault.state(&author(), "k").await;
            let _ = vault.check_records().await;
            let _ = vault.slots().await;
        }
        watch.end(bound)
    })
}

/// A record as it lies there, as a row, as what is decrypted, as text of it: a handful of copies, whatever it says of itself.
#[test]
fn records_of_the_vault() {
    let _turn = turn();
    let key = KEPT.dir.path().join("key");
    let long = (
        select(vec!["[", "{\"a\":", "a", "\\u0000", "1,"]),
        1..300_000_usize,
    )
        .prop_map(|(piece, length)| piece.repeat(length / piece.len()).into_bytes());
    let header = br#"{"kind":"passphrase","salt":"AAAAAAAAAAAAAAAAAAAAAA==","memory-kib":1048576,"passes":64,"lanes":1}"#;
    let bytes = prop_oneof![3 => edited_bytes(vec![header.to_vec(), vec![0; 60]]), 2 => long, 1 => vec(any::<u8>(), 0..400)];
    holds(
        "a record of the vault",
        48,
        (columns(), bytes),
        |(column, bytes)| {
            let dir = copied();
            by_hand(dir.path(), |connection| set(connection, *column, bytes));
            all_of(dir.path(), &key, OPEN + TREE * bytes.len())
        },
    );
}

/// The longest head of an age file that is read (`HEADER_MAX` of `host/vault/src/age/stream.rs`).
const HEADER: usize = 256 * KIB;
/// What is copied at once, in each of its steps (`PIECE` of `host/vault/src/embedded/backup.rs`), with what reads and what writes it.
const PIECES: usize = 8 * 64 * KIB;

/// However long the backup is: its head, of which ten bytes may be a stanza with a list of words, a word and a body, each an allocation of its own, in a list
/// that grows; and the pieces under way.
fn unpacks(dir: &Path) -> Held {
    let to = dir.join("restored.db");
    let _ = fs::remove_file(&to);
    run(async {
        let watch = Watch::begin();
        let unlock = Unlock::Recovery(KEPT.recovery.duplicate());
        let _ = Embedded::unpack(&dir.join("b.age"), unlock, &to).await;
        watch.end(PIECES + 24 * HEADER)
    })
}

#[test]
fn a_backup() {
    let _turn = turn();
    let sound = fs::read(&KEPT.backup).expect("backup");
    let grown = (
        select(vec![
            "-> X25519 a\n",
            "-> a ",
            "-> a\nAAAA\n",
            "--- ",
            "\n",
            "-> keywheel-slots\ne30\n",
        ]),
        1..700_000_usize,
    )
        .prop_map(|(piece, length)| {
            format!("age-encryption.org/v1\n{}", piece.repeat(length / piece.len())).into_bytes()
        });
    let files = prop_oneof![3 => edited_bytes(vec![sound]), 2 => grown];
    holds("a backup", 48, files, |file| {
        let dir = tempfile::tempdir().expect("directory");
        fs::write(dir.path().join("b.age"), file).expect("written");
        unpacks(dir.path())
    });
}

/// Some megabytes of it, made and put back, with the same bound.
#[test]
fn a_great_backup() {
    let _turn = turn();
    holds("a great backup", 4, 4 * MIB..12 * MIB, |bytes| {
        let dir = copied();
        by_hand(dir.path(), |connection| {
            let sql = "INSERT INTO outbox (topic, key, body, created, not_before, attempts) VALUES ('', '', CAST(zeroblob(?1) AS TEXT), 0, 0, 0)";
            connection.execute(sql, params![bytes]).expect("inserted");
        });
        assert!(fs::metadata(database(dir.path())).expect("database").len() > 4 << 20);
        let file = dir.path().join("b.age");
        let made = run(async {
            let store = open(dir.path()).expect("store");
            let vault = Embedded::open(store, Some(&KEPT.dir.path().join("key")))
                .await
                .expect("vault");
            let watch = Watch::begin();
            vault.backup(&file).await.expect("backup");
            watch.end(PIECES)
        });
        let unpacked = unpacks(dir.path());
        assert!(
            fs::metadata(dir.path().join("restored.db"))
                .expect("restored")
                .len()
                > 4 << 20
        );
        Held {
            most: made.most.max(unpacked.most),
            ..made
        }
    });
}
