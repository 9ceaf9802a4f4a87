//! What a file means: values, defaults, paths, origins.

#![cfg(test)]

use std::path::Path;
use std::time::Duration;

use keywheel_config::{Config, FirstRun, Gap, Origin, ProofChoice, Upgrades, Vault, parse};

fn config(text: &str) -> Config {
    parse(text, Path::new("/etc/keywheel/keywheel.toml")).unwrap()
}

const ROTATION: &str = "[[rotation]]\nname = \"app-db\"\nplugin = \"postgres\"\nsecret = \"app/db\"\n";

#[test]
fn what_is_left_out_has_the_safe_default() {
    let config = config(ROTATION);
    assert_eq!(config.vault, Vault::Embedded { key_file: None });
    assert_eq!(config.plugins.upgrades, Upgrades::Hold);
    assert_eq!(
        (config.limits.memory_bytes, config.limits.step),
        (128 << 20, Duration::from_mins(1))
    );
    let rotation = &config.rotations[0];
    assert_eq!(
        (rotation.gap, rotation.proof, rotation.first),
        (Gap::Refuse, ProofChoice::Login, FirstRun::Adopt)
    );
    assert_eq!(
        (rotation.grace, rotation.policy.as_deref()),
        (Duration::from_hours(24), None)
    );
    assert_eq!(
        (rotation.deadlines.step, rotation.probes.logins),
        (Duration::from_mins(1), None)
    );
    assert_eq!(
        rotation.public,
        ["/access_key_id".to_owned(), "/username".to_owned()].into()
    );
}

#[test]
fn what_is_public_of_a_secret_is_the_operators_word() {
    let public = |text: &str| {
        config(&format!("{ROTATION}public = {text}\n")).rotations[0]
            .public
            .clone()
    };
    assert!(public("[]").is_empty());
    assert_eq!(public("[\"/host\"]"), ["/host".to_owned()].into());
}

#[test]
fn paths_start_from_the_folder_of_the_file() {
    let config = config(
        "[state]\ndir = \"/var/lib/keywheel\"\n[vault]\nkey_file = \"key\"\n[trust.corp]\npem = [\"ca.pem\"]\n",
    );
    assert_eq!(config.state_dir, Path::new("/var/lib/keywheel"));
    assert_eq!(
        config.vault,
        Vault::Embedded {
            key_file: Some("/etc/keywheel/key".into())
        }
    );
    assert_eq!(config.plugins.lock, Path::new("/etc/keywheel/plugins.lock"));
    assert_eq!(config.trust["corp"].pem, [Path::new("/etc/keywheel/ca.pem")]);
}

#[test]
fn the_default_grace_outlasts_every_consumer() {
    let text = format!("{ROTATION}consumers = [{{ name = \"web\", staleness = \"2d\" }}]\n");
    assert_eq!(config(&text).rotations[0].grace, Duration::from_hours(48));
}

#[test]
fn a_rotations_step_defaults_to_the_limit_of_all() {
    let config = config(&format!("[limits]\nstep = \"2m\"\n{ROTATION}"));
    assert_eq!(config.rotations[0].deadlines.step, Duration::from_mins(2));
}

#[test]
fn the_plugins_own_table_reaches_it_as_json() {
    let config = config(&format!(
        "{ROTATION}[rotation.config]\nport = 5432\nroles = [\"a\", \"b\"]\ntls = {{ mode = \"verify\" }}\n"
    ));
    let expected = serde_json::json!({ "port": 5432, "roles": ["a", "b"], "tls": { "mode": "verify" } });
    assert_eq!(config.rotations[0].config, expected);
}

#[test]
fn every_value_has_an_origin() {
    let config = config(&format!(
        "[limits]\nmemory = \"64 MiB\"\n{ROTATION}grace = \"90m\"\n"
    ));
    let entries = config.effective();
    let find = |key: &str| entries.iter().find(|entry| entry.key == key).unwrap();
    let line = |key: &str| match &find(key).origin {
        Origin::File(place) => Some(place.line),
        Origin::Default => None,
    };
    assert_eq!(
        (find("limits.memory").value.clone(), line("limits.memory")),
        ("64 MiB".into(), Some(2))
    );
    assert_eq!(
        (find("limits.cpu").value.clone(), line("limits.cpu")),
        ("5s".into(), None)
    );
    assert_eq!(
        (
            find("rotation.app-db.grace").value.clone(),
            line("rotation.app-db.grace")
        ),
        ("1h 30m".into(), Some(7))
    );
    assert_eq!(line("rotation.app-db.probes.per"), None);
}
