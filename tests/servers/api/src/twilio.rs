use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::server::{Key, Vendor, page, random, random_hex};
use crate::wire::{Reply, Request};

const PAGE: usize = 1000;

/// The API keys of Twilio's 2010 interface, `of` being the account. One with the scope `main` is a Main key, the others are Standard ones, which may not
/// go near accounts and keys: that is answered with 401, as a key is that nobody knows. A key without the scope `calls` is refused its list of calls.
pub struct Twilio;

fn refused(status: u16, code: u32, message: &str) -> Reply {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    Reply::json(
        status,
        &json!({ "code": code, "message": message, "more_info": more, "status": status }),
    )
}

impl Vendor for Twilio {
    fn mint(&self, name: &str, scopes: BTreeSet<String>, of: Option<String>) -> Key {
        Key {
            id: format!("SK{}", random_hex(32)),
            value: random(32),
            name: name.to_owned(),
            scopes,
            of,
            more: Value::Null,
        }
    }

    fn answer(&self, keys: &mut Vec<Key>, request: &Request) -> Reply {
        let unknown = || refused(401, 20003, "Authenticate");
        let asking = request.basic().and_then(|(user, password)| {
            keys.iter()
                .find(|key| key.id == user && key.value == password)
                .cloned()
        });
        let parts: Vec<&str> = request.path.split('/').skip(1).collect();
        let (Some(asking), ["2010-04-01", "Accounts", account, rest @ ..]) = (asking, parts.as_slice())
        else {
            return unknown();
        };
        if asking.of.as_deref() != Some(account) {
            return unknown();
        }
        let is_main = asking.scopes.contains("main");
        match (request.method.as_str(), rest) {
            ("GET", ["Calls.json"]) if is_main || asking.scopes.contains("calls") => {
                Reply::json(200, &json!({ "calls": [], "page_size": 1 }))
            }
            ("GET", ["Calls.json"]) => refused(403, 20403, "403 Forbidden"),
            _ if !is_main => unknown(),
            ("GET", ["Keys.json"]) => listed(keys, request, account),
            ("POST", ["Keys.json"]) => self.create(keys, request, account),
            ("DELETE", ["Keys", file]) => {
                let id = file.strip_suffix(".json");
                match keys
                    .iter()
                    .position(|key| Some(key.id.as_str()) == id && key.of.as_deref() == Some(account))
                {
                    Some(at) => {
                        keys.remove(at);
                        Reply::status(204)
                    }
                    None => refused(404, 20404, "The requested resource was not found"),
                }
            }
            _ => refused(404, 20404, "The requested resource was not found"),
        }
    }
}

fn listed(keys: &[Key], request: &Request, account: &str) -> Reply {
    let number = |name: &str| request.parameter(name)?.parse::<usize>().ok();
    let (Some(at), Some(size @ 1..=PAGE)) = (number("Page"), number("PageSize")) else {
        return refused(400, 20001, "PageSize is at most 1000");
    };
    let of: Vec<&Key> = keys
        .iter()
        .filter(|key| key.of.as_deref() == Some(account))
        .collect();
    let shown: Vec<Value> = page(&of, at + 1, size)
        .into_iter()
        .map(|key| json!({ "sid": key.id, "friendly_name": key.name }))
        .collect();
    Reply::json(200, &json!({ "keys": shown, "page": at, "page_size": size }))
}

impl Twilio {
    fn create(&self, keys: &mut Vec<Key>, request: &Request, account: &str) -> Reply {
        let fields = request.form().unwrap_or_default();
        let [(field, name)] = fields.as_slice() else {
            return refused(400, 20001, "Invalid parameter");
        };
        if field != "FriendlyName" || !(1..=64).contains(&name.len()) {
            return refused(400, 20001, "Invalid parameter");
        }
        let key = self.mint(
            name,
            BTreeSet::from(["calls".to_owned()]),
            Some(account.to_owned()),
        );
        keys.push(key.clone());
        Reply::json(
            201,
            &json!({ "sid": key.id, "friendly_name": key.name, "secret": key.value }),
        )
    }
}
