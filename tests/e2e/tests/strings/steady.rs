//! A consumer that reads its connection string again and again from the running host, and logs in with what it holds, while each kind of target that takes two passwords
//! at a time rotates. `KEYWHEEL_STEADY=100` makes a hundred rotations of each, with a second between two readings; without it there are three, read as fast as it can.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use keywheel_e2e::{Host, mariadb_user, mssql_account, mysql_user, postgres_pair, redis_user, until};
use keywheel_kit::{
    Encryption, MariaDb, MariaDbOptions, MySql, Policy, Redis, RedisOptions, SqlServer, SqlServerOptions,
    random_password, strong_password,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{FORMAT, Scene, patient};

/// A rotation, its secret, and whether the server lets a connection string in.
struct Steady<'a> {
    host: &'a Host,
    rotation: &'static str,
    secret: &'static str,
    is_let_in: &'a (dyn Fn(&str) -> bool + Sync),
}

/// Ends the consumer, also where the test fails beside it.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Steady<'_> {
    /// The old one is taken away as soon as the consumer has read anew, which is earlier than any grace would have it.
    fn holds(&self) {
        let asked = std::env::var("KEYWHEEL_STEADY").ok();
        let rotations: u32 = asked.as_ref().map_or(3, |count| count.parse().unwrap());
        let pause = asked.map_or(Duration::ZERO, |_| Duration::from_secs(1));
        let mut serving = self.host.start(&mut self.host.command(&["serve"]));
        assert!(serving.wait_for("keeps"));
        let (over, reads, logins) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            let end = End(&over);
            let consumer = scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let held = self.host.read(self.secret, None);
                    reads.fetch_add(1, Ordering::SeqCst);
                    for _ in 0..2 {
                        assert!(
                            (self.is_let_in)(&held),
                            "stale after {} logins",
                            logins.load(Ordering::SeqCst)
                        );
                        logins.fetch_add(1, Ordering::SeqCst);
                        thread::sleep(pause / 2);
                    }
                }
            });
            let has_read_anew = || {
                let begun = reads.load(Ordering::SeqCst);
                until("the consumer reads", || {
                    reads.load(Ordering::SeqCst) > begun + 1 || consumer.is_finished()
                });
            };
            for _ in 0..rotations {
                let _ = self
                    .host
                    .run(&["rotate", self.rotation, "--wait", "0s"], "")
                    .ends(0);
                has_read_anew();
                let resume = [
                    "run",
                    "resume",
                    self.rotation,
                    "--revoke-now",
                    "--reason",
                    "test",
                    "--wait",
                    "end",
                ];
                let _ = self.host.run(&resume, "").ends(0);
            }
            has_read_anew();
            drop(end);
            consumer.join().unwrap();
        });
        println!(
            "{}: rotations={rotations} reads={} logins={} stale=0",
            self.rotation,
            reads.into_inner(),
            logins.into_inner()
        );
        kill_process(Pid::from_child(&serving.child), Signal::TERM).unwrap();
        let _ = self.host.wait(serving).ends(0);
        let versions = self.host.versions(self.secret);
        assert_eq!(versions.len(), usize::try_from(rotations).unwrap() + 1);
        assert_eq!(
            versions.iter().filter(|(_, stage)| stage == "revoked").count(),
            versions.len() - 1
        );
    }
}

/// The user name and the password of a string as it was imported here, whose parts need no quoting.
fn parts<'s>(string: &'s str, marks: [&str; 3]) -> (&'s str, &'s str) {
    let (_, rest) = string.split_once(marks[0]).unwrap();
    let (user, rest) = rest.split_once(marks[1]).unwrap();
    (user, rest.split_once(marks[2]).unwrap().0)
}

#[test]
fn two_roles_of_postgresql() {
    let scene = Scene::of(|server| postgres_pair(server, "24h"));
    let _ = scene
        .host
        .import("pair/db", &scene.url("app_a", &scene.old))
        .ends(0);
    Steady {
        host: &scene.host,
        rotation: "pair-db",
        secret: "pair/db",
        is_let_in: &|string| scene.is_let_in(string),
    }
    .holds();
}

