//! Values that are imported under a name that no rotation has, or not yet.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use keywheel_e2e::{Host, Output, postgres_pair, postgres_role};
use keywheel_kit::{Postgres, PostgresOptions, random_password};
use rusqlite::{Connection, params};

/// A server with the role `app`, and a host whose configuration does not have the rotation `app-db` yet.
struct Scene {
    server: Postgres,
    host: Host,
    right: String,
}

impl Scene {
    fn new() -> Self {
        let server = Postgres::start(PostgresOptions::default()).unwrap();
        let right = random_password();
        server
            .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{right}'"))
            .unwrap();
        Self {
            server,
            host: Host::init(),
            right,
        }
    }

    /// With the rotation, its plugin and its administrator's credential.
    fn configure(&self) {
        self.host.configure(&postgres_role(&self.server, "1s"));
        self.host.add_plugin("postgres", &[self.server.port()]);
        let admin = self.host.import("admin/db", self.server.admin_password()).ends(0);
        // What verifies it is said.
        let _ = admin.says(&["it is an input of app-db", "next: keywheel target test app-db"]);
    }

    fn status(&self) -> String {
        self.host.run(&["status"], "").stdout
    }

    fn takes_old(&self) -> bool {
        self.server.login("app", &self.right).unwrap().is_accepted()
    }
}

const UNPROVED: &str = "nothing has proved";

#[test]
fn a_wrong_value_that_was_imported_before_its_rotation_is_not_taken_as_verified() {
    let scene = Scene::new();
    let host = &scene.host;
    let _ = host.import("app/db", &random_password()).ends(0).says(&[
        "warning: no rotation has the name app/db",
        "nothing has verified it",
        "there is no rotation yet",
    ]);
    scene.configure();
    assert!(scene.status().contains(UNPROVED), "{}", scene.status());
    let plan = host.run(&["plan", "app-db", "-o", "json"], "").ends(10).json();
    assert!(plan[0]["warnings"].to_string().contains(UNPROVED), "{plan:#}");
    // Targets and accounts are data, not text with data in it.
    let port = scene.server.port().to_string();
    assert_eq!(
        plan[0]["target"],
        serde_json::json!([{"plugin": "postgres", "values": ["localhost", port]}])
    );
    assert_eq!(plan[0]["account"], serde_json::json!([["app"]]));
    let (runs, versions) = (host.json(&["run", "list"]), host.versions("app/db"));
    let _ = host
        .run(&["rotate", "app-db", "--wait", "end"], "")
        .ends(24)
        .says(&[
            "run.adoption-required: the value of app/db was imported before this rotation was there",
            "rejected",
            "keywheel secret import app/db",
        ]);
    assert_eq!(host.json(&["run", "list"]), runs, "no run has begun");
    assert_eq!(host.versions("app/db"), versions);
    assert!(scene.takes_old());

    // Another wrong one takes its place and is no better; the right one is.
    let _ = host
        .import("app/db", &random_password())
        .ends(40)
        .says(&["the target refuses it"]);
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(24);
    assert!(scene.takes_old());
    let _ = host
        .import("app/db", &scene.right)
        .ends(0)
        .says(&["the target accepts it"]);
    assert!(!scene.status().contains(UNPROVED), "{}", scene.status());
    let _ = host
        .import("app/db", &random_password())
        .ends(24)
        .says(&["secret.already-current"]);
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    assert!(!scene.takes_old());
    let new = host.read("app/db", None);
    assert!(scene.server.login("app", &new).unwrap().is_accepted());
}

#[test]
fn a_right_value_that_was_imported_before_its_rotation_is_proved_by_a_login_and_kept() {
    let scene = Scene::new();
    let host = &scene.host;
    let _ = host.import("app/db", &scene.right).ends(0);
    scene.configure();
    // It is not given up for another one that somebody types by mistake.
    let _ = host
        .import("app/db", &random_password())
        .ends(24)
        .says(&["secret.already-current"]);
    assert_eq!(host.read("app/db", None), scene.right);
    assert!(!scene.status().contains(UNPROVED), "{}", scene.status());
    let plan = host.run(&["plan", "app-db", "-o", "json"], "").ends(10).json();
    assert!(!plan[0]["warnings"].to_string().contains(UNPROVED), "{plan:#}");
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    assert!(!scene.takes_old());
}

