use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;

use keywheel_store::{Error, Store};

use crate::{child, open, whole_change, whole_changes};

#[tokio::test]
async fn a_killed_host_leaves_what_was_answered_and_nothing_else() {
    for count in [0, 1, 5] {
        let dir = tempfile::tempdir().expect("directory");
        let output = child::start("abort", &dir.path().join("state"), count);
        assert!(!output.status.success(), "it died");
        assert_eq!(
            child::said(&output, "kept").len(),
            usize::try_from(count).expect("few")
        );
        let store = open(&dir.path().join("state"));
        assert_eq!(whole_changes(&store).await, (1..=count).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_write_that_finds_no_space_leaves_nothing_half_applied() {
    let (mut all, mut some, mut none, mut unwritable) = (0, 0, 0, 0);
    // The limit cuts the log within each of the changes' writes, at page borders and between them.
    for limit in (34_000..1_100_000).step_by(23_411) {
        let dir = tempfile::tempdir().expect("directory");
        let state = dir.path().join("state");
        drop(open(&state));
        let output = child::start("starve", &state, limit);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        unwritable += child::said(&output, "unwritable").len();
        let kept = child::said(&output, "kept");
        assert_eq!(kept.len() + child::said(&output, "refused").len(), 6);
        match kept.len() {
            0 => none += 1,
            6 => all += 1,
            _ => some += 1,
        }
        let store = open(&state);
        assert_eq!(whole_changes(&store).await, kept, "limit {limit}");
        store
            .write(|tx| whole_change(tx, 60))
            .await
            .expect("with space again it goes on");
    }
    assert!(
        all > 0 && some > 0 && none > 0,
        "{all} {some} {none}: the limits cover it"
    );
    assert!(unwritable > 0, "no commit was refused by the disk");
}

/// A file system of its own, unmounted when dropped. Needs root.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=0700", "keywheel-test"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[tokio::test]
async fn a_full_disk_is_called_so_and_the_store_goes_on_when_there_is_space() {
    let Some(disk) = SmallDisk::mount() else {
        println!("only root can mount a small disk; the test with a file's limit stands for this one");
        return;
    };
    let store = open(&disk.0.path().join("state"));
    let ballast = disk.0.path().join("ballast");
    store.write(|tx| whole_change(tx, 1)).await.expect("with space");
    assert!(fs::write(&ballast, vec![0; 2 << 20]).is_err(), "the disk is full");
    let mut kept = vec![1];
    let mut refused = 0;
    for n in 2..12 {
        match store.write(move |tx| whole_change(tx, n)).await {
            Ok(()) => kept.push(n),
            Err(error @ (Error::Full(_) | Error::Commit(_))) => {
                assert!(
                    error.code() == "store.full" || error.code() == "store.commit",
                    "{error:?}"
                );
                refused += u32::from(error.code() == "store.full");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(refused > 0, "some are refused for the space");
    assert_eq!(whole_changes(&store).await, kept);
    fs::remove_file(&ballast).expect("make space");
    store
        .write(|tx| whole_change(tx, 50))
        .await
        .expect("with space again");
    kept.push(50);
    assert_eq!(whole_changes(&store).await, kept);
    drop(store);
}

#[tokio::test]
async fn a_torn_log_opens_to_exactly_the_committed_prefix() {
    let dir = tempfile::tempdir().expect("directory");
    let state = dir.path().join("state");
    drop(open(&state));
    let database = fs::read(state.join("keywheel.db")).expect("database");
    let log = state.join("keywheel.db-wal");
    let store = open(&state);
    let mut ends = Vec::new();
    for n in 1..=12 {
        store.write(move |tx| whole_change(tx, n)).await.expect("change");
        ends.push(fs::metadata(&log).expect("log").len());
    }
    let bytes = fs::read(&log).expect("log");
    assert_eq!(
        fs::read(state.join("keywheel.db")).expect("database"),
        database,
        "all is in the log"
    );
    drop(store);

    let around = ends.iter().flat_map(|end| [end - 1, *end, end + 1]);
    let every = (0..bytes.len() as u64).step_by(14_999);
    for cut in around.chain(every) {
        let cut_at = usize::try_from(cut).expect("small").min(bytes.len());
        let committed = ends.iter().filter(|end| **end <= cut).count() as u64;
        for garbage in [false, true] {
            let mut torn = bytes[..cut_at].to_vec();
            if garbage {
                torn.extend(bytes[cut_at..].iter().map(|byte| byte ^ 0x5a));
            }
            let store = with_files(&dir.path().join("torn"), &database, &torn);
            assert_eq!(
                whole_changes(&store).await,
                (1..=committed).collect::<Vec<_>>(),
                "cut at {cut}"
            );
        }
    }
}

fn with_files(dir: &Path, database: &[u8], log: &[u8]) -> Store {
    let _ = fs::remove_dir_all(dir);
    fs::DirBuilder::new().mode(0o700).create(dir).expect("directory");
    for (name, bytes) in [("keywheel.db", database), ("keywheel.db-wal", log)] {
        fs::write(dir.join(name), bytes).expect("file");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(dir.join(name), private).expect("mode");
    }
    open(dir)
}
