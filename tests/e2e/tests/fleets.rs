//! Many rotations by hand: chosen by their labels, several at once, and at once all of what others know.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use keywheel_e2e::{Host, Output, redis_user};
use keywheel_kit::{Proxy, Redis, RedisOptions, random_password};
use serde_json::Value;

/// So many users of one server. The last one is of another team.
const MANY: usize = 6;

/// Users of a Redis, all adopted, as rotations `r0` and so on.
struct Fleet {
    server: Redis,
    /// To the first one's server.
    way: Proxy,
    host: Host,
    old: Vec<String>,
}

impl Fleet {
    fn new(grace: &str, staleness: &str) -> Self {
        let server = Redis::start(RedisOptions::default()).unwrap();
        let way = Proxy::start(server.port()).unwrap();
        let host = Host::init();
        let mut old = Vec::new();
        for number in 0..MANY {
            old.push(random_password());
            server.create_user(&user(number), &old[number]).unwrap();
            let team = if number + 1 < MANY { "shop" } else { "bank" };
            let lines = redis_user(&server, grace)
                .replace("app-redis", &format!("r{number}"))
                .replace("app/redis", &secret(number))
                .replace("user = \"app\"", &format!("user = \"{}\"", user(number)))
                .replace("staleness = \"1s\"", &format!("staleness = \"{staleness}\""))
                .replace(
                    "\n[rotation.config]",
                    &format!("\nlabels = {{ server = \"cache 1\", team = \"{team}\" }}\n[rotation.config]"),
                );
            let lines = if number == 0 {
                lines
                    .replace(
                        &format!("port = {}", server.port()),
                        &format!("port = {}", way.port()),
                    )
                    .replace("{ step = \"3s\" }", "{ step = \"10m\", run = \"1s\" }")
            } else {
                lines
            };
            assert!(lines.contains("labels") && lines.contains(staleness), "{lines}");
            host.configure(&lines);
            if number == 0 {
                host.add_plugin("redis", &[server.port(), way.port()]);
                let _ = host.import("admin/redis", server.admin_password()).ends(0);
            }
            let _ = host.import(&secret(number), &old[number]).ends(0);
        }
        Self {
            server,
            way,
            host,
            old,
        }
    }

    fn run(&self, words: &[&str]) -> Output {
        self.host.run(words, "")
    }

    fn accepts(&self, number: usize, password: &str) -> bool {
        self.server.login(&user(number), password).unwrap().is_accepted()
    }

    /// Those that have a second version, which the server takes.
    fn rotated(&self) -> Vec<usize> {
        let is_rotated = |number: &usize| self.host.versions(&secret(*number)).len() > 1;
        let rotated: Vec<usize> = (0..MANY).filter(is_rotated).collect();
        for number in &rotated {
            assert!(self.accepts(*number, &self.host.read(&secret(*number), None)));
        }
        rotated
    }

    fn audited(&self, action: &str) -> Vec<Value> {
        let rows = self.host.json(&["audit", "search", "--action", action]);
        rows.as_array().unwrap().clone()
    }
}

fn user(number: usize) -> String {
    format!("app{number}")
}

fn secret(number: usize) -> String {
    format!("app/{number}")
}

#[test]
fn labels_choose_and_labels_that_nobody_has_are_refused_with_those_that_there_are() {
    let fleet = Fleet::new("1s", "1s");
    let plan = ["plan", "-l", "server=cache 1", "-l", "team=bank", "-o", "json"];
    let plans = fleet.run(&plan).ends(10).json();
    assert_eq!(plans.as_array().unwrap().len(), 1, "{plans:#}");
    assert_eq!(plans[0]["rotation"], "r5");
    let _ = fleet
        .run(&["rotate", "--all", "-l", "team=bank", "--yes", "--wait", "0s"])
        .ends(0);
    assert_eq!(fleet.rotated(), [5]);
    let _ = fleet
        .run(&["rotate", "-l", "team=circus", "--yes"])
        .ends(23)
        .says(&[
            "error[rotation.not-found]: no rotation has `team=circus`",
            "`server=cache 1`, `team=bank`, `team=shop`",
        ]);
    let _ = fleet
        .run(&["rotate", "-l", "team=bank", "-l", "team=shop", "--yes"])
        .ends(23)
        .says(&["no rotation has `team=bank` and `team=shop`"]);
    for words in [
        &["rotate", "r1", "-l", "team=bank", "--yes"][..],
        &["rotate", "r1", "--all", "--yes"],
        &["rotate", "-l", "bank", "--yes"],
        &["rotate", "--yes"],
        &["rotate", "--all", "--at-once", "0", "--yes"],
        &["rotate", "--all", "--at-once", "257", "--yes"],
    ] {
        let _ = fleet.run(words).ends(2);
    }
    // Many are asked about, and nobody is there to answer.
    let _ = fleet
        .run(&["--no-input", "rotate", "-l", "team=bank"])
        .ends(2)
        .says(&["error[input.confirm]", "`--yes`"]);
    assert_eq!(fleet.rotated(), [5]);
}

