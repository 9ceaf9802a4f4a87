//! PostgreSQL with replicas: what the primary has been told they have when they have replayed it. Nothing is promoted before each takes the new password.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::io::Write as _;

use keywheel_e2e::{Host, postgres_pair, postgres_role, until};
use keywheel_kit::{Postgres, PostgresOptions, random_password};
use serde_json::{Value, json};

fn listed(replicas: &[&Postgres]) -> String {
    let node = |node: &&Postgres| format!("{{ host = \"localhost\", port = {} }}", node.port());
    let nodes: Vec<String> = replicas.iter().map(node).collect();
    format!("replicas = [{}]", nodes.join(", "))
}

/// A primary, its replica, and a host that knows both by the rules that `plugin add` writes.
struct Scene {
    primary: Postgres,
    replica: Postgres,
    host: Host,
    rotation: &'static str,
}

impl Scene {
    /// `sql`: what the primary has; `text`: of the configuration, whose last line is the replicas'.
    fn new(sql: &str, rotation: &'static str, text: impl FnOnce(&Postgres) -> String) -> Self {
        let primary = Postgres::start(PostgresOptions::default()).unwrap();
        primary.sql(sql).unwrap();
        let replica = primary.replica(PostgresOptions::default()).unwrap();
        let host = Host::init();
        // Long enough for whoever has to see a step wait.
        let text = text(&primary).replace("{ step = \"3s\" }", "{ step = \"30s\" }");
        host.configure(&format!("{text}{}", listed(&[&replica])));
        host.drop_plugin("postgres");
        let _ = host.run(&["plugin", "add", "postgres", "--yes"], "").ends(0);
        let _ = host.import("admin/db", primary.admin_password()).ends(0);
        Self {
            primary,
            replica,
            host,
            rotation,
        }
    }

    fn shown(&self) -> Value {
        self.host.json(&["run", "show", self.rotation])
    }

    /// Rotates, and does something to the replica when the plan has been made and nothing is changed yet: the role's row is taken until then.
    fn rotates_while(&mut self, role: &str, happens: impl FnOnce(&mut Postgres)) {
        let primary = &self.primary;
        let mut other = primary
            .hold(primary.admin_user(), primary.admin_password())
            .unwrap();
        let is = |what: &str| {
            let asked = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE {what} AND query LIKE 'ALTER ROLE%{role}%'"
            );
            primary.sql(&asked).unwrap() != "0"
        };
        writeln!(other, "BEGIN; ALTER ROLE {role} CONNECTION LIMIT -1;").unwrap();
        until("the row is taken", || is("state = 'idle in transaction'"));
        let mut rotate = self.host.command(&["rotate", self.rotation, "--wait", "0s"]);
        let started = self.host.start(&mut rotate);
        until("the change waits for the row", || is("wait_event_type = 'Lock'"));
        happens(&mut self.replica);
        writeln!(other, "COMMIT;").unwrap();
        // It sleeps until its next try.
        let _ = self.host.wait(started).ends(124);
    }

    /// Tries again and again, until this is what it waits for, and so many logins have been tried.
    fn waits_for(&self, code: &str, tries: u64) {
        let name = format!("localhost:{}", self.replica.port());
        until(code, || {
            let _ = self
                .host
                .run(&["run", "resume", self.rotation, "--wait", "0s"], "")
                .ends(124);
            let run = self.shown();
            let trouble = run["trouble"].to_string();
            let steps = run["steps"].as_array().unwrap();
            let test = steps.iter().find(|step| step["step"] == "test");
            let tried = test.and_then(|step| step["tries"].as_u64()).unwrap_or_default();
            trouble.contains(code) && trouble.contains(&name) && tried >= tries
        });
    }

    fn stages(&self, secret: &str) -> Vec<String> {
        let versions = self.host.versions(secret).into_iter();
        versions.map(|(_, stage)| stage).collect()
    }
}

