//! A secret goes back to an older value, by the vault alone where the target takes it, else by a run; and what does not go back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::fs;

use keywheel_e2e::{Host, postgres_pair, role_adopted};
use keywheel_kit::{Postgres, PostgresOptions, random_password};
use serde_json::json;

/// A role that was rotated once: its first version, and that one's password.
fn rotated() -> (Postgres, Host, String, String) {
    let (server, host, old) = role_adopted();
    let first = host.versions("app/db")[0].0.clone();
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    (server, host, first, old)
}

/// The old password of a role was overwritten: to go back, it is set again by a run like any other.
#[test]
fn a_secret_goes_back_to_a_value_that_the_target_does_not_take_any_more() {
    let (server, host, first, old) = rotated();
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
    // The stage of each is that of its name: the value of the first one is current again.
    let history = host.json(&["secret", "history", "app/db"]);
    let newest = &history[0]["version"];
    assert_eq!(
        history[2]["same-value"],
        json!([{"version": newest, "stage": "current"}])
    );
    assert_eq!(history[1]["same-value"], json!([]), "{history:#}");
    let shown = host.run(&["secret", "history", "app/db"], "").ends(0);
    let words = format!("same value as {} (current)", newest.as_str().unwrap());
    assert!(shown.stdout.contains(&words), "{shown:?}");
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

/// What would stop a rotation stops the way back, before anything is written.
#[test]
fn what_plan_refuses_does_not_go_back() {
    let (server, host, first, old) = rotated();
    server.sql("ALTER ROLE app SUPERUSER").unwrap();
    let refused = host.run(&["secret", "rollback", "app/db", &first], "").ends(24);
    let _ = refused.says(&["plan.refused", "superuser"]);
    assert_eq!(host.versions("app/db").len(), 2, "nothing was written");
    let runs = host.json(&["run", "list"]);
    assert!(
        runs.as_array()
            .unwrap()
            .iter()
            .all(|run| run["trigger"] != "rollback"),
        "{runs:#}"
    );
    assert!(server.login("app", &old).unwrap().is_refused());
}

/// After a restore nobody knows what the target takes: a secret is verified before it goes back.
#[test]
fn a_secret_that_is_not_verified_since_a_restore_does_not_go_back() {
    let (server, host, first, old) = rotated();
    let _ = host.run(&["vault", "restored", "--reason", "test"], "").ends(0);
    let refused = host.run(&["secret", "rollback", "app/db", &first], "").ends(24);
    let _ = refused.says(&["has not been verified since", "keywheel drift check app-db"]);
    assert_eq!(host.versions("app/db").len(), 2, "nothing was written");
    let _ = host.run(&["drift", "check", "app-db"], "").ends(0);
    let back = ["secret", "rollback", "app/db", &first, "--wait", "end"];
    let _ = host.run(&back, "").ends(0);
    assert!(server.login("app", &old).unwrap().is_accepted());
}

/// The restore came while a rollback was under way: what it had pending is nothing that a later rotation makes current.
#[test]
fn a_rollback_that_a_restore_has_overtaken_is_forgotten() {
    let (mut server, host, first, old) = rotated();
    let new = host.read("app/db", None);
    let _ = host.run(&["audit", "verify"], "").ends(0);
    // Held up before its change: the server is gone when it has looked.
    let mut command = host.command(&["secret", "rollback", "app/db", &first, "--wait", "0s"]);
    let mut started = host.start(&mut command);
    let pending = || host_has_pending(&host);
    while !pending() && started.child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let _ = started.child.kill();
    let _ = host.wait(started);
    let _ = host.run(&["vault", "restored", "--reason", "test"], "").ends(0);
    server.restart().unwrap();
    let _ = host.run(&["run", "resume", "--all", "--wait", "end"], "");
    let _ = host
        .run(&["drift", "check", "app-db", "--wait", "end"], "")
        .ends(0);
    assert!(
        host.versions("app/db")
            .iter()
            .all(|(_, stage)| stage != "pending")
    );
    let current = host.read("app/db", None);
    assert!(current == new || current == old);
    assert!(server.login("app", &current).unwrap().is_accepted());
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    let after = host.read("app/db", None);
    assert!(after != old && after != new, "a new one");
    assert!(server.login("app", &after).unwrap().is_accepted());
}

fn host_has_pending(host: &Host) -> bool {
    let database = host.file("state/keywheel.db");
    let open = rusqlite::Connection::open_with_flags(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
    open.and_then(|database| {
        let sql = "SELECT count(*) FROM version WHERE stage = 'pending'";
        database.query_row(sql, [], |row| row.get::<_, u32>(0))
    })
    .is_ok_and(|count| count > 0)
}

/// The older value is that of another role, which the rotation changed before: it is not set on the one of now.
#[test]
fn the_value_of_another_account_does_not_go_back() {
    let (server, host, first, old) = rotated();
    let other = random_password();
    server
        .sql(&format!("CREATE ROLE bb LOGIN PASSWORD '{other}'"))
        .unwrap();
    let file = host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("role = \"app\"", "role = \"bb\"")).unwrap();
    let _ = host.import("app/db", &other).ends(0);
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    let refused = host.run(&["secret", "rollback", "app/db", &first], "").ends(24);
    let _ = refused.says(&["plan.refused", "of another account"]);
    assert!(server.login("bb", &old).unwrap().is_refused());
}
