//! Rotates an API key of SendGrid: a new one is made with the scopes of the old one, proved, and the old one is deleted.
//!
//! SendGrid shows a key once and has no way to say that a request is the same as an earlier one (slot class D): see [`keywheel_sdk::keys`]. A key that
//! is known and lacks a right is answered with 403, one that is not known with 401; the two are never taken for each other.

mod plan;

use std::collections::BTreeSet;

use keywheel_sdk::error::error;
use keywheel_sdk::http::{Api, Reply, segment};
use keywheel_sdk::keys::{self, Issuer, Listed};
use keywheel_sdk::{Error, ErrorKind, Outcome, Plan, Plugin, Run, Secret, Verdict, runtime};
use serde::Deserialize;
use serde_json::{Value, json};

const TIMEOUT_MS: u32 = 15_000;
const KEYS: &str = "/v3/api_keys";
const SCOPES: &str = "/v3/scopes";
/// What the new key was asked to have, for the proof: too long for an annotation.
const WANTED: &str = "scopes";
/// What SendGrid lists among a key's scopes, and gives to none that asks for it.
const OF_THE_ACCOUNT: [&str; 3] = ["2fa_required", "sender_verification_eligible", "sender_verification_legacy"];

/// Each as schema.json describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    host: String,
    port: u16,
    trust: Option<String>,
    marker: Option<String>,
    scopes: Option<Vec<String>>,
    subuser: Option<String>,
    key_id: Option<String>,
}

impl Config {
    fn api(&self) -> Api<'_> {
        let subuser = self.subuser.iter().map(|name| ("on-behalf-of", name.as_str()));
        let (host, trust) = (self.host.as_str(), self.trust.as_deref());
        Api { host, port: self.port, trust, timeout_ms: TIMEOUT_MS, headers: subuser.collect() }
    }

    fn marker(&self) -> &str {
        self.marker.as_deref().unwrap_or("keywheel")
    }
}

/// SendGrid, by the administrator's key.
struct Account<'a> {
    config: &'a Config,
    admin: Secret,
    run: &'a Run,
}

impl<'a> Account<'a> {
    fn open(run: &'a Run, config: &'a Config) -> Result<Self, Error> {
        Ok(Self { config, admin: run.input("admin")?, run })
    }

    fn get(&self, path: &str, what: &str) -> Result<Reply, Error> {
        self.config.api().request("GET", path)?.bearer(&self.admin)?.send()?.accepted(what)
    }

    /// The scopes of the administrator's own key.
    fn own_scopes(&self) -> Result<BTreeSet<String>, Error> {
        Ok(scopes_of(&self.get(SCOPES, "reading the administrator's scopes")?.document()))
    }

    /// What the new key is to have: what the configuration says, or else what the current key has.
    fn wanted(&self) -> Result<BTreeSet<String>, Error> {
        if let Some(scopes) = &self.config.scopes {
            return Ok(scopes.iter().cloned().collect());
        }
        let Some(id) = keys::id_of(self.run, self, "current")? else {
            let message =
                "there is no current key whose scopes could be copied: name them in the configuration (`scopes`)";
            return Err(error(ErrorKind::Invalid, "sendgrid.scopes", message));
        };
        let reply = self.get(&format!("{KEYS}/{}", segment(&id)), "reading the current key")?;
        let document = reply.document();
        // Documented as a list, and seen as the key alone.
        let listed = document["result"].as_array().into_iter().flatten().filter(|key| key["api_key_id"] == id.as_str());
        let mut scopes: BTreeSet<String> = listed.chain([&document]).flat_map(scopes_of).collect();
        scopes.retain(|scope| !OF_THE_ACCOUNT.contains(&scope.as_str()));
        if scopes.is_empty() {
            // A key that is made without scopes has all of them.
            return Err(error(ErrorKind::Other, "sendgrid.scopes", "the current key has no scopes to copy"));
        }
        Ok(scopes)
    }
}

