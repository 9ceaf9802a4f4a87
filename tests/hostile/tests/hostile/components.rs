//! Files that are damaged, or more than one thing at a time (spec/engine.md 4.4, 16): each is refused with its reason or is what its one
//! manifest says, none is run unseen, and the rotations beside it go on.

use std::fs;
use std::sync::LazyLock;

use keywheel_hostile::{Attack, On, Scene, attack_in, packed, scene};
use keywheel_manifest::{Manifest, SECTION};
use serde_json::Value;

use crate::wasm::{custom, leb128, section};

/// A component with nothing in it.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

/// What a damaged manifest is refused with.
const MALFORMED: &[&str] = &["manifest.not-json", "manifest.not-canonical", "manifest.invalid"];

/// `hostile-redis` under another name.
pub(crate) fn named(name: &str) -> String {
    keywheel_hostile::manifest_text("redis.toml").replace("\"hostile-redis\"", &format!("\"{name}\""))
}

static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| packed(&named("hostile-damaged")));

/// Numbers that look random, the same in each run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| u8::try_from(self.below(256)).unwrap())
            .collect()
    }
}

/// What is written for a manifest.
pub(crate) fn content(manifest: &str) -> Vec<u8> {
    let schema = keywheel_hostile::manifest_text("schema.json");
    Manifest::from_toml(manifest, &schema).unwrap().to_canonical()
}

/// Puts files into the plugin folder of a scene for as long as it looks: what `plugin list` says of each, in their order.
#[track_caller]
fn listed(scene: &Scene, files: &[Vec<u8>]) -> Vec<Value> {
    let paths: Vec<_> = (0..files.len())
        .map(|at| scene.host.file(&format!("plugins/damaged-{at:03}.wasm")))
        .collect();
    for (path, bytes) in paths.iter().zip(files) {
        fs::write(path, bytes).unwrap();
    }
    let all = scene.host.json(&["plugin", "list"]);
    // What was pinned goes on as if nothing had happened.
    attack_in(scene, &Attack::HONEST).goes_through();
    for path in &paths {
        fs::remove_file(path).unwrap();
    }
    let all = all.as_array().unwrap();
    let of = |path: &std::path::PathBuf| {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_it = |listed: &&Value| {
            listed["file"]
                .as_str()
                .is_some_and(|shown| shown.ends_with(&file))
        };
        let mut found = all.iter().filter(is_it);
        let one = found
            .next()
            .unwrap_or_else(|| panic!("{file} is not listed"))
            .clone();
        assert!(found.next().is_none(), "{file} is listed twice");
        one
    };
    paths.iter().map(of).collect()
}

/// All of them are refused, each with one of these codes.
#[track_caller]
fn are_refused(files: &[Vec<u8>], codes: &[&str]) {
    let scene = scene();
    for listed in listed(&scene, files) {
        assert_eq!(listed["status"], "refused", "{listed}");
        let why = listed["detail"].as_str().unwrap();
        assert!(
            codes.iter().any(|code| why.starts_with(&format!("{code}:"))),
            "{why}"
        );
    }
}

#[test]
fn a_component_that_was_cut_off_anywhere() {
    let whole = &*WHOLE;
    let spread = (0..40).map(|part| whole.len() * part / 40);
    let end = (1..8).map(|left| whole.len() - left);
    let files: Vec<_> = spread.chain(end).map(|at| whole[..at].to_vec()).collect();
    are_refused(
        &files,
        &["manifest.not-wasm", "manifest.damaged-component", "manifest.none"],
    );
}

#[test]
fn random_bytes_in_place_of_a_manifest() {
    let mut noise = Noise(1);
    let guest = keywheel_hostile::guest();
    let files: Vec<_> = (0..40)
        .map(|size| [guest.clone(), custom(SECTION, &noise.bytes(size * size))].concat())
        .collect();
    are_refused(&files, MALFORMED);
}

#[test]
fn random_bytes_in_the_middle_of_a_manifest() {
    let mut noise = Noise(2);
    let guest = keywheel_hostile::guest();
    let content = content(&named("hostile-damaged"));
    let damaged = |_| {
        let (mut content, at) = (content.clone(), noise.below(content.len() - 16));
        content[at..at + 16].copy_from_slice(&noise.bytes(16));
        [guest.clone(), custom(SECTION, &content)].concat()
    };
    let files: Vec<_> = (0..40).map(damaged).collect();
    are_refused(&files, MALFORMED);
}

