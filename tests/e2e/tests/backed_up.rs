//! Rule P2: where backups are configured, the old credential of an administrator lives until a backup holds the new one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::fs;

use keywheel_e2e::{Host, Output};
use keywheel_kit::{Redis, RedisOptions, Rotation, faketime, random_password, rotation};
use serde_json::Value;

/// `rotator` rotates `app`, and is rotated itself.
struct Scene {
    server: Redis,
    host: Host,
    old: String,
}

impl Scene {
    fn start() -> Self {
        let server = Redis::start(RedisOptions::default()).unwrap();
        let (old, app) = (random_password(), random_password());
        let password = format!(">{old}");
        let made = server.command(&["ACL", "SETUSER", "rotator", "on", &password, "~*", "&*", "+@all"]);
        assert_eq!(made.unwrap().trim(), "OK");
        server.create_user("app", &app).unwrap();
        let host = Host::init();
        let lines = |name: &str, admin: (&str, &str)| {
            rotation(&Rotation {
                name,
                plugin: "redis",
                secret: &format!("{name}/redis"),
                admin_secret: admin.1,
                grace: "1s",
                ca: &server.ca_file(),
                config: &format!(
                    "nodes = [{{ host = \"localhost\", port = {} }}]\ntrust = \"{name}\"\nadmin = \"{}\"\nuser = \"{name}\"",
                    server.port(),
                    admin.0
                ),
            })
        };
        let rotations = [
            lines("rotator", (server.admin_user(), "admin/redis")),
            lines("app", ("rotator", "rotator/redis")),
        ];
        host.configure(&format!("[backup]\nevery = \"24h\"\n\n{}", rotations.join("\n")));
        host.add_plugin("redis", &[server.port()]);
        let _ = host.import("admin/redis", server.admin_password()).ends(0);
        let _ = host.import("rotator/redis", &old).ends(0);
        let _ = host.import("app/redis", &app).ends(0);
        Self { server, host, old }
    }

    fn run(&self, words: &[&str]) -> Output {
        self.host.run(words, "")
    }

    /// `rotator` has a new password, and the old one is kept until a backup holds that. With the new one.
    fn awaiting_a_backup() -> (Self, String) {
        let scene = Self::start();
        scene.back_up("before");
        let _ = scene.run(&["rotate", "rotator", "--wait", "5s"]).ends(0);
        let new = scene.host.read("rotator/redis", None);
        scene.still_awaits_it(&new);
        (scene, new)
    }

    #[track_caller]
    fn still_awaits_it(&self, new: &str) {
        let run = self.shown();
        assert_eq!(
            run["waits-for"], "a backup that holds the new credential",
            "{run:#}"
        );
        assert_eq!(
            (&run["state"], &run["safety"]),
            (&"waiting".into(), &"both-valid".into()),
            "{run:#}"
        );
        assert!(self.accepts(new));
    }

    fn shown(&self) -> Value {
        self.host.json(&["run", "show", "rotator"])
    }

    /// What `drift check` says of `rotator`.
    fn found(&self, exit: i32) -> Value {
        let words = ["drift", "check", "rotator", "-o", "json"];
        self.run(&words).ends(exit).json()[0]["found"].clone()
    }

    /// Somebody sets another password, and takes the others away.
    fn change_by_hand(&self) {
        let password = format!(">{}", random_password());
        let made = self
            .server
            .command(&["ACL", "SETUSER", "rotator", "resetpass", &password]);
        assert_eq!(made.unwrap().trim(), "OK");
    }

    fn accepts(&self, password: &str) -> bool {
        self.server.login("rotator", password).unwrap().is_accepted()
    }

    fn back_up(&self, name: &str) {
        let file = self.host.outside(name).display().to_string();
        let _ = self.run(&["vault", "backup", &file]).ends(0);
    }
}

#[test]
fn an_administrators_old_credential_lives_until_a_backup_holds_the_new_one() {
    let scene = Scene::start();
    // One that is older than the new credential does not count.
    scene.back_up("before");
    let _ = scene.run(&["rotate", "rotator", "--wait", "5s"]).ends(0);
    let run = scene.host.json(&["run", "show", "rotator"]);
    assert_eq!(run["state"], "waiting", "{run:#}");
    assert_eq!(run["safety"], "both-valid", "{run:#}");
    assert_eq!(
        run["waits-for"], "a backup that holds the new credential",
        "{run:#}"
    );
    let new = scene.host.read("rotator/redis", None);
    assert!(scene.accepts(&scene.old) && scene.accepts(&new));
    let status = scene.run(&["status"]).ends(10).stdout;
    assert!(
        status.contains("waits for a backup that holds the new credential"),
        "{status}"
    );
    assert!(status.contains("keywheel vault backup FILE"), "{status}");
    // To ask again changes nothing.
    let _ = scene.run(&["run", "resume", "rotator", "--wait", "1s"]).ends(0);
    assert!(scene.accepts(&scene.old));
    scene.back_up("after");
    let _ = scene.run(&["run", "resume", "rotator", "--wait", "end"]).ends(0);
    assert!(!scene.accepts(&scene.old) && scene.accepts(&new));
    // Whom nobody logs in with does not wait.
    let _ = scene.run(&["rotate", "app", "--wait", "end"]).ends(0);
    let _ = scene.run(&["audit", "verify"]).ends(0);
}

