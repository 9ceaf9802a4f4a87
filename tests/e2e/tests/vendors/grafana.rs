use keywheel_api::{Fault, Grafana, Reply, Server};
use serde_json::json;

use crate::scene::{Facts, bare};

pub(crate) static FACTS: Facts = Facts {
    plugin: "grafana",
    start: |certificate, key| Server::start(certificate, key, Grafana),
    config: |_| "service-account = 7\ndays = 30".to_owned(),
    of: Some("7"),
    scopes: &["orgs:read"],
    admin_of: Some("1"),
    admin_scopes: &["serviceaccounts:read", "serviceaccounts:write"],
    application: false,
    others: 2,
    kept: |key| json!(key.scopes),
    stored: bare,
    create: "POST /api/serviceaccounts/7/tokens",
    test: "GET /api/org",
    looks: 0,
    dead: || Reply::json(401, &json!({ "message": "Invalid API key" })),
    alive: || Reply::json(403, &json!({ "message": "You'll need additional permissions" })),
    alive_verdict: "limited",
    most: None,
    powerless: (24, "grafana.rights"),
    // Names are unique: the second of two is refused, and tells that there is a first.
    fault: || (Fault::Twice, 2),
    shown: "/name",
};
