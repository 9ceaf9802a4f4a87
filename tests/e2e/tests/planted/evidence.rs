//! All that came out, of the host and of its servers.

use std::fs;
use std::path::Path;

use keywheel_e2e::{Host, Trace};
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::scene::Servers;

/// The log of PostgreSQL.
pub(crate) const LOG: &str = "PostgreSQL's log";
/// What `pg_stat_statements` keeps of every statement.
pub(crate) const STATEMENTS: &str = "pg_stat_statements";
/// Redis keeps every command there, as slow as it may be.
pub(crate) const SLOWLOG: &str = "Redis' SLOWLOG";
/// What `MONITOR` shows of every command.
pub(crate) const MONITOR: &str = "Redis' MONITOR";

pub(crate) struct Evidence {
    pub(crate) traces: Vec<Trace>,
}

impl Evidence {
    /// Everything printed, by command and stream; arguments and environments; every file that the host has, beside which the operator keeps
    /// others; the database's rows as SQLite reads them, for what lies in two pages of the file; the servers' logs.
    pub(crate) fn of(host: &Host, servers: &Servers, snapshots: &[Trace]) -> Self {
        let mut traces = host.traces();
        traces.extend(Trace::of_files(host.whole()));
        traces.extend_from_slice(snapshots);
        traces.extend(rows(&host.file("state/keywheel.db")));
        let statements = "SELECT query FROM pg_stat_statements";
        for (place, text) in [
            (LOG, servers.postgres.log()),
            (STATEMENTS, servers.postgres.sql(statements).unwrap()),
            (
                SLOWLOG,
                servers.redis.command(&["SLOWLOG", "GET", "100000"]).unwrap(),
            ),
            ("Redis' log", servers.redis.log()),
            ("Redis' file of users", servers.redis.stored_users().unwrap()),
        ] {
            traces.push(Trace::new(place, text));
        }
        traces.push(Trace::new(MONITOR, servers.monitored()));
        Self { traces }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.traces.iter().map(|trace| trace.bytes.len()).sum()
    }

    /// Each kind is there, and has something in it: a search of nothing finds nothing.
    pub(crate) fn is_whole(&self) {
        for (place, word) in [
            ("errors of `keywheel -vv rotate app-db", "DEBUG"),
            ("errors of `keywheel -vv secret import", "secret.on-command-line"),
            ("output of `keywheel -vv run show app-db -o json", "steps"),
            ("output of `keywheel -vv audit search -o json", "secret.use"),
            ("arguments of `keywheel -vv rotate app-db", "rotate\0app-db"),
            ("environment of `keywheel -vv rotate app-db", "RUST_LOG=trace"),
            ("keywheel.db-wal killed after", "run"),
            ("keywheel.db-wal killed at pending-after", "run"),
            ("keywheel.db-wal killed at promote-after", "run"),
            ("host/state/keywheel.db", "SQLite format 3"),
            ("host/state/compiled/", "ELF"),
            ("host/plugins/postgres.wasm", "asm"),
            ("rows of intent", "app-db"),
            ("rows of audit", "secret.use"),
            ("outside/before.age", "age-encryption.org"),
            ("outside/head", "signature"),
            ("errors of `keywheel -vv serve`", "DEBUG"),
            ("errors of `keywheel -vv serve`", "notice id="),
            ("errors of `keywheel -vv serve --log json`", "\"level\":\"DEBUG\""),
            (
                "errors of `keywheel -vv serve --log json`",
                "\"message\":\"notice\"",
            ),
            (
                "answers of /metrics",
                "keywheel_rotation_run_duration_seconds_count",
            ),
            ("answers of /metrics", "app/redis"),
            ("spans", "rotation app-redis"),
            ("spans", "frame "),
            ("answers of /healthz", "200 OK"),
            ("answers of /readyz", "200 OK"),
            ("outside/told.arguments", "an argument"),
            ("outside/told.environment", "KEYWHEEL_TOPIC=attention"),
            ("outside/told.notices", "secret.rotated"),
            ("outside/told.notices", "attention-resolved"),
            (
                "output of `keywheel -vv run resume app-db --accept-head",
                "succeeded",
            ),
            (LOG, "ALTER ROLE"),
            (STATEMENTS, "ALTER ROLE"),
            (SLOWLOG, "SETUSER"),
            (MONITOR, "ECHO"),
            ("Redis' file of users", "user app on"),
        ] {
            let mut of_place = self.traces.iter().filter(|trace| trace.place.starts_with(place));
            let has = |trace: &Trace| String::from_utf8_lossy(&trace.bytes).contains(word);
            assert!(of_place.any(has), "nothing with `{word}` among {place}");
        }
    }
}

/// A database, read as a crash or the last command left it.
pub(crate) fn open(database: &Path) -> Connection {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let set = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    assert!(set.unwrap());
    connection
}

fn rows(database: &Path) -> Vec<Trace> {
    if fs::metadata(database).is_err() {
        return Vec::new();
    }
    let database = open(database);
    let mut tables = database
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table'")
        .unwrap();
    let tables = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
    tables
        .map(|table| {
            let table = table.unwrap();
            let bytes = columns(&database, &table);
            Trace::new(format!("rows of {table}"), bytes)
        })
        .collect()
}

fn columns(database: &Connection, table: &str) -> Vec<u8> {
    let mut statement = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let count = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut bytes = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        for column in 0..count {
            match row.get_ref(column).unwrap() {
                ValueRef::Text(value) | ValueRef::Blob(value) => bytes.extend_from_slice(value),
                _ => {}
            }
            bytes.push(b'\n');
        }
    }
    bytes
}
