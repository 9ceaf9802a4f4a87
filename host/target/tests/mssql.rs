//! Sessions against a server that speaks as SQL Server does: each way in, quoting, typed errors.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use keywheel_kit::{Encryption, Policy, SqlServer, SqlServerOptions, strong_password};
use keywheel_model::{Effect, ErrorKind, SecretBytes};
use keywheel_target::dial::{Allow, Dialer};
use keywheel_target::mssql::{STRICT, Session};
use keywheel_target::postgres::{Access, ConnectOptions, RowLimits, Security};
use keywheel_target::statement::{Dialect, Statement, Value};
use keywheel_target::tls::{TlsOptions, TrustStore};
use keywheel_target::{Deadline, Error, Outbound};

fn secret(text: &str) -> SecretBytes {
    SecretBytes::copy_of(text.as_bytes())
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn server(encryption: Encryption) -> SqlServer {
    let policy = Policy {
        complexity: false,
        length: 1,
        lockout: Some(3),
        ..Policy::default()
    };
    SqlServer::start(SqlServerOptions {
        encryption,
        policy,
        ..SqlServerOptions::default()
    })
    .unwrap()
}

enum Way {
    Plaintext,
    Tls,
    Strict,
}

async fn open(
    server: &SqlServer,
    way: Way,
    user: &str,
    password: &str,
    database: &str,
) -> Result<Session, Error> {
    let mut trust = TrustStore::new();
    trust.add_pem("db", server.ca_pem().as_bytes()).unwrap();
    let outbound = Outbound::new(Dialer::system(), trust);
    let port = server.port();
    let word = if matches!(way, Way::Plaintext) {
        "plaintext"
    } else {
        "tls"
    };
    let rules: Vec<Allow> = vec![format!("localhost:{port} {word}").parse().unwrap()];
    let mut options = ConnectOptions::new("localhost", port, database, user, Some(secret(password)));
    let mut tls = TlsOptions::for_name("localhost").trusting("db");
    options.security = match way {
        Way::Plaintext => Security::Plaintext,
        Way::Tls => Security::Tls(tls),
        Way::Strict => {
            tls.alpn = vec![STRICT.to_vec()];
            Security::Tls(tls)
        }
    };
    options.proof = true;
    Session::open(&outbound, &rules, &options, deadline()).await
}

async fn admin(server: &SqlServer) -> Session {
    open(server, Way::Tls, "sa", server.admin_password(), "")
        .await
        .unwrap()
}

fn text(sql: &str) -> Statement {
    let mut statement = Statement::new(Dialect::MsSql);
    statement.text(sql).unwrap();
    statement
}

/// `verb [name] WITH PASSWORD = N'password'`.
fn with_password(verb: &str, name: &str, password: &str) -> Statement {
    let mut statement = text(verb);
    statement.identifier(name).unwrap();
    statement.text(" WITH PASSWORD = ").unwrap();
    statement.secret_literal(secret(password)).unwrap();
    statement
}

fn number(error: &Error) -> Option<u32> {
    match error {
        Error::Sql(error) => error.number,
        _ => None,
    }
}

#[tokio::test]
async fn each_way_in_is_taken_by_a_server_that_has_it_and_by_no_other() {
    for (encryption, plaintext, tls, strict) in [
        (Encryption::None, true, false, true),
        (Encryption::Optional, true, true, true),
        (Encryption::Required, false, true, true),
        (Encryption::Strict, false, false, true),
    ] {
        let server = server(encryption);
        let password = server.admin_password();
        for (way, good) in [
            (Way::Plaintext, plaintext),
            (Way::Tls, tls),
            (Way::Strict, strict),
        ] {
            let opened = open(&server, way, "sa", password, "").await;
            assert_eq!(opened.is_ok(), good, "{encryption:?}: {opened:?}");
            if let Err(error) = opened {
                assert_eq!(error.effect(), Effect::None);
            }
        }
    }
    let refused = open(&server(Encryption::None), Way::Tls, "sa", "x", "")
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::TlsMissing { .. }), "{refused:?}");
}

#[tokio::test]
async fn hostile_names_and_secrets_arrive_as_they_are() {
    let server = server(Encryption::Required);
    let mut session = admin(&server).await;
    for (name, password) in [
        ("o'neil", "p'w"),
        ("a]b", "]; DROP LOGIN x --"),
        ("a]]--", "' OR 1=1 -- "),
        ("quote\"`", "\\"),
        ("per%cent_ä", "''; DROP LOGIN x; /*"),
        ("new\nline", "tab\tand\nline \\n ä€😀"),
        ("x WITH PASSWORD = 'y'", "'"),
    ] {
        let made = with_password("CREATE LOGIN ", name, password);
        session.execute(&made, Access::Write, deadline()).await.unwrap();
        assert!(server.accepts("", name, password), "{name:?}");
        let opened = open(&server, Way::Tls, name, password, "").await;
        assert!(opened.is_ok(), "{name:?} {password:?}: {opened:?}");
        let mut found = text("SELECT COUNT(*) AS found FROM sys.sql_logins l WHERE l.name = ");
        found.param(Value::Text(name.into())).unwrap();
        let rows = session
            .query(&found, Access::Read, RowLimits::default(), deadline())
            .await
            .unwrap();
        assert_eq!(rows.rows, [[Value::Int(1)]], "{name:?}");
    }
}

