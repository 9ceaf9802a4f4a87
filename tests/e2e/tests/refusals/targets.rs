//! A target that is not fit for a rotation: said before the first write, with the code of its cause.

use std::fs;

use keywheel_kit::{BlackHole, Postgres, PostgresOptions, free_port, random_password};

use crate::{Subject, server};

/// Everything that the server knows of its roles.
fn roles() -> String {
    server()
        .sql("SELECT rolname, rolpassword, rolvaliduntil FROM pg_authid WHERE rolname LIKE 'fit%' ORDER BY 1")
        .unwrap()
}

#[test]
fn a_target_that_is_not_fit_stops_a_rotation_before_its_first_write() {
    let subject = Subject::new("fit");
    let host = &subject.host;
    let misnamed = Postgres::start(PostgresOptions {
        wrong_name: true,
        ..PostgresOptions::default()
    })
    .unwrap();
    let hole = BlackHole::start().unwrap();
    let nobody = free_port().unwrap();
    server()
        .sql("CREATE ROLE fit_boss LOGIN SUPERUSER; CREATE ROLE fit_locked NOLOGIN")
        .unwrap();
    fs::write(
        host.outside("ca.pem"),
        format!("{}{}", server().ca_pem(), misnamed.ca_pem()),
    )
    .unwrap();
    let ports = [server().port(), misnamed.port(), hole.port(), nobody];
    host.add_plugin("postgres", &ports);
    let wrong = random_password();
    let _ = host.import("admin/db", server().admin_password()).ends(0);
    let _ = host.import("admin/wrong", &wrong).ends(0);
    let _ = host.import("app/db", &subject.old).ends(0);
    let (good, before) = (subject.rotation(), roles());
    let at = |port: u16| good.replace(&format!("port = {}", server().port()), &format!("port = {port}"));
    let of = |role: &str| good.replace("role = \"fit\"", &format!("role = \"{role}\""));
    let cases = [
        ("down", at(nobody), 30, "net.unreachable"),
        ("black-holed", at(hole.port()), 30, "net.timeout"),
        ("wrong TLS name", at(misnamed.port()), 30, "tls.name"),
        (
            "wrong administrator password",
            good.replace("admin/db", "admin/wrong"),
            22,
            "sql.28p01",
        ),
        ("role missing", of("fit_nobody"), 24, "postgres.role-missing"),
        ("role a superuser", of("fit_boss"), 24, "postgres.superuser"),
        ("role locked", of("fit_locked"), 24, "postgres.role-locked"),
    ];
    for (what, text, code, word) in &cases {
        subject.configure(text);
        for command in [
            &["plan", "app-db"][..],
            &["target", "test", "app-db"],
            &["rotate", "app-db", "--wait", "end"],
        ] {
            let output = host.run(command, "");
            assert_eq!(output.code, *code, "{what}: {command:?}: {output:?}");
            // What was looked at is said on standard output, why it could not be looked at on standard error.
            let said = output.stdout + &output.stderr;
            // Another account than the one whose password is current is refused as such, whatever else is wrong with it.
            let is_another = command[0] == "rotate" && what.starts_with("role ");
            let word = if is_another {
                "run.adoption-required"
            } else {
                *word
            };
            assert!(said.contains(word), "{what}: {command:?}: {said}");
            let way_out = [
                "(set the configuration back to ",
                "hint: ",
                "(is it this server, ",
                "(ALTER ROLE ",
                "(give the application a role",
            ];
            assert!(
                way_out.iter().any(|words| said.contains(words)),
                "{what}: {command:?}: {said}"
            );
            // A code that says what is wrong has the way out of just that.
            let own = match word {
                "tls.name" => "write the name that is in the server's certificate as `host`",
                "sql.28p01" => {
                    "the target refuses the administrator's name or password: see `admin` in the configuration of rotation app-db; if it is the password, input `admin` of rotation app-db is secret admin/wrong: `keywheel secret import admin/wrong`"
                }
                "net.unreachable" | "net.timeout" => "see that the server runs",
                _ => "",
            };
            assert!(said.contains(own), "{what}: {command:?}: {said}");
            let place = ["localhost:", "fit_"];
            assert!(
                place.iter().any(|words| said.contains(words)),
                "{what}: {command:?}: {said}"
            );
        }
        subject.configure(&good);
        subject.is_as_before(what);
        assert_eq!(roles(), before, "{what}");
    }
    let _ = subject.rotate().ends(0);
    subject.has_rotated();
    subject.leaves_no_trace();
}
