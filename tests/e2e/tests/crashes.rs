//! The binary is killed in the middle of rotations, and what it leaves behind: a login that works, a run that can be resumed, no
//! password in any file or output.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::print_stdout,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use keywheel_e2e::{Host, Started, mariadb_user, mysql_user, postgres_role, redis_user, role_adopted};
use keywheel_kit::{
    Login, MariaDb, MariaDbOptions, MySql, Postgres, PostgresOptions, Redis, RedisOptions, random_password,
};
use rusqlite::{Connection, OpenFlags};

/// One credential that rotates, and how its server takes a login with it.
struct Subject<'a> {
    host: &'a Host,
    rotation: &'a str,
    secret: &'a str,
    login: &'a dyn Fn(&str) -> Login,
    /// What is done after a kill: `resume`, or `rollback` as long as that is possible.
    verb: &'static str,
    /// Every value it ever had, by version.
    seen: BTreeMap<String, String>,
}

impl Subject<'_> {
    fn start(&self) -> Started {
        self.host
            .start(&mut self.host.command(&["rotate", self.rotation, "--wait", "end"]))
    }

    /// Rotates undisturbed; how many changes of the journal that took.
    fn rotate(&mut self) -> i64 {
        let journal = Journal::of(self.host);
        let before = journal.changes();
        let started = self.start();
        let _ = self.host.wait(started).ends(0);
        self.remember();
        journal.changes() - before
    }

    /// Kills it as soon as the journal has so many changes more than before; says where it was, if it was not over before that.
    fn kill_after(&mut self, changes: i64) -> Option<String> {
        let journal = Journal::of(self.host);
        let before = journal.changes();
        let mut started = self.start();
        let killed = loop {
            if journal.changes() - before >= changes {
                started.child.kill().unwrap();
                break true;
            }
            if started.child.try_wait().unwrap().is_some() {
                break false;
            }
            thread::sleep(Duration::from_micros(200));
        };
        let _ = self.host.wait(started);
        let place = journal.last_step();
        drop(journal);
        self.recovers(&format!("killed after change {changes}, {place}"));
        killed.then_some(place)
    }

    /// Kills it at every change of the journal that a rotation makes, each in a rotation of its own; how often it was where.
    fn kill_everywhere(&mut self, every: usize) -> BTreeMap<String, u32> {
        let whole = self.rotate();
        let mut places = BTreeMap::new();
        for change in (1..whole).step_by(every) {
            if let Some(place) = self.kill_after(change) {
                *places.entry(place).or_default() += 1;
            }
        }
        println!("{}: killed {places:?}", self.rotation);
        places
    }

    /// Somebody can log in right after the kill; after `run resume` it is the current credential, and nothing else.
    fn recovers(&mut self, what: &str) {
        trail_is_whole(self.host, what);
        let works = self
            .remember()
            .iter()
            .any(|(_, value)| (self.login)(value).is_accepted());
        assert!(works, "locked out, {what}");

        let go_on = |verb| self.host.run(&["run", verb, self.rotation, "--wait", "end"], "");
        let mut resumed = go_on(self.verb);
        if resumed.code == 24 && resumed.stderr.contains("run.past-no-return") {
            resumed = go_on("resume");
        }
        match resumed.code {
            // It ended well, or back at the old credential.
            0 | 40 => {}
            // It was killed before there was a run: the newest one is over.
            24 => {
                let _ = resumed.says(&["run.over"]);
            }
            _ => panic!("{what}: {resumed:?}"),
        }
        let mut current = 0;
        for (stage, value) in self.remember() {
            let said = (self.login)(&value);
            if stage == "current" {
                current += 1;
                assert!(said.is_accepted(), "{what}: current: {said:?}");
            } else {
                assert!(said.is_refused(), "{what}: {stage}: {said:?}");
            }
        }
        assert_eq!(current, 1, "{what}");
        let _ = self.host.run(&["audit", "verify"], "").ends(0);
        trail_is_whole(self.host, &format!("{what}, recovered"));
    }

    /// Every version whose value the vault still has, with its stage. A version's value is read once: it never changes.
    fn remember(&mut self) -> Vec<(String, String)> {
        let mut values = Vec::new();
        for (version, stage) in self.host.versions(self.secret) {
            if stage == "destroyed" {
                continue;
            }
            let read = |version: &String| self.host.read(self.secret, Some(version));
            let value = self.seen.entry(version).or_insert_with_key(read);
            values.push((stage, value.clone()));
        }
        values
    }

    /// No value of it, nor any of `others`, shows in anything that the host printed or keeps, nor in `log`.
    fn left_no_trace(&self, others: &[&str], log: &str) {
        let mut secrets: Vec<String> = self.seen.values().cloned().collect();
        secrets.extend(others.iter().map(|&other| other.to_owned()));
        self.host.left_no_trace(&secrets, &[("server log", log)]);
    }
}

