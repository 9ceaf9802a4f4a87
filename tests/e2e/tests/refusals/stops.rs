//! Ctrl-C while a statement is under way on the target.

use std::process::Command;
use std::thread;

use keywheel_e2e::until;

use crate::{Subject, server};

/// Holds the role's row until somebody takes advisory lock 4242.
const HOLD: &str = "SELECT FROM pg_authid WHERE rolname = 'stopped' FOR UPDATE; DO $$ BEGIN LOOP \
    EXIT WHEN EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4242); PERFORM pg_sleep(0.01); \
    END LOOP; END $$";
const HELD: &str = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %' AND wait_event = 'PgSleep'";
const WAITS: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER ROLE%stopped%'";

fn comes(question: &str) {
    until(question, || server().sql(question).unwrap() != "0");
}

#[test]
fn ctrl_c_while_the_target_is_changing_stops_after_the_step_and_the_run_goes_on() {
    let subject = Subject::ready("stopped");
    // More than the statement has to wait for its row; `run resume` waits as long for what may still land.
    subject.configure(&subject.rotation().replace("step = \"3s\"", "step = \"12s\""));
    let holder = thread::spawn(|| server().sql(HOLD).unwrap());
    comes(HELD);
    let mut started = subject
        .host
        .start(&mut subject.host.command(&["rotate", "app-db", "--wait", "end"]));
    assert!(started.wait_for("create     done"), "{}", started.stderr());
    comes(WAITS);
    let interrupted = Command::new("kill")
        .args(["-INT", &started.child.id().to_string()])
        .status();
    assert!(interrupted.unwrap().success());
    assert!(started.wait_for("stopping at the next journalled point"));
    while !holder.is_finished() {
        server()
            .sql("SELECT pg_advisory_xact_lock(4242); SELECT pg_sleep(0.1)")
            .unwrap();
    }
    let output = subject.host.wait(started).ends(124);
    let output = output.says(&[
        "apply      done",
        "the run stands at a journalled point; safety: ",
        "next: keywheel run resume run-",
    ]);
    assert!(!output.stderr.contains("test       done"), "{}", output.stderr);
    let open = subject.host.json(&["run", "show", "app-db"]);
    assert_eq!(
        (&open["past-no-return"], &open["finished-at"]),
        (&false.into(), &serde_json::Value::Null)
    );
    let refused = subject.rotate().ends(24);
    let _ = refused.says(&["run.open", "hint: ", "keywheel run resume run-"]);
    let _ = subject.resume().ends(0);
    subject.has_rotated();
    subject.leaves_no_trace();
}
