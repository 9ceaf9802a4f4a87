//! Users of RabbitMQ, on one real server for all of it: one user, two that take turns, tags that stay, crashes; a right password of a user that may not
//! use the API told from a wrong one; and clients of AMQP as the judges of what is taken.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::sync::OnceLock;

use keywheel_e2e::{Host, Output, Rotation, rotation};
use keywheel_kit::{RabbitMq, random_password};
use serde_json::json;

/// It takes ten seconds to start: all tests share it, each with users of its own.
fn server() -> &'static RabbitMq {
    static SERVER: OnceLock<RabbitMq> = OnceLock::new();
    SERVER.get_or_init(|| RabbitMq::start().unwrap())
}

struct Scene {
    host: Host,
    /// The user that clients use, and its password.
    user: String,
    old: String,
    names: Vec<String>,
}

const ROTATE: [&str; 4] = ["rotate", "app-mq", "--wait", "end"];
const RESUME: [&str; 5] = ["run", "resume", "app-mq", "--wait", "end"];

impl Scene {
    /// One user; `more`: further lines of its configuration.
    fn one(name: &str, tags: &str, more: &str) -> Self {
        Self::with(&[name], tags, &format!("user = \"{name}\"\n{more}"))
    }

    /// Two of them, with the same tags and rights; the first is in use.
    fn two(names: [&str; 2], more: &str) -> Self {
        let config = format!(
            "mode = \"alternating\"\nusers = [\"{}\", \"{}\"]\n{more}",
            names[0], names[1]
        );
        Self::with(&names, "monitoring", &config)
    }

