use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use keywheel_kit::{Postgres, PostgresOptions};
use keywheel_model::{Effect, VersionId};
use keywheel_target::postgres::{Opening, Pool, PoolLimits, Seat};
use keywheel_target::statement::Statement;
use keywheel_target::{Deadline, Error};

use super::{deadline, options, outbound, rules, secret, set_password, text};

struct House {
    server: Postgres,
    pool: Pool,
    opening: Arc<Opening>,
}

impl House {
    /// With roles `r0` and so on, each made by a transaction of its own.
    fn new(roles: usize) -> Self {
        let server = Postgres::start(PostgresOptions::default()).unwrap();
        for number in 0..roles {
            server.sql(&format!("CREATE ROLE r{number} LOGIN")).unwrap();
        }
        let opening = Opening {
            outbound: outbound(&server),
            rules: rules(server.port()),
            options: options(server.port(), server.admin_user(), server.admin_password()),
            version: VersionId::from_number(1),
        };
        Self {
            server,
            pool: Pool::new(PoolLimits::default()),
            opening: Arc::new(opening),
        }
    }

    fn seat(&self, by: &str) -> Seat {
        self.pool.join(Arc::clone(&self.opening), by).unwrap()
    }

    /// All have their places before the first hands in: they go together.
    async fn execute(&self, statements: &[Statement], deadline: Deadline) -> Vec<Result<u64, Error>> {
        let seats: Vec<Seat> = statements.iter().map(|_| self.seat("plugin")).collect();
        let work = seats.into_iter().zip(statements);
        join_all(work.map(|(seat, statement)| seat.execute(statement, deadline))).await
    }

