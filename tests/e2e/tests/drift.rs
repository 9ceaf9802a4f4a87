//! What changed behind the host's back is found by `drift check`, named, and mended as far as kept versions allow.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use keywheel_e2e::{Host, Output, postgres_role, redis_user, role_adopted};
use keywheel_kit::{Postgres, PostgresOptions, Redis, RedisOptions, random_password};
use serde_json::Value;

/// A role that was rotated once: the password of before, and the one that is current.
fn scene() -> (Postgres, Host, String, String) {
    let (server, host, old) = role_adopted();
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    let current = host.read("app/db", None);
    (server, host, old, current)
}

fn set(server: &Postgres, how: &str, password: &str) {
    server
        .sql(&format!("{how} ROLE app LOGIN PASSWORD '{password}'"))
        .unwrap();
}

fn accepts(server: &Postgres, password: &str) -> bool {
    server.login("app", password).unwrap().is_accepted()
}

fn check(host: &Host) -> (Output, Value) {
    let output = host.run(&["drift", "check", "--wait", "end", "-o", "json"], "");
    let rows = output.json();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows:#}");
    (output, rows[0].clone())
}

fn finds(host: &Host, found: &str, code: i32) -> Value {
    let (output, row) = check(host);
    assert_eq!(row["found"], found, "{row:#}");
    let _ = output.ends(code);
    row
}

#[test]
fn what_is_in_place_is_left_alone_and_the_trail_says_who_looked() {
    let (server, host, _, current) = scene();
    let row = finds(&host, "in-place", 0);
    let run = row["run"]["run"].as_str().unwrap();
    let steps = row["run"]["steps"].as_array().unwrap();
    assert!(
        steps.iter().all(|step| step["step"] == "test") && steps.len() == 1,
        "{row:#}"
    );
    assert!(accepts(&server, &current) && host.read("app/db", None) == current);
    let rows = host.json(&["audit", "search", "--run", run, "--action", "run.begin"]);
    assert_eq!(rows[0]["details"]["trigger"], "drift", "{rows:#}");
    let shown = host.run(&["drift", "check", "app-db"], "").ends(0);
    assert!(shown.stdout.contains("in-place"), "{}", shown.stdout);
    let _ = host.run(&["drift", "check", "no-such"], "").ends(23);
}

/// The target is of an older time: it accepts what was revoked. Current goes on again, and nothing is rotated.
#[test]
fn an_older_database_gets_the_current_one_again() {
    let (server, host, old, current) = scene();
    set(&server, "ALTER", &old);
    assert!(!accepts(&server, &current));
    finds(&host, "repaired", 10);
    assert!(accepts(&server, &current) && !accepts(&server, &old));
    assert_eq!(host.read("app/db", None), current, "nothing was rotated");
    finds(&host, "in-place", 0);
    let rows = host.json(&[
        "audit",
        "search",
        "--secret",
        "app/db",
        "--action",
        "secret.repair",
    ]);
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows:#}");
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
}

/// Somebody has set another password by hand: no kept version is accepted. Current goes on again, and a person is to look who that was.
#[test]
fn a_value_set_by_hand_is_replaced_and_parks_so_that_somebody_looks() {
    let (server, host, _, current) = scene();
    let by_hand = random_password();
    set(&server, "ALTER", &by_hand);
    let row = finds(&host, "parked", 41);
    assert_eq!(row["run"]["parked"]["cause"], "both-rejected", "{row:#}");
    assert!(row["way-out"].as_str().unwrap().contains("resume"), "{row:#}");
    assert!(accepts(&server, &current) && !accepts(&server, &by_hand));
    finds(&host, "run-open", 24);
    let _ = host
        .run(&["run", "resume", "app-db", "--wait", "end"], "")
        .ends(0);
    finds(&host, "in-place", 0);
    // Put on once more by a person's word, it ends as well, and says what was done.
    set(&server, "ALTER", &by_hand);
    finds(&host, "parked", 41);
    let put_on = host
        .run(
            &["run", "resume", "app-db", "--apply-current", "--wait", "end"],
            "",
        )
        .ends(0);
    let words = &put_on.stdout;
    assert!(words.contains("current was put on the target again"), "{words}");
    assert_eq!(host.json(&["run", "show", "app-db"])["untouched"], false);
    finds(&host, "in-place", 0);
}

