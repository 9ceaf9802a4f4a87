//! A MySQL user: two passwords at a time, by hashes alone; what `plan` says of its accounts; what the server's own log has of it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use keywheel_e2e::{Host, mariadb_user, mysql_user};
use keywheel_kit::{MariaDb, MariaDbOptions, MySql, random_password};

const ROTATE: [&str; 4] = ["rotate", "app-mysql", "--wait", "end"];

const REVOKE_NOW: [&str; 8] = [
    "run",
    "resume",
    "app-mysql",
    "--revoke-now",
    "--reason",
    "test",
    "--wait",
    "end",
];

fn server() -> MySql {
    MySql::start(MariaDbOptions {
        log_statements: true,
        ..MariaDbOptions::default()
    })
    .unwrap()
}

/// With an administrator that has the rights of the documentation, and no more; its password.
fn host(server: &MariaDb, text: &str) -> (Host, String) {
    let admin = random_password();
    let make = format!(
        "CREATE USER rotator@'%' IDENTIFIED BY '{admin}'; GRANT CREATE USER ON *.* TO rotator@'%'; GRANT SELECT ON mysql.user TO rotator@'%'"
    );
    server.sql(&make).unwrap();
    let host = Host::init();
    host.configure(&text.replace("admin = \"admin\"\n", "admin = \"rotator\"\n"));
    host.add_plugin("mysql", &[server.port()]);
    let _ = host.import("admin/mysql", &admin).ends(0);
    (host, admin)
}

fn accepts(server: &MySql, password: &str) -> bool {
    server.login("app", password).unwrap().is_accepted()
}

fn make(server: &MySql, password: &str, more: &str) {
    let sql = format!("CREATE USER app@'%' IDENTIFIED BY '{password}' {more}");
    server.sql(&sql).unwrap();
}

#[test]
fn both_passwords_are_good_until_the_grace_is_over_and_the_servers_log_has_neither() {
    let server = server();
    let old = random_password();
    let (host, admin) = host(&server, &mysql_user(&server, "24h"));
    make(&server, &old, "");
    let wrong = host.import("app/mysql", &random_password()).ends(40);
    assert!(
        wrong.stderr.contains("rejected") || wrong.stderr.contains("refused"),
        "{wrong:?}"
    );
    let _ = host.import("app/mysql", &old).ends(0);
    let plan = host.run(&["plan", "app-mysql"], "").ends(10);
    assert!(plan.stdout.contains("RETAIN CURRENT PASSWORD"), "{plan:?}");
    assert!(
        !plan.stdout.contains("mysql."),
        "no problem and no warning: {plan:?}"
    );

    let _ = host.run(&["rotate", "app-mysql"], "").ends(0);
    let new = host.read("app/mysql", None);
    assert!(new != old && accepts(&server, &old) && accepts(&server, &new));
    // Within the grace a value that was set by hand gives way to the vault's, and the old one stays good.
    let third = random_password();
    let by_hand = format!("ALTER USER app@'%' IDENTIFIED BY '{third}'");
    server.sql(&by_hand).unwrap();
    assert!(!accepts(&server, &new));
    let check = host.run(&["drift", "check", "-o", "json"], "").ends(10).json();
    assert_eq!(check[0]["found"], "repaired", "{check:#}");
    assert!(accepts(&server, &new) && accepts(&server, &old) && !accepts(&server, &third));

    let _ = host.run(&REVOKE_NOW, "").ends(0);
    assert!(accepts(&server, &new) && !accepts(&server, &old));
    let second =
        "SELECT count(*) FROM mysql.user WHERE user = 'app' AND user_attributes LIKE '%additional_password%'";
    assert_eq!(server.sql(second).unwrap(), "0", "no second password is left");

    // What is typed by hand is masked by this server.
    let log = server.statements();
    let hash = "ALTER USER 'app'@'%' IDENTIFIED WITH caching_sha2_password AS '$A$005$";
    assert!(
        log.contains(hash) && log.contains("DISCARD OLD PASSWORD"),
        "{log}"
    );
    host.left_no_trace(
        &[old, new, third, admin],
        &[("general log", &log), ("log", &server.log())],
    );
}

