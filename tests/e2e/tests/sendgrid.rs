//! An API key of SendGrid, on a server of our own that is as strict: made, proved, used, deleted; and what is left where an answer was lost.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use keywheel_api::{Fault, Key, Reply, SendGrid, Server};
use keywheel_e2e::{Host, Output, Rotation, rotation};
use keywheel_kit::Authority;
use serde_json::json;

const ROTATE: [&str; 4] = ["rotate", "app-sendgrid", "--wait", "end"];
const RESUME: [&str; 5] = ["run", "resume", "app-sendgrid", "--wait", "end"];
const CREATE: &str = "POST /v3/api_keys";
const RIGHTS: [&str; 5] = [
    "api_keys.create",
    "api_keys.delete",
    "api_keys.read",
    "mail.send",
    "stats.read",
];
const MARKER: &str = "keywheel-app-sendgrid-";

struct Scene {
    server: Server,
    host: Host,
    admin: Key,
    old: Key,
    _authority: Authority,
}

impl Scene {
    /// With an administrator's key and one that is in use, imported with its id.
    fn new(more: &str) -> Self {
        Self::imported(more, true)
    }

    /// The same; `with_id`: the import says which key it is.
    fn imported(more: &str, with_id: bool) -> Self {
        let authority = Authority::new().unwrap();
        let identity = authority.issue_local().unwrap();
        let server = Server::start(&identity.certificate_pem, &identity.key_pem, SendGrid).unwrap();
        let subuser = more.contains("subuser").then_some("eu-shop");
        let admin = server.make("console", &RIGHTS);
        let old = server.make_for("by hand", &["mail.send", "stats.read"], subuser);
        let host = Host::init_watched();
        host.configure(&rotation(&Rotation {
            name: "app-sendgrid",
            plugin: "sendgrid",
            secret: "app/sendgrid",
            admin_secret: "admin/sendgrid",
            grace: "1s",
            ca: &authority.file(),
            config: &format!(
                "host = \"localhost\"\nport = {}\ntrust = \"app-sendgrid\"\naccount = \"app\"\n{more}",
                server.port()
            ),
        }));
        host.add_plugin("sendgrid", &[server.port()]);
        let _ = host.import("admin/sendgrid", &admin.value).ends(0);
        let fact = format!("key-id={}", old.id);
        let import = [
            "secret",
            "import",
            "app/sendgrid",
            "-",
            "--wait",
            "end",
            "--fact",
            &fact,
        ];
        let import = if with_id { &import[..] } else { &import[..6] };
        let _ = host.run(import, &old.value).ends(0);
        Self {
            server,
            host,
            admin,
            old,
            _authority: authority,
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.host.run(arguments, "")
    }

    /// Everything that is not the administrator's.
    fn keys(&self) -> Vec<Key> {
        let mut keys = self.server.keys();
        keys.retain(|key| key.id != self.admin.id);
        keys
    }

    fn count(&self, request: &str) -> usize {
        self.server
            .log()
            .iter()
            .filter(|line| line.starts_with(request))
            .count()
    }

    /// The new key is the only one, is in the vault, and no secret is anywhere in the open.
    #[track_caller]
    fn is_rotated(&self) {
        let value = self.host.read("app/sendgrid", None);
        let keys = self.keys();
        assert_eq!(keys.len(), 1, "{keys:?}\n{:#?}", self.server.log());
        assert_eq!(keys[0].value, value);
        assert_eq!(keys[0].scopes, self.old.scopes);
        assert!(keys[0].name.starts_with(MARKER), "{}", keys[0].name);
        assert!(!self.server.accepts(&self.old.value));
        self.left_no_trace(&[value]);
    }

    #[track_caller]
    fn left_no_trace(&self, more: &[String]) {
        let secrets = [&[self.admin.value.clone(), self.old.value.clone()], more].concat();
        self.host.left_no_trace(&secrets, &[]);
    }

    /// Dies at a place; the old key and the one that is in the vault are good.
    #[track_caller]
    fn dies_at(&self, place: &str) {
        let died = self
            .host
            .finish(&mut self.host.failing(&ROTATE, &format!("{place}=return")), "");
        assert_eq!(died.code, -1, "{died:?}");
        let current = self.host.read("app/sendgrid", None);
        assert!(
            self.server.accepts(&self.old.value) && self.server.accepts(&current),
            "{place}"
        );
    }
}

#[test]
fn a_key_is_made_with_the_scopes_of_the_old_one_which_is_deleted() {
    let scene = Scene::new("");
    let plan = scene.run(&["plan", "app-sendgrid"]).ends(10);
    assert!(plan.stdout.contains("DELETE /v3/api_keys/"), "{plan:?}");
    assert!(
        !plan.stdout.contains("sendgrid."),
        "no problem and no warning: {plan:?}"
    );
    assert_eq!(
        (scene.count("POST"), scene.keys().len()),
        (0, 1),
        "what was only asked about is not done"
    );
    let _ = scene.run(&ROTATE).ends(0);
    scene.is_rotated();
    assert_eq!(
        (scene.count("POST"), scene.count("DELETE")),
        (1, 1),
        "{:#?}",
        scene.server.log()
    );
}

/// A crash costs one orphan at the most, which the next try deletes, or the end of a run that is given up. All at once: they wait for the most part.
#[test]
fn a_crash_leaves_one_orphan_at_most_which_does_not_stay() {
    std::thread::scope(|scope| {
        scope.spawn(nothing_was_kept);
        scope.spawn(the_key_was_kept);
        for place in [
            "escrow-after",
            "conclude-after",
            "pending-before",
            "promote-after",
        ] {
            scope.spawn(move || {
                let scene = Scene::new("");
                scene.dies_at(place);
                let _ = scene.run(&RESUME).ends(0);
                scene.is_rotated();
            });
        }
        scope.spawn(|| given_up("escrow-before"));
        scope.spawn(|| given_up("pending-after"));
    });
}

/// The marker is this run's alone: of what others have made nothing is deleted.
fn nothing_was_kept() {
    let scene = Scene::new("");
    let stray = scene
        .server
        .make(&format!("{MARKER}of-another-run"), &["mail.send"]);
    scene.dies_at("escrow-before");
    assert_eq!(scene.keys().len(), 3, "{:#?}", scene.server.log());
    let orphan = scene.keys()[2].clone();
    assert!(orphan.name.starts_with(MARKER));
    let _ = scene.run(&RESUME).ends(0);
    assert!(!scene.server.accepts(&orphan.value));
    assert!(scene.server.accepts(&stray.value));
    assert_eq!(scene.count(CREATE), 2);
    scene.server.delete(&stray.id);
    scene.is_rotated();
    scene.left_no_trace(&[orphan.value, stray.value]);
}

fn the_key_was_kept() {
    let scene = Scene::new("");
    scene.dies_at("conclude-before");
    assert_eq!(scene.keys().len(), 2, "{:#?}", scene.server.log());
    let _ = scene.run(&RESUME).ends(0);
    assert_eq!(scene.count(CREATE), 1, "{:#?}", scene.server.log());
    scene.is_rotated();
}

fn given_up(place: &str) {
    let scene = Scene::new("");
    scene.dies_at(place);
    assert_eq!(scene.keys().len(), 2, "{:#?}", scene.server.log());
    let _ = scene.run(&["run", "cancel", "app-sendgrid", "--wait", "end"]);
    let keys = scene.keys();
    assert_eq!(keys.len(), 1, "{place}: {:#?}", scene.server.log());
    assert_eq!(keys[0].id, scene.old.id);
    assert_eq!(scene.host.read("app/sendgrid", None), scene.old.value);
    scene.left_no_trace(&[]);
}

#[test]
fn an_answer_that_is_lost_late_or_bad_ends_in_one_key() {
    let busy = |status: u16| {
        let pause = vec![("Retry-After".to_owned(), "1".to_owned())];
        Reply::Answer(status, pause, "{}".to_owned())
    };
    // Abuse case 5: it is not followed, and the same place is asked again.
    let there = (
        "Location".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    );
    let faults = [
        Fault::Before(Reply::Answer(307, vec![there], String::new())),
        Fault::Before(busy(429)),
        Fault::Before(busy(503)),
        Fault::After(busy(500)),
        Fault::After(Reply::Nothing),
        Fault::After(Reply::json(201, &json!({ "api_key_id": "x" }))),
        Fault::After(Reply::Answer(201, Vec::new(), "<html>".to_owned())),
    ];
    // They wait for the most part.
    std::thread::scope(|scope| {
        for fault in faults {
            scope.spawn(move || {
                let scene = Scene::new("");
                scene.server.fail(CREATE, fault.clone());
                let rotated = scene.run(&ROTATE);
                assert_eq!(
                    rotated.code,
                    0,
                    "{fault:?}: {rotated:?}\n{:#?}",
                    scene.server.log()
                );
                assert_eq!(scene.count(CREATE), 2, "{fault:?}");
                scene.is_rotated();
            });
        }
    });
}

/// Abuse case 7: what was sent comes back, in a field that is shown.
#[test]
fn an_answer_that_says_what_was_asked_is_withheld_and_the_run_waits_for_a_person() {
    let scene = Scene::new("");
    scene.server.fail(CREATE, Fault::Echo("/name"));
    let stopped = scene.run(&ROTATE).ends(41);
    assert!(
        !stopped.stdout.contains("SG.") && !stopped.stderr.contains("SG."),
        "{stopped:?}"
    );
    let shown = scene.run(&["run", "show", "app-sendgrid"]);
    assert!(shown.stdout.contains("reflection"), "{shown:?}");
    assert!(scene.server.accepts(&scene.old.value));
    let made: Vec<String> = scene.keys().into_iter().map(|key| key.value).collect();
    scene.left_no_trace(&made);
}

/// 401: the key is dead. 403: it lives, and lacks a right. Everything else is no verdict.
#[test]
fn a_key_that_lacks_a_right_is_not_taken_for_one_that_is_dead() {
    let scene = Scene::new("");
    let test = ["target", "test", "app-sendgrid"];
    let _ = scene.run(&test).ends(0);
    let mut said = Vec::new();
    for status in [401, 403, 500] {
        // The first one is the administrator's.
        scene.server.fail("GET /v3/scopes", Fault::None);
        scene
            .server
            .fail("GET /v3/scopes", Fault::Before(Reply::status(status)));
        let tested = scene.run(&[&test[..], &["-o", "json"]].concat());
        said.push((tested.code, tested.json()["verdict"].to_string()));
    }
    for (word, (code, verdict)) in ["rejected", "limited", "null"].into_iter().zip(&said) {
        assert!(*code != 0 && verdict.contains(word), "{word}: {said:?}");
    }
    assert_eq!(said[0].0, 22);
}

#[test]
fn plan_says_what_stands_in_the_way() {
    let scene = Scene::new("scopes = [\"mail.send\", \"alerts.read\"]");
    let plan = scene.run(&["plan", "app-sendgrid"]).ends(10);
    assert!(plan.stdout.contains("sendgrid.reach"), "{plan:?}");
    for at in 0..98 {
        scene.server.make(&format!("other {at}"), &["mail.send"]);
    }
    scene.server.make(&format!("{MARKER}lost"), &["mail.send"]);
    let plan = scene.run(&["plan", "app-sendgrid"]).ends(24);
    let said = format!("{}{}", plan.stdout, plan.stderr);
    assert!(
        said.contains("sendgrid.limit") && said.contains("sendgrid.stray"),
        "{said}"
    );
    let _ = scene.run(&ROTATE).ends(24);
    assert_eq!(scene.count(CREATE), 0);

    // The administrator's key is gone.
    scene.server.delete(&scene.admin.id);
    let plan = scene.run(&["plan", "app-sendgrid"]).ends(22);
    assert!(plan.stderr.contains("admin/sendgrid"), "{plan:?}");
}

#[test]
fn a_key_that_was_imported_without_its_id_is_not_rotated_blindly() {
    let scene = Scene::imported("", false);
    let plan = scene.run(&["plan", "app-sendgrid"]).ends(24);
    let said = format!("{}{}", plan.stdout, plan.stderr);
    assert!(
        said.contains("sendgrid.key-id") && said.contains("`key-id` in the configuration"),
        "{said}"
    );
    let file = scene.host.file("keywheel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let known = format!("account = \"app\"\nkey-id = \"{}\"", scene.old.id);
    std::fs::write(file, text.replace("account = \"app\"", &known)).unwrap();
    let _ = scene.run(&["plan", "app-sendgrid"]).ends(10);
}

#[test]
fn a_key_of_a_subuser_is_asked_for_on_its_behalf() {
    let scene = Scene::new("subuser = \"eu-shop\"");
    let _ = scene.run(&ROTATE).ends(0);
    assert_eq!(scene.keys()[0].of.as_deref(), Some("eu-shop"));
    scene.is_rotated();
}
