//! What is done to the trail in the database file, and what a signed checkpoint that was shipped away says of it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use keywheel_audit::{Entry, Hash, Row, genesis, link};
use keywheel_engine::{Engine, SystemClock};
use keywheel_model::{SecretBytes, Timestamp};
use rusqlite::{Connection, params};

use crate::kit::{Place, Ran, Unguarded};

const VERIFY: &str = "audit verify --checkpoint shipped";

/// A host whose trail has seven rows; its checkpoint of row 5 is `early`, that of row 7 is `shipped`. The database is kept in `kept.db`.
fn host() -> Place {
    let place = Place::new();
    let ran = place.run("-o json init --recovery-to recovery.txt");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    let made: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let key = made["public_key"].as_str().unwrap();
    place.write("key", key);
    for _ in 0..3 {
        assert_eq!(place.run("vault unseal --recovery @recovery.txt").exit, 0);
    }
    assert_eq!(place.run("audit checkpoint --out early").exit, 0);
    assert_eq!(place.run("vault unseal --recovery @recovery.txt").exit, 0);
    assert_eq!(place.run("audit checkpoint --out shipped").exit, 0);
    let ran = place.run(VERIFY);
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert!(
        ran.out
            .contains("7 rows hold together; 1 checkpoint found in them"),
        "{}",
        ran.out
    );
    std::fs::copy(
        place.path().join("state/keywheel.db"),
        place.path().join("kept.db"),
    )
    .unwrap();
    place
}

fn open(place: &Place) -> Unguarded {
    Unguarded::open(place)
}

/// Puts the database of before back.
fn put_back(place: &Place) {
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(place.path().join(format!("state/keywheel.db{end}")));
    }
    std::fs::copy(
        place.path().join("kept.db"),
        place.path().join("state/keywheel.db"),
    )
    .unwrap();
}

fn assert_names(ran: &Ran, code: &str, words: &str, what: &str) {
    assert_eq!(ran.exit, 42, "{what}: {} {}", ran.out, ran.err);
    assert!(
        ran.err.contains(code) && ran.err.contains(words),
        "{what}: {}",
        ran.err
    );
}

#[test]
fn an_altered_row_is_named_whichever_field_it_is() {
    let place = host();
    for change in [
        "at = at + 1",
        "actor = 'uid:4242'",
        "action = 'secret.read'",
        "resource = 'app/db'",
        "outcome = 'denied'",
        "run = 'r-1'",
        "details = '{}  '",
        "prev = zeroblob(32)",
        "hash = zeroblob(32)",
        "seal = zeroblob(32)",
        "seal = NULL",
        "hash = x'00'",
        "at = -1",
    ] {
        open(&place)
            .execute_batch(&format!("UPDATE audit SET {change} WHERE seq = 3"))
            .unwrap();
        for command in [VERIFY, "audit verify"] {
            assert_names(
                &place.run(command),
                "audit.broken",
                "broken at seq 3: the row",
                change,
            );
        }
        put_back(&place);
    }
    assert_eq!(place.run(VERIFY).exit, 0);
}

#[test]
fn a_removed_a_moved_and_an_added_row_are_named() {
    let place = host();
    let swap = "UPDATE audit SET seq = -2 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 4; UPDATE audit SET seq = 4 WHERE seq = -2";
    let close_up = "DELETE FROM audit WHERE seq = 3; UPDATE audit SET seq = seq - 1 WHERE seq > 3";
    let twice = "INSERT INTO audit SELECT 8, at, actor, action, resource, outcome, run, details, prev, hash, seal FROM audit WHERE seq = 7";
    let zeroth = "INSERT INTO audit SELECT 0, at, actor, action, resource, outcome, run, details, prev, hash, seal FROM audit WHERE seq = 7";
    for (what, seq) in [
        ("DELETE FROM audit WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq = 1", 1),
        (swap, 2),
        (close_up, 3),
        (twice, 8),
        (zeroth, 1),
    ] {
        open(&place).execute_batch(what).unwrap();
        let words = format!("broken at seq {seq}: ");
        for command in [VERIFY, "audit verify"] {
            assert_names(&place.run(command), "audit.broken", &words, what);
        }
        put_back(&place);
    }
}

