use keywheel_kit::{MariaDb, MariaDbOptions, MySql};
use keywheel_model::{Effect, ErrorKind};
use keywheel_target::Error;
use keywheel_target::postgres::{Access, Ending, RowLimits};
use keywheel_target::statement::{Dialect, Statement, Value};

use super::{admin, deadline, identified_by, open, secret, text};

#[tokio::test]
async fn hostile_names_and_secrets_arrive_as_they_are() {
    let maria = MariaDb::start(MariaDbOptions::default()).unwrap();
    take_hostile(&maria).await;
    let mysql = MySql::start(MariaDbOptions::default()).unwrap();
    take_hostile(&mysql).await;
}

async fn take_hostile(server: &MariaDb) {
    let mut session = admin(server).await;
    for (user, password) in [
        ("o'neil", "p'w"),
        ("back\\slash", "\\' OR 1=1 -- "),
        ("quote\"`", "\\"),
        ("per%cent_ä", "''; DROP TABLE x; #"),
        ("new\nline", "tab\tand\nline \\n \\0 ä€😀"),
        ("a'@'b", "'"),
    ] {
        let made = identified_by("CREATE", user, secret(password));
        session.execute(&made, Access::Write, deadline()).await.unwrap();
        assert!(
            open(server, user, password).await.is_ok(),
            "{user:?} {password:?}"
        );
        assert!(open(server, user, "x").await.is_err());
        let mut count = text("SELECT count(*) AS found FROM mysql.user WHERE user = ");
        count.param(Value::Text(user.into())).unwrap();
        count.text(" AND host = ").unwrap();
        count.literal("%").unwrap();
        let rows = session
            .query(&count, Access::Read, RowLimits::default(), deadline())
            .await
            .unwrap();
        assert_eq!(rows.rows, [[Value::Int(1)]], "{user:?}");
    }
    let mut named = text("CREATE DATABASE ");
    named.identifier("a`b\"c'd\\").unwrap();
    session.execute(&named, Access::Write, deadline()).await.unwrap();
    let found = server
        .sql("SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'a`b\"c''d\\\\'")
        .unwrap();
    assert_eq!(found, "1");
}

#[tokio::test]
async fn values_go_in_as_they_are_and_come_back_typed_whatever_the_server_starts_with() {
    let server = MariaDb::start(MariaDbOptions {
        arguments: vec![
            "--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT".to_owned(),
            "--character-set-server=latin1".to_owned(),
        ],
        ..MariaDbOptions::default()
    })
    .unwrap();
    let mut session = admin(&server).await;
    let values = [
        Value::Null,
        Value::Int(-7),
        Value::Int(i64::MIN),
        Value::Text("it's \\ ? \"ä😀".into()),
        Value::Bytes(vec![0, 255, 39]),
    ];
    let mut statement = Statement::new(Dialect::MariaDb);
    statement.text("SELECT ").unwrap();
    for value in &values {
        statement.param(value.clone()).unwrap();
        statement.text(", ").unwrap();
    }
    statement.param(Value::Float(-2.5e-3)).unwrap();
    statement.text(" + 0e0, ").unwrap();
    statement.param(Value::Bool(true)).unwrap();
    statement
        .text(", 18446744073709551615, 1.50, CAST('2026-11-27' AS date)")
        .unwrap();
    let rows = session
        .query(&statement, Access::Read, RowLimits::default(), deadline())
        .await
        .unwrap();
    let more = [
        Value::Float(-2.5e-3),
        Value::Int(1),
        Value::Text("18446744073709551615".into()),
        Value::Text("1.50".into()),
        Value::Text("2026-11-27".into()),
    ];
    let expected: Vec<Value> = values.into_iter().chain(more).collect();
    assert_eq!(rows.rows, [expected]);
    let shown = session
        .query(
            &text("SELECT @@sql_mode AS mode, @@character_set_client AS set_client"),
            Access::Read,
            RowLimits::default(),
            deadline(),
        )
        .await
        .unwrap();
    assert_eq!(shown.columns, ["mode", "set_client"]);
    let pinned = ["STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION", "utf8mb4"];
    assert_eq!(shown.rows, [pinned.map(|t| Value::Text(t.into()))]);
}

#[tokio::test]
async fn rows_and_bytes_are_bounded_and_an_endless_answer_ends_the_session() {
    let server = MariaDb::start(MariaDbOptions {
        arguments: vec!["--max-allowed-packet=64M".to_owned()],
        ..MariaDbOptions::default()
    })
    .unwrap();
    let mut session = admin(&server).await;
    let mut named = text("SELECT seq, repeat('a', 100) FROM ");
    named.identifier("mysql").unwrap();
    named.text(".seq_1_to_1000").unwrap();
    for (limits, kept) in [
        (
            RowLimits {
                rows: 10,
                bytes: 1 << 20,
            },
            10,
        ),
        (
            RowLimits {
                rows: 1000,
                bytes: 1050,
            },
            10,
        ),
    ] {
        let rows = session
            .query(&named, Access::Read, limits, deadline())
            .await
            .unwrap();
        assert_eq!((rows.rows.len(), rows.truncated), (kept, true));
    }
    let huge = session
        .query(
            &text("SELECT repeat('a', 20000000)"),
            Access::Read,
            RowLimits::default(),
            deadline(),
        )
        .await
        .unwrap_err();
    assert!(
        matches!(
            huge,
            Error::Limit {
                effect: Effect::None,
                ..
            }
        ),
        "{huge:?}"
    );
    assert!(!session.is_usable());
    let error = session
        .query(&text("SELECT 1"), Access::Read, RowLimits::default(), deadline())
        .await
        .unwrap_err();
    assert_eq!(error.effect(), Effect::None);
}

