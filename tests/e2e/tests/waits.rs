//! A run that waits says why, and a person who mends the cause is told whether it helps.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::fs;

use keywheel_e2e::{Host, Output, postgres_role, until};
use keywheel_kit::{Authority, Postgres, PostgresOptions, random_password};
use rusqlite::Connection;
use serde_json::Value;

/// A server with the role `app`, and a host that rotates it as `app-db`.
struct Scene {
    server: Postgres,
    host: Host,
    old: String,
    bare: String,
}

impl Scene {
    /// Pinned, granted, and with the administrator's credential.
    fn new() -> Self {
        let server = Postgres::start(PostgresOptions::default()).unwrap();
        let old = random_password();
        server
            .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{old}'"))
            .unwrap();
        let host = Host::init();
        let bare = fs::read_to_string(host.file("keywheel.toml")).unwrap();
        let scene = Self {
            server,
            host,
            old,
            bare,
        };
        scene.configure(&[]);
        scene.host.add_plugin("postgres", &[scene.server.port()]);
        let admin = scene.server.admin_password();
        let _ = scene.host.import("admin/db", admin).ends(0);
        scene
    }

    /// The same with the role's credential adopted.
    fn adopted() -> Self {
        let scene = Self::new();
        let _ = scene.host.import("app/db", &scene.old).ends(0);
        scene
    }

    /// The rotation as the harness writes it, but for these changes.
    fn configure(&self, changes: &[(&str, &str)]) {
        let mut text = postgres_role(&self.server, "1s");
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        fs::write(self.host.file("keywheel.toml"), format!("{}\n{text}", self.bare)).unwrap();
    }

    fn run(&self, words: &[&str]) -> Output {
        self.host.run(words, "")
    }

    fn shown(&self) -> Value {
        self.run(&["run", "show", "app-db", "-o", "json"]).json()
    }

    fn import(&self, value: &str, wait: &str) -> Output {
        self.host
            .run(&["secret", "import", "app/db", "-", "--wait", wait], value)
    }

    fn refused_logins(&self) -> usize {
        let log = self.server.log();
        log.matches("password authentication failed for user \"app\"")
            .count()
    }
}

#[test]
fn an_untrusted_certificate_is_told_wherever_the_run_is_shown() {
    let scene = Scene::adopted();
    let other = scene.host.outside("other.pem");
    fs::write(&other, Authority::new().unwrap().pem()).unwrap();
    let (right, wrong) = (
        scene.server.ca_file().display().to_string(),
        other.display().to_string(),
    );
    scene.configure(&[(right.as_str(), wrong.as_str())]);
    // No retry gets past it, and nothing has changed: the run is over at once.
    let output = scene.run(&["rotate", "app-db", "--wait", "0s"]).ends(30);
    let output = output.says(&[": tls.untrusted: "]);
    assert!(output.stdout.contains("in a trust set"), "{output:?}");
    // Nobody has looked whether the old credential is valid: only what is known is said.
    assert!(
        output
            .stdout
            .contains("hint: nothing was changed on the target; ")
            && !output.stdout.contains("credential is valid"),
        "{output:?}"
    );
    let run = scene.shown();
    assert_eq!(
        (&run["state"], &run["untouched"]),
        (&"failed".into(), &true.into())
    );
    for (words, code) in [(&["run", "show", "app-db"][..], 0), (&["status"], 10)] {
        let output = scene.run(words).ends(code);
        assert!(output.stdout.contains("tls.untrusted"), "{words:?}: {output:?}");
    }

    // Which authorities are trusted is read anew: the mended configuration is enough.
    scene.configure(&[]);
    let output = scene.run(&["rotate", "app-db", "--wait", "end"]).ends(0);
    assert_eq!(scene.shown()["trouble"], Value::Null);
    // Each step is told once, and nothing that an earlier command has told.
    for step in ["plan ", "create ", "apply ", "promote ", "revoke "] {
        let lines = output
            .stderr
            .lines()
            .filter(|line| line.trim_start().starts_with(step));
        assert_eq!(lines.count(), 1, "{step}: {}", output.stderr);
    }
    assert!(
        !output.stdout.contains("STEP"),
        "the steps were told already: {output:?}"
    );
}

