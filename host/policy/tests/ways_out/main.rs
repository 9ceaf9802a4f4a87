//! What a grant must stop, whatever the plugin asks.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod hosts;

use std::collections::BTreeMap;
use std::net::IpAddr;

use keywheel_manifest::{Capability, Manifest};
use keywheel_model::{PluginName, RotationName, SecretName};
use keywheel_policy::{
    Binding, Decision, Denial, Destination, Grant, HostRule, Network, Permit, Policy, Request, SecretRef,
    Transport, difference, suggested_grant,
};
use serde_json::{Value, json};

const MANIFEST: &str = r#"format = 1
name = "redis"
version = "1"
summary = "An example"
config-schema = "schema.json"
capabilities = ["core", "net"]
target = ["/host"]
account = ["/user"]
inputs = ["admin"]
[[mode]]
class = "A"
strategy = "two-slot"
proof = "login"
belief = "0s"
[[frame]]
id = "auth"
framing = "resp"
send = ["AUTH", "{/user}", "{subject}"]
effect = "login"
reply = "status"
"#;
const SCHEMA: &str = r#"{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": false}"#;

fn manifest() -> Manifest {
    Manifest::from_toml(MANIFEST, SCHEMA).unwrap()
}

struct World {
    plugin: PluginName,
    rotation: RotationName,
    secret: SecretName,
    inputs: BTreeMap<String, SecretName>,
    configuration: Value,
}

impl World {
    fn new(configuration: Value) -> Self {
        let name = |text: &str| text.parse().unwrap();
        Self {
            plugin: "redis".parse().unwrap(),
            rotation: "cache".parse().unwrap(),
            secret: name("prod/cache"),
            inputs: BTreeMap::from([("admin".to_owned(), name("prod/admin"))]),
            configuration,
        }
    }

    fn binding(&self) -> Binding<'_> {
        Binding {
            plugin: &self.plugin,
            rotation: &self.rotation,
            configuration: &self.configuration,
            secret: &self.secret,
            inputs: &self.inputs,
        }
    }

    fn ask(&self, grants: &[&str], request: Request<'_>) -> Result<Permit, Denial> {
        let named: Vec<(String, &str)> = grants
            .iter()
            .enumerate()
            .map(|(at, text)| (format!("policies/{at}.toml"), *text))
            .collect();
        let policy = Policy::load(named.iter().map(|(file, text)| (file.as_str(), *text))).unwrap();
        policy.decide(self.binding(), request).into_result()
    }

    fn connect(&self, hosts: &str, host: &str, port: u16, transport: Transport) -> Option<Destination> {
        let grant = format!("plugin = \"redis\"\nhosts = [{hosts}]\n");
        self.ask(
            &[&grant],
            Request::Connect {
                host,
                port,
                transport,
            },
        )
        .ok()
        .map(|permit| permit.destination.unwrap())
    }
}

