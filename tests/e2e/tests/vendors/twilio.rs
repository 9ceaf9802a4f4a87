use keywheel_api::{Fault, Key, Reply, Server, Twilio};
use serde_json::json;

use crate::scene::Facts;

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
pub(crate) static FACTS: Facts = Facts {
    plugin: "twilio",
    start: |certificate, key| Server::start(certificate, key, Twilio),
    config: |admin| format!("account-sid = \"{ACCOUNT}\"\nadmin-sid = \"{}\"", admin.id),
    of: Some(ACCOUNT),
    scopes: &["calls"],
    admin_of: Some(ACCOUNT),
    admin_scopes: &["main"],
    application: false,
    others: 2,
    kept: |key| json!(key.scopes),
    stored: both,
    create: "POST /2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Keys.json",
    test: "GET /2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Calls.json",
    looks: 0,
    dead: || {
        Reply::json(
            401,
            &json!({ "code": 20003, "message": "Authenticate", "status": 401 }),
        )
    },
    alive: || {
        Reply::json(
            403,
            &json!({ "code": 20403, "message": "403 Forbidden", "status": 403 }),
        )
    },
    alive_verdict: "limited",
    most: None,
    // A key that may not look after keys is told what a dead one is told.
    powerless: (22, "admin/twilio"),
    // It is not followed, and the same place is asked again.
    fault: || {
        (
            Fault::Before(Reply::Answer(307, vec![metadata()], String::new())),
            2,
        )
    },
    shown: "/friendly_name",
};

fn metadata() -> (String, String) {
    (
        "Location".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    )
}

/// SID and secret in one document: no client reads one of them alone.
fn both(key: &Key) -> String {
    format!("{{\"username\":\"{}\",\"password\":\"{}\"}}", key.id, key.value)
}