#[test]
fn a_run_keeps_its_configuration_and_says_so_to_whoever_has_mended_it() {
    let scene = Scene::adopted();
    scene.configure(&[
        ("role = \"app\"", "role = \"app\"\ndatabase = \"nowhere\""),
        ("{ step = \"3s\" }", "{ step = \"3s\", run = \"1h\" }"),
    ]);
    // The server is away, so that the run waits.
    let Scene {
        mut server,
        host,
        old,
        bare,
    } = scene;
    server.stop().unwrap();
    let _ = host.run(&["rotate", "app-db", "--wait", "0s"], "").ends(124);
    let mut scene = Scene {
        server,
        host,
        old,
        bare,
    };
    assert_eq!(scene.shown()["other-configuration"], false);
    scene.configure(&[]);
    // Whoever goes on with it is told before it does anything.
    for words in [
        &["run", "resume", "app-db", "--wait", "0s"][..],
        &["run", "resume", "--all", "--wait", "0s"],
    ] {
        let output = scene.run(words).ends(124);
        let _ = output.says(&[
            "warning: run ",
            "was started with another configuration, which it keeps",
        ]);
    }
    scene.server.restart().unwrap();
    let run = scene.shown();
    assert_eq!(run["other-configuration"], true, "{run:#}");
    let cancel = format!("keywheel run cancel {}", run["run"].as_str().unwrap());
    for (words, code) in [(&["run", "show", "app-db"][..], 0), (&["status"], 10)] {
        let output = scene.run(words).ends(code);
        assert!(
            output.stdout.contains("another configuration") && output.stdout.contains(&cancel),
            "{words:?}: {output:?}"
        );
    }
    let refused = scene.run(&["rotate", "app-db"]).ends(24);
    let _ = refused.says(&["run.open", "another configuration", &cancel]);
    let _ = scene.run(&["run", "cancel", "app-db"]).ends(0);
    let _ = scene.run(&["rotate", "app-db", "--wait", "end"]).ends(0);
    assert!(scene.server.login("app", &scene.old).unwrap().is_refused());
}

/// On a one-slot target nobody can still use the old credential: that is not what it waits for.
#[test]
fn a_wait_after_the_promotion_says_what_is_true_of_its_target() {
    let scene = Scene::adopted();
    let output = scene.run(&["rotate", "app-db", "--wait", "0s"]).ends(0);
    let output = output.says(&[
        "for consumers that may not have read the new credential yet",
        "the only one that the target takes",
    ]);
    assert!(!output.stderr.contains("is revoked"), "{output:?}");
    let shown = scene.run(&["run", "show", "app-db"]).ends(0).stdout;
    assert!(
        shown.contains("for consumers that may not have read the new credential yet"),
        "{shown}"
    );
    // Its one further way is forward, and whoever is in its way is told that and nothing else.
    let refused = scene.run(&["rotate", "app-db"]).ends(24);
    let refused = refused.says(&["run.open", "it can only go forward: `keywheel run resume"]);
    let cancels: Vec<&str> = refused.stderr.split("run cancel ").skip(1).collect();
    assert!(
        cancels.iter().all(|rest| rest.contains("--give-up")),
        "{refused:?}"
    );
}

#[test]
fn the_time_to_wait_is_for_all_pauses_together() {
    let scene = Scene::adopted();
    scene.configure(&[("{ step = \"3s\" }", "{ step = \"3s\", run = \"1h\" }")]);
    let Scene { mut server, host, .. } = scene;
    server.stop().unwrap();
    // The pauses are 0.5, 1, 2, 4 s, each less up to a quarter: the fourth is below 4 s, but it is not left of them.
    let _ = host.run(&["rotate", "app-db", "--wait", "4s"], "").ends(124);
    let run = host.json(&["run", "show", "app-db"]);
    assert_eq!(run["steps"][0]["tries"], 4, "{run:#}");
}

