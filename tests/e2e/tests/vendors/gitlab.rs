use keywheel_api::{Fault, Gitlab, Key, Reply, Server};
use serde_json::{Value, json};

use crate::scene::{Facts, Scene, bare};

/// The lines for a project.
pub(crate) const PROJECT: &str = "owner = \"projects\"\nid = 7";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

pub(crate) static FACTS: Facts = Facts {
    plugin: "gitlab",
    start: |certificate, key| Server::start(certificate, key, Gitlab),
    config: |_| "days = 90".to_owned(),
    of: Some("projects/7"),
    scopes: &["read_api", "read_repository"],
    admin_of: Some("users/1"),
    admin_scopes: &["api"],
    application: false,
    others: 120,
    kept: |key| json!([key.scopes, role(key)]),
    stored: bare,
    create: "POST /api/v4/projects/7/access_tokens",
    test: "GET /api/v4/personal_access_tokens/self",
    looks: 1,
    dead: || Reply::json(401, &json!({ "error": "invalid_token" })),
    alive: || Reply::json(403, &json!({ "message": "403 Forbidden" })),
    alive_verdict: "limited",
    most: None,
    powerless: (24, "gitlab.rights"),
    fault: || (Fault::After(Reply::Nothing), 2),
    shown: "/name",
};

/// A project's token is a user with a role; others have none.
fn role(key: &Key) -> Value {
    let is_a_projects = key.of.as_deref() == FACTS.of;
    is_a_projects.then(|| key.more["access_level"].clone()).into()
}

/// Of a user and of a service account, which have no role of their own; with scopes and end.
#[test]
fn a_token_has_the_scopes_of_the_old_one_and_an_end() {
    const OF: [&str; 2] = ["users/9", "groups/8/service_accounts/9"];
    let scenes = Scene::of(
        &FACTS,
        [
            (Some(OF[0]), "owner = \"users\"\nid = 9"),
            (Some(OF[1]), "owner = \"service-accounts\"\nid = 9\ngroup = 8"),
        ],
    );
    std::thread::scope(|scope| {
        for (scene, of) in scenes.iter().zip(OF) {
            scope.spawn(move || {
                let _ = scene.rotate().ends(0);
                let made = scene.is_rotated();
                assert_eq!(
                    (made.scopes, made.of.as_deref()),
                    (scene.old.scopes.clone(), Some(of))
                );
                assert!(made.more["expires_at"].is_string(), "{}", made.more);
                let [created, expires] = scene.lifetime();
                // Until the midnight with which its last day begins.
                let days = (expires - created) / DAY_MS;
                assert!(
                    expires % DAY_MS == 0 && [88, 89].contains(&days),
                    "{created} {expires}"
                );
            });
        }
    });
}

/// Without a role GitLab makes a Maintainer: where there is no token any more whose role could be copied, none is asked for.
#[test]
fn a_role_that_is_not_known_is_not_left_to_the_vendor() {
    let lines = format!("{PROJECT}\nscopes = [\"read_api\"]");
    let [scene] = Scene::of(&FACTS, [(FACTS.of, lines.as_str())]);
    scene.server.delete(&scene.old.id);
    let output = scene.rotate();
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(output.code != 0 && said.contains("access-level"), "{output:?}");
    assert_eq!(scene.asked(FACTS.create), 0);
}
