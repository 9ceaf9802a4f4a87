use keywheel_api::{Cloudflare, Fault, Key, Reply, Server};
use serde_json::{Value, json};

use crate::scene::{Facts, Scene, bare};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";
pub(crate) static FACTS: Facts = Facts {
    plugin: "cloudflare",
    start: |certificate, key| Server::start(certificate, key, Cloudflare),
    config: |_| String::new(),
    of: None,
    scopes: &[],
    admin_of: None,
    admin_scopes: &["tokens"],
    application: false,
    others: 0,
    kept: |key| json!([groups(key), key.more["condition"]]),
    stored: bare,
    create: "POST /client/v4/user/tokens",
    test: "GET /client/v4/user/tokens/verify",
    looks: 0,
    dead: || said(401, 1000),
    alive: || said(403, 9109),
    alive_verdict: "limited",
    most: Some(50),
    powerless: (24, "cloudflare.rights"),
    fault: || (Fault::Slow, 1),
    shown: "/result/name",
};

/// What its policies allow.
fn groups(key: &Key) -> Value {
    key.more["policies"][0]["permission_groups"][0]["id"].clone()
}

fn said(status: u16, code: u32) -> Reply {
    Reply::json(
        status,
        &json!({ "success": false, "errors": [{ "code": code }], "result": null }),
    )
}

/// Of an account, beyond the first page of its tokens; with policies and conditions of the old one, and an end.
#[test]
fn a_token_of_an_account_has_what_the_old_one_had_and_an_end() {
    let more = format!("account-id = \"{ACCOUNT}\"\ndays = 30");
    let [scene] = Scene::of(&FACTS, [(Some(ACCOUNT), &more)]);
    for at in 0..60 {
        scene.server.make_for(&format!("other {at}"), &[], Some(ACCOUNT));
    }
    let _ = scene.rotate().ends(0);
    let made = scene.is_rotated();
    assert!(made.more["expires_on"].is_string(), "{made:?}");
    let [created, expires] = scene.lifetime();
    assert_eq!((expires - created) / DAY_MS, 29, "a moment less than 30 days");

    // One that a person has disabled is known, and of no use.
    let disabled =
        json!({ "success": true, "errors": [], "result": { "id": made.id, "status": "disabled" } });
    let path = format!("GET /client/v4/accounts/{ACCOUNT}/tokens/verify");
    scene
        .server
        .fail(&path, Fault::Before(Reply::json(200, &disabled)));
    let tested = scene.run(&["target", "test", scene.name(), "-o", "json"]);
    assert!(
        tested.code != 0 && tested.json()["verdict"].to_string().contains("limited"),
        "{tested:?}"
    );
}
