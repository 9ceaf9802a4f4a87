//! A target that was set back, or changed by hand, after the promotion gets the vault's current credential again (rule P10): no run ends well while
//! its target refuses current.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use keywheel_e2e::{Host, postgres_pair, postgres_role, redis_user};
use keywheel_kit::{Postgres, PostgresOptions, Redis, RedisOptions, random_password};
use serde_json::{Value, json};

/// A rotation with what a person can do on its target by hand.
trait Target {
    const PLUGIN: &str;
    const ROTATION: &str;
    const SECRET: &str;
    const ADMIN: &str;

    fn start() -> Self;
    fn port(&self) -> u16;
    fn lines(&self) -> String;
    fn admin_password(&self) -> &str;
    /// Makes the account with its first password; that one as the vault keeps it.
    fn first(&self, password: &str) -> String;
    /// The account and the password that clients get from a version.
    fn account(value: &str) -> (String, String);
    /// Sets the one password that the account has, and whether it may log in at all.
    fn set_by_hand(&self, account: &str, password: &str, may_log_in: bool);
    fn accepts(&self, value: &str) -> bool;
}

struct Users(Redis);

impl Target for Users {
    const PLUGIN: &str = "redis";
    const ROTATION: &str = "app-redis";
    const SECRET: &str = "app/redis";
    const ADMIN: &str = "admin/redis";

    fn start() -> Self {
        Self(Redis::start(RedisOptions::default()).unwrap())
    }

    fn port(&self) -> u16 {
        self.0.port()
    }

    fn lines(&self) -> String {
        redis_user(&self.0, "1s")
    }

    fn admin_password(&self) -> &str {
        self.0.admin_password()
    }

    fn first(&self, password: &str) -> String {
        self.0.create_user("app", password).unwrap();
        password.to_owned()
    }

    fn account(value: &str) -> (String, String) {
        ("app".to_owned(), value.to_owned())
    }

    fn set_by_hand(&self, account: &str, password: &str, may_log_in: bool) {
        self.0.create_user(account, password).unwrap();
        if !may_log_in {
            self.0.command(&["ACL", "SETUSER", account, "off"]).unwrap();
        }
    }

    fn accepts(&self, value: &str) -> bool {
        self.0.login("app", value).unwrap().is_accepted()
    }
}

/// One role, or two that alternate.
struct Roles<const PAIR: bool>(Postgres);

impl<const PAIR: bool> Target for Roles<PAIR> {
    const PLUGIN: &str = "postgres";
    const ROTATION: &str = if PAIR { "pair-db" } else { "app-db" };
    const SECRET: &str = if PAIR { "pair/db" } else { "app/db" };
    const ADMIN: &str = "admin/db";

    fn start() -> Self {
        Self(Postgres::start(PostgresOptions::default()).unwrap())
    }

    fn port(&self) -> u16 {
        self.0.port()
    }

    fn lines(&self) -> String {
        let lines = if PAIR { postgres_pair } else { postgres_role };
        lines(&self.0, "1s")
    }

    fn admin_password(&self) -> &str {
        self.0.admin_password()
    }

    fn first(&self, password: &str) -> String {
        let (role, other) = if PAIR {
            ("app_a", "; CREATE ROLE app_b LOGIN")
        } else {
            ("app", "")
        };
        let made = format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'{other}");
        self.0.sql(&made).unwrap();
        if PAIR {
            json!({ "username": role, "password": password }).to_string()
        } else {
            password.to_owned()
        }
    }

    fn account(value: &str) -> (String, String) {
        if !PAIR {
            return ("app".to_owned(), value.to_owned());
        }
        let document: Value = serde_json::from_str(value).unwrap();
        let of = |field: &str| document[field].as_str().unwrap().to_owned();
        (of("username"), of("password"))
    }

    fn set_by_hand(&self, account: &str, password: &str, may_log_in: bool) {
        let login = if may_log_in { "LOGIN" } else { "NOLOGIN" };
        let set = format!("ALTER ROLE {account} {login} PASSWORD '{password}'");
        self.0.sql(&set).unwrap();
    }

