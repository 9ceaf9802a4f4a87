//! A user of Redis.

use keywheel_e2e::{Host, redis_user};
use keywheel_kit::{Redis, RedisOptions, random_password};

use crate::{FORMAT, between};

#[test]
fn a_url_of_redis_gets_a_new_password_and_both_work_within_the_grace() {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let password = random_password();
    server.create_user("app", &password).unwrap();
    let host = Host::init();
    host.configure(&format!("{}{FORMAT}", redis_user(&server, "1s")));
    host.add_plugin("redis", &[server.port()]);
    let _ = host.import("admin/redis", server.admin_password()).ends(0);
    let (before, after) = ("rediss://app:", format!("@localhost:{}/0", server.port()));
    let first = format!("{before}{password}{after}");
    let _ = host.import("app/redis", &first).ends(0);
    let login = |url: &str| server.login_by(url).unwrap();
    assert!(login(&first).is_accepted());
    let mut strings = vec![first];
    let mut passwords = vec![password];
    for _ in 0..2 {
        let old = strings.last().unwrap().clone();
        let _ = host.run(&["rotate", "app-redis", "--wait", "0s"], "").ends(0);
        let new = host.read("app/redis", None);
        passwords.push(between(&new, before, &after).to_owned());
        assert!(login(&new).is_accepted() && login(&old).is_accepted());
        let _ = host
            .run(&["run", "resume", "app-redis", "--wait", "end"], "")
            .ends(0);
        assert!(login(&new).is_accepted() && login(&old).is_refused());
        strings.push(new);
    }
    host.left_no_trace(&passwords, &[("server log", &server.log())]);
}
