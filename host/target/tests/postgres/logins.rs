use std::time::Duration;

use keywheel_kit::{BlackHole, Login, Postgres, PostgresOptions};
use keywheel_model::{Effect, ErrorKind};
use keywheel_target::postgres::{Access, Security, Session};
use keywheel_target::tls::{TlsOptions, TrustStore, Verify};
use keywheel_target::{Deadline, Error, Outbound, scram};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{admin, deadline, open, options, outbound, rules, secret, set_password, text};

#[tokio::test]
async fn refused_logins_are_unauthenticated_and_a_server_that_is_away_is_not() {
    let mut server = Postgres::start(PostgresOptions::default()).unwrap();
    server.sql("CREATE ROLE expired LOGIN PASSWORD 'right' VALID UNTIL '2001-01-01'; CREATE ROLE locked NOLOGIN PASSWORD 'right'").unwrap();
    for (user, password, state) in [
        (server.admin_user(), "wrong", "28P01"),
        ("nobody", "x", "28P01"),
        ("expired", "right", "28P01"),
        ("locked", "right", "28000"),
    ] {
        let error = open(&server, user, password).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.effect()),
            (ErrorKind::Unauthenticated, Effect::None),
            "{user}: {error}"
        );
        assert_eq!(error.code(), format!("sql.{}", state.to_lowercase()), "{user}");
        assert!(!error.to_string().contains("right"));
    }
    server.stop().unwrap();
    let (user, password) = (server.admin_user(), server.admin_password());
    let error = open(&server, user, password).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Unavailable, Effect::None),
        "{error}"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_a_stranger_ends_before_the_login() {
    let server = Postgres::start(PostgresOptions {
        wrong_name: true,
        ..PostgresOptions::default()
    })
    .unwrap();
    let error = open(&server, server.admin_user(), server.admin_password())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TlsName { .. }), "{error:?}");
    let mut forged = options(server.port(), server.admin_user(), server.admin_password());
    forged.security = Security::Tls(TlsOptions::for_name("wrong.invalid").trusting("db"));
    let error = Session::open(&outbound(&server), &rules(server.port()), &forged, deadline())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::TlsName { .. }),
        "the name that counts is the one dialled: {error:?}"
    );
    let stranger = Postgres::start(PostgresOptions::default()).unwrap();
    let error = Session::open(
        &outbound(&server),
        &rules(stranger.port()),
        &options(stranger.port(), "postgres", "x"),
        deadline(),
    )
    .await
    .unwrap_err();
    assert!(matches!(error, Error::TlsUntrusted { .. }), "{error:?}");
    let mut unchecked = options(server.port(), server.admin_user(), server.admin_password());
    unchecked.security = Security::Tls(TlsOptions {
        verify: Verify::InspectOnly,
        ..TlsOptions::for_name("localhost")
    });
    let error = Session::open(&outbound(&server), &rules(server.port()), &unchecked, deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::UnsafeStream { .. }), "{error:?}");
}

#[tokio::test]
async fn plaintext_needs_a_rule_that_says_so_and_a_server_without_tls_is_told() {
    let server = Postgres::start(PostgresOptions {
        plaintext: true,
        settings: vec![("ssl".into(), "off".into())],
        ..PostgresOptions::default()
    })
    .unwrap();
    let error = open(&server, server.admin_user(), server.admin_password())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::TlsMissing { .. }) && error.hint().is_some(),
        "{error:?}"
    );
    let mut plain = options(server.port(), server.admin_user(), server.admin_password());
    plain.security = Security::Plaintext;
    let error = Session::open(&outbound(&server), &rules(server.port()), &plain, deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::PlaintextDenied { .. }), "{error:?}");
    let in_words = vec![format!("localhost:{} plaintext", server.port()).parse().unwrap()];
    assert!(
        Session::open(&outbound(&server), &in_words, &plain, deadline())
            .await
            .is_ok()
    );
}

/// `FTP`, `SMTP`, MySQL: what speaks first is no PostgreSQL, and no server to switch TLS on in.
#[tokio::test]
async fn a_server_of_another_kind_is_not_told_to_switch_tls_on() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let speaking = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 hello\r\n").await.unwrap();
            // Until the client has gone.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let outbound = Outbound::new(keywheel_target::dial::Dialer::system(), TrustStore::new());
    let mut there = options(port, "app", "x");
    there.security = Security::Tls(TlsOptions::for_name("localhost"));
    let error = Session::open(&outbound, &rules(port), &there, deadline())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "net.other-server", "{error:?}");
    assert!(error.is_before_login() && error.hint().is_some());
    speaking.await.unwrap();
}

