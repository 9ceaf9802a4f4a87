use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use keywheel_store::{Error, FORMAT};
use rusqlite::Connection;

use crate::{child, open, try_open, whole_change, whole_changes};

fn refused(dir: &Path) -> Error {
    try_open(dir).err().expect("refused")
}

#[test]
fn the_directory_and_its_files_are_private() {
    let dir = tempfile::tempdir().expect("directory");
    let state = dir.path().join("deep/state");
    let _store = open(&state);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for entry in fs::read_dir(&state).expect("directory") {
        let path = entry.expect("entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn what_others_may_use_is_refused() {
    let dir = tempfile::tempdir().expect("directory");
    let state = dir.path().join("state");
    drop(open(&state));
    for (path, mode, good) in [
        (state.clone(), 0o750, 0o700),
        (state.join("keywheel.db"), 0o640, 0o600),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
        let error = refused(&state);
        assert_eq!(error.code(), "store.not-private");
        assert!(error.hint().is_some_and(|hint| hint.contains("chmod")), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(good)).expect("mode");
    }
    fs::rename(state.join("keywheel.db"), dir.path().join("elsewhere.db")).expect("move");
    symlink(dir.path().join("elsewhere.db"), state.join("keywheel.db")).expect("link");
    assert_eq!(refused(&state).code(), "store.file");
}

#[test]
fn a_second_host_is_refused_and_told_which_process_has_it() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path().join("state").as_path());
    let error = refused(&dir.path().join("state"));
    assert_eq!(error.code(), "store.in-use");
    let output = child::start("open", &dir.path().join("state"), 0);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = format!(
        "refused store.in-use state directory {} is in use by process {}",
        dir.path().join("state").display(),
        std::process::id()
    );
    assert!(text.contains(&expected), "{text}");
    drop(store);
    let output = child::start("open", &dir.path().join("state"), 0);
    assert_eq!(child::said(&output, "opened"), [1], "closed, it is free");
}

/// A child has the lock's file, too, until it has become its program.
#[test]
fn a_state_that_is_closed_is_free_whatever_is_started_meanwhile() {
    let dir = tempfile::tempdir().expect("directory");
    let state = dir.path().join("state");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _ = Command::new("true").status().expect("a child");
                }
            });
        }
        let found = (0..100).find_map(|_| try_open(&state).map(drop).err());
        over.store(true, Ordering::Relaxed);
        assert!(found.is_none(), "{found:?}");
    });
}

#[test]
fn a_newer_format_is_refused_with_advice() {
    let dir = tempfile::tempdir().expect("directory");
    drop(open(dir.path().join("state").as_path()));
    let database = Connection::open(dir.path().join("state/keywheel.db")).expect("database");
    database
        .pragma_update(None, "user_version", FORMAT + 1)
        .expect("update");
    drop(database);
    let error = refused(&dir.path().join("state"));
    assert_eq!(error.code(), "store.newer-format");
    assert!(error.hint().is_some_and(|hint| hint.contains("newer keywheel")));
    assert!(
        refused(&dir.path().join("state"))
            .to_string()
            .contains(&format!("format {}", FORMAT + 1)),
        "still there"
    );
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let dir = tempfile::tempdir().expect("directory");
    drop(open(dir.path().join("state").as_path()));
    let path = dir.path().join("state/keywheel.db");
    let database = Connection::open(&path).expect("database");
    database.pragma_update(None, "application_id", 7).expect("update");
    drop(database);
    let before = fs::read(&path).expect("file");
    assert_eq!(refused(&dir.path().join("state")).code(), "store.not-ours");
    assert_eq!(fs::read(&path).expect("file"), before);
}

#[tokio::test]
async fn a_damaged_database_is_called_damaged() {
    let dir = tempfile::tempdir().expect("directory");
    let state = dir.path().join("state");
    let store = open(&state);
    for n in 1..=20 {
        store.write(move |tx| whole_change(tx, n)).await.expect("change");
    }
    drop(store);
    let path = state.join("keywheel.db");
    let sound = fs::read(&path).expect("file");

    fs::write(&path, b"this is no database, whatever its name says; it is long enough for a header of 100 bytes, or so.....").expect("write");
    let error = refused(&state);
    assert_eq!(error.code(), "store.damaged", "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("backup")));

    let mut schema = sound.clone();
    schema[100..4_000].fill(0x5a);
    fs::write(&path, schema).expect("write");
    assert_eq!(refused(&state).code(), "store.damaged");

    let mut middle = sound.clone();
    let length = middle.len();
    for page in middle[8 * 4_096..length].chunks_mut(4_096) {
        page[..64].fill(0x5a);
    }
    fs::write(&path, middle).expect("write");
    match try_open(&state) {
        Err(error) => assert_eq!(error.code(), "store.damaged"),
        Ok(store) => assert_eq!(store.check().await.expect_err("damaged").code(), "store.damaged"),
    }

    fs::write(&path, sound).expect("write");
    assert_eq!(whole_changes(&open(&state)).await.len(), 20);
}

#[tokio::test]
async fn a_missing_guard_is_found_by_the_check() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path().join("state").as_path());
    store.check().await.expect("sound");
    let other = Connection::open(store.path()).expect("a second connection");
    other.execute_batch("DROP TRIGGER audit_no_delete").expect("drop");
    let error = store.check().await.expect_err("unguarded");
    assert!(
        error
            .to_string()
            .contains("the trigger `audit_no_delete` is gone"),
        "{error}"
    );
    drop((other, store));
    let error = try_open(dir.path().join("state").as_path())
        .err()
        .expect("unguarded");
    assert_eq!(error.code(), "store.damaged");
}

#[tokio::test]
async fn a_backup_of_a_running_store_opens_as_the_same_store() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path().join("state").as_path());
    store.write(|tx| whole_change(tx, 1)).await.expect("change");
    let copy = dir.path().join("copy");
    drop(open(&copy));
    fs::remove_file(copy.join("keywheel.db")).expect("remove");
    store.backup_to(&copy.join("keywheel.db")).await.expect("backup");
    let error = store
        .backup_to(&copy.join("keywheel.db"))
        .await
        .expect_err("there is one");
    assert_eq!(error.code(), "store.conflict");
    let restored = open(&copy);
    assert_eq!(restored.id(), store.id());
    assert_eq!(whole_changes(&restored).await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_readers_than_connections_wait_and_none_is_turned_away() {
    let dir = tempfile::tempdir().expect("directory");
    let store = crate::open(&dir.path().join("state"));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let store = store.clone();
        readers.spawn(async move {
            for _ in 0..200 {
                store.read(|reader| reader.runs(None, 1)).await?;
            }
            Ok::<_, keywheel_store::Error>(())
        });
    }
    while let Some(read) = readers.join_next().await {
        read.expect("no panic").expect("read");
    }
}
