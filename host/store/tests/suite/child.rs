//! Work that must die or starve: it runs in a process of its own, this test binary started again.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keywheel_store::{Error, Store};

use crate::{open, try_open, whole_change};

/// What the child is told: how, where, and a number.
const HOW: &str = "KEYWHEEL_STORE_CHILD";

/// Starts the child and waits for it. `SIGXFSZ` is ignored there, so that a file's limit shows as a failing write.
pub(crate) fn start(how: &str, dir: &Path, number: u64) -> Output {
    let binary = std::env::current_exe().expect("this binary");
    Command::new("/bin/sh")
        .args(["-c", "trap '' XFSZ; ulimit -c 0; exec \"$0\" \"$@\""])
        .arg(binary)
        .args([
            "--exact",
            "child::works_in_a_process_of_its_own",
            "--ignored",
            "--nocapture",
        ])
        .env(HOW, format!("{how}:{number}:{}", dir.display()))
        .output()
        .expect("child")
}

/// Numbers that the child printed after a word.
pub(crate) fn said(output: &Output, word: &str) -> Vec<u64> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| {
        line.split_once(&format!("{word} "))
            .map(|(_, rest)| rest.to_owned())
    });
    lines
        .filter_map(|rest| rest.split(' ').next().and_then(|number| number.parse().ok()))
        .collect()
}

#[test]
#[ignore = "started by other tests, in a process of its own"]
fn works_in_a_process_of_its_own() {
    let told = std::env::var(HOW).expect("started by another test");
    let mut parts = told.splitn(3, ':');
    let how = parts.next().expect("how").to_owned();
    let number: u64 = parts
        .next()
        .and_then(|number| number.parse().ok())
        .expect("a number");
    let dir = PathBuf::from(parts.next().expect("a directory"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    match how.as_str() {
        "abort" => runtime.block_on(abort_within(&dir, number)),
        "starve" => runtime.block_on(starve(&dir, number)),
        "open" => match try_open(&dir) {
            Ok(_) => println!("opened 1"),
            Err(error) => println!("refused {} {error}", error.code()),
        },
        other => panic!("{other}"),
    }
}

/// Makes `number` changes and dies in the middle of the next one.
async fn abort_within(dir: &Path, number: u64) {
    let store = open(dir);
    for n in 1..=number {
        store.write(move |tx| whole_change(tx, n)).await.expect("change");
        println!("kept {n}");
    }
    let dying = store.write(move |tx| {
        whole_change(tx, number + 1)?;
        std::process::abort();
        #[expect(unreachable_code, reason = "gives the closure its type")]
        Ok::<(), Error>(())
    });
    dying.await.expect("not reached");
}

/// Makes changes while no file may grow beyond `bytes`.
async fn starve(dir: &Path, bytes: u64) {
    let store = open(dir);
    let limit = rustix::process::Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).expect("limit");
    for n in 1..=6 {
        match store.write(move |tx| whole_change(tx, n)).await {
            Ok(()) => println!("kept {n}"),
            Err(error) => {
                assert!(
                    matches!(error, Error::Full(_) | Error::Commit(_) | Error::Sql(_)),
                    "{error:?}"
                );
                assert!(error.nothing_kept());
                println!("refused {n}");
                remains_unwritable(&store, n).await;
            }
        }
    }
}

/// A change that is undone says nothing of the disk, though its commit, of nothing, succeeds.
async fn remains_unwritable(store: &Store, n: u64) {
    if store.unwritable().is_none() {
        // What a change itself was refused is its own affair.
        return;
    }
    let undone = store.write(|tx| {
        whole_change(tx, 7)?;
        Err::<(), _>(Error::NotFound {
            what: "a reason".to_owned(),
        })
    });
    assert!(matches!(undone.await, Err(Error::NotFound { .. })));
    assert!(store.unwritable().is_some());
    println!("unwritable {n}");
}
