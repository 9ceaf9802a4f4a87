use std::time::Duration;

use keywheel_kit::{Postgres, PostgresOptions};
use keywheel_model::VersionId;
use keywheel_target::postgres::{Access, ConnectOptions, Pool, PoolLimits, Pooled, RowLimits};
use keywheel_target::statement::Value;
use keywheel_target::{Deadline, Error, Outbound};

use super::{deadline, options, outbound, rules, text};

struct House {
    server: Postgres,
    outbound: Outbound,
    options: ConnectOptions,
}

impl House {
    fn new() -> Self {
        let server = Postgres::start(PostgresOptions::default()).unwrap();
        let (outbound, options) = (
            outbound(&server),
            options(server.port(), server.admin_user(), server.admin_password()),
        );
        Self {
            server,
            outbound,
            options,
        }
    }

    async fn checkout(&self, pool: &Pool, version: u64, deadline: Deadline) -> Result<Pooled, Error> {
        pool.checkout(
            &self.outbound,
            &rules(self.server.port()),
            &self.options,
            &VersionId::from_number(version),
            deadline,
        )
        .await
    }
}

async fn backend(session: &mut Pooled) -> i64 {
    let rows = session
        .query(
            &text("SELECT pg_backend_pid()"),
            Access::Read,
            RowLimits::default(),
            deadline(),
        )
        .await
        .unwrap();
    match rows.rows[0][..] {
        [Value::Int(pid)] => pid,
        _ => panic!("a number"),
    }
}

#[tokio::test]
async fn a_session_is_used_again_with_its_state_reset_until_its_version_is_retired() {
    let house = House::new();
    let pool = Pool::new(PoolLimits::default());
    let mut first = house.checkout(&pool, 1, deadline()).await.unwrap();
    let pid = backend(&mut first).await;
    for sql in [
        "SELECT set_config('standard_conforming_strings', 'off', false)",
        "SELECT set_config('role', 'pg_monitor', false)",
        "CREATE TEMP TABLE x (y int)",
    ] {
        first
            .execute(&text(sql), Access::Write, deadline())
            .await
            .unwrap();
    }
    first.give_back().unwrap();
    let mut again = house.checkout(&pool, 1, deadline()).await.unwrap();
    assert_eq!(backend(&mut again).await, pid);
    let state = text(
        "SELECT current_setting('standard_conforming_strings'), current_user, to_regclass('pg_temp.x') IS NULL, current_setting('lock_timeout') <> '0'",
    );
    let rows = again
        .query(&state, Access::Read, RowLimits::default(), deadline())
        .await
        .unwrap();
    assert_eq!(
        rows.rows,
        [[
            Value::Text("on".into()),
            Value::Text("postgres".into()),
            Value::Bool(true),
            Value::Bool(true)
        ]]
    );
    let mut other = house.checkout(&pool, 2, deadline()).await.unwrap();
    assert_ne!(
        backend(&mut other).await,
        pid,
        "another version has sessions of its own"
    );
    other.give_back().unwrap();
    pool.retire(&VersionId::from_number(2));
    assert_eq!(pool.idle(), 0);
    pool.retire(&VersionId::from_number(1));
    again.give_back().unwrap();
    assert_eq!(pool.idle(), 0, "a session in use ends when it comes back");
}

#[tokio::test]
async fn a_dead_session_is_replaced_and_one_with_an_open_transaction_is_not_kept() {
    let mut house = House::new();
    let pool = Pool::new(PoolLimits::default());
    house
        .checkout(&pool, 1, deadline())
        .await
        .unwrap()
        .give_back()
        .unwrap();
    house.server.restart().unwrap();
    let mut session = house.checkout(&pool, 1, deadline()).await.unwrap();
    backend(&mut session).await;
    session.begin(deadline()).await.unwrap();
    assert!(matches!(session.give_back(), Err(Error::OpenTransaction)));
    assert_eq!(pool.idle(), 0);
}

#[tokio::test]
async fn sessions_are_bounded_and_the_wait_for_one_ends_at_the_deadline() {
    let house = House::new();
    let pool = Pool::new(PoolLimits {
        sessions: 1,
        idle: Duration::from_mins(1),
    });
    let held = house.checkout(&pool, 1, deadline()).await.unwrap();
    let error = house
        .checkout(&pool, 1, Deadline::after(Duration::from_millis(100)))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    let waiting = house.checkout(&pool, 1, deadline());
    let (got, ()) = tokio::join!(waiting, async { drop(held) });
    assert!(got.is_ok());
}

#[tokio::test]
async fn an_idle_session_is_swept_and_rules_are_asked_again_for_a_kept_one() {
    let house = House::new();
    let pool = Pool::new(PoolLimits {
        sessions: 4,
        idle: Duration::ZERO,
    });
    drop(house.checkout(&pool, 1, deadline()).await.unwrap());
    assert_eq!(pool.idle(), 1);
    pool.sweep();
    assert_eq!(pool.idle(), 0);
    let pool = Pool::new(PoolLimits::default());
    drop(house.checkout(&pool, 1, deadline()).await.unwrap());
    let refused = pool
        .checkout(
            &house.outbound,
            &[],
            &house.options,
            &VersionId::from_number(1),
            deadline(),
        )
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, Error::NotAllowed { .. }), "{refused:?}");
}