    /// How many of the roles were last written by the same transaction, the most first.
    fn together(&self) -> Vec<usize> {
        let sql =
            "SELECT count(*) FROM pg_authid WHERE rolname ~ '^r[0-9]' GROUP BY xmin::text ORDER BY 1 DESC";
        let counts = self.server.sql(sql).unwrap();
        counts.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn accepts(&self, number: usize) -> bool {
        let login = self.server.login(&format!("r{number}"), &password(number));
        login.unwrap().is_accepted()
    }
}

fn password(number: usize) -> String {
    format!("pass'word\\{number}")
}

fn change(number: usize) -> Statement {
    set_password(&format!("r{number}"), secret(&password(number)))
}

#[tokio::test]
async fn statements_of_several_are_committed_at_once_and_each_hears_of_its_own() {
    let house = House::new(5);
    let statements: Vec<Statement> = (0..5).map(change).collect();
    let done = house.execute(&statements, deadline()).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(house.together(), [5]);
    assert!((0..5).all(|number| house.accepts(number)));
    // The session is kept, and used again.
    assert_eq!(house.pool.idle(), 1);
    assert!(
        house
            .pool
            .knows(&house.opening.options, &VersionId::from_number(1))
    );
    assert!(
        !house
            .pool
            .knows(&house.opening.options, &VersionId::from_number(2))
    );
}

#[tokio::test]
async fn one_that_fails_fails_alone() {
    let house = House::new(4);
    let mut statements: Vec<Statement> = (0..4).map(change).collect();
    statements.insert(2, change(77));
    let done = house.execute(&statements, deadline()).await;
    let Err(Error::Sql(error)) = &done[2] else {
        panic!("{done:?}")
    };
    assert_eq!((error.sqlstate.as_str(), error.effect), ("42704", Effect::None));
    let others = done.iter().enumerate().filter(|(at, _)| *at != 2);
    assert!(
        others.clone().count() == 4 && others.clone().all(|(_, done)| done.is_ok()),
        "{done:?}"
    );
    // What they had done together was rolled back.
    assert_eq!(house.together(), [1, 1, 1, 1]);
    assert!((0..4).all(|number| house.accepts(number)));
}

#[tokio::test]
async fn one_that_waits_for_a_lock_holds_up_nobody_to_the_end() {
    let house = House::new(3);
    let (user, password) = (house.server.admin_user(), house.server.admin_password());
    let mut other = house.server.hold(user, password).unwrap();
    other.write_all(b"BEGIN; ALTER ROLE r1 CREATEDB;\n").unwrap();
    let written =
        "SELECT count(*) FROM pg_locks WHERE relation = 'pg_authid'::regclass AND mode = 'RowExclusiveLock'";
    while house.server.sql(written).unwrap() == "0" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let statements: Vec<Statement> = (0..3).map(change).collect();
    let done = house
        .execute(&statements, Deadline::after(Duration::from_secs(8)))
        .await;
    let Err(Error::Sql(error)) = &done[1] else {
        panic!("{done:?}")
    };
    assert_eq!((error.sqlstate.as_str(), error.effect), ("55P03", Effect::None));
    assert!(done[0].is_ok() && done[2].is_ok(), "{done:?}");
    assert!(house.accepts(0) && house.accepts(2));
}

#[tokio::test]
async fn a_commit_that_is_not_answered_is_in_doubt_for_all_and_for_nobody_else() {
    let house = House::new(2);
    let trap = "CREATE TABLE trap (x int); \
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(9); RETURN NULL; END $$; \
        CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()";
    house.server.sql(trap).unwrap();
    let statements = [change(0), text("INSERT INTO public.trap VALUES (1)")];
    let done = house.execute(&statements, deadline()).await;
    for done in &done {
        assert_eq!(done.as_ref().unwrap_err().effect(), Effect::Maybe, "{done:?}");
    }
    let done = house.execute(&[change(0), change(1)], deadline()).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(house.together(), [2]);
}

#[tokio::test]
async fn who_leaves_is_not_waited_for_and_others_do_not_mix() {
    let house = House::new(4);
    let (first, gone, second) = (house.seat("plugin"), house.seat("plugin"), house.seat("plugin"));
    assert_eq!(first.application_names()[0], second.application_names()[0]);
    let others = [house.seat("other"), house.seat("other")];
    assert_ne!(first.application_names()[0], others[0].application_names()[0]);
    drop(gone);
    let changes: Vec<Statement> = (0..4).map(change).collect();
    let [one, two] = others;
    let (a, b, c, d) = tokio::join!(
        first.execute(&changes[0], deadline()),
        one.execute(&changes[1], deadline()),
        second.execute(&changes[2], deadline()),
        two.execute(&changes[3], deadline())
    );
    assert!(
        [&a, &b, &c, &d].into_iter().all(Result::is_ok),
        "{a:?} {b:?} {c:?} {d:?}"
    );
    assert_eq!(house.together(), [2, 2]);
}

/// The server's own word is that of the run's session, so that a takeover finds it.
#[tokio::test]
async fn the_session_carries_the_name_of_the_transaction() {
    let house = House::new(0);
    let named = "CREATE FUNCTION named() RETURNS void LANGUAGE plpgsql AS $$ BEGIN \
        IF current_setting('application_name') !~ '^keywheel shared [0-9a-f]{32}( [0-9]+)?$' THEN RAISE 'not so'; END IF; END $$";
    house.server.sql(named).unwrap();
    let named = "SELECT public.named()";
    let done = house.execute(&[text(named), text(named)], deadline()).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let alone = house.execute(&[text(named)], deadline()).await;
    assert!(alone[0].is_ok(), "{alone:?}");
}

/// Rule P1: a run whose step was dropped is taken over, and the takeover finds no session to end. Then nothing of it may land any more.
#[tokio::test]
async fn who_was_dropped_before_there_was_a_session_lands_nothing() {
    let house = House::new(7);
    let (user, password) = (house.server.admin_user(), house.server.admin_password());
    let mut other = house.server.hold(user, password).unwrap();
    other
        .write_all(b"BEGIN; LOCK TABLE pg_authid IN SHARE MODE;\n")
        .unwrap();
    let waiting = |count: &str| {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        house.server.sql(sql).unwrap() == count
    };
    let work = |number: usize| {
        let seat = house.seat("plugin");
        let names = seat.application_names();
        let task = tokio::spawn(async move { seat.execute(&change(number), deadline()).await });
        (task, names)
    };
    let mut tasks = Vec::new();
    // Each of four has a lane, and waits there.
    for (number, count) in ["1", "2", "3", "4"].into_iter().enumerate() {
        tasks.push(work(number).0);
        while !waiting(count) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let (gone, names) = work(4);
    let others = [work(5), work(6)];
    assert!(others.iter().all(|(_, other)| other[0] == names[0]));
    tokio::time::sleep(Duration::from_millis(50)).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let set = "SELECT coalesce(rolpassword, '') FROM pg_authid WHERE rolname = 'r4'";
    assert_eq!(house.server.sql(set).unwrap(), "");
    drop(other);
    for task in tasks.into_iter().chain(others.map(|(task, _)| task)) {
        task.await.unwrap().unwrap();
    }
    assert_eq!(house.server.sql(set).unwrap(), "", "it was taken over by then");
    assert!(house.accepts(5) && house.accepts(6));
}
