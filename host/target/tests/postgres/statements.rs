use keywheel_kit::{Postgres, PostgresOptions};
use keywheel_model::{Effect, ErrorKind};
use keywheel_target::Error;
use keywheel_target::postgres::{Access, Ending, RowLimits};
use keywheel_target::statement::{Dialect, Statement, Value};

use super::{admin, deadline, open, secret, set_password, text};

#[tokio::test]
async fn values_go_in_as_parameters_and_come_back_typed() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let mut session = admin(&server).await;
    let mut statement = Statement::new(Dialect::Postgres);
    let values = [
        Value::Null,
        Value::Bool(true),
        Value::Int(-7),
        Value::Float(0.5),
        Value::Text("it's \\ $1 ä".into()),
        Value::Bytes(vec![0, 255]),
    ];
    statement.text("SELECT ").unwrap();
    for value in &values {
        statement.param(value.clone()).unwrap();
        statement.text(", ").unwrap();
    }
    statement.literal("O'Neil \\ $2").unwrap();
    statement
        .text(", 1::int2, 2::oid, 'n'::name, '{}'::json, current_user")
        .unwrap();
    let rows = session
        .query(&statement, Access::Read, RowLimits::default(), deadline())
        .await
        .unwrap();
    let more = ["O'Neil \\ $2"]
        .map(|t| Value::Text(t.into()))
        .into_iter()
        .chain([Value::Int(1), Value::Int(2)]);
    let expected: Vec<Value> = values
        .into_iter()
        .chain(more)
        .chain(["n", "{}", "postgres"].map(|t| Value::Text(t.into())))
        .collect();
    assert_eq!(rows.rows, [expected]);
    assert!(!rows.truncated);
    let error = session
        .query(
            &text("SELECT now() AS at"),
            Access::Read,
            RowLimits::default(),
            deadline(),
        )
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "column \"at\" has type timestamptz; cast it to text in the statement"
    );
    assert!(
        session
            .query(
                &text("SELECT now()::text"),
                Access::Read,
                RowLimits::default(),
                deadline()
            )
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn rows_and_bytes_are_bounded_and_an_endless_answer_ends_the_session() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let mut session = admin(&server).await;
    let query = text("SELECT x::int4, repeat('a', 100) FROM generate_series(1, 1000) x");
    let rows = session
        .query(
            &query,
            Access::Read,
            RowLimits {
                rows: 10,
                bytes: 1 << 20,
            },
            deadline(),
        )
        .await
        .unwrap();
    assert_eq!((rows.rows.len(), rows.truncated), (10, true));
    let rows = session
        .query(
            &query,
            Access::Read,
            RowLimits {
                rows: 1000,
                bytes: 1040,
            },
            deadline(),
        )
        .await
        .unwrap();
    assert_eq!((rows.rows.len(), rows.truncated), (10, true));
    let huge = session
        .query(
            &text("SELECT repeat('a', 100000000)"),
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
async fn an_error_of_a_statement_with_a_secret_has_its_sqlstate_and_nothing_else() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let mut session = admin(&server).await;
    let error = session
        .execute(
            &set_password("missing-role", secret("planted-7f3")),
            Access::Write,
            deadline(),
        )
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::NotFound, Effect::None)
    );
    assert_eq!(error.to_string(), "the server refused with SQLSTATE 42704");
    let mut cast = text("SELECT CAST(");
    cast.secret_literal(secret("planted-7f3")).unwrap();
    cast.text(" AS integer)").unwrap();
    let error = session
        .execute(&cast, Access::Write, deadline())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "sql.22p02");
    for shown in [
        error.to_string(),
        format!("{error:?}"),
        error.to_step_error().message,
        format!("{cast:?}"),
        cast.preview(),
    ] {
        assert!(!shown.contains("planted"), "{shown}");
    }
    let error = session
        .query(&cast, Access::Write, RowLimits::default(), deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "execute-only");
    let plain = session
        .execute(&text("ALTER ROLE nobody_here LOGIN"), Access::Write, deadline())
        .await
        .unwrap_err();
    assert!(
        plain.to_string().contains("nobody_here"),
        "without a secret the server's words help: {plain}"
    );
}