#[test]
fn several_rotations_follow_each_other_past_a_password_history_and_a_rollback_puts_the_old_one_back() {
    let server = server();
    let old = random_password();
    let (host, _) = host(&server, &mysql_user(&server, "1s"));
    make(
        &server,
        &old,
        "PASSWORD HISTORY 5 FAILED_LOGIN_ATTEMPTS 50 PASSWORD_LOCK_TIME 1",
    );
    let _ = host.import("app/mysql", &old).ends(0);
    let plan = host.run(&["plan", "app-mysql"], "").ends(10);
    for words in [
        "not held against PASSWORD HISTORY 5)",
        "mysql.lockout",
        "after 50 wrong",
    ] {
        assert!(plan.stdout.contains(words), "{words}: {plan:?}");
    }
    let mut before = old;
    for _ in 0..3 {
        let _ = host.run(&ROTATE, "").ends(0);
        let now = host.read("app/mysql", None);
        assert!(accepts(&server, &now) && !accepts(&server, &before));
        before = now;
    }
    // Dead after its change, and taken back.
    let places = host.places_on(&ROTATE);
    let current = host.read("app/mysql", None);
    let known = places.iter().position(|place| place == "conclude-after").unwrap();
    host.dies_at(&ROTATE, &places, known);
    assert!(accepts(&server, &current));
    let _ = host.run(
        &[
            "run",
            "rollback",
            "app-mysql",
            "--reason",
            "test",
            "--wait",
            "end",
        ],
        "",
    );
    assert_eq!(host.read("app/mysql", None), current);
    assert!(accepts(&server, &current));
    // What the target does not take any more is put there again.
    let by_hand = format!("ALTER USER app@'%' IDENTIFIED BY '{}'", random_password());
    server.sql(&by_hand).unwrap();
    let check = host.run(&["drift", "check", "-o", "json"], "").ends(41).json();
    // The one that there was before.
    assert_eq!(check[0]["warnings"].as_array().unwrap().len(), 1, "{check:#}");
    assert!(accepts(&server, &current));
}

#[test]
fn the_password_in_a_connection_string_is_rotated_and_put_on_again() {
    let server = server();
    let text = mysql_user(&server, "24h")
        .replace("user = \"app\"", "user = \"app\"\nformat = \"connection-string\"");
    let (host, _) = host(&server, &text);
    let old = random_password();
    make(&server, &old, "");
    let (head, tail) = ("mysql://app:", "@localhost/shop?ssl-mode=VERIFY_IDENTITY");
    let _ = host.import("app/mysql", &format!("{head}{old}{tail}")).ends(0);
    let _ = host.run(&["rotate", "app-mysql"], "").ends(0);
    let whole = host.read("app/mysql", None);
    let new = whole
        .strip_prefix(head)
        .and_then(|rest| rest.strip_suffix(tail))
        .unwrap();
    assert!(new != old && accepts(&server, &old) && accepts(&server, new));
    let by_hand = format!("ALTER USER app@'%' IDENTIFIED BY '{}'", random_password());
    server.sql(&by_hand).unwrap();
    let _ = host.run(&["drift", "check"], "").ends(10);
    assert!(accepts(&server, new) && accepts(&server, &old));
    let _ = host.run(&REVOKE_NOW, "").ends(0);
    assert!(accepts(&server, new) && !accepts(&server, &old));
}

#[test]
fn a_first_password_is_set_over_what_is_there_and_leaves_none_when_it_is_taken_back() {
    let server = server();
    let text = mysql_user(&server, "1s").replace("grace = ", "first = \"set\"\ngrace = ");
    let (host, _) = host(&server, &text);
    let (first, second) = (random_password(), random_password());
    make(&server, &first, "");
    let retained = format!("ALTER USER app@'%' IDENTIFIED BY '{second}' RETAIN CURRENT PASSWORD");
    server.sql(&retained).unwrap();
    let died = host.finish(&mut host.failing(&ROTATE, "promote-before=return"), "");
    assert_eq!((died.code, died.signal), (-1, Some(9)), "{died:?}");
    assert!(!accepts(&server, &first) && !accepts(&server, &second));
    let rollback = [
        "run",
        "rollback",
        "app-mysql",
        "--reason",
        "test",
        "--wait",
        "end",
    ];
    let _ = host.run(&rollback, "");
    let none = "SELECT authentication_string LIKE '$A$005$THISISACOMBINATION%', user_attributes FROM mysql.user WHERE user = 'app'";
    assert_eq!(server.sql(none).unwrap(), "1\tNULL");
    let _ = host.run(&ROTATE, "").ends(0);
    assert!(accepts(&server, &host.read("app/mysql", None)));
}

