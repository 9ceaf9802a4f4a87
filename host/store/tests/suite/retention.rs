use keywheel_audit::Entry;
use keywheel_model::{Fence, RunId, SecretBytes, Stage, VersionId};
use keywheel_store::{Error, Material, NewVersion, Store};
use rusqlite::Connection;

use crate::{in_seconds, open, run, whole_change};

/// A run that has ended, with a version in that stage.
async fn made(store: &Store, number: u64, stage: Stage) {
    store
        .write(move |tx| whole_change(tx, number))
        .await
        .expect("change");
    store
        .write(move |tx| {
            tx.add_version(&NewVersion {
                id: VersionId::from_number(number),
                secret: run(number).secret,
                stage,
                run: RunId::from_number(number),
                fence: Fence(1),
                output_of: None,
                material: Material::Own {
                    ciphertext: vec![1],
                    wrapped_key: vec![2],
                },
                meta: "{}".to_owned(),
            })
        })
        .await
        .expect("version");
}

async fn old(store: &Store, newest: u32) -> Vec<RunId> {
    let look = move |reader: &keywheel_store::Reader<'_>| {
        let (mut found, mut after) = (Vec::new(), None);
        // One at a time: what is next is found from where the last one was.
        while let Some(next) = reader.old_runs(in_seconds(60), newest, after.as_ref(), 1)?.pop() {
            found.push(next.1.clone());
            after = Some(next);
        }
        Ok::<_, Error>(found)
    };
    store.read(look).await.expect("read")
}

fn numbered(numbers: impl IntoIterator<Item = u64>) -> Vec<RunId> {
    numbers.into_iter().map(RunId::from_number).collect()
}

#[tokio::test]
async fn old_runs_are_those_that_are_over_and_that_nothing_needs() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    for (number, stage) in [
        (1, Stage::Revoked),
        (2, Stage::Previous),
        (3, Stage::Abandoned),
        (4, Stage::Revoked),
        (5, Stage::Current),
        (6, Stage::Revoked),
    ] {
        made(&store, number, stage).await;
    }
    store
        .write(|tx| tx.begin_run(&run(7)))
        .await
        .expect("an open run");
    assert_eq!(old(&store, 0).await, numbered([1, 4, 6]));
    assert_eq!(
        old(&store, 2).await,
        numbered([1, 4]),
        "the newest of the rotation stay"
    );
    assert_eq!(old(&store, 6).await, numbered([1]));
    assert_eq!(old(&store, 7).await, numbered([]));
    let early = |reader: &keywheel_store::Reader<'_>| reader.old_runs(in_seconds(0), 0, None, 9);
    assert_eq!(store.read(early).await.expect("read"), []);
}

#[tokio::test]
async fn a_run_is_forgotten_with_its_journal_and_no_other_and_no_open_one() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    made(&store, 1, Stage::Revoked).await;
    made(&store, 2, Stage::Current).await;
    store
        .write(|tx| tx.begin_run(&run(3)))
        .await
        .expect("an open run");
    let forget =
        |number| move |tx: &keywheel_store::Transaction<'_>| tx.forget_run(&RunId::from_number(number));
    let refused = store.write(forget(3)).await.expect_err("open");
    assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
    let missing = store.write(forget(9)).await.expect_err("none");
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    store.write(forget(1)).await.expect("forgotten");
    let left = store
        .read(|reader| {
            let (one, two) = (RunId::from_number(1), RunId::from_number(2));
            Ok::<_, Error>((
                (reader.run(&one)?.is_none(), reader.intents(&one)?.len()),
                (reader.run(&two)?.is_some(), reader.intents(&two)?.len()),
                (
                    reader.scratch(&one, "note")?,
                    reader.versions(&run(1).secret)?.len(),
                ),
            ))
        })
        .await
        .expect("read");
    assert_eq!(left, ((true, 0), (true, 1), (None, 2)), "versions stay");
    // What lets it be deleted is over with that.
    let other = Connection::open(store.path()).expect("a second connection");
    for table in ["intent_outcome", "intent"] {
        let refused = other.execute(&format!("DELETE FROM {table}"), []);
        assert!(refused.expect_err("kept").to_string().contains("append-only"));
    }
    store.check().await.expect("sound pages");
}

/// Those of the secret that may be forgotten, found one at a time.
async fn old_versions(store: &Store, newest: u32) -> Vec<VersionId> {
    let look = move |reader: &keywheel_store::Reader<'_>| {
        let (mut found, mut after) = (Vec::new(), None);
        while let Some(next) = reader
            .old_versions(in_seconds(60), newest, after.as_ref(), 1)?
            .pop()
        {
            found.push(next.id);
            after = Some((next.secret, next.number));
        }
        Ok::<_, Error>(found)
    };
    store.read(look).await.expect("read")
}