#[test]
fn rows_cut_off_the_end_are_seen_by_the_checkpoint_alone() {
    let place = host();
    open(&place)
        .execute_batch("DELETE FROM audit WHERE seq > 5")
        .unwrap();
    assert_eq!(place.run("audit verify").exit, 0);
    let ran = place.run("audit verify --checkpoint early");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    let words = "broken at seq 6: the trail ends before a checkpoint";
    let ran = place.run(VERIFY);
    assert_names(&ran, "audit.behind", words, "cut off");
    assert!(ran.err.contains("the restore epoch is 1 now"), "{}", ran.err);
}

/// Whoever can write the file could have rows deleted as they come, and those that are left would hold together: no host works with a trigger that it did
/// not make.
#[test]
fn a_trigger_of_somebody_else_is_refused_before_anything_is_done() {
    let place = host();
    let hides = "AFTER INSERT ON audit WHEN NEW.action = 'vault.unseal' BEGIN DELETE FROM audit WHERE seq = NEW.seq; END";
    let ignores = "CREATE TRIGGER quiet BEFORE INSERT ON audit BEGIN SELECT RAISE(IGNORE); END";
    for (sql, what) in [
        (
            format!("DROP TRIGGER audit_no_delete; CREATE TRIGGER audit_no_delete {hides}"),
            "the trigger `audit_no_delete` was altered",
        ),
        (ignores.to_owned(), "the trigger `quiet` is none of this host's"),
        (
            "DROP TRIGGER audit_no_update".to_owned(),
            "the trigger `audit_no_update` is gone",
        ),
        (
            "CREATE VIEW shown AS SELECT 1".to_owned(),
            "the view `shown` is none of this host's",
        ),
    ] {
        Connection::open(place.path().join("state/keywheel.db"))
            .unwrap()
            .execute_batch(&sql)
            .unwrap();
        for command in [
            "vault unseal --recovery @recovery.txt",
            "audit verify",
            "audit search",
            "doctor",
            "vault backup b",
        ] {
            let ran = place.run(command);
            assert!([42, 50].contains(&ran.exit), "{command}: {} {}", ran.out, ran.err);
            let said = format!("{}{}", ran.out, ran.err);
            assert!(said.contains(what), "{command}: {said}");
        }
        put_back(&place);
    }
    assert_eq!(place.run(VERIFY).exit, 0);
}

/// A signature is all that whoever has no key goes by: nothing that does not hold together gets one.
#[test]
fn a_trail_that_was_written_anew_is_not_signed() {
    let place = host();
    write_anew(&place, None);
    for command in ["audit checkpoint --out forged", "audit verify --save forged"] {
        assert_names(
            &place.run(command),
            "audit.broken",
            "broken at seq 4: the row",
            command,
        );
        assert!(!place.path().join("forged").exists());
    }
}

/// Writes rows 4 to 7 anew so that the chain fits; `key` seals them.
fn write_anew(place: &Place, key: Option<&SecretBytes>) {
    let database = open(place);
    let store: String = database
        .query_row("SELECT value FROM meta WHERE key = 'store'", [], |row| row.get(0))
        .unwrap();
    let third: [u8; 32] = database
        .query_row("SELECT hash FROM audit WHERE seq = 3", [], |row| row.get(0))
        .unwrap();
    assert_ne!(Hash(third), genesis(&store));
    let mut prev = Hash(third);
    for seq in 4..=7_u64 {
        let entry = Entry::of_host("vault.unseal", "vault", "ok").by("uid:4242");
        let row: Row = link(prev, seq, Timestamp::from_unix_ms(1_000 + seq), &entry, key);
        prev = row.hash;
        let sql = "UPDATE audit SET at = ?1, actor = ?2, action = ?3, resource = ?4, outcome = ?5, run = NULL, details = ?6, prev = ?7,
                   hash = ?8, seal = ?9 WHERE seq = ?10";
        let at = row.at.as_unix_ms();
        let seal = row.seal.map(|seal| seal.0);
        database
            .execute(
                sql,
                params![
                    at,
                    row.actor,
                    row.action,
                    row.resource,
                    row.outcome,
                    row.details,
                    row.prev.0,
                    row.hash.0,
                    seal,
                    seq
                ],
            )
            .unwrap();
    }
}

