//! Two PostgreSQL roles in turn.

use crate::{Scene, between};

#[test]
fn user_name_and_password_of_a_url_change_together_and_the_old_one_works_within_the_grace() {
    let scene = Scene::pair();
    let host = &scene.host;
    let first = scene.url("app_a", &scene.old);
    let (_, rest) = first.split_once('@').unwrap();
    let _ = host.import("pair/db", &first).ends(0);
    let mut strings = vec![first.clone()];
    let mut passwords = vec![scene.old.clone()];
    for user in ["app_b", "app_a", "app_b"] {
        let old = strings.last().unwrap().clone();
        // Left while the grace of the old one runs.
        let _ = host.run(&["rotate", "pair-db", "--wait", "0s"], "").ends(0);
        let new = host.read("pair/db", None);
        passwords.push(between(&new, &format!("postgresql://{user}:"), &format!("@{rest}")).to_owned());
        assert!(scene.is_let_in(&new) && scene.is_let_in(&old));
        let _ = host
            .run(&["run", "resume", "pair-db", "--wait", "end"], "")
            .ends(0);
        assert!(scene.is_let_in(&new) && scene.is_refused(&old));
        strings.push(new);
    }
    host.left_no_trace(&passwords, &[("server log", &scene.server.log())]);
}

#[test]
fn a_run_that_is_given_up_leaves_the_string_as_it_was() {
    let scene = Scene::pair();
    let host = &scene.host;
    let first = scene.url("app_a", &scene.old);
    let _ = host.import("pair/db", &first).ends(0);
    // The new password is on the server when the login that is to prove it is refused.
    scene.server.sql("ALTER ROLE app_b NOLOGIN").unwrap();
    let _ = host.run(&["rotate", "pair-db", "--wait", "end"], "").ends(24);
    assert_eq!(host.read("pair/db", None), first);
    assert!(scene.is_let_in(&first));
    scene.server.sql("ALTER ROLE app_b LOGIN").unwrap();
    scene.rotate("pair-db");
    assert!(scene.is_let_in(&host.read("pair/db", None)));
}