/// The journal of a host, read from beside it.
struct Journal(Connection);

impl Journal {
    fn of(host: &Host) -> Self {
        let mode = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let journal = Connection::open_with_flags(host.file("state/keywheel.db"), mode).unwrap();
        journal.busy_timeout(Duration::from_secs(5)).unwrap();
        Self(journal)
    }

    fn ask<T: rusqlite::types::FromSql>(&self, sql: &str) -> Vec<T> {
        let mut statement = self.0.prepare_cached(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// States of runs, intents, outcomes and changes of versions that were ever written.
    fn changes(&self) -> i64 {
        let sum = "SELECT (SELECT coalesce(sum(version), 0) FROM run) + (SELECT count(*) FROM intent)
            + (SELECT count(*) FROM intent_outcome) + (SELECT count(*) FROM version_event)";
        self.ask(sum)[0]
    }

    /// Where the newest run is: its newest step that writes intents, and whether the last of these has an outcome.
    fn last_step(&self) -> String {
        let last = "SELECT CASE WHEN run.finished IS NOT NULL THEN 'over' ELSE coalesce((
                SELECT i.step || CASE WHEN o.intent IS NULL THEN ' open' ELSE ' known' END
                FROM intent i LEFT JOIN intent_outcome o ON o.intent = i.id WHERE i.run = run.id
                ORDER BY i.id DESC LIMIT 1), 'begun') END
            FROM run ORDER BY run.started DESC, run.id DESC LIMIT 1";
        self.ask::<String>(last).remove(0)
    }
}

/// What is in the database has its row in the trail, written with it and not after it: each change of a version's stage by a run, once;
/// and the secrets of each call that may have had an effect. Asked before the host gets to run again.
fn trail_is_whole(host: &Host, what: &str) {
    let journal = Journal::of(host);
    let untold = |sql: &str| journal.ask::<String>(sql);
    // A promotion makes one version previous and another current; only the latter is told.
    let stages = "SELECT e.stage || ' ' || e.version FROM version_event e JOIN run ON run.id = e.run
        WHERE e.stage IN ('current', 'abandoned', 'revoked') AND 1 <> (
            SELECT count(*) FROM audit a WHERE a.run = e.run AND a.details ->> 'version' = e.version
            AND a.action = CASE e.stage WHEN 'current' THEN 'secret.promote'
                WHEN 'abandoned' THEN 'secret.abandon' ELSE 'secret.revoke' END)";
    assert_eq!(untold(stages), Vec::<String>::new(), "{what}");
    // A stored secret has its identity in the intent; what was derived from it has none that lasts, but was derived in the same step.
    let uses = "SELECT i.step || ' ' || i.kind || ' ' || s.value FROM intent i, json_each(i.secrets) s WHERE NOT EXISTS (
            SELECT 1 FROM audit a WHERE a.run = i.run AND a.action = 'secret.use' AND a.at <= i.at
            AND a.details ->> 'step' = i.step
            AND (a.details ->> 'secret' = s.value OR instr(s.value, '@') = 0))";
    assert_eq!(untold(uses), Vec::<String>::new(), "{what}");
}

