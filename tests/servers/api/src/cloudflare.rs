use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::server::{Key, Vendor, has_fields, known, page, random, random_hex};
use crate::wire::{Reply, Request};

/// As many as Cloudflare keeps of a user's, and of an account's.
const MOST: [usize; 2] = [50, 500];
const PAGE: usize = 50;

/// The tokens of Cloudflare's v4 interface: a user's, and those `of` an account. A token with the scope `tokens` may look after others.
pub struct Cloudflare;

fn refused(status: u16, code: u32, message: &str) -> Reply {
    let error = json!({ "code": code, "message": message });
    Reply::json(
        status,
        &json!({ "success": false, "errors": [error], "messages": [], "result": null }),
    )
}

fn result(result: &Value) -> Reply {
    Reply::json(
        200,
        &json!({ "success": true, "errors": [], "messages": [], "result": result }),
    )
}

impl Vendor for Cloudflare {
    fn mint(&self, name: &str, scopes: BTreeSet<String>, of: Option<String>) -> Key {
        let policy = json!({
            "id": random_hex(32), "effect": "allow",
            "resources": { "com.cloudflare.api.account.zone.*": "*" },
            "permission_groups": [{ "id": random_hex(32), "name": "DNS Write" }],
        });
        let condition = json!({ "request_ip": { "in": ["192.0.2.0/24"] } });
        Key {
            id: random_hex(32),
            value: random(40),
            name: name.to_owned(),
            scopes,
            of,
            more: json!({ "status": "active", "policies": [policy], "condition": condition }),
        }
    }

    fn answer(&self, keys: &mut Vec<Key>, request: &Request) -> Reply {
        let Some(asking) = known(keys, request.bearer()).cloned() else {
            return refused(401, 1000, "Invalid API Token");
        };
        let (of, rest) = match request.path.strip_prefix("/client/v4/accounts/") {
            Some(rest) => match rest.split_once("/tokens") {
                Some((account, rest)) => (Some(account.to_owned()), rest),
                None => return refused(404, 7003, "Could not route to the account"),
            },
            None => match request.path.strip_prefix("/client/v4/user/tokens") {
                Some(rest) => (None, rest),
                None => return refused(404, 7000, "No route for that URI"),
            },
        };
        if (request.method.as_str(), rest) == ("GET", "/verify") {
            // A token is asked after where it belongs.
            if asking.of != of {
                return refused(401, 1000, "Invalid API Token");
            }
            return result(&json!({ "id": asking.id, "status": asking.more["status"] }));
        }
        if !asking.scopes.contains("tokens") || asking.of != of {
            return refused(403, 9109, "Unauthorized to access requested resource");
        }
        match (request.method.as_str(), rest.strip_prefix('/')) {
            ("GET", None) => listed(keys, request, of.as_ref()),
            ("POST", None) => self.create(keys, request, of),
            (method, Some(id)) => {
                let Some(at) = keys.iter().position(|key| key.id == id && key.of == of) else {
                    return refused(404, 1003, "Token not found");
                };
                match method {
                    "GET" => result(&shown(&keys[at])),
                    "DELETE" => result(&json!({ "id": keys.remove(at).id })),
                    _ => refused(405, 10405, "Method not allowed"),
                }
            }
            _ => refused(405, 10405, "Method not allowed"),
        }
    }
}

fn shown(key: &Key) -> Value {
    let mut shown = key.more.clone();
    shown["id"] = json!(key.id);
    shown["name"] = json!(key.name);
    shown
}

fn listed(keys: &[Key], request: &Request, of: Option<&String>) -> Reply {
    let number = |name: &str| request.parameter(name)?.parse().ok();
    let (Some(at), Some(size @ 1..=PAGE)) = (number("page"), number("per_page")) else {
        return refused(400, 1004, "page and per_page, 50 at the most");
    };
    let of: Vec<&Key> = keys.iter().filter(|key| key.of.as_ref() == of).collect();
    let shown: Vec<Value> = page(&of, at, size).into_iter().map(shown).collect();
    let about = json!({ "page": at, "per_page": size, "count": shown.len(), "total_count": of.len() });
    Reply::json(
        200,
        &json!({ "success": true, "errors": [], "messages": [], "result": shown, "result_info": about }),
    )
}

impl Cloudflare {
    fn create(&self, keys: &mut Vec<Key>, request: &Request, of: Option<String>) -> Reply {
        let document = request.json().unwrap_or_default();
        let name = document["name"]
            .as_str()
            .filter(|name| (1..=120).contains(&name.len()));
        let is_clean = has_fields(
            &document,
            &["name", "policies"],
            &["condition", "expires_on", "not_before"],
        );
        let policies = document["policies"].as_array();
        let good = policies.is_some_and(|policies| !policies.is_empty() && policies.iter().all(is_policy));
        let date = document
            .get("expires_on")
            .is_none_or(|date| date.as_str().is_some_and(is_date));
        let (Some(name), true, true, true) = (name, is_clean, good, date) else {
            return refused(400, 1001, "Invalid request body");
        };
        let held = keys.iter().filter(|key| key.of == of).count();
        if held >= MOST[usize::from(of.is_some())] {
            return refused(400, 1010, "Too many tokens");
        }
        let mut key = self.mint(name, BTreeSet::new(), of);
        for field in ["policies", "condition", "expires_on"] {
            key.more[field] = document[field].clone();
        }
        let mut shown = shown(&key);
        shown["value"] = json!(key.value);
        keys.push(key);
        result(&shown)
    }
}

fn is_policy(policy: &Value) -> bool {
    let groups = policy["permission_groups"].as_array();
    has_fields(policy, &["effect", "resources", "permission_groups"], &[])
        && ["allow", "deny"].contains(&policy["effect"].as_str().unwrap_or_default())
        && policy["resources"].is_object()
        && groups.is_some_and(|groups| groups.iter().all(|group| has_fields(group, &["id"], &["meta"])))
}

/// RFC 3339 in whole seconds of UTC.
fn is_date(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|sign| if sign.is_ascii_digit() { '0' } else { sign })
        .collect();
    shape == "0000-00-00T00:00:00Z"
}
