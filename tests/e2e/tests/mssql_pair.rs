//! Two accounts of SQL Server that take turns: the second is made as the first, what they do not have in common is said, and no consumer sees
//! a failed login.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use keywheel_e2e::{Host, mssql_account, until};
use keywheel_kit::{Encryption, Policy, SqlServer, SqlServerOptions, strong_password};
use serde_json::{Value, json};

const ROTATE: [&str; 4] = ["rotate", "app-mssql", "--wait", "end"];
const REVOKE_NOW: [&str; 8] = [
    "run",
    "resume",
    "app-mssql",
    "--revoke-now",
    "--reason",
    "test",
    "--wait",
    "end",
];

fn server(policy: Policy) -> SqlServer {
    SqlServer::start(SqlServerOptions {
        encryption: Encryption::Optional,
        policy,
        ..SqlServerOptions::default()
    })
    .unwrap()
}

/// Two logins, of which there is the first, and the databases `shop` and `stock`; an administrator with the rights of the documentation.
fn host(server: &SqlServer, grace: &str) -> (Host, String) {
    let (admin, old) = (strong_password(), strong_password());
    let sql = |database: &str, sql: &str| drop(server.sql(database, sql).unwrap());
    sql(
        "master",
        &format!(
            "CREATE LOGIN rotator WITH PASSWORD = N'{admin}'; GRANT ALTER ANY LOGIN TO rotator; \
             CREATE LOGIN app_a WITH PASSWORD = N'{old}'; CREATE DATABASE shop; CREATE DATABASE stock"
        ),
    );
    for database in ["shop", "stock"] {
        sql(
            database,
            "CREATE USER rotator FOR LOGIN rotator; GRANT ALTER ANY USER, ALTER ANY ROLE TO rotator; \
             CREATE USER app_a FOR LOGIN app_a; CREATE ROLE app_role; CREATE ROLE auditors; ALTER ROLE app_role ADD MEMBER app_a",
        );
    }
    let host = Host::init();
    let text = mssql_account(server, grace)
        .replace("admin = \"sa\"\n", "admin = \"rotator\"\n")
        .replace(
            "user = \"app\"",
            "mode = \"alternating\"\nusers = [\"app_a\", \"app_b\"]\ndatabases = [\"shop\", \"stock\"]\nroles = [\"app_role\"]",
        );
    host.configure(&text);
    host.add_plugin("mssql", &[server.port()]);
    let _ = host.import("admin/mssql", &admin).ends(0);
    let document = json!({"username": "app_a", "password": old}).to_string();
    let _ = host.import("app/mssql", &document).ends(0);
    (host, old)
}

/// The roles of a user of a database, in their order.
fn roles(server: &SqlServer, database: &str, user: &str) -> String {
    let sql = format!(
        "SELECT r.name FROM sys.database_role_members m JOIN sys.database_principals r ON r.principal_id = m.role_principal_id \
         JOIN sys.database_principals u ON u.principal_id = m.member_principal_id WHERE u.name = '{user}' ORDER BY r.name"
    );
    server.sql(database, &sql).unwrap()
}

fn parts(value: &str) -> (String, String) {
    let document: Value = serde_json::from_str(value).unwrap();
    let part = |name: &str| document[name].as_str().unwrap().to_owned();
    (part("username"), part("password"))
}

/// Ends the consumer, also where the test fails beside it.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_consumer_that_logs_in_all_the_time_sees_no_failed_login_while_two_logins_take_turns() {
    let server = server(Policy::default());
    let (host, _) = host(&server, "24h");
    let (over, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    let read = || parts(&host.read("app/mssql", None));
    let mut seen = vec![read()];
    let held = Mutex::new(seen[0].clone());
    thread::scope(|scope| {
        let end = End(&over);
        let consumer = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let (user, password) = held.lock().unwrap().clone();
                assert_eq!(server.login(&user, &password).unwrap(), Ok(()), "as {user}");
                rounds.fetch_add(1, Ordering::SeqCst);
            }
        });
        // A consumer that stops has failed, and says why when it is joined.
        let a_round = || {
            let begun = rounds.load(Ordering::SeqCst);
            let is_over = || rounds.load(Ordering::SeqCst) > begun + 1 || consumer.is_finished();
            until("a round of the consumer", is_over);
        };
        for _ in 0..3 {
            let _ = host.run(&["rotate", "app-mssql"], "").ends(0);
            seen.push(read());
            held.lock().unwrap().clone_from(&seen[seen.len() - 1]);
            // What it had before, it does not use any more.
            a_round();
            let _ = host.run(&REVOKE_NOW, "").ends(0);
            a_round();
        }
        drop(end);
        consumer.join().unwrap();
    });
    let users: Vec<&str> = seen.iter().map(|(user, _)| user.as_str()).collect();
    assert_eq!(users, ["app_a", "app_b", "app_a", "app_b"]);
    let (last, dead) = seen.split_last().unwrap();
    for (user, password) in dead {
        assert_eq!(server.login(user, password).unwrap(), Err(18456), "{user}");
    }
    // The other one has nothing but what the vault has.
    assert!(server.accepts("", "app_a", &last.1));
    assert_eq!(roles(&server, "shop", "app_b"), "app_role");
    let _ = host.run(&["audit", "verify"], "").ends(0);
}

