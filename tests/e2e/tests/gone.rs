//! A target, or one of its nodes, that is gone for good: its run is ended as it stands (`run cancel --give-up`), without a claim about what nobody can
//! ask any more, and the next rotation works with the configuration of today.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, io, thread};

use keywheel_e2e::{Host, postgres_role, redis_user};
use keywheel_kit::{Postgres, PostgresOptions, Redis, RedisOptions, random_password};

const GIVE_UP: [&str; 5] = ["--give-up", "--reason", "decommissioned", "--wait", "0s"];

fn give_up(rotation: &str) -> Vec<&str> {
    [&["run", "cancel", rotation], &GIVE_UP[..]].concat()
}

/// Two nodes with the same user; `lines` for both, `alone` for the first.
struct Nodes {
    first: Redis,
    second: Redis,
    old: String,
    admin: String,
}

impl Nodes {
    fn start() -> Self {
        let [first, second] = [(); 2].map(|()| Redis::start(RedisOptions::default()).unwrap());
        let (old, admin) = (random_password(), random_password());
        for node in [&first, &second] {
            node.create_user("app", &old).unwrap();
            node.create_user("rotator", &admin).unwrap();
        }
        Self {
            first,
            second,
            old,
            admin,
        }
    }

    fn alone(&self, run: &str) -> String {
        redis_user(&self.first, "1s")
            .replace("admin = \"admin\"", "admin = \"rotator\"")
            .replace(
                "{ step = \"3s\" }",
                &format!("{{ step = \"3s\", run = \"{run}\" }}"),
            )
    }

    fn lines(&self, run: &str) -> String {
        let at = |node: &Redis| format!("{{ host = \"localhost\", port = {} }}", node.port());
        let pem = |node: &Redis| format!("\"{}\"", node.ca_file().display());
        let (first, second) = (&self.first, &self.second);
        self.alone(run)
            .replace(&at(first), &format!("{}, {}", at(first), at(second)))
            .replace(&pem(first), &format!("{}, {}", pem(first), pem(second)))
    }

    /// A host whose run has promoted and sleeps; its configuration without the rotation, and the new value.
    fn promoted(&self, run: &str) -> (Host, String, String) {
        let host = Host::init();
        let bare = fs::read_to_string(host.file("keywheel.toml")).unwrap();
        host.configure(&self.lines(run));
        host.add_plugin("redis", &[self.first.port(), self.second.port()]);
        let _ = host.import("admin/redis", &self.admin).ends(0);
        let _ = host.import("app/redis", &self.old).ends(0);
        let _ = host.run(&["rotate", "app-redis", "--wait", "0s"], "").ends(0);
        let new = host.read("app/redis", None);
        assert_ne!(new, self.old);
        (host, bare, new)
    }
}

#[test]
fn a_redis_node_that_is_gone_for_good_does_not_keep_the_secret_for_ever() {
    let mut nodes = Nodes::start();
    let (host, bare, new) = nodes.promoted("1s");
    // While nothing is wrong with it a run is not given up.
    let _ = host
        .run(&give_up("app-redis"), "")
        .ends(24)
        .says(&["run.choice", "--give-up", "not parked"]);

    nodes.second.stop().unwrap();
    let _ = host
        .run(&["run", "resume", "app-redis", "--wait", "end"], "")
        .ends(41);
    let parked = host.run(&["run", "show", "app-redis", "-o", "json"], "").json();
    let way_out = parked["parked"]["way-out"].as_str().unwrap();
    assert!(way_out.contains("--give-up --reason"), "{way_out}");
    fs::write(
        host.file("keywheel.toml"),
        format!("{bare}\n{}", nodes.alone("1s")),
    )
    .unwrap();
    let _ = host
        .run(&["rotate", "app-redis"], "")
        .ends(24)
        .says(&["run.open", "--give-up"]);
    let _ = host.run(&["run", "cancel", "app-redis", "--give-up"], "").ends(2);

    let before = host.versions("app/redis");
    let _ = host.run(&give_up("app-redis"), "").ends(0);
    let run = host.json(&["run", "show", "app-redis"]);
    assert_eq!(run["state"], "given-up", "{run:#}");
    // Nothing was touched, and nothing is claimed: the old password of the first node lives, and is `previous`.
    assert_eq!(host.versions("app/redis"), before);
    assert_eq!(
        (before[0].1.as_str(), before[1].1.as_str()),
        ("current", "previous")
    );
    assert!(nodes.first.login("app", &nodes.old).unwrap().is_accepted());
    assert!(nodes.first.login("app", &new).unwrap().is_accepted());
    let asked = host.json(&["audit", "search", "--action", "run.give-up"]);
    assert!(asked.to_string().contains("decommissioned"), "{asked:#}");
    let _ = host.run(&["status"], "").ends(10);

    let plan = host.run(&["plan", "app-redis", "-o", "json"], "").json();
    assert!(
        plan.to_string().contains("proves the current credential"),
        "{plan:#}"
    );
    let _ = host.run(&["rotate", "app-redis", "--wait", "end"], "").ends(0);
    let newest = host.read("app/redis", None);
    assert!(nodes.first.login("app", &newest).unwrap().is_accepted());
    for dead in [&nodes.old, &new] {
        assert!(nodes.first.login("app", dead).unwrap().is_refused());
    }
    let _ = host.run(&["audit", "verify"], "").ends(0);
}

