//! Two roles of PostgreSQL that take turns: what they do not have in common is told before clients go from one to the other.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use keywheel_e2e::{Host, postgres_pair};
use keywheel_kit::{Postgres, PostgresOptions, random_password};
use serde_json::{Value, json};

/// Names that are one name only if they are quoted.
const FIRST: &str = "app a";
const SECOND: &str = "App\"b";
/// What is set for the first one, in a setting that no server has by itself.
const PRIVATE: &str = "not for everybody";

/// A server where the first has what the second has not, of each kind, and the reverse of some.
fn uneven(server: &Postgres, password: &str) {
    let (a, b) = ("\"app a\"", "\"App\"\"b\"");
    let sql = format!(
        "CREATE ROLE \"Own er\" NOLOGIN; CREATE ROLE readers; CREATE ROLE writers; CREATE SCHEMA shop; CREATE SCHEMA {a};
         CREATE ROLE {a} LOGIN PASSWORD '{password}' IN ROLE \"Own er\", readers; CREATE ROLE {b} LOGIN CREATEDB IN ROLE \"Own er\";
         GRANT writers TO {b} WITH ADMIN OPTION;
         ALTER ROLE {a} SET work_mem = '64MB'; ALTER ROLE {a} IN DATABASE postgres SET statement_timeout = '5s';
         ALTER ROLE {a} SET app.key = '{PRIVATE}'; ALTER ROLE {b} SET lock_timeout = '1s'; ALTER ROLE {b} SET work_mem = '32MB';
         ALTER ROLE {a} CONNECTION LIMIT 20;
         CREATE TABLE shop.\"Or ders\" (number int); CREATE SEQUENCE shop.numbers;
         CREATE FUNCTION shop.next(int, text) RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE ALL ON FUNCTION shop.next(int, text) FROM PUBLIC;
         GRANT SELECT, INSERT ON shop.\"Or ders\" TO {a}; GRANT SELECT ON shop.\"Or ders\" TO \"Own er\"; GRANT USAGE ON SCHEMA shop TO {a};
         GRANT USAGE ON shop.numbers TO {b} WITH GRANT OPTION; GRANT EXECUTE ON FUNCTION shop.next(int, text) TO {a};
         ALTER DEFAULT PRIVILEGES FOR ROLE {a} IN SCHEMA shop GRANT SELECT, UPDATE ON TABLES TO readers;
         ALTER DEFAULT PRIVILEGES FOR ROLE {b} IN SCHEMA shop GRANT SELECT ON TABLES TO readers;
         ALTER DEFAULT PRIVILEGES FOR ROLE \"Own er\" GRANT SELECT ON TABLES TO {a} WITH GRANT OPTION;
         ALTER DEFAULT PRIVILEGES FOR ROLE {b} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
         ALTER DEFAULT PRIVILEGES FOR ROLE {a} GRANT USAGE ON SEQUENCES TO {b};
         CREATE TABLE shop.own (number int); ALTER TABLE shop.own OWNER TO {b};"
    );
    server.sql(&sql).unwrap();
}

fn warnings(host: &Host) -> Vec<String> {
    let plan = host.run(&["plan", "pair-db", "-o", "json"], "").ends(10).json();
    let of = |value: &Value| value.as_str().unwrap().to_owned();
    plan[0]["warnings"].as_array().unwrap().iter().map(of).collect()
}

/// The statement in a warning: `code: what (statement)`. One that is for several databases says so in a comment.
fn statement(warning: &str) -> &str {
    let (_, hint) = warning
        .split_once(" has not (")
        .or_else(|| warning.split_once(" or drop them ("))
        .unwrap_or_else(|| panic!("{warning}"));
    hint.strip_suffix(')').unwrap()
}

#[test]
fn what_the_two_do_not_have_in_common_is_told_with_the_statement_that_mends_it() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let password = random_password();
    uneven(&server, &password);
    let host = Host::init();
    let roles = json!([FIRST, SECOND]).to_string();
    let text = postgres_pair(&server, "1s").replace("{ step = \"3s\" }", "{ step = \"30s\" }");
    host.configure(&text.replace("[\"app_a\", \"app_b\"]", &roles));
    host.add_plugin("postgres", &[server.port()]);
    let _ = host.import("admin/db", server.admin_password()).ends(0);
    let document = json!({ "username": FIRST, "password": password }).to_string();
    let _ = host.import("pair/db", &document).ends(0);

    let found = warnings(&host);
    let count = |code: &str| found.iter().filter(|warning| warning.starts_with(code)).count();
    for (code, times) in [
        ("postgres.settings: ", 4..=4),
        // An option of a membership is a second one, or a part of it, by the server's version.
        ("postgres.membership: ", 2..=3),
        ("postgres.attributes: ", 2..=2),
        ("postgres.default-privileges: ", 4..=4),
        ("postgres.grants: ", 4..=4),
        ("postgres.user-schema: ", 1..=1),
        ("postgres.ownership: ", 1..=1),
    ] {
        assert!(times.contains(&count(code)), "{code}: {found:#?}");
    }
    assert!(!found.concat().contains(PRIVATE), "{found:#?}");
    // Clients use the first: it keeps its own value of what both have.
    let work_mem = "ALTER ROLE \"App\"\"b\" SET work_mem TO '64MB'";
    assert!(
        found.iter().any(|warning| statement(warning) == work_mem),
        "{found:#?}"
    );

    // Whoever runs each of them has two that are alike.
    for warning in &found {
        let mended = statement(warning).replace('…', &format!("'{PRIVATE}'"));
        server
            .sql(&mended)
            .unwrap_or_else(|error| panic!("{warning}: {error:#}"));
    }
    assert_eq!(warnings(&host), [""; 0]);
    let _ = host.run(&["rotate", "pair-db", "--wait", "end"], "").ends(0);
    let new: Value = serde_json::from_str(&host.read("pair/db", None)).unwrap();
    assert_eq!(new["username"], SECOND);
}