#[test]
fn what_is_granted_later_goes_to_the_other_login_or_is_said_before_a_run_begins() {
    let server = server(Policy::default());
    let (host, _) = host(&server, "1s");
    let sql = |sql: &str| drop(server.sql("shop", sql).unwrap());
    let plan = |code: i32, words: &[&str]| {
        let output = host.run(&["plan", "app-mssql"], "").ends(code);
        let said = format!("{}{}", output.stdout, output.stderr);
        for word in words {
            assert!(said.contains(word), "{word}:\n{said}");
        }
        said
    };
    let said = plan(
        10,
        &[
            "CREATE LOGIN app_b WITH PASSWORD",
            "in shop: CREATE USER app_b FOR LOGIN app_b",
            "in stock: ALTER ROLE app_role ADD MEMBER app_b",
        ],
    );
    assert!(!said.contains("mssql."), "no problem and no warning: {said}");
    sql(
        "GRANT SELECT ON dbo.orders TO app_a; ALTER ROLE auditors ADD MEMBER app_a; GRANT VIEW DEFINITION TO rotator",
    );
    server.sql("master", "GRANT VIEW SERVER STATE TO app_a").unwrap();
    plan(
        24,
        &[
            "mssql.lacks",
            "CREATE LOGIN [app_b] WITH PASSWORD = N'…'; CREATE USER [app_b] FOR LOGIN [app_b]; ",
            "GRANT SELECT ON OBJECT::[dbo].[orders] TO [app_b]",
            "ALTER ROLE [auditors] ADD MEMBER [app_b]",
            "GRANT VIEW SERVER STATE TO [app_b]",
        ],
    );
    server
        .sql("master", "REVOKE VIEW SERVER STATE FROM app_a")
        .unwrap();
    sql("REVOKE SELECT ON dbo.orders FROM app_a; ALTER ROLE auditors DROP MEMBER app_a");
    let _ = host.run(&ROTATE, "").ends(0);
    assert_eq!(parts(&host.read("app/mssql", None)).0, "app_b");
    assert_eq!(roles(&server, "stock", "app_b"), "app_role");
    // What the one that is used now has been given or lost meanwhile, the other one has or lacks after the next rotation.
    sql("ALTER ROLE app_role DROP MEMBER app_b");
    plan(10, &["in shop: ALTER ROLE app_role DROP MEMBER app_a"]);
    let _ = host.run(&ROTATE, "").ends(0);
    assert_eq!(
        (
            roles(&server, "shop", "app_a").as_str(),
            parts(&host.read("app/mssql", None)).0.as_str()
        ),
        ("", "app_a")
    );
    sql("ALTER ROLE auditors ADD MEMBER app_b");
    plan(10, &["mssql.more", "ALTER ROLE [auditors] ADD MEMBER [app_a]"]);
    sql("REVOKE ALTER ANY ROLE FROM rotator; ALTER ROLE app_role ADD MEMBER app_a");
    plan(
        24,
        &["mssql.rights", "in shop: GRANT ALTER ANY ROLE TO [rotator]"],
    );
    sql("DROP USER rotator");
    plan(
        24,
        &[
            "mssql.rights",
            "in shop: CREATE USER [rotator] FOR LOGIN [rotator]",
        ],
    );
}

/// A login that is not there yet takes no password: it is made, and not missed.
#[test]
fn a_run_that_died_before_the_second_login_was_made_goes_on() {
    let server = server(Policy::default());
    let (host, old) = host(&server, "1s");
    let died = host.finish(&mut host.failing(&ROTATE, "intent-after=return"), "");
    assert_eq!((died.code, died.signal), (-1, Some(9)), "{died:?}");
    assert!(server.password_of("", "app_b").is_none() && server.accepts("", "app_a", &old));
    let _ = host
        .run(&["run", "resume", "app-mssql", "--wait", "end"], "")
        .ends(0);
    let (user, new) = parts(&host.read("app/mssql", None));
    assert!(user == "app_b" && server.accepts("", "app_b", &new));
}

