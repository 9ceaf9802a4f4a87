//! Several names that hold one password, each in its own form.

use crate::{Scene, between};

impl Scene {
    /// Two roles in turn whose secret is a JSON document, with further names for it.
    fn with_forms(self, forms: &str) -> Self {
        let file = self.host.file("keywheel.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let json = text.replace(crate::FORMAT, "format = \"json\"");
        let said = json.replace(
            "grace = \"1s\"\n",
            &format!("grace = \"1s\"\nforms = [{forms}]\n"),
        );
        assert!(json != text && said != json);
        std::fs::write(&file, said).unwrap();
        self
    }

    fn document(&self) -> String {
        format!(
            r#"{{"username": "app_a", "password": {}}}"#,
            serde_json::json!(self.old)
        )
    }

    /// That the three names hold the same credential, and that it is let in. The string.
    fn agrees(&self, rest: &str, user: &str) -> String {
        let document: serde_json::Value = serde_json::from_str(&self.host.read("pair/db", None)).unwrap();
        let password = document["password"].as_str().unwrap();
        assert_eq!(document["username"], user);
        let url = self.host.read("pair/url", None);
        let keys = self.host.read("pair/keys", None);
        assert_eq!(url, format!("postgresql://{user}:{password}@{rest}"));
        let port = self.server.port();
        assert_eq!(
            keys,
            format!("host=localhost port={port} dbname=postgres user={user} password={password}")
        );
        assert!(self.is_let_in(&url) && self.is_let_in(&keys));
        url
    }
}

#[test]
fn names_in_other_forms_change_with_the_secret_and_go_back_with_it() {
    let scene = Scene::pair();
    let template = format!(
        "host=localhost port={} dbname=postgres user={{user}} password={{password}}",
        scene.server.port()
    );
    let scene = scene.with_forms(&format!(
        "{{ secret = \"pair/url\", format = \"connection-string\" }}, {{ secret = \"pair/keys\", format = \"connection-string\", template = {template:?} }}"
    ));
    let host = &scene.host;
    let first = scene.url("app_a", &scene.old);
    let (_, rest) = first.split_once('@').unwrap();
    // There is nothing yet that the password could be put into.
    let _ = host
        .import("pair/db", &scene.document())
        .ends(24)
        .says(&["secret.form: the form pair/url: there is nothing yet"]);
    let _ = host.run(&["secret", "show", "pair/keys"], "").ends(23);
    // What a person had there is wrong by now, and the adoption puts it right.
    let _ = host
        .import("pair/url", &scene.url("app_b", "old-and-wrong-1"))
        .ends(0);
    let _ = host.import("pair/db", &scene.document()).ends(0);
    assert!(scene.is_let_in(&host.read("pair/url", None)) && scene.is_let_in(&host.read("pair/keys", None)));
    assert!(host.read("pair/url", None).ends_with(rest));
    let mut passwords = vec![scene.old.clone()];
    for user in ["app_b", "app_a"] {
        scene.rotate("pair-db");
        let url = scene.agrees(rest, user);
        passwords.push(between(&url, &format!("postgresql://{user}:"), &format!("@{rest}")).to_owned());
    }
    let kept = scene.agrees(rest, "app_a");
    // The change is proved by a login that is refused: it is taken back, under every name.
    scene.server.sql("ALTER ROLE app_b NOLOGIN").unwrap();
    let _ = host.run(&["rotate", "pair-db", "--wait", "end"], "").ends(24);
    assert_eq!(scene.agrees(rest, "app_a"), kept);
    host.left_no_trace(&passwords, &[("server log", &scene.server.log())]);
}

#[test]
fn a_form_that_differs_or_has_no_place_for_the_password_is_told_by_the_plan() {
    let scene = Scene::pair().with_forms("{ secret = \"pair/url\", format = \"connection-string\" }");
    let host = &scene.host;
    let _ = host.import("pair/url", &scene.url("app_a", &scene.old)).ends(0);
    let _ = host.import("pair/db", &scene.document()).ends(0);
    let plan = host.run(&["plan", "pair-db"], "").ends(10);
    assert!(!plan.stdout.contains("secret.form") && plan.stdout.contains("pair/url"));
    let _ = host
        .import("pair/url", &scene.url("app_a", "changed-by-hand-1"))
        .ends(0);
    let plan = host.run(&["plan", "pair-db"], "").ends(10);
    assert!(plan.stdout.contains("secret.form-differs"), "{}", plan.stdout);
    let _ = host
        .import("pair/url", "postgresql://app_a@localhost/postgres")
        .ends(0);
    let plan = host.run(&["plan", "pair-db"], "").ends(24);
    let words = "the form pair/url: what is there now: there is no `password` in it";
    assert!(plan.stdout.contains(words), "{}", plan.stdout);
    // And no run is begun that would stop in the middle.
    let _ = host
        .run(&["rotate", "pair-db"], "")
        .ends(24)
        .says(&["secret.form"]);
    assert_eq!(host.read("pair/db", None), scene.document());
}

