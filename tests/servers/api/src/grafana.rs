use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::server::{Key, Vendor, has_fields, known, random, random_hex};
use crate::wire::{Reply, Request};

/// The tokens of Grafana's service accounts, `of` being the account's id; names are unique in the organization. The scopes are permissions.
pub struct Grafana;

fn said(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({ "message": message }))
}

impl Vendor for Grafana {
    fn mint(&self, name: &str, scopes: BTreeSet<String>, of: Option<String>) -> Key {
        let id: u32 = rand::random_range(1..u32::MAX);
        Key {
            id: id.to_string(),
            value: format!("glsa_{}_{}", random(32), random_hex(8)),
            name: name.to_owned(),
            scopes,
            of,
            more: Value::Null,
        }
    }

    fn answer(&self, keys: &mut Vec<Key>, request: &Request) -> Reply {
        let Some(asking) = known(keys, request.bearer()).cloned() else {
            return said(401, "Invalid API key");
        };
        let may = |permission: &str| asking.scopes.contains(permission);
        let forbidden = || said(403, "You'll need additional permissions to perform this action");
        let parts: Vec<&str> = request.path.split('/').skip(1).collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["api", "org"]) if may("orgs:read") => {
                Reply::json(200, &json!({ "id": 1, "name": "Main Org." }))
            }
            ("GET", ["api", "serviceaccounts", account]) if may("serviceaccounts:read") => {
                if keys.iter().any(|key| key.of.as_deref() == Some(account)) {
                    return Reply::json(
                        200,
                        &json!({ "id": 7, "name": "ci", "role": "Viewer", "isDisabled": false }),
                    );
                }
                said(404, "service account not found")
            }
            ("GET", ["api", "serviceaccounts", account, "tokens"]) if may("serviceaccounts:read") => {
                let of = keys.iter().filter(|key| key.of.as_deref() == Some(account));
                let listed: Vec<Value> = of
                    .map(|key| json!({ "id": number(key), "name": key.name, "hasExpired": false, "isRevoked": false }))
                    .collect();
                Reply::json(200, &json!(listed))
            }
            ("POST", ["api", "serviceaccounts", account, "tokens"]) if may("serviceaccounts:write") => {
                self.create(keys, request, account)
            }
            ("DELETE", ["api", "serviceaccounts", account, "tokens", id]) if may("serviceaccounts:write") => {
                let of = |key: &Key| key.id == *id && key.of.as_deref() == Some(account);
                let Some(at) = keys.iter().position(of) else {
                    return said(404, "service account token not found");
                };
                keys.remove(at);
                said(200, "Service account token deleted")
            }
            ("GET" | "POST" | "DELETE", ["api", "org" | "serviceaccounts", ..]) => forbidden(),
            _ => said(404, "Not found"),
        }
    }
}

fn number(key: &Key) -> u64 {
    key.id.parse().unwrap_or_default()
}

impl Grafana {
    fn create(&self, keys: &mut Vec<Key>, request: &Request, account: &str) -> Reply {
        let document = request.json().unwrap_or_default();
        let name = document["name"].as_str().filter(|name| !name.is_empty());
        let seconds = document.get("secondsToLive").is_none_or(Value::is_u64);
        let (Some(name), true, true) = (
            name,
            seconds,
            has_fields(&document, &["name"], &["secondsToLive"]),
        ) else {
            return said(400, "bad request data");
        };
        if keys.iter().any(|key| key.name == name) {
            let document = json!({
                "message": "service account token with given name already exists in the organization",
                "messageId": "serviceaccounts.ErrTokenAlreadyExists", "statusCode": 400,
            });
            return Reply::json(400, &document);
        }
        // A token has its account's permissions.
        let scopes = keys
            .iter()
            .find(|key| key.of.as_deref() == Some(account))
            .map(|key| key.scopes.clone());
        let mut key = self.mint(name, scopes.unwrap_or_default(), Some(account.to_owned()));
        key.more = document["secondsToLive"].clone();
        keys.push(key.clone());
        Reply::json(
            200,
            &json!({ "id": number(&key), "name": key.name, "key": key.value }),
        )
    }
}
