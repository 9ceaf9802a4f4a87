//! Many credentials of one server are rotated because others know them: their changes are committed together, and every run keeps its own journal,
//! its own error and its own way out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{ChildStdin, Command};

use keywheel_e2e::{Host, Started, until};
use keywheel_kit::{Postgres, PostgresOptions, random_password};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// Four go by themselves, and the others wait for them.
const MANY: usize = 12;
const LANES: usize = 4;

struct Fleet {
    server: Postgres,
    host: Host,
    old: Vec<String>,
}

impl Fleet {
    fn new() -> Self {
        let server = Postgres::start(PostgresOptions::default()).unwrap();
        let host = Host::init();
        let mut lines = format!("[trust.db]\npem = [\"{}\"]\n", server.ca_file().display());
        let mut old = Vec::new();
        for number in 0..MANY {
            old.push(random_password());
            let role = format!("CREATE ROLE e{number} LOGIN PASSWORD '{}'", old[number]);
            server.sql(&role).unwrap();
            lines += &rotation(&server, number);
        }
        host.configure(&lines);
        host.add_plugin("postgres", &[server.port()]);
        let _ = host.import("admin/db", server.admin_password()).ends(0);
        for (number, old) in old.iter().enumerate() {
            let _ = host.import(&format!("db/e{number}"), old).ends(0);
        }
        Self { server, host, old }
    }

    /// Nobody changes a role as long as this is held; the session can say more before it lets go.
    fn lock(&self) -> ChildStdin {
        let (user, password) = (self.server.admin_user(), self.server.admin_password());
        let mut session = self.server.hold(user, password).unwrap();
        session
            .write_all(b"BEGIN; LOCK TABLE pg_authid IN SHARE MODE;\n")
            .unwrap();
        let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'pg_authid'::regclass AND mode = 'ShareLock' AND granted";
        until("the lock", || self.server.sql(locked).unwrap() == "1");
        session
    }

    /// Starts a command, and waits until each run has its intent.
    fn start(&self, command: &mut Command) -> Started {
        let before = self.intents().len();
        let started = self.host.start(command);
        until("all are about to change their roles", || {
            self.intents().len() == before + MANY
        });
        started
    }

    /// Rotation and session of each intent that went through a shared one, and whether its outcome was written.
    fn intents(&self) -> Vec<(String, String, bool)> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = Connection::open_with_flags(self.host.file("state/keywheel.db"), flags).unwrap();
        let sql = "SELECT run.rotation, json_extract(intent.session, '$.names[0]'), intent_outcome.intent IS NOT NULL FROM intent
                   JOIN run ON run.id = intent.run LEFT JOIN intent_outcome ON intent_outcome.intent = intent.id
                   WHERE intent.session LIKE '%keywheel shared%' ORDER BY intent.id";
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// The rotations that share a session, the largest group first.
    fn groups(&self) -> Vec<Vec<String>> {
        let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (rotation, name, _) in self.intents() {
            by_name.entry(name).or_default().push(rotation);
        }
        let mut groups: Vec<Vec<String>> = by_name.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
        groups
    }

