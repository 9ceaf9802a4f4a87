//! An account of SQL Server: one password at a time, what `plan` says of it, what the server's own log has. The server is the one of `tests/servers/tds`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::time::Duration;

use keywheel_e2e::{Host, mssql_account};
use keywheel_kit::{Policy, SqlServer, SqlServerOptions, strong_password};

const ROTATE: [&str; 4] = ["rotate", "app-mssql", "--wait", "end"];
const ROLLBACK: [&str; 7] = [
    "run",
    "rollback",
    "app-mssql",
    "--reason",
    "test",
    "--wait",
    "end",
];

fn server(options: SqlServerOptions) -> SqlServer {
    SqlServer::start(options).unwrap()
}

/// With an administrator that has the rights of the documentation, and no more; its password.
fn host(server: &SqlServer, text: &str) -> (Host, String) {
    let admin = strong_password();
    let make = format!("CREATE LOGIN rotator WITH PASSWORD = N'{admin}'; GRANT ALTER ANY LOGIN TO rotator");
    server.sql("master", &make).unwrap();
    let host = Host::init();
    host.configure(&text.replace("admin = \"sa\"\n", "admin = \"rotator\"\n"));
    host.add_plugin("mssql", &[server.port()]);
    let _ = host.import("admin/mssql", &admin).ends(0);
    (host, admin)
}

fn make(server: &SqlServer, password: &str) {
    let sql = format!("CREATE LOGIN app WITH PASSWORD = N'{password}'");
    server.sql("master", &sql).unwrap();
}

#[test]
fn a_login_has_one_password_at_a_time_and_only_the_statement_shows_it() {
    let server = server(SqlServerOptions::default());
    let old = strong_password();
    let (host, admin) = host(&server, &mssql_account(&server, "1s"));
    make(&server, &old);
    let wrong = host.import("app/mssql", &strong_password()).ends(40);
    assert!(
        wrong.stderr.contains("rejected") || wrong.stderr.contains("refused"),
        "{wrong:?}"
    );
    let _ = host.import("app/mssql", &old).ends(0);
    let plan = host.run(&["plan", "app-mssql"], "").ends(10);
    assert!(plan.stdout.contains("ALTER LOGIN app WITH PASSWORD"), "{plan:?}");
    assert!(
        !plan.stdout.contains("mssql."),
        "no problem and no warning: {plan:?}"
    );
    let mut before = old;
    for _ in 0..3 {
        let _ = host.run(&ROTATE, "").ends(0);
        let now = host.read("app/mssql", None);
        assert!(now != before && server.accepts("", "app", &now));
        before = now;
    }
    // The log of this server masks nothing: the passwords are where a statement sets them, as the docs say, and nowhere else.
    let log = server.log();
    let sets = |line: &&str| line.starts_with("ALTER LOGIN [app] WITH PASSWORD = N'");
    assert!(log.lines().any(|line| sets(&line)), "{log}");
    let others: Vec<&str> = log.lines().filter(|line| !sets(line)).collect();
    host.left_no_trace(&[before, admin], &[("statements", &others.join("\n"))]);
}

#[test]
fn a_user_of_a_contained_database_is_changed_there_and_not_the_login_of_the_same_name() {
    let server = server(SqlServerOptions::default());
    let (of_login, old) = (strong_password(), strong_password());
    let text = mssql_account(&server, "1s").replace(
        "user = \"app\"",
        "user = \"app\"\ndatabase = \"shop\"\ntransport = \"strict\"",
    );
    let (host, _) = host(&server, &text);
    make(&server, &of_login);
    server
        .sql("master", "CREATE DATABASE shop CONTAINMENT = PARTIAL")
        .unwrap();
    let users = format!(
        "CREATE USER rotator FOR LOGIN rotator; GRANT ALTER ANY USER TO rotator; CREATE USER app WITH PASSWORD = N'{old}'"
    );
    server.sql("shop", &users).unwrap();
    let _ = host.import("app/mssql", &old).ends(0);
    let plan = host.run(&["plan", "app-mssql"], "").ends(10);
    assert!(plan.stdout.contains("ALTER USER app WITH PASSWORD"), "{plan:?}");
    let _ = host.run(&ROTATE, "").ends(0);
    let new = host.read("app/mssql", None);
    assert!(new != old && server.accepts("shop", "app", &new) && server.accepts("", "app", &of_login));
    server.sql("master", "ALTER DATABASE shop SET READ_ONLY").unwrap();
    let plan = host.run(&["plan", "app-mssql"], "").ends(24);
    assert!(
        format!("{}{}", plan.stdout, plan.stderr).contains("mssql.read-only"),
        "{plan:?}"
    );
}