#[test]
fn nothing_is_promoted_before_the_replica_has_replayed_the_new_password() {
    let old = random_password();
    let sql = format!("CREATE ROLE app LOGIN PASSWORD '{old}'");
    let mut scene = Scene::new(&sql, "app-db", |primary| postgres_role(primary, "1s"));
    let host = &scene.host;
    let _ = host.import("app/db", &old).ends(0);
    let plan = host.run(&["plan", "app-db", "-o", "json"], "").ends(10).json();
    assert_eq!(plan[0]["warnings"], json!([]), "{plan:#}");
    let at = |server: &Postgres| format!("localhost port {} tls", server.port());
    let mut hosts = [at(&scene.primary), at(&scene.replica)];
    hosts.sort();
    assert_eq!(plan[0]["hosts"], json!(hosts), "{plan:#}");
    assert!(
        plan.to_string().contains("and at each of 1 replica(s)"),
        "{plan:#}"
    );

    scene.rotates_while("app", |replica| replica.hold_replay(true).unwrap());
    scene.waits_for("nodes.behind", 1);
    let (primary, replica, host) = (&scene.primary, &scene.replica, &scene.host);
    // The old one is dead on the primary, lives on the replica, and is what consumers are given until both have the new one.
    assert_eq!(host.read("app/db", None), old);
    assert_eq!(scene.stages("app/db"), ["pending", "current"]);
    assert!(primary.login("app", &old).unwrap().is_refused());
    assert!(replica.login("app", &old).unwrap().is_accepted());
    assert_eq!(scene.shown()["state"], "waiting");

    replica.hold_replay(false).unwrap();
    let _ = host
        .run(&["run", "resume", "app-db", "--wait", "end"], "")
        .ends(0);
    let new = host.read("app/db", None);
    assert_eq!(scene.stages("app/db"), ["current", "revoked"]);
    for server in [primary, replica] {
        assert!(server.login("app", &new).unwrap().is_accepted());
        assert!(server.login("app", &old).unwrap().is_refused());
    }
    let _ = host.run(&["audit", "verify"], "").ends(0);
}

#[test]
fn a_replica_that_is_down_is_named_and_waited_for() {
    let old = random_password();
    let sql = format!("CREATE ROLE app_a LOGIN PASSWORD '{old}'; CREATE ROLE app_b LOGIN");
    // Fewer failed logins than there are tries: one that a replica never saw costs none.
    let mut scene = Scene::new(&sql, "pair-db", |primary| {
        postgres_pair(primary, "1s").replace("logins = 100", "logins = 2")
    });
    let document = json!({ "username": "app_a", "password": old }).to_string();
    let _ = scene.host.import("pair/db", &document).ends(0);

    // Before a run: nothing is begun.
    let name = format!("localhost:{}", scene.replica.port());
    scene.replica.stop().unwrap();
    let _ = scene.host.run(&["plan", "pair-db"], "").ends(30).says(&[&name]);
    scene.replica.restart().unwrap();
    until("the replica follows again", || {
        scene.host.run(&["plan", "pair-db"], "").code == 10
    });

    // In the middle of one.
    scene.rotates_while("app_b", |replica| replica.stop().unwrap());
    scene.waits_for("net.unreachable", 4);
    assert_eq!(scene.stages("pair/db"), ["pending", "current"]);
    scene.replica.restart().unwrap();
    let resume = ["run", "resume", "pair-db", "--wait", "end"];
    let _ = scene.host.run(&resume, "").ends(0);
    assert_eq!(scene.stages("pair/db"), ["current", "revoked"]);
    let new: Value = serde_json::from_str(&scene.host.read("pair/db", None)).unwrap();
    assert_eq!(new["username"], "app_b");
    let password = new["password"].as_str().unwrap();
    for server in [&scene.primary, &scene.replica] {
        assert!(server.login("app_b", password).unwrap().is_accepted());
    }
    assert!(scene.primary.login("app_a", &old).unwrap().is_refused());
    let _ = scene.host.run(&["audit", "verify"], "").ends(0);
}