    fn accepts(&self, value: &str) -> bool {
        let (role, password) = Self::account(value);
        self.0.login(&role, &password).unwrap().is_accepted()
    }
}

/// Stops after the promotion, with the new credential in use; then somebody sets the account's password by hand: back to what it was, or to one that
/// nobody else knows.
fn change<T: Target>(target: &T, back: bool, may_log_in: bool) -> (Host, String) {
    let password = random_password();
    let old = target.first(&password);
    let host = Host::init();
    host.configure(&target.lines());
    host.add_plugin(T::PLUGIN, &[target.port()]);
    let _ = host.import(T::ADMIN, target.admin_password()).ends(0);
    let _ = host.import(T::SECRET, &old).ends(0);
    let _ = host.run(&["rotate", T::ROTATION, "--wait", "0s"], "").ends(0);
    let new = host.read(T::SECRET, None);
    assert_ne!(new, old, "not promoted yet");
    assert!(target.accepts(&new));
    let run = host.run(&["run", "show", T::ROTATION, "-o", "json"], "").json();
    assert_eq!(run["state"], "waiting", "{run:#}");

    let password = if back { password } else { random_password() };
    target.set_by_hand(&T::account(&new).0, &password, may_log_in);
    assert!(!target.accepts(&new));
    if may_log_in {
        // The drift check that a person can make at any time.
        let drift = host.run(&["target", "test", T::ROTATION, "-o", "json"], "");
        assert_eq!(drift.clone().ends(22).json()["verdict"], "rejected", "{drift:?}");
    }
    (host, old)
}

/// The run has come to its end with the version that it promoted, and no other works.
fn ends_well<T: Target>(target: &T, host: &Host, old: &str, new: &str) {
    let run = host.json(&["run", "show", T::ROTATION]);
    assert_eq!(run["state"], "succeeded", "{run:#}");
    assert_eq!(host.read(T::SECRET, None), new);
    assert!(target.accepts(new));
    assert!(!target.accepts(old));
    let _ = host.run(&["audit", "verify"], "").ends(0);
}

fn is_put_on_again<T: Target>(back: bool) {
    let target = T::start();
    let (host, old) = change(&target, back, true);
    let new = host.read(T::SECRET, None);
    let _ = host
        .run(&["run", "resume", T::ROTATION, "--wait", "end"], "")
        .ends(0);
    ends_well(&target, &host, &old, &new);
}

/// A locked account parks the run; a person says then that the vault's credential goes on the target.
fn is_put_on_again_on_demand<T: Target>() {
    let target = T::start();
    let (host, old) = change(&target, true, false);
    let new = host.read(T::SECRET, None);
    let _ = host
        .run(&["run", "resume", T::ROTATION, "--wait", "end"], "")
        .ends(41);
    let run = host
        .run(&["run", "show", T::ROTATION, "-o", "json"], "")
        .ends(10)
        .json();
    assert_eq!(run["parked"]["cause"], "account", "{run:#}");

    let (account, _) = T::account(&new);
    target.set_by_hand(&account, &random_password(), true);
    assert!(!target.accepts(&new));
    let again = ["run", "resume", T::ROTATION, "--apply-current", "--wait", "end"];
    let _ = host.run(&again, "").ends(0);
    ends_well(&target, &host, &old, &new);
}

#[test]
fn a_redis_user_that_was_set_back() {
    is_put_on_again::<Users>(true);
}

#[test]
fn a_redis_user_that_was_changed_by_hand_in_the_grace() {
    is_put_on_again::<Users>(false);
}

#[test]
fn a_redis_user_on_demand() {
    is_put_on_again_on_demand::<Users>();
}

#[test]
fn one_postgres_role_that_was_set_back() {
    is_put_on_again::<Roles<false>>(true);
}

#[test]
fn one_postgres_role_that_was_changed_by_hand_in_the_grace() {
    is_put_on_again::<Roles<false>>(false);
}

#[test]
fn one_postgres_role_on_demand() {
    is_put_on_again_on_demand::<Roles<false>>();
}