#[test]
fn a_user_of_redis() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let password = random_password();
    server.create_user("app", &password).unwrap();
    let host = Host::init();
    host.configure(&format!("{}{FORMAT}", patient(&redis_user(&server, "24h"))));
    host.add_plugin("redis", &[server.port()]);
    let _ = host.import("admin/redis", server.admin_password()).ends(0);
    let url = format!("rediss://app:{password}@localhost:{}/0", server.port());
    let _ = host.import("app/redis", &url).ends(0);
    Steady {
        host: &host,
        rotation: "app-redis",
        secret: "app/redis",
        is_let_in: &|string| server.login_by(string).unwrap().is_accepted(),
    }
    .holds();
}

/// A user of MySQL or MariaDB: the rotation's text, and the names that go with it.
fn user_of(server: &MariaDb, plugin: &str, text: &str, [admin_secret, secret]: [&str; 2]) -> Host {
    let password = random_password();
    server
        .sql(&format!("CREATE USER app@'%' IDENTIFIED BY '{password}'"))
        .unwrap();
    let host = Host::init();
    host.configure(&format!("{}{FORMAT}", patient(text)));
    host.add_plugin(plugin, &[server.port()]);
    let _ = host.import(admin_secret, server.admin_password()).ends(0);
    let url = format!("mysql://app:{password}@localhost:{}/shop", server.port());
    let _ = host.import(secret, &url).ends(0);
    host
}

#[test]
fn a_user_of_mariadb() {
    let server = MariaDb::start(MariaDbOptions::default()).unwrap();
    let text = mariadb_user(&server, "24h");
    let host = user_of(&server, "mariadb", &text, ["admin/maria", "app/maria"]);
    Steady {
        host: &host,
        rotation: "app-maria",
        secret: "app/maria",
        is_let_in: &|string| {
            let (user, password) = parts(string, ["mysql://", ":", "@"]);
            server.login(user, password).unwrap().is_accepted()
        },
    }
    .holds();
}

#[test]
fn a_user_of_mysql() {
    let server = MySql::start(MariaDbOptions::default()).unwrap();
    let text = mysql_user(&server, "24h");
    let host = user_of(&server, "mysql", &text, ["admin/mysql", "app/mysql"]);
    Steady {
        host: &host,
        rotation: "app-mysql",
        secret: "app/mysql",
        is_let_in: &|string| {
            let (user, password) = parts(string, ["mysql://", ":", "@"]);
            server.login(user, password).unwrap().is_accepted()
        },
    }
    .holds();
}

#[test]
fn two_logins_of_sql_server() {
    let server = SqlServer::start(SqlServerOptions {
        encryption: Encryption::Optional,
        policy: Policy::default(),
        ..SqlServerOptions::default()
    })
    .unwrap();
    let old = strong_password();
    let make = format!("CREATE LOGIN app_a WITH PASSWORD = N'{old}'; CREATE DATABASE shop");
    let _ = server.sql("master", &make).unwrap();
    let _ = server.sql("shop", "CREATE USER app_a FOR LOGIN app_a").unwrap();
    let host = Host::init();
    let pair = "mode = \"alternating\"\nusers = [\"app_a\", \"app_b\"]\ndatabases = [\"shop\"]";
    host.configure(&format!(
        "{}\n{FORMAT}",
        patient(&mssql_account(&server, "24h")).replace("user = \"app\"", pair)
    ));
    host.add_plugin("mssql", &[server.port()]);
    let _ = host.import("admin/mssql", server.admin_password()).ends(0);
    let string = format!(
        "Server=localhost,{};Database=shop;User ID=app_a;Password={old};Encrypt=true",
        server.port()
    );
    let _ = host.import("app/mssql", &string).ends(0);
    Steady {
        host: &host,
        rotation: "app-mssql",
        secret: "app/mssql",
        is_let_in: &|string| {
            let (user, password) = parts(string, ["User ID=", ";Password=", ";"]);
            server.login(user, password.trim_matches(['\'', '"'])).unwrap() == Ok(())
        },
    }
    .holds();
}