/// What a list of replicas is looked at for, before anything is changed.
#[test]
fn a_server_that_is_no_replica_of_this_primary_is_refused_before_a_run() {
    let password = random_password();
    let sql = format!(
        "CREATE ROLE app LOGIN PASSWORD '{password}'; CREATE ROLE rotator LOGIN CREATEROLE PASSWORD '{password}'"
    );
    let late = PostgresOptions {
        settings: vec![("recovery_min_apply_delay".to_owned(), "1s".to_owned())],
        ..PostgresOptions::default()
    };
    let primary = Postgres::start(PostgresOptions::default()).unwrap();
    primary.sql(&sql).unwrap();
    let replica = primary.replica(late).unwrap();
    // A copy of the primary's files that goes its own way, and a server of another system.
    let mut copy = Postgres::start(PostgresOptions::default()).unwrap();
    let mut other = Postgres::start(PostgresOptions {
        own_cluster: Some(primary.admin_password().to_owned()),
        ..PostgresOptions::default()
    })
    .unwrap();
    let host = Host::init();
    let bare = std::fs::read_to_string(host.file("keywheel.toml")).unwrap();
    let pem = |server: &Postgres| format!("\"{}\"", server.ca_file().display());
    let (own, all) = (pem(&primary), [&primary, &copy, &other].map(pem).join(", "));
    let configure = |admin: &str, host_is: &Postgres, replicas: &[&Postgres]| {
        let text = postgres_role(host_is, "1s").replace(&own, &all);
        let text = text.replace("admin = \"postgres\"", &format!("admin = \"{admin}\""));
        let text = format!("{bare}\n{text}{}", listed(replicas));
        std::fs::write(host.file("keywheel.toml"), text).unwrap();
    };
    configure("postgres", &primary, &[&replica]);
    host.drop_plugin("postgres");
    let _ = host.run(&["plugin", "add", "postgres", "--yes"], "").ends(0);
    let _ = host.import("admin/db", primary.admin_password()).ends(0);
    let plan = |words: &[&str]| {
        let output = host.run(&["plan", "app-db"], "").ends(24);
        for word in words {
            assert!(output.stdout.contains(word), "{word}: {output:?}");
        }
        output.stdout
    };
    let says = plan(&["postgres.replica-delayed", "1 s late"]);
    assert!(!says.contains("postgres.replica-cut-off"), "{says}");

    let at = |server: &Postgres| format!("localhost:{} ", server.port());
    for server in [&copy, &other] {
        configure("postgres", &primary, &[&replica, server]);
        plan(&["postgres.not-a-replica", &at(server)]);
    }
    copy.stand_by().unwrap();
    other.stand_by().unwrap();
    configure("postgres", &primary, &[&copy]);
    plan(&["postgres.replica-cut-off", &at(&copy)]);
    configure("postgres", &primary, &[&other]);
    plan(&["postgres.other-cluster", &at(&other)]);
    configure("postgres", &replica, &[]);
    plan(&["postgres.standby"]);

    configure("postgres", &primary, &[&replica]);
    replica.hold_replay(true).unwrap();
    plan(&["postgres.replica-paused", "SELECT pg_wal_replay_resume()"]);
    let hba = replica.sql("SHOW hba_file").unwrap();
    let lines = std::fs::read_to_string(&hba).unwrap();
    for (method, code) in [
        ("reject", "postgres.replica-shut"),
        ("trust", "postgres.not-asked"),
    ] {
        let line = format!("hostssl all app 127.0.0.1/32 {method}\n");
        std::fs::write(&hba, line + &lines).unwrap();
        replica.sql("SELECT pg_reload_conf()").unwrap();
        until(code, || plan(&["postgres.replica-paused"]).contains(code));
    }
    std::fs::write(&hba, &lines).unwrap();
    replica.hold_replay(false).unwrap();

    // Not everybody may see which system it is.
    primary
        .sql("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        .unwrap();
    let _ = host.import("admin/db", &password).ends(0);
    configure("rotator", &primary, &[&replica]);
    plan(&[
        "postgres.cluster-unknown",
        "GRANT EXECUTE ON FUNCTION pg_control_system() TO rotator",
    ]);
}
