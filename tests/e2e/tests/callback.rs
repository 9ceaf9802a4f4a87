//! A service of one's own that is told its keys by requests: both kinds of service, signatures, crashes, answers that are lost.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use keywheel_api::{Reply, Service};
use keywheel_e2e::{Host, Output};
use keywheel_kit::{Authority, random_password};

const ROTATE: [&str; 4] = ["rotate", "app-key", "--wait", "end"];
const RESUME: [&str; 5] = ["run", "resume", "app-key", "--wait", "end"];
const KEPT: &str = "revoke-path = \"v1/keys/old\"\nprefix = \"shop_\"";
const REPLACED: &str = "old = \"replaced\"";

struct Scene {
    service: Service,
    host: Host,
    admin: String,
    old: String,
    signing: String,
    _authority: Authority,
}

impl Scene {
    fn new(more: &str) -> Self {
        let authority = Authority::new().unwrap();
        let identity = authority.issue_local().unwrap();
        let (admin, old, signing) = (random_password(), random_password(), random_password());
        let replaces = more.contains("replaced");
        let service = Service::start(
            &identity.certificate_pem,
            &identity.key_pem,
            &admin,
            &old,
            replaces,
        )
        .unwrap();
        let is_signed = more.contains("signed");
        let inputs = if is_signed {
            "admin = \"admin/key\", signing = \"admin/signing\""
        } else {
            "admin = \"admin/key\""
        };
        let host = Host::init_watched();
        host.configure(&format!(
            r#"[trust.own]
pem = ["{}"]

[[rotation]]
name = "app-key"
plugin = "callback"
secret = "app/key"
inputs = {{ {inputs} }}
grace = "1s"
gap = "accept"
deadlines = {{ step = "3s" }}
probes = {{ logins = 100, per = "1h" }}
consumers = [{{ name = "shop", staleness = "1s" }}]

[rotation.config]
host = "localhost"
port = {}
trust = "own"
path = "v1/keys/new"
verify-path = "v1/who"
{more}
"#,
            authority.file().display(),
            service.port()
        ));
        host.add_plugin("callback", &[service.port()]);
        let _ = host.import("admin/key", &admin).ends(0);
        if is_signed {
            let _ = host.import("admin/signing", &signing).ends(0);
        }
        let _ = host.import("app/key", &old).ends(0);
        Self {
            service,
            host,
            admin,
            old,
            signing,
            _authority: authority,
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.host.run(arguments, "")
    }

    /// The service has the vault's key alone, and no secret is anywhere in the open.
    #[track_caller]
    fn is_rotated(&self) -> String {
        let value = self.host.read("app/key", None);
        assert_ne!(value, self.old);
        assert_eq!(self.service.keys(), std::slice::from_ref(&value));
        self.left_no_trace(&value);
        value
    }

    #[track_caller]
    fn left_no_trace(&self, value: &str) {
        let secrets = [
            self.admin.clone(),
            self.signing.clone(),
            self.old.clone(),
            value.to_owned(),
        ];
        self.host.left_no_trace(&secrets, &[]);
    }
}

#[test]
fn a_service_that_keeps_the_old_key_is_told_when_it_ends() {
    let scene = Scene::new(KEPT);
    let plan = scene.run(&["plan", "app-key"]).ends(10);
    assert!(plan.stdout.contains("POST /v1/keys/new"), "{plan:?}");
    assert!(scene.service.told().is_empty());
    let _ = scene.run(&["rotate", "app-key", "--wait", "0s"]).ends(0);
    assert_eq!(
        scene.service.keys().len(),
        2,
        "both are good until the grace is over"
    );
    let _ = scene.run(&RESUME).ends(0);
    let new = scene.is_rotated();
    assert!(
        new.starts_with("shop_") && new.len() == "shop_".len() + 43,
        "{}",
        new.len()
    );
    let told = scene.service.told();
    assert_eq!(
        told.iter()
            .map(|request| request.path.as_str())
            .collect::<Vec<_>>(),
        ["/v1/keys/new", "/v1/keys/old"]
    );
    assert!(
        told.iter()
            .all(|request| request.header("keywheel-signature").is_none())
    );
}

#[test]
fn a_service_that_replaces_its_key_is_told_once() {
    let scene = Scene::new(REPLACED);
    let plan = scene.run(&["plan", "app-key"]).ends(10);
    assert!(plan.stdout.contains("are refused from apply"), "{plan:?}");
    let _ = scene.run(&ROTATE).ends(0);
    scene.is_rotated();
    assert_eq!(scene.service.told().len(), 1);
}

#[test]
fn what_a_service_is_told_is_signed_for_it() {
    let scene = Scene::new(&format!("{KEPT}\nsigned = true"));
    let _ = scene.run(&ROTATE).ends(0);
    scene.is_rotated();
    for request in scene.service.told() {
        let signature = request.header("keywheel-signature").unwrap();
        let (time, mac) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        assert!(time.parse::<u64>().is_ok() && mac.len() == 64, "{signature}");
    }
}

/// The same word in each try: a service that remembers it has nothing to do twice.
#[test]
fn a_word_that_is_said_again_has_the_same_key() {
    let scene = Scene::new(KEPT);
    scene.service.fail(true, Reply::Nothing);
    let _ = scene.run(&ROTATE).ends(0);
    scene.is_rotated();

    let scene = Scene::new(KEPT);
    scene.service.fail(false, Reply::status(503));
    let _ = scene.run(&ROTATE).ends(0);
    scene.is_rotated();
    let told = scene.service.told();
    let keys: Vec<&str> = told[..2]
        .iter()
        .map(|request| request.header("idempotency-key").unwrap())
        .collect();
    assert_eq!(keys[0], keys[1]);
    assert_eq!(told[0].body, told[1].body);
    assert_ne!(told[2].header("idempotency-key"), Some(keys[0]));
}

/// All at once: they wait for the most part.
#[test]
fn a_crash_anywhere_ends_in_one_key() {
    std::thread::scope(|scope| {
        for place in [
            "pending-after",
            "intent-after",
            "conclude-before",
            "promote-after",
        ] {
            scope.spawn(move || {
                let scene = Scene::new(KEPT);
                let died = scene
                    .host
                    .finish(&mut scene.host.failing(&ROTATE, &format!("{place}=return")), "");
                assert_eq!(died.code, -1, "{place}: {died:?}");
                assert!(scene.service.keys().contains(&scene.old), "{place}");
                let _ = scene.run(&RESUME).ends(0);
                scene.is_rotated();
            });
        }
    });
}

#[test]
fn a_service_that_refuses_keeps_its_key() {
    for more in [KEPT, REPLACED] {
        let scene = Scene::new(more);
        let refusal = Reply::Answer(200, Vec::new(), "{\"accepted\":false}".to_owned());
        scene.service.fail(false, refusal);
        let parked = scene.run(&ROTATE).ends(41);
        assert!(parked.stdout.contains("does not accept the key"), "{parked:?}");
        assert_eq!(scene.service.keys(), std::slice::from_ref(&scene.old));
        assert_eq!(scene.host.read("app/key", None), scene.old);
        let _ = scene.run(&RESUME).ends(0);
        scene.is_rotated();
    }
}

#[test]
fn a_service_says_until_when_it_takes_the_old_key() {
    let scene = Scene::new(KEPT);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    scene.service.says_until(now + 3_600);
    let _ = scene.run(&ROTATE).ends(0);
    scene.is_rotated();
}

/// Bad input: what is no path, a user in the host, another scheme, a name that only looks like another.
#[test]
fn a_configuration_that_names_no_clean_address_is_refused() {
    let scene = Scene::new(KEPT);
    let file = scene.host.file("keywheel.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    for (from, to) in [
        ("path = \"v1/keys/new\"", "path = \"/v1/keys/new\""),
        ("path = \"v1/keys/new\"", "path = \"v1/../new\""),
        ("path = \"v1/keys/new\"", "path = \"v1/new?x=1\""),
        ("path = \"v1/keys/new\"", "path = \"v1/new#x\""),
        ("host = \"localhost\"", "host = \"user:pass@localhost\""),
        ("host = \"localhost\"", "host = \"https://localhost\""),
        ("host = \"localhost\"", "host = \"lоcalhost\""),
        ("prefix = \"shop_\"", "prefix = \"a\\r\\nb\""),
    ] {
        assert!(good.contains(from));
        std::fs::write(&file, good.replace(from, to)).unwrap();
        let _ = scene.run(&["config", "check"]).ends(20);
    }
}