/// The same on a target that takes two: what the other one has set stays, and is named as long as it does.
#[test]
fn a_value_set_by_hand_on_redis_is_named_until_a_person_takes_it_away() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let (old, by_hand) = (random_password(), random_password());
    server.create_user("app", &old).unwrap();
    let host = Host::init();
    host.configure(&redis_user(&server, "1s"));
    host.add_plugin("redis", &[server.port()]);
    let _ = host.import("admin/redis", server.admin_password()).ends(0);
    let _ = host.import("app/redis", &old).ends(0);
    let sets = |words: &str| {
        let words = ["ACL", "SETUSER", "app", "resetpass", words];
        let _ = server.command(&words).unwrap();
    };
    sets(&format!(">{by_hand}"));
    let check = ["drift", "check", "-o", "json"];
    let row = |code: i32| {
        let ran = host.run(&check, "").ends(code);
        (ran.json()[0].clone(), ran.stderr)
    };
    let named = |(row, err): &(serde_json::Value, String)| {
        let told = row["warnings"].to_string().contains("redis.others");
        assert_eq!(told, err.contains("redis.others"), "{row:#} {err}");
        told
    };
    let parked = row(41);
    assert_eq!(
        parked.0["run"]["parked"]["cause"], "both-rejected",
        "{}",
        parked.0
    );
    assert!(named(&parked), "{parked:?}");
    let way_out = parked.0["way-out"].as_str().unwrap();
    assert!(way_out.contains("who set another one"), "{way_out}");
    let resume = ["run", "resume", "app-redis", "--wait", "end"];
    let _ = host.run(&resume, "").ends(0);
    let current = host.read("app/redis", None);
    let accepts = |password: &str| server.login("app", password).unwrap().is_accepted();
    assert!(accepts(&current) && accepts(&by_hand));
    assert!(named(&row(0)), "it works still");
    sets(&format!(">{current}"));
    assert!(!named(&row(0)), "it is gone");
}

#[test]
fn a_deleted_role_parks_with_the_way_out_and_comes_back_with_the_current_one() {
    let (server, host, _, current) = scene();
    server.sql("DROP ROLE app").unwrap();
    let row = finds(&host, "parked", 41);
    assert_eq!(row["run"]["parked"]["cause"], "no-account", "{row:#}");
    assert!(!row["way-out"].as_str().unwrap().is_empty());
    // Made again, without a password that anybody knows.
    set(&server, "CREATE", &random_password());
    let resumed = host.run(
        &["run", "resume", "app-db", "--apply-current", "--wait", "end"],
        "",
    );
    assert!(matches!(resumed.code, 0 | 41), "{resumed:?}");
    assert!(accepts(&server, &current));
    if resumed.code == 41 {
        let _ = host
            .run(&["run", "resume", "app-db", "--wait", "end"], "")
            .ends(0);
    }
    finds(&host, "in-place", 0);
}

/// The vault is of an older time, by `vault restore`: nothing is put on the target before a person says so.
#[test]
fn an_older_vault_is_found_and_changes_nothing_by_itself() {
    let (server, host, _, _) = scene();
    let kept = host.outside("kept.age").display().to_string();
    let _ = host.run(&["vault", "backup", &kept], "").ends(0);
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(0);
    let living = host.read("app/db", None);
    let _ = host.run(&["vault", "restore", &kept, "--force"], "").ends(0);
    let row = finds(&host, "parked", 41);
    assert_eq!(row["run"]["parked"]["cause"], "restored", "{row:#}");
    assert!(
        row["way-out"].as_str().unwrap().contains("--apply-current"),
        "{row:#}"
    );
    assert!(accepts(&server, &living), "consumers go on");
    let mend = ["run", "resume", "app-db", "--apply-current", "--wait", "end"];
    let _ = host.run(&mend, "").ends(0);
    assert!(accepts(&server, &host.read("app/db", None)) && !accepts(&server, &living));
    finds(&host, "in-place", 0);
}

/// A target that is down says nothing of the credential: no run is left in the way of the next rotation.
#[test]
fn a_target_that_is_down_leaves_no_run() {
    let (mut server, host, _, _) = scene();
    server.stop().unwrap();
    let output = host.run(&["drift", "check", "--wait", "0s", "-o", "json"], "");
    let rows = output.clone().ends(30).json();
    assert_eq!(rows[0]["found"], "not-asked", "{rows:#}");
    assert_eq!(rows[0]["code"], "net.unreachable", "{rows:#}");
    let open = host.json(&["run", "list", "--open"]);
    assert!(open.as_array().unwrap().is_empty(), "{open:#}");
    server.restart().unwrap();
    finds(&host, "in-place", 0);
}

