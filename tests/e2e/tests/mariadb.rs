//! A MariaDB user: two passwords at a time, by hashes alone; what `plan` says of its accounts; what the server's own log has of it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use keywheel_e2e::{Host, mariadb_user};
use keywheel_kit::{MariaDb, MariaDbOptions, random_password};

const ROTATE: [&str; 2] = ["rotate", "app-maria"];

fn server() -> MariaDb {
    MariaDb::start(MariaDbOptions {
        log_statements: true,
        ..MariaDbOptions::default()
    })
    .unwrap()
}

/// What somebody typed by hand stands in the general log: it is of no concern.
fn by_hand(server: &MariaDb, sql: &str) -> usize {
    server.sql(sql).unwrap();
    server.statements().len()
}

/// With an administrator that has the rights of the documentation, and no more.
fn host(server: &MariaDb, grace: &str) -> (Host, String) {
    let admin = random_password();
    by_hand(
        server,
        &format!(
            "CREATE USER rotator@'%' IDENTIFIED BY '{admin}'; GRANT CREATE USER ON *.* TO rotator@'%'; \
             GRANT SELECT ON mysql.global_priv TO rotator@'%'"
        ),
    );
    let host = Host::init();
    let text = mariadb_user(server, grace).replace("admin = \"admin\"\n", "admin = \"rotator\"\n");
    host.configure(&text);
    host.add_plugin("mariadb", &[server.port()]);
    let _ = host.import("admin/maria", &admin).ends(0);
    (host, admin)
}

fn accepts(server: &MariaDb, password: &str) -> bool {
    server.login("app", password).unwrap().is_accepted()
}

#[test]
fn both_passwords_are_good_until_the_grace_is_over_and_the_servers_log_has_neither() {
    let server = server();
    let old = random_password();
    let (host, admin) = host(&server, "24h");
    let typed = by_hand(&server, &format!("CREATE USER app@'%' IDENTIFIED BY '{old}'"));
    let wrong = host.import("app/maria", &random_password()).ends(40);
    assert!(
        wrong.stderr.contains("rejected") || wrong.stderr.contains("refused"),
        "{wrong:?}"
    );
    let _ = host.import("app/maria", &old).ends(0);
    let plan = host.run(&["plan", "app-maria"], "").ends(10);
    assert!(
        plan.stdout.contains("IDENTIFIED VIA mysql_native_password"),
        "{plan:?}"
    );
    assert!(
        !plan.stdout.contains("mariadb."),
        "no problem and no warning: {plan:?}"
    );

    let _ = host.run(&ROTATE, "").ends(0);
    let new = host.read("app/maria", None);
    assert!(new != old && accepts(&server, &old) && accepts(&server, &new));
    // Within the grace a value that was set by hand gives way to the vault's, and the old one stays good.
    let third = random_password();
    by_hand(&server, &format!("ALTER USER app@'%' IDENTIFIED BY '{third}'"));
    assert!(!accepts(&server, &new));
    let check = host.run(&["drift", "check", "-o", "json"], "").ends(10).json();
    assert_eq!(check[0]["found"], "repaired", "{check:#}");
    assert!(accepts(&server, &new) && accepts(&server, &old) && !accepts(&server, &third));

    let end = [
        "run",
        "resume",
        "app-maria",
        "--revoke-now",
        "--reason",
        "test",
        "--wait",
        "end",
    ];
    let _ = host.run(&end, "").ends(0);
    assert!(accepts(&server, &new) && !accepts(&server, &old));
    let left = server.sql("SHOW CREATE USER app@'%'").unwrap();
    assert!(!left.contains(" OR "), "one alternative is left: {left}");

    let log = server.statements()[typed..].to_owned();
    assert!(log.contains("ALTER USER 'app'@'%' IDENTIFIED VIA"), "{log}");
    let log = log.replace(&format!("BY '{third}'"), "");
    host.left_no_trace(
        &[old, new, admin],
        &[("general log", &log), ("log", &server.log())],
    );
}

