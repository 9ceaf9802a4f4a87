//! The first connection string, made by the template of the configuration.

use crate::{FORMAT, Scene, between};

impl Scene {
    /// The same with a template, and a first value that the host makes.
    fn with_template(self, template: &str) -> Self {
        let file = self.host.file("keywheel.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let set = text.replace("grace = \"1s\"\n", "grace = \"1s\"\nfirst = \"set\"\n");
        let said = set.replace(FORMAT, &format!("{FORMAT}\ntemplate = {template:?}"));
        assert!(set != text && said != set);
        std::fs::write(&file, said).unwrap();
        self
    }
}

#[test]
fn the_first_string_of_a_role_is_what_the_template_says_and_later_ones_are_what_clients_have() {
    let scene = Scene::role();
    let rest = format!(
        "localhost:{}/postgres?application_name=shop%20one",
        scene.server.port()
    );
    let scene = scene.with_template(&format!("postgresql://{{user}}:{{password}}@{rest}"));
    let (host, before, after) = (&scene.host, "postgresql://app:", format!("@{rest}"));
    scene.rotate("app-db");
    let first = host.read("app/db", None);
    assert!(scene.is_let_in(&first));
    // The template is for the first one alone.
    let file = host.file("keywheel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("shop%20one", "another")).unwrap();
    scene.rotate("app-db");
    let second = host.read("app/db", None);
    assert!(scene.is_let_in(&second) && scene.is_refused(&first));
    let passwords = [&first, &second].map(|string| between(string, before, &after).to_owned());
    host.left_no_trace(&passwords, &[("server log", &scene.server.log())]);
}

#[test]
fn two_roles_have_their_names_where_the_template_has_the_user() {
    let scene = Scene::pair();
    let port = scene.server.port();
    let scene = scene.with_template(&format!(
        "host=localhost port={port} dbname=postgres user={{user}}  password={{password}}"
    ));
    let mut strings = Vec::new();
    for user in ["app_a", "app_b", "app_a"] {
        scene.rotate("pair-db");
        let now = scene.host.read("pair/db", None);
        let before = format!("host=localhost port={port} dbname=postgres user={user}  password=");
        let _ = between(&now, &before, "");
        assert!(scene.is_let_in(&now));
        strings.push(now);
    }
    assert!(scene.is_refused(&strings[0]) && scene.is_refused(&strings[1]));
}

#[test]
fn a_user_name_is_quoted_as_the_form_asks() {
    let scene = Scene::role();
    let port = scene.server.port();
    scene.server.sql("CREATE ROLE \"an app's/@%\" LOGIN").unwrap();
    let file = scene.host.file("keywheel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let other = text.replace("role = \"app\"", "role = \"an app's/@%\"");
    assert_ne!(other, text);
    std::fs::write(&file, other).unwrap();
    let scene = scene.with_template(&format!(
        "postgresql://{{user}}:{{password}}@localhost:{port}/postgres"
    ));
    scene.rotate("app-db");
    let now = scene.host.read("app/db", None);
    assert!(
        !now.contains("an app's/@%:") && scene.is_let_in(&now),
        "psql takes the string itself"
    );
}

#[test]
fn a_template_that_has_the_password_elsewhere_is_refused_and_nothing_changes() {
    let port = |scene: &Scene| scene.server.port();
    for (rest, words) in [
        ("?application_name={password}", "there is no `password` in it"),
        (
            "?application_name={password}&password=a-word-7",
            "where its form has no password",
        ),
    ] {
        let scene = Scene::role();
        let template = format!("postgresql://app@localhost:{}/postgres{rest}", port(&scene));
        let scene = scene.with_template(&template);
        let _ = scene
            .host
            .run(&["rotate", "app-db", "--wait", "end"], "")
            .ends(40)
            .says(&["template", words]);
        assert!(scene.is_let_in(&scene.url("app", &scene.old)), "{words}");
    }
    let scene = Scene::role();
    let scene = scene.with_template("postgresql://app@localhost/postgres");
    let _ = scene
        .host
        .run(&["config", "check"], "")
        .ends(20)
        .says(&["template", "needs {password} once"]);
}
