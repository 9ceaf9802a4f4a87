//! Rows of tables: a generation beside the other, and what is due of them.

use keywheel_model::{RotationName, Timestamp};
use keywheel_store::{Error, Except, ListedRow, NewListed, Store, Transaction};

use crate::{BEGIN, open};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_ms(BEGIN + seconds * 1_000)
}

fn name(name: &str) -> RotationName {
    name.parse().expect("name")
}

/// On a target, to be looked at so many seconds after the beginning.
fn new(of: &str, target: &str, look: u64) -> NewListed {
    NewListed {
        row: ListedRow {
            name: name(of),
            part: 0,
            cells: format!("{{\"target\":\"{target}\"}}"),
        },
        secret: format!("app/{of}").parse().expect("secret"),
        plugin: "demo".parse().expect("plugin"),
        target: target.to_owned(),
        look: Some(at(look)),
    }
}

/// Everything that makes a generation count.
fn take(tx: &Transaction<'_>, generation: u64, like: Option<u64>, rows: &[NewListed]) -> Result<(), Error> {
    tx.stage_listed(generation, like, rows)?;
    let mut last = None;
    while let Some(next) = tx.watch_listed(generation, last.as_ref())? {
        last = Some(next);
    }
    while tx.forget_watched(generation)? {}
    while tx.forget_listed(generation)? {}
    Ok(())
}

async fn due(store: &Store, now: u64, except: Except) -> Vec<String> {
    let found = store.read(move |reader| reader.to_look_at(at(now), &except, 10));
    let found = found.await.expect("due").into_iter();
    found.map(|one| one.rotation.to_string()).collect()
}

#[tokio::test]
async fn what_presses_comes_first_then_what_waits_longest_and_nothing_of_what_takes_nothing() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    let rows = [
        new("late", "a", 5),
        new("b", "b", 3),
        new("a", "a", 2),
        new("ends", "b", 4),
    ];
    store
        .write(move |tx| take(tx, 1, None, &rows))
        .await
        .expect("taken");
    let ends = store.write(|tx| tx.set_look(&name("ends"), Some(at(4)), Some(at(4))));
    ends.await.expect("set");
    assert_eq!(due(&store, 4, Except::default()).await, ["ends", "a", "b"]);
    let busy = Except {
        targets: vec!["a".to_owned()],
        ..Except::default()
    };
    assert_eq!(due(&store, 9, busy).await, ["ends", "b"]);
    let full = Except {
        plugins: vec!["demo".to_owned()],
        ..Except::default()
    };
    assert!(due(&store, 9, full).await.is_empty());
    let held = Except {
        held: Some(at(3)),
        ..Except::default()
    };
    assert_eq!(due(&store, 9, held.clone()).await, ["ends", "late"]);
    let all = Except {
        held: Some(at(4)),
        pressing_too: true,
        ..held
    };
    assert_eq!(due(&store, 9, all).await, ["late"]);
    let counted = store.read(|reader| {
        Ok::<_, Error>((
            reader.next_look(at(4))?,
            reader.waiting_since(at(5), 100)?,
            reader.waiting_since(at(5), 2)?,
            reader.watched_targets()?,
            reader.watched_on("b", at(3))?,
        ))
    });
    let (next, waiting, some, targets, on) = counted.await.expect("counted");
    assert_eq!((next, waiting, some, on), (Some(at(5)), 3, 2, (2, 1)));
    assert_eq!(targets, ["a", "b"]);
}

#[tokio::test]
async fn a_row_that_stays_keeps_its_time_and_one_that_has_a_past_is_looked_at() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    let rows = [
        new("stays", "a", 100),
        new("moves", "a", 100),
        new("goes", "a", 100),
    ];
    store
        .write(move |tx| take(tx, 1, None, &rows))
        .await
        .expect("taken");
    let set = store.write(|tx| {
        tx.set_look(&name("stays"), Some(at(50)), None)?;
        tx.set_look(&name("moves"), Some(at(50)), None)?;
        tx.note_end(&name("goes"), true)?;
        tx.set_meta("first-seen-moves", "1")
    });
    set.await.expect("set");
    assert_eq!(due(&store, 0, Except::default()).await, ["goes"]);
    let rows = [
        new("stays", "a", 200),
        new("moves", "b", 200),
        new("comes", "b", 300),
    ];
    store
        .write(move |tx| take(tx, 2, Some(1), &rows))
        .await
        .expect("taken");
    assert_eq!(due(&store, 0, Except::default()).await, ["moves"]);
    assert_eq!(due(&store, 50, Except::default()).await, ["moves", "stays"]);
    assert_eq!(
        due(&store, 999, Except::default()).await,
        ["moves", "stays", "comes"]
    );
    let found = store.read(|reader| {
        Ok::<_, Error>((
            reader.listed(2, &name("stays"))?,
            reader.listed(2, &name("goes"))?,
            reader.listed(1, &name("stays"))?,
            reader.listed_of_secret(2, &"app/comes".parse().expect("secret"))?,
            reader.listed_page(2, Some(&name("comes")), 1)?,
            reader.ill(10)?,
        ))
    });
    let (stays, goes, before, comes, page, ill) = found.await.expect("found");
    assert!(stays.is_some() && goes.is_none() && before.is_none());
    assert_eq!(comes.expect("row").name, name("comes"));
    assert_eq!(page[0].name, name("moves"));
    assert!(ill.is_empty(), "it is gone with its row");
}

#[tokio::test]
async fn what_is_not_taken_over_yet_is_nothing_that_is_due() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(&dir.path().join("state"));
    let rows = [new("one", "a", 1)];
    store
        .write(move |tx| take(tx, 1, None, &rows))
        .await
        .expect("taken");
    // The process ends here; what it has written of the next generation is gone before another one is written.
    let rows = [new("two", "a", 1)];
    store
        .write(move |tx| tx.stage_listed(2, None, &rows))
        .await
        .expect("staged");
    assert_eq!(due(&store, 9, Except::default()).await, ["one"]);
    let left = store.write(|tx| {
        while tx.forget_listed(1)? {}
        Ok::<_, Error>((tx.listed(1, &name("one"))?, tx.listed(2, &name("two"))?))
    });
    let (one, two) = left.await.expect("left");
    assert!(one.is_some() && two.is_none());
}