/// Nothing was imported, or nothing that a target has ever accepted: that is never put on a target.
#[test]
fn what_was_never_proved_is_not_put_on_the_target() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let living = random_password();
    set(&server, "CREATE", &living);
    let host = Host::init();
    let _ = host.import("app/db", "not the right one at all").ends(0);
    host.configure(&postgres_role(&server, "1s"));
    host.add_plugin("postgres", &[server.port()]);
    let _ = host.import("admin/db", server.admin_password()).ends(0);
    let row = finds(&host, "not-adopted", 24);
    assert!(
        row["way-out"].as_str().unwrap().contains("secret import"),
        "{row:#}"
    );
    assert!(accepts(&server, &living));
    let _ = host.import("app/db", &living).ends(0);
    finds(&host, "in-place", 0);
}

/// The budget of failed logins holds for the check, too: with one login an hour it stops after the first refusal and says until when.
#[test]
fn the_budget_of_failed_logins_holds() {
    let (server, host, old, current) = scene();
    let config = std::fs::read_to_string(host.file("keywheel.toml")).unwrap();
    // Two are spent: the rotation has proved the old one dead, and this check finds current refused.
    let config = config.replace("logins = 100", "logins = 2");
    std::fs::write(host.file("keywheel.toml"), config).unwrap();
    set(&server, "ALTER", &random_password());
    let failed = || server.log().matches("password authentication failed").count();
    let before = failed();
    let output = host.run(&["drift", "check", "--wait", "0s", "-o", "json"], "");
    assert_eq!(failed(), before + 1, "{}", server.log());
    let row = output.json()[0].clone();
    assert_eq!(row["found"], "waiting", "{row:#}");
    assert!(row["detail"].as_str().unwrap().contains("budget"), "{row:#}");
    assert!(row["not-before"].as_u64().unwrap() > 0, "{row:#}");
    let _ = output.ends(124);
    assert!(!accepts(&server, &current) && !accepts(&server, &old));
    let _ = host
        .run(&["run", "resume", "app-db", "--wait", "0s"], "")
        .ends(124);
}

#[test]
fn a_redis_user_that_was_set_back_gets_the_current_one_again() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let old = random_password();
    server.create_user("app", &old).unwrap();
    let host = Host::init();
    host.configure(&redis_user(&server, "1s"));
    host.add_plugin("redis", &[server.port()]);
    let _ = host.import("admin/redis", server.admin_password()).ends(0);
    let _ = host.import("app/redis", &old).ends(0);
    let _ = host.run(&["rotate", "app-redis", "--wait", "end"], "").ends(0);
    let current = host.read("app/redis", None);
    finds(&host, "in-place", 0);
    server.create_user("app", &old).unwrap();
    finds(&host, "repaired", 10);
    assert!(server.login("app", &current).unwrap().is_accepted());
    finds(&host, "in-place", 0);
}

/// Within the grace it is the open run that asks, and mends: where its proof has to wait for the budget, that is told with its time, and not as if nobody
/// had been asked.
#[test]
fn a_repair_within_the_grace_that_uses_the_budget_up_says_when_it_goes_on() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let old = random_password();
    set(&server, "CREATE", &old);
    let host = Host::init();
    let text = postgres_role(&server, "1h").replace("logins = 100", "logins = 1");
    host.configure(&text.replace("{ step = \"3s\" }", "{ step = \"30s\" }"));
    host.add_plugin("postgres", &[server.port()]);
    let _ = host.import("admin/db", server.admin_password()).ends(0);
    let _ = host.import("app/db", &old).ends(0);
    let _ = host.run(&["rotate", "app-db", "--wait", "0s"], "").ends(0);
    set(&server, "ALTER", &random_password());
    let output = host
        .run(&["drift", "check", "--wait", "0s", "-o", "json"], "")
        .ends(124);
    let row = output.json()[0].clone();
    assert_eq!(row["found"], "waiting", "{row:#}");
    assert!(row["not-before"].as_u64().unwrap() > 0, "{row:#}");
    let _ = output.says(&["app-db: not before 20", "keywheel run resume app-db"]);
}

/// Ctrl-C: the target has not answered, which says nothing of it. No run stays in the way.
#[test]
fn a_check_that_is_interrupted_ends_as_every_interrupted_command_and_leaves_no_run() {
    let (mut server, host, _, _) = scene();
    let port = server.port();
    server.stop().unwrap();
    // Takes connections, and never answers.
    let hole = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut started = host.start(&mut host.command(&["drift", "check", "--wait", "end"]));
    let held = hole.accept().unwrap();
    let id = started.child.id().to_string();
    let killed = std::process::Command::new("kill").args(["-INT", &id]).status();
    assert!(killed.unwrap().success());
    assert!(started.wait_for("stopping"), "{}", started.stderr());
    let _ = host.wait(started).ends(124);
    drop((held, hole));
    let open = host.json(&["run", "list", "--open"]);
    assert!(open.as_array().unwrap().is_empty(), "{open:#}");
    server.restart().unwrap();
    finds(&host, "in-place", 0);
}