async fn forget(store: &Store, number: u64) -> bool {
    let id = VersionId::from_number(number);
    store
        .write(move |tx| tx.forget_version(&id, in_seconds(60)))
        .await
        .expect("asked")
}

#[tokio::test]
async fn versions_are_forgotten_that_are_revoked_and_that_nothing_needs() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    for (number, stage) in [
        (1, Stage::Revoked),
        (2, Stage::Revoked),
        (3, Stage::Abandoned),
        (4, Stage::Revoked),
        (5, Stage::Previous),
        (6, Stage::Current),
    ] {
        made(&store, number, stage).await;
    }
    // One of today has the value of the first.
    let again = NewVersion {
        id: VersionId::from_number(7),
        secret: run(1).secret,
        stage: Stage::Abandoned,
        run: RunId::from_number(6),
        fence: Fence(1),
        output_of: None,
        material: Material::Of(VersionId::from_number(1)),
        meta: "{}".to_owned(),
    };
    store
        .write(move |tx| tx.add_version(&again))
        .await
        .expect("version");
    let versions =
        |numbers: &[u64]| -> Vec<_> { numbers.iter().copied().map(VersionId::from_number).collect() };
    assert_eq!(old_versions(&store, 0).await, versions(&[2, 4]));
    assert_eq!(old_versions(&store, 3).await, versions(&[2, 4]));
    assert_eq!(
        old_versions(&store, 4).await,
        versions(&[2]),
        "the newest numbers stay"
    );
    let early = |reader: &keywheel_store::Reader<'_>| reader.old_versions(in_seconds(0), 0, None, 9);
    assert_eq!(store.read(early).await.expect("read"), []);
    for kept in [1, 3, 5, 6, 7] {
        assert!(!forget(&store, kept).await, "{kept}");
    }
    assert!(forget(&store, 2).await);
    assert!(!forget(&store, 2).await, "it is gone");
    store
        .write(|tx| tx.begin_run(&run(8)))
        .await
        .expect("an open run");
    assert_eq!(old_versions(&store, 0).await, [], "an open run may look for it");
    assert!(!forget(&store, 4).await);
    let left = store
        .read(|reader| {
            let secret = run(1).secret;
            let numbers: Vec<_> = reader
                .versions(&secret)?
                .iter()
                .map(|version| version.number)
                .collect();
            let events = reader.stage_events(&secret)?;
            Ok::<_, Error>((numbers, events.len()))
        })
        .await
        .expect("read");
    assert_eq!(left, (vec![7, 6, 5, 4, 3, 1], 6));
    // What lets it be deleted is over with that.
    let other = Connection::open(store.path()).expect("a second connection");
    for table in ["version_event", "version"] {
        let refused = other.execute(&format!("DELETE FROM {table}"), []);
        let refused = refused.expect_err("kept").to_string();
        assert!(
            refused.contains("never deleted") || refused.contains("never rewritten"),
            "{refused}"
        );
    }
    store.check().await.expect("sound pages");
}

fn key() -> SecretBytes {
    SecretBytes::copy_of(&[9; 32])
}

#[tokio::test]
async fn a_trail_is_cut_a_little_at_a_time_and_holds_together_after_each() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    store.set_audit_key(Some(key()));
    for n in 1..=6 {
        let entry = Entry::of_host("secret.promote", format!("app/{n}"), "ok");
        store.write(move |tx| tx.audit(&entry)).await.expect("row");
    }
    let sound = || async {
        let look = |reader: &keywheel_store::Reader<'_>| reader.audit_verify(Some(&key()), &[]);
        let report = store.read(look).await.expect("read").expect("sound");
        (report.rows, report.cut)
    };
    let none = store.read(|reader| reader.audit_before(in_seconds(0))).await;
    assert_eq!(none.expect("read"), None, "all are from then");
    let all = store.read(|reader| reader.audit_before(in_seconds(9))).await;
    assert_eq!(all.expect("read").map(|(seq, _)| seq), Some(6));
    let hash = store
        .read(|reader| Ok::<_, Error>(reader.audit_rows(&keywheel_store::AuditFilter::default(), 4)?[3].hash))
        .await
        .expect("row 4");
    assert_eq!(
        store.write(|tx| tx.delete_cut(9)).await.expect("nothing is cut"),
        0
    );
    store
        .write(move |tx| tx.cut_audit(4, hash, "test"))
        .await
        .expect("cut");
    assert_eq!(sound().await, (7, 0));
    for (deleted, left, cut) in [(3, 4, 3), (1, 3, 4), (0, 3, 4)] {
        assert_eq!(store.write(|tx| tx.delete_cut(3)).await.expect("delete"), deleted);
        assert_eq!(sound().await, (left, cut));
    }
    let other = Connection::open(store.path()).expect("a second connection");
    let refused = other.execute("DELETE FROM audit", []).expect_err("kept");
    assert!(refused.to_string().contains("append-only"), "{refused}");
}