/// It compiles only what is valid code; where the damage is in data that nobody looks at, it is still not what was pinned.
#[test]
fn random_bytes_in_the_middle_of_the_code() {
    let mut noise = Noise(3);
    let pinned = packed(&named("hostile-redis"));
    let code = keywheel_hostile::guest().len();
    let damaged = |_| {
        let (mut bytes, at) = (pinned.clone(), noise.below(code - 64));
        bytes[at..at + 64].copy_from_slice(&noise.bytes(64));
        bytes
    };
    let files: Vec<_> = (0..6).map(damaged).collect();
    are_refused(
        &files,
        &[
            "manifest.damaged-component",
            "plugin.compile",
            "plugin.digest",
            "plugin.duplicate",
            "plugin.import",
            "plugin.export",
        ],
    );
}

/// In either order, and whatever the second one says.
#[test]
fn two_manifests() {
    let (one, other) = (
        content(&named("hostile-damaged")),
        content(&named("hostile-other").replace("\"core\", \"net\"", "\"core\", \"net\", \"vault\"")),
    );
    let guest = keywheel_hostile::guest();
    let both = |first: &[u8], second: &[u8]| {
        [guest.clone(), custom(SECTION, first), custom(SECTION, second)].concat()
    };
    let files = [
        both(&one, &other),
        both(&other, &one),
        both(&one, &one),
        both(&one, b"{}"),
        both(b"", &one),
    ];
    are_refused(&files, &["manifest.two"]);
}

/// The manifest of a component that is inside of it, which asks for more, is not its own.
#[test]
fn a_manifest_in_a_component_inside() {
    let more = named("hostile-other").replace("\"core\", \"net\"", "\"core\", \"net\", \"vault\"");
    let inside = section(4, &[EMPTY, &custom(SECTION, &content(&more))].concat());
    let guest = keywheel_hostile::guest();
    let own = custom(SECTION, &content(&named("hostile-nested")));
    let files = [
        [&guest[..], &inside, &own].concat(),
        [&guest[..], &inside].concat(),
    ];
    let listed = listed(&scene(), &files);
    assert_eq!(listed[0]["name"], "hostile-nested", "{}", listed[0]);
    assert_eq!(listed[0]["status"], "new", "{}", listed[0]);
    assert_eq!(
        listed[0]["capabilities"],
        serde_json::json!(["core", "net"]),
        "{}",
        listed[0]
    );
    assert_eq!(listed[1]["status"], "refused", "{}", listed[1]);
    let why = listed[1]["detail"].as_str().unwrap();
    assert!(why.starts_with("manifest.none:"), "{why}");
}

/// What it exports beyond its world is there for nobody: it is shown, pinned and rotates by what the host calls, and by nothing else.
#[test]
fn a_component_that_exports_more_than_its_world() {
    let bytes = |instance: usize| {
        let mut export = vec![1_u8, 0];
        let name = b"wasi:cli/run@0.2.0";
        leb128(name.len(), &mut export);
        export.extend_from_slice(name);
        // An instance of the component, under its own type.
        export.push(5);
        leb128(instance, &mut export);
        export.push(0);
        [
            keywheel_hostile::guest(),
            section(11, &export),
            custom(SECTION, &content(&named("hostile-more"))),
        ]
        .concat()
    };
    let scene = scene();
    // Which of its instances can be exported again hangs on the toolchain that made it: with one that cannot it does not get so far as to be asked about.
    let is_asked_about = |instance: &usize| {
        fs::write(scene.host.file("plugins/hostile-more.wasm"), bytes(*instance)).unwrap();
        scene.host.run(&["plugin", "add", "hostile-more"], "").code == 2
    };
    assert!((0..64).any(|instance| is_asked_about(&instance)));
    scene.add("hostile-more");
    let attack = Attack {
        plugin: "hostile-more",
        on: On::Redis,
        ..Attack::HONEST
    };
    let seen = attack_in(&scene, &attack);
    seen.goes_through();
    let called: Vec<_> = seen
        .audit
        .iter()
        .filter_map(|row| row["action"].as_str())
        .filter(|action| action.starts_with("step."))
        .collect();
    let steps = [
        "plan",
        "create",
        "apply",
        "test",
        "promote",
        "propagate",
        "revoke",
    ];
    for action in &called {
        assert!(steps.contains(&action.trim_start_matches("step.")), "{called:?}");
    }
    assert!(called.contains(&"step.create"), "{called:?}");
}
