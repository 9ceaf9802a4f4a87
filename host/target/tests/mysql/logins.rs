use std::time::Duration;

use keywheel_kit::{BlackHole, MariaDb, MariaDbOptions};
use keywheel_model::{Effect, ErrorKind};
use keywheel_target::mysql::{Session, native_password_hash};
use keywheel_target::postgres::{Access, Security};
use keywheel_target::tls::{TlsOptions, TrustStore, Verify};
use keywheel_target::{Deadline, Error, Outbound};

use super::{admin, deadline, open, options, outbound, rules, secret, text};

#[tokio::test]
async fn refused_logins_are_told_apart_and_a_server_that_is_away_is_none() {
    let mut server = MariaDb::start(MariaDbOptions::default()).unwrap();
    server
        .sql(
            "CREATE USER expired@'%' IDENTIFIED BY 'right' PASSWORD EXPIRE; CREATE USER locked@'%' IDENTIFIED BY 'right' ACCOUNT LOCK; \
             CREATE USER bare@'%'; CREATE USER elsewhere@'10.9.8.7' IDENTIFIED BY 'right'",
        )
        .unwrap();
    let cases = [
        (server.admin_user(), "wrong", "sql.1045"),
        ("nobody", "x", "sql.1045"),
        ("elsewhere", "right", "sql.1045"),
        ("expired", "wrong", "sql.1045"),
        ("expired", "right", "sql.1820"),
        ("locked", "wrong", "sql.1045"),
        ("locked", "right", "sql.4151"),
        ("bare", "x", "sql.1045"),
    ];
    are_refused(&mut server, &cases).await;
}

/// Each of user and password with its code; and none of it is said by a server that is away.
pub(super) async fn are_refused(server: &mut MariaDb, cases: &[(&str, &str, &str)]) {
    for (user, password, code) in cases {
        let error = open(server, user, password).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.effect(), error.code().as_ref()),
            (ErrorKind::Unauthenticated, Effect::None, *code),
            "{user} {password}: {error}"
        );
        assert!(!error.to_string().contains("right") && !error.is_before_login());
    }
    server.stop().unwrap();
    let error = open(server, server.admin_user(), server.admin_password())
        .await
        .unwrap_err();
    let away = (error.kind(), error.effect());
    assert_eq!(away, (ErrorKind::Unavailable, Effect::None), "{error}");
}

#[tokio::test]
async fn each_alternative_of_an_account_and_each_method_opens_it() {
    let server = MariaDb::start(MariaDbOptions {
        arguments: vec!["--plugin-load-add=auth_ed25519".to_owned()],
        ..MariaDbOptions::default()
    })
    .unwrap();
    let hash = |password: &str| {
        String::from_utf8(native_password_hash(&secret(password)).expose().to_vec()).unwrap()
    };
    server
        .sql(&format!(
            "CREATE USER two@'%' IDENTIFIED VIA mysql_native_password USING '{}' OR mysql_native_password USING '{}'; \
             CREATE USER mixed@'%' IDENTIFIED VIA mysql_native_password USING '{}' OR ed25519 USING PASSWORD('long, of another method, and ä'); \
             CREATE USER signed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('x')",
            hash("first"),
            hash("second"),
            hash("first"),
        ))
        .unwrap();
    for (user, password) in [
        ("two", "first"),
        ("two", "second"),
        ("mixed", "first"),
        ("mixed", "long, of another method, and ä"),
        ("signed", "x"),
    ] {
        assert!(open(&server, user, password).await.is_ok(), "{user}: {password}");
    }
    for user in ["two", "mixed", "signed"] {
        let error = open(&server, user, "neither").await.unwrap_err();
        assert_eq!(error.code(), "sql.1045", "{user}: {error}");
    }
}