#[test]
fn logins_that_the_server_refused_are_counted_and_none_is_made_beyond_the_budget() {
    let scene = Scene::new();
    let budget = (
        "probes = { logins = 100, per = \"1h\" }",
        "probes = { logins = 2, per = \"1h\" }",
    );
    scene.configure(&[budget]);
    for tries in 1..=2 {
        let _ = scene.import(&random_password(), "0s").ends(40);
        assert_eq!(scene.refused_logins(), tries);
    }
    // Even the right one is not tried: the server may be about to lock the account.
    let output = scene.import(&scene.old, "0s").ends(124);
    let _ = output.says(&[
        "test       try 1: run.budget: ",
        "budget of failed logins is used up",
    ]);
    let output = scene.run(&["status"]).ends(10);
    assert!(output.stdout.contains("run.budget"), "{output:?}");
    for again in [
        &["run", "resume", "app-db", "--wait", "0s"][..],
        &["run", "show", "app-db"],
    ] {
        let output = scene.run(again);
        assert!(
            output.stdout.contains("last failure:  run.budget: ")
                && output
                    .stdout
                    .contains("for room in the account's budget of failed logins"),
            "{output:?}"
        );
    }
    let _ = scene.run(&["run", "cancel", "app-db"]).ends(0);
    assert_eq!(scene.refused_logins(), 2);
}

/// Where the target has room for one credential its readers would be refused until the new one may be proved.
#[test]
fn nothing_is_put_on_the_target_that_the_budget_leaves_unproved() {
    let scene = Scene::adopted();
    let budget = "probes = { logins = 100, per = \"1h\" }";
    scene.configure(&[(budget, "probes = { logins = 1, per = \"1h\" }")]);
    // The proof that the old one is dead uses it up.
    let _ = scene.run(&["rotate", "app-db", "--wait", "end"]).ends(0);
    let current = scene.host.read("app/db", None);
    let output = scene.run(&["rotate", "app-db", "--wait", "0s"]).ends(124);
    let _ = output.says(&["apply      try 1: run.budget: ", "old-valid"]);
    assert!(scene.server.login("app", &current).unwrap().is_accepted());
    assert_eq!(scene.host.read("app/db", None), current);
    // One for the proof that the old one is dead, one for the last look at the new one.
    scene.configure(&[(budget, "probes = { logins = 3, per = \"1h\" }")]);
    let _ = scene.run(&["run", "resume", "app-db", "--wait", "end"]).ends(0);
    let new = scene.host.read("app/db", None);
    assert_ne!(new, current);
    assert!(scene.server.login("app", &new).unwrap().is_accepted());
}

