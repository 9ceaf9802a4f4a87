//! A Redis server that cannot write its users: what a restart would undo is no success.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;

use keywheel_e2e::{Host, redis_user};
use keywheel_kit::{AclStore, Redis, RedisOptions, random_password};

fn set_mode(server: &Redis, mode: u32) {
    set_permissions(server.acl_folder(), Permissions::from_mode(mode)).unwrap();
}

fn host(server: &Redis, grace: &str) -> (Host, String) {
    let old = random_password();
    server.create_user("app", &old).unwrap();
    let _ = server.command(&["ACL", "SAVE"]).unwrap();
    let host = Host::init();
    let text = redis_user(server, grace)
        .replace("consumers = [{ name = \"shop\", staleness = \"1s\" }]\n", "")
        .replace("{ step = \"3s\" }", "{ step = \"3s\", run = \"1s\" }");
    host.configure(&text);
    host.add_plugin("redis", &[server.port()]);
    let _ = host.import("admin/redis", server.admin_password()).ends(0);
    let _ = host.import("app/redis", &old).ends(0);
    (host, old)
}

fn takes(server: &Redis, password: &str) -> bool {
    server.login("app", password).unwrap().is_accepted()
}

#[test]
fn a_server_that_cannot_write_its_acl_file_is_left_as_it_is() {
    let mut server = Redis::start(RedisOptions::default()).unwrap();
    let (host, old) = host(&server, "0s");
    let before = server.stored_users().unwrap();
    set_mode(&server, 0o555);
    let output = host.run(&["rotate", "app-redis", "--wait", "end"], "").ends(40);
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(
        said.contains("redis.not-saved") && said.contains("ACL SAVE"),
        "{output:?}"
    );
    assert_eq!(host.read("app/redis", None), old);
    assert_eq!(host.json(&["run", "list", "--open"]).as_array().unwrap().len(), 0);
    assert_eq!(server.stored_users().unwrap(), before);
    server.restart().unwrap();
    assert!(takes(&server, &old));

    // The way out.
    set_mode(&server, 0o755);
    let _ = host.run(&["rotate", "app-redis", "--wait", "end"], "").ends(0);
    let new = host.read("app/redis", None);
    server.restart().unwrap();
    assert!(takes(&server, &new) && !takes(&server, &old));
}

/// Each right that a run needs is said before it begins, and all of them at once.
#[test]
fn what_the_administrator_may_not_do_is_said_by_the_plan() {
    let server = Redis::start(RedisOptions {
        acl: AclStore::ConfigRewrite,
        ..RedisOptions::default()
    })
    .unwrap();
    let password = random_password();
    let rights = |rights: &[&str]| {
        let set = format!(">{password}");
        let words = [&["ACL", "SETUSER", "rotator", "reset", "on", &set], rights].concat();
        let _ = server.command(&words).unwrap();
    };
    server.create_user("app", &random_password()).unwrap();
    let host = Host::init();
    host.configure(&redis_user(&server, "1s").replace("admin = \"admin\"", "admin = \"rotator\""));
    host.add_plugin("redis", &[server.port()]);
    let _ = host.import("admin/redis", &password).ends(0);
    let all = ["+acl", "+config|get", "+config|rewrite", "+info", "+role"];
    for left_out in 0..all.len() {
        let mut some = all.to_vec();
        let missing = some.remove(left_out);
        rights(&some);
        let plan = host.run(&["plan", "app-redis"], "").ends(24);
        for words in [
            "redis.rights",
            "ACL SETUSER rotator +acl +config|get +config|rewrite +info +role",
        ] {
            assert!(plan.stdout.contains(words), "without {missing}: {plan:?}");
        }
    }
    rights(&all);
    let plan = host.run(&["plan", "app-redis"], "");
    assert!(!plan.stdout.contains("redis.rights"), "{plan:?}");
}

#[test]
fn an_old_password_whose_end_cannot_be_written_parks_the_run_and_both_work_until_it_can() {
    let mut server = Redis::start(RedisOptions::default()).unwrap();
    let (host, old) = host(&server, "1s");
    let _ = host.run(&["rotate", "app-redis", "--wait", "0s"], "").ends(0);
    let new = host.read("app/redis", None);
    assert_ne!(new, old);
    set_mode(&server, 0o555);
    let resume = ["run", "resume", "app-redis", "--wait", "end"];
    let output = host.run(&resume, "").ends(41);
    let run = host.run(&["run", "show", "app-redis", "-o", "json"], "").json();
    assert_eq!(run["parked"]["cause"], "target", "{run:#}");
    assert!(
        run["parked"]["detail"]
            .as_str()
            .unwrap()
            .contains("redis.not-saved"),
        "{run:#}\n{output:?}"
    );
    server.restart().unwrap();
    assert!(takes(&server, &new) && takes(&server, &old));

    set_mode(&server, 0o755);
    let _ = host.run(&resume, "").ends(0);
    server.restart().unwrap();
    assert!(takes(&server, &new) && !takes(&server, &old));
}
