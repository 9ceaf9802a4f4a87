//! A component that is more than its manifest says, and a check of the configuration that wants to behave in another way the next
//! time. What is wrong with the file itself (two manifests, another world, other bytes) is in `tests/e2e/tests/refusals/plugins.rs`.

use keywheel_hostile::{Attack, On, Scene, attack, manifest_text, scene};

/// The component imports everything; what it may call is what the manifest lists.
#[test]
fn a_component_that_calls_more_than_its_manifest_lists() {
    let scene = scene();
    let manifest = manifest_text("redis.toml");
    let (head, _) = manifest.split_once("[[frame]]").unwrap();
    let narrow = head
        .replace("\"hostile-redis\"", "\"hostile-core\"")
        .replace("\"core\", \"net\"", "\"core\"");
    add(&scene, &narrow);
    let calls = Attack {
        plugin: "hostile-core",
        does: "get",
        ..Attack::HONEST
    };
    let subject = scene.create(&calls);
    // Imported under a rotation it could not even be tried.
    let lines = keywheel_hostile::rotation(&subject.name, &calls, "x")
        .replace("grace = \"0s\"", "grace = \"0s\"\nfirst = \"set\"");
    scene.configure("", &[lines]);
    let output = scene.host.run(&["rotate", &subject.name, "--wait", "end"], "");
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains("does not list `net`"), "{said}");
    assert_eq!(output.code, 24, "{said}");
    let denied = scene
        .host
        .json(&["audit", "search", "--action", "plugin.call", "--limit", "1"]);
    assert_eq!(denied[0]["details"]["code"], "manifest.capability", "{denied}");
    assert!(On::Redis.takes(&subject.name, &subject.old));
}

fn add(scene: &Scene, manifest: &str) {
    let name = scene.drop_in(manifest);
    let rule = format!("localhost:{} tls", keywheel_hostile::redis().port());
    let _ = scene
        .host
        .run(&["plugin", "add", &name, "--yes", "--host", &rule], "")
        .ends(0);
}

/// Every import is denied, so there is nothing that a second call could be told from the first by; and it has a second to answer.
#[track_caller]
fn check_is_ended(does: &str, code: &str) {
    let seen = attack(&Attack {
        does,
        step: "check",
        ..Attack::HONEST
    });
    assert_eq!(
        seen.output.code, 20,
        "{}{}",
        seen.output.stdout, seen.output.stderr
    );
    let _ = seen.output.clone().says(&[code]);
    seen.ends_old(20);
}

#[test]
fn a_check_that_asks_for_random_bytes() {
    check_is_ended("ask-the-host", "plugin.misuse");
}
#[test]
fn a_check_that_asks_for_the_time() {
    check_is_ended("ask-the-time", "plugin.misuse");
}
#[test]
fn a_check_that_never_ends() {
    check_is_ended("loop", "plugin.cpu");
}
