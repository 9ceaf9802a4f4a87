//! From `keywheel init` to a rotated credential, by commands only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use keywheel_e2e::{Host, postgres_pair, redis_user, role_adopted, role_adopted_on, until};
use keywheel_kit::{Postgres, PostgresOptions, Redis, RedisOptions, random_password};
use serde_json::{Value, json};

/// What every rotation goes through.
const STEPS: [&str; 7] = [
    "plan",
    "create",
    "apply",
    "test",
    "promote",
    "propagate",
    "revoke",
];

/// The steps of the newest run of a rotation, which must have succeeded; `meanwhile` is the word on safety from `apply` to `revoke`.
fn steps(host: &Host, rotation: &str, meanwhile: &str) -> Vec<String> {
    let run = host.json(&["run", "show", rotation]);
    assert_eq!(run["state"], "succeeded", "{run:#}");
    let steps = run["steps"].as_array().unwrap();
    for step in steps {
        let expected = match step["step"].as_str().unwrap() {
            "plan" | "create" => "old-valid",
            "revoke" => "new-valid",
            _ => meanwhile,
        };
        assert_eq!(step["safety"], expected, "{step:#}");
        assert!(!step["ended-at"].is_null(), "{step:#}");
    }
    steps
        .iter()
        .map(|step| step["step"].as_str().unwrap().to_owned())
        .collect()
}

/// A plan is printed, changes nothing, and says that there is something to do.
fn plans(host: &Host, rotation: &str) -> Value {
    let before = host.runs_of(rotation);
    let plan = host.run(&["plan", rotation, "-o", "json"], "").ends(10).json();
    assert_eq!(host.runs_of(rotation), before);
    assert_eq!(plan[0]["problems"], json!([]));
    assert_eq!(plan[0]["rotation"], rotation);
    let returns = plan[0]["steps"].as_array().unwrap();
    let no_return = returns.iter().filter(|step| step["point-of-no-return"] == true);
    assert_eq!(no_return.count(), 1, "{plan:#}");
    plan
}

trait Runs {
    fn runs_of(&self, rotation: &str) -> usize;
}

impl Runs for Host {
    fn runs_of(&self, rotation: &str) -> usize {
        self.json(&["run", "list"])
            .as_array()
            .unwrap()
            .iter()
            .filter(|run| run["rotation"] == rotation)
            .count()
    }
}

fn stages(host: &Host, secret: &str) -> Vec<String> {
    host.versions(secret)
        .into_iter()
        .map(|(_, stage)| stage)
        .collect()
}

#[test]
fn one_postgres_role_gets_a_new_password_and_loses_the_old_one() {
    let (server, host, old) = role_adopted();
    let _ = host.run(&["config", "check"], "").ends(0);
    assert!(server.login("app", &old).unwrap().is_accepted());
    assert_eq!(host.read("app/db", None), old);
    let plan = plans(&host, "app-db");
    assert!(plan[0]["gap"].is_string(), "{plan:#}");
    let _ = host.run(&["target", "test", "app-db"], "").ends(0);
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    let new = host.read("app/db", None);
    assert_ne!(new, old);
    assert!(server.login("app", &new).unwrap().is_accepted());
    assert!(server.login("app", &old).unwrap().is_refused());
    assert_eq!(steps(&host, "app-db", "new-valid"), STEPS);
    assert_eq!(stages(&host, "app/db"), ["current", "revoked"]);
    let _ = host.run(&["audit", "verify"], "").ends(0);
}

