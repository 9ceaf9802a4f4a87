//! The account, the server or the secret of a rotation is changed in the configuration: a value that was proved for one account is never the reason to
//! overwrite the password of another (rule P15).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use keywheel_e2e::{Host, Output, postgres_pair, postgres_role, redis_user};
use keywheel_kit::{Postgres, PostgresOptions, Redis, RedisOptions, random_password};
use serde_json::Value;

const UNPROVED: &str = "nothing has proved the value of";

/// The roles `app` and `bb`, and a host that has adopted `app`.
struct Scene {
    server: Postgres,
    host: Host,
    app: String,
    other: String,
}

impl Scene {
    fn new() -> Self {
        let server = Postgres::start(PostgresOptions::default()).unwrap();
        let (app, other) = (random_password(), random_password());
        for (role, password) in [("app", &app), ("bb", &other)] {
            server
                .sql(&format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'"))
                .unwrap();
        }
        let host = Host::init();
        host.configure(&postgres_role(&server, "1s"));
        host.add_plugin("postgres", &[server.port()]);
        let _ = host.import("admin/db", server.admin_password()).ends(0);
        let _ = host.import("app/db", &app).ends(0);
        Self {
            server,
            host,
            app,
            other,
        }
    }

    fn takes(&self, role: &str, password: &str) -> bool {
        self.server.login(role, password).unwrap().is_accepted()
    }

    fn takes_current(&self, role: &str) -> bool {
        self.takes(role, &self.host.read("app/db", None))
    }
}

/// Writes something else into `keywheel.toml`.
fn edit(host: &Host, from: &str, to: &str) {
    let file = host.file("keywheel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
}

fn rotate(host: &Host, rotation: &str) -> Output {
    host.run(&["rotate", rotation, "--wait", "end"], "")
}

fn warnings(host: &Host, rotation: &str) -> String {
    let plan = host.run(&["plan", rotation, "-o", "json"], "").ends(10).json();
    plan[0]["warnings"].to_string()
}

/// It is said before, and a rotation changes nothing and begins no run.
fn is_refused(host: &Host, rotation: &str, secret: &str, words: &[&str]) {
    assert!(
        warnings(host, rotation).contains(UNPROVED),
        "{}",
        warnings(host, rotation)
    );
    let status = host.run(&["status"], "").stdout;
    assert!(status.contains("nothing has proved it there"), "{status}");
    begins_nothing(host, rotation, secret, words);
}

fn begins_nothing(host: &Host, rotation: &str, secret: &str, words: &[&str]) {
    let (runs, versions) = (host.json(&["run", "list"]), host.versions(secret));
    let refused = rotate(host, rotation).ends(24);
    let _ = refused
        .says(&["run.adoption-required", "is that of another account or server"])
        .says(words);
    assert_eq!(host.json(&["run", "list"]), runs, "no run has begun");
    assert_eq!(host.versions(secret), versions);
}

fn stage_of(host: &Host, secret: &str, version: &str) -> String {
    let versions = host.versions(secret).into_iter();
    let mut found = versions.filter(|(id, _)| id == version);
    found.next().unwrap().1
}

#[test]
fn another_role_is_not_overwritten_and_the_value_of_the_first_one_is_never_called_revoked() {
    let scene = Scene::new();
    let host = &scene.host;
    let of_app = host.versions("app/db")[0].0.clone();
    edit(host, "role = \"app\"", "role = \"bb\"");
    let words = [
        "app at localhost",
        "this rotation changes bb at localhost",
        "rejected",
        "set the configuration back to app",
        "keywheel secret import app/db",
    ];
    is_refused(host, "app-db", "app/db", &words);
    // Nothing that looks after a rotation puts the one's password on the other.
    let drift = host.run(&["drift", "check", "app-db", "-o", "json"], "").json();
    assert_eq!(drift[0]["found"], "not-adopted", "{drift:#}");
    let _ = host.run(&["run", "rollback", "app-db"], "").ends(24);
    assert!(scene.takes("bb", &scene.other) && scene.takes("app", &scene.app));

    // The credential in use of the new role takes the place of the old one's; that is neither revoked nor called so.
    let _ = host.import("app/db", &scene.other).ends(0);
    assert!(!warnings(host, "app-db").contains(UNPROVED));
    let of_bb = host.versions("app/db")[0].0.clone();
    let _ = rotate(host, "app-db").ends(0);
    assert!(scene.takes_current("bb") && !scene.takes("bb", &scene.other));
    assert_eq!(stage_of(host, "app/db", &of_bb), "revoked");
    assert!(scene.takes("app", &scene.app));
    assert_eq!(stage_of(host, "app/db", &of_app), "previous");
    let of_app_rows = ["audit", "search", "--action", "secret.revoke"];
    assert!(!host.json(&of_app_rows).to_string().contains(&of_app));

    // Back again: the same the other way round, and the kept value is the way back.
    let (new_of_bb, value) = (host.versions("app/db")[0].0.clone(), host.read("app/db", None));
    edit(host, "role = \"bb\"", "role = \"app\"");
    is_refused(host, "app-db", "app/db", &["bb at localhost"]);
    let _ = host.run(&["secret", "rollback", "app/db", &of_app], "").ends(0);
    let _ = rotate(host, "app-db").ends(0);
    assert!(scene.takes_current("app") && !scene.takes("app", &scene.app));
    assert!(scene.takes("bb", &value));
    assert_eq!(stage_of(host, "app/db", &new_of_bb), "previous");
}

/// What a run made itself was proved by that run, and for its role alone. A run that is taken back gives the new role its own password again.
#[test]
fn a_value_that_a_run_made_is_of_the_role_that_the_run_had() {
    let scene = Scene::new();
    let host = &scene.host;
    let _ = rotate(host, "app-db").ends(0);
    let of_app = host.read("app/db", None);
    edit(host, "role = \"app\"", "role = \"bb\"");
    is_refused(host, "app-db", "app/db", &["app at localhost"]);
    let _ = host.import("app/db", &scene.other).ends(0);
    let mut started = host.start(&mut host.command(&["rotate", "app-db", "--wait", "end"]));
    assert!(started.wait_for("apply"));
    started.child.kill().unwrap();
    let _ = host.wait(started).ends(-1);
    let back = host.run(&["run", "rollback", "app-db", "--wait", "end"], "");
    // Where the kill came after the promotion, there is only forward.
    if back.code == 24 {
        let _ = back.says(&["run.past-no-return"]);
        let _ = host
            .run(&["run", "resume", "app-db", "--wait", "end"], "")
            .ends(0);
    } else {
        assert!(scene.takes("bb", &scene.other), "{back:?}");
    }
    assert!(scene.takes_current("bb"));
    assert!(scene.takes("app", &of_app));
}

#[test]
fn another_redis_user_is_not_overwritten() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let (app, other) = (random_password(), random_password());
    server.create_user("app", &app).unwrap();
    server.create_user("other", &other).unwrap();
    let host = Host::init();
    host.configure(&redis_user(&server, "1s"));
    host.add_plugin("redis", &[server.port()]);
    let _ = host.import("admin/redis", server.admin_password()).ends(0);
    let _ = host.import("app/redis", &app).ends(0);
    let of_app = host.versions("app/redis")[0].0.clone();
    edit(&host, "user = \"app\"", "user = \"other\"");
    is_refused(&host, "app-redis", "app/redis", &["other at localhost"]);
    let takes = |user: &str, password: &str| server.login(user, password).unwrap().is_accepted();
    assert!(takes("other", &other) && takes("app", &app));

    let _ = host.import("app/redis", &other).ends(0);
    let _ = rotate(&host, "app-redis").ends(0);
    assert!(takes("other", &host.read("app/redis", None)));
    assert!(!takes("other", &other) && takes("app", &app));
    assert_eq!(stage_of(&host, "app/redis", &of_app), "previous");
}

#[test]
fn the_secret_of_another_target_is_not_taken_for_this_ones() {
    let scene = Scene::new();
    let host = &scene.host;
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let cache = random_password();
    redis.create_user("app", &cache).unwrap();
    let plain = std::fs::read_to_string(host.file("keywheel.toml")).unwrap();
    host.configure(&redis_user(&redis, "1s"));
    host.add_plugin("redis", &[redis.port()]);
    let _ = host.import("admin/redis", redis.admin_password()).ends(0);
    let _ = host.import("app/redis", &cache).ends(0);
    std::fs::write(host.file("keywheel.toml"), plain).unwrap();
    edit(host, "secret = \"app/db\"", "secret = \"app/redis\"");
    is_refused(host, "app-db", "app/redis", &["app at localhost"]);
    assert!(scene.takes("app", &scene.app));
    assert!(redis.login("app", &cache).unwrap().is_accepted());
    edit(host, "secret = \"app/redis\"", "secret = \"app/db\"");
    let _ = rotate(host, "app-db").ends(0);
}

/// Another name for the same server is shown the value first, and the rotation goes on.
#[test]
fn a_server_that_was_renamed_needs_no_new_import() {
    let scene = Scene::new();
    let host = &scene.host;
    edit(host, "host = \"localhost\"", "host = \"LOCALHOST\"");
    // Only spelled otherwise.
    assert!(!warnings(host, "app-db").contains(UNPROVED));
    edit(host, "host = \"LOCALHOST\"", "host = \"127.0.0.1\"");
    assert!(warnings(host, "app-db").contains(UNPROVED));
    let _ = rotate(host, "app-db").ends(0);
    assert!(scene.takes_current("app") && !scene.takes("app", &scene.app));
    let stages: Vec<String> = host
        .versions("app/db")
        .into_iter()
        .map(|(_, stage)| stage)
        .collect();
    assert_eq!(stages, ["current", "revoked"]);
    assert!(!warnings(host, "app-db").contains(UNPROVED));
    // Back again, by a login that is asked for; and it is not taken for another server's.
    edit(host, "host = \"127.0.0.1\"", "host = \"localhost\"");
    let _ = host.run(&["target", "test", "app-db"], "").ends(0);
    assert!(!warnings(host, "app-db").contains(UNPROVED));
    let _ = rotate(host, "app-db").ends(0);
    assert!(scene.takes_current("app"));
}

/// Another server where the role has another password.
#[test]
fn another_server_is_not_overwritten() {
    let scene = Scene::new();
    let host = &scene.host;
    let second = Postgres::start(PostgresOptions::default()).unwrap();
    let there = random_password();
    second
        .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{there}'"))
        .unwrap();
    let port = |server: &Postgres| format!("port = {}", server.port());
    edit(host, &port(&scene.server), &port(&second));
    let ca = |server: &Postgres| server.ca_file().display().to_string();
    edit(host, &ca(&scene.server), &ca(&second));
    let grant = host.file("policies/postgres.toml");
    let granted = std::fs::read_to_string(&grant).unwrap();
    let colon = |server: &Postgres| format!(":{} ", server.port());
    std::fs::write(&grant, granted.replace(&colon(&scene.server), &colon(&second))).unwrap();
    let _ = host.import("admin/db", second.admin_password()).ends(0);
    is_refused(host, "app-db", "app/db", &["app at localhost"]);
    assert!(second.login("app", &there).unwrap().is_accepted());
    assert!(scene.takes("app", &scene.app));
}

/// `first = "set"` is about a secret without a value; and where it sets one over something, `plan` says so.
#[test]
fn to_set_the_first_one_is_no_way_around() {
    let scene = Scene::new();
    let host = &scene.host;
    let set_over = "is not known to the vault";
    let room = "gap = \"accept\"\ndeadlines";
    edit(host, room, &format!("first = \"set\"\n{room}"));
    assert!(!warnings(host, "app-db").contains(set_over));
    edit(host, "role = \"app\"", "role = \"bb\"");
    is_refused(host, "app-db", "app/db", &["bb at localhost"]);
    assert!(scene.takes("bb", &scene.other));
    edit(host, "secret = \"app/db\"", "secret = \"fresh/db\"");
    let said = warnings(host, "app-db");
    assert!(
        said.contains(set_over) && said.contains("bb at localhost"),
        "{said}"
    );
    let _ = rotate(host, "app-db").ends(0);
    assert!(scene.takes("bb", &host.read("fresh/db", None)) && scene.takes("app", &scene.app));
}

/// The order of two roles means nothing; other roles are other accounts.
#[test]
fn two_roles_that_alternate_are_one_principal_in_any_order() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let password = random_password();
    for role in ["app_a", "app_b", "cc", "dd"] {
        server
            .sql(&format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'"))
            .unwrap();
    }
    server
        .sql("ALTER ROLE app_b PASSWORD NULL; ALTER ROLE dd PASSWORD NULL")
        .unwrap();
    let host = Host::init();
    host.configure(&postgres_pair(&server, "1s"));
    host.add_plugin("postgres", &[server.port()]);
    let _ = host.import("admin/db", server.admin_password()).ends(0);
    let document = |role: &str| format!("{{\"username\":\"{role}\",\"password\":\"{password}\"}}");
    let _ = host.import("pair/db", &document("app_a")).ends(0);
    edit(&host, "[\"app_a\", \"app_b\"]", "[\"app_b\", \"app_a\"]");
    assert!(!warnings(&host, "pair-db").contains(UNPROVED));
    edit(&host, "[\"app_b\", \"app_a\"]", "[\"cc\", \"dd\"]");
    // Its plan cannot even be made: the document names a role that the configuration does not have.
    let _ = host.run(&["plan", "pair-db"], "").ends(24);
    begins_nothing(&host, "pair-db", "pair/db", &["app_a and app_b at localhost"]);
    assert!(server.login("cc", &password).unwrap().is_accepted());
    // The document of the new pair is taken over, though the old one was of no use there.
    let _ = host.import("pair/db", &document("cc")).ends(0);
    let _ = rotate(&host, "pair-db").ends(0);
    let current: Value = serde_json::from_str(&host.read("pair/db", None)).unwrap();
    let (role, new) = (&current["username"], &current["password"]);
    assert!(
        server
            .login(role.as_str().unwrap(), new.as_str().unwrap())
            .unwrap()
            .is_accepted()
    );
    assert!(server.login("app_a", &password).unwrap().is_accepted());
}