#[test]
fn the_password_in_a_connection_string_of_azure_is_rotated_past_its_cache() {
    let server = server(SqlServerOptions {
        azure: Some(("gate", Duration::from_millis(500))),
        ..SqlServerOptions::default()
    });
    let text = mssql_account(&server, "24h").replace(
        "user = \"app\"",
        "user = \"app\"\nlogin = \"app@gate\"\nservice = \"azure\"\nformat = \"connection-string\"",
    );
    let text = text.replace("admin = \"sa\"", "admin = \"rotator@gate\"");
    let (host, _) = host(&server, &text);
    let old = strong_password();
    make(&server, &old);
    let (head, tail) = (
        "Server=tcp:localhost,1433;User ID=app@gate;Password=",
        ";Encrypt=True",
    );
    let _ = host.import("app/mssql", &format!("{head}{old}{tail}")).ends(0);
    // Busy for a moment: nothing is given up for that.
    server.refuse_logins(40613, 1);
    // The minute after which a refusal is believed comes after the promotion, and is not waited for.
    let _ = host.run(&["rotate", "app-mssql"], "");
    let _ = host.run(&["run", "resume", "app-mssql"], "");
    let whole = host.read("app/mssql", None);
    let new = whole
        .strip_prefix(head)
        .and_then(|rest| rest.strip_suffix(tail))
        .unwrap();
    assert!(new != old && server.accepts("", "app", new), "{}", server.log());
}

#[test]
fn what_stands_in_the_way_of_a_rotation_is_said_before_it_begins() {
    let server = server(SqlServerOptions {
        policy: Policy {
            history: 5,
            ..Policy::default()
        },
        ..SqlServerOptions::default()
    });
    let (host, _) = host(&server, &mssql_account(&server, "1s"));
    let sql = |sql: &str| drop(server.sql("master", sql).unwrap());
    let plan = |code: i32, words: &[&str]| {
        let output = host.run(&["plan", "app-mssql"], "").ends(code);
        let said = format!("{}{}", output.stdout, output.stderr);
        for word in words {
            assert!(said.contains(word), "{word}:\n{said}");
        }
    };
    plan(24, &["mssql.account-missing", "ALTER ANY LOGIN"]);
    let (one, two) = (strong_password(), strong_password());
    make(&server, &one);
    let next = format!("ALTER LOGIN app WITH PASSWORD = N'{two}' MUST_CHANGE, CHECK_EXPIRATION = ON");
    sql(&next);
    sql("ALTER LOGIN app DISABLE");
    plan(
        24,
        &[
            "mssql.disabled",
            "ALTER LOGIN [app] ENABLE",
            "mssql.history",
            "mssql.expired",
        ],
    );
    sql("ALTER LOGIN app ENABLE; ALTER SERVER ROLE sysadmin ADD MEMBER app");
    plan(24, &["mssql.rights", "sysadmin"]);
    sql(
        "ALTER SERVER ROLE sysadmin DROP MEMBER app; REVOKE ALTER ANY LOGIN FROM rotator; GRANT VIEW ANY DEFINITION TO rotator",
    );
    plan(24, &["mssql.rights", "GRANT ALTER ANY LOGIN TO [rotator]"]);
    // A refusal that has another reason than the password is no refusal of it.
    sql("GRANT ALTER ANY LOGIN TO rotator");
    let refused = host.import("app/mssql", &two);
    assert_eq!(refused.code, 41, "{refused:?}");
    assert!(refused.stdout.contains("18488"), "{refused:?}");
}

#[test]
fn a_locked_login_is_told_from_a_wrong_password() {
    let server = server(SqlServerOptions {
        policy: Policy {
            lockout: Some(1),
            ..Policy::default()
        },
        ..SqlServerOptions::default()
    });
    let (host, _) = host(&server, &mssql_account(&server, "1s"));
    let old = strong_password();
    make(&server, &old);
    // It locks the login.
    let wrong = host.import("app/mssql", &strong_password());
    assert!(matches!(wrong.code, 40 | 41), "{wrong:?}");
    let plan = host.run(&["plan", "app-mssql"], "").ends(24);
    let said = format!("{}{}", plan.stdout, plan.stderr);
    assert!(said.contains("mssql.locked") && said.contains("UNLOCK"), "{said}");
}