#[test]
fn whoever_mistypes_a_name_is_told_which_there_are() {
    let scene = Scene::new();
    scene.configure();
    let _ = scene.host.import("app/bd", &scene.right).ends(0).says(&[
        "warning: no rotation has the name app/bd",
        "did you mean `app/db`?",
    ]);
    let _ = scene
        .host
        .import("something/else", "a value to keep")
        .ends(0)
        .says(&["rotations have admin/db, app/db"]);
    let done = scene.host.run(
        &["secret", "import", "admin/db", "-", "-o", "json"],
        scene.server.admin_password(),
    );
    assert_eq!(done.ends(0).json()["input-of"][0], "app-db");
}

#[test]
fn while_an_import_is_being_verified_nobody_is_told_to_import() {
    let scene = Scene::new();
    scene.configure();
    let Scene {
        mut server,
        host,
        right,
    } = scene;
    server.stop().unwrap();
    let _ = host
        .run(&["secret", "import", "app/db", "-", "--wait", "0s"], &right)
        .ends(124);
    let status = host.run(&["status"], "").ends(10).stdout;
    assert!(
        status.contains("keywheel run resume") && !status.contains("secret import"),
        "{status}"
    );
    let _ = host.run(&["run", "cancel", "app-db"], "").ends(0);
    let status = host.run(&["status"], "").ends(10).stdout;
    assert!(status.contains("keywheel secret import app/db"), "{status}");
}

/// An import that was killed holds nobody up: no run answers for its lease, and the one who opens the state is alone with it.
#[test]
fn the_lease_of_a_dead_import_is_free() {
    let host = Host::init();
    let _ = host.import("other/secret", "a value to keep").ends(0);
    let dead = host.json(&["secret", "history", "other/secret"])[0]["run"].clone();
    let state = Connection::open(host.file("state/keywheel.db")).unwrap();
    let sql =
        "UPDATE lease SET run = ?1, until = 4000000000000 WHERE kind = 'secret' AND name = 'other/secret'";
    let changed = state.execute(sql, params![dead.as_str().unwrap()]).unwrap();
    assert_eq!(changed, 1);
    drop(state);
    let _ = host.import("other/secret", "another value").ends(0);
    assert_eq!(host.read("other/secret", None), "another value");
}