#[tokio::test]
async fn a_chain_written_anew_is_named_even_where_the_vaults_own_key_sealed_it() {
    let place = host();
    // Without the key.
    write_anew(&place, Some(&SecretBytes::copy_of(&[9; 32])));
    for command in [VERIFY, "audit verify"] {
        assert_names(
            &place.run(command),
            "audit.broken",
            "broken at seq 4: the row's seal is not ours",
            "forged",
        );
    }
    put_back(&place);

    // With it, as root on the host has it: the chain and its seals hold, and only what was shipped away says no.
    let config = keywheel_config::load(&place.path().join("keywheel.toml")).unwrap();
    let engine = Engine::open(config, Arc::new(SystemClock)).await.unwrap();
    let key = engine.vault().sub_key("audit").unwrap();
    drop(engine);
    write_anew(&place, Some(&key));
    assert_eq!(place.run("audit verify").exit, 0);
    let words = "broken at seq 5: the trail differs from a checkpoint: the rows from 1 up to this one";
    assert_names(
        &place.run("audit verify --checkpoint early"),
        "audit.behind",
        words,
        "early",
    );
    let words = "broken at seq 7: the trail differs from a checkpoint: the rows from 1 up to this one";
    assert_names(&place.run(VERIFY), "audit.behind", words, "shipped");
}

#[test]
fn an_outside_party_verifies_with_the_public_key_alone() {
    let place = host();
    // The same key as `init` printed, in both forms.
    let pem = place.run("audit checkpoint --public-key");
    assert_eq!(pem.exit, 0, "{}", pem.err);
    place.write("key.pem", &pem.out);
    let key = String::from_utf8(place.read("key")).unwrap();
    assert!(pem.out.contains(&key), "{} {key}", pem.out);

    openssl_verifies(place.path());

    // A copy of the state without any key: the chain and the checkpoint are checked, no seal is.
    std::fs::rename(place.path().join("vault.key"), place.path().join("elsewhere.key")).unwrap();
    assert_eq!(place.run(VERIFY).exit, 22, "the vault's own key is not at hand");
    for named in [key.as_str(), "@key.pem"] {
        let ran = place.run_words(
            &[
                "audit",
                "verify",
                "--checkpoint",
                "shipped",
                "--public-key",
                named,
            ],
            "",
        );
        assert_eq!(ran.exit, 0, "{}", ran.err);
        assert!(
            ran.out.contains("no row was checked: the vault is sealed"),
            "{}",
            ran.out
        );
    }
    write_anew(&place, None);
    let ran = place.run("audit verify --checkpoint early --checkpoint shipped --public-key @key.pem");
    assert_names(&ran, "audit.broken", "broken at seq 5: the trail differs", "anew");
}

/// The recipe of docs/operators.md.
fn openssl_verifies(dir: &Path) {
    let recipe = "grep -v '^signature ' shipped > signed && sed -n 's/^signature //p' shipped | openssl base64 -d -A > signature &&
                  openssl pkeyutl -verify -rawin -pubin -inkey key.pem -in signed -sigfile signature";
    let verifies = || {
        let mut shell = Command::new("sh");
        shell.args(["-c", recipe]).current_dir(dir).output().unwrap()
    };
    let ran = verifies();
    assert!(ran.status.success(), "{ran:?}");
    let shipped = std::fs::read_to_string(dir.join("shipped")).unwrap();
    std::fs::write(dir.join("shipped"), shipped.replace("row 7", "row 6")).unwrap();
    assert!(!verifies().status.success());
    std::fs::write(dir.join("shipped"), shipped).unwrap();
}

