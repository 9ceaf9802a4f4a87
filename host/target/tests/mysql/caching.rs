//! MySQL: `caching_sha2_password`, and two passwords at a time by hashes that the host makes.

use keywheel_kit::{MariaDbOptions, MySql};
use keywheel_model::{Effect, ErrorKind};
use keywheel_target::mysql::{Session, caching_sha2_hash};
use keywheel_target::postgres::{Access, Security};
use keywheel_target::statement::{Dialect, Statement};

use super::logins::are_refused;
use super::{deadline, open, options, outbound, secret};

fn start() -> MySql {
    MySql::start(MariaDbOptions::default()).unwrap()
}

fn text(sql: &str) -> Statement {
    let mut statement = Statement::new(Dialect::MySql);
    statement.text(sql).unwrap();
    statement
}

/// `ALTER USER 'app'@'%' IDENTIFIED WITH caching_sha2_password AS '…'`, and what comes after it.
fn by_hash(password: &str, salt: u8, end: &str) -> Statement {
    let mut statement = text("ALTER USER 'app'@'%' IDENTIFIED WITH caching_sha2_password AS ");
    let hash = caching_sha2_hash(&secret(password), &[salt; 20]);
    statement.secret_literal(hash).unwrap();
    if !end.is_empty() {
        statement.text(end).unwrap();
    }
    statement
}

#[tokio::test]
async fn refused_logins_are_told_apart_and_a_server_that_is_away_is_none() {
    let mut server = start();
    server
        .sql(
            "CREATE USER expired@'%' IDENTIFIED BY 'right' PASSWORD EXPIRE; CREATE USER locked@'%' IDENTIFIED BY 'right' ACCOUNT LOCK; \
             CREATE USER bare@'%'; CREATE USER elsewhere@'10.9.8.7' IDENTIFIED BY 'right'; \
             CREATE USER often@'%' IDENTIFIED BY 'right' FAILED_LOGIN_ATTEMPTS 1 PASSWORD_LOCK_TIME 1",
        )
        .unwrap();
    let cases = [
        (server.admin_user(), "wrong", "sql.1045"),
        // Of users that it does not have it asks for one method or another.
        ("nobody1", "x", "sql.1045"),
        ("nobody2", "x", "sql.1045"),
        ("nobody3", "x", "sql.1045"),
        ("nobody4", "x", "sql.1045"),
        ("nobody5", "x", "sql.1045"),
        ("nobody6", "x", "sql.1045"),
        ("elsewhere", "right", "sql.1045"),
        ("expired", "wrong", "sql.1045"),
        ("expired", "right", "sql.1862"),
        ("locked", "wrong", "sql.1045"),
        ("locked", "right", "sql.3118"),
        ("bare", "x", "sql.1045"),
        ("often", "wrong", "sql.3955"),
        ("often", "right", "sql.3955"),
    ];
    are_refused(&mut server, &cases).await;
}

/// Without TLS the server's key hides a password that it has not in its cache; with it or not, the second login is answered from there.
#[tokio::test]
async fn a_password_is_proved_in_full_and_then_from_the_servers_cache_with_and_without_tls() {
    let server = MySql::start(MariaDbOptions {
        plaintext: true,
        ..MariaDbOptions::default()
    })
    .unwrap();
    let long = "of more than one block, with ' \\ ä and a nonce that it is longer than";
    for (user, password, method) in [
        ("short", "x", "caching_sha2_password"),
        ("long", long, "caching_sha2_password"),
        ("other", long, "sha256_password"),
    ] {
        let mut made = text("CREATE USER ");
        made.literal(user).unwrap();
        made.text(&format!("@'%' IDENTIFIED WITH {method} BY ")).unwrap();
        made.secret_literal(secret(password)).unwrap();
        let mut admin = open(&server, server.admin_user(), server.admin_password())
            .await
            .unwrap();
        assert_eq!(admin.dialect(), Dialect::MySql);
        admin.execute(&made, Access::Write, deadline()).await.unwrap();
        let mut plain = options(server.port(), user, password);
        plain.security = Security::Plaintext;
        let in_words = vec![format!("localhost:{} plaintext", server.port()).parse().unwrap()];
        for _ in 0..2 {
            let opened = Session::open(&outbound(&server), &in_words, &plain, deadline()).await;
            assert!(opened.is_ok(), "{user}: {opened:?}");
        }
        server.sql("FLUSH PRIVILEGES").unwrap();
        for _ in 0..2 {
            assert!(open(&server, user, password).await.is_ok(), "{user}");
        }
        plain.password = Some(secret("another"));
        let refused = Session::open(&outbound(&server), &in_words, &plain, deadline()).await;
        assert_eq!(refused.unwrap_err().code(), "sql.1045", "{user}");
    }
}

