//! The wait for consumers after a promotion, which may be a day long: what is wrong with the credential is found and mended within it, and a person who
//! has to may end it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::fs;

use keywheel_e2e::{Host, Output, redis_user};
use keywheel_kit::{Redis, RedisOptions, random_password};
use serde_json::Value;

/// A Redis user whose new password is current, and whose old one is accepted for a day.
struct Users {
    server: Redis,
    host: Host,
    old: String,
    new: String,
}

impl Users {
    /// With one consumer that reads its secrets that often.
    fn in_grace(stale: &str) -> Self {
        let server = Redis::start(RedisOptions::default()).unwrap();
        let old = random_password();
        server.create_user("app", &old).unwrap();
        let host = Host::init();
        let lines = redis_user(&server, "24h");
        let stales = "staleness = \"1s\"";
        assert!(lines.contains(stales), "{lines}");
        // The tries of a step are over soon.
        let lines = lines.replace("{ step = \"3s\" }", "{ step = \"3s\", run = \"4s\" }");
        host.configure(&lines.replace(stales, &format!("staleness = \"{stale}\"")));
        host.add_plugin("redis", &[server.port()]);
        let _ = host.import("admin/redis", server.admin_password()).ends(0);
        let _ = host.import("app/redis", &old).ends(0);
        let _ = host.run(&["rotate", "app-redis"], "").ends(0);
        let new = host.read("app/redis", None);
        let users = Self {
            server,
            host,
            old,
            new,
        };
        assert_eq!(users.shown()["state"], "waiting");
        assert!(users.accepts(&users.old) && users.accepts(&users.new));
        users
    }

    fn run(&self, words: &[&str]) -> Output {
        self.host.run(words, "")
    }

    fn shown(&self) -> Value {
        self.run(&["run", "show", "app-redis", "-o", "json"]).json()
    }

    fn accepts(&self, password: &str) -> bool {
        self.server.login("app", password).unwrap().is_accepted()
    }

    /// Somebody sets another password, and takes the others away.
    fn change_by_hand(&self) {
        self.server.create_user("app", &random_password()).unwrap();
        assert!(!self.accepts(&self.new));
    }

    /// Mended; and the run waits on for those who may still use the old one.
    #[track_caller]
    fn is_mended_and_waits(&self) {
        assert!(self.accepts(&self.new));
        assert_eq!(self.host.read("app/redis", None), self.new);
        let run = self.shown();
        assert_eq!(run["state"], "waiting", "{run:#}");
        assert_eq!(run["waits-for-consumers"], true, "{run:#}");
        assert_eq!(run["proof-is-old"], false, "{run:#}");
    }
}

#[test]
fn a_drift_check_within_the_grace_mends_what_was_changed_by_hand() {
    let users = Users::in_grace("1s");
    let before = users.host.json(&["drift", "check"]);
    assert_eq!(before[0]["found"], "in-place", "{before:#}");
    assert_eq!(before[0]["way-out"], Value::Null, "{before:#}");
    users.change_by_hand();
    let check = users.run(&["drift", "check", "-o", "json"]).ends(10).json();
    assert_eq!(check[0]["found"], "repaired", "{check:#}");
    users.is_mended_and_waits();
    let after = users.host.json(&["drift", "check"]);
    assert_eq!(after[0]["found"], "in-place", "{after:#}");
    let rows = users.host.json(&["audit", "search", "--action", "secret.repair"]);
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows:#}");
}

/// `run resume` never calls a credential the living one that it has not asked about.
#[test]
fn a_resume_within_the_grace_asks_the_target() {
    let users = Users::in_grace("1s");
    users.change_by_hand();
    let resumed = users.run(&["run", "resume", "app-redis"]).ends(0);
    let _ = resumed.says(&["the new credential is current; the run sleeps until"]);
    users.is_mended_and_waits();
    // A timer asks nothing, and says that it did not.
    let timer = users.run(&["run", "resume", "--all"]).ends(0);
    assert!(!timer.stdout.contains("only one that the target takes"));
    assert_eq!(users.shown()["proof-is-old"], true);
}

