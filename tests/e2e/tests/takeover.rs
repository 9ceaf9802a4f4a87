//! Rule P1: what a dead host left waiting on the server never lands after the takeover.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use keywheel_e2e::{Host, Output, Rotation, found, rotation};
use keywheel_kit::{Postgres, PostgresOptions, Proxy, random_password};

/// A role whose row is locked, and a host that was killed while its `ALTER ROLE` waits for that lock. A proxy keeps the server's side of
/// the connection open, so that the server cannot know that its client is gone; the deadline of the step is ten minutes away.
struct Scene {
    server: Postgres,
    _proxy: Proxy,
    host: Host,
    old: String,
    /// The server's process that waits with the dead host's statement.
    orphan: String,
}

/// The processes that wait for a lock with a statement of ours.
const WAITING: &str =
    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'keywheel %' AND wait_event_type = 'Lock'";

impl Scene {
    fn new() -> Self {
        let server = Postgres::start(PostgresOptions {
            settings: vec![("max_prepared_transactions".to_owned(), "1".to_owned())],
            ..PostgresOptions::default()
        })
        .unwrap();
        let (old, admin) = (random_password(), random_password());
        // No superuser: it may end the sessions of its own role.
        server
            .sql(&format!(
                "CREATE ROLE app LOGIN PASSWORD '{old}'; CREATE ROLE rotator LOGIN CREATEROLE PASSWORD '{admin}'"
            ))
            .unwrap();
        let proxy = Proxy::start(server.port()).unwrap();
        let host = Host::init();
        let lines = rotation(&Rotation {
            name: "app-db",
            plugin: "postgres",
            secret: "app/db",
            admin_secret: "admin/db",
            grace: "1s",
            ca: &server.ca_file(),
            config: &format!(
                "mode = \"role\"\nhost = \"localhost\"\nport = {}\ntrust = \"app-db\"\nadmin = \"rotator\"\nrole = \"app\"",
                proxy.port(),
            ),
        });
        let patient = lines.replace("step = \"3s\"", "step = \"10m\"");
        assert_ne!(lines, patient);
        host.configure(&patient);
        host.add_plugin("postgres", &[proxy.port()]);
        let _ = host.import("admin/db", &admin).ends(0);
        let _ = host.import("app/db", &old).ends(0);
        // A prepared transaction holds the lock without a session.
        server
            .sql("SELECT 1 FROM pg_authid WHERE rolname = 'app' FOR UPDATE; PREPARE TRANSACTION 'holder'")
            .unwrap();
        let mut started = host.start(&mut host.command(&["rotate", "app-db", "--wait", "end"]));
        let orphan = found("the statement that waits", || waiting(&server).pop());
        proxy.keep_server_side();
        started.child.kill().unwrap();
        let _ = host.wait(started).ends(-1);
        assert_eq!(
            waiting(&server),
            std::slice::from_ref(&orphan),
            "the server does not know that its client is dead"
        );
        Self {
            server,
            _proxy: proxy,
            host,
            old,
            orphan,
        }
    }

    /// Starts a command that takes the run over, and lets the lock go once its own statement waits, alone.
    fn take_over(&self, words: &[&str]) -> Output {
        let mut started = self.host.start(&mut self.host.command(words));
        let next = found("the new host's own statement", || {
            assert!(
                started.child.try_wait().unwrap().is_none(),
                "it ended before it acted: {}",
                started.stderr()
            );
            waiting(&self.server).into_iter().find(|pid| *pid != self.orphan)
        });
        assert_eq!(waiting(&self.server), [next], "the orphan was ended first");
        self.server.sql("COMMIT; ROLLBACK PREPARED 'holder'").unwrap();
        self.host.wait(started)
    }

    fn ended_sessions(&self) -> Vec<u64> {
        let rows = self
            .host
            .json(&["audit", "search", "--action", "target.end-sessions"]);
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row["details"]["count"].as_u64().unwrap())
            .collect()
    }
}

fn waiting(server: &Postgres) -> Vec<String> {
    server.sql(WAITING).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_run_that_is_taken_back_is_not_overtaken_by_the_statement_of_the_dead_host() {
    let scene = Scene::new();
    let _ = scene
        .take_over(&["run", "rollback", "app-db", "--wait", "5s"])
        .ends(0);
    assert_eq!(scene.ended_sessions(), [1]);
    assert!(scene.server.login("app", &scene.old).unwrap().is_accepted());
    let stages: Vec<String> = scene
        .host
        .versions("app/db")
        .into_iter()
        .map(|(_, stage)| stage)
        .collect();
    assert_eq!(stages, ["abandoned", "current"]);
}

#[test]
fn a_run_goes_on_without_waiting_for_the_deadline_of_the_dead_host() {
    let scene = Scene::new();
    // Its state is that of a run at work: wherever it is shown, it is said that nobody works on it.
    let run = scene.host.json(&["run", "show", "app-db"]);
    assert_eq!(
        (&run["state"], &run["driven"]),
        (&"running".into(), &false.into())
    );
    let resume = format!("keywheel run resume {}", run["run"].as_str().unwrap());
    for (words, code, told) in [
        (&["run", "show", "app-db"][..], 0, resume.as_str()),
        (&["run", "list"], 0, "run resume"),
        (&["status"], 10, resume.as_str()),
    ] {
        let shown = scene.host.run(words, "").ends(code).stdout;
        assert!(
            shown.contains("no host drives it") && shown.contains(told),
            "{words:?}: {shown}"
        );
    }
    let _ = scene
        .take_over(&["run", "resume", "app-db", "--wait", "5s"])
        .ends(0);
    assert_eq!(scene.ended_sessions(), [1]);
    let new = scene.host.read("app/db", None);
    assert_ne!(new, scene.old);
    assert!(scene.server.login("app", &new).unwrap().is_accepted());
    assert!(scene.server.login("app", &scene.old).unwrap().is_refused());
    let shown = scene.host.run(&["run", "show", "app-db"], "").ends(0).stdout;
    assert!(!shown.contains("no host drives it"), "{shown}");
}