/// An address of a server that can be taken away while the server stays.
struct Address {
    port: u16,
    gone: Arc<AtomicBool>,
    listens: Option<thread::JoinHandle<()>>,
}

impl Address {
    fn of(server: u16) -> Self {
        let listener = TcpListener::bind("localhost:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (port, gone) = (
            listener.local_addr().unwrap().port(),
            Arc::new(AtomicBool::new(false)),
        );
        let is_gone = Arc::clone(&gone);
        let listens = thread::spawn(move || {
            while !is_gone.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((client, _)) => join(client, TcpStream::connect(("localhost", server)).unwrap()),
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Self {
            port,
            gone,
            listens: Some(listens),
        }
    }

    fn vanish(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        self.listens.take().unwrap().join().unwrap();
    }
}

/// Passes on what either side sends, until both have ended.
fn join(client: TcpStream, server: TcpStream) {
    client.set_nonblocking(false).unwrap();
    for (mut from, mut to) in [
        (client.try_clone().unwrap(), server.try_clone().unwrap()),
        (server, client),
    ] {
        thread::spawn(move || {
            // An end that is reset is an end.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}

/// A role `app` behind an address, and a host whose configuration names it.
struct Moving {
    server: Postgres,
    address: Address,
    host: Host,
    bare: String,
    old: String,
}

impl Moving {
    fn new() -> Self {
        let server = Postgres::start(PostgresOptions::default()).unwrap();
        let old = random_password();
        server
            .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{old}'"))
            .unwrap();
        let address = Address::of(server.port());
        let host = Host::init();
        let bare = fs::read_to_string(host.file("keywheel.toml")).unwrap();
        let moving = Self {
            server,
            address,
            host,
            bare,
            old,
        };
        moving.configure(moving.address.port);
        moving
            .host
            .add_plugin("postgres", &[moving.server.port(), moving.address.port]);
        let admin = moving.server.admin_password();
        let _ = moving.host.import("admin/db", admin).ends(0);
        moving
    }

    fn configure(&self, port: u16) {
        let lines = postgres_role(&self.server, "1s")
            .replace("{ step = \"3s\" }", "{ step = \"3s\", run = \"1s\" }")
            .replace(
                &format!("port = {}", self.server.port()),
                &format!("port = {port}"),
            );
        fs::write(self.host.file("keywheel.toml"), format!("{}\n{lines}", self.bare)).unwrap();
    }

    fn accepts_only(&self, value: &str, dead: &[&String]) {
        assert!(self.server.login("app", value).unwrap().is_accepted());
        for dead in dead {
            assert!(self.server.login("app", dead).unwrap().is_refused());
        }
    }
}

#[test]
fn a_server_that_moved_during_the_grace_is_rotated_again_where_it_stands_now() {
    let mut moving = Moving::new();
    let _ = moving.host.import("app/db", &moving.old).ends(0);
    let rotate = ["rotate", "app-db", "--wait", "0s"];
    let _ = moving.host.run(&rotate, "").ends(0);
    let new = moving.host.read("app/db", None);
    moving.address.vanish();
    let resume = ["run", "resume", "app-db", "--wait", "end"];
    let _ = moving.host.run(&resume, "").ends(41);
    moving.configure(moving.server.port());
    // The run keeps the address that it was started with.
    let _ = moving.host.run(&resume, "").ends(41);
    let _ = moving
        .host
        .run(&rotate, "")
        .ends(24)
        .says(&["run.open", "--give-up"]);

    let _ = moving.host.run(&give_up("app-db"), "").ends(0);
    let versions = moving.host.versions("app/db");
    assert_eq!(
        (versions[0].1.as_str(), versions[1].1.as_str()),
        ("current", "previous")
    );
    // Where it stands now nobody has looked: current is proved first, and nothing is changed without that.
    moving.server.sql("ALTER ROLE app NOLOGIN").unwrap();
    let _ = moving.host.run(&rotate, "").ends(24).says(&[
        "plan.refused",
        "run.adoption-required",
        "may not log in",
    ]);
    moving.server.sql("ALTER ROLE app LOGIN").unwrap();
    let _ = moving
        .host
        .run(&["rotate", "app-db", "--wait", "end"], "")
        .ends(0);
    let newest = moving.host.read("app/db", None);
    moving.accepts_only(&newest, &[&moving.old, &new]);
}

#[test]
fn an_import_whose_server_is_gone_is_given_up_and_made_anew() {
    let mut moving = Moving::new();
    moving.address.vanish();
    let _ = moving.host.import("app/db", &moving.old).ends(41);
    let _ = moving.host.run(&give_up("app-db"), "").ends(0);
    assert_eq!(moving.host.versions("app/db")[0].1, "abandoned");
    moving.configure(moving.server.port());
    let _ = moving.host.import("app/db", &moving.old).ends(0);
    moving.accepts_only(&moving.old, &[]);
}

#[test]
fn an_answer_for_parked_runs_is_refused_where_the_run_only_waits() {
    let nodes = Nodes::start();
    let (host, _, new) = nodes.promoted("10m");
    nodes.second.create_user("app", &nodes.old).unwrap();
    // It has the whole of `deadlines.run` for its tries: it waits, and says what for.
    let waits = host
        .run(&["run", "resume", "app-redis", "--wait", "4s"], "")
        .ends(124);
    let waits = waits.says(&["does not get on"]);
    assert!(!waits.stderr.contains("sleeps until"), "{waits:?}");
    let refused = host.run(
        &["run", "resume", "app-redis", "--accept-head", "--wait", "0s"],
        "",
    );
    let words = ["run.choice", "--accept-head", "not parked", "run resume"];
    let _ = refused.ends(24).says(&words);
    assert!(nodes.second.login("app", &nodes.old).unwrap().is_accepted());
    assert!(!nodes.second.login("app", &new).unwrap().is_accepted());
    // That it waits for its target is enough to give it up.
    let _ = host.run(&give_up("app-redis"), "").ends(0);
    let _ = host
        .run(&["rotate", "app-redis"], "")
        .ends(24)
        .says(&["plan.refused", "given up"]);
    nodes.second.create_user("app", &new).unwrap();
    let _ = host.run(&["rotate", "app-redis", "--wait", "end"], "").ends(0);
    let newest = host.read("app/redis", None);
    for node in [&nodes.first, &nodes.second] {
        assert!(node.login("app", &newest).unwrap().is_accepted());
        assert!(node.login("app", &new).unwrap().is_refused());
    }
}

/// A pending version that a run has left is taken over by the next one: its plan does not say that a new one is made.
#[test]
fn a_plan_says_that_what_is_pending_is_taken_over() {
    let mut moving = Moving::new();
    let _ = moving.host.import("app/db", &moving.old).ends(0);
    let plan = moving.host.run(&["plan", "app-db"], "").ends(10);
    assert!(plan.stdout.contains("a random password for app"), "{plan:?}");

    // The row of the role is taken: the change of its password waits on the server, and loses its sender there.
    let (server, address, host) = (&moving.server, &mut moving.address, &moving.host);
    let asks = |question: &str| server.sql(question).unwrap() != "0";
    let hold = "SELECT FROM pg_authid WHERE rolname = 'app' FOR UPDATE; SELECT pg_sleep(6)";
    let held =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(6)' AND wait_event = 'PgSleep'";
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER ROLE%'";
    thread::scope(|scope| {
        let holder = scope.spawn(|| server.sql(hold).unwrap());
        let until = |question: &str| {
            while !asks(question) {
                assert!(!holder.is_finished(), "{question}");
                thread::sleep(Duration::from_millis(10));
            }
        };
        until(held);
        let mut started = host.start(&mut host.command(&["rotate", "app-db", "--wait", "end"]));
        until(waits);
        started.child.kill().unwrap();
        let _ = host.wait(started).ends(-1);
        address.vanish();
        let _ = host
            .run(&["run", "resume", "app-db", "--wait", "end"], "")
            .ends(41);
        let _ = host.run(&give_up("app-db"), "").ends(0);
    });
    moving.configure(moving.server.port());
    let versions = moving.host.versions("app/db");
    let (pending, stage) = &versions[0];
    assert_eq!(stage, "pending", "{versions:?}");

    let plan = moving.host.run(&["plan", "app-db"], "").ends(10);
    for words in [
        &format!("an earlier run has left {pending} pending"),
        &format!("nothing is made: {pending} is pending already"),
    ] {
        assert!(plan.stdout.contains(words), "{words}: {plan:?}");
    }
    assert!(!plan.stdout.contains("a random password"), "{plan:?}");
    let _ = moving
        .host
        .run(&["rotate", "app-db", "--wait", "end"], "")
        .ends(0);
    assert_eq!(
        moving.host.versions("app/db")[0],
        (pending.clone(), "current".to_owned())
    );
}