#[test]
fn a_label_that_is_none_is_refused_with_its_place() {
    let host = Host::init();
    let long = "x".repeat(64);
    for (labels, words) in [
        ("{ server = \"\" }".to_owned(), "a label has 1 to 63 characters"),
        (
            format!("{{ server = \"{long}\" }}"),
            "a label has 1 to 63 characters",
        ),
        (
            "{ server = \"a\\tb\" }".to_owned(),
            "none of them a control character",
        ),
        ("{ \"Ser ver\" = \"a\" }".to_owned(), "error[config.name]"),
    ] {
        let text = std::fs::read_to_string(host.file("keywheel.toml")).unwrap();
        let lines =
            format!("[[rotation]]\nname = \"r\"\nplugin = \"redis\"\nsecret = \"a/b\"\nlabels = {labels}\n");
        std::fs::write(host.file("more.toml"), format!("{text}\n{lines}")).unwrap();
        let file = host.file("more.toml");
        let check = host
            .run(&["config", "check", "--config", file.to_str().unwrap()], "")
            .ends(20);
        let _ = check.says(&[words, "labels"]);
    }
}

/// The one whose target falls silent comes first, and is still under way when all others are rotated.
#[test]
fn several_are_under_way_at_once_and_one_that_hangs_delays_nobody() {
    let fleet = Fleet::new("1s", "1s");
    fleet.way.fall_silent();
    let words = ["rotate", "--all", "--yes", "--at-once", "2", "--wait", "0s"];
    let mut rotating = fleet.host.start(&mut fleet.host.command(&words));
    for number in 1..MANY {
        assert!(
            rotating.wait_for(&format!("r{number} run-")),
            "{}",
            rotating.stderr()
        );
    }
    // By the whole word: an id may have these two letters in it.
    assert!(!rotating.stderr().contains("r0 run-"), "{}", rotating.stderr());
    fleet.way.cut();
    let went = fleet.host.wait(rotating);
    assert_ne!(went.code, 0, "{went:?}");
    assert!(went.stderr.contains("r0 run-"), "{went:?}");
    assert_eq!(fleet.rotated(), [1, 2, 3, 4, 5]);
    assert!(fleet.accepts(0, &fleet.old[0]));
}

#[test]
fn what_others_know_is_dead_at_once_whatever_the_grace_and_what_an_earlier_run_kept_alive_too() {
    let fleet = Fleet::new("24h", "0s");
    // The night's rotation still keeps the old one of the first alive.
    let _ = fleet.run(&["rotate", "r0"]).ends(0);
    let second = fleet.host.read(&secret(0), None);
    assert!(fleet.accepts(0, &fleet.old[0]) && fleet.accepts(0, &second));
    let compromised = [
        "rotate",
        "-l",
        "team=shop",
        "--yes",
        "--at-once",
        "4",
        "--compromised",
    ];
    let _ = fleet.run(&compromised).ends(2).says(&["--reason"]);
    assert_eq!(fleet.rotated(), [0]);
    let words = [&compromised[..], &["--reason", "laptop stolen"]].concat();
    let _ = fleet.run(&words).ends(0);
    assert_eq!(fleet.rotated(), [0, 1, 2, 3, 4]);
    for number in 0..5 {
        assert!(!fleet.accepts(number, &fleet.old[number]), "{number}");
    }
    assert!(!fleet.accepts(0, &second));
    assert!(fleet.accepts(5, &fleet.old[5]));
    let runs = fleet.host.json(&["run", "list"]);
    let triggers = runs
        .as_array()
        .unwrap()
        .iter()
        .filter(|run| run["trigger"] == "compromise");
    assert_eq!(triggers.count(), 5, "{runs:#}");
    let ended = fleet.audited("run.end-grace");
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(ended[0]["details"]["reason"], "laptop stolen", "{ended:?}");
}

#[test]
fn consumers_that_cannot_have_read_the_new_one_yet_keep_the_old_one_also_when_others_know_it() {
    let fleet = Fleet::new("24h", "1h");
    let words = [
        "rotate",
        "r0",
        "--compromised",
        "--reason",
        "leaked",
        "--wait",
        "0s",
    ];
    let _ = fleet.run(&words).ends(0);
    let new = fleet.host.read(&secret(0), None);
    assert!(fleet.accepts(0, &fleet.old[0]) && fleet.accepts(0, &new));
    // Again: the first run waits for them still, and the way to end that is told.
    let _ = fleet.run(&words).ends(24).says(&["error[run.open]"]);
    let revoke = ["run", "resume", "r0", "--revoke-now", "--reason", "leaked"];
    let _ = fleet.run(&revoke).ends(0);
    assert!(!fleet.accepts(0, &fleet.old[0]) && fleet.accepts(0, &new));
}
