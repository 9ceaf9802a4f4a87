//! A plugin that lies: about what the target said of a credential, and about what it has done there (rules H7, H13). The host goes
//! by what it saw itself.

use std::fs;

use keywheel_hostile::{Attack, Seen, attack, manifest_text, redis, rotation, scene, second_redis};

#[track_caller]
fn lie(does: &str, step: &str) -> Seen {
    attack(&Attack {
        does,
        step,
        ..Attack::HONEST
    })
}

/// What the plugin says of the new credential counts for nothing: the run waits for a person, and does not go on by the lie, nor back.
#[track_caller]
fn is_unknown(seen: &Seen) {
    seen.parks("test", "test.unknown", "target").ends_old(41);
}

#[test]
fn accepted_without_a_login() {
    is_unknown(&lie("accepted", "test"));
}
#[test]
fn rejected_without_a_login() {
    is_unknown(&lie("rejected", "test"));
}
#[test]
fn the_opposite_of_what_the_server_said() {
    is_unknown(&lie("invert", "test"));
}
#[test]
fn accepted_after_the_administrators_login() {
    is_unknown(&lie("other-login", "test"));
}
/// The login that the host waits for is refused, and it goes back.
#[test]
fn done_without_doing_it() {
    lie("idle", "apply").ends_old(40);
}
#[test]
fn done_without_making_a_credential() {
    lie("idle", "create").ends_old(41);
}
/// The host saw it done, so it asks the target, and goes on.
#[test]
fn nothing_happened_although_it_did() {
    lie("deny", "apply").goes_through();
}
#[test]
fn all_happened_although_nothing_did() {
    lie("claim", "apply").ends_old(41);
}
#[test]
fn revoked_without_revoking() {
    lie("idle", "revoke").ends_new(41);
}
#[test]
fn the_credential_in_use_revoked_in_place_of_the_old_one() {
    lie("remove-current", "revoke").ends_new(41);
}
/// Of the imported one, before there is a run: the host asks for a login there too.
#[test]
fn accepted_of_a_credential_that_nobody_has_tried() {
    let seen = lie("accepted-at-once", "test");
    seen.ends_old(24);
    let _ = seen
        .output
        .clone()
        .says(&["run.adoption-required", "the host saw no login"]);
}
/// The account is on two servers, each of which has a password of its own for it.
#[track_caller]
fn on_two_servers(does: &str, step: &str) -> Seen {
    let scene = scene();
    let name = format!("hostile-nodes-{step}{}", does.len());
    let manifest = manifest_text("redis.toml")
        .replace("\"hostile-redis\"", &format!("\"{name}\""))
        .replace("[\"/host\", \"/port\"]", "[\"/nodes/*/host\", \"/nodes/*/port\"]");
    let _ = scene.drop_in(&manifest);
    let ports = [redis().port(), second_redis().port()];
    scene.add_for(&name, &ports.map(|port| format!("localhost:{port} tls")));
    let attack = Attack {
        plugin: &name,
        does,
        step,
        ..Attack::HONEST
    };
    let subject = scene.create(&attack);
    second_redis().create_user(&subject.name, &subject.old).unwrap();
    let ca = scene.host.outside("both");
    fs::write(&ca, format!("{}{}", redis().ca_pem(), second_redis().ca_pem())).unwrap();
    let nodes = ports
        .map(|port| format!("{{ host = \"localhost\", port = {port} }}"))
        .join(", ");
    let lines = rotation(&subject.name, &attack, "").replace("trust = \"redis\"", "trust = \"both\"");
    scene.configure(
        &format!("[trust.both]\npem = [\"{}\"]", ca.display()),
        &[format!("{lines}nodes = [{nodes}]\n")],
    );
    scene.rotate(&attack, subject, "end")
}

/// The run waits for a person, because of the server that was left out, and what was in use opens both.
#[track_caller]
fn is_left_out(seen: &Seen) {
    is_unknown(seen);
    let left_out = format!("the host saw no login at localhost:{}", second_redis().port());
    let told = seen
        .audit
        .iter()
        .any(|row| row["action"] == "run.park" && row.to_string().contains(&left_out));
    assert!(told, "{:#?}", seen.audit);
    assert!(
        second_redis()
            .login(&seen.subject.name, &seen.subject.old)
            .unwrap()
            .is_accepted()
    );
}

/// Without a lie it goes through on both: what is refused below is refused for the lie.
#[test]
fn an_account_on_two_servers() {
    let seen = on_two_servers("", "create");
    seen.goes_through();
    assert!(
        !second_redis()
            .login(&seen.subject.name, &seen.subject.old)
            .unwrap()
            .is_accepted()
    );
}
#[test]
fn accepted_by_one_of_two_servers() {
    is_left_out(&on_two_servers("leave-a-server-out", "test"));
}
/// The other one has not been given the new credential, so that it would be locked out.
#[test]
fn done_and_accepted_on_one_of_two_servers() {
    is_left_out(&on_two_servers("leave-a-server-out", "apply"));
}
/// It is called again after a second, and not at once: each call is a row. Who waits for it gives up, and a person ends it.
#[test]
fn a_step_that_waits_for_ever() {
    let attack = Attack {
        does: "wait",
        ..Attack::HONEST
    };
    let scene = scene();
    let subject = scene.prepare(&attack, |_| String::new());
    let seen = scene.rotate(&attack, subject, "4s");
    seen.ends_old(124);
    let rows = seen.audit.len();
    assert!(rows < 20, "{rows} rows in 4 s");
    let _ = scene
        .host
        .run(&["run", "cancel", &seen.subject.name, "--wait", "end"], "")
        .ends(0);
}