#[test]
fn a_target_that_is_down_within_the_grace_is_not_called_in_place() {
    let mut users = Users::in_grace("1s");
    users.server.kill9().unwrap();
    let words = ["drift", "check", "--wait", "0s", "-o", "json"];
    let check = users.run(&words).ends(30).json();
    assert_eq!(check[0]["found"], "not-asked", "{check:#}");
    users.server.restart().unwrap();
    users.server.create_user("app", &users.old).unwrap();
    let check = users.run(&["drift", "check", "-o", "json"]).ends(10).json();
    assert_eq!(check[0]["found"], "repaired", "{check:#}");
    users.is_mended_and_waits();
}

#[test]
fn current_is_put_on_the_target_within_the_grace_on_demand() {
    let users = Users::in_grace("1s");
    users.change_by_hand();
    let _ = users
        .run(&["run", "resume", "app-redis", "--apply-current"])
        .ends(0);
    users.is_mended_and_waits();
}

#[test]
fn a_person_ends_the_grace_and_rotates_again() {
    let users = Users::in_grace("1s");
    let refused = users.run(&["rotate", "app-redis"]).ends(24);
    let _ = refused.says(&["run.open", "--end-grace"]);
    let _ = users.run(&["run", "resume", "app-redis", "--end-grace"]).ends(2);
    let end = [
        "run",
        "resume",
        "app-redis",
        "--end-grace",
        "--reason",
        "all have it",
    ];
    let _ = users.run(&end).ends(0);
    assert_eq!(users.shown()["state"], "succeeded");
    assert!(!users.accepts(&users.old) && users.accepts(&users.new));
    let rows = users.host.json(&["audit", "search", "--action", "run.end-grace"]);
    assert_eq!(rows[0]["details"]["reason"], "all have it", "{rows:#}");
    let _ = users.run(&["rotate", "app-redis"]).ends(0);
    assert!(users.accepts(&users.host.read("app/redis", None)));
}

/// What consumers have declared is kept where only the grace is ended; a credential in wrong hands dies at once.
#[test]
fn only_a_credential_in_wrong_hands_is_revoked_before_consumers_have_left_it() {
    let users = Users::in_grace("1h");
    let end = [
        "run",
        "resume",
        "app-redis",
        "--end-grace",
        "--reason",
        "impatient",
    ];
    let words = [
        "before the old one is revoked",
        "`staleness`) is waited for still",
    ];
    let _ = users.run(&end).ends(0).says(&words);
    // Within it two passwords are as they must be.
    let plan = users.run(&["plan", "app-redis"]);
    assert!(!plan.stdout.contains("redis.others"), "{}", plan.stdout);
    assert_eq!(users.shown()["state"], "waiting");
    assert!(users.accepts(&users.old) && users.accepts(&users.new));
    let now = [
        "run",
        "resume",
        "app-redis",
        "--revoke-now",
        "--reason",
        "on a forum",
    ];
    let _ = users.run(&now).ends(0);
    assert_eq!(users.shown()["state"], "succeeded");
    assert!(!users.accepts(&users.old) && users.accepts(&users.new));
    let _ = users.run(&now).ends(24).says(&["run.over"]);
}

#[test]
fn a_parked_run_takes_no_end_of_a_grace() {
    let users = Users::in_grace("1s");
    let off = ["ACL", "SETUSER", "app", "off"];
    users.server.command(&off).unwrap();
    let _ = users.run(&["run", "resume", "app-redis"]).ends(41);
    let end = ["run", "resume", "app-redis", "--end-grace", "--reason", "x"];
    let _ = users.run(&end).ends(24).says(&["run.choice"]);
    users.server.command(&["ACL", "SETUSER", "app", "on"]).unwrap();
    let _ = users.run(&["run", "resume", "app-redis"]).ends(0);
    users.is_mended_and_waits();
}

