//! A state of an older format is brought to this one by the first command that opens it; whatever ends that in the middle, nothing is lost.
//!
//! No version that wrote format 1 was ever released, so there is no golden state of it. What is used here is made of one of this version:
//! [`take_back`] undoes what came later, and proves that the tables are then exactly those of `0001.sql`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use keywheel_e2e::{Host, Output, postgres_role, redis_user};
use keywheel_kit::{Postgres, PostgresOptions, Redis, RedisOptions, SmallDisk, random_password};
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::{copy, golden, is_read_whole};

const FIRST_FORMAT: &str = include_str!("../../../../host/store/src/schema/0001.sql");
/// Of this version.
pub(crate) const NEWEST: u32 = 7;

/// Where the test build dies in a migration.
pub(crate) const PLACES: [&str; 2] = ["migrate-before", "migrate-after"];

pub(crate) fn database(host: &Host) -> Connection {
    Connection::open(host.file("state/keywheel.db")).unwrap()
}

pub(crate) fn format_of(host: &Host) -> u32 {
    database(host)
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap()
}

/// Everything that is defined in a database, but for white space.
fn defined(database: &Connection) -> BTreeMap<String, String> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'";
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))
        .unwrap();
    rows.map(Result::unwrap)
        .map(|(name, sql)| (name, sql.split_whitespace().collect()))
        .collect()
}

/// What undoes `0003.sql` and `0005.sql` to `0007.sql`.
fn retention() -> String {
    let altered = [
        "audit_no_delete",
        "intent_no_delete",
        "intent_outcome_no_delete",
        "version_no_delete",
        "version_event_no_delete",
    ];
    let first = |name: &str| {
        let begins = format!("TRIGGER {name} ");
        FIRST_FORMAT.lines().find(|line| line.contains(&begins)).unwrap()
    };
    let triggers = altered.map(|name| format!("DROP TRIGGER {name};{}", first(name)));
    let added = [
        "run_finished",
        "version_of_run",
        "version_live",
        "version_same_value",
        "run_open_of_rotation",
        "run_open_of_secret",
        "version_expiry",
    ];
    triggers.concat() + &added.map(|index| format!("DROP INDEX {index};")).concat()
}

/// Makes the state one of format 1.
pub(crate) fn take_back(host: &Host) {
    let now = database(host);
    // What 0.1.0 has written is of an older format.
    let undo = if format_of(host) == NEWEST {
        format!("DROP TABLE listed; DROP TABLE watched;{}", retention())
    } else {
        String::new()
    };
    let undo = format!("BEGIN;{undo}ALTER TABLE intent DROP COLUMN session; PRAGMA user_version = 1; COMMIT");
    now.execute_batch(&undo).unwrap();
    let first = Connection::open_in_memory().unwrap();
    first.execute_batch(FIRST_FORMAT).unwrap();
    assert_eq!(defined(&now), defined(&first));
}

/// Every row of every table.
fn rows(host: &Host) -> BTreeMap<String, Vec<Vec<Value>>> {
    let database = database(host);
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut tables = database.prepare(sql).unwrap();
    let tables = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let all = |table: &String| {
        let mut statement = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect());
        rows.unwrap().map(Result::unwrap).collect()
    };
    tables
        .map(Result::unwrap)
        .map(|table| (table.clone(), all(&table)))
        .collect()
}

