//! A run on a one-slot target is given up before its promotion, and the target comes back: the next run takes over what was left pending, whether the
//! target has it by then or not (rule P1, decision 5).

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use keywheel_e2e::{Host, postgres_role, until};
use keywheel_kit::{Postgres, PostgresOptions, random_password};

/// The processes that wait for a lock with a statement of ours.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'keywheel %' AND wait_event_type = 'Lock'";
const ROTATE: [&str; 4] = ["rotate", "app-db", "--wait", "end"];

/// A host that was killed while its `ALTER ROLE` waited for the role's row; then the statement has landed, or its session was ended. The server is gone
/// since, and its run given up.
fn given_up(lands: bool) -> (Postgres, Host, String) {
    let mut server = Postgres::start(PostgresOptions {
        settings: vec![("max_prepared_transactions".to_owned(), "1".to_owned())],
        ..PostgresOptions::default()
    })
    .unwrap();
    let old = random_password();
    server
        .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{old}'"))
        .unwrap();
    let host = Host::init();
    host.configure(
        &postgres_role(&server, "1s").replace("{ step = \"3s\" }", "{ step = \"10s\", run = \"1s\" }"),
    );
    host.add_plugin("postgres", &[server.port()]);
    let _ = host.import("admin/db", server.admin_password()).ends(0);
    let _ = host.import("app/db", &old).ends(0);
    // A prepared transaction holds the lock without a session.
    server
        .sql("SELECT 1 FROM pg_authid WHERE rolname = 'app' FOR UPDATE; PREPARE TRANSACTION 'holder'")
        .unwrap();
    let mut started = host.start(&mut host.command(&ROTATE));
    until("the statement that waits", || server.sql(WAITING).unwrap() == "1");
    started.child.kill().unwrap();
    let _ = host.wait(started).ends(-1);
    if !lands {
        let end = WAITING.replace("count(*)", "pg_terminate_backend(pid)");
        server.sql(&end).unwrap();
        until("its end", || server.sql(WAITING).unwrap() == "0");
    }
    server.sql("COMMIT; ROLLBACK PREPARED 'holder'").unwrap();
    until("the answer to a login", || {
        server.login("app", &old).unwrap().is_accepted() != lands
    });

    server.stop().unwrap();
    let _ = host
        .run(&["run", "resume", "app-db", "--wait", "end"], "")
        .ends(41);
    let words = [
        "run",
        "cancel",
        "app-db",
        "--give-up",
        "--reason",
        "the server is gone",
    ];
    let _ = host.run(&words, "").ends(0);
    assert_eq!(host.versions("app/db")[0].1, "pending");
    server.restart().unwrap();
    (server, host, old)
}

fn is_taken_over(lands: bool) {
    let (server, host, old) = given_up(lands);
    let pending = host.versions("app/db")[0].0.clone();
    let _ = host.run(&ROTATE, "").ends(0);
    let current = host.read("app/db", None);
    assert!(server.login("app", &current).unwrap().is_accepted());
    assert!(server.login("app", &old).unwrap().is_refused());
    let versions = host.versions("app/db");
    assert_eq!(versions.iter().filter(|(_, stage)| stage == "pending").count(), 0);
    assert!(
        versions
            .iter()
            .any(|(version, stage)| *version == pending && stage == "current")
    );
    // And it goes on as if nothing had been.
    let _ = host.run(&ROTATE, "").ends(0);
    assert!(
        server
            .login("app", &host.read("app/db", None))
            .unwrap()
            .is_accepted()
    );
    assert!(server.login("app", &current).unwrap().is_refused());
}

#[test]
fn with_the_value_that_was_left_pending() {
    is_taken_over(true);
}

#[test]
fn with_the_value_from_before() {
    is_taken_over(false);
}

/// The drift check promotes what it finds alive, too: drift was found, and is mended.
#[test]
fn found_by_a_drift_check() {
    let (server, host, old) = given_up(true);
    let check = ["drift", "check", "app-db", "--wait", "end"];
    let _ = host.run(&check, "").ends(10);
    let current = host.read("app/db", None);
    assert_ne!(current, old);
    assert!(server.login("app", &current).unwrap().is_accepted());
}