#[tokio::test]
async fn a_reading_statement_can_neither_write_nor_change_the_quoting() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    server.sql("CREATE TABLE t (x int)").unwrap();
    let mut session = admin(&server).await;
    for sql in [
        "WITH w AS (INSERT INTO public.t VALUES (1) RETURNING x) SELECT x FROM w",
        "SELECT nextval(pg_get_serial_sequence('a', 'b'))",
    ] {
        assert!(
            session
                .execute(&text(sql), Access::Read, deadline())
                .await
                .is_err(),
            "{sql}"
        );
    }
    for sql in [
        "INSERT INTO public.t VALUES (1)",
        "DROP TABLE public.t",
        "COMMIT",
        "SET standard_conforming_strings = off",
        "DO 'x'",
        " ",
        "(SELECT 1)",
    ] {
        let error = session
            .execute(&text(sql), Access::Read, deadline())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{sql}: {error}");
    }
    for sql in ["COMMIT", "set role x", "  ROLLBACK", "Prepare x AS SELECT 1"] {
        assert!(
            matches!(
                session.execute(&text(sql), Access::Write, deadline()).await,
                Err(Error::Invalid { .. })
            ),
            "{sql}"
        );
    }
    for sql in [
        "SELECT set_config('standard_conforming_strings', 'off', false)",
        "SELECT set_config('search_path', 'public', false)",
    ] {
        session
            .execute(&text(sql), Access::Read, deadline())
            .await
            .unwrap();
    }
    let escape = session
        .execute(
            &text("SELECT set_config('transaction_read_only', 'off', false)"),
            Access::Read,
            deadline(),
        )
        .await
        .unwrap_err();
    assert_eq!(escape.effect(), Effect::None);
    let shown = text(
        "SELECT current_setting('standard_conforming_strings'), current_setting('search_path'), current_setting('client_encoding')",
    );
    let rows = session
        .query(&shown, Access::Read, RowLimits::default(), deadline())
        .await
        .unwrap();
    assert_eq!(
        rows.rows,
        [["on", "pg_catalog, pg_temp", "UTF8"].map(|t| Value::Text(t.into()))]
    );
    assert_eq!(server.sql("SELECT count(*) FROM t").unwrap(), "0");
}

#[tokio::test]
async fn a_transaction_reads_and_writes_and_takes_effect_at_its_commit() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    server.sql("CREATE TABLE t (x int)").unwrap();
    let count = || server.sql("SELECT count(*) FROM t").unwrap();
    let mut session = admin(&server).await;
    let (insert, select) = (
        text("INSERT INTO public.t VALUES (1)"),
        text("SELECT count(*) FROM public.t"),
    );
    session.begin(deadline()).await.unwrap();
    assert_eq!(
        session.execute(&insert, Access::Write, deadline()).await.unwrap(),
        1
    );
    let rows = session
        .query(&select, Access::Read, RowLimits::default(), deadline())
        .await
        .unwrap();
    assert_eq!(rows.rows, [[Value::Int(1)]]);
    let wrote = text("WITH w AS (INSERT INTO public.t VALUES (2) RETURNING x) SELECT x FROM w");
    assert_eq!(
        session
            .query(&wrote, Access::Read, RowLimits::default(), deadline())
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Denied
    );
    assert_eq!(count(), "0");
    session.commit(deadline()).await.unwrap();
    assert_eq!(count(), "1", "a read that failed did not undo the rest");
    session.begin(deadline()).await.unwrap();
    session.execute(&insert, Access::Write, deadline()).await.unwrap();
    assert!(
        session
            .execute(
                &text("INSERT INTO public.absent VALUES (1)"),
                Access::Write,
                deadline()
            )
            .await
            .is_err()
    );
    let error = session.commit(deadline()).await.unwrap_err();
    assert_eq!(
        (error.code().as_ref(), error.effect()),
        ("sql.25p02", Effect::None),
        "the server would have called that commit a success"
    );
    session.begin(deadline()).await.unwrap();
    session.execute(&insert, Access::Write, deadline()).await.unwrap();
    assert!(session.begin(deadline()).await.is_err());
    assert_eq!(session.close(), Ending::OpenTransaction);
    assert_eq!(count(), "1");
}

#[tokio::test]
async fn one_value_of_one_row_is_captured_as_a_secret() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let mut session = admin(&server).await;
    let captured = session
        .capture(
            &text("SELECT 'tok' AS token, 1 AS n"),
            "token",
            Access::Read,
            deadline(),
        )
        .await
        .unwrap();
    assert!(captured.same_as(&secret("tok")));
    for (sql, column) in [
        ("SELECT 'a' AS token UNION ALL SELECT 'b'", "token"),
        ("SELECT 'a' AS token WHERE false", "token"),
        ("SELECT 'a' AS token", "other"),
        ("SELECT 1 AS token", "token"),
    ] {
        assert!(
            matches!(
                session
                    .capture(&text(sql), column, Access::Read, deadline())
                    .await,
                Err(Error::Protocol { .. })
            ),
            "{sql}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_privilege_is_denied_and_a_session_that_the_server_ended_may_have_done_it() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    server.sql("CREATE ROLE weak LOGIN PASSWORD 'x'").unwrap();
    let mut weak = open(&server, "weak", "x").await.unwrap();
    let error = weak
        .execute(&text("CREATE ROLE other"), Access::Write, deadline())
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Denied, Effect::None));
    let mut session = admin(&server).await;
    let pid = session
        .query(
            &text("SELECT pg_backend_pid()"),
            Access::Read,
            RowLimits::default(),
            deadline(),
        )
        .await
        .unwrap();
    let [Value::Int(pid)] = pid.rows[0][..] else {
        panic!("a number")
    };
    let (ended, ()) = tokio::join!(
        async {
            session
                .execute(&text("SELECT pg_sleep(15)"), Access::Write, deadline())
                .await
                .unwrap_err()
        },
        async {
            let asleep =
                format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'");
            while tokio::task::block_in_place(|| server.sql(&asleep)).unwrap() != "1" {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            tokio::task::block_in_place(|| server.sql(&format!("SELECT pg_terminate_backend({pid})")))
                .unwrap();
        }
    );
    assert_eq!(ended.effect(), Effect::Maybe, "{ended:?}");
    assert!(!session.is_usable());
}
