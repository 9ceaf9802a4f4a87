//! A server that does not ask for a password proves none; a password that came from nobody here is not replaced behind its users' backs.

use std::fs;
use std::time::{Duration, Instant};

use keywheel_e2e::{Host, Output, Rotation, rotation};
use keywheel_kit::{Postgres, PostgresOptions, random_password};

/// A server of its own: its `pg_hba.conf` is written anew.
fn started() -> Postgres {
    Postgres::start(PostgresOptions::default()).unwrap()
}

/// Lines in front of those that ask everybody.
fn admit(server: &Postgres, lines: &str) {
    let hba = server.sql("SHOW hba_file").unwrap();
    let text = format!("local all all scram-sha-256\n{lines}hostssl all all 127.0.0.1/32 scram-sha-256\n");
    fs::write(hba, text).unwrap();
    let before = server.sql("SELECT clock_timestamp()").unwrap();
    server.sql("SELECT pg_reload_conf()").unwrap();
    // The server reads it when it gets round to it.
    let begun = Instant::now();
    while server
        .sql(&format!("SELECT pg_conf_load_time() > '{before}'"))
        .unwrap()
        != "t"
    {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "pg_hba.conf is not read"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A host with one rotation and the administrator's password. `lines`: of its configuration.
fn host(server: &Postgres, name: &str, secret: &str, lines: &str) -> Host {
    let config = format!(
        "host = \"localhost\"\nport = {}\ntrust = \"{name}\"\nadmin = \"{}\"\n{lines}",
        server.port(),
        server.admin_user()
    );
    let text = rotation(&Rotation {
        name,
        plugin: "postgres",
        secret,
        admin_secret: "admin/db",
        grace: "0s",
        ca: &server.ca_file(),
        config: &config,
    });
    let host = Host::init();
    host.configure(&text.replace("consumers = [{ name = \"shop\", staleness = \"1s\" }]\n", ""));
    host.add_plugin("postgres", &[server.port()]);
    let _ = host.import("admin/db", server.admin_password()).ends(0);
    host
}

#[track_caller]
fn has(output: &Output, words: &[&str]) {
    let said = format!("{}{}", output.stdout, output.stderr);
    for word in words {
        assert!(said.contains(word), "{word}:\n{said}");
    }
}

/// Whether the role's password is still the one that it had.
fn kept(server: &Postgres, role: &str) -> String {
    server
        .sql(&format!(
            "SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'"
        ))
        .unwrap()
}

#[test]
fn a_password_that_the_server_does_not_ask_for_is_neither_adopted_nor_rotated() {
    let server = started();
    let real = random_password();
    server
        .sql(&format!("CREATE ROLE victim LOGIN PASSWORD '{real}'"))
        .unwrap();
    let before = kept(&server, "victim");
    let trusts = "hostssl all victim 127.0.0.1/32 trust\n";
    admit(&server, trusts);
    let host = host(&server, "app-db", "app/db", "mode = \"role\"\nrole = \"victim\"");

    // `plan` sees it before anything is imported; an import of anything at all is not taken for the credential in use.
    has(
        &host.run(&["plan", "app-db"], "").ends(24),
        &["postgres.not-asked", "pg_hba.conf"],
    );
    let output = host.import("app/db", "notreally").ends(41);
    has(&output, &["login.not-asked", "without asking", "pg_hba.conf"]);
    has(
        &host.run(&["run", "show", "app-db"], ""),
        &[
            "login.not-asked",
            "not-asked",
            "hint: let the target ask",
            "pg_hba.conf",
        ],
    );
    assert!(
        host.versions("app/db")
            .iter()
            .all(|(_, stage)| stage != "current")
    );
    let _ = host.run(&["run", "cancel", "app-db"], "");
    assert_ne!(host.run(&["rotate", "app-db", "--wait", "end"], "").code, 0);
    assert_eq!(kept(&server, "victim"), before);

    // Where the server asks, the right one is adopted. If it stops asking after that, nothing is changed: the old password would be dead, and
    // nothing would prove the new one.
    admit(&server, "");
    let _ = host.import("app/db", &real).ends(0);
    let adopted = kept(&server, "victim");
    admit(&server, trusts);
    for asked in [
        &["target", "test", "app-db"][..],
        &["plan", "app-db"],
        &["rotate", "app-db", "--wait", "end"],
    ] {
        has(
            &host.run(asked, "").ends(24),
            &["postgres.not-asked", "pg_hba.conf"],
        );
    }
    assert_eq!(
        (host.read("app/db", None), kept(&server, "victim")),
        (real.clone(), adopted)
    );

    // It is rotated as soon as the server asks again.
    admit(&server, "");
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    let now = host.read("app/db", None);
    assert!(server.login("victim", &now).unwrap().is_accepted());
    assert!(server.login("victim", &real).unwrap().is_refused());
}

#[test]
fn a_role_without_the_right_to_connect_is_told_at_once_and_is_not_taken_for_silence() {
    let server = started();
    let real = random_password();
    server
        .sql(&format!(
            "CREATE ROLE barred LOGIN PASSWORD '{real}'; REVOKE CONNECT ON DATABASE postgres FROM PUBLIC"
        ))
        .unwrap();
    let host = host(&server, "app-db", "app/db", "mode = \"role\"\nrole = \"barred\"");
    let grant = "GRANT CONNECT ON DATABASE postgres TO barred";
    has(
        &host.run(&["plan", "app-db"], "").ends(24),
        &["postgres.connect", grant],
    );
    let output = host.import("app/db", &real).ends(41);
    has(&output, &["may not connect to the database postgres"]);
    assert!(
        !format!("{output:?}").contains("not what the host saw"),
        "{output:?}"
    );
    has(&output, &["parked: limited"]);
    server.sql(grant).unwrap();
    let _ = host
        .run(&["run", "resume", "app-db", "--wait", "end"], "")
        .ends(0);
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
}

#[test]
fn the_other_role_is_not_robbed_of_a_password_that_was_never_in_the_vault() {
    let server = started();
    let (first, second) = (random_password(), random_password());
    server
        .sql(&format!(
            "CREATE ROLE qa LOGIN PASSWORD '{first}'; CREATE ROLE qb LOGIN PASSWORD '{second}'"
        ))
        .unwrap();
    let host = host(
        &server,
        "pair",
        "pair/db",
        "mode = \"alternating\"\nroles = [\"qa\", \"qb\"]",
    );
    let document = serde_json::json!({ "username": "qa", "password": first }).to_string();
    let _ = host.import("pair/db", &document).ends(0);

    // Nobody uses it: a warning.
    let output = host.run(&["plan", "pair"], "").ends(10);
    has(
        &output,
        &[
            "postgres.replaces",
            "qb",
            "not in the vault",
            "a rollback clears it",
        ],
    );
    assert!(!output.stdout.contains("postgres.in-use"), "{output:?}");

    // Without a password it loses none; an administrator who is no superuser does not see that.
    server.sql("ALTER ROLE qb PASSWORD NULL").unwrap();
    let output = host.run(&["plan", "pair"], "").ends(10);
    assert!(!output.stdout.contains("postgres.replaces"), "{output:?}");
    server.sql(&format!("ALTER ROLE qb PASSWORD '{second}'")).unwrap();
    let before = kept(&server, "qb");

    // Somebody does: refused before the first write.
    let user = server.hold("qb", &second).unwrap();
    for command in [&["plan", "pair"][..], &["rotate", "pair", "--wait", "end"]] {
        has(
            &host.run(command, "").ends(24),
            &["postgres.in-use", "qb is in use (1 sessions)"],
        );
    }
    assert_eq!(kept(&server, "qb"), before);
    drop(user);
    let begun = Instant::now();
    while server.sessions("qb").unwrap() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "a session stays");
        std::thread::sleep(Duration::from_millis(20));
    }

    // What a rotation has left is no stranger's: the second one says nothing of the first role.
    let _ = host.run(&["rotate", "pair", "--wait", "end"], "").ends(0);
    assert!(server.login("qb", &second).unwrap().is_refused());
    let output = host.run(&["plan", "pair"], "").ends(10);
    assert!(!output.stdout.contains("postgres.replaces"), "{output:?}");
}
