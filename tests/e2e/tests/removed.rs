//! Rule P12: a rotation that is taken out of the configuration under its open run. The run goes on with what it has pinned; others go on beside it,
//! but for what would touch its secret or its account.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::fs;
use std::sync::OnceLock;

use keywheel_e2e::{Host, Output, Rotation, rotation};
use keywheel_kit::{Postgres, PostgresOptions, free_port, random_password};
use serde_json::Value;

/// One server for all cases: each has roles of its own.
fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start(PostgresOptions::default()).unwrap())
}

/// A rotation `NAME-db` of the secret `NAME/db`, of a role.
fn section(name: &str, role: &str, port: u16, grace: &str) -> String {
    let text = rotation(&Rotation {
        name: &format!("{name}-db"),
        plugin: "postgres",
        secret: &format!("{name}/db"),
        admin_secret: "admin/db",
        grace,
        ca: &server().ca_file(),
        config: &format!(
            "mode = \"role\"\nhost = \"localhost\"\nport = {port}\ntrust = \"{name}-db\"\nadmin = \"{}\"\nrole = \"{role}\"",
            server().admin_user(),
        ),
    });
    text.replace("consumers = [{ name = \"shop\", staleness = \"1s\" }]\n", "")
        .replace("{ step = \"3s\" }", "{ step = \"3s\", run = \"1s\" }")
}

/// The same without its `[[rotation]]`: the trust set stays, as it does where several rotations share one.
fn trust_of(section: &str) -> String {
    section.split("[[rotation]]").next().unwrap().to_owned()
}

/// A host with two adopted rotations, `first-db` and `second-db`.
struct Scene {
    host: Host,
    bare: String,
    nobody: u16,
    first: (String, String),
    second: (String, String),
}

impl Scene {
    fn new(name: &str, grace: &str) -> Self {
        let role = |which: &str| {
            let (role, password) = (format!("{name}_{which}"), random_password());
            let create = format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'");
            server().sql(&create).unwrap();
            (role, password)
        };
        let host = Host::init();
        let bare = fs::read_to_string(host.file("keywheel.toml")).unwrap();
        let scene = Self {
            host,
            bare,
            nobody: free_port().unwrap(),
            first: role("first"),
            second: role("second"),
        };
        scene.configure(&[&scene.first_section(grace), &scene.second_section()]);
        scene
            .host
            .add_plugin("postgres", &[server().port(), scene.nobody]);
        let _ = scene.host.import("admin/db", server().admin_password()).ends(0);
        let _ = scene.host.import("second/db", &scene.second.1).ends(0);
        scene
    }

    fn first_section(&self, grace: &str) -> String {
        section("first", &self.first.0, server().port(), grace)
    }

    fn second_section(&self) -> String {
        section("second", &self.second.0, server().port(), "0s")
    }

    fn configure(&self, sections: &[&str]) {
        let text = format!("{}\n{}", self.bare, sections.join("\n"));
        fs::write(self.host.file("keywheel.toml"), text).unwrap();
    }

    fn run(&self, words: &[&str]) -> Output {
        self.host.run(words, "")
    }

    fn open_run(&self) -> Value {
        let open = self.host.json(&["run", "list", "--open"]);
        assert_eq!(open.as_array().unwrap().len(), 1, "{open:#}");
        open[0].clone()
    }

    /// Everything that begins nothing new on the run's secret works.
    fn others_work(&self, run: &str) {
        for (words, code) in [
            (&["run", "list"][..], 0),
            (&["run", "show", run], 0),
            (&["run", "show", "first-db"], 0),
            (&["secret", "list"], 0),
            (&["secret", "show", "first/db"], 0),
            (&["secret", "history", "second/db"], 0),
            (&["plan", "second-db"], 10),
            (&["target", "test", "second-db"], 0),
            (&["config", "show"], 0),
            (&["audit", "verify"], 0),
        ] {
            let output = self.run(words);
            // A parked run is for people.
            let parked = words[0] == "run" && output.code == 10;
            assert!(output.code == code || parked, "{words:?}: {output:?}");
        }
        let rotated = self.run(&["rotate", "--all", "--yes", "--wait", "end"]).ends(0);
        let _ = rotated.says(&["warning: ", run, "does not have that rotation any more"]);
        let new = self.host.read("second/db", None);
        assert!(server().login(&self.second.0, &new).unwrap().is_accepted());
        let _ = self.host.import("other/secret", "a value to keep").ends(0);
    }
}

