use keywheel_api::{Datadog, Fault, Reply, Server};
use serde_json::json;

use crate::scene::{Facts, bare};

pub(crate) static FACTS: Facts = Facts {
    plugin: "datadog",
    start: |certificate, key| Server::start(certificate, key, Datadog),
    config: |_| String::new(),
    of: None,
    scopes: &[],
    admin_of: Some("a user"),
    admin_scopes: &["api_keys_delete", "api_keys_read", "api_keys_write"],
    application: true,
    others: 0,
    kept: |_| json!(null),
    stored: bare,
    create: "POST /api/v2/api_keys",
    test: "GET /api/v1/validate",
    looks: 0,
    // Datadog's word for a key that it does not know. A proxy's is another.
    dead: || Reply::json(403, &json!({ "errors": ["Forbidden"] })),
    alive: || Reply::Answer(403, Vec::new(), "<html>by administrative rules</html>".to_owned()),
    alive_verdict: "unknown",
    most: Some(50),
    powerless: (24, "datadog.rights"),
    fault: || (Fault::After(busy()), 2),
    shown: "/data/attributes/name",
};

fn busy() -> Reply {
    let pause = vec![("Retry-After".to_owned(), "1".to_owned())];
    Reply::Answer(503, pause, String::new())
}
