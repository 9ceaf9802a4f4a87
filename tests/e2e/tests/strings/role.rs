//! One PostgreSQL role.

use crate::{Scene, between};

/// Rotates twice: the first time what a person wrote, the second what the host did.
#[track_caller]
fn rotates_twice(scene: &Scene, first: &str, before: &str, after: &str) {
    let Scene { server, host, old } = scene;
    assert!(scene.is_let_in(first));
    let _ = host.import("app/db", first).ends(0);
    assert_eq!(host.read("app/db", None), first);
    let _ = host.run(&["target", "test", "app-db"], "").ends(0);
    let mut strings = vec![first.to_owned()];
    let mut passwords = vec![old.clone()];
    for _ in 0..2 {
        scene.rotate("app-db");
        let now = host.read("app/db", None);
        let password = between(&now, before, after);
        assert!(!passwords.iter().any(|known| known == password));
        assert!(scene.is_let_in(&now), "psql takes the string itself");
        assert!(scene.is_refused(strings.last().unwrap()));
        passwords.push(password.to_owned());
        strings.push(now);
    }
    let _ = host.run(&["audit", "verify"], "").ends(0);
    host.left_no_trace(&passwords, &[("server log", &server.log())]);
}

#[test]
fn a_url_of_libpq_gets_a_new_password_and_every_other_byte_stays() {
    let scene = Scene::role();
    let url = scene.url("app", &scene.old);
    let (user, rest) = url.split_once("app:").unwrap();
    let (_, rest) = rest.split_once('@').unwrap();
    rotates_twice(&scene, &url, &format!("{user}app:"), &format!("@{rest}"));
}

#[test]
fn a_keyword_string_with_quotes_gets_a_new_password_and_every_other_byte_stays() {
    let scene = Scene::role();
    let quoted = scene.old.replace('\\', "\\\\").replace('\'', "\\'");
    let before = format!(
        "host = localhost port={}  application_name='the \\'shop\\'; one' user='app' password=",
        scene.server.port()
    );
    let after = "  dbname='postgres' connect_timeout = 10 ";
    rotates_twice(&scene, &format!("{before}'{quoted}'{after}"), &before, after);
}
