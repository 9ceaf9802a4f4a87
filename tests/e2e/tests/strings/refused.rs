//! What is no connection string with one password in it.

use crate::Scene;

/// The import is refused with these words, the role keeps its password, and the right string is taken afterwards.
#[track_caller]
fn is_refused(scene: &Scene, value: &str, words: &str) {
    let host = &scene.host;
    let _ = host.import("app/db", value).ends(40).says(&[
        "secret.part",
        words,
        "the value is to be a connection string",
    ]);
    assert!(scene.is_let_in(&scene.url("app", &scene.old)), "{words}");
    let _ = host.run(&["rotate", "app-db", "--wait", "end"], "").ends(24);
    assert!(scene.is_let_in(&scene.url("app", &scene.old)), "{words}");
}

#[test]
fn a_value_without_one_clear_password_is_refused_and_nothing_changes() {
    let scene = Scene::role();
    let url = scene.url("app", &scene.old);
    let without = format!("postgresql://app@localhost:{}/postgres", scene.server.port());
    let twice = format!("{url}&password=another-one-7");
    let (bare, unreadable) = (scene.old.clone(), url.replace("%20", "%2"));
    for (value, words) in [
        (&without, "there is no `password` in it, read as a URL"),
        (&twice, "`password` stands in it twice"),
        (&unreadable, "it begins like a URL, and is none"),
        (&bare, "this is no connection string"),
    ] {
        is_refused(&scene, value, words);
    }
    let _ = scene.host.import("app/db", &url).ends(0);
    scene.rotate("app-db");
    assert!(scene.is_let_in(&scene.host.read("app/db", None)));
    scene.host.left_no_trace(&[scene.old.clone()], &[]);
}