#[test]
fn a_run_that_died_is_taken_back_and_the_old_password_is_good_again() {
    let server = server(SqlServerOptions::default());
    let old = strong_password();
    let (host, _) = host(&server, &mssql_account(&server, "1s"));
    make(&server, &old);
    let _ = host.import("app/mssql", &old).ends(0);
    // The first rotation passes other places than those after it.
    let _ = host.run(&ROTATE, "").ends(0);
    let places = host.places_on(&ROTATE);
    let current = host.read("app/mssql", None);
    let known = places.iter().position(|place| place == "conclude-after").unwrap();
    host.dies_at(&ROTATE, &places, known);
    let _ = host.run(&ROLLBACK, "");
    assert_eq!(host.read("app/mssql", None), current);
    assert!(server.accepts("", "app", &current));
}

#[test]
fn a_first_password_is_set_over_what_is_there_and_the_login_is_disabled_when_it_is_taken_back() {
    let server = server(SqlServerOptions::default());
    let text = mssql_account(&server, "1s").replace("grace = ", "first = \"set\"\ngrace = ");
    let (host, _) = host(&server, &text);
    let before = strong_password();
    make(&server, &before);
    let died = host.finish(&mut host.failing(&ROTATE, "promote-before=return"), "");
    assert_eq!((died.code, died.signal), (-1, Some(9)), "{died:?}");
    assert!(!server.accepts("", "app", &before));
    let _ = host.run(&ROLLBACK, "");
    let disabled = "SELECT is_disabled FROM sys.sql_logins WHERE name = 'app'";
    assert_eq!(server.sql("master", disabled).unwrap(), "1");
    server.sql("master", "ALTER LOGIN app ENABLE").unwrap();
    let _ = host.run(&ROTATE, "").ends(0);
    assert!(server.accepts("", "app", &host.read("app/mssql", None)));
}

/// The rotation of the login by itself: no administrator is configured.
fn alone(server: &SqlServer) -> Host {
    let host = Host::init();
    let text = mssql_account(server, "1s")
        .replace("inputs = { admin = \"admin/mssql\" }\n", "")
        .replace(
            "admin = \"sa\"\nuser = \"app\"",
            "mode = \"self\"\nuser = \"app\"",
        );
    host.configure(&text);
    host.add_plugin("mssql", &[server.port()]);
    host
}

#[test]
fn a_login_changes_its_own_password_and_a_death_in_between_is_no_lock_out() {
    let server = server(SqlServerOptions::default());
    let host = alone(&server);
    let old = strong_password();
    make(&server, &old);
    let _ = host.import("app/mssql", &strong_password()).ends(40);
    let _ = host.import("app/mssql", &old).ends(0);
    let plan = host.run(&["plan", "app-mssql"], "").ends(10);
    assert!(plan.stdout.contains("OLD_PASSWORD = N'…', as app"), "{plan:?}");
    assert!(plan.stdout.contains("mssql.alone"), "{plan:?}");
    // The first rotation passes other places than those after it.
    let _ = host.run(&ROTATE, "").ends(0);
    let places = host.places_on(&ROTATE);
    let current = host.read("app/mssql", None);
    assert!(current != old && server.accepts("", "app", &current));
    // The server has answered a login, and then the statement, and the host died before it had written that down: the run goes on.
    let answered = places
        .iter()
        .enumerate()
        .filter(|(_, place)| *place == "conclude-before");
    let answered: Vec<usize> = answered.map(|(at, _)| at).take(2).collect();
    let mut next = current;
    for at in answered {
        host.dies_at(&ROTATE, &places, at);
        let _ = host
            .run(&["run", "resume", "app-mssql", "--wait", "end"], "")
            .ends(0);
        let before = std::mem::replace(&mut next, host.read("app/mssql", None));
        assert!(next != before && server.accepts("", "app", &next));
    }
    // Before the promotion the old one is put back, by the new one.
    let _ = host.finish(&mut host.failing(&ROTATE, "promote-before=return"), "");
    assert!(!server.accepts("", "app", &next));
    let _ = host.run(&ROLLBACK, "");
    assert!(server.accepts("", "app", &next));
    assert_eq!(host.read("app/mssql", None), next);
}

#[test]
fn a_login_that_takes_neither_of_its_passwords_needs_somebody_else() {
    let server = server(SqlServerOptions::default());
    let host = alone(&server);
    let old = strong_password();
    make(&server, &old);
    let _ = host.import("app/mssql", &old).ends(0);
    let by_hand = format!("ALTER LOGIN app WITH PASSWORD = N'{}'", strong_password());
    server.sql("master", &by_hand).unwrap();
    let stopped = host.run(&ROTATE, "");
    assert_ne!(stopped.code, 0, "{stopped:?}");
    let said = format!("{}{}", stopped.stdout, stopped.stderr);
    assert!(said.contains("takes neither"), "{said}");
}