/// A host of format 1 with a rotation that is over, one that was killed in a change of its target, and one that waits for its consumers.
struct Old {
    postgres: Postgres,
    redis: Redis,
    host: Host,
    rows: BTreeMap<String, Vec<Vec<Value>>>,
    /// The values of all versions, by secret and version.
    values: BTreeMap<(&'static str, String), String>,
}

/// Servers of today, and a host with a rotation of each: of one the run is over, of the other it waits for its consumers.
pub(crate) fn with_runs() -> (Postgres, Redis, Host) {
    let postgres = Postgres::start(PostgresOptions::default()).unwrap();
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let (first, cache) = (random_password(), random_password());
    let role = format!("CREATE ROLE app LOGIN PASSWORD '{first}'");
    postgres.sql(&role).unwrap();
    redis.create_user("app", &cache).unwrap();
    let host = Host::init();
    host.configure(&postgres_role(&postgres, "1s"));
    host.configure(&redis_user(&redis, "7d"));
    host.add_plugin("postgres", &[postgres.port()]);
    host.add_plugin("redis", &[redis.port()]);
    for (secret, value) in [
        ("admin/db", postgres.admin_password()),
        ("admin/redis", redis.admin_password()),
        ("app/db", &first),
        ("app/redis", &cache),
    ] {
        let _ = host.import(secret, value).ends(0);
    }
    let _ = host.run(&ROTATE, "").ends(0);
    let _ = host.run(&["rotate", "app-redis"], "").ends(0);
    (postgres, redis, host)
}

pub(crate) const ROTATE: [&str; 4] = ["rotate", "app-db", "--wait", "end"];

impl Old {
    fn make() -> Self {
        let (postgres, redis, host) = with_runs();
        let killed = host.finish(&mut host.failing(&ROTATE, "conclude-before=return"), "");
        assert_eq!(killed.code, -1, "{killed:?}");
        let values = values(&host);
        take_back(&host);
        let rows = rows(&host);
        assert!(rows["intent"].len() > 5 && rows["run"].len() == 5, "{rows:?}");
        Self {
            postgres,
            redis,
            host,
            rows,
            values,
        }
    }

    /// What was there before is there: as the migration left it, before any command writes more.
    #[track_caller]
    fn has_every_row(&self, host: &Host, when: &str) {
        let now = rows(host);
        for (table, before) in &self.rows {
            for row in before {
                let mut row = row.clone();
                let columns = now[table].first().map_or(0, Vec::len);
                // What a column that was added has in an old row.
                row.resize(columns, Value::Null);
                assert!(now[table].contains(&row), "{when}: {table} has lost {row:?}");
            }
        }
    }

    /// The shipped binary opens it: every run, version and value is there, and the trail is whole.
    #[track_caller]
    fn is_whole(&self, host: &Host, when: &str) {
        self.has_every_row(host, when);
        let _ = host.run(&["audit", "verify"], "").ends(0);
        assert_eq!(format_of(host), NEWEST, "{when}");
        self.has_every_row(host, when);
        assert_eq!(values(host), self.values, "{when}");
        let runs = host.json(&["run", "list"]);
        assert_eq!(runs.as_array().unwrap().len(), 5, "{when}: {runs:#}");
        let doctor = host.run(&["doctor"], "");
        assert!(
            !doctor.stdout.contains("do not open"),
            "{when}: {}",
            doctor.stdout
        );
    }