#[test]
fn two_postgres_roles_of_which_the_new_one_was_set_back() {
    is_put_on_again::<Roles<true>>(true);
}

#[test]
fn two_postgres_roles_on_demand() {
    is_put_on_again_on_demand::<Roles<true>>();
}

/// A user on two nodes, and the password that was imported.
fn two_nodes() -> ([Redis; 2], Host, String) {
    let nodes = [(); 2].map(|()| Redis::start(RedisOptions::default()).unwrap());
    let [first, second] = &nodes;
    let (old, admin) = (random_password(), random_password());
    for node in &nodes {
        node.create_user("app", &old).unwrap();
        node.create_user("rotator", &admin).unwrap();
    }
    let at = |node: &Redis| format!("{{ host = \"localhost\", port = {} }}", node.port());
    let pem = |node: &Redis| format!("\"{}\"", node.ca_file().display());
    let lines = redis_user(first, "1s")
        .replace(&at(first), &format!("{}, {}", at(first), at(second)))
        .replace(&pem(first), &format!("{}, {}", pem(first), pem(second)))
        .replace("admin = \"admin\"", "admin = \"rotator\"")
        .replace("{ step = \"3s\" }", "{ step = \"3s\", run = \"1s\" }");
    let host = Host::init();
    host.configure(&lines);
    host.add_plugin("redis", &[first.port(), second.port()]);
    let _ = host.import("admin/redis", &admin).ends(0);
    let _ = host.import("app/redis", &old).ends(0);
    (nodes, host, old)
}

/// One of two nodes came back with the users that it had before: the nodes do not agree, and asking them again does not change that.
#[test]
fn one_redis_node_of_two_that_was_set_back_parks_with_the_choice_that_mends_it() {
    let (nodes, host, old) = two_nodes();
    let [_, second] = &nodes;
    let _ = host.run(&["rotate", "app-redis", "--wait", "0s"], "").ends(0);
    let new = host.read("app/redis", None);
    assert_ne!(new, old);

    second.create_user("app", &old).unwrap();
    let _ = host
        .run(&["run", "resume", "app-redis", "--wait", "end"], "")
        .ends(41);
    let run = host.run(&["run", "show", "app-redis", "-o", "json"], "").json();
    assert_eq!(run["parked"]["cause"], "target", "{run:#}");
    let way_out = run["parked"]["way-out"].as_str().unwrap();
    assert!(way_out.contains("--apply-current"), "{way_out}");

    let again = ["run", "resume", "app-redis", "--apply-current", "--wait", "end"];
    let _ = host.run(&again, "").ends(0);
    for node in &nodes {
        assert!(node.login("app", &new).unwrap().is_accepted());
        assert!(!node.login("app", &old).unwrap().is_accepted());
    }
}

/// The same, found by the drift check while no run is open: it says what is the matter and what mends it.
#[test]
fn one_redis_node_of_two_that_was_set_back_is_found_by_the_drift_check_with_the_way_out() {
    let (nodes, host, old) = two_nodes();
    let _ = host.run(&["rotate", "app-redis", "--wait", "end"], "").ends(0);
    let new = host.read("app/redis", None);
    nodes[1].create_user("app", &old).unwrap();
    let output = host
        .run(&["drift", "check", "app-redis", "-o", "json"], "")
        .ends(41);
    let row = output.json()[0].clone();
    assert_eq!(row["found"], "parked", "{row:#}");
    assert!(
        row["detail"].as_str().unwrap().contains("nodes.differ: "),
        "{row:#}"
    );
    let way_out = row["way-out"].as_str().unwrap();
    assert!(
        way_out.contains("run resume run-") && way_out.contains("--apply-current"),
        "{way_out}"
    );
    let again = ["run", "resume", "app-redis", "--apply-current", "--wait", "end"];
    let _ = host.run(&again, "").ends(0);
    for node in &nodes {
        assert!(node.login("app", &new).unwrap().is_accepted());
    }
    let output = host
        .run(&["drift", "check", "app-redis", "-o", "json"], "")
        .ends(0);
    assert_eq!(output.json()[0]["found"], "in-place");
}
