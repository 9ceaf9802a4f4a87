//! Publishers' signatures: required, wrong, missing, by another key than before, by one that counts no more.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2b512, Digest as _};
use keywheel_plugin::{Plugin, Publishers, Registry, Rules, Status, Upgrades};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::guest::{Guest, manifest};
use crate::world::{World, plugin, refusal, status};

/// A publisher who signs as minisign does: its tool's own key and signature are in `the_tool_s_own_signature_counts`.
struct Publisher {
    id: [u8; 8],
    pair: Ed25519KeyPair,
}

impl Publisher {
    fn new(seed: u8) -> Self {
        Self {
            id: [seed; 8],
            pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap(),
        }
    }

    fn key(&self) -> String {
        STANDARD.encode([b"Ed", &self.id[..], self.pair.public_key().as_ref()].concat())
    }

    fn sign(&self, bytes: &[u8]) -> String {
        let comment = "for a test";
        let signature = self.pair.sign(&Blake2b512::digest(bytes));
        let whole = [b"ED", &self.id[..], signature.as_ref()].concat();
        let global = self.pair.sign(&[signature.as_ref(), comment.as_bytes()].concat());
        format!(
            "untrusted comment: nobody reads this\n{}\ntrusted comment: {comment}\n{}\n",
            STANDARD.encode(whole),
            STANDARD.encode(global)
        )
    }
}

