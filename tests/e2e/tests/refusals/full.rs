//! The disk is full at each write of the journal. With room again the run goes on, and somebody can log in at every moment.
//!
//! Two ways to be full, which SQLite answers differently: a limit on the size of a file (`EFBIG`), which hits each commit
//! exactly, and a small file system (`ENOSPC`), which needs root.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use keywheel_e2e::{Host, Output};
use keywheel_kit::SmallDisk;
use rusqlite::Connection;

use crate::Subject;

/// Where each commit of one undisturbed rotation ends in the log, which begins empty.
fn commits(subject: &Subject) -> Vec<u64> {
    let database = subject.host.file("state/keywheel.db");
    // As long as somebody else has the database open, the log is kept.
    let other = Connection::open(&database).unwrap();
    let _: u32 = other
        .query_row("SELECT count(*) FROM meta", [], |row| row.get(0))
        .unwrap();
    let _ = subject.rotate().ends(0);
    let log = fs::read(log_of(&subject.host)).unwrap();
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let frame = 24 + usize::try_from(number(8)).unwrap();
    let frames = (32..=log.len() - frame).step_by(frame);
    // The last frame of a commit has the size of the database, the others have zero.
    frames
        .filter(|at| number(at + 4) != 0)
        .map(|at| u64::try_from(at + frame).unwrap())
        .collect()
}

fn log_of(host: &Host) -> PathBuf {
    host.file("state/keywheel.db-wal")
}

/// `rotate` where no file may grow beyond so many bytes.
fn rotate_within(subject: &Subject, bytes: u64) -> Output {
    let rotate = subject.host.command(&["rotate", "app-db", "--wait", "end"]);
    let mut limited = Command::new("prlimit");
    limited
        .arg(format!("--fsize={bytes}"))
        .arg("--")
        .arg(rotate.get_program())
        .args(rotate.get_args())
        .current_dir(subject.host.folder());
    subject.host.finish(&mut limited, "")
}

/// What is known of a secret between two runs.
struct Known {
    value: String,
    run: String,
}

impl Known {
    fn of(subject: &Subject) -> Self {
        let run = subject.host.json(&["run", "show", "app-db"]);
        Self {
            value: subject.host.read("app/db", None),
            run: run["run"].as_str().unwrap().to_owned(),
        }
    }
}

/// What a rotation without room left behind: a login that works, and with room a run that ends. The last step that it had begun.
#[track_caller]
fn recovers(subject: &Subject, known: &mut Known, output: &Output) -> String {
    let kept = || {
        subject
            .host
            .versions("app/db")
            .into_iter()
            .filter(|(_, stage)| ["current", "pending"].contains(&stage.as_str()))
    };
    let works = subject.takes(&known.value)
        || kept().any(|(version, _)| subject.takes(&subject.host.read("app/db", Some(&version))));
    assert!(works, "locked out: {output:?}");
    let run = subject.host.json(&["run", "show", "app-db"]);
    if run["run"] == known.run {
        return "nothing".to_owned();
    }
    let last = run["steps"]
        .as_array()
        .unwrap()
        .last()
        .map(|step| step["step"].as_str().unwrap().to_owned());
    if run["finished-at"].is_null() {
        let _ = subject.resume().ends(0);
    }
    *known = Known {
        value: subject.host.read("app/db", None),
        run: run["run"].as_str().unwrap().to_owned(),
    };
    assert!(subject.takes(&known.value), "{output:?}");
    last.unwrap_or_else(|| "begin".to_owned())
}

#[test]
fn a_file_that_may_not_grow_at_any_commit_stops_the_run_and_with_room_it_goes_on() {
    let subject = Subject::ready("full_limit");
    let ends = commits(&subject);
    assert!(ends.len() > 10, "{ends:?}");
    let (mut reached, mut full, mut known) = (Vec::new(), 0, Known::of(&subject));
    for end in &ends {
        let output = rotate_within(&subject, end - 1);
        if output.code != 0 {
            assert_eq!(output.code, 1, "{output:?}");
            assert!(
                output.stderr.contains("error[store.commit]") || output.stderr.contains("error[store.full]"),
                "{output:?}"
            );
            assert!(
                output.stderr.contains("hint: ") && output.stderr.contains("keywheel run resume"),
                "{output:?}"
            );
            full += 1;
        }
        reached.push(recovers(&subject, &mut known, &output));
    }
    // A commit may be a page smaller than it was in the first run.
    assert!(
        full + 3 >= ends.len(),
        "{full} of {} commits found no room",
        ends.len()
    );
    // Steps that need no commit of their own are not among them.
    for step in ["nothing", "begin", "apply", "promote", "revoke"] {
        assert!(reached.iter().any(|last| last == step), "{step} in {reached:?}");
    }
    let _ = subject.host.run(&["audit", "verify"], "").ends(0);
    subject.leaves_no_trace();
}

#[test]
fn a_disk_without_room_stops_the_run_and_with_room_it_goes_on() {
    let subject = Subject::ready("full_disk");
    let ends = commits(&subject);
    if let Err(why) = SmallDisk::probe() {
        println!(
            "skipped: only root can mount a small disk, and not everywhere; the limit on files stands for it: {why:#}"
        );
        return;
    }
    let disk = SmallDisk::mount_over(&subject.host.file("state")).unwrap();
    let (mut full, mut known) = (0, Known::of(&subject));
    for end in ends.iter().step_by(8) {
        // The index of the log has 32 KiB.
        disk.leave(32 * 1024 + end - 4096).unwrap();
        let output = subject.rotate();
        disk.free().unwrap();
        if output.code != 0 {
            assert_eq!(output.code, 1, "{output:?}");
            let _ = output.clone().says(&[
                "error[store.full]",
                "hint: free some space",
                "keywheel run resume",
            ]);
            full += 1;
        }
        recovers(&subject, &mut known, &output);
    }
    assert!(full >= 3, "{full} of {} found no room", ends.len() / 8);
    let _ = subject.host.run(&["audit", "verify"], "").ends(0);
    subject.leaves_no_trace();
    drop(disk);
}