#[test]
fn two_postgres_roles_take_turns_and_both_passwords_work_meanwhile() {
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
    let document = json!({ "username": "app_a", "password": old }).to_string();
    let _ = host.import("pair/db", &document).ends(0);
    assert!(server.login("app_a", &old).unwrap().is_accepted());
    let plan = plans(&host, "pair-db");
    assert!(plan[0]["gap"].is_null(), "{plan:#}");

    let first: Value = {
        // Left while the old credential's grace runs: both work.
        let _ = host.run(&["rotate", "pair-db", "--wait", "0s"], "").ends(0);
        serde_json::from_str(&host.read("pair/db", None)).unwrap()
    };
    let password = first["password"].as_str().unwrap();
    assert_eq!(first["username"], "app_b");
    assert!(server.login("app_b", password).unwrap().is_accepted());
    let _ = host
        .run(&["run", "resume", "pair-db", "--wait", "end"], "")
        .ends(0);
    assert_eq!(steps(&host, "pair-db", "both-valid"), STEPS);
    assert_eq!(stages(&host, "pair/db"), ["current", "revoked"]);
    assert!(server.login("app_a", &old).unwrap().is_refused());

    let _ = host.run(&["rotate", "pair-db", "--wait", "end"], "").ends(0);
    let second: Value = serde_json::from_str(&host.read("pair/db", None)).unwrap();
    assert_eq!(second["username"], "app_a");
    assert!(
        server
            .login("app_a", second["password"].as_str().unwrap())
            .unwrap()
            .is_accepted()
    );
    assert!(server.login("app_b", password).unwrap().is_refused());
    let _ = host.run(&["audit", "verify"], "").ends(0);
}

#[test]
fn a_redis_user_gets_a_second_password_before_it_loses_the_first() {
    let mut server = Redis::start(RedisOptions::default()).unwrap();
    let old = random_password();
    server.create_user("app", &old).unwrap();
    let host = Host::init();
    host.configure(&redis_user(&server, "1s"));
    host.add_plugin("redis", &[server.port()]);
    let _ = host.import("admin/redis", server.admin_password()).ends(0);
    let _ = host.import("app/redis", &old).ends(0);
    assert!(server.login("app", &old).unwrap().is_accepted());
    plans(&host, "app-redis");

    let _ = host.run(&["rotate", "app-redis", "--wait", "0s"], "").ends(0);
    let new = host.read("app/redis", None);
    assert!(server.login("app", &new).unwrap().is_accepted());
    let _ = host
        .run(&["run", "resume", "app-redis", "--wait", "end"], "")
        .ends(0);
    assert_eq!(steps(&host, "app-redis", "both-valid"), STEPS);
    assert_eq!(stages(&host, "app/redis"), ["current", "revoked"]);
    assert!(server.login("app", &old).unwrap().is_refused());
    // It was saved: a restart does not bring the old password back.
    server.restart().unwrap();
    assert!(server.login("app", &new).unwrap().is_accepted());
    assert!(server.login("app", &old).unwrap().is_refused());
    let _ = host.run(&["audit", "verify"], "").ends(0);
}

/// A login costs the server a process: where a superuser can read that every line of `pg_hba.conf` asks for a password, `plan` makes none. What it says
/// where one does not ask is in `refusals::unproved`.
#[test]
fn a_plan_does_not_knock_where_the_server_says_that_it_asks() {
    let set = |name: &str| (name.to_owned(), "on".to_owned());
    let server = Postgres::start(PostgresOptions {
        settings: vec![set("log_connections")],
        ..PostgresOptions::default()
    })
    .unwrap();
    let (host, _) = role_adopted_on(&server);
    // The file must be older than what the server has read by more than a second.
    let read = "SELECT pg_reload_conf(), pg_sleep(0.2)";
    let is_older = "SELECT greatest(modification, change) + interval '1 s' < pg_conf_load_time() \
        FROM pg_stat_file(current_setting('hba_file'))";
    until("the file is old", || {
        let _ = server.sql(read).unwrap();
        server.sql(is_older).unwrap() == "t"
    });
    let received = || server.log().matches("connection received").count();
    let before = received();
    let _ = host.run(&["plan", "app-db"], "").ends(10);
    assert_eq!(
        received() - before,
        1,
        "the administrator's own:\n{}",
        server.log()
    );
}
