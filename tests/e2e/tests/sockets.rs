//! A PostgreSQL server that is reached by its Unix socket.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use keywheel_e2e::{Host, postgres_role, until};
use keywheel_kit::{Postgres, PostgresOptions, random_password};

/// A server with the role `app`, and a host that knows it by its socket; the plugin is added with these arguments.
fn scene(added: &[&str]) -> (Postgres, Host, String) {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let old = random_password();
    server
        .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{old}'"))
        .unwrap();
    let host = Host::init();
    let folder = server.socket_folder().display();
    let text = postgres_role(&server, "1s").replace("host = \"localhost\"", &format!("host = \"{folder}\""));
    host.configure(&text.replace("{ step = \"3s\" }", "{ step = \"30s\" }"));
    host.drop_plugin("postgres");
    let _ = host
        .run(&[&["plugin", "add", "postgres", "--yes"], added].concat(), "")
        .ends(0);
    let _ = host.import("admin/db", server.admin_password()).ends(0);
    (server, host, old)
}

#[test]
fn a_role_is_rotated_over_the_socket_that_the_grant_names() {
    let (server, host, old) = scene(&["--host", "{/host}:{/port} socket"]);
    let _ = host.import("app/db", &old).ends(0);
    let plan = host.run(&["plan", "app-db", "-o", "json"], "").ends(10).json();
    let place = format!(
        "{} port {} socket",
        server.socket_folder().display(),
        server.port()
    );
    assert_eq!(plan[0]["hosts"], serde_json::json!([place]), "{plan:#}");
    assert_eq!(plan[0]["warnings"], serde_json::json!([]), "{plan:#}");
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    let new = host.read("app/db", None);
    assert!(server.login("app", &new).unwrap().is_accepted());
    assert!(server.login("app", &old).unwrap().is_refused());

    // Killed while its statement waits for the role's row: the next one ends that session over the socket, too.
    let mut other = server.hold(server.admin_user(), server.admin_password()).unwrap();
    let is = |what: &str| {
        let asked =
            format!("SELECT count(*) FROM pg_stat_activity WHERE {what} AND query LIKE 'ALTER ROLE%app%'");
        server.sql(&asked).unwrap() != "0"
    };
    writeln!(other, "BEGIN; ALTER ROLE app CONNECTION LIMIT -1;").unwrap();
    until("the row is taken", || is("state = 'idle in transaction'"));
    let mut started = host.start(&mut host.command(&["rotate", "app-db", "--wait", "end"]));
    until("the change waits for the row", || is("wait_event_type = 'Lock'"));
    started.child.kill().unwrap();
    let _ = host.wait(started).ends(-1);
    writeln!(other, "COMMIT;").unwrap();
    let _ = host
        .run(&["run", "resume", "app-db", "--wait", "end"], "")
        .ends(0);
    let rows = host.json(&["audit", "search", "--action", "target.end-sessions"]);
    let ended = rows.as_array().unwrap().iter().any(|row| row["outcome"] == "ok");
    assert!(ended, "{rows:#}");
    let newest = host.read("app/db", None);
    assert!(newest != new && server.login("app", &newest).unwrap().is_accepted());
    let _ = host.run(&["audit", "verify"], "").ends(0);
}

#[test]
fn no_socket_is_reached_that_the_grant_does_not_name() {
    // As `plugin add` writes it by itself: TLS alone.
    let (server, host, _) = scene(&[]);
    let (folder, port) = (server.socket_folder().display().to_string(), server.port());
    let line = format!("\"{folder}:{port} socket\"");
    let plan = host.run(&["plan", "app-db"], "").ends(24);
    for words in ["policy.denied", &line] {
        assert!(plan.stdout.contains(words), "{words}: {plan:?}");
    }
    let asked = format!("connect {folder}:{port} socket");
    let words = [
        &["policy", "explain", "app-db"],
        &asked.split(' ').collect::<Vec<_>>()[..],
    ]
    .concat();
    let _ = host.run(&words, "").ends(21);
    let grant = host.file("policies/postgres.toml");
    let text = fs::read_to_string(&grant).unwrap();
    fs::write(&grant, text.replace("hosts = [", &format!("hosts = [{line}, "))).unwrap();
    let _ = host.run(&words, "").ends(0);
    // Nothing is adopted yet.
    let _ = host.run(&["plan", "app-db"], "").ends(24);

    let mode = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o1777);
    let plan = host.run(&["plan", "app-db"], "");
    let said = format!("{}{}", plan.stdout, plan.stderr);
    assert!(said.contains("net.open-folder"), "{said}");
    mode(0o700);
    for folder in ["/run/../tmp", "/tmp/", "run/postgresql"] {
        let file = host.file("keywheel.toml");
        let before = fs::read_to_string(&file).unwrap();
        let own = format!("host = \"{}\"", server.socket_folder().display());
        fs::write(&file, before.replace(&own, &format!("host = \"{folder}\""))).unwrap();
        let refused = host.run(&["config", "check"], "").ends(20);
        assert!(
            refused.stderr.contains("config.plugin-setting"),
            "{folder}: {refused:?}"
        );
        fs::write(&file, before).unwrap();
    }
}
