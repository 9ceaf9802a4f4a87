//! Rule P12: a grant that is taken away or narrowed acts at once, and the run parks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::fs;

use keywheel_e2e::{Host, postgres_role};
use keywheel_kit::{Postgres, PostgresOptions, random_password};

struct Scene {
    server: Postgres,
    host: Host,
    old: String,
}

impl Scene {
    fn new(grace: &str, more: &str) -> Self {
        let server = Postgres::start(PostgresOptions::default()).unwrap();
        let old = random_password();
        server
            .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{old}'"))
            .unwrap();
        let host = Host::init();
        let lines = postgres_role(&server, grace);
        host.configure(&lines.replace("gap = \"accept\"", &format!("gap = \"accept\"\n{more}")));
        host.add_plugin("postgres", &[server.port()]);
        let scene = Self { server, host, old };
        if more.is_empty() {
            scene.adopt();
        }
        scene
    }

    fn adopt(&self) {
        let admin = self.server.admin_password();
        let _ = self.host.import("admin/db", admin).ends(0);
        let _ = self.host.import("app/db", &self.old).ends(0);
    }

    fn parked(&self) -> String {
        let run = self
            .host
            .run(&["run", "show", "app-db", "-o", "json"], "")
            .ends(10)
            .json();
        assert_eq!(run["parked"]["cause"], "withdrawn", "{run:#}");
        run["parked"]["detail"].as_str().unwrap().to_owned()
    }

    fn accepts_old(&self) -> bool {
        self.server.login("app", &self.old).unwrap().is_accepted()
    }

    fn goes_on(&self) {
        let _ = self
            .host
            .run(&["run", "resume", "app-db", "--wait", "end"], "")
            .ends(0);
        assert!(!self.accepts_old());
        assert!(
            self.server
                .login("app", &self.host.read("app/db", None))
                .unwrap()
                .is_accepted()
        );
    }
}

/// Most of a grace: it goes on only after this.
const GRACE: &str = "8s";

#[test]
fn without_its_grant_a_rotation_is_refused_before_a_run_begins_and_goes_through_with_it() {
    let scene = Scene::new("1s", "");
    let grant = scene.host.file("policies/postgres.toml");
    let text = fs::read_to_string(&grant).unwrap();
    let runs = scene.host.json(&["run", "list"]);
    fs::remove_file(&grant).unwrap();
    let refused = scene
        .host
        .run(&["rotate", "app-db", "--wait", "end"], "")
        .ends(21);
    let _ = refused.says(&[
        "plugin.more-than-granted",
        "it has no grant",
        "keywheel plugin add",
    ]);
    assert_eq!(scene.host.json(&["run", "list"]), runs);
    assert!(scene.accepts_old());
    fs::write(&grant, text).unwrap();
    let _ = scene.host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    assert!(!scene.accepts_old());
}

#[test]
fn a_grant_that_is_taken_away_while_a_run_sleeps_stops_its_next_call() {
    let scene = Scene::new(GRACE, "");
    let grant = scene.host.file("policies/postgres.toml");
    let text = fs::read_to_string(&grant).unwrap();
    let mut started = scene
        .host
        .start(&mut scene.host.command(&["rotate", "app-db", "--wait", "end"]));
    assert!(started.wait_for("propagate  done"), "{}", started.stderr());
    fs::remove_file(&grant).unwrap();
    let _ = scene.host.wait(started).ends(41);
    let _ = scene.parked();
    let stages: Vec<_> = scene
        .host
        .versions("app/db")
        .into_iter()
        .map(|(_, stage)| stage)
        .collect();
    assert_eq!(stages, ["current", "previous"], "nothing was revoked");
    fs::write(&grant, text).unwrap();
    scene.goes_on();
}