fn version(version: &str) -> Vec<u8> {
    Guest::default().plugin(&manifest("probe", version, r#""core""#, ""))
}

fn rules(publishers: &[&Publisher], required: bool) -> Rules {
    let keys: Vec<String> = publishers.iter().map(|publisher| publisher.key()).collect();
    Rules {
        upgrades: Upgrades::SameGrants,
        publishers: Publishers::new(&keys, required).unwrap(),
    }
}

fn drop_in(world: &World, bytes: &[u8], signature: Option<&str>) {
    world.drop_in("probe.wasm", bytes);
    let beside = world.path("plugins/probe.wasm.minisig");
    match signature {
        Some(text) => drop(world.drop_in("probe.wasm.minisig", text.as_bytes())),
        None => drop(std::fs::remove_file(beside)),
    }
}

fn add(registry: &Registry) {
    let addition = registry.addition(&plugin("probe"), &[]).unwrap();
    registry.add(&addition).unwrap();
}

fn runs(registry: &Registry) -> Option<String> {
    let plugin = registry.plugin(&plugin("probe")).ok()?;
    Some(plugin.manifest().version.clone())
}

/// A world whose probe 1.0.0 is signed by one, and pinned.
fn signed_by(one: &Publisher) -> World {
    let world = World::new();
    let bytes = version("1.0.0");
    drop_in(&world, &bytes, Some(&one.sign(&bytes)));
    add(&world.scan_by(rules(&[one], true)));
    let registry = world.scan_by(rules(&[one], true));
    assert_eq!(runs(&registry).as_deref(), Some("1.0.0"));
    assert_eq!(registry.listed()[0].publisher, Some(one.key()));
    let lock = std::fs::read_to_string(world.path("plugins.lock")).unwrap();
    assert!(lock.contains(&one.key()), "{lock}");
    world
}

/// A signature that the tool itself has made (minisign 0.10).
#[test]
fn the_tool_s_own_signature_counts() {
    let key = "RWSlbPYMYt0F72UEynL6Lx64V+98VnqZk2a/aoFHPnrxqVUFIODs8WAD".to_owned();
    let signature = "untrusted comment: signature from minisign secret key\n\
        RUSlbPYMYt0F70xZg+V3cymp41ZSdUDsotfCRNy/DWGlRWLIclnSBLJ0oVjbKdgO0/sXWAknGvgvBmtHcmInjOW6q1rGVT4+YgQ=\n\
        trusted comment: signed for a test\n\
        RE3UR0HOBUwQDkbVk8EZH9tiv/1OOO12nlKN0iTNRhToTWfwBRnKc6xZCslEiL3KFWP/FDzSBUgCeszGoKkRDg==\n";
    let refused = |bytes: &[u8], signature: &str| {
        let world = World::new();
        drop_in(&world, bytes, Some(signature));
        let rules = Rules {
            upgrades: Upgrades::Hold,
            publishers: Publishers::new(std::slice::from_ref(&key), true).unwrap(),
        };
        refusal(&world.scan_by(rules))
    };
    // What it signs is no component: that is found after the signature was found right.
    assert!(refused(b"the bytes of a component", signature).starts_with("manifest."));
    assert_eq!(refused(b"other bytes", signature), "plugin.signature");
    let other_comment = signature.replace("signed for a test", "signed for a feast");
    assert_eq!(
        refused(b"the bytes of a component", &other_comment),
        "plugin.signature"
    );
}

#[test]
fn an_unsigned_file_is_refused_only_where_a_signature_is_required() {
    let (world, one) = (World::new(), Publisher::new(1));
    drop_in(&world, &version("1.0.0"), None);
    let registry = world.scan_by(rules(&[&one], true));
    assert_eq!(refusal(&registry), "plugin.unsigned");
    let refused = registry.addition(&plugin("probe"), &[]).unwrap_err();
    assert_eq!(refused.code(), "plugin.unsigned");
    assert_eq!(status(&world.scan_by(rules(&[&one], false)), "probe"), "new");
}

#[test]
fn a_signature_that_is_wrong_is_refused_whether_one_is_required_or_not() {
    let (one, other) = (Publisher::new(1), Publisher::new(2));
    let bytes = version("1.0.0");
    let wrong = [
        other.sign(&bytes),
        one.sign(b"other bytes"),
        "not a signature".to_owned(),
        String::new(),
    ];
    for signature in &wrong {
        for required in [true, false] {
            let world = World::new();
            drop_in(&world, &bytes, Some(signature));
            let registry = world.scan_by(rules(&[&one], required));
            assert_eq!(refusal(&registry), "plugin.signature", "{signature}");
            let refused = registry.addition(&plugin("probe"), &[]).unwrap_err();
            assert_eq!(refused.code(), "plugin.signature");
        }
    }
    // Nobody is listed: nobody has said whose would count.
    let world = World::new();
    drop_in(&world, &bytes, Some(&wrong[0]));
    assert_eq!(status(&world.scan(), "probe"), "new");
}

#[test]
fn an_upgrade_by_the_same_publisher_goes_on_and_one_that_is_not_signed_is_refused() {
    let one = Publisher::new(1);
    let world = signed_by(&one);
    let newer = version("1.1.0");
    for signature in [None, Some(Publisher::new(2).sign(&newer))] {
        drop_in(&world, &newer, signature.as_deref());
        let registry = world.scan_by(rules(&[&one], false));
        assert!(refusal(&registry).starts_with("plugin."), "{signature:?}");
        assert_eq!(
            runs(&registry).as_deref(),
            Some("1.0.0"),
            "the pinned one goes on"
        );
    }
    drop_in(&world, &newer, Some(&one.sign(&newer)));
    let registry = world.scan_by(rules(&[&one], false));
    assert_eq!(runs(&registry).as_deref(), Some("1.1.0"));
}

#[test]
fn an_upgrade_by_another_listed_key_waits_for_a_person() {
    let (one, next) = (Publisher::new(1), Publisher::new(2));
    let world = signed_by(&one);
    let newer = version("1.1.0");
    drop_in(&world, &newer, Some(&next.sign(&newer)));
    let registry = world.scan_by(rules(&[&one, &next], true));
    assert!(matches!(registry.listed()[0].status, Status::Held(_)));
    assert_eq!(runs(&registry).as_deref(), Some("1.0.0"));
    let addition = registry.addition(&plugin("probe"), &[]).unwrap();
    assert_eq!(addition.publisher, Some(next.key()));
    assert_eq!(addition.before.as_ref().unwrap().publisher, Some(one.key()));
    registry.add(&addition).unwrap();
    let registry = world.scan_by(rules(&[&next], true));
    assert_eq!(runs(&registry).as_deref(), Some("1.1.0"));
}

#[test]
fn what_a_key_has_signed_that_counts_no_more_does_not_run() {
    let (one, next) = (Publisher::new(1), Publisher::new(2));
    let world = signed_by(&one);
    let registry = world.scan_by(rules(&[&next], true));
    assert_eq!(refusal(&registry), "plugin.signature");
    assert_eq!(runs(&registry), None);
    // Nor does it when its signature is taken away, or another file stands in its place.
    drop_in(&world, &version("1.0.0"), None);
    let registry = world.scan_by(rules(&[&next], false));
    assert_eq!(
        (refusal(&registry).as_str(), runs(&registry)),
        ("plugin.unsigned", None)
    );
    // A look at a configuration runs it no more than the host does.
    let looked = |publishers: &Publishers| {
        let (places, name) = (world.places(), plugin("probe"));
        let names = BTreeSet::from([&name]);
        Plugin::pinned_in(&world.runtime, &places.plugins, &places.lock, publishers, &names)
    };
    let refused = looked(&rules(&[&next], false).publishers).err().unwrap();
    assert_eq!(refused.code(), "plugin.unsigned");
    assert_eq!(looked(&rules(&[&one], false).publishers).unwrap().len(), 1);
    let newer = version("1.1.0");
    drop_in(&world, &newer, Some(&next.sign(&newer)));
    let registry = world.scan_by(rules(&[&next], false));
    assert_eq!(runs(&registry), None);
    add(&registry);
    let registry = world.scan_by(rules(&[&next], true));
    assert_eq!(runs(&registry).as_deref(), Some("1.1.0"));
}

#[test]
fn a_key_that_is_none_is_refused() {
    for key in ["", "RWQ", "untrusted comment: minisign public key"] {
        let refused = Publishers::new(&[key.to_owned()], true).err().unwrap();
        assert!(
            refused.to_string().contains("no minisign public key"),
            "{refused}"
        );
    }
}