#[test]
fn a_postgres_role_survives_kill_9_at_any_moment_and_no_password_shows_anywhere() {
    let server = Postgres::start(PostgresOptions {
        log_statements: true,
        ..PostgresOptions::default()
    })
    .unwrap();
    let old = random_password();
    server
        .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{old}'"))
        .unwrap();
    // What the administrator typed by hand is in the log; what comes after it is ours.
    let by_hand = server.log().len();
    let host = Host::init();
    host.configure(&postgres_role(&server, "1s"));
    host.add_plugin("postgres", &[server.port()]);
    let _ = host.import("admin/db", server.admin_password()).ends(0);
    let _ = host.import("app/db", &old).ends(0);
    let login = |value: &str| server.login("app", value).unwrap();
    let mut subject = Subject {
        host: &host,
        rotation: "app-db",
        secret: "app/db",
        login: &login,
        verb: "resume",
        seen: BTreeMap::new(),
    };
    let places = subject.kill_everywhere(1);
    assert!(places.len() > 3, "{places:?}");
    let log = server.log()[by_hand..].to_owned();
    assert!(log.contains("ALTER ROLE"), "statements are logged");
    subject.left_no_trace(&[&old, server.admin_password()], &log);
}

#[test]
fn a_redis_user_survives_kill_9_at_any_moment_and_no_password_shows_anywhere() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let old = random_password();
    server.create_user("app", &old).unwrap();
    let host = Host::init();
    host.configure(&redis_user(&server, "1s"));
    host.add_plugin("redis", &[server.port()]);
    let _ = host.import("admin/redis", server.admin_password()).ends(0);
    let _ = host.import("app/redis", &old).ends(0);
    let login = |value: &str| server.login("app", value).unwrap();
    let mut subject = Subject {
        host: &host,
        rotation: "app-redis",
        secret: "app/redis",
        login: &login,
        verb: "resume",
        seen: BTreeMap::new(),
    };
    let places = subject.kill_everywhere(2);
    assert!(places.len() > 3, "{places:?}");
    subject.verb = "rollback";
    let places = subject.kill_everywhere(3);
    assert!(
        places.keys().any(|place| place.starts_with("apply")),
        "taken back after a change: {places:?}"
    );
    subject.left_no_trace(&[&old, server.admin_password()], &server.log());
}

#[test]
fn a_mariadb_user_survives_kill_9_at_any_moment_and_no_password_shows_anywhere() {
    let server = MariaDb::start(logging()).unwrap();
    let names = ["mariadb", "app-maria", "app/maria", "admin/maria"];
    user_survives(&server, &mariadb_user(&server, "1s"), names);
}

#[test]
fn a_mysql_user_survives_kill_9_at_any_moment_and_no_password_shows_anywhere() {
    let server = MySql::start(logging()).unwrap();
    let names = ["mysql", "app-mysql", "app/mysql", "admin/mysql"];
    user_survives(&server, &mysql_user(&server, "1s"), names);
}

fn logging() -> MariaDbOptions {
    MariaDbOptions {
        log_statements: true,
        ..MariaDbOptions::default()
    }
}