#[test]
fn what_stands_in_the_way_of_a_rotation_is_said_before_it_begins() {
    let server = server();
    let (host, admin) = host(&server, &mysql_user(&server, "1s"));
    let sql = |sql: &str| drop(server.sql(sql).unwrap());
    let plan = |words: &[&str]| {
        let output = host.run(&["plan", "app-mysql"], "").ends(24);
        let said = format!("{}{}", output.stdout, output.stderr);
        for word in words {
            assert!(said.contains(word), "{word}:\n{said}");
        }
    };
    plan(&["mysql.user-missing", "CREATE USER 'app'@'%'"]);
    sql(
        "CREATE USER app@'%' IDENTIFIED BY 'x' ACCOUNT LOCK PASSWORD EXPIRE; CREATE USER app@'10.%' IDENTIFIED BY 'x'",
    );
    plan(&[
        "mysql.user-locked",
        "ACCOUNT UNLOCK",
        "mysql.accounts",
        "'app'@'10.%'",
        "mysql.expired",
    ]);
    sql(
        "DROP USER app@'10.%'; DROP USER app@'%'; CREATE USER app@'%' IDENTIFIED BY 'x' REQUIRE X509; \
         ALTER USER app@'%' IDENTIFIED BY 'y' RETAIN CURRENT PASSWORD",
    );
    plan(&["mysql.method", "mysql.others"]);
    // It would take the administrators' logins, too.
    let near =
        |name: &str, password: &str| format!("CREATE USER {name}@'127.0.0.1' IDENTIFIED BY '{password}'; ");
    sql(&format!(
        "{}{}GRANT ALL ON *.* TO admin@'127.0.0.1' WITH GRANT OPTION; GRANT CREATE USER ON *.* TO rotator@'127.0.0.1'; \
         GRANT SELECT ON mysql.user TO rotator@'127.0.0.1'; ALTER USER app@'%' REQUIRE NONE; CREATE USER ''@'127.0.0.1'",
        near("admin", server.admin_password()),
        near("rotator", &admin),
    ));
    plan(&["mysql.shut-out", "anonymous user ''@'127.0.0.1'"]);
    // The same is no refusal of the password: it is not given up.
    let refused = host.import("app/mysql", &random_password());
    assert_eq!(refused.code, 41, "{refused:?}");
    assert!(refused.stderr.contains("anonymous user"), "{refused:?}");
    let _ = host.run(&["run", "cancel", "app-mysql", "--reason", "test"], "");
    sql("DROP USER ''@'127.0.0.1', rotator@'127.0.0.1'; REVOKE CREATE USER ON *.* FROM rotator@'%'");
    plan(&["mysql.rights", "GRANT CREATE USER ON *.* TO rotator"]);
    sql("GRANT CREATE USER ON *.* TO rotator@'%'; SET GLOBAL read_only = 1");
    plan(&["mysql.read-only"]);
}

#[test]
fn each_account_of_a_user_is_changed_and_those_that_are_not_listed_stop_it() {
    let server = server();
    let old = random_password();
    let text = mysql_user(&server, "1s").replace("from = [\"%\"]", "from = [\"%\", \"10.%\"]");
    let (host, _) = host(&server, &text);
    make(&server, &old, "");
    let other = format!("CREATE USER app@'10.%' IDENTIFIED BY '{old}'");
    server.sql(&other).unwrap();
    let _ = host.import("app/mysql", &old).ends(0);
    let _ = host.run(&ROTATE, "").ends(0);
    let hashes = "SELECT count(DISTINCT authentication_string), count(*) FROM mysql.user WHERE user = 'app'";
    assert_eq!(server.sql(hashes).unwrap(), "1\t2");
    assert!(accepts(&server, &host.read("app/mysql", None)) && !accepts(&server, &old));
    // An account that is gone is not made anew by a change, and the run does not go on half done.
    server.sql("DROP USER app@'10.%'").unwrap();
    let _ = host.run(&ROTATE, "").ends(24);
    assert_eq!(server.sql(hashes).unwrap(), "1\t1");
}

#[test]
fn a_server_of_another_kind_is_told() {
    let server = MariaDb::start(MariaDbOptions::default()).unwrap();
    let text = mariadb_user(&server, "1s")
        .replace("plugin = \"mariadb\"", "plugin = \"mysql\"")
        .replace("admin/maria", "admin/mysql");
    let (host, _) = host(&server, &text);
    let output = host.run(&["plan", "app-maria"], "").ends(24);
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(
        said.contains("mysql.other-server") && said.contains("is no MySQL"),
        "{said}"
    );
}
