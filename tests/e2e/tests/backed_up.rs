//! Rule P2: where backups are configured, the old credential of an administrator lives until a backup holds the new one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::fs;

use keywheel_e2e::{Host, Output};
use keywheel_kit::{Redis, RedisOptions, Rotation, random_password, rotation};

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