#[test]
fn a_host_or_a_statement_that_is_granted_no_more_parks_the_run() {
    let scene = Scene::new("1s", "");
    let grant = scene.host.file("policies/postgres.toml");
    let text = fs::read_to_string(&grant).unwrap();
    let changes = [
        // Another port than the target's.
        text.replace(&format!(":{} tls", scene.server.port()), ":1 tls"),
        // The statement that sets a password.
        text.lines()
            .filter(|line| !line.starts_with("set = "))
            .fold(String::new(), |all, line| all + line + "\n"),
    ];
    for narrowed in changes {
        assert_ne!(narrowed, text);
        fs::write(&grant, &narrowed).unwrap();
        let output = scene.host.run(&["rotate", "app-db", "--wait", "end"], "");
        let _ = output.ends(41);
        assert!(scene.parked().contains("is not granted"), "{}", scene.parked());
        assert!(scene.accepts_old());
        // Without any grant the wish to end it is noted, and that is said.
        fs::remove_file(&grant).unwrap();
        let cancel = &["run", "cancel", "app-db", "--wait", "end", "--reason", "narrowed"];
        let noted = scene.host.run(cancel, "").ends(41);
        assert!(
            noted.stdout.contains("asked for:")
                && noted
                    .stdout
                    .contains("the cancel that was asked for is done then"),
            "{noted:?}"
        );
        let run = scene
            .host
            .run(&["run", "show", "app-db", "-o", "json"], "")
            .json();
        assert_eq!(run["asked"], "cancel", "{run:#}");
        fs::write(&grant, &text).unwrap();
        let _ = scene
            .host
            .run(&["run", "resume", "app-db", "--wait", "end"], "")
            .ends(40);
        assert!(scene.accepts_old());
    }
    let asked = scene.host.json(&["audit", "search", "--action", "run.cancel"]);
    let reasons: Vec<_> = asked
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["details"]["reason"].clone())
        .collect();
    assert_eq!(
        reasons,
        ["narrowed", "narrowed"],
        "a person's reason stands in the audit trail"
    );
}

/// Nothing has to be resumed for it.
#[test]
fn a_run_that_is_parked_for_its_grant_is_taken_back_at_once_when_the_grant_is_back() {
    let scene = Scene::new("1s", "");
    let grant = scene.host.file("policies/postgres.toml");
    let text = fs::read_to_string(&grant).unwrap();
    let narrowed = text
        .lines()
        .filter(|line| !line.starts_with("set = "))
        .fold(String::new(), |all, line| all + line + "\n");
    for (wish, ends) in [("cancel", "cancelled"), ("rollback", "rolled-back")] {
        fs::write(&grant, &narrowed).unwrap();
        let _ = scene
            .host
            .run(&["rotate", "app-db", "--wait", "end"], "")
            .ends(41);
        let _ = scene.parked();
        fs::write(&grant, &text).unwrap();
        let _ = scene
            .host
            .run(&["run", wish, "app-db", "--wait", "end"], "")
            .ends(0);
        let run = scene.host.json(&["run", "show", "app-db"]);
        assert_eq!(
            (&run["state"], &run["asked"]),
            (&ends.into(), &serde_json::Value::Null)
        );
        assert!(scene.accepts_old());
    }
}

#[test]
fn a_grant_for_one_rotation_narrows_and_its_loss_does_not_widen() {
    let scene = Scene::new("1s", "policy = \"app-db\"");
    let (all, mine) = (
        scene.host.file("policies/postgres.toml"),
        scene.host.file("policies/app-db.toml"),
    );
    let text = fs::read_to_string(&all).unwrap();
    let narrow = text.replace(
        "plugin = \"postgres\"",
        "plugin = \"postgres\"\nrotation = \"app-db\"",
    );
    assert_ne!(narrow, text);
    fs::write(&mine, &narrow).unwrap();
    scene.adopt();
    // What the plugin may, this rotation may not.
    fs::write(
        &mine,
        narrow.replace(&format!(":{} tls", scene.server.port()), ":1 tls"),
    )
    .unwrap();
    let _ = scene
        .host
        .run(&["rotate", "app-db", "--wait", "end"], "")
        .ends(41);
    assert!(scene.parked().contains("is not granted"), "{}", scene.parked());
    // Without the narrower grant the wider one would allow it: it does not count alone.
    fs::remove_file(&mine).unwrap();
    let _ = scene
        .host
        .run(&["run", "resume", "app-db", "--wait", "end"], "")
        .ends(41);
    assert!(
        scene.parked().contains("for app-db alone is gone"),
        "{}",
        scene.parked()
    );
    assert!(scene.accepts_old());
    fs::write(&mine, &narrow).unwrap();
    scene.goes_on();
}