    /// The run that was killed and the one that waits go on to their end.
    #[track_caller]
    fn goes_on(&self, host: &Host, when: &str) {
        let waits = host.json(&["run", "show", "app-redis"]);
        assert_eq!(waits["state"], "waiting", "{when}: {waits:#}");
        let _ = host
            .run(&["run", "resume", "app-db", "--wait", "end"], "")
            .ends(0);
        let end = ["run", "resume", "app-redis", "--end-grace", "--reason", "test"];
        let _ = host.run(&[&end[..], &["--wait", "end"]].concat(), "").ends(0);
        for rotation in ["app-db", "app-redis"] {
            let run = host.json(&["run", "show", rotation]);
            assert_eq!(run["state"], "succeeded", "{when}: {run:#}");
        }
        let (db, cache) = (host.read("app/db", None), host.read("app/redis", None));
        assert!(self.postgres.login("app", &db).unwrap().is_accepted(), "{when}");
        assert!(self.redis.login("app", &cache).unwrap().is_accepted(), "{when}");
        let _ = host.run(&["audit", "verify"], "").ends(0);
    }
}

pub(crate) fn values(host: &Host) -> BTreeMap<(&'static str, String), String> {
    let mut values = BTreeMap::new();
    for secret in ["admin/db", "admin/redis", "app/db", "app/redis"] {
        for (version, _) in host.versions(secret) {
            let value = host.read(secret, Some(&version));
            values.insert((secret, version), value);
        }
    }
    values
}

#[track_caller]
fn killed(host: &Host, orders: &str) {
    let output = host.finish(&mut host.failing(&["secret", "list"], orders), "");
    assert_eq!(output.code, -1, "{orders}: {output:?}");
}

#[test]
fn a_migration_that_is_killed_loses_nothing_and_is_made_by_the_next_command() {
    let old = Old::make();
    for (orders, format) in [
        ("migrate-before=return", 1),
        ("migrate-after=return", 2),
        ("migrate-before=1*off->return", 2),
        ("migrate-after=1*off->return", 3),
        ("migrate-before=2*off->return", 3),
        ("migrate-after=2*off->return", 4),
        ("migrate-before=3*off->return", 4),
        ("migrate-after=3*off->return", 5),
        ("migrate-before=4*off->return", 5),
        ("migrate-after=4*off->return", 6),
        ("migrate-before=5*off->return", 6),
        ("migrate-after=5*off->return", NEWEST),
    ] {
        let host = old.host.copy();
        assert_eq!(format_of(&host), 1);
        killed(&host, orders);
        assert_eq!(format_of(&host), format, "{orders}");
        old.is_whole(&host, orders);
        old.goes_on(&host, orders);
    }
    // Again and again.
    for _ in 0..3 {
        killed(&old.host, "migrate-before=return");
        old.has_every_row(&old.host, "killed again");
    }
    killed(&old.host, "migrate-after=return");
    old.is_whole(&old.host, "killed again and again");
    old.goes_on(&old.host, "killed again and again");
}

/// A new state goes through every migration, each in a transaction of its own.
#[test]
fn a_new_state_that_is_killed_between_two_migrations_is_made_whole() {
    for (place, before) in [
        ("migrate-before", ""),
        ("migrate-after", ""),
        ("migrate-before", "1*off->"),
        ("migrate-after", "1*off->"),
        ("migrate-before", "2*off->"),
        ("migrate-after", "2*off->"),
    ] {
        let host = Host::init();
        let folder = host.outside("new");
        let init = [
            "init",
            folder.to_str().unwrap(),
            "--recovery-to",
            host.outside("new-recovery").to_str().unwrap(),
        ]
        .map(str::to_owned);
        let init: Vec<&str> = init.iter().map(String::as_str).collect();
        let orders = format!("{place}={before}return");
        let output = host.finish(&mut host.failing(&init, &orders), "");
        assert_eq!(output.code, -1, "{orders}: {output:?}");
        let _ = host.run(&init, "").ends(0);
        let config = folder.join("keywheel.toml").display().to_string();
        let import = ["--config", &config, "secret", "import", "a/b", "-"];
        let _ = host.run(&import, "a value of somebody").ends(0);
        let _ = host.run(&["--config", &config, "audit", "verify"], "").ends(0);
    }
}

/// What 0.1.0 has written, as it would lie there in the format before.
#[test]
fn a_golden_state_of_the_first_format_is_read_whole() {
    let from = golden("0.1.0");
    let older = copy(&from);
    take_back(&older);
    let folder = tempfile::tempdir().unwrap();
    fs::rename(older.folder(), folder.path().join("host")).unwrap();
    for name in ["recovery", "kept.age", "head"] {
        fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    is_read_whole(folder.path());
}

/// The command that opens it, where no file may grow beyond so many bytes.
fn within(host: &Host, bytes: u64) -> Output {
    let list = host.command(&["secret", "list"]);
    let mut limited = Command::new("prlimit");
    limited
        .arg(format!("--fsize={bytes}"))
        .arg("--")
        .arg(list.get_program())
        .args(list.get_args())
        .current_dir(host.folder());
    host.finish(&mut limited, "")
}

/// A command without room: it says so, and leaves the state in the one format or the other.
#[track_caller]
fn is_refused(old: &Old, host: &Host, output: &Output, room: u64) {
    assert_eq!(output.code, 1, "{room}: {output:?}");
    assert!(
        output.stderr.contains("error[store.full]") || output.stderr.contains("error[store.commit]"),
        "{room}: {output:?}"
    );
    old.has_every_row(host, &format!("room for {room}"));
}

/// With the log of a database that somebody else has open as well: as long as that, so that what cuts a file cuts the migration, and not the index of
/// the log, which is a file of 32 KiB.
fn with_a_log(host: &Host) -> (Connection, u64) {
    let other = database(host);
    other.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    let log = host.file("state/keywheel.db-wal");
    while fs::metadata(&log).map_or(0, |log| log.len()) < 16 * PAGE {
        // One page, in which nothing is changed.
        other.pragma_update(None, "user_version", 1).unwrap();
    }
    (other, fs::metadata(&log).unwrap().len())
}

const PAGE: u64 = 4096;

#[test]
fn a_migration_without_room_says_so_and_is_made_when_there_is() {
    let old = Old::make();
    let host = old.host.copy();
    let (other, mut room) = with_a_log(&host);
    let mut unmade = 0;
    loop {
        let output = within(&host, room);
        if output.code == 0 {
            break;
        }
        is_refused(&old, &host, &output, room);
        unmade += u32::from(format_of(&host) == 1);
        room += PAGE / 2;
    }
    drop(other);
    println!("{unmade} limits on files cut the migration");
    assert!(unmade > 2);
    old.is_whole(&host, "no room in files");
    if let Err(why) = SmallDisk::probe() {
        println!("skipped: only root can mount a small disk, and not everywhere: {why:#}");
    } else {
        let host = old.host.copy();
        small_disk(&old, &host);
        old.is_whole(&host, "no room on the disk");
    }
    old.goes_on(&host, "no room");
}

fn small_disk(old: &Old, host: &Host) {
    let disk = SmallDisk::mount_over(&host.file("state")).unwrap();
    // The index of the log comes first.
    let (mut unmade, mut room) = (0, 8 * PAGE);
    loop {
        disk.leave(room).unwrap();
        let output = host.run(&["secret", "list"], "");
        disk.free().unwrap();
        if output.code == 0 {
            break;
        }
        is_refused(old, host, &output, room);
        unmade += u32::from(format_of(host) == 1);
        room += PAGE;
    }
    println!("{unmade} sizes of the disk cut the migration");
    assert!(unmade > 2);
}

/// Who has upgraded and must go back: the older binary refuses, says how, and does what it says.
#[test]
fn an_older_version_refuses_a_newer_state_and_the_backup_from_before_brings_it_back() {
    let host = Host::init();
    let _ = host.import("some/secret", "from before the upgrade").ends(0);
    let kept = host.outside("before.age").display().to_string();
    let _ = host.run(&["vault", "backup", &kept], "").ends(0);
    newer(&host.file("state/keywheel.db"));
    let refused = host.run(&["secret", "list"], "").ends(24);
    let _ = refused.says(&[
        "error[store.newer-format]",
        "format 1000",
        "hint: use the newer keywheel",
        "keywheel vault restore --force",
    ]);
    let _ = host
        .run(
            &["vault", "restore", &kept, "--force", "--reason", "went back"],
            "",
        )
        .ends(0);
    assert_eq!(host.read("some/secret", None), "from before the upgrade");
    let _ = host.run(&["audit", "verify"], "").ends(0);
}

fn newer(file: &Path) {
    let database = Connection::open(file).unwrap();
    database.execute_batch("PRAGMA user_version = 1000").unwrap();
}