#[test]
fn several_rotations_follow_each_other_and_a_rollback_puts_the_old_one_back() {
    let server = server();
    let old = random_password();
    let (host, _) = host(&server, "1s");
    by_hand(&server, &format!("CREATE USER app@'%' IDENTIFIED BY '{old}'"));
    let _ = host.import("app/maria", &old).ends(0);
    let mut before = old;
    for _ in 0..3 {
        let _ = host.run(&["rotate", "app-maria", "--wait", "end"], "").ends(0);
        let now = host.read("app/maria", None);
        assert!(accepts(&server, &now) && !accepts(&server, &before));
        before = now;
    }
    // Dead after its change, and taken back.
    let places = host.places_on(&["rotate", "app-maria", "--wait", "end"]);
    let current = host.read("app/maria", None);
    let known = places.iter().position(|place| place == "conclude-after").unwrap();
    host.dies_at(&["rotate", "app-maria", "--wait", "end"], &places, known);
    let _ = host.run(
        &[
            "run",
            "rollback",
            "app-maria",
            "--reason",
            "test",
            "--wait",
            "end",
        ],
        "",
    );
    assert_eq!(host.read("app/maria", None), current);
    assert!(accepts(&server, &current));
    // What the target does not take any more is put there again.
    by_hand(
        &server,
        &format!("ALTER USER app@'%' IDENTIFIED BY '{}'", random_password()),
    );
    let check = host.run(&["drift", "check", "-o", "json"], "").ends(41).json();
    assert_eq!(check[0]["warnings"].as_array().unwrap().len(), 0, "{check:#}");
    assert!(accepts(&server, &current));
}

#[test]
fn what_stands_in_the_way_of_a_rotation_is_said_before_it_begins() {
    let server = server();
    let (host, admin) = host(&server, "1s");
    let plan = |words: &[&str]| {
        let output = host.run(&["plan", "app-maria"], "").ends(24);
        let said = format!("{}{}", output.stdout, output.stderr);
        for word in words {
            assert!(said.contains(word), "{word}:\n{said}");
        }
    };
    plan(&["mariadb.user-missing", "CREATE USER 'app'@'%'"]);
    by_hand(
        &server,
        "CREATE USER app@'%' IDENTIFIED BY 'x' ACCOUNT LOCK; CREATE USER app@'10.%' IDENTIFIED BY 'x'",
    );
    plan(&[
        "mariadb.user-locked",
        "ACCOUNT UNLOCK",
        "mariadb.accounts",
        "'app'@'10.%'",
    ]);
    by_hand(&server, "ALTER USER app@'%' PASSWORD EXPIRE");
    plan(&["mariadb.expired", "mariadb.user-locked"]);
    by_hand(
        &server,
        "ALTER USER app@'%' ACCOUNT UNLOCK; DROP USER app@'10.%'; INSTALL SONAME 'auth_ed25519'; \
         ALTER USER app@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('x') OR ed25519 USING PASSWORD('x')",
    );
    plan(&["mariadb.method"]);
    // It would take the administrators' logins, too.
    let near = |name: &str, password: &str, rights: &str| {
        format!(
            "CREATE USER {name}@'127.0.0.1' IDENTIFIED BY '{password}'; GRANT {rights} TO {name}@'127.0.0.1'; "
        )
    };
    let administrators = near("admin", server.admin_password(), "ALL ON *.*")
        + "GRANT GRANT OPTION ON *.* TO admin@'127.0.0.1'; "
        + &near("rotator", &admin, "CREATE USER ON *.*")
        + "GRANT SELECT ON mysql.global_priv TO rotator@'127.0.0.1'; ";
    let shadow = "ALTER USER app@'%' IDENTIFIED BY 'x'; CREATE USER ''@'127.0.0.1'";
    by_hand(&server, &(administrators + shadow));
    plan(&["mariadb.shut-out", "anonymous user ''@'127.0.0.1'"]);
    // The same is no refusal of the password: it is not given up.
    let refused = host.import("app/maria", &random_password());
    assert_eq!(refused.code, 41, "{refused:?}");
    assert!(refused.stderr.contains("anonymous user"), "{refused:?}");
    let _ = host.run(&["run", "cancel", "app-maria", "--reason", "test"], "");
    by_hand(
        &server,
        "DROP USER ''@'127.0.0.1', rotator@'127.0.0.1'; REVOKE CREATE USER ON *.* FROM rotator@'%'",
    );
    plan(&["mariadb.rights", "GRANT CREATE USER ON *.* TO rotator"]);
    by_hand(
        &server,
        "GRANT CREATE USER ON *.* TO rotator@'%'; REVOKE SELECT ON mysql.global_priv FROM rotator@'%'",
    );
    plan(&["mariadb.rights", "GRANT SELECT ON mysql.global_priv TO rotator"]);
    by_hand(
        &server,
        "GRANT SELECT ON mysql.global_priv TO rotator@'%'; INSTALL SONAME 'simple_password_check'",
    );
    plan(&["mariadb.validation", "strict_password_validation = OFF"]);
    by_hand(
        &server,
        "UNINSTALL SONAME 'simple_password_check'; SET GLOBAL read_only = 1",
    );
    plan(&["mariadb.read-only"]);
}

