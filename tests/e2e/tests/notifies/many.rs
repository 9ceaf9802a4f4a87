//! Ten thousand notices, and nobody who takes them.

use std::fs;

use keywheel_e2e::{Host, redis_user, until};
use keywheel_kit::{Redis, RedisOptions, random_password};
use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::served::{Serving, configure_first, sink, write};

/// Of the host: its code, the compiled plugin, and far less than this for notices.
const RESIDENT_MIB: u64 = 400;

#[test]
fn ten_thousand_notices_and_a_dead_sink_keep_no_rotation_and_come_in_few_messages() {
    let mut receiver = Receiver::away();
    let server = Redis::start(RedisOptions::default()).unwrap();
    let old = random_password();
    server.create_user("app", &old).unwrap();
    let host = Host::init();
    host.configure(&redis_user(&server, "1s"));
    let about = "about = [\"attention\", \"events\"]";
    let lines = receiver.trust()
        + &receiver.sink("slack", about)
        + &receiver.sink("pagerduty", "about = [\"attention\"]");
    configure_first(&host, &lines);
    host.add_plugin("redis", &[server.port()]);
    let _ = host.import("admin/redis", server.admin_password()).ends(0);
    let _ = host.import("app/redis", &old).ends(0);
    receiver.is_known_to(&host);
    let body = json!({"secret": "app/redis", "version": "01V", "consumers": [], "more": "x".repeat(200)});
    let notices: Vec<(&str, &str, Value)> = (0..10_000)
        .map(|_| ("secret.rotated", "app-redis", body.clone()))
        .collect();
    write(&host, &notices);
    let serving = Serving::start(&host);
    until("it takes nothing", || !sink(&host, "slack")["failing"].is_null());
    for _ in 0..3 {
        let _ = host.run(&["rotate", "app-redis", "--wait", "end"], "").ends(0);
    }
    let current = host.read("app/redis", None);
    assert!(server.login("app", &current).unwrap().is_accepted());
    let peak = peak_mib(serving.started.as_ref().unwrap().child.id());
    assert!(peak < RESIDENT_MIB, "{peak} MiB");
    assert!(sink(&host, "slack")["waiting"].as_u64() >= Some(10_000));
    receiver.comes();
    let _ = host.run(&["notify", "test", "slack"], "").ends(0);
    until("all is told", || sink(&host, "slack")["waiting"] == 0);
    let told = receiver.taken("slack");
    assert!(told.len() < 30, "{} messages", told.len());
    let digests = told.iter().filter_map(|request| {
        let header = request["body"]["blocks"][0]["text"]["text"].as_str()?;
        header
            .strip_suffix(" notices that could not be told before")?
            .parse::<u64>()
            .ok()
    });
    assert!(digests.sum::<u64>() >= 10_000);
    let _ = serving.ends();
}

/// The most memory that a process has had.
fn peak_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib = line.trim().trim_end_matches(" kB").trim();
    kib.parse::<u64>().unwrap() / 1024
}