/// Whoever reads the other name would be left with what is revoked.
#[test]
fn an_older_version_than_its_forms_brings_them_along_when_it_is_put_back() {
    let scene = Scene::role();
    let host = &scene.host;
    let file = host.file("keywheel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let plain = text.replace(crate::FORMAT, "format = \"password\"");
    std::fs::write(&file, &plain).unwrap();
    let _ = host.import("app/db", &scene.old).ends(0);
    scene.rotate("app-db");
    let older = host.versions("app/db")[0].0.clone();
    let password = host.read("app/db", None);
    let _ = host.import("app/url", &scene.url("app", &password)).ends(0);
    let forms = "forms = [{ secret = \"app/url\", format = \"connection-string\" }]\n";
    let with_forms = plain.replace("grace = \"1s\"\n", &format!("grace = \"1s\"\n{forms}"));
    assert!(plain != text && with_forms != plain);
    std::fs::write(&file, with_forms).unwrap();
    scene.rotate("app-db");
    assert!(scene.is_let_in(&host.read("app/url", None)));
    let back = [
        "secret", "rollback", "app/db", &older, "--reason", "test", "--wait", "end",
    ];
    let _ = host.run(&back, "").ends(0);
    assert_eq!(host.read("app/db", None), password);
    let url = host.read("app/url", None);
    // Both are let in, and a role has one password: they say the same.
    assert!(url.starts_with("postgresql://app:"));
    assert!(scene.is_let_in(&url) && scene.is_let_in(&scene.url("app", &password)));
    // Alone it would show what is revoked.
    let first = host.versions("app/url").last().unwrap().0.clone();
    let alone = ["secret", "rollback", "app/url", &first, "--reason", "test"];
    let _ = host.run(&alone, "").ends(24).says(&[
        "app/url changes with app/db",
        "keywheel secret rollback app/db VERSION",
    ]);
    assert_eq!(host.read("app/url", None), url);
}

/// At each point of the vault's part of a rotation: what each name says is let in, and they say the same.
#[test]
fn a_host_that_is_killed_leaves_no_name_ahead_of_another() {
    let scene = Scene::pair().with_forms("{ secret = \"pair/url\", format = \"connection-string\" }");
    let host = &scene.host;
    let _ = host.import("pair/url", &scene.url("app_a", &scene.old)).ends(0);
    let _ = host.import("pair/db", &scene.document()).ends(0);
    let mut passwords = vec![scene.old.clone()];
    for point in [
        "pending-before",
        "pending-after",
        "promote-before",
        "promote-after",
    ] {
        let mut killed = host.failing(
            &["rotate", "pair-db", "--wait", "end"],
            &format!("{point}=return"),
        );
        assert_eq!(host.finish(&mut killed, "").code, -1, "{point}");
        passwords.push(scene.says_one_thing(point));
        let _ = host
            .run(&["run", "resume", "pair-db", "--wait", "end"], "")
            .ends(0);
        passwords.push(scene.says_one_thing(point));
    }
    host.left_no_trace(&passwords, &[("server log", &scene.server.log())]);
}

impl Scene {
    /// The password that both names have with the same user; both are let in.
    fn says_one_thing(&self, when: &str) -> String {
        let document: serde_json::Value = serde_json::from_str(&self.host.read("pair/db", None)).unwrap();
        let (user, password) = (&document["username"], document["password"].as_str().unwrap());
        let url = self.host.read("pair/url", None);
        let user = user.as_str().unwrap();
        let same = self.url(user, password);
        assert!(url.starts_with(&format!("postgresql://{user}:")), "{when}");
        // A role has one password: what lets both in is the same.
        for string in [&url, &same] {
            let login = self.server.login_by(string).unwrap();
            assert!(login.is_accepted(), "{when}: {user}: {login:?}");
        }
        password.to_owned()
    }
}