/// A rotation makes one place of a document anew; what holds the password a second time would go stale without a word.
#[test]
fn a_document_that_holds_its_password_a_second_time_is_warned_of() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    // Of letters that a URL encodes.
    let password = format!("{}/+{}", random_password(), random_password());
    server
        .sql(&format!(
            "CREATE ROLE app_a LOGIN PASSWORD '{password}'; CREATE ROLE app_b LOGIN"
        ))
        .unwrap();
    let host = Host::init();
    let bare = std::fs::read_to_string(host.file("keywheel.toml")).unwrap();
    host.configure(&postgres_pair(&server, "1s"));
    host.add_plugin("postgres", &[server.port()]);
    let _ = host.import("admin/db", server.admin_password()).ends(0);
    let encoded = password.replace('/', "%2F").replace('+', "%2B");
    let url = format!("postgres://app_a:{encoded}@db/shop");
    let parts = format!("\"username\":\"app_a\",\"password\":\"{password}\",\"host\":\"db\"");
    let told = |output: &Output, what: &str| {
        let said = format!("{}{}", output.stdout, output.stderr);
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("secret.copy")).collect();
        assert_eq!(lines.len(), 1, "{said}");
        for words in [what, "\"/more/url\"", "/password", "keep it out of the document"] {
            assert!(lines[0].contains(words), "{words}: {said}");
        }
    };
    let with_url = format!("{{{parts},\"more\":{{\"url\":\"{url}\"}}}}");
    let imported = host.import("pair/db", &with_url).ends(0);
    told(&imported, "leaves \"/more/url\" as it is");
    told(
        &host.run(&["plan", "pair-db"], "").ends(10),
        "leaves \"/more/url\" as it is",
    );
    // It is a warning: whoever reads only the parts goes on. From then on it is an old one that stands there.
    let _ = host.run(&["rotate", "pair-db", "--wait", "end"], "").ends(0);
    assert!(host.read("pair/db", None).contains(&url));
    told(
        &host.run(&["plan", "pair-db"], "").ends(10),
        "an older value of /password",
    );

    // The way out: without its rotation a secret takes another document, which the rotation proves when it is back.
    let current = host.read("pair/db", None);
    let whole = std::fs::read_to_string(host.file("keywheel.toml")).unwrap();
    std::fs::write(host.file("keywheel.toml"), &bare).unwrap();
    let without = current.replace(&format!(",\"more\":{{\"url\":\"{url}\"}}"), "");
    assert_ne!(without, current);
    let _ = host.import("pair/db", &without).ends(0);
    std::fs::write(host.file("keywheel.toml"), &whole).unwrap();
    let _ = host.run(&["rotate", "pair-db", "--wait", "end"], "").ends(0);
    let plan = host.run(&["plan", "pair-db"], "").ends(10);
    assert!(!plan.stdout.contains("secret.copy"), "{plan:?}");
    let now: serde_json::Value = serde_json::from_str(&host.read("pair/db", None)).unwrap();
    let word = |key: &str| now[key].as_str().unwrap();
    assert!(
        server
            .login(word("username"), word("password"))
            .unwrap()
            .is_accepted()
    );
    host.left_no_trace(&[password], &[]);
}

#[test]
fn a_document_in_which_a_name_stands_twice_is_refused_with_that_name() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let (password, other) = (random_password(), random_password());
    server
        .sql(&format!(
            "CREATE ROLE app_a LOGIN PASSWORD '{password}'; CREATE ROLE app_b LOGIN"
        ))
        .unwrap();
    let host = Host::init();
    host.configure(&postgres_pair(&server, "1s"));
    host.add_plugin("postgres", &[server.port()]);
    let _ = host.import("admin/db", server.admin_password()).ends(0);
    for (more, place) in [
        (format!("\"password\":\"{other}\""), "/password stands twice"),
        ("\"username\":\"app_b\"".to_owned(), "/username stands twice"),
        (format!("\"{other}\":1,\"{other}\":2"), "a name stands twice"),
    ] {
        let document = format!("{{\"username\":\"app_a\",\"password\":\"{password}\",{more}}}");
        let refused = host.import("pair/db", &document).ends(2);
        let _ = refused.says(&[
            "secret.value",
            place,
            "nothing was stored; take the wrong one out",
        ]);
    }
    assert!(host.json(&["run", "list"]).as_array().unwrap().is_empty());
    let right = format!("{{\"username\":\"app_a\",\"password\":\"{password}\"}}");
    let _ = host.import("pair/db", &right).ends(0);

    // Stored before there was a rotation, it is found by its verification.
    let configured = std::fs::read_to_string(host.file("keywheel.toml")).unwrap();
    let before = configured.split("[[rotation]]").next().unwrap();
    std::fs::write(host.file("keywheel.toml"), before).unwrap();
    let document = format!("{{\"password\":\"{other}\",\"password\":\"{password}\",\"username\":\"app_a\"}}");
    let _ = host.import("pair/db", &document).ends(0);
    std::fs::write(host.file("keywheel.toml"), configured).unwrap();
    let tested = host.run(&["target", "test", "pair-db"], "").ends(24);
    let _ = tested.says(&["secret.part", "stands twice in the same object"]);
    host.left_no_trace(&[password, other], &[]);
}