/// The wait for a backup is no reason to look away: a timer's drift check asks and mends in it as in the wait for consumers.
#[test]
fn what_is_changed_by_hand_while_a_backup_is_waited_for_is_found_and_mended() {
    let (scene, new) = Scene::awaiting_a_backup();
    assert_eq!(scene.found(0), "in-place");
    scene.still_awaits_it(&new);
    scene.change_by_hand();
    assert!(!scene.accepts(&new));
    assert_eq!(scene.found(10), "repaired");
    scene.still_awaits_it(&new);
    scene.change_by_hand();
    let apply = ["run", "resume", "rotator", "--apply-current"];
    let resumed = scene.run(&apply).ends(0);
    let _ = resumed.says(&["the old one is not revoked before a backup holds the new one"]);
    scene.still_awaits_it(&new);
    // That it waits is no beginning of a revocation.
    let rows = scene.host.json(&["audit", "search", "--action", "step.revoke"]);
    assert_eq!(rows.as_array().unwrap().len(), 0, "{rows:#}");
    scene.back_up("after");
    let _ = scene.run(&["run", "resume", "rotator", "--wait", "end"]).ends(0);
    assert_eq!(scene.shown()["state"], "succeeded");
    let _ = scene.run(&["audit", "verify"]).ends(0);
}

#[test]
fn the_end_of_a_grace_does_not_end_the_wait_for_a_backup_and_a_revocation_that_a_person_answers_for_does() {
    let (scene, new) = Scene::awaiting_a_backup();
    let end = [
        "run",
        "resume",
        "rotator",
        "--end-grace",
        "--reason",
        "all have it",
    ];
    let _ = scene
        .run(&end)
        .ends(0)
        .says(&["a backup that holds the new credential is waited for still"]);
    scene.still_awaits_it(&new);
    assert!(scene.accepts(&scene.old));
    let now = [
        "run",
        "resume",
        "rotator",
        "--revoke-now",
        "--reason",
        "on a forum",
    ];
    let _ = scene.run(&now).ends(0);
    assert_eq!(scene.shown()["state"], "succeeded");
    assert!(!scene.accepts(&scene.old) && scene.accepts(&new));
    let rows = scene
        .host
        .json(&["audit", "search", "--action", "run.revoke-now"]);
    assert_eq!(rows[0]["details"]["reason"], "on a forum", "{rows:#}");
}

#[test]
fn a_run_that_was_told_to_revoke_now_waits_for_no_backup_after_its_grace_either() {
    let scene = Scene::start();
    let now = [
        "run",
        "resume",
        "rotator",
        "--revoke-now",
        "--reason",
        "on a forum",
    ];
    let _ = scene.run(&["rotate", "rotator", "--wait", "0s"]).ends(0);
    let _ = scene.run(&now).ends(0);
    assert_eq!(scene.shown()["state"], "succeeded");
    assert!(!scene.accepts(&scene.old));
}

/// A backup that is taken while one is waited for holds the run, too: after its restore that run verifies, as one within its grace does.
#[test]
fn a_backup_of_a_wait_for_a_backup_is_verified_after_its_restore() {
    let (scene, new) = Scene::awaiting_a_backup();
    scene.back_up("kept");
    fs::remove_dir_all(scene.host.file("state")).unwrap();
    let kept = scene.host.outside("kept").display().to_string();
    let _ = scene.run(&["vault", "restore", &kept]).ends(0);
    assert_eq!(scene.found(0), "in-place");
    let run = scene.shown();
    assert_eq!(
        (&run["state"], &run["safety"]),
        (&"succeeded".into(), &"both-valid".into()),
        "{run:#}"
    );
    assert!(scene.accepts(&scene.old) && scene.accepts(&new));
    let status = scene.run(&["status"]).ends(10).stdout;
    assert!(status.contains("was not revoked"), "{status}");
}

/// A clock that stood ahead for a moment does not keep `status` quiet until that day.
#[test]
fn a_backup_of_a_day_to_come_is_told() {
    let scene = Scene::start();
    let file = scene.host.outside("ahead").display().to_string();
    let mut ahead = scene.host.command(&["vault", "backup", &file]);
    ahead
        .env("LD_PRELOAD", faketime().unwrap())
        .env("FAKETIME", "+30d")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let _ = scene.host.finish(&mut ahead, "").ends(0);
    let status = scene.run(&["status"]).ends(10).stdout;
    assert!(status.contains("a time that is still to come"), "{status}");
    scene.back_up("now");
    // What was written by that clock stays in the trail, and is told.
    let status = scene.run(&["status"]).ends(10).stdout;
    assert!(!status.contains("a time that is still to come"), "{status}");
    assert!(
        status.contains("clock: it is behind what the trail has"),
        "{status}"
    );
}

#[test]
fn a_backup_that_is_missing_or_late_is_told_and_a_host_without_the_table_waits_for_none() {
    let scene = Scene::start();
    let status = scene.run(&["status"]).ends(10).stdout;
    assert!(
        status.contains("there is no backup yet, and one is to be made every 1d"),
        "{status}"
    );
    scene.back_up("first");
    let _ = scene.run(&["status"]).ends(0);
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[backup]\nevery = \"24h\"\n", "")).unwrap();
    let _ = scene.run(&["rotate", "rotator", "--wait", "end"]).ends(0);
    assert!(!scene.accepts(&scene.old));
}