#[test]
fn a_checkpoint_that_this_host_did_not_sign_is_not_taken() {
    let place = host();
    let shipped = String::from_utf8(place.read("shipped")).unwrap();
    place.write("shipped", shipped.replace("row 7", "row 6"));
    assert_names(&place.run(VERIFY), "audit.signature", "does not fit", "altered");

    // Another host's key: its own signature is sound.
    let other = host();
    let foreign = String::from_utf8(other.read("shipped")).unwrap();
    place.write("shipped", &foreign);
    assert_names(&place.run(VERIFY), "audit.other-key", "is signed by", "foreign");
    let key = String::from_utf8(other.read("key")).unwrap();
    let ran = place.run_words(
        &["audit", "verify", "--checkpoint", "shipped", "--public-key", &key],
        "",
    );
    assert_names(&ran, "audit.other-store", "is of store", "other store");

    // A head of the time before signatures: taken with a warning, but not where a key is named.
    let ran = place.run("-o json audit verify");
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    place.write("shipped", report["head"].to_string());
    let ran = place.run(VERIFY);
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert!(ran.err.contains("has no signature"), "{}", ran.err);
    let ran = place.run_words(
        &["audit", "verify", "--checkpoint", "shipped", "--public-key", &key],
        "",
    );
    assert_names(&ran, "audit.unsigned", "no signature", "unsigned");

    // Nothing of all that counts as a copy that was put back.
    let ran = place.run("-o json vault status");
    assert!(ran.out.contains("\"epoch\": 0"), "{}", ran.out);
    for (text, exit) in [("", 2), ("keywheel audit checkpoint 1\n", 2)] {
        place.write("shipped", text);
        assert_eq!(place.run(VERIFY).exit, exit);
    }
    assert_eq!(place.run("audit verify --checkpoint nowhere").exit, 23);
    assert_eq!(place.run("audit verify --public-key nonsense").exit, 2);
    assert_eq!(place.run("audit checkpoint --out no/such/folder").exit, 1);
}

/// A mistyped path costs no file, and an older copy of the state not the proof that it is one.
#[test]
fn only_a_checkpoint_of_the_same_trail_gives_way_to_a_checkpoint() {
    let place = host();
    let refused = |file: &str, words: &str| {
        let path = place.path().join(file);
        let before = std::fs::read(&path).ok();
        for command in ["audit checkpoint --out", "audit verify --save"] {
            let ran = place.run(&format!("{command} {file}"));
            assert_eq!(ran.exit, 24, "{file}: {}", ran.err);
            assert!(
                ran.err.contains("audit.taken") && ran.err.contains(words),
                "{}",
                ran.err
            );
            assert_eq!(std::fs::read(&path).ok(), before);
        }
    };
    place.write("notes", "mine\n");
    for file in [
        "notes",
        "state/keywheel.db",
        "vault.key",
        "keywheel.toml",
        "state",
    ] {
        refused(file, "is no checkpoint");
    }
    place.write("head", "");
    for command in ["audit checkpoint --out head", "audit verify --save head"] {
        assert_eq!(place.run(command).exit, 0, "{command}");
    }
    put_back(&place);
    refused("head", "of what this trail does not have");
    // It has a row of that number by now, and it is another one.
    assert_eq!(place.run("audit checkpoint --out other").exit, 0);
    refused("head", "of what this trail does not have");
    assert_eq!(
        place.run("audit checkpoint --out shipped").exit,
        0,
        "of row 7, which it has"
    );
}

/// The key that signs is on no disk.
#[test]
fn no_file_of_the_host_holds_the_signing_key() {
    let place = host();
    let config = keywheel_config::load(&place.path().join("keywheel.toml")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = runtime
        .block_on(Engine::open(config, Arc::new(SystemClock)))
        .unwrap();
    let seed = engine.vault().sub_key("audit-signature").unwrap();
    let signer = keywheel_audit::Signer::from_seed(&seed).unwrap();
    let key = String::from_utf8(place.read("key")).unwrap();
    assert_eq!(signer.public_key().to_string(), key, "it is the key that signs");
    drop(engine);
    let mut files = vec![place.path().to_owned()];
    let mut looked_at = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let holds = bytes.windows(32).any(|window| window == seed.expose());
        assert!(!holds, "{}", path.display());
        looked_at += 1;
    }
    assert!(looked_at > 5);
}