#[tokio::test]
async fn values_go_in_as_they_are_and_come_back_typed() {
    let server = server(Encryption::Required);
    let mut session = admin(&server).await;
    let mut asked = text("SELECT ");
    let values = [
        Value::Text("ä'€\\".into()),
        Value::Int(-5),
        Value::Int(1 << 40),
        Value::Null,
        Value::Bytes(vec![0, 255]),
        Value::Text("x".repeat(5000)),
    ];
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            asked.text(", ").unwrap();
        }
        asked.param(value.clone()).unwrap();
    }
    asked.text(", CAST(1 AS bit)").unwrap();
    let rows = session
        .query(&asked, Access::Read, RowLimits::default(), deadline())
        .await
        .unwrap();
    assert_eq!(rows.rows, [[&values[..], &[Value::Bool(true)]].concat()]);
    let mut capture = text("SELECT SUSER_SNAME() AS name");
    capture.text(" ").unwrap();
    let name = session
        .capture(&capture, "name", Access::Read, deadline())
        .await
        .unwrap();
    assert_eq!(name.expose(), b"sa");
    assert!(session.is_usable() && !session.in_transaction());
    // Without a shape nothing writes, and no second statement hides behind the first.
    let hidden = text("SELECT 1 ALTER LOGIN sa DISABLE");
    assert!(
        session
            .query(&hidden, Access::Read, RowLimits::default(), deadline())
            .await
            .is_err()
    );
    assert!(session.begin(deadline()).await.is_err());
}

#[tokio::test]
async fn refusals_are_typed_and_say_nothing_of_a_secret() {
    let server = server(Encryption::Required);
    let good = strong_password();
    let sql = |sql: &str| drop(server.sql("master", sql).unwrap());
    sql(&format!("CREATE LOGIN app WITH PASSWORD = N'{good}'"));
    let refused = async |user: &str, password: &str, database: &str| {
        open(&server, Way::Tls, user, password, database)
            .await
            .unwrap_err()
    };
    for (error, expected, before_login) in [
        (refused("nobody", &good, "").await, 18456, false),
        (refused("app", "wrong", "").await, 18456, false),
        (refused("app", &good, "missing").await, 4060, false),
    ] {
        assert_eq!(
            (number(&error), error.is_before_login()),
            (Some(expected), before_login),
            "{error:?}"
        );
        assert_eq!(error.code(), format!("sql.{expected}"));
        assert_eq!(error.effect(), Effect::None);
    }
    server.refuse_logins(40613, 1);
    let away = refused("app", &good, "").await;
    assert!(
        away.is_before_login() && away.kind() == ErrorKind::Unavailable,
        "{away:?}"
    );
    sql("ALTER LOGIN app DISABLE");
    assert_eq!(number(&refused("app", &good, "").await), Some(18470));
    sql("ALTER LOGIN app ENABLE");
    server.expire("app");
    assert_eq!(number(&refused("app", &good, "").await), Some(18487));
    let must = format!("ALTER LOGIN app WITH PASSWORD = N'{good}' MUST_CHANGE, CHECK_EXPIRATION = ON");
    sql(&must);
    assert_eq!(number(&refused("app", &good, "").await), Some(18488));
    for _ in 0..3 {
        refused("app", "wrong", "").await;
    }
    assert_eq!(number(&refused("app", &good, "").await), Some(18486));

    let mut session = admin(&server).await;
    let missing = with_password("ALTER LOGIN ", "nobody", "LeakMe'1");
    let error = session
        .execute(&missing, Access::Write, deadline())
        .await
        .unwrap_err();
    assert_eq!(
        (number(&error), error.kind(), error.effect()),
        (Some(15151), ErrorKind::NotFound, Effect::None)
    );
    // The server quotes what it does not understand.
    let mut broken = text("ALTER LOGIN app WITH PASSWORD = ");
    broken.secret_literal(secret("LeakMe")).unwrap();
    broken.text(" LeakMe").unwrap();
    let error = session
        .execute(&broken, Access::Write, deadline())
        .await
        .unwrap_err();
    assert_eq!(number(&error), Some(102));
    assert!(!format!("{error:?} {error}").contains("LeakMe"));
    assert!(session.is_usable(), "an error of a statement leaves the session");
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_a_change_leaves_doubt() {
    let mut server = server(Encryption::Required);
    server
        .sql("master", "CREATE LOGIN app WITH PASSWORD = N'first-1'")
        .unwrap();
    let mut session = admin(&server).await;
    server.kill9().unwrap();
    let change = with_password("ALTER LOGIN ", "app", "second-2");
    let error = session
        .execute(&change, Access::Write, deadline())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Lost { .. }) && error.effect() == Effect::Maybe,
        "{error:?}"
    );
    assert!(!session.is_usable());
    server.restart().unwrap();
    assert!(open(&server, Way::Tls, "app", "first-1", "").await.is_ok());
}
