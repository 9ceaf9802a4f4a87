//! What runs is what was pinned.

use keywheel_model::StepName;
use keywheel_plugin::{Status, StepValue, Upgrades};

use crate::guest::{Guest, manifest};
use crate::world::{World, plugin, refusal, runtime, state, status};

const MINUTE: std::time::Duration = std::time::Duration::from_mins(1);

fn version(version: &str) -> Vec<u8> {
    Guest::default().plugin(&manifest("probe", version, r#""core""#, ""))
}

/// A newer version that asks for more.
fn greedy() -> Vec<u8> {
    let more = "[[sql]]\nid = \"set\"\ndialect = \"postgres\"\ntext = \"ALTER ROLE {ident:/user} PASSWORD {pending}\"\neffect = \"set\"\n";
    Guest::default().plugin(&manifest("probe", "2.0.0", r#""core", "sql""#, more))
}

#[test]
fn a_new_plugin_is_listed_and_does_not_run_before_it_is_added() {
    let world = World::new();
    world.drop_in("probe.wasm", &version("1.0.0"));
    let registry = world.scan();
    assert_eq!(status(&registry, "probe"), "new");
    assert_eq!(
        registry.plugin(&plugin("probe")).unwrap_err().code(),
        "plugin.not-pinned"
    );
    assert!(!world.path("plugins.lock").exists());

    let addition = registry
        .addition(&plugin("probe"), &["db.internal:5432 tls".parse().unwrap()])
        .unwrap();
    assert!(addition.difference.asks_more());
    registry.add(&addition).unwrap();
    let grant = std::fs::read_to_string(world.path("policies/probe.toml")).unwrap();
    assert!(grant.contains("db.internal:5432 tls"), "{grant}");
    let registry = world.scan();
    assert_eq!(status(&registry, "probe"), "pinned");
    assert_eq!(
        *registry.plugin(&plugin("probe")).unwrap().digest(),
        addition.digest
    );
}

#[test]
fn other_bytes_under_the_pinned_version_are_refused_and_the_pinned_ones_go_on() {
    let world = World::new();
    let old = world.plugin(&version("1.0.0"));
    let other = Guest {
        memory_pages: 2,
        ..Guest::default()
    }
    .plugin(&manifest("probe", "1.0.0", r#""core""#, ""));
    world.drop_in("probe.wasm", &other);
    let registry = world.scan();
    assert_eq!(refusal(&registry), "plugin.digest");
    assert_eq!(registry.plugin(&plugin("probe")).unwrap().digest(), old.digest());
}

#[test]
fn an_older_version_is_refused_also_by_add() {
    let world = World::new();
    let old = world.plugin(&version("1.2.0"));
    world.drop_in("probe.wasm", &version("1.1.9"));
    let registry = world.scan();
    assert_eq!(refusal(&registry), "plugin.downgrade");
    assert_eq!(
        registry.addition(&plugin("probe"), &[]).unwrap_err().code(),
        "plugin.downgrade"
    );
    assert_eq!(registry.plugin(&plugin("probe")).unwrap().digest(), old.digest());
}

#[test]
fn an_upgrade_that_asks_for_more_is_held_whatever_the_setting_and_the_old_one_goes_on() {
    for upgrades in [Upgrades::Hold, Upgrades::SameGrants] {
        let world = World::new();
        let old = world.plugin(&version("1.0.0"));
        world.drop_in("probe.wasm", &greedy());
        let registry = world.scan_with(upgrades);
        let Status::Held(difference) = &registry.listed()[0].status else {
            panic!("it is held")
        };
        assert_eq!(difference.new_shapes, ["set"]);
        assert_eq!(registry.plugin(&plugin("probe")).unwrap().digest(), old.digest());
        world.add("probe");
        assert_ne!(
            world.scan().plugin(&plugin("probe")).unwrap().digest(),
            old.digest()
        );
    }
}

#[test]
fn an_upgrade_that_asks_for_the_same_is_pinned_at_once_only_where_the_operator_says_so() {
    let world = World::new();
    let old = world.plugin(&version("1.0.0"));
    world.drop_in("probe.wasm", &version("1.0.1"));
    assert_eq!(status(&world.scan(), "probe"), "held");
    let registry = world.scan_with(Upgrades::SameGrants);
    assert_eq!(status(&registry, "probe"), "pinned");
    assert_ne!(registry.plugin(&plugin("probe")).unwrap().digest(), old.digest());
    assert_eq!(status(&world.scan(), "probe"), "pinned", "the lock file has it");
}

#[tokio::test]
async fn a_run_finishes_on_the_digest_that_it_started_with_when_the_file_was_replaced_or_removed() {
    let world = World::new();
    let digest = *world.plugin(&version("1.0.0")).digest();
    world.drop_in("probe.wasm", &version("2.0.0"));
    world.add("probe");
    let held = world.scan().pinned(&digest).unwrap();
    assert_eq!(held.manifest().version, "1.0.0");
    let end = held.run(state(&held, StepName::Create, MINUTE)).await;
    assert_eq!(
        end.result.unwrap(),
        StepValue::Outcome(keywheel_model::Outcome::Done)
    );

    std::fs::remove_file(world.path("plugins").join("probe.wasm")).unwrap();
    let registry = world.scan();
    assert_eq!(status(&registry, "probe"), "missing");
    registry.pinned(&digest).unwrap();
}

#[test]
fn a_plugin_whose_grant_lost_a_capability_does_not_load() {
    let world = World::new();
    world.plugin(&greedy());
    let path = world.path("policies/probe.toml");
    let grant = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, grant.replace(r#""core", "sql""#, r#""core""#)).unwrap();
    let registry = world.scan();
    assert_eq!(refusal(&registry), "plugin.more-than-granted");
    let refused = registry.plugin(&plugin("probe")).unwrap_err();
    assert_eq!(
        refused.code(),
        "plugin.more-than-granted",
        "nor do its kept bytes"
    );
    assert!(
        registry
            .addition(&plugin("probe"), &[])
            .unwrap()
            .difference
            .asks_more()
    );
    std::fs::remove_file(&path).unwrap();
    assert_eq!(refusal(&world.scan()), "plugin.more-than-granted");
}

#[test]
fn an_add_that_cannot_write_one_file_changes_neither() {
    let world = World::new();
    world.drop_in("probe.wasm", &version("1.0.0"));
    let registry = world.scan();
    let addition = registry.addition(&plugin("probe"), &[]).unwrap();
    // Its place is taken by a folder, so that the second of the two files cannot be put there.
    std::fs::create_dir(world.path("plugins.lock")).unwrap();
    assert!(registry.add(&addition).is_err());
    std::fs::remove_dir(world.path("plugins.lock")).unwrap();
    assert!(!world.path("policies/probe.toml").exists());
    assert_eq!(status(&world.scan(), "probe"), "new");
}

#[test]
fn an_add_that_a_crash_interrupted_is_finished_by_the_next_scan() {
    let world = World::new();
    world.drop_in("probe.wasm", &version("1.0.0"));
    world.add("probe");
    let files = ["policies/probe.toml", "plugins.lock"].map(|name| {
        let path = world.path(name);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        (path, text)
    });
    // As it lies there when the host died after the first of the two files.
    std::fs::write(&files[0].0, &files[0].1).unwrap();
    let intent = serde_json::json!({ "files": files });
    std::fs::write(world.path("kept/adding.json"), intent.to_string()).unwrap();
    assert_eq!(status(&world.scan(), "probe"), "pinned");
    assert!(!world.path("kept/adding.json").exists());
}

#[test]
fn a_compiled_copy_that_this_host_did_not_write_is_not_loaded() {
    let world = World::new();
    world.plugin(&version("1.0.0"));
    let compiled = std::fs::read_dir(world.path("compiled"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let good = std::fs::read(&compiled).unwrap();
    let mut bad = good.clone();
    let at = bad.len() / 2;
    bad[at] ^= 1;
    std::fs::write(&compiled, &bad).unwrap();
    world.scan().plugin(&plugin("probe")).unwrap();
    assert_eq!(std::fs::read(&compiled).unwrap().len(), good.len());
    assert_ne!(std::fs::read(&compiled).unwrap(), bad, "it was compiled again");

    // Under another key the same bytes are as good as none.
    let mark = std::fs::read(&compiled).unwrap();
    let other = runtime(&world.folder, keywheel_plugin::Limits::default(), b"another key");
    keywheel_plugin::Registry::scan(&other, world.places(), keywheel_plugin::Rules::default())
        .unwrap()
        .plugin(&plugin("probe"))
        .unwrap();
    assert_ne!(
        std::fs::read(&compiled).unwrap()[..32],
        mark[..32],
        "its tag is under the other key"
    );
}
