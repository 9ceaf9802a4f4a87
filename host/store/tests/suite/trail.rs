use keywheel_audit::{Entry, Fault};
use keywheel_model::{SecretBytes, Timestamp};
use keywheel_store::{AuditFilter, Error, Store};
use rusqlite::Connection;

use crate::{BEGIN, open, whole_change};

fn key() -> SecretBytes {
    SecretBytes::copy_of(&[9; 32])
}

async fn six_rows(store: &Store) {
    for n in 1..=6 {
        let entry = Entry::of_host("secret.promote", format!("app/{n}"), "ok");
        store.write(move |tx| tx.audit(&entry)).await.expect("row");
    }
}

#[tokio::test]
async fn rows_cannot_be_changed_or_deleted_through_sql() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    store.write(|tx| whole_change(tx, 1)).await.expect("change");
    let other = Connection::open(store.path()).expect("a second connection");
    for table in ["audit", "intent", "intent_outcome"] {
        for sql in [
            format!("UPDATE {table} SET at = 0"),
            format!("DELETE FROM {table}"),
        ] {
            let error = other.execute(&sql, []).expect_err("forbidden");
            assert!(error.to_string().contains("append-only"), "{sql}: {error}");
        }
    }
}

#[tokio::test]
async fn tampering_behind_the_triggers_is_found_and_the_first_bad_row_named() {
    type Tampering = (&'static str, u64, Fault);
    let tamperings: [Tampering; 5] = [
        (
            "UPDATE audit SET outcome = 'denied' WHERE seq = 3",
            3,
            Fault::Edited,
        ),
        ("DELETE FROM audit WHERE seq = 2", 2, Fault::Missing),
        (
            "UPDATE audit SET seq = 99 WHERE seq = 4; UPDATE audit SET seq = 4 WHERE seq = 5; UPDATE audit SET seq = 5 WHERE seq = 99",
            4,
            Fault::Edited,
        ),
        ("DELETE FROM audit WHERE seq > 4", 5, Fault::Truncated),
        ("UPDATE audit SET seal = NULL", 1, Fault::Unsealed),
    ];
    for (sql, seq, fault) in tamperings {
        let dir = tempfile::tempdir().expect("directory");
        let store = open(&dir.path().join("state"));
        store.set_audit_key(Some(key()));
        six_rows(&store).await;
        let checkpoint = store
            .read(|reader| {
                let head = reader.audit_checkpoint()?;
                Ok::<_, Error>(head)
            })
            .await
            .expect("checkpoint");
        let kept = checkpoint.clone();
        let report = store
            .read(move |reader| reader.audit_verify(Some(&key()), &[kept]))
            .await
            .expect("read");
        assert_eq!(report.expect("sound").sealed_to, Some(6));
        let other = Connection::open(store.path()).expect("a second connection");
        other
            .execute_batch("DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete")
            .expect("drop");
        other.execute_batch(sql).expect("tamper");
        let found = store
            .read(move |reader| reader.audit_verify(Some(&key()), &[checkpoint]))
            .await
            .expect("read");
        assert_eq!(found, Err(keywheel_audit::Error::Broken { seq, fault }), "{sql}");
    }
}

#[tokio::test]
async fn rows_are_sealed_only_while_there_is_a_key_and_a_row_without_a_seal_is_named() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    store.set_audit_key(Some(key()));
    six_rows(&store).await;
    store.set_audit_key(None);
    store
        .write(|tx| tx.audit(&Entry::of_host("secret.read", "app/1", "ok")))
        .await
        .expect("row");
    let verified = store
        .read(|reader| reader.audit_verify(Some(&key()), &[]))
        .await
        .expect("read");
    let (seq, fault) = (7, Fault::Unsealed);
    assert_eq!(verified, Err(keywheel_audit::Error::Broken { seq, fault }));
}

#[tokio::test]
async fn a_row_goes_with_its_change() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    let failed = store.write(|tx| {
        tx.audit(&Entry::of_host("secret.promote", "app/1", "ok"))?;
        Err::<(), _>(Error::NotFound {
            what: "the rest".to_owned(),
        })
    });
    failed.await.expect_err("failed");
    six_rows(&store).await;
    let rows = store
        .read(|reader| reader.audit_rows(&AuditFilter::default(), 100))
        .await
        .expect("rows");
    assert_eq!(
        rows.iter().map(|row| row.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
}

#[tokio::test]
async fn rows_are_found_by_what_and_when() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    six_rows(&store).await;
    store.write(|tx| whole_change(tx, 1)).await.expect("change");
    let filters = [
        (
            AuditFilter {
                resource: Some("app/2".to_owned()),
                ..AuditFilter::default()
            },
            vec![2],
        ),
        (
            AuditFilter {
                action: Some("run.done".to_owned()),
                ..AuditFilter::default()
            },
            vec![7],
        ),
        (
            AuditFilter {
                run: Some(crate::run(1).id),
                ..AuditFilter::default()
            },
            vec![7],
        ),
        (
            AuditFilter {
                after: 5,
                ..AuditFilter::default()
            },
            vec![6, 7],
        ),
        (
            AuditFilter {
                after: 2,
                before: Some(6),
                newest_first: true,
                ..AuditFilter::default()
            },
            vec![5, 4, 3],
        ),
        (
            AuditFilter {
                to: Some(Timestamp::from_unix_ms(BEGIN)),
                ..AuditFilter::default()
            },
            vec![],
        ),
        (
            AuditFilter {
                actor: Some("nobody".to_owned()),
                ..AuditFilter::default()
            },
            vec![],
        ),
    ];
    for (filter, expected) in filters {
        let asked = filter.clone();
        let rows = store
            .read(move |reader| reader.audit_rows(&asked, 100))
            .await
            .expect("rows");
        assert_eq!(
            rows.iter().map(|row| row.seq).collect::<Vec<_>>(),
            expected,
            "{filter:?}"
        );
    }
}
