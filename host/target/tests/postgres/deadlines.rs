use std::time::Duration;

use keywheel_kit::{Login, Postgres, PostgresOptions, Proxy};
use keywheel_model::{Effect, ErrorKind};
use keywheel_target::postgres::{Access, Session};
use keywheel_target::{Deadline, Error};

use super::{admin, deadline, open, options, outbound, rules, secret, set_password, text};

fn in_ms(ms: u64) -> Deadline {
    Deadline::after(Duration::from_millis(ms))
}

/// Locks the row of a role in pg_authid, as another administrator's open transaction does.
async fn hold_role(server: &Postgres, role: &str) -> Session {
    let mut holder = admin(server).await;
    holder.begin(deadline()).await.unwrap();
    holder
        .execute(
            &text(&format!("ALTER ROLE {role} CONNECTION LIMIT 5")),
            Access::Write,
            deadline(),
        )
        .await
        .unwrap();
    holder
}

#[tokio::test]
async fn a_wait_for_a_locked_row_ends_on_the_server_and_never_lands_late() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    server.sql("CREATE ROLE app LOGIN PASSWORD 'old'").unwrap();
    let mut holder = hold_role(&server, "app").await;
    let mut session = admin(&server).await;
    let error = session
        .execute(&set_password("app", secret("new")), Access::Write, in_ms(1_000))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code().as_ref(), error.kind(), error.effect()),
        ("sql.55p03", ErrorKind::Unavailable, Effect::None),
        "{error}"
    );
    assert!(session.is_usable(), "the server answered in time");
    holder.commit(deadline()).await.unwrap();
    assert_eq!(server.login("app", "old").unwrap(), Login::Accepted);
    assert!(server.login("app", "new").unwrap().is_refused());
}

#[tokio::test]
async fn a_slow_statement_ends_on_the_server_with_its_own_error() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let mut session = admin(&server).await;
    for access in [Access::Write, Access::Read] {
        let error = session
            .execute(&text("SELECT pg_sleep(30)"), access, in_ms(700))
            .await
            .unwrap_err();
        assert_eq!(
            (error.code().as_ref(), error.kind(), error.effect()),
            ("sql.57014", ErrorKind::Timeout, Effect::None),
            "{error}"
        );
        assert!(session.is_usable());
    }
}

/// Rule P1: the sender falls silent while its statement waits; what it left behind must not land when the lock goes.
#[tokio::test]
async fn a_statement_whose_sender_died_gives_up_on_the_server() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    server.sql("CREATE ROLE app LOGIN PASSWORD 'old'").unwrap();
    let mut holder = hold_role(&server, "app").await;
    let mut doomed = admin(&server).await;
    let statement = set_password("app", secret("new"));
    // A deadline of a minute: only the server's look at its client can end this one soon.
    let sent = tokio::time::timeout(
        Duration::from_millis(300),
        doomed.execute(&statement, Access::Write, Deadline::after(Duration::from_mins(1))),
    )
    .await;
    assert!(sent.is_err());
    assert!(
        !doomed.is_usable(),
        "a call that was dropped half-way leaves nothing to use"
    );
    drop(doomed);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let gone = async {
        while server.sql(waiting).unwrap() != "0" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    deadline()
        .run("the orphan's end", Effect::None, gone)
        .await
        .unwrap();
    holder.commit(deadline()).await.unwrap();
    assert_eq!(server.login("app", "old").unwrap(), Login::Accepted);
}

#[tokio::test]
async fn a_takeover_ends_the_old_holders_session_first() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    server.sql("CREATE ROLE app LOGIN PASSWORD 'old'").unwrap();
    let mut old = options(server.port(), server.admin_user(), server.admin_password());
    old.application_name = "keywheel fence:1".into();
    let mut old = Session::open(&outbound(&server), &rules(server.port()), &old, deadline())
        .await
        .unwrap();
    old.begin(deadline()).await.unwrap();
    old.execute(&set_password("app", secret("late")), Access::Write, deadline())
        .await
        .unwrap();
    let mut new = admin(&server).await;
    assert_eq!(new.end_sessions("keywheel fence:1", deadline()).await.unwrap(), 1);
    assert_eq!(new.end_sessions("keywheel fence:1", deadline()).await.unwrap(), 0);
    assert!(old.commit(deadline()).await.is_err());
    assert_eq!(server.login("app", "old").unwrap(), Login::Accepted);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_maybe_outside_a_transaction_and_none_inside() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    server.sql("CREATE ROLE app LOGIN PASSWORD 'old'").unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let through = options(proxy.port(), server.admin_user(), server.admin_password());
    let connect = || async {
        Session::open(&outbound(&server), &rules(proxy.port()), &through, deadline())
            .await
            .unwrap()
    };
    let statement = || set_password("app", secret("new"));

    let mut session = connect().await;
    proxy.swallow_answers();
    let error = session
        .execute(&statement(), Access::Write, in_ms(500))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                effect: Effect::Maybe,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        server.login("app", "new").unwrap(),
        Login::Accepted,
        "and here it did land"
    );
    assert!(!session.is_usable());

    proxy.heal();
    let mut session = connect().await;
    session.begin(deadline()).await.unwrap();
    proxy.swallow_answers();
    let error = session
        .execute(&set_password("app", secret("newer")), Access::Write, in_ms(500))
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
    drop(session);

    proxy.heal();
    let mut session = connect().await;
    session.begin(deadline()).await.unwrap();
    proxy.swallow_answers();
    let error = session.commit(in_ms(500)).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                effect: Effect::Maybe,
                ..
            }
        ),
        "{error:?}"
    );

    proxy.heal();
    let mut session = connect().await;
    proxy.cut();
    let error = session
        .execute(&statement(), Access::Write, deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
    assert!(open(&server, "app", "new").await.is_ok());
}