/// What the plugin stands on (it was seen on 9.7; the manual's grammar has no `AS` together with `RETAIN`): the pair of statements comes to
/// the same from wherever it begins, and at no point does the old password stop to be taken.
#[tokio::test]
async fn two_passwords_by_hash_are_taken_however_often_the_pair_is_said_and_past_a_password_history() {
    let server = start();
    server
        .sql("CREATE USER app@'%' IDENTIFIED BY 'old' PASSWORD HISTORY 5 PASSWORD REUSE INTERVAL 30 DAY")
        .unwrap();
    let mut admin = open(&server, server.admin_user(), server.admin_password())
        .await
        .unwrap();
    let first = by_hash("old", 1, "");
    let second = by_hash("new", 2, " RETAIN CURRENT PASSWORD");
    // Whole, again, cut off in the middle, and the second said twice by somebody else.
    for statements in [
        &[&first, &second][..],
        &[&first, &second],
        &[&first],
        &[&first, &second],
    ] {
        for statement in statements {
            admin.execute(statement, Access::Write, deadline()).await.unwrap();
            assert!(
                open(&server, "app", "old").await.is_ok(),
                "{}",
                statement.preview()
            );
        }
    }
    assert!(open(&server, "app", "new").await.is_ok());
    // Why there is a pair: the second alone, said again, forgets the old one.
    admin.execute(&second, Access::Write, deadline()).await.unwrap();
    assert_eq!(open(&server, "app", "old").await.unwrap_err().code(), "sql.1045");
    for statement in [&first, &second] {
        admin.execute(statement, Access::Write, deadline()).await.unwrap();
    }
    assert!(open(&server, "app", "old").await.is_ok());
    // Twice, from either order of the two.
    for _ in 0..2 {
        for statement in [
            by_hash("new", 2, ""),
            text("ALTER USER 'app'@'%' DISCARD OLD PASSWORD"),
        ] {
            admin
                .execute(&statement, Access::Write, deadline())
                .await
                .unwrap();
            assert!(open(&server, "app", "new").await.is_ok());
        }
        assert_eq!(open(&server, "app", "old").await.unwrap_err().code(), "sql.1045");
    }
    // As the host's own hash, and no other, is what the server keeps.
    let kept = server
        .sql("SELECT authentication_string FROM mysql.user WHERE user = 'app'")
        .unwrap();
    assert_eq!(
        kept.as_bytes(),
        caching_sha2_hash(&secret("new"), &[2; 20]).expose()
    );
}

#[tokio::test]
async fn a_reading_statement_cannot_write_and_an_error_with_a_secret_has_its_number_alone() {
    let server = start();
    let put = "CREATE FUNCTION d.put() RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO d.t VALUES (1); RETURN 1; END";
    server
        .sql(&format!(
            "SET GLOBAL log_bin_trust_function_creators = 1; CREATE DATABASE d; CREATE TABLE d.t (x int);\nDELIMITER |\n{put}|\nDELIMITER ;\n"
        ))
        .unwrap();
    let mut admin = open(&server, server.admin_user(), server.admin_password())
        .await
        .unwrap();
    let error = admin
        .execute(&text("SELECT d.put()"), Access::Read, deadline())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "sql.1792", "{error}");
    assert_eq!(server.sql("SELECT count(*) FROM d.t").unwrap(), "0");
    let missing = by_hash("planted-7f3", 1, " RETAIN CURRENT PASSWORD");
    let error = admin
        .execute(&missing, Access::Write, deadline())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.effect(), error.code().as_ref()),
        (ErrorKind::NotFound, Effect::None, "sql.1396")
    );
    assert!(!error.to_string().contains("app"), "{error}");
}
