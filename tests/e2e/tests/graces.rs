//! The wait for consumers after a promotion, which may be a day long: what is wrong with the credential is found and mended within it, and a person who
//! has to may end it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::fs;

use keywheel_e2e::{Host, Output, postgres_pair, postgres_role, redis_user};
use keywheel_kit::{Postgres, PostgresOptions, Redis, RedisOptions, random_password};
use serde_json::{Value, json};

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
    let _ = users.run(&end).ends(0).says(&["before the old one is revoked"]);
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
    let status = users.run(&["status"]).ends(0);
    assert!(!status.stdout.contains("not been verified"), "{}", status.stdout);
    let _ = users.run(&["rotate", "app-redis"]).ends(0);
    assert!(users.accepts(&users.host.read("app/redis", None)));
}

/// The old password of a role was overwritten: to go back, it is set again by a run like any other.
#[test]
fn a_secret_goes_back_to_a_value_that_the_target_does_not_take_any_more() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let old = random_password();
    server
        .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{old}'"))
        .unwrap();
    let host = Host::init();
    host.configure(&postgres_role(&server, "1s"));
    host.add_plugin("postgres", &[server.port()]);
    let _ = host.import("admin/db", server.admin_password()).ends(0);
    let _ = host.import("app/db", &old).ends(0);
    let first = host.versions("app/db")[0].0.clone();
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    let new = host.read("app/db", None);
    let accepts = |password: &str| server.login("app", password).unwrap().is_accepted();
    assert!(!accepts(&old) && accepts(&new));

    let back = [
        "secret",
        "rollback",
        "app/db",
        &first,
        "--reason",
        "app cannot read it",
    ];
    let back = [&back[..], &["--wait", "end", "-o", "json"]].concat();
    let done = host.run(&back, "").ends(0).json();
    assert_eq!(done["run"]["trigger"], "rollback", "{done:#}");
    assert_eq!(done["run"]["state"], "succeeded", "{done:#}");
    assert_eq!(host.read("app/db", None), old);
    assert!(accepts(&old) && !accepts(&new));
    let stages: Vec<String> = host.versions("app/db").into_iter().map(|known| known.1).collect();
    assert_eq!(stages, ["current", "revoked", "revoked"]);
    let _ = host.run(&["target", "test", "app-db"], "").ends(0);
    let rows = host.json(&["audit", "search", "--action", "secret.rollback"]);
    assert_eq!(rows[0]["details"]["reason"], "app cannot read it", "{rows:#}");
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    assert!(!accepts(&old) && accepts(&host.read("app/db", None)));
}

/// Of two roles that are used in turn the older one's password may be that of the role in use now: it is not set over that.
#[test]
fn a_secret_of_two_roles_does_not_go_back_to_what_is_dead() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let old = random_password();
    server
        .sql(&format!(
            "CREATE ROLE app_a LOGIN PASSWORD '{old}'; CREATE ROLE app_b LOGIN"
        ))
        .unwrap();
    let host = Host::init();
    host.configure(&postgres_pair(&server, "1s"));
    host.add_plugin("postgres", &[server.port()]);
    let _ = host.import("admin/db", server.admin_password()).ends(0);
    let first = json!({ "username": "app_a", "password": old }).to_string();
    let _ = host.import("pair/db", &first).ends(0);
    let first = host.versions("pair/db")[0].0.clone();
    let _ = host.run(&["rotate", "pair-db", "--wait", "end"], "").ends(0);
    let new = host.read("pair/db", None);
    let refused = host.run(&["secret", "rollback", "pair/db", &first], "").ends(24);
    let refused = refused.says(&[
        "plan.refused",
        &format!("version {first} does not become current again: the target does not take it: rejected"),
        "used in turn",
        "`keywheel rotate pair-db` makes a new credential",
    ]);
    assert!(!refused.stderr.contains("plan again"), "{refused:?}");
    assert_eq!(host.read("pair/db", None), new);
    assert_eq!(host.versions("pair/db").len(), 2);
}
