use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::server::{Key, Vendor, has_fields, known, page, random_hex};
use crate::wire::{Reply, Request};

/// As many as Datadog keeps for an organization.
const MOST_KEYS: usize = 50;
const PAGE: usize = 100;

/// The API keys of Datadog's v2 interface. A key `of` a user is an application key, its scopes are permissions. A key that is not known is answered with
/// 403, as one that lacks a right is.
pub struct Datadog;

fn forbidden() -> Reply {
    Reply::json(403, &json!({ "errors": ["Forbidden"] }))
}

fn refused(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({ "errors": [message] }))
}

impl Vendor for Datadog {
    fn mint(&self, name: &str, scopes: BTreeSet<String>, of: Option<String>) -> Key {
        let tail = random_hex(12);
        Key {
            id: format!(
                "{}-{}-4{}-8{}-{tail}",
                random_hex(8),
                random_hex(4),
                random_hex(3),
                random_hex(3)
            ),
            value: random_hex(if of.is_some() { 40 } else { 32 }),
            name: name.to_owned(),
            scopes,
            of,
            more: Value::Null,
        }
    }

    fn answer(&self, keys: &mut Vec<Key>, request: &Request) -> Reply {
        let api = known(keys, request.header("dd-api-key")).filter(|key| key.of.is_none());
        if api.is_none() || request.header("authorization").is_some() {
            return forbidden();
        }
        if (request.method.as_str(), request.path.as_str()) == ("GET", "/api/v1/validate") {
            return Reply::json(200, &json!({ "valid": true }));
        }
        let application = known(keys, request.header("dd-application-key")).filter(|key| key.of.is_some());
        let may = |permission: &str| application.is_some_and(|key| key.scopes.contains(permission));
        let id = request.path.strip_prefix("/api/v2/api_keys/");
        match (request.method.as_str(), request.path.as_str(), id) {
            ("GET", "/api/v2/api_keys", _) if may("api_keys_read") => listed(keys, request),
            ("POST", "/api/v2/api_keys", _) if may("api_keys_write") => self.create(keys, request),
            ("DELETE", _, Some(id)) if may("api_keys_delete") => {
                match keys.iter().position(|key| key.id == id && key.of.is_none()) {
                    Some(at) => {
                        keys.remove(at);
                        Reply::status(204)
                    }
                    None => refused(404, "Not Found"),
                }
            }
            ("GET" | "POST" | "DELETE", _, _) => forbidden(),
            _ => refused(405, "Method Not Allowed"),
        }
    }
}

fn shown(key: &Key) -> Value {
    let last4 = &key.value[key.value.len() - 4..];
    json!({ "type": "api_keys", "id": key.id, "attributes": { "name": key.name, "last4": last4 } })
}

fn listed(keys: &[Key], request: &Request) -> Reply {
    let number = |name: &str| request.parameter(name)?.parse::<usize>().ok();
    let (Some(at), Some(size @ 1..=PAGE)) = (number("page[number]"), number("page[size]")) else {
        return refused(400, "page[size] is at most 100");
    };
    let of: Vec<&Key> = keys.iter().filter(|key| key.of.is_none()).collect();
    let shown: Vec<Value> = page(&of, at + 1, size).into_iter().map(shown).collect();
    let about = json!({ "page": { "total_filtered_count": of.len() }, "max_allowed": MOST_KEYS });
    Reply::json(200, &json!({ "data": shown, "meta": about }))
}

impl Datadog {
    fn create(&self, keys: &mut Vec<Key>, request: &Request) -> Reply {
        let document = request.json().unwrap_or_default();
        let (data, attributes) = (&document["data"], &document["data"]["attributes"]);
        let is_clean = has_fields(&document, &["data"], &[])
            && has_fields(data, &["type", "attributes"], &[])
            && has_fields(attributes, &["name"], &["category"])
            && data["type"] == "api_keys";
        let (true, Some(name)) = (is_clean, attributes["name"].as_str()) else {
            return refused(400, "Bad Request");
        };
        if keys.iter().filter(|key| key.of.is_none()).count() >= MOST_KEYS {
            return forbidden();
        }
        let key = self.mint(name, BTreeSet::new(), None);
        let mut shown = shown(&key);
        shown["attributes"]["key"] = json!(key.value);
        keys.push(key);
        Reply::json(201, &json!({ "data": shown }))
    }
}