/// Whoever goes from a bare password to a connection string takes the rotation out, imports it, and puts it back.
#[test]
fn a_changed_form_is_said_before_a_run_and_versions_of_the_old_one_are_in_nobodys_way() {
    let server = server();
    let (host, _) = host(&server, "1s");
    let old = random_password();
    by_hand(&server, &format!("CREATE USER app@'%' IDENTIFIED BY '{old}'"));
    // Nothing says yet that it is a string.
    let refused = host.import("app/maria", &format!("mysql://app:{old}@localhost/shop"));
    assert!(
        refused.code != 0 && refused.stderr.contains("looks like a connection string"),
        "{refused:?}"
    );
    let _ = host.import("app/maria", &old).ends(0);
    let rotate = ["rotate", "app-maria", "--wait", "end"];
    let _ = host.run(&rotate, "").ends(0);
    let (file, password) = (host.file("keywheel.toml"), host.read("app/maria", None));
    let bare = std::fs::read_to_string(&file).unwrap();
    let whole = format!("{bare}format = \"connection-string\"\n");
    std::fs::write(&file, &whole).unwrap();
    let output = host.run(&["plan", "app-maria"], "").ends(24);
    assert!(output.stdout.contains("version.form"), "{output:?}");
    let _ = host.run(&rotate, "").ends(24);
    assert!(accepts(&server, &password));
    let (without, _) = bare.split_once("[[rotation]]").unwrap();
    std::fs::write(&file, without).unwrap();
    let url = |password: &str| format!("mysql://app:{password}@localhost/shop");
    let _ = host.import("app/maria", &url(&password)).ends(0);
    std::fs::write(&file, &whole).unwrap();
    let _ = host.run(&rotate, "").ends(0);
    let new = host.read("app/maria", None);
    let new = new.strip_prefix("mysql://app:").unwrap();
    let (new, _) = new.split_once('@').unwrap();
    assert!(new != password && accepts(&server, new) && !accepts(&server, &password));
}

#[test]
fn each_account_of_a_user_is_changed_and_those_that_are_not_listed_stop_it() {
    let server = server();
    let old = random_password();
    let (host, _) = host(&server, "1s");
    let file = host.file("keywheel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("from = [\"%\"]", "from = [\"%\", \"10.%\"]")).unwrap();
    let hash = format!("IDENTIFIED BY '{old}'");
    by_hand(&server, &format!("CREATE USER app@'%' {hash}, app@'10.%' {hash}"));
    let _ = host.import("app/maria", &old).ends(0);
    let _ = host.run(&["rotate", "app-maria", "--wait", "end"], "").ends(0);
    let hashes = "SELECT count(DISTINCT json_value(priv, '$.authentication_string')), count(*) FROM mysql.global_priv WHERE user = 'app'";
    assert_eq!(server.sql(hashes).unwrap(), "1\t2");
    assert!(accepts(&server, &host.read("app/maria", None)) && !accepts(&server, &old));
    // An account that is gone is not made anew by a change, and the run does not go on half done.
    by_hand(&server, "DROP USER app@'10.%'");
    let _ = host.run(&["rotate", "app-maria"], "").ends(24);
    assert_eq!(server.sql(hashes).unwrap(), "1\t1");
}
