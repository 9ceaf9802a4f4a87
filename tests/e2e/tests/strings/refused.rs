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
    scene.host.left_no_trace(std::slice::from_ref(&scene.old), &[]);
}

#[test]
fn a_string_of_another_user_proves_nothing_and_is_not_adopted() {
    let scene = Scene::role();
    // The server takes it: both roles have this password.
    let other = scene.url("app_a", &scene.old);
    assert!(scene.is_let_in(&other));
    let _ =
        scene.host.import("app/db", &other).ends(40).says(&[
            "version.user: the connection string is of the user app_a, and the configuration has app",
        ]);
    assert!(scene.is_let_in(&other) && scene.is_let_in(&scene.url("app", &scene.old)));
    scene.host.left_no_trace(std::slice::from_ref(&scene.old), &[]);
}

#[test]
fn a_string_is_not_made_up_where_there_is_none() {
    let scene = Scene::role();
    let host = &scene.host;
    let file = host.file("keywheel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let first = text.replace("grace = \"1s\"\n", "grace = \"1s\"\nfirst = \"set\"\n");
    assert_ne!(first, text);
    std::fs::write(&file, first).unwrap();
    let _ = host
        .run(&["rotate", "app-db", "--wait", "end"], "")
        .ends(40)
        .says(&["there is no connection string yet", "import one first"]);
    assert!(scene.is_let_in(&scene.url("app", &scene.old)));
}