/// `names`: plugin, rotation, secret, and the administrator's.
fn user_survives(server: &MariaDb, text: &str, names: [&str; 4]) {
    let [plugin, rotation, secret, admin_secret] = names;
    let old = random_password();
    let make = format!("CREATE USER app@'%' IDENTIFIED BY '{old}'");
    server.sql(&make).unwrap();
    // What the administrator typed by hand is in the log; what comes after it is ours.
    let by_hand = server.statements().len();
    let host = Host::init();
    host.configure(text);
    host.add_plugin(plugin, &[server.port()]);
    let _ = host.import(admin_secret, server.admin_password()).ends(0);
    let _ = host.import(secret, &old).ends(0);
    let login = |value: &str| server.login("app", value).unwrap();
    let mut subject = Subject {
        host: &host,
        rotation,
        secret,
        login: &login,
        verb: "resume",
        seen: BTreeMap::new(),
    };
    let places = subject.kill_everywhere(2);
    assert!(places.len() > 3, "{places:?}");
    subject.verb = "rollback";
    let places = subject.kill_everywhere(3);
    assert!(
        places.keys().any(|place| place.starts_with("apply")),
        "taken back after a change: {places:?}"
    );
    let log = server.statements()[by_hand..].to_owned();
    assert!(log.contains("ALTER USER"), "statements are logged");
    subject.left_no_trace(&[&old, server.admin_password()], &log);
}

#[test]
fn a_promotion_whose_end_the_run_has_not_seen_is_told_as_done_when_it_is_found() {
    let (server, host, old) = role_adopted();
    // It dies between the two writes: the version is current, and the run does not know.
    let rotate = ["rotate", "app-db", "--wait", "end"];
    let died = host.finish(&mut host.failing(&rotate, "promote-after=return"), "");
    assert_eq!((died.code, died.signal), (-1, Some(9)), "{died:?}");
    let new = host.read("app/db", None);
    assert!(new != old && server.login("app", &new).unwrap().is_accepted());

    // While it waits, and when it has ended: the login was made, and the promotion came about.
    for wait in ["0s", "end"] {
        let _ = host.run(&["run", "resume", "app-db", "--wait", wait], "").ends(0);
        let run = host.run(&["run", "show", "app-db", "-o", "json"], "").json();
        let promote = run["steps"]
            .as_array()
            .unwrap()
            .iter()
            .find(|step| step["step"] == "promote")
            .unwrap();
        assert_eq!(promote["state"], "done", "{wait}: {run:#}");
        assert_eq!(run["unproved"], false, "{wait}: {run:#}");
        let shown = host.run(&["run", "show", "app-db"], "").stdout;
        assert!(
            !shown.contains("failed") && !shown.contains("unproved"),
            "{wait}: {shown}"
        );
    }
    assert_eq!(host.json(&["run", "show", "app-db"])["state"], "succeeded");
    assert_eq!(host.read("app/db", None), new);
    host.left_no_trace(&[old, new], &[]);
}

/// The host dies after its change, and somebody sets a third value before the next one looks: the target refuses both that are kept. What the run has made is
/// put on again and proved; nobody is left with a value that the vault does not have.
#[test]
fn a_third_value_that_was_set_after_the_host_died_gives_way_to_what_the_vault_has() {
    let (server, host, _) = role_adopted();
    let rotate = ["rotate", "app-db", "--wait", "end"];
    // The first one after an import may ask once more.
    let _ = host.run(&rotate, "").ends(0);
    let places = host.places_on(&rotate);
    let old = host.read("app/db", None);
    // The change is done, and the run knows it.
    let after = |from: usize, place: &str| {
        let next = places[from..].iter().position(|other| other == place);
        from + next.unwrap_or_else(|| panic!("no {place} after {from}: {places:?}"))
    };
    let known = after(after(after(0, "conclude-after"), "effect-after"), "save-after");
    host.dies_at(&rotate, &places, known);
    let accepts = |password: &str| server.login("app", password).unwrap().is_accepted();
    assert!(!accepts(&old), "the change has landed");
    let third = random_password();
    server.sql(&format!("ALTER ROLE app PASSWORD '{third}'")).unwrap();
    let _ = host
        .run(&["run", "resume", "app-db", "--wait", "end"], "")
        .ends(0);
    let current = host.read("app/db", None);
    assert!(current != old && accepts(&current));
    assert!(!accepts(&third) && !accepts(&old));
    let _ = host.run(&rotate, "").ends(0);
    assert!(accepts(&host.read("app/db", None)));
}
