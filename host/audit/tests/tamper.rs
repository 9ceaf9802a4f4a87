//! Whatever is done to the rows afterwards, the first bad one is named.

use keywheel_audit::{Checkpoint, Entry, Error, Fault, Hash, Row, cut, genesis, link, verify};
use keywheel_model::{RunId, SecretBytes, Timestamp};
use serde_json::json;

const STORE: &str = "store-a";

fn key() -> SecretBytes {
    SecretBytes::copy_of(&[7; 32])
}

fn entry(number: u64) -> Entry {
    Entry::of_host("secret.promote", format!("app/db-{number}"), "ok")
        .in_run(&RunId::from_number(number))
        .with(json!({"version": number}))
}

fn rows(count: u64, key: Option<&SecretBytes>) -> Vec<Row> {
    let mut prev = genesis(STORE);
    (1..=count)
        .map(|seq| {
            let row = link(prev, seq, Timestamp::from_unix_ms(1_000 * seq), &entry(seq), key);
            prev = row.hash;
            row
        })
        .collect()
}

fn head(rows: &[Row]) -> Checkpoint {
    let last = &rows[rows.len() - 1];
    Checkpoint {
        store: STORE.to_owned(),
        seq: last.seq,
        hash: last.hash,
        at: last.at,
    }
}

fn fault_of(rows: &[Row], checkpoints: &[Checkpoint]) -> (u64, Fault) {
    match verify(rows, STORE, Some(&key()), checkpoints) {
        Err(Error::Broken { seq, fault }) => (seq, fault),
        other => panic!("expected a broken trail, got {other:?}"),
    }
}

#[test]
fn an_untouched_trail_is_sound_and_says_how_far_it_is_sealed() {
    let trail = rows(5, Some(&key()));
    for (key, sealed_to) in [(Some(key()), Some(5)), (None, None)] {
        let report = verify(&trail, STORE, key.as_ref(), &[head(&trail[..3])]).expect("sound");
        assert_eq!(
            (report.rows, report.sealed_to, report.head),
            (5, sealed_to, trail[4].hash)
        );
    }
}

#[test]
fn a_row_without_a_seal_is_named_wherever_it_stands() {
    let mut appended = rows(5, Some(&key()));
    appended.push(link(
        appended[4].hash,
        6,
        Timestamp::from_unix_ms(9_000),
        &entry(6),
        None,
    ));
    assert_eq!(fault_of(&appended, &[]), (6, Fault::Unsealed));

    // The host went on after it: its own seal does not make the row before it true.
    let next = link(
        appended[5].hash,
        7,
        Timestamp::from_unix_ms(9_001),
        &entry(7),
        Some(&key()),
    );
    appended.push(next);
    assert_eq!(fault_of(&appended, &[]), (6, Fault::Unsealed));

    let mut stripped = rows(5, Some(&key()));
    stripped[3].seal = None;
    assert_eq!(fault_of(&stripped, &[]), (4, Fault::Unsealed));

    // Everything gone; everything written anew, all seals gone.
    assert_eq!(fault_of(&[], &[]), (1, Fault::Missing));
    assert_eq!(fault_of(&rows(5, None), &[]), (1, Fault::Unsealed));
}

