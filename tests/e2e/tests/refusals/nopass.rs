//! A Redis user that takes any password (`nopass`) proves none, whatever the answer to its login is.

use keywheel_e2e::{Host, Output, redis_user};
use keywheel_kit::{Redis, RedisOptions, random_password};

fn host(server: &Redis, admin_password: &str) -> Host {
    let host = Host::init();
    let text = redis_user(server, "0s")
        .replace("consumers = [{ name = \"shop\", staleness = \"1s\" }]\n", "")
        .replace("{ step = \"3s\" }", "{ step = \"3s\", run = \"1s\" }");
    host.configure(&text);
    host.add_plugin("redis", &[server.port()]);
    let _ = host.import("admin/redis", admin_password).ends(0);
    host
}

fn stages(host: &Host) -> Vec<String> {
    let versions = host.versions("app/redis").into_iter();
    versions.map(|(_, stage)| stage).collect()
}

fn cause(host: &Host) -> String {
    let shown = host.run(&["run", "show", "app-redis", "-o", "json"], "").json();
    shown["parked"]["cause"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn has(output: &Output, words: &[&str]) {
    let said = format!("{}{}", output.stdout, output.stderr);
    for word in words {
        assert!(said.contains(word), "{word}:\n{said}");
    }
}

fn go_on(host: &Host) -> Output {
    host.run(&["run", "resume", "app-redis", "--wait", "end"], "")
}

#[test]
fn a_password_that_the_user_does_not_need_is_not_adopted_and_the_way_out_leads_to_a_rotation() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let real = random_password();
    server.create_user("app", &real).unwrap();
    let _ = server.command(&["ACL", "SETUSER", "app", "nopass"]).unwrap();
    let host = host(&server, server.admin_password());

    has(
        &host.run(&["plan", "app-redis"], "").ends(24),
        &["redis.nopass", "ACL SETUSER app resetpass"],
    );
    let output = host.import("app/redis", "anything-at-all").ends(41);
    has(
        &output,
        &["login.not-asked", "any password (nopass)", "not-asked"],
    );
    has(
        &host.run(&["run", "show", "app-redis"], ""),
        &["hint: ", "ACL SETUSER", "another can be imported"],
    );
    assert_eq!(
        (cause(&host).as_str(), stages(&host)),
        ("not-asked", vec!["pending".to_owned()])
    );
    // Nobody mends it: the same again, and it is still not current.
    let _ = go_on(&host).ends(41);
    assert_eq!(stages(&host), ["pending"]);

    // The user has a password again. The wrong value is found out and given up, the right one adopted, and rotated.
    server.create_user("app", &real).unwrap();
    let _ = go_on(&host).ends(40);
    assert_eq!(stages(&host), ["abandoned"]);
    let _ = host.import("app/redis", &real).ends(0);
    let _ = host.run(&["target", "test", "app-redis"], "").ends(0);
    let _ = host.run(&["rotate", "app-redis", "--wait", "end"], "").ends(0);
    let now = host.read("app/redis", None);
    assert!(server.login("app", &now).unwrap().is_accepted());
    assert!(server.login("app", &real).unwrap().is_refused());

    // It takes any password again: nothing is rotated, and `target test` says why.
    let _ = server.command(&["ACL", "SETUSER", "app", "nopass"]).unwrap();
    let _ = host.run(&["target", "test", "app-redis"], "").ends(24);
    assert_ne!(host.run(&["rotate", "app-redis", "--wait", "end"], "").code, 0);
    assert_eq!(host.read("app/redis", None), now);
}

/// What the documentation says of an adoption whose administrator is not let in holds here too.
#[test]
fn where_the_administrator_cannot_look_a_login_counts_and_no_rotation_follows() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let real = random_password();
    server.create_user("app", &real).unwrap();
    let host = host(&server, &random_password());
    let _ = host.import("app/redis", &random_password()).ends(41);
    let _ = host.run(&["run", "cancel", "app-redis"], "").ends(0);
    let output = host.import("app/redis", &real).ends(0);
    has(&output, &["it cannot be rotated yet: admin.refused: "]);
    let output = host.run(&["rotate", "app-redis", "--wait", "end"], "").ends(22);
    has(&output, &["admin.refused"]);
    assert_eq!(host.read("app/redis", None), real);
}

#[test]
fn an_administrator_that_is_refused_is_named_by_its_input_at_once() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let real = random_password();
    server.create_user("app", &real).unwrap();
    let host = host(&server, &random_password());
    let file = host.file("keywheel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("run = \"1s\"", "run = \"5m\"")).unwrap();
    has(
        &host.import("app/redis", &random_password()).ends(41),
        &[
            "admin.refused: ",
            "input `admin` of rotation app-redis is secret admin/redis: `keywheel secret import admin/redis`",
        ],
    );
    let _ = host.import("admin/redis", server.admin_password()).ends(0);
    let _ = go_on(&host).ends(40);
    let _ = host.import("app/redis", &real).ends(0);
}
