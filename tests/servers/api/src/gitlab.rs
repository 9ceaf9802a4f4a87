use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::server::{Key, Vendor, has_fields, known, page, random};
use crate::wire::{Reply, Request};

const SCOPES: [&str; 5] = [
    "api",
    "read_api",
    "read_repository",
    "write_repository",
    "self_rotate",
];
const LEVELS: [u64; 6] = [5, 10, 20, 30, 40, 50];
const PAGE: usize = 100;

/// The access tokens of GitLab's v4 interface: of projects, groups, users and service accounts, `of` being `projects/7` and its like. A token
/// with the scope `api` may look after all of them.
pub struct Gitlab;

fn refused(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({ "message": message }))
}

impl Vendor for Gitlab {
    fn mint(&self, name: &str, scopes: BTreeSet<String>, of: Option<String>) -> Key {
        let id: u32 = rand::random_range(1..u32::MAX);
        Key {
            id: id.to_string(),
            value: format!("glpat-{}", random(20)),
            name: name.to_owned(),
            scopes,
            of,
            more: json!({ "access_level": 30, "expires_at": "2030-01-01" }),
        }
    }

    fn answer(&self, keys: &mut Vec<Key>, request: &Request) -> Reply {
        let Some(asking) = known(keys, request.header("private-token")).cloned() else {
            return Reply::json(
                401,
                &json!({ "error": "invalid_token", "error_description": "Token was revoked." }),
            );
        };
        let Some(path) = request.path.strip_prefix("/api/v4/") else {
            return refused(404, "404 Not Found");
        };
        // Any token may look at itself, whatever its scopes are.
        if (request.method.as_str(), path) == ("GET", "personal_access_tokens/self") {
            return Reply::json(200, &shown(&asking));
        }
        if !asking.scopes.contains("api") {
            return Reply::json(403, &json!({ "error": "insufficient_scope", "scope": "api" }));
        }
        let (of, id) = place(path, request);
        match (request.method.as_str(), id) {
            ("GET", None) => listed(keys, request, of.as_ref()),
            ("POST", None) => self.create(keys, request, of),
            ("DELETE", Some(id)) => {
                let is_it = |key: &Key| key.id == id && (of.is_none() || key.of == of);
                match keys.iter().position(is_it) {
                    Some(at) => {
                        keys.remove(at);
                        Reply::status(204)
                    }
                    None => refused(404, "404 Not Found"),
                }
            }
            _ => refused(405, "405 Method Not Allowed"),
        }
    }
}

/// Whose tokens a path is about, and which one.
fn place(path: &str, request: &Request) -> (Option<String>, Option<String>) {
    let parts: Vec<&str> = path.split('/').collect();
    let owned = |text: &str| Some(text.to_owned());
    match parts.as_slice() {
        [kind @ ("projects" | "groups"), of, "access_tokens", id @ ..] => (
            Some(format!("{kind}/{of}")),
            id.first().map(|id| (*id).to_owned()),
        ),
        [
            "groups",
            group,
            "service_accounts",
            user,
            "personal_access_tokens",
            id @ ..,
        ] => (
            Some(format!("groups/{group}/service_accounts/{user}")),
            id.first().map(|id| (*id).to_owned()),
        ),
        ["users", user, "personal_access_tokens"] => (Some(format!("users/{user}")), None),
        ["personal_access_tokens"] => (
            Some(format!(
                "users/{}",
                request.parameter("user_id").unwrap_or_default()
            )),
            None,
        ),
        ["personal_access_tokens", id] => (None, owned(id)),
        _ => (owned("nobody"), None),
    }
}

fn shown(key: &Key) -> Value {
    let id: u64 = key.id.parse().unwrap_or_default();
    let mut shown = key.more.clone();
    shown["id"] = json!(id);
    shown["name"] = json!(key.name);
    shown["scopes"] = json!(key.scopes);
    shown["active"] = json!(true);
    shown["revoked"] = json!(false);
    shown
}

fn listed(keys: &[Key], request: &Request, of: Option<&String>) -> Reply {
    let number = |name: &str| request.parameter(name)?.parse().ok();
    let (Some(at), Some(size @ 1..=PAGE)) = (number("page"), number("per_page")) else {
        return refused(400, "per_page is invalid");
    };
    let of: Vec<&Key> = keys.iter().filter(|key| key.of.as_ref() == of).collect();
    let mut tokens: Vec<Value> = page(&of, at, size).into_iter().map(shown).collect();
    if at == 1 && request.parameter("state") != Some("active") {
        let gone = json!({ "id": 1, "name": "gone", "scopes": [], "active": false, "revoked": true });
        tokens.push(gone);
    }
    Reply::json(200, &json!(tokens))
}

impl Gitlab {
    fn create(&self, keys: &mut Vec<Key>, request: &Request, of: Option<String>) -> Reply {
        let document = request.json().unwrap_or_default();
        let of_a_bot = of.as_ref().is_some_and(|of| {
            (of.starts_with("projects/") || of.starts_with("groups/")) && !of.contains("service_accounts")
        });
        let optional: &[&str] = if of_a_bot { &["access_level"] } else { &[] };
        let scopes: Option<BTreeSet<String>> = document["scopes"].as_array().and_then(|scopes| {
            let known = |scope: &Value| {
                scope
                    .as_str()
                    .filter(|scope| SCOPES.contains(scope))
                    .map(str::to_owned)
            };
            scopes.iter().map(known).collect()
        });
        let level = document.get("access_level");
        let is_level = level.is_none_or(|level| level.as_u64().is_some_and(|level| LEVELS.contains(&level)));
        let date = document["expires_at"].as_str().filter(|date| is_date(date));
        let name = document["name"].as_str().filter(|name| !name.is_empty());
        let is_clean = has_fields(&document, &["name", "scopes", "expires_at"], optional);
        let (Some(name), Some(scopes), Some(date), true, true) = (name, scopes, date, is_clean, is_level)
        else {
            return Reply::json(400, &json!({ "error": "scopes, name or expires_at is invalid" }));
        };
        let mut key = self.mint(name, scopes, of);
        key.more = json!({ "access_level": level.unwrap_or(&json!(40)), "expires_at": date });
        let mut shown = shown(&key);
        shown["token"] = json!(key.value);
        keys.push(key);
        Reply::json(201, &shown)
    }
}

fn is_date(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|sign| if sign.is_ascii_digit() { '0' } else { sign })
        .collect();
    shape == "0000-00-00"
}
