//! A plugin that lies: about what the target said of a credential, and about what it has done there (rules H7, H13). The host goes
//! by what it saw itself.

use keywheel_hostile::{Attack, Seen, attack, scene};

#[track_caller]
fn lie(does: &str, step: &str) -> Seen {
    attack(&Attack {
        does,
        step,
        ..Attack::HONEST
    })
}

#[test]
fn accepted_without_a_login() {
    lie("accepted", "test").ends_old(41);
}
#[test]
fn rejected_without_a_login() {
    lie("rejected", "test").ends_old(41);
}
#[test]
fn the_opposite_of_what_the_server_said() {
    lie("invert", "test").ends_old(41);
}
#[test]
fn accepted_after_the_administrators_login() {
    lie("other-login", "test").ends_old(41);
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