    fn with(names: &[&str], tags: &str, config: &str) -> Self {
        let (server, old) = (server(), random_password());
        for (at, name) in names.iter().enumerate() {
            let password = (at == 0).then_some(old.as_str());
            server.create(name, password, tags).unwrap();
        }
        let host = Host::init_watched();
        host.configure(&rotation(&Rotation {
            name: "app-mq",
            plugin: "rabbitmq",
            secret: "app/mq",
            admin_secret: "admin/mq",
            grace: "1s",
            ca: &server.ca_file(),
            config: &format!(
                "host = \"localhost\"\nport = {}\ntrust = \"app-mq\"\nadmin = \"{}\"\n{config}",
                server.port(),
                server.admin_user()
            ),
        }));
        host.add_plugin("rabbitmq", &[server.port()]);
        let _ = host.import("admin/mq", server.admin_password()).ends(0);
        Self {
            host,
            user: names[0].to_owned(),
            old,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// With the value that clients have now.
    fn adopted(self) -> Self {
        let value = match self.names.len() {
            1 => self.old.clone(),
            _ => json!({ "username": self.user, "password": self.old }).to_string(),
        };
        let _ = self.host.import("app/mq", &value).ends(0);
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.host.run(arguments, "")
    }

    /// User and password of the vault's current value.
    fn current(&self) -> (String, String) {
        let value = self.host.read("app/mq", None);
        match serde_json::from_str::<serde_json::Value>(&value) {
            Ok(document) => {
                let text = |name: &str| document[name].as_str().unwrap().to_owned();
                (text("username"), text("password"))
            }
            Err(_) => (self.user.clone(), value),
        }
    }

    #[track_caller]
    fn is_taken(&self) {
        let (user, password) = self.current();
        assert!(server().login(&user, &password).unwrap().is_accepted(), "{user}");
    }

    /// The new one works for AMQP, the old one does not, and no secret is anywhere in the open.
    #[track_caller]
    fn is_rotated(&self) {
        let (_, password) = self.current();
        assert_ne!(password, self.old);
        self.is_taken();
        assert!(server().login(&self.user, &self.old).unwrap().is_refused());
        self.left_no_trace();
    }

    #[track_caller]
    fn left_no_trace(&self) {
        let secrets = [
            server().admin_password().to_owned(),
            self.old.clone(),
            self.current().1,
        ];
        self.host.left_no_trace(&secrets, &[]);
    }

    fn hashes(&self) -> Vec<String> {
        let hash = |name: &String| {
            server().user(name).unwrap()["password_hash"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        self.names.iter().map(hash).collect()
    }
}

/// Without a tag a user may not use the API that its password is proved at: the server says so of the right one alone.
#[test]
fn a_user_gets_a_new_password_and_keeps_its_tags() {
    std::thread::scope(|scope| {
        for (name, tags) in [("app-none", ""), ("app-tags", "monitoring,policymaker")] {
            scope.spawn(move || {
                let scene = Scene::one(name, tags, "");
                let scene = scene.adopted();
                let before = server().user(name).unwrap();
                let plan = scene.run(&["plan", "app-mq"]).ends(10);
                assert!(
                    plan.stdout.contains(&format!("PUT /api/users/{name}"))
                        && !plan.stdout.contains("rabbitmq."),
                    "{plan:?}"
                );
                assert_eq!(
                    server().user(name).unwrap(),
                    before,
                    "what was only asked about is not done"
                );
                let _ = scene.run(&ROTATE).ends(0);
                scene.is_rotated();
                let after = server().user(name).unwrap();
                assert_eq!(after["tags"], before["tags"]);
                assert_ne!(after["password_hash"], before["password_hash"]);
            });
        }
    });
}

#[test]
fn two_users_take_turns_without_a_gap() {
    let scene = Scene::two(["app-a", "app-b"], "").adopted();
    let _ = scene.run(&["rotate", "app-mq", "--wait", "0s"]).ends(0);
    let (user, password) = scene.current();
    assert_eq!(user, "app-b");
    for (user, password) in [(&scene.user, &scene.old), (&user, &password)] {
        assert!(
            server().login(user, password).unwrap().is_accepted(),
            "both are good until the grace is over: {user}"
        );
    }
    let _ = scene.run(&RESUME).ends(0);
    scene.is_rotated();
    let hashes = scene.hashes();
    assert!(hashes[0].is_empty() && !hashes[1].is_empty(), "{hashes:?}");
    let _ = scene.run(&ROTATE).ends(0);
    assert_eq!(scene.current().0, "app-a");
    scene.is_rotated();
    assert_eq!(server().user("app-b").unwrap()["tags"], json!(["monitoring"]));
}

/// As its clients have it: all else in it stays.
#[test]
fn a_connection_string_goes_on_as_it_was() {
    let scene = Scene::one("app-url", "", "format = \"connection-string\"");
    let url = |password: &str| format!("amqps://app-url:{password}@mq.internal:5671/shop?heartbeat=30");
    let _ = scene.host.import("app/mq", &url(&scene.old)).ends(0);
    let _ = scene.run(&ROTATE).ends(0);
    let value = scene.host.read("app/mq", None);
    let password = value.split([':', '@']).nth(2).unwrap();
    assert_eq!(value, url(password));
    assert!(server().login("app-url", password).unwrap().is_accepted());
    assert!(server().login("app-url", &scene.old).unwrap().is_refused());
}

/// All at once: they wait for the most part.
#[test]
fn a_crash_anywhere_ends_in_one_password() {
    std::thread::scope(|scope| {
        for (at, place) in [
            "pending-after",
            "intent-after",
            "conclude-before",
            "promote-after",
        ]
        .into_iter()
        .enumerate()
        {
            scope.spawn(move || {
                let scene = Scene::one(&format!("app-dies-{at}"), "", "").adopted();
                let mut failing = scene.host.failing(&ROTATE, &format!("{place}=return"));
                let died = scene.host.finish(&mut failing, "");
                assert_eq!(died.code, -1, "{place}: {died:?}");
                let _ = scene.run(&RESUME).ends(0);
                scene.is_rotated();
            });
        }
        scope.spawn(|| {
            let scene = Scene::one("app-given-up", "policymaker", "").adopted();
            let died = scene
                .host
                .finish(&mut scene.host.failing(&ROTATE, "conclude-after=return"), "");
            assert_eq!(died.code, -1, "{died:?}");
            let _ = scene.run(&["run", "cancel", "app-mq", "--wait", "end"]);
            assert_eq!(scene.current().1, scene.old);
            scene.is_taken();
            assert_eq!(
                server().user("app-given-up").unwrap()["tags"],
                json!(["policymaker"])
            );
        });
    });
}

#[test]
fn a_wrong_password_is_told_from_a_missing_user_and_from_an_administrator_that_is_none() {
    let scene = Scene::one("app-asked", "", "").adopted();
    let test = ["target", "test", "app-mq", "-o", "json"];
    let _ = scene.run(&test).ends(0);
    server()
        .create("app-asked", Some(&random_password()), "")
        .unwrap();
    let tested = scene.run(&test).ends(22);
    assert!(
        tested.json()["verdict"].to_string().contains("rejected"),
        "{tested:?}"
    );
    let (status, _) = server().ask("DELETE", "users/app-asked", None).unwrap();
    assert_eq!(status, 204);
    let tested = scene.run(&test);
    assert!(tested.code != 0 && tested.code != 22, "{tested:?}");
    let plan = scene.run(&["plan", "app-mq"]).ends(24);
    assert!(plan.stdout.contains("rabbitmq.user-missing"), "{plan:?}");

    // Of another administrator that the server knows: it lacks the tag, and then the password is not its own.
    let password = random_password();
    server()
        .create("half-admin", Some(&password), "management")
        .unwrap();
    let file = scene.host.file("keywheel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let other = text.replace("admin = \"rotator\"", "admin = \"half-admin\"");
    assert_ne!(other, text);
    std::fs::write(&file, other).unwrap();
    let plan = scene.run(&["plan", "app-mq"]).ends(22);
    assert!(plan.stderr.contains("admin/mq"), "{plan:?}");
    let _ = scene.host.import("admin/mq", &password).ends(0);
    let plan = scene.run(&["plan", "app-mq"]).ends(24);
    assert!(
        plan.stdout.contains("set_user_tags half-admin administrator"),
        "{plan:?}"
    );
}

#[test]
fn plan_says_what_two_users_do_not_have_in_common() {
    let scene = Scene::two(["app-one", "app-two"], "").adopted();
    let plan = scene.run(&["plan", "app-mq"]).ends(10);
    assert!(!plan.stdout.contains("rabbitmq."), "{plan:?}");
    let server = server();
    server
        .put(
            "permissions/%2F/app-one",
            &json!({ "configure": "^q", "write": ".*", "read": ".*" }),
        )
        .unwrap();
    server
        .put(
            "topic-permissions/%2F/app-two",
            &json!({ "exchange": "amq.topic", "write": "^a", "read": ".*" }),
        )
        .unwrap();
    server.create("app-two", Some(&random_password()), "").unwrap();
    let plan = scene.run(&["plan", "app-mq"]).ends(24);
    for words in [
        "rabbitmqctl set_permissions -p '/' app-two '^q' '.*' '.*'",
        "rabbitmqctl clear_topic_permissions -p '/' app-two 'amq.topic'",
        "rabbitmqctl set_user_tags app-two monitoring",
        "rabbitmq.replaces",
    ] {
        assert!(plan.stdout.contains(words), "{words}: {plan:?}");
    }
    assert!(server.login("app-one", &scene.old).unwrap().is_accepted());
}