#[tokio::test]
async fn an_error_of_a_statement_with_a_secret_has_its_number_and_nothing_else() {
    let server = MariaDb::start(MariaDbOptions::default()).unwrap();
    let mut session = admin(&server).await;
    let missing = identified_by("ALTER", "missing", secret("planted-7f3"));
    let error = session
        .execute(&missing, Access::Write, deadline())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.effect(), error.code().as_ref()),
        (ErrorKind::NotFound, Effect::None, "sql.1396")
    );
    // The server quotes what it could not read.
    let mut broken = text("ALTER USER WITHOUT SENSE ");
    broken.secret_literal(secret("planted-7f3")).unwrap();
    let broken_error = session
        .execute(&broken, Access::Write, deadline())
        .await
        .unwrap_err();
    assert_eq!(broken_error.code(), "sql.1064");
    for shown in [
        error.to_string(),
        format!("{broken_error:?}"),
        broken_error.to_step_error().message,
        format!("{broken:?}"),
        broken.preview(),
    ] {
        assert!(!shown.contains("planted"), "{shown}");
    }
    let error = session
        .query(&broken, Access::Write, RowLimits::default(), deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "execute-only");
    let plain = text("ALTER USER nobody_here ACCOUNT UNLOCK");
    let plain = session
        .execute(&plain, Access::Write, deadline())
        .await
        .unwrap_err();
    assert!(
        plain.to_string().contains("nobody_here"),
        "without a secret the server's words help: {plain}"
    );
}

#[tokio::test]
async fn a_reading_statement_can_neither_write_nor_change_the_quoting() {
    let server = MariaDb::start(MariaDbOptions::default()).unwrap();
    let put = "CREATE FUNCTION d.put() RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO d.t VALUES (1); RETURN 1; END";
    server
        .sql(&format!(
            "CREATE DATABASE d; CREATE TABLE d.t (x int); CREATE SEQUENCE d.s;\nDELIMITER |\n{put}|\nDELIMITER ;\n"
        ))
        .unwrap();
    let mut session = admin(&server).await;
    for sql in ["SELECT d.put()", "SELECT NEXT VALUE FOR d.s"] {
        let error = session
            .execute(&text(sql), Access::Read, deadline())
            .await
            .unwrap_err();
        assert_eq!(
            (error.code().as_ref(), error.kind()),
            ("sql.1792", ErrorKind::Denied),
            "{sql}"
        );
    }
    for sql in [
        "INSERT INTO d.t VALUES (1)",
        "ALTER USER admin ACCOUNT LOCK",
        "DROP TABLE d.t",
        "COMMIT",
        "SET sql_mode = 'ANSI_QUOTES'",
        "DO SLEEP(0)",
        " ",
        "(SELECT 1)",
        "SELECT 1 INTO OUTFILE '/tmp/never'",
        "select 1 into dumpfile '/tmp/never'",
    ] {
        let error = session
            .execute(&text(sql), Access::Read, deadline())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{sql}: {error}");
    }
    let mut cut = text("SELECT 1 INTO OUT");
    cut.text("FILE '/tmp/never'").unwrap();
    let error = session.execute(&cut, Access::Read, deadline()).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    for sql in [
        "COMMIT",
        "set autocommit = 0",
        "START TRANSACTION",
        "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE d.t",
        "USE d",
        "LOCK TABLES d.t WRITE",
    ] {
        let error = session
            .execute(&text(sql), Access::Write, deadline())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{sql}: {error}");
    }
    assert_eq!(server.sql("SELECT count(*) FROM d.t").unwrap(), "0");
    let insert = text("INSERT INTO d.t VALUES (1), (2)");
    assert_eq!(
        session.execute(&insert, Access::Write, deadline()).await.unwrap(),
        2
    );
    assert_eq!(server.sql("SELECT count(*) FROM d.t").unwrap(), "2");
    assert!(matches!(
        session.begin(deadline()).await,
        Err(Error::Invalid { .. })
    ));
    assert_eq!(session.close(), Ending::Clean);
}

#[tokio::test]
async fn one_value_of_one_row_is_captured_as_a_secret() {
    let server = MariaDb::start(MariaDbOptions::default()).unwrap();
    let mut session = admin(&server).await;
    let one = text("SELECT 'tok' AS token, 1 AS n");
    let captured = session
        .capture(&one, "token", Access::Read, deadline())
        .await
        .unwrap();
    assert!(captured.same_as(&secret("tok")));
    for (sql, column) in [
        ("SELECT 'a' AS token UNION ALL SELECT 'b'", "token"),
        ("SELECT 'a' AS token FROM dual WHERE false", "token"),
        ("SELECT 'a' AS token", "other"),
        ("SELECT 1 AS token", "token"),
    ] {
        let refused = session
            .capture(&text(sql), column, Access::Read, deadline())
            .await;
        assert!(matches!(refused, Err(Error::Protocol { .. })), "{sql}");
    }
}

#[tokio::test]
async fn a_missing_privilege_is_denied() {
    let server = MariaDb::start(MariaDbOptions::default()).unwrap();
    server.sql("CREATE USER weak@'%' IDENTIFIED BY 'x'").unwrap();
    let mut weak = open(&server, "weak", "x").await.unwrap();
    for sql in ["CREATE USER other", "SELECT count(*) FROM mysql.user"] {
        let error = weak
            .execute(&text(sql), Access::Write, deadline())
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.effect()),
            (ErrorKind::Denied, Effect::None),
            "{sql}: {error}"
        );
    }
}