#[tokio::test]
async fn a_method_that_the_host_does_not_have_is_said_to_be_missing() {
    let server = MariaDb::start(MariaDbOptions::default()).unwrap();
    server
        .sql("INSTALL SONAME 'auth_pam'; CREATE USER pam@'%' IDENTIFIED VIA pam")
        .unwrap();
    let error = open(&server, "pam", "x").await.unwrap_err();
    assert!(error.to_string().contains("mysql_native_password"), "{error}");
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_a_stranger_ends_before_the_login() {
    let server = MariaDb::start(MariaDbOptions {
        wrong_name: true,
        ..MariaDbOptions::default()
    })
    .unwrap();
    let error = open(&server, server.admin_user(), server.admin_password())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TlsName { .. }), "{error:?}");
    let stranger = MariaDb::start(MariaDbOptions::default()).unwrap();
    let there = options(stranger.port(), "admin", "x");
    let error = Session::open(&outbound(&server), &rules(stranger.port()), &there, deadline())
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
    let server = MariaDb::start(MariaDbOptions {
        plaintext: true,
        arguments: vec!["--skip-ssl".to_owned()],
        ..MariaDbOptions::default()
    })
    .unwrap();
    let error = open(&server, server.admin_user(), server.admin_password())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TlsMissing { .. }), "{error:?}");
    let mut plain = options(server.port(), server.admin_user(), server.admin_password());
    plain.security = Security::Plaintext;
    let error = Session::open(&outbound(&server), &rules(server.port()), &plain, deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::PlaintextDenied { .. }), "{error:?}");
    let in_words = vec![format!("localhost:{} plaintext", server.port()).parse().unwrap()];
    let opened = Session::open(&outbound(&server), &in_words, &plain, deadline()).await;
    assert!(opened.is_ok(), "{opened:?}");
}

#[tokio::test]
async fn a_server_without_its_grant_tables_proves_nothing() {
    let server = MariaDb::start(MariaDbOptions {
        arguments: vec!["--skip-grant-tables".to_owned()],
        ..MariaDbOptions::default()
    })
    .unwrap();
    let error = open(&server, "admin", "wrong").await.unwrap_err();
    assert!(matches!(error, Error::OtherAccount { .. }), "{error:?}");
    assert_eq!(error.code(), "login.not-asked");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_black_holed_server_ends_at_the_deadline_without_effect() {
    let hole = BlackHole::start().unwrap();
    let outbound = Outbound::new(keywheel_target::dial::Dialer::system(), TrustStore::new());
    let mut there = options(hole.port(), "app", "x");
    there.security = Security::Tls(TlsOptions::for_name("localhost"));
    let soon = Deadline::after(Duration::from_millis(300));
    let error = Session::open(&outbound, &rules(hole.port()), &there, soon)
        .await
        .unwrap_err();
    let expected = matches!(
        error,
        Error::Timeout {
            effect: Effect::None,
            ..
        }
    );
    assert!(expected, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_gives_up_a_statement_that_waits_and_a_session_that_it_ended_may_have_done_it() {
    let server = MariaDb::start(MariaDbOptions::default()).unwrap();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (x int)").unwrap();
    let mut session = admin(&server).await;
    let soon = Deadline::after(Duration::from_secs(2));
    let slow = text("UPDATE d.t SET x = SLEEP(15)");
    server.sql("INSERT INTO d.t VALUES (1)").unwrap();
    let error = session.execute(&slow, Access::Write, soon).await.unwrap_err();
    assert_eq!(
        (error.code().as_ref(), error.effect(), error.kind()),
        ("sql.1969", Effect::Maybe, ErrorKind::Timeout),
        "{error}"
    );
    assert!(session.is_usable());
    let (ended, ()) = tokio::join!(
        async {
            session
                .execute(&slow, Access::Write, deadline())
                .await
                .unwrap_err()
        },
        async {
            let asleep = "SELECT id FROM information_schema.processlist WHERE info LIKE 'UPDATE d.t%'";
            let mut id = String::new();
            while id.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                id = tokio::task::block_in_place(|| server.sql(asleep)).unwrap();
            }
            tokio::task::block_in_place(|| server.sql(&format!("KILL {id}"))).unwrap();
        }
    );
    assert_eq!(ended.effect(), Effect::Maybe, "{ended:?}");
    assert!(!session.is_usable());
}