/// The keys of the vault are renewed when they must be, not when no rotation is in its grace.
#[test]
fn the_vault_is_rekeyed_within_the_grace() {
    let users = Users::in_grace("1s");
    let _ = users.run(&["vault", "rekey", "--yes"]).ends(0);
    let end = ["run", "resume", "app-redis", "--end-grace", "--reason", "done"];
    let _ = users.run(&end).ends(0);
    assert_eq!(users.shown()["state"], "succeeded");
    assert!(!users.accepts(&users.old) && users.accepts(&users.new));
    let _ = users.run(&["audit", "verify"]).ends(0);
}

/// A backup that is taken after each rotation is taken in its grace.
#[test]
fn a_backup_of_a_grace_is_verified_after_its_restore() {
    let users = Users::in_grace("1s");
    let kept = users.host.outside("kept.age").display().to_string();
    let _ = users.run(&["vault", "backup", &kept]).ends(0);
    fs::remove_dir_all(users.host.file("state")).unwrap();
    let restored = users.run(&["vault", "restore", &kept]).ends(0);
    let _ = restored.says(&["next: keywheel drift check"]);
    let status = users.run(&["status"]).ends(10);
    assert!(
        status.stdout.contains("keywheel drift check"),
        "{}",
        status.stdout
    );
    let check = users.host.json(&["drift", "check"]);
    assert_eq!(check[0]["found"], "in-place", "{check:#}");
    // The run has become that verification, and is over. What it had still to revoke is told, and is the next one's.
    assert_eq!(users.shown()["safety"], "both-valid");
    let status = users.run(&["status"]).ends(10);
    assert!(!status.stdout.contains("not been verified"), "{}", status.stdout);
    assert!(status.stdout.contains("was not revoked"), "{}", status.stdout);
    assert!(users.accepts(&users.old));
    let _ = users.run(&["rotate", "app-redis"]).ends(0);
    let end = ["run", "resume", "app-redis", "--revoke-now", "--reason", "test"];
    let _ = users.run(&end).ends(0);
    assert!(users.accepts(&users.host.read("app/redis", None)));
    assert!(!users.accepts(&users.old) && !users.accepts(&users.new));
    let _ = users.run(&["status"]).ends(0);
}

/// A timer that asks while the target is down hurts no run that only waits.
#[test]
fn a_drift_check_that_gets_no_answer_leaves_the_run_waiting() {
    let mut users = Users::in_grace("1s");
    users.server.kill9().unwrap();
    let check = users
        .run(&["drift", "check", "--wait", "end", "-o", "json"])
        .ends(30);
    assert_eq!(check.json()[0]["found"], "not-asked", "{check:?}");
    let run = users.shown();
    assert_eq!(
        (&run["state"], &run["parked"]),
        (&"waiting".into(), &Value::Null),
        "{run:#}"
    );
    users.server.restart().unwrap();
    for password in [&users.old, &users.new] {
        users
            .server
            .command(&["ACL", "SETUSER", "app", &format!(">{password}")])
            .unwrap();
    }
    let check = users.host.json(&["drift", "check"]);
    assert_eq!(check[0]["found"], "in-place", "{check:#}");
}

/// However often `revoke` has to be tried again, the plugin can still tell which version it must not touch.
#[test]
fn an_old_credential_is_revoked_after_any_number_of_tries() {
    let users = Users::in_grace("1s");
    // The vault's password of the administrator is wrong: nothing is changed on the target.
    let _ = users.host.import("admin/redis", &random_password()).ends(0);
    let first = [
        "run",
        "resume",
        "app-redis",
        "--revoke-now",
        "--reason",
        "x",
        "--wait",
        "0s",
    ];
    let _ = users.run(&first);
    for _ in 0..20 {
        let _ = users.run(&["run", "resume", "app-redis", "--wait", "0s"]);
    }
    assert!(users.accepts(&users.old), "not yet");
    let right = users.server.admin_password();
    let _ = users.host.import("admin/redis", right).ends(0);
    let _ = users
        .run(&["run", "resume", "app-redis", "--wait", "end"])
        .ends(0);
    assert_eq!(users.shown()["state"], "succeeded");
    assert!(!users.accepts(&users.old) && users.accepts(&users.new));
}