#[tokio::test]
async fn a_black_holed_server_ends_at_the_deadline_without_effect() {
    let hole = BlackHole::start().unwrap();
    let outbound = Outbound::new(keywheel_target::dial::Dialer::system(), TrustStore::new());
    let mut there = options(hole.port(), "app", "x");
    there.security = Security::Tls(TlsOptions {
        verify: Verify::Full,
        ..TlsOptions::for_name("localhost")
    });
    let error = Session::open(
        &outbound,
        &rules(hole.port()),
        &there,
        Deadline::after(Duration::from_millis(300)),
    )
    .await
    .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                effect: Effect::None,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(hole.connections(), 1);
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_asks() {
    let mut server = Postgres::start(PostgresOptions::default()).unwrap();
    server.sql("CREATE ROLE app LOGIN").unwrap();
    let hba = server.sql("SHOW hba_file").unwrap();
    std::fs::write(&hba, "local all all scram-sha-256\nhostssl all app 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n").unwrap();
    let ca = server.ca_file().display().to_string();
    // Outside the transaction that `sql` opens there is no ALTER SYSTEM: the file is written by hand.
    let auto = server.sql("SHOW data_directory").unwrap() + "/postgresql.auto.conf";
    std::fs::write(auto, format!("ssl_ca_file = '{ca}'\n")).unwrap();
    server.restart().unwrap();
    let identity = server.authority().issue(&["app"]).unwrap();
    let pem = secret(&format!("{}{}", identity.key_pem, identity.certificate_pem));
    let identity = std::sync::Arc::new(keywheel_target::tls::ClientIdentity::from_pem(&pem).unwrap());
    let mut with = options(server.port(), "app", "");
    with.password = None;
    assert!(
        Session::open(&outbound(&server), &rules(server.port()), &with, deadline())
            .await
            .is_err()
    );
    with.security = Security::Tls(TlsOptions {
        identity: Some(identity),
        ..TlsOptions::for_name("localhost").trusting("db")
    });
    assert!(
        Session::open(&outbound(&server), &rules(server.port()), &with, deadline())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_login_that_nobody_asked_for_its_password_proves_nothing_of_it() {
    let mut server = Postgres::start(PostgresOptions {
        plaintext: true,
        ..PostgresOptions::default()
    })
    .unwrap();
    server
        .sql("CREATE ROLE trusted LOGIN PASSWORD 'right'; CREATE ROLE asked LOGIN PASSWORD 'right'; CREATE ROLE clear LOGIN PASSWORD 'right'; REVOKE CONNECT ON DATABASE template1 FROM PUBLIC")
        .unwrap();
    let hba = server.sql("SHOW hba_file").unwrap();
    std::fs::write(&hba, "local all all scram-sha-256\nhost all trusted 127.0.0.1/32 trust\nhost all clear 127.0.0.1/32 password\nhost all all 127.0.0.1/32 scram-sha-256\n").unwrap();
    server.restart().unwrap();
    let in_words = vec![format!("localhost:{} plaintext", server.port()).parse().unwrap()];
    for plaintext in [false, true] {
        for (user, proof, code) in [
            ("trusted", true, Some("login.not-asked")),
            ("trusted", false, None),
            ("asked", true, None),
            ("clear", true, None),
        ] {
            for password in ["right", "wrong"] {
                let mut there = options(server.port(), user, password);
                there.proof = proof;
                let rules = if plaintext {
                    there.security = Security::Plaintext;
                    in_words.clone()
                } else {
                    rules(server.port())
                };
                let opened = Session::open(&outbound(&server), &rules, &there, deadline()).await;
                let seen = opened.map(drop).map_err(|error| error.code().into_owned());
                let wanted = code.or((user != "trusted" && password == "wrong").then_some("sql.28p01"));
                assert_eq!(
                    seen.err().as_deref(),
                    wanted,
                    "{user} {password} {proof} {plaintext}"
                );
            }
        }
    }
    // Whoever is let in unasked is told so, also where a right is missing after that.
    for (user, code) in [("trusted", "login.not-asked"), ("asked", "sql.42501")] {
        let mut there = options(server.port(), user, "right");
        (there.proof, there.database) = (true, "template1".to_owned());
        let error = Session::open(&outbound(&server), &rules(server.port()), &there, deadline())
            .await
            .unwrap_err();
        assert_eq!(
            (error.code().as_ref(), error.effect()),
            (code, Effect::None),
            "{error}"
        );
    }
}

/// What people and machines write that quoting has to survive.
const HOSTILE: [&str; 9] = [
    "plain",
    "it's",
    "quo\"te",
    "back\\slash",
    "'; DROP ROLE postgres; --",
    "$$x$$ $1 :name",
    "\\'",
    "schlüssel €",
    " spaces ",
];

#[tokio::test]
async fn hostile_roles_and_passwords_survive_the_way_to_a_real_login() {
    let server = Postgres::start(PostgresOptions {
        log_statements: true,
        ..PostgresOptions::default()
    })
    .unwrap();
    let mut admin = admin(&server).await;
    for (number, hostile) in HOSTILE.iter().enumerate() {
        let (role, password) = (format!("r{number}{hostile}"), format!("p{number}{hostile}"));
        let mut create = text("CREATE ROLE ");
        create.identifier(&role).unwrap();
        create.text(" LOGIN").unwrap();
        admin.execute(&create, Access::Write, deadline()).await.unwrap();
        let verifier =
            scram::verifier(&secret(&password), b"0123456789abcdef", scram::DEFAULT_ROUNDS).unwrap();
        scram::check_verifier(&verifier).unwrap();
        admin
            .execute(&set_password(&role, verifier), Access::Write, deadline())
            .await
            .unwrap();
        assert!(open(&server, &role, &password).await.is_ok(), "{role}");
        assert_eq!(server.login(&role, &password).unwrap(), Login::Accepted, "{role}");
        assert!(server.login(&role, &format!("{password}x")).unwrap().is_refused());
        assert!(
            !server.log().contains(&password),
            "the log knows the verifier only"
        );
        // In plaintext, as older servers need it, the literal itself is hostile.
        admin
            .execute(
                &set_password(&role, secret(&format!("plain{password}"))),
                Access::Write,
                deadline(),
            )
            .await
            .unwrap();
        assert!(
            open(&server, &role, &format!("plain{password}")).await.is_ok(),
            "{role}"
        );
    }
    assert!(
        server.log().contains("SCRAM-SHA-256$4096:"),
        "the statements were logged"
    );
    assert_eq!(
        server
            .sql("SELECT count(*) FROM pg_roles WHERE rolname ~ '^r[0-9]'")
            .unwrap(),
        HOSTILE.len().to_string()
    );
}
