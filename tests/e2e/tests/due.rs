//! When a rotation is due next, by what the host has done: on the binary, with a real server. No host runs meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::sync::Arc;
use std::time::Duration;

use keywheel_config::load;
use keywheel_e2e::{Host, redis_user};
use keywheel_engine::{Engine, SystemClock};
use keywheel_kit::{Redis, RedisOptions, random_password};
use keywheel_model::{Clock, Timestamp};

const HOUR_MS: u64 = 3_600_000;
const NEW_YEAR_2099_MS: u64 = 4_070_908_800_000;

/// The machine's clock, so much later.
struct Later(Duration);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.0
    }
}

/// A host that has rotated once, with that schedule.
fn rotated(server: &Redis, schedule: &str) -> Host {
    let old = random_password();
    server.create_user("app", &old).unwrap();
    let host = Host::init();
    let lines = redis_user(server, "1s");
    let named = "secret = \"app/redis\"\n";
    assert!(lines.contains(named), "{lines}");
    host.configure(&lines.replace(named, &format!("{named}schedule = {schedule}\n")));
    host.add_plugin("redis", &[server.port()]);
    let _ = host.import("admin/redis", server.admin_password()).ends(0);
    let _ = host.import("app/redis", &old).ends(0);
    let _ = host.run(&["rotate", "app-redis"], "").ends(0);
    host
}

/// What `status` says of the rotation, so much later.
async fn attention(host: &Host, later: Duration) -> Vec<String> {
    let config = load(&host.file("keywheel.toml")).unwrap();
    let engine = Engine::open(config, Arc::new(Later(later))).await.unwrap();
    let list = engine.status().await.unwrap().into_iter();
    list.filter(|entry| entry.subject == "rotation app-redis")
        .map(|entry| entry.what)
        .collect()
}

#[tokio::test]
async fn what_was_due_and_has_not_run_needs_attention_and_so_does_what_never_can() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let host = rotated(&server, "{ every = \"36h\", jitter = \"0s\" }");
    let none: [String; 0] = [];
    assert_eq!(attention(&host, Duration::from_hours(35)).await, none);
    let late = attention(&host, Duration::from_hours(37)).await;
    assert!(
        late.len() == 1 && late[0].starts_with("it was due ") && late[0].ends_with(" UTC and has not run"),
        "{late:?}"
    );

    let text = std::fs::read_to_string(host.file("keywheel.toml")).unwrap();
    let black = "blackout = [{ from = \"2020-01-01\", to = \"2199-12-31\" }]";
    std::fs::write(host.file("keywheel.toml"), text.replace("jitter = \"0s\"", black)).unwrap();
    let never = attention(&host, Duration::ZERO).await;
    assert_eq!(
        never,
        ["its windows and blackouts leave no time in which it could run"]
    );
    let _ = host
        .run(&["config", "check"], "")
        .ends(20)
        .says(&["schedule.no-time"]);
    let _ = host
        .run(&["schedule", "list"], "")
        .ends(20)
        .says(&["within the next 400 days"]);
}

#[tokio::test]
async fn a_schedule_that_counts_from_an_expiry_is_told_where_there_is_none() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let host = rotated(&server, "{ renew_at = 0.8 }");
    let never = attention(&host, Duration::from_hours(24 * 365)).await;
    assert_eq!(
        never,
        ["its schedule counts from the expiry of its credential, and that has none: it is never due"]
    );
    let listed = host.json(&["schedule", "list"]);
    assert_eq!(listed[0]["none"], "never: its credential has no known expiry");
    let file = host.file("keywheel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replace("renew_at = 0.8", "renew_at = 0.8, every = \"36h\""),
    )
    .unwrap();
    assert_eq!(attention(&host, Duration::ZERO).await, [""; 0]);
}

#[test]
fn the_next_time_counts_from_the_last_success_and_is_late_when_it_has_passed() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let host = rotated(&server, "{ every = \"36h\", jitter = \"0s\" }");

    let run = host.json(&["run", "show", "app-redis"]);
    let [from, until] = ["started-at", "finished-at"].map(|key| run[key].as_u64().unwrap() + 36 * HOUR_MS);
    let listed = host.json(&["schedule", "list"]);
    let next = &listed[0]["next"];
    let due = next["due"].as_u64().unwrap();
    assert!((from..=until).contains(&due), "{from} {due} {until}");
    assert_eq!(
        (next["because"].as_str(), next["now"].as_bool()),
        (Some("interval"), Some(false))
    );
    let plan = host.run(&["plan", "app-redis", "-o", "json"], "").ends(10).json();
    assert_eq!(plan[0]["next-due"], due, "{plan:#}");

    // Asked much later, it is due at once, and the one after that 36 hours from then: one run makes up for all.
    let at = ["--at", "2099-01-01"];
    let all = host.json(&[&["schedule", "next", "app-redis", "--count", "2"][..], &at].concat());
    let times = &all[0]["times"];
    assert_eq!(
        (times[0]["due"].as_u64(), times[0]["now"].as_bool()),
        (Some(due), Some(true)),
        "{all:#}"
    );
    assert_eq!(times[0]["late"], true, "{all:#}");
    let second = times[1]["due"].as_u64().unwrap();
    assert_eq!(second, NEW_YEAR_2099_MS + 36 * HOUR_MS, "{all:#}");
}

/// No shipped plugin knows an end of what it sets, so that one is written beside the version.
#[tokio::test]
async fn a_credential_that_may_die_before_its_tries_are_used_up_is_told_in_time() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let host = rotated(&server, "{ every = \"400d\", jitter = \"0s\" }");
    let life = Duration::from_hours(10 * 24);
    let expires = i64::try_from((SystemClock.now() + life).as_unix_ms()).unwrap();
    let database = rusqlite::Connection::open(host.file("state/keywheel.db")).unwrap();
    let written = database.execute(
        "UPDATE version SET meta = json_set(meta, '$.expires', ?1) WHERE secret = 'app/redis' AND stage = 'current'",
        [expires],
    );
    assert_eq!(written.unwrap(), 1);
    drop(database);
    let told = async |later| {
        let list = attention(&host, later).await;
        let mut alarms = list
            .into_iter()
            .filter(|what| what.contains("its credential expires"));
        alarms.next()
    };
    // Before it is due; when it has been due for an hour, with two days left; and with less left than nine tries may take.
    assert_eq!(told(life / 2).await, None);
    assert_eq!(told(life * 8 / 10 + Duration::from_hours(1)).await, None);
    let alarm = told(life * 99 / 100).await.unwrap();
    assert!(alarm.contains("the 9 tries that are left may take"), "{alarm}");
}