#[test]
fn logins_that_never_reached_the_server_cost_nothing() {
    let scene = Scene::new();
    scene.configure(&[
        (
            "probes = { logins = 100, per = \"1h\" }",
            "probes = { logins = 1, per = \"1h\" }",
        ),
        ("{ step = \"3s\" }", "{ step = \"3s\", run = \"2s\" }"),
    ]);
    let Scene {
        mut server,
        host,
        old,
        bare,
    } = scene;
    server.stop().unwrap();
    let words = ["secret", "import", "app/db", "-", "--wait", "end"];
    let output = host.run(&words, &old).ends(41);
    assert!(
        output.stdout.contains("parked: target: net.unreachable: "),
        "{output:?}"
    );
    let run = host.run(&["run", "show", "app-db", "-o", "json"], "").json();
    let test = run["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["step"] == "test")
        .unwrap();
    assert!(test["tries"].as_u64().unwrap() > 2, "{run:#}");
    server.restart().unwrap();
    let scene = Scene {
        server,
        host,
        old,
        bare,
    };
    let _ = scene.run(&["run", "resume", "app-db", "--wait", "end"]).ends(0);
    assert_eq!(scene.host.read("app/db", None), scene.old);
}

#[test]
fn a_server_that_stops_in_the_grace_is_named_wherever_the_run_is_shown() {
    let scene = Scene::adopted();
    let _ = scene.run(&["rotate", "app-db", "--wait", "0s"]).ends(0);
    let Scene { mut server, host, .. } = scene;
    server.stop().unwrap();
    for _ in 0..2 {
        let resumed = host
            .run(&["run", "resume", "app-db", "--wait", "4s"], "")
            .ends(124);
        assert!(
            resumed.stdout.contains("last failure:  net.unreachable: "),
            "{resumed:?}"
        );
        for (words, code) in [(&["run", "show", "app-db"][..], 0), (&["status"], 10)] {
            let output = host.run(words, "").ends(code);
            assert!(output.stdout.contains("net.unreachable"), "{words:?}: {output:?}");
        }
    }
    server.restart().unwrap();
    let _ = host
        .run(&["run", "resume", "app-db", "--wait", "end"], "")
        .ends(0);
    let _ = host.run(&["status"], "").ends(0);
}

#[test]
fn a_plan_names_the_run_that_is_open_and_what_to_do_about_it() {
    let scene = Scene::adopted();
    let _ = scene.run(&["rotate", "app-db", "--wait", "0s"]).ends(0);
    let run = scene.shown()["run"].as_str().unwrap().to_owned();
    let plan = scene.run(&["plan", "app-db"]).ends(10);
    let plan = plan.says(&[&format!("keywheel run resume {run}")]);
    let line = format!("open run:        {run}: waiting until ");
    assert!(plan.stdout.contains(&line), "{plan:?}");
    assert!(!plan.stderr.contains("keywheel rotate"), "{plan:?}");
    let _ = scene.run(&["run", "resume", "app-db", "--wait", "end"]).ends(0);
    let plan = scene
        .run(&["plan", "app-db"])
        .ends(10)
        .says(&["keywheel rotate app-db"]);
    assert!(!plan.stdout.contains("open run"), "{plan:?}");
}

#[test]
fn the_failure_of_the_newest_run_needs_attention_until_another_one_has_begun() {
    let scene = Scene::adopted();
    let _ = scene.run(&["status"]).ends(0);
    scene.configure(&[("mode = \"role\"", "mode = \"role\"\ndatabase = \"nowhere\"")]);
    let hint = "correct `database` in the rotation's configuration";
    let rotated = scene.run(&["rotate", "app-db", "--wait", "end"]);
    assert!(rotated.stdout.contains(hint), "{rotated:?}");
    let _ = scene.run(&["plan", "app-db"]).says(&["3d000", hint]);
    let status = scene.run(&["status"]).ends(10);
    for words in [
        "rotation app-db: its last run ",
        "sql.3d000",
        hint,
        "keywheel plan app-db",
    ] {
        assert!(status.stdout.contains(words), "{words}: {status:?}");
    }
    scene.configure(&[]);
    let _ = scene.run(&["rotate", "app-db", "--wait", "end"]).ends(0);
    let _ = scene.run(&["status"]).ends(0);
}

/// A run whose time has come reads otherwise than one that has still to wait: it goes on as soon as somebody resumes it.
#[test]
fn a_run_whose_time_has_come_is_told_as_due() {
    let scene = Scene::adopted();
    scene.configure(&[("grace = \"1s\"", "grace = \"5s\"")]);
    let _ = scene.host.run(&["rotate", "app-db", "--wait", "0s"], "").ends(0);
    let shown = || scene.host.json(&["run", "show", "app-db"]);
    assert_eq!(
        (&shown()["state"], &shown()["due"]),
        (&"waiting".into(), &false.into())
    );
    until("its time", || shown()["due"] == true);
    for (command, words) in [
        (&["run", "list"][..], "due: `run resume`"),
        (&["run", "show", "app-db"], "its wait for consumers"),
        (&["status"], "is due: its wait for consumers"),
    ] {
        let output = scene.host.run(command, "");
        assert!(output.stdout.contains(words), "{words}: {output:?}");
        assert!(!output.stdout.contains("waits until"), "{output:?}");
    }
    let _ = scene
        .host
        .run(&["run", "resume", "app-db", "--wait", "end"], "")
        .ends(0);
}

/// What a clock has booked that stood a month ahead is waited for no longer than the window of `probes`.
#[test]
fn a_login_that_was_booked_a_month_ahead_is_not_waited_for_until_then() {
    let scene = Scene::adopted();
    scene.configure(&[("logins = 100", "logins = 1")]);
    // Proves the old one dead: that login is booked.
    let _ = scene.host.run(&["rotate", "app-db", "--wait", "end"], "");
    let database = Connection::open(scene.host.file("state/keywheel.db")).unwrap();
    let month: i64 = 30 * 24 * 3600 * 1000;
    let changed = database
        .execute("UPDATE probe SET at = at + ?1", [month])
        .unwrap();
    assert!(changed > 0);
    drop(database);
    let output = scene.host.run(&["target", "test", "app-db"], "");
    let said = format!("{}{}", output.stdout, output.stderr);
    let left = said.split("is used up for another ").nth(1).unwrap();
    assert!(
        left.starts_with("1h") || left.starts_with("59m") || left.starts_with("60m"),
        "{said}"
    );
}
