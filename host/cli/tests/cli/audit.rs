//! What somebody does to the trail who owns the files and has not the vault's key.

use std::sync::Arc;

use keywheel_engine::SystemClock;
use keywheel_store::{Error, Options, Store};

use crate::kit::{Place, Unguarded};

/// A host whose trail has three rows, each with its seal.
fn host() -> Place {
    let place = Place::new();
    assert_eq!(place.run("init --recovery-to recovery.txt").exit, 0);
    for _ in 0..2 {
        assert_eq!(place.run("vault unseal --recovery @recovery.txt").exit, 0);
    }
    let ran = place.run("audit verify");
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert!(ran.out.contains("to row 3"), "{}", ran.out);
    let compared = "3 rows hold together; no checkpoint was given to compare them with";
    assert!(ran.out.contains(compared), "{}", ran.out);
    place
}

#[test]
fn a_search_begins_with_the_newest_row_unless_it_is_told_otherwise() {
    let place = host();
    let rows = |words: &str| -> Vec<u64> {
        let ran = place.run(&format!("-o json audit search {words}"));
        assert_eq!(ran.exit, 0, "{}", ran.err);
        let rows: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!(rows(""), [3, 2, 1]);
    assert_eq!(rows("--oldest-first"), [1, 2, 3]);
    assert_eq!(rows("--limit 2"), [3, 2]);
    // The command that it names goes on where it ended.
    let next = place.run("audit search --limit 2");
    assert!(
        next.err
            .contains("next: keywheel audit search --limit 2 --before 2"),
        "{}",
        next.err
    );
    assert_eq!(rows("--before 2"), [1]);
    let next = place.run("audit search --oldest-first --limit 2");
    assert!(
        next.err
            .contains("next: keywheel audit search --limit 2 --oldest-first --after 2"),
        "{}",
        next.err
    );
    assert_eq!(rows("--oldest-first --after 2"), [3]);
}

#[test]
fn a_search_goes_on_with_its_filters() {
    let place = host();
    let filters = "--resource vault --action vault.unseal --since 2026-01-01";
    let next = place.run(&format!("audit search {filters} --limit 1"));
    let told = next
        .err
        .split("next: keywheel ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap();
    assert_eq!(
        told,
        "audit search --resource vault --action vault.unseal --since 2026-01-01T00:00:00Z --limit 1 --before 3"
    );
    let ran = place.run(&format!("-o json {told}"));
    let rows: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(rows[0]["seq"], 2, "{}", ran.err);
    let next = place.run("audit search --oldest-first --before 3 --limit 1");
    assert!(
        next.err
            .contains("next: keywheel audit search --limit 1 --before 3 --oldest-first --after 1"),
        "{}",
        next.err
    );
}

#[test]
fn a_name_that_the_trail_does_not_have_is_told_with_the_one_that_is_near() {
    let place = host();
    for (search, words) in [
        (
            "--action vault.unsael",
            "has no action `vault.unsael`; did you mean `vault.unseal`?",
        ),
        (
            "--resource vualt",
            "has no resource `vualt`; did you mean `vault`?",
        ),
        ("--actor nobody", "has no actor `nobody`; there are uid:"),
        ("--secret no/such", "has no secret `no/such`"),
    ] {
        let ran = place.run(&format!("audit search {search}"));
        assert_eq!(ran.exit, 0, "{}", ran.err);
        assert!(ran.err.contains(words), "{search}: {}", ran.err);
    }
    // Names that are known, and nothing of the kind: that is no mistake.
    let ran = place.run("audit search --action vault.unseal --until 2026-01-01");
    assert!(
        ran.err.contains("no row matches") && !ran.err.contains("has no"),
        "{}",
        ran.err
    );
}

fn assert_broken(place: &Place, row: u64) {
    let ran = place.run("audit verify");
    assert_eq!(ran.exit, 42, "{} {}", ran.out, ran.err);
    let named = format!("broken at seq {row}: the row has no seal");
    assert!(
        ran.err.contains("audit.broken") && ran.err.contains(&named),
        "{}",
        ran.err
    );
    let ran = place.run("doctor");
    assert_eq!(ran.exit, 50, "{}", ran.out);
    assert!(ran.out.contains("the row has no seal"), "{}", ran.out);
}

#[tokio::test]
async fn a_row_that_the_host_did_not_seal_is_found_and_stays_found() {
    let place = host();
    let forged = keywheel_audit::Entry::of_host("secret.read", "app/db", "ok");
    let store = Store::open(&place.path().join("state"), Options::new(Arc::new(SystemClock))).unwrap();
    let row = store.write(move |tx| tx.audit(&forged)).await;
    assert_eq!(row.unwrap(), 4);
    store
        .read(|reader| Ok::<_, Error>(reader.audit_verify(None, &[])?.unwrap()))
        .await
        .unwrap();
    drop(store);
    assert_broken(&place, 4);
    assert_eq!(place.run("vault unseal --recovery @recovery.txt").exit, 0);
    assert_broken(&place, 4);
}

#[test]
fn a_trail_whose_seals_are_gone_is_found() {
    let place = host();
    Unguarded::open(&place)
        .execute_batch("UPDATE audit SET seal = NULL")
        .unwrap();
    assert_broken(&place, 1);
}

#[test]
fn a_host_without_a_key_at_hand_writes_no_row() {
    let place = Place::new();
    let ran = place.run_with(
        "init --passphrase - --no-key-file --recovery-to recovery.txt",
        "correct horse\n",
    );
    assert_eq!(ran.exit, 0, "{}", ran.err);
    let ran = place.run("plugin add postgres --yes");
    assert_eq!(ran.exit, 22, "{}", ran.err);
    assert!(ran.err.contains("vault.sealed"), "{}", ran.err);
    let ran = place.run("doctor");
    assert_eq!(ran.exit, 10, "{}", ran.out);
    assert!(ran.out.contains("no seal was checked"), "{}", ran.out);
    assert!(
        ran.out.contains("no record was opened: the vault is sealed"),
        "{}",
        ran.out
    );
}