#[test]
fn after_the_promotion_a_run_without_its_rotation_goes_forward_and_others_go_on() {
    let scene = Scene::new("removed_late", "12s");
    let _ = scene.host.import("first/db", &scene.first.1).ends(0);
    // Left while the old credential's grace runs.
    let _ = scene.run(&["rotate", "first-db", "--wait", "0s"]).ends(0);
    let run = scene.open_run()["run"].as_str().unwrap().to_owned();
    let sound = scene.run(&["config", "check"]).ends(0);
    assert_eq!(sound.stderr, "");
    let trust = trust_of(&scene.first_section("12s"));
    scene.configure(&[&trust, &scene.second_section()]);

    // It says what stands in the way, where that stands, and the one way out that there is.
    let resume = format!("keywheel run resume {run}");
    let refused = scene.run(&["config", "check"]).ends(24);
    let refused = refused.says(&[
        "run.rotation-gone",
        &run,
        "first-db",
        "waiting at `propagate`",
        "new-valid",
        &resume,
        "put rotation first-db back",
    ]);
    assert!(!refused.stderr.contains("`keywheel run cancel"), "{refused:?}");
    let status = scene.run(&["status"]).ends(10);
    assert!(
        status.stdout.contains(&resume) && status.stdout.contains("first-db"),
        "{status:?}"
    );
    assert_eq!(scene.open_run()["removed"], true);
    scene.others_work(&run);

    // Its secret is its own: it is neither imported over, nor taken back, nor rotated under another name.
    let history = scene.host.versions("first/db");
    let previous = history[1].0.as_str();
    let _ = scene
        .host
        .import("first/db", "another")
        .ends(24)
        .says(&["run.open", &resume]);
    let _ = scene
        .run(&["secret", "rollback", "first/db", previous])
        .ends(24)
        .says(&["run.open", &run]);
    let renamed = scene
        .first_section("12s")
        .replace("name = \"first-db\"", "name = \"renamed-db\"");
    scene.configure(&[&renamed, &scene.second_section()]);
    let _ = scene
        .run(&["rotate", "renamed-db"])
        .ends(24)
        .says(&["run.open", &run]);
    assert_eq!(scene.host.versions("first/db"), history);

    scene.configure(&[&trust, &scene.second_section()]);
    let _ = scene.run(&["run", "resume", &run, "--wait", "end"]).ends(0);
    let new = scene.host.read("first/db", None);
    assert!(server().login(&scene.first.0, &new).unwrap().is_accepted());
    assert!(
        server()
            .login(&scene.first.0, &scene.first.1)
            .unwrap()
            .is_refused()
    );
    let _ = scene.run(&["config", "check"]).ends(0);
}

#[test]
fn before_anything_was_made_a_run_without_its_rotation_can_be_cancelled() {
    let scene = Scene::new("removed_early", "0s");
    // Its server is away: the adoption parks.
    let away = section("first", &scene.first.0, scene.nobody, "0s");
    scene.configure(&[&away, &scene.second_section()]);
    let _ = scene.host.import("first/db", &scene.first.1).ends(41);
    let run = scene.open_run()["run"].as_str().unwrap().to_owned();
    scene.configure(&[&trust_of(&away), &scene.second_section()]);
    let cancel = format!("`keywheel run cancel {run}` gives it up");
    let _ = scene.run(&["config", "check"]).ends(24).says(&[
        "run.rotation-gone",
        "parked at `test`",
        "old-valid",
        &cancel,
    ]);
    scene.others_work(&run);
    let _ = scene.run(&["run", "cancel", &run]).ends(0);
    let _ = scene.run(&["config", "check"]).ends(0);
    assert!(
        server()
            .login(&scene.first.0, &scene.first.1)
            .unwrap()
            .is_accepted()
    );
}

/// Two rotations of one account are refused by `config check`; the run of one that is not there any more is not seen by it.
#[test]
fn nothing_begins_on_the_account_of_a_run_whose_rotation_was_taken_out() {
    let scene = Scene::new("removed_account", "12s");
    let _ = scene.host.import("first/db", &scene.first.1).ends(0);
    let _ = scene.run(&["rotate", "first-db", "--wait", "0s"]).ends(0);
    let run = scene.open_run()["run"].as_str().unwrap().to_owned();
    let new = scene.host.read("first/db", None);
    // The same role, under other names.
    let other = section("other", &scene.first.0, server().port(), "0s");
    let trust = trust_of(&scene.first_section("12s"));
    scene.configure(&[&trust, &other, &scene.second_section()]);
    let resume = format!("keywheel run resume {run}");
    let told = ["run.open", "first-db", resume.as_str()];
    let _ = scene.host.import("other/db", &new).ends(24).says(&told);
    assert!(
        scene.run(&["secret", "history", "other/db"]).code != 0,
        "nothing was stored"
    );
    let plan = scene.run(&["plan", "other-db", "-o", "json"]).ends(24).json();
    assert!(plan[0]["problems"].to_string().contains("run.open: "), "{plan:#}");
    assert_eq!(scene.open_run()["run"], run.as_str());
    let _ = scene.run(&["run", "resume", &run, "--wait", "end"]).ends(0);
    let _ = scene.host.import("other/db", &new).ends(0);
    let _ = scene.run(&["rotate", "other-db", "--wait", "end"]).ends(0);
}
