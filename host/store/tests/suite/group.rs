use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use keywheel_store::{Error, Options, Store};
use tokio::task::JoinSet;

use crate::{SetClock, open, whole_change, whole_changes};

/// Blocks the writer within a change until the returned sender is used or dropped.
fn hold(store: &Store, writes: &mut JoinSet<Result<(), Error>>) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel();
    let store = store.clone();
    writes.spawn(async move {
        store
            .write(move |_| {
                // Either way it is over.
                let _ = held.recv();
                Ok(())
            })
            .await
    });
    release
}

/// Lets every task run until it waits for an answer; there is one thread.
async fn settle() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn changes_made_at_the_same_time_share_one_commit() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    let mut writes = JoinSet::new();
    let release = hold(&store, &mut writes);
    for n in 1..=64 {
        let store = store.clone();
        writes.spawn(async move { store.write(move |tx| whole_change(tx, n)).await });
    }
    settle().await;
    release.send(()).expect("the writer waits");
    assert!(writes.join_all().await.into_iter().all(|result| result.is_ok()));
    let statistics = store.statistics();
    assert_eq!((statistics.commits, statistics.changes), (1, 65));
    assert_eq!(whole_changes(&store).await, (1..=64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_failing_or_panicking_change_is_undone_alone() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    let mut writes = JoinSet::new();
    let release = hold(&store, &mut writes);
    for n in 1..=9_u64 {
        let store = store.clone();
        writes.spawn(async move {
            let result = store
                .write(move |tx| {
                    whole_change(tx, n)?;
                    match n % 3 {
                        0 => Err(Error::NotFound {
                            what: "a reason".to_owned(),
                        }),
                        1 => Ok(()),
                        _ => panic!("a defect"),
                    }
                })
                .await;
            match (n % 3, &result) {
                (0, Err(Error::NotFound { .. })) | (1, Ok(())) | (2, Err(Error::Panicked)) => Ok(()),
                _ => result,
            }
        });
    }
    settle().await;
    release.send(()).expect("the writer waits");
    for result in writes.join_all().await {
        result.expect("as expected");
    }
    assert_eq!(store.statistics().commits, 1);
    assert_eq!(whole_changes(&store).await, [1, 4, 7]);
}

#[tokio::test]
async fn a_full_queue_and_a_slow_writer_end_in_an_error_in_time() {
    let dir = tempfile::tempdir().expect("directory");
    let clock = Arc::new(SetClock::default());
    let options = Options {
        queue: 1,
        wait: Duration::from_millis(50),
        ..Options::new(clock)
    };
    let store = Store::open(&dir.path().join("state"), options).expect("store");
    let mut writes = JoinSet::new();
    let release = hold(&store, &mut writes);
    for n in 1..=3 {
        let store = store.clone();
        writes.spawn(async move { store.write(move |tx| whole_change(tx, n)).await });
    }
    let results = writes.join_all().await;
    let count = |code: &str| {
        results
            .iter()
            .filter(|result| result.as_ref().is_err_and(|error| error.code() == code))
            .count()
    };
    assert_eq!(
        count("store.timeout") + count("store.overloaded"),
        4,
        "{results:?}"
    );
    assert!(
        count("store.overloaded") >= 1 && count("store.timeout") >= 1,
        "{results:?}"
    );
    drop(release);
    drop(store);
    let kept = whole_changes(&open(&dir.path().join("state"))).await;
    assert_eq!(
        kept.len(),
        count("store.timeout") - 1,
        "begun writes may be kept, refused ones are not"
    );
}

/// More often than there are connections.
#[tokio::test]
async fn a_look_that_panics_on_its_callers_thread_gives_its_connection_back() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    for _ in 0..64 {
        let looked = store
            .read_here(|_| -> Result<(), Error> { panic!("a defect") })
            .await;
        assert!(matches!(looked, Err(Error::Panicked)), "{looked:?}");
    }
    let kept = store.read_here(|reader| reader.meta("no such")).await;
    assert!(matches!(kept, Ok(None)), "{kept:?}");
}