fn tls(hosts: &str, host: &str, port: u16) -> Option<Destination> {
    World::new(json!({"host": "db.internal", "port": 5432})).connect(hosts, host, port, Transport::Tls)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn without_a_grant_nothing_is_allowed_and_the_whole_file_is_printed() {
    let world = World::new(json!({}));
    let denial = world.ask(&[], Request::Call(Capability::Core)).unwrap_err();
    assert_eq!(
        denial.to_string(),
        "calling `keywheel:core` is not granted; to allow it, write in policies/redis.toml:\nplugin = \"redis\"\ncapabilities = [\"core\"]"
    );
    assert!(
        world
            .ask(
                &["plugin = \"postgres\"\ncapabilities = [\"core\"]"],
                Request::Call(Capability::Core)
            )
            .is_err(),
        "another plugin's grant"
    );
}

#[test]
fn an_empty_grant_allows_nothing() {
    let world = World::new(json!({"host": "h"}));
    let manifest = manifest();
    let requests = [
        Request::Call(Capability::Core),
        Request::Connect {
            host: "h",
            port: 1,
            transport: Transport::Tls,
        },
        Request::Shape(manifest.shape("auth").unwrap()),
        Request::Use(SecretRef::Own),
        Request::Use(SecretRef::Input("admin")),
        Request::Reveal(&world.secret),
    ];
    for request in requests {
        let denial = world.ask(&["plugin = \"redis\""], request).unwrap_err();
        assert!(
            denial.lines.as_ref().is_ok_and(|lines| !lines.is_empty()),
            "{denial}"
        );
    }
}

#[test]
fn the_printed_lines_allow_what_was_denied() {
    let world = World::new(json!({"host": "db.internal", "port": 1}));
    let manifest = manifest();
    let other: SecretName = "other/x".parse().unwrap();
    for request in [
        Request::Call(Capability::Net),
        Request::Connect {
            host: "evil.example",
            port: 443,
            transport: Transport::Plaintext,
        },
        Request::Connect {
            host: "fd00::1",
            port: 443,
            transport: Transport::Tls,
        },
        Request::Shape(manifest.shape("auth").unwrap()),
        Request::Use(SecretRef::Own),
        Request::Use(SecretRef::Input("admin")),
        Request::Use(SecretRef::Vault(&other)),
        Request::Reveal(&other),
    ] {
        let denial = world.ask(&["plugin = \"redis\""], request).unwrap_err();
        let lines = denial.lines.as_ref().unwrap();
        assert!(
            world
                .ask(&[&format!("plugin = \"redis\"\n{lines}")], request)
                .is_ok(),
            "{denial}"
        );
        let whole = world.ask(&[], request).unwrap_err().lines.unwrap();
        assert!(world.ask(&[&whole], request).is_ok(), "{whole}");
    }
}

#[test]
fn a_shape_that_changed_since_it_was_granted_is_denied() {
    let world = World::new(json!({}));
    let now = manifest();
    let grant = |manifest: &Manifest| {
        format!(
            "plugin = \"redis\"\n[shapes]\nauth = \"{}\"\n",
            manifest.shape("auth").unwrap().digest()
        )
    };
    assert!(
        world
            .ask(&[&grant(&now)], Request::Shape(now.shape("auth").unwrap()))
            .is_ok()
    );
    for changed in ["{subject|redis.sha256}", "{current}"] {
        let later = Manifest::from_toml(&MANIFEST.replace("{subject}", changed), SCHEMA).unwrap();
        let denial = world
            .ask(&[&grant(&now)], Request::Shape(later.shape("auth").unwrap()))
            .unwrap_err();
        assert_eq!(
            denial.lines.unwrap(),
            format!("[shapes]\nauth = \"{}\"", later.shape("auth").unwrap().digest())
        );
    }
}

#[test]
fn both_the_plugins_and_the_rotations_grant_must_allow() {
    let world = World::new(json!({"host": "db.internal", "port": 5432}));
    let wide = "plugin = \"redis\"\ncapabilities = [\"core\", \"net\"]\nhosts = [\"10.0.0.0/8:5432 tls\", \"db.internal:5432 tls\"]\nsecrets = [\"prod/*\"]";
    let narrow = "plugin = \"redis\"\nrotation = \"cache\"\ncapabilities = [\"core\"]\nhosts = [\"10.1.0.0/16:5432 tls\"]\nsecrets = [\"{secret}\"]";
    let other = "plugin = \"redis\"\nrotation = \"other\"\n";
    let grants = [wide, narrow, other];
    assert!(world.ask(&grants, Request::Call(Capability::Core)).is_ok());
    assert_eq!(
        world
            .ask(&grants, Request::Call(Capability::Net))
            .unwrap_err()
            .file,
        "policies/1.toml"
    );
    assert!(world.ask(&grants, Request::Use(SecretRef::Own)).is_ok());
    assert!(
        world
            .ask(&grants, Request::Use(SecretRef::Input("admin")))
            .is_err()
    );
    let there = |host| {
        world
            .ask(
                &grants,
                Request::Connect {
                    host,
                    port: 5432,
                    transport: Transport::Tls,
                },
            )
            .map(|permit| permit.destination.unwrap())
    };
    assert!(there("10.1.2.3").is_ok() && there("10.2.2.3").is_err());
    let named = there("db.internal").unwrap();
    assert!(
        named.admits(address("10.1.2.3"))
            && !named.admits(address("10.2.2.3"))
            && !named.admits(address("203.0.113.1"))
    );
    // A rotation's grant alone is enough for that rotation, and for no other.
    assert!(world.ask(&[narrow], Request::Call(Capability::Core)).is_ok());
    assert!(world.ask(&[other], Request::Call(Capability::Core)).is_err());
}

#[test]
fn a_glob_stays_within_one_part_of_a_name() {
    let world = World::new(json!({}));
    let may = |glob: &str, name: &str| {
        let name: SecretName = name.parse().unwrap();
        world
            .ask(
                &[&format!("plugin = \"redis\"\nsecrets = [\"{glob}\"]")],
                Request::Use(SecretRef::Vault(&name)),
            )
            .is_ok()
    };
    assert!(
        may("prod/*", "prod/a")
            && may("prod/db-*", "prod/db-1")
            && may("*/a", "x/a")
            && may("a*b*c", "a1b2bc")
            && may("prod/a", "prod/a")
    );
    assert!(
        !may("prod/*", "prod/a/b")
            && !may("prod/*", "prod2/a")
            && !may("prod/db-*", "prod/xdb-1")
            && !may("*", "prod/a")
            && !may("a*b*c", "a1c")
            && !may("ab*b", "ab")
    );
    assert!(
        world
            .ask(
                &["plugin = \"redis\"\nsecrets = [\"prod/*\"]"],
                Request::Use(SecretRef::Input("nobody"))
            )
            .is_err(),
        "an input that is not configured"
    );
}

#[test]
fn problems_of_a_grant_file_are_listed_with_their_place_and_two_grants_for_the_same_are_refused() {
    let text = "plugin = \"redis\"\nhosts = [\"db:5432\"]\ncolour = 1\nsecrets = [\"{input}\"]\nreveal = [\"../x\"]\n[shapes]\nauth = \"md5:1\"\n";
    let error = Grant::from_toml("policies/redis.toml", text)
        .unwrap_err()
        .to_string();
    for place in [
        "redis.toml:2:10: hosts[0]",
        "redis.toml:3:1: colour",
        "redis.toml:4:12: secrets[0]",
        "redis.toml:5:11: reveal[0]",
        "redis.toml:7:1: shapes.auth",
    ] {
        assert!(error.contains(place), "{place}: {error}");
    }
    let twice =
        Policy::load([("a.toml", "plugin = \"redis\""), ("b.toml", "plugin = \"redis\"")]).unwrap_err();
    assert_eq!(
        (twice.code(), twice.to_string().as_str()),
        (
            "policy.granted-twice",
            "a.toml and b.toml both grant the plugin redis"
        )
    );
}

#[test]
fn a_new_plugin_asks_for_everything_and_its_suggested_grant_for_nothing_more() {
    let manifest = manifest();
    let all = difference(&manifest, None);
    assert!(all.asks_more());
    assert_eq!(
        all.to_string(),
        "+ calls `keywheel:core`\n+ calls `keywheel:net`\n+ makes the call `auth`\n+ uses the input `admin`"
    );
    let hosts: Vec<HostRule> = vec!["{/host}:{/port} tls".parse().unwrap()];
    let grant = suggested_grant(&manifest, None, "policies/redis.toml", &hosts);
    assert!(!difference(&manifest, Some(&grant)).asks_more());
    assert_eq!(
        Grant::from_toml("policies/redis.toml", &grant.to_toml()).unwrap(),
        grant
    );
}

#[test]
fn an_upgrade_that_asks_for_the_same_or_less_is_not_held_and_one_that_asks_for_more_is() {
    let grant = suggested_grant(&manifest(), None, "f", &[]);
    let later = |from: &str, to: &str| Manifest::from_toml(&MANIFEST.replace(from, to), SCHEMA).unwrap();
    let asks = |manifest: &Manifest| difference(manifest, Some(&grant));
    let same = later("version = \"1\"", "version = \"2\"");
    assert_eq!(asks(&same).to_string(), "= asks for what it was granted");
    let cut = MANIFEST
        .split_once("[[frame]]")
        .unwrap()
        .0
        .replace("\"core\", \"net\"", "\"core\"");
    let less = asks(&Manifest::from_toml(&cut, SCHEMA).unwrap());
    assert!(!less.asks_more());
    assert_eq!(
        less.to_string(),
        "- no longer makes the call `auth`\n- no longer calls `keywheel:net`"
    );
    for (from, to, line) in [
        ("\"net\"]", "\"net\", \"http\"]", "+ calls `keywheel:http`"),
        (
            "{subject}",
            "{current}",
            "~ makes the call `auth` in another form",
        ),
        (
            "inputs = [\"admin\"]",
            "inputs = [\"admin\", \"root\"]",
            "+ uses the input `root`",
        ),
        ("id = \"auth\"", "id = \"login\"", "+ makes the call `login`"),
    ] {
        let more = asks(&later(from, to));
        assert!(more.asks_more() && more.to_string().contains(line), "{more}");
    }
}

#[test]
fn explain_fills_in_the_configuration() {
    let world = World::new(json!({"host": "db.internal", "port": 5432}));
    let text = "plugin = \"redis\"\ncapabilities = [\"core\"]\nhosts = [\"{/host}:{/port} tls\", \"{/nowhere}:1 tls\"]\nsecrets = [\"{secret}\", \"{input:admin}\"]";
    let policy = Policy::load([("policies/redis.toml", text)]).unwrap();
    assert_eq!(
        policy.scope(world.binding()).explain().join("\n"),
        "plugin redis in rotation cache:\n  policies/redis.toml:\n    calls: core\n    \
         connects to: db.internal port 5432 tls, {/nowhere}:1 tls (nothing in this configuration)\n    \
         uses: prod/cache (the rotated one), prod/admin (input admin)\n    makes the calls: none\n    reads in the clear: none"
    );
    let decision = policy.decide(world.binding(), Request::Reveal(&world.secret));
    assert!(matches!(decision, Decision::Deny(_)));
}