#[test]
fn an_edit_of_any_field_is_named() {
    type Edit = (&'static str, fn(&mut Row));
    let edits: [Edit; 8] = [
        ("time", |row| row.at = Timestamp::from_unix_ms(1)),
        ("actor", |row| row.actor.push('x')),
        ("action", |row| row.action.push('x')),
        ("resource", |row| row.resource.push('x')),
        ("outcome", |row| row.outcome = "denied".to_owned()),
        ("run", |row| row.run = None),
        ("details", |row| row.details = "{}".to_owned()),
        ("hash", |row| row.hash = Hash([1; 32])),
    ];
    for (what, edit) in edits {
        let mut trail = rows(5, Some(&key()));
        edit(&mut trail[2]);
        assert_eq!(fault_of(&trail, &[]), (3, Fault::Edited), "{what}");
    }
}

#[test]
fn moving_text_between_neighbouring_fields_is_an_edit() {
    let mut trail = rows(1, None);
    trail[0].actor = "hos".to_owned();
    trail[0].action = "tsecret.promote".to_owned();
    assert_eq!(fault_of(&trail, &[]), (1, Fault::Edited));
}

#[test]
fn a_deleted_or_moved_row_is_named() {
    let mut gone = rows(5, Some(&key()));
    gone.remove(1);
    assert_eq!(fault_of(&gone, &[]), (2, Fault::Missing));
    let mut swapped = rows(5, Some(&key()));
    swapped.swap(1, 2);
    assert_eq!(fault_of(&swapped, &[]), (2, Fault::Missing));
    let mut renumbered = rows(5, Some(&key()));
    renumbered.swap(1, 2);
    renumbered[1].seq = 2;
    assert_eq!(fault_of(&renumbered, &[]), (2, Fault::Edited));
    // The first row stands later on: nothing was cut off.
    for place in 1..5 {
        let mut moved = rows(5, Some(&key()));
        moved.swap(0, place);
        assert_eq!(fault_of(&moved, &[]), (1, Fault::Missing), "{place}");
    }
}

#[test]
fn a_truncated_trail_is_seen_against_a_checkpoint_only() {
    let trail = rows(5, Some(&key()));
    assert!(verify(&trail[..3], STORE, Some(&key()), &[]).is_ok());
    assert_eq!(fault_of(&trail[..3], &[head(&trail)]), (4, Fault::Truncated));
}

#[test]
fn a_recomputed_chain_lacks_our_seals_and_misses_the_checkpoint() {
    let genuine = rows(4, Some(&key()));
    let forged = rows(4, Some(&SecretBytes::copy_of(b"another key")));
    assert_eq!(fault_of(&forged, &[]), (1, Fault::Forged));

    // Whoever has the key can seal: only a checkpoint tells.
    let mut rewritten = rows(2, Some(&key()));
    rewritten[1] = link(
        rewritten[0].hash,
        2,
        Timestamp::from_unix_ms(5),
        &entry(9),
        Some(&key()),
    );
    assert!(verify(&rewritten, STORE, Some(&key()), &[]).is_ok());
    assert_eq!(
        fault_of(&rewritten, &[head(&genuine[..2])]),
        (2, Fault::Rewritten { after: 0 })
    );
    assert_eq!(
        fault_of(&rewritten, &[head(&genuine[..2]), head(&genuine[..1])]),
        (2, Fault::Rewritten { after: 1 }),
        "an earlier checkpoint narrows it down"
    );
}

#[test]
fn a_trail_of_another_store_does_not_pass() {
    let trail = rows(2, None);
    let error = verify(&trail, "store-b", None, &[]).expect_err("other store");
    assert_eq!(
        error,
        Error::Broken {
            seq: 1,
            fault: Fault::Unlinked
        }
    );
    let error = verify(&trail, "store-b", None, &[head(&trail)]).expect_err("other store");
    assert_eq!(error.code(), "audit.other-store");
}

/// Ten rows, the ninth of which says that the trail is cut after the fifth.
fn cut_after_five() -> Vec<Row> {
    let mut trail = rows(8, Some(&key()));
    for seq in [9, 10] {
        let said = if seq == 9 {
            cut::entry(5, trail[4].hash)
        } else {
            entry(seq)
        };
        let prev = trail[trail.len() - 1].hash;
        let at = Timestamp::from_unix_ms(1_000 * seq);
        trail.push(link(prev, seq, at, &said, Some(&key())));
    }
    trail
}

#[test]
fn a_trail_may_begin_where_it_says_itself_that_it_was_cut() {
    let trail = cut_after_five();
    // All of it, some of what goes, all of what goes: a host may have died anywhere on the way.
    for gone in 0..=5 {
        let left = &trail[gone..];
        let report = verify(left, STORE, Some(&key()), &[head(&trail[..6])]).expect("sound");
        let begun_after = u64::try_from(gone).expect("few");
        assert_eq!((report.rows, report.cut), (10 - begun_after, begun_after));
        assert_eq!(report.sealed_to, Some(10));
    }
    // The checkpoint of the very row before the first is found in that.
    assert!(verify(&trail[5..], STORE, Some(&key()), &[head(&trail[..5])]).is_ok());
    let other = Checkpoint {
        hash: Hash([1; 32]),
        ..head(&trail[..5])
    };
    assert_eq!(
        fault_of(&trail[5..], &[other]),
        (5, Fault::Rewritten { after: 0 })
    );
    // An older one can be compared with nothing.
    let cut = verify(&trail[5..], STORE, Some(&key()), &[head(&trail[..3])]).expect_err("cut off");
    assert_eq!(cut, Error::Cut { seq: 3, through: 5 });
}

#[test]
fn rows_that_go_beyond_a_cut_or_without_one_are_missed() {
    let trail = cut_after_five();
    assert_eq!(
        fault_of(&trail[6..], &[]),
        (6, Fault::Missing),
        "one more than it says"
    );
    assert_eq!(
        fault_of(&trail[9..], &[]),
        (1, Fault::Missing),
        "and the row that says so"
    );
    assert_eq!(fault_of(&rows(5, Some(&key()))[1..], &[]), (1, Fault::Missing));
    // Whoever has no key makes no such row, and alters none.
    let mut forged = trail[6..].to_vec();
    let claim = |row: &Row, key: &SecretBytes| {
        let said = cut::entry(6, trail[5].hash);
        link(
            row.hash,
            row.seq + 1,
            Timestamp::from_unix_ms(1),
            &said,
            Some(key),
        )
    };
    forged.push(claim(&forged[3], &SecretBytes::copy_of(b"another key")));
    assert_eq!(fault_of(&forged, &[]), (11, Fault::Forged));
    let mut altered = trail[6..].to_vec();
    altered[2].details = altered[2].details.replace("\"through\":5", "\"through\":6");
    assert_eq!(fault_of(&altered, &[]), (9, Fault::Edited));
    // A row of the middle is missed as ever.
    let mut gap = trail[5..].to_vec();
    gap.remove(1);
    assert_eq!(fault_of(&gap, &[]), (7, Fault::Missing));
    // One that names another row's hash as the last is no cut of this trail.
    let mut odd = rows(6, Some(&key()));
    let said = cut::entry(3, Hash([1; 32]));
    odd.push(link(
        odd[5].hash,
        7,
        Timestamp::from_unix_ms(9),
        &said,
        Some(&key()),
    ));
    assert_eq!(fault_of(&odd[3..], &[]), (7, Fault::Unlinked));
}
