use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::server::{Key, Vendor, has_fields, known, random};
use crate::wire::{Reply, Request};

/// As many as SendGrid keeps.
const MOST_KEYS: usize = 100;
/// What there is to be allowed.
const SCOPES: [&str; 6] = [
    "alerts.read",
    "api_keys.create",
    "api_keys.delete",
    "api_keys.read",
    "mail.send",
    "stats.read",
];
/// Listed with every key, and given to none that asks.
const OF_THE_ACCOUNT: &str = "2fa_required";

/// The API keys of SendGrid's v3 interface; those of a subuser are the keys `of` it.
pub struct SendGrid;

fn refused(status: u16, message: &str) -> Reply {
    Reply::json(
        status,
        &json!({ "errors": [{ "field": null, "message": message }] }),
    )
}

impl Vendor for SendGrid {
    fn mint(&self, name: &str, scopes: BTreeSet<String>, of: Option<String>) -> Key {
        let id = random(22);
        Key {
            value: format!("SG.{id}.{}", random(43)),
            id,
            name: name.to_owned(),
            scopes,
            of,
            more: Value::Null,
        }
    }

    fn answer(&self, keys: &mut Vec<Key>, request: &Request) -> Reply {
        let Some(asking) = known(keys, request.bearer()).cloned() else {
            return refused(401, "authorization required");
        };
        let subuser = request.header("on-behalf-of").map(str::to_owned);
        let may = |scope: &str| asking.scopes.contains(scope);
        let forbidden = || refused(403, "access forbidden");
        let id = request.path.strip_prefix("/v3/api_keys/");
        match (request.method.as_str(), request.path.as_str(), id) {
            ("GET", "/v3/scopes", _) => Reply::json(200, &json!({ "scopes": shown(&asking) })),
            ("GET", "/v3/api_keys", _) if !may("api_keys.read") => forbidden(),
            ("GET", "/v3/api_keys", _) => {
                let of = keys.iter().filter(|key| key.of == subuser);
                let listed: Vec<Value> = of
                    .map(|key| json!({ "api_key_id": key.id, "name": key.name }))
                    .collect();
                Reply::json(200, &json!({ "result": listed }))
            }
            ("POST", "/v3/api_keys", _) if !may("api_keys.create") => forbidden(),
            ("POST", "/v3/api_keys", _) => self.create(keys, request, &asking, subuser),
            ("GET", _, Some(_)) if !may("api_keys.read") => forbidden(),
            ("DELETE", _, Some(_)) if !may("api_keys.delete") => forbidden(),
            (method, _, Some(id)) => {
                let Some(at) = keys.iter().position(|key| key.id == id && key.of == subuser) else {
                    return refused(404, "unable to find API Key");
                };
                match method {
                    "GET" => {
                        let key = &keys[at];
                        let shown = json!({ "api_key_id": key.id, "name": key.name, "scopes": shown(key) });
                        Reply::json(200, &json!({ "result": [shown] }))
                    }
                    "DELETE" => {
                        keys.remove(at);
                        Reply::status(204)
                    }
                    _ => refused(405, "method not allowed"),
                }
            }
            _ => refused(404, "not found"),
        }
    }
}

fn shown(key: &Key) -> Vec<&str> {
    let scopes = key.scopes.iter().map(String::as_str);
    scopes.chain([OF_THE_ACCOUNT]).collect()
}

impl SendGrid {
    fn create(&self, keys: &mut Vec<Key>, request: &Request, asking: &Key, subuser: Option<String>) -> Reply {
        let Some(document) = request.json() else {
            return refused(400, "not JSON");
        };
        let name = document["name"]
            .as_str()
            .filter(|name| (1..=100).contains(&name.len()));
        let (true, Some(name)) = (has_fields(&document, &["name"], &["scopes"]), name) else {
            return refused(400, "missing required argument");
        };
        let scopes: Option<BTreeSet<String>> = match document.get("scopes") {
            None => Some(SCOPES.map(str::to_owned).into()),
            Some(scopes) => scopes.as_array().and_then(|scopes| {
                scopes
                    .iter()
                    .map(|scope| scope.as_str().map(str::to_owned))
                    .collect()
            }),
        };
        let Some(scopes) =
            scopes.filter(|scopes| scopes.iter().all(|scope| SCOPES.contains(&scope.as_str())))
        else {
            return refused(400, "invalid scope");
        };
        if !scopes.is_subset(&asking.scopes) || keys.len() >= MOST_KEYS {
            return refused(403, "access forbidden");
        }
        let key = self.mint(name, scopes, subuser);
        keys.push(key.clone());
        Reply::json(
            201,
            &json!({ "api_key": key.value, "api_key_id": key.id, "name": key.name, "scopes": key.scopes }),
        )
    }
}