    /// How many roles the same transaction wrote, the most first.
    fn committed(&self) -> Vec<usize> {
        let sql =
            "SELECT count(*) FROM pg_authid WHERE rolname ~ '^e[0-9]' GROUP BY xmin::text ORDER BY 1 DESC";
        let counts = self.server.sql(sql).unwrap();
        counts.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn accepts(&self, number: usize, password: &str) -> bool {
        let login = self.server.login(&format!("e{number}"), password).unwrap();
        login.is_accepted()
    }

    /// The vault's current one logs in, and the old one does not.
    fn is_rotated(&self, number: usize) -> bool {
        let new = self.host.read(&format!("db/e{number}"), None);
        new != self.old[number] && self.accepts(number, &new) && !self.accepts(number, &self.old[number])
    }
}

fn rotation(server: &Postgres, number: usize) -> String {
    format!(
        r#"
[[rotation]]
name = "e{number}"
plugin = "postgres"
secret = "db/e{number}"
inputs = {{ admin = "admin/db" }}
grace = "24h"
gap = "accept"
proof = "deferred"
deadlines = {{ step = "60s" }}
probes = {{ logins = 100, per = "1h" }}
labels = {{ server = "db" }}

[rotation.config]
mode = "role"
host = "localhost"
port = {}
trust = "db"
admin = "{}"
role = "e{number}"
"#,
        server.port(),
        server.admin_user()
    )
}

const EMERGENCY: &[&str] = &[
    "rotate",
    "--all",
    "-l",
    "server=db",
    "--yes",
    "--at-once",
    "64",
    "--compromised",
    "--reason",
    "a dump was sold",
];

#[test]
fn roles_of_one_server_are_changed_in_shared_transactions_and_each_run_is_its_own() {
    let fleet = Fleet::new();
    let lock = fleet.lock();
    let rotating = fleet.start(&mut fleet.host.command(EMERGENCY));
    drop(lock);
    let _ = fleet.host.wait(rotating).ends(0);
    let groups: Vec<usize> = fleet.groups().iter().map(Vec::len).collect();
    assert!(groups.len() <= LANES + 1, "{groups:?}");
    assert_eq!(fleet.committed(), groups);
    assert!((0..MANY).all(|number| fleet.is_rotated(number)));
    assert!(fleet.intents().iter().all(|(.., concluded)| *concluded));
    let runs = fleet.host.json(&["run", "list"]);
    let succeeded = |run: &&Value| run["trigger"] == "compromise" && run["state"] == "succeeded";
    assert_eq!(
        runs.as_array().unwrap().iter().filter(succeeded).count(),
        MANY,
        "{runs:#}"
    );
    let new = (0..MANY).map(|number| fleet.host.read(&format!("db/e{number}"), None));
    fleet.host.left_no_trace(
        &new.collect::<Vec<_>>(),
        &[("log of the server", &fleet.server.log())],
    );
}

/// A rotation that nobody hurries waits for nobody else's statement.
#[test]
fn rotations_of_every_day_share_nothing() {
    let fleet = Fleet::new();
    let _ = fleet
        .host
        .run(
            &["rotate", "--all", "--yes", "--at-once", "8", "--wait", "0s"],
            "",
        )
        .ends(0);
    assert_eq!(fleet.intents(), []);
    assert_eq!(fleet.committed(), [1; MANY]);
}

#[test]
fn the_one_that_fails_is_one_and_the_others_that_went_with_it_are_rotated() {
    let fleet = Fleet::new();
    let mut lock = fleet.lock();
    let rotating = fleet.start(&mut fleet.host.command(EMERGENCY));
    let mut groups = fleet.groups();
    let together = groups.remove(0);
    assert!(together.len() > 2, "{together:?}");
    let lost = &together[1];
    lock.write_all(format!("DROP ROLE {lost}; COMMIT;\n").as_bytes())
        .unwrap();
    drop(lock);
    let went = fleet.host.wait(rotating);
    assert_ne!(went.code, 0, "{went:?}");
    for number in (0..MANY).filter(|number| format!("e{number}") != *lost) {
        assert!(fleet.is_rotated(number), "e{number}: {went:?}");
    }
    let run = fleet.host.json(&["run", "list", lost]);
    assert_ne!(run[0]["state"], "succeeded", "{run:#}");
    // What they had done together was rolled back, and each did it by itself.
    let mut committed: Vec<usize> = groups.iter().map(Vec::len).collect();
    committed.extend(vec![1; together.len() - 1]);
    assert_eq!(fleet.committed(), committed);
}

/// The commit of several has come, and the journal has the outcome of none of them.
#[test]
fn a_kill_between_the_shared_commit_and_the_journal_leaves_every_run_a_way_out() {
    let fleet = Fleet::new();
    let lock = fleet.lock();
    let rotating = fleet.start(&mut fleet.host.failing(EMERGENCY, "shared-after=return"));
    drop(lock);
    let died = fleet.host.wait(rotating);
    assert_eq!((died.code, died.signal), (-1, Some(9)), "{died:?}");
    let in_doubt = |name: &str| {
        let rows = fleet.intents();
        let ours: Vec<bool> = rows.iter().filter(|row| row.1 == name).map(|row| row.2).collect();
        ours.len() > 1 && ours.iter().all(|concluded| !concluded)
    };
    let names: Vec<String> = fleet.intents().into_iter().map(|row| row.1).collect();
    assert!(names.iter().any(|name| in_doubt(name)), "{:?}", fleet.intents());
    assert!(fleet.committed()[0] > 1, "several were committed together");
    // Nobody is locked out, whatever the vault calls current now.
    for number in 0..MANY {
        let secret = format!("db/e{number}");
        let versions = fleet.host.versions(&secret);
        let accepts = |version: &str| fleet.accepts(number, &fleet.host.read(&secret, Some(version)));
        assert!(
            versions.iter().any(|(version, _)| accepts(version)),
            "e{number}: {versions:?}"
        );
    }
    for number in 0..MANY {
        let resumed = fleet
            .host
            .run(&["run", "resume", &format!("e{number}"), "--wait", "end"], "");
        assert!([0, 24].contains(&resumed.code), "e{number}: {resumed:?}");
        assert!(fleet.is_rotated(number), "e{number}: {resumed:?}");
    }
    let words = [
        "audit",
        "search",
        "--action",
        "target.end-sessions",
        "--limit",
        "100",
    ];
    let ended = fleet.host.json(&words);
    assert!(!ended.as_array().unwrap().is_empty(), "{ended:#}");
    let _ = fleet.host.run(&["audit", "verify"], "").ends(0);
}