#[test]
fn a_run_that_died_is_taken_back_and_neither_login_takes_what_was_never_promoted() {
    let server = server(Policy {
        history: 5,
        ..Policy::default()
    });
    let (host, old) = host(&server, "1s");
    let died = host.finish(&mut host.failing(&ROTATE, "promote-before=return"), "");
    assert_eq!((died.code, died.signal), (-1, Some(9)), "{died:?}");
    let never = server.password_of("", "app_b").unwrap();
    let rollback = [
        "run",
        "rollback",
        "app-mssql",
        "--reason",
        "test",
        "--wait",
        "end",
    ];
    let _ = host.run(&rollback, "");
    assert_eq!(
        parts(&host.read("app/mssql", None)),
        ("app_a".to_owned(), old.clone())
    );
    assert!(server.accepts("", "app_a", &old) && !server.accepts("", "app_b", &never));
    // A second time the rule of history refuses the password that the first one was taken back by.
    let _ = host.finish(&mut host.failing(&ROTATE, "promote-before=return"), "");
    let never = server.password_of("", "app_b").unwrap();
    let stopped = host.run(&rollback, "");
    assert!(
        stopped.code == 41 && server.accepts("", "app_b", &never),
        "{stopped:?}"
    );
    let by_hand = format!("ALTER LOGIN app_b WITH PASSWORD = N'{}'", strong_password());
    server.sql("master", &by_hand).unwrap();
    let resumed = host.run(&["run", "resume", "app-mssql", "--wait", "end"], "");
    assert!(resumed.stdout.contains("rolled-back"), "{resumed:?}");
    assert_eq!(parts(&host.read("app/mssql", None)).1, old);
    let _ = host.run(&ROTATE, "").ends(0);
    let (user, new) = parts(&host.read("app/mssql", None));
    assert!(user == "app_b" && server.accepts("", "app_b", &new) && !server.accepts("", "app_a", &old));
}

#[test]
fn two_users_of_a_contained_database_take_turns_without_logins() {
    let server = server(Policy::default());
    let (admin, old) = (strong_password(), strong_password());
    let sql = |database: &str, sql: &str| drop(server.sql(database, sql).unwrap());
    sql(
        "master",
        &format!(
            "CREATE LOGIN rotator WITH PASSWORD = N'{admin}'; CREATE DATABASE gate CONTAINMENT = PARTIAL"
        ),
    );
    sql(
        "gate",
        &format!(
            "CREATE USER rotator FOR LOGIN rotator; GRANT ALTER ANY USER, ALTER ANY ROLE TO rotator; \
             CREATE USER app_a WITH PASSWORD = N'{old}'; CREATE ROLE app_role; ALTER ROLE app_role ADD MEMBER app_a"
        ),
    );
    let host = Host::init();
    let text = mssql_account(&server, "1s")
        .replace("admin = \"sa\"\n", "admin = \"rotator\"\n")
        .replace(
            "user = \"app\"",
            "mode = \"alternating\"\nusers = [\"app_a\", \"app_b\"]\ndatabase = \"gate\"\nroles = [\"app_role\"]\nformat = \"connection-string\"",
        );
    host.configure(&text);
    host.add_plugin("mssql", &[server.port()]);
    let _ = host.import("admin/mssql", &admin).ends(0);
    let whole = format!("Server=tcp:localhost;Database=gate;User ID=app_a;Password={old};Encrypt=True");
    let _ = host.import("app/mssql", &whole).ends(0);
    let _ = host.run(&ROTATE, "").ends(0);
    let whole = host.read("app/mssql", None);
    let new = server.password_of("gate", "app_b").unwrap();
    assert_eq!(
        whole,
        format!("Server=tcp:localhost;Database=gate;User ID=app_b;Password={new};Encrypt=True")
    );
    assert!(!server.accepts("gate", "app_a", &old) && roles(&server, "gate", "app_b") == "app_role");
    let _ = host.run(&ROTATE, "").ends(0);
    assert!(host.read("app/mssql", None).contains("User ID=app_a;"));
}

#[test]
fn the_first_string_of_two_logins_is_what_the_template_says() {
    let server = server(Policy::default());
    let host = Host::init();
    let template =
        |user: &str, password: &str| format!("Server=localhost;User ID={user};Password={password}");
    let settings = format!(
        "mode = \"alternating\"\nusers = [\"app_a\", \"app_b\"]\nformat = \"connection-string\"\ntemplate = {:?}",
        template("{user}", "{password}")
    );
    let text = mssql_account(&server, "1s")
        .replace("grace = ", "first = \"set\"\ngrace = ")
        .replace("user = \"app\"", &settings);
    host.configure(&text);
    host.add_plugin("mssql", &[server.port()]);
    let _ = host.import("admin/mssql", server.admin_password()).ends(0);
    // The first run dies before it has made the first of them, when there is no version yet that says whose turn it is.
    let died = host.finish(&mut host.failing(&ROTATE, "intent-after=return"), "");
    assert_eq!((died.code, died.signal), (-1, Some(9)), "{died:?}");
    assert!(server.password_of("", "app_a").is_none());
    let resume = ["run", "resume", "app-mssql", "--wait", "end"];
    let _ = host.run(&resume, "").ends(0);
    assert!(host.read("app/mssql", None).contains("User ID=app_a;"));
    for user in ["app_b", "app_a", "app_b"] {
        let _ = host.run(&ROTATE, "").ends(0);
        let password = server.password_of("", user).unwrap();
        assert_eq!(host.read("app/mssql", None), template(user, &password));
    }
}