impl Issuer for Account<'_> {
    fn list(&self) -> Result<Vec<Listed>, Error> {
        let document = self.get(KEYS, "listing the keys")?.document();
        let keys = document["result"].as_array().ok_or_else(|| garbled("the list of keys"))?;
        let text = |key: &Value, field: &str| key[field].as_str().unwrap_or_default().to_owned();
        Ok(keys.iter().map(|key| Listed { id: text(key, "api_key_id"), name: text(key, "name") }).collect())
    }

    fn issue(&self, name: &str) -> Result<Reply, Error> {
        let scopes = self.wanted()?;
        let kept = serde_json::to_vec(&scopes).unwrap_or_default();
        runtime::set_state(WANTED, &kept)?;
        let request = self.config.api().request("POST", KEYS)?.bearer(&self.admin)?;
        let request = request.json(&json!({ "name": name, "scopes": scopes }))?.captures(keys::KEY, "/api_key")?;
        request.send()?.accepted("making a key")
    }

    fn imported(&self) -> Option<&str> {
        self.config.key_id.as_deref()
    }

    fn id_in(&self, reply: &Reply) -> Result<String, Error> {
        let id = reply.text("/api_key_id").filter(|id| !id.is_empty());
        id.ok_or_else(|| garbled("the answer to a new key: it has no api_key_id"))
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        let path = format!("{KEYS}/{}", segment(id));
        let reply = self.config.api().request("DELETE", &path)?.bearer(&self.admin)?.send()?;
        if reply.status() == 404 { Ok(()) } else { reply.accepted("deleting a key").map(drop) }
    }
}

fn scopes_of(document: &Value) -> BTreeSet<String> {
    let scopes = document["scopes"].as_array().into_iter().flatten();
    scopes.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn garbled(what: &str) -> Error {
    error(ErrorKind::Other, "sendgrid.answer", format!("{what} is not what SendGrid documents"))
}

enum SendGrid {}
keywheel_sdk::export!(SendGrid);

impl Plugin for SendGrid {
    type Config = Config;

    fn check(config: &Config) -> Vec<(String, String)> {
        let bare = config.scopes.as_ref().is_some_and(Vec::is_empty);
        let message = "a key without scopes has full access: name at least one, or leave it out and copy those of the current key";
        bare.then(|| ("/scopes".to_owned(), message.to_owned())).into_iter().collect()
    }

    fn plan(run: &Run, config: &Config) -> Result<Plan, Error> {
        plan::look(run, config)
    }

    fn create(run: &Run, config: &Config) -> Result<Outcome, Error> {
        keys::create(run, &Account::open(run, config)?, config.marker())
    }

    /// A key is good from the moment that it is made.
    fn apply(_run: &Run, _config: &Config) -> Result<Outcome, Error> {
        Ok(Outcome::Done)
    }

    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let reply = config.api().request("GET", SCOPES)?.bearer(&run.subject()?)?.send()?;
        Ok(match reply.status() {
            200 => has_all(run, &scopes_of(&reply.document()))?,
            401 => Verdict::Rejected,
            403 => Verdict::Limited("SendGrid knows the key, and does not let it ask for its scopes (403)".to_owned()),
            429 | 500..=599 => return Err(reply.problem("asking with the key")),
            status => Verdict::Unknown(format!("SendGrid answered {status}")),
        })
    }

    fn revoke(run: &Run, config: &Config) -> Result<Outcome, Error> {
        keys::revoke(run, &Account::open(run, config)?)
    }

    fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
        keys::rollback(run, &Account::open(run, config)?)
    }
}

/// Whether a key that was let in may do what it has to: one that this run has made what was asked for it.
fn has_all(run: &Run, has: &BTreeSet<String>) -> Result<Verdict, Error> {
    if !keys::is_made_here(run)? {
        return Ok(Verdict::Accepted);
    }
    let noted = runtime::get_state(WANTED)?.and_then(|kept| serde_json::from_slice::<Vec<String>>(&kept).ok());
    Ok(match noted.unwrap_or_default().iter().find(|scope| !has.contains(*scope)) {
        None => Verdict::Accepted,
        Some(missing) => Verdict::Limited(format!("the key lacks the scope {missing}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_scopes_is_not_asked_for() {
        let config = |scopes: &str| serde_json::from_str(&format!(r#"{{"host":"h","port":443{scopes}}}"#)).unwrap();
        assert_eq!(SendGrid::check(&config(r#","scopes":[]"#))[0].0, "/scopes");
        assert!(SendGrid::check(&config("")).is_empty());
        assert!(SendGrid::check(&config(r#","scopes":["mail.send"]"#)).is_empty());
    }
}
