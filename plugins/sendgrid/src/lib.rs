//! Rotates an API key of SendGrid: a new one is made with the scopes of the old one, proved, and the old one is deleted.
//!
//! SendGrid shows a key once and has no way to say that a request is the same as an earlier one (slot class D): see [`keywheel_sdk::keys`]. A key that
//! is known and lacks a right is answered with 403, one that is not known with 401; the two are never taken for each other.

use std::collections::BTreeSet;

use keywheel_sdk::error::error;
use keywheel_sdk::http::{Api, Reply, segment};
use keywheel_sdk::issuing::{self, Common, Issuing, Service, Words};
use keywheel_sdk::keys::{self, Issuer, Listed};
use keywheel_sdk::{Error, ErrorKind, Plan, Run, Secret, Verdict, runtime};
use serde::Deserialize;
use serde_json::{Value, json};

const KEYS: &str = "/v3/api_keys";
const SCOPES: &str = "/v3/scopes";
const ANSWER: &str = "sendgrid.answer";
/// As many as SendGrid keeps for an account.
const MOST_KEYS: usize = 100;
const NEEDED: [&str; 3] = ["api_keys.create", "api_keys.delete", "api_keys.read"];
/// What the new key was asked to have, for the proof: too long for an annotation.
const WANTED: &str = "scopes";
/// What SendGrid lists among a key's scopes, and gives to none that asks for it.
const OF_THE_ACCOUNT: [&str; 3] = ["2fa_required", "sender_verification_eligible", "sender_verification_legacy"];

/// Each as schema.json describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    #[serde(flatten)]
    common: Common,
    scopes: Option<Vec<String>>,
    subuser: Option<String>,
}

impl Config {
    fn api(&self) -> Api<'_> {
        let subuser = self.subuser.iter().map(|name| ("on-behalf-of", name.as_str()));
        Api { headers: subuser.collect(), ..self.common.api() }
    }
}

/// SendGrid, by the administrator's key.
struct Account<'a> {
    config: &'a Config,
    admin: Secret,
    run: &'a Run,
}

impl Account<'_> {
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
        // All of them: there are no pages.
        let get = |_| self.config.api().request("GET", KEYS)?.bearer(&self.admin)?.send();
        Ok(issuing::listed(&issuing::pages(ANSWER, usize::MAX, "/result", get)?, "/api_key_id", "/name"))
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
        self.config.common.key_id.as_deref()
    }

    fn id_in(&self, reply: &Reply) -> Result<String, Error> {
        issuing::id_at(reply, "/api_key_id", ANSWER)
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        let path = format!("{KEYS}/{}", segment(id));
        issuing::deleted(self.config.api().request("DELETE", &path)?.bearer(&self.admin)?.send()?)
    }
}

fn scopes_of(document: &Value) -> BTreeSet<String> {
    let scopes = document["scopes"].as_array().into_iter().flatten();
    scopes.filter_map(Value::as_str).map(str::to_owned).collect()
}

enum SendGrid {}
type Exported = Issuing<SendGrid>;
keywheel_sdk::export!(Exported);

impl Service for SendGrid {
    type Config = Config;
    type Account<'a> = Account<'a>;

    const WORDS: Words = Words {
        create: "POST /v3/api_keys",
        test: "GET /v3/scopes",
        delete: "DELETE /v3/api_keys/…",
        codes: ["sendgrid.stray", "sendgrid.key-id"],
        rights: "sendgrid.rights",
        needs: "give it api_keys.create, api_keys.read and api_keys.delete",
    };

    fn open<'a>(run: &'a Run, config: &'a Config) -> Result<Account<'a>, Error> {
        Ok(Account { config, admin: run.input("admin")?, run })
    }

    fn common(config: &Config) -> &Common {
        &config.common
    }

    fn check(config: &Config) -> Vec<(String, String)> {
        let bare = config.scopes.as_ref().is_some_and(Vec::is_empty);
        let message = "a key without scopes has full access: name at least one, or leave it out and copy those of the current key";
        bare.then(|| ("/scopes".to_owned(), message.to_owned())).into_iter().collect()
    }

    fn most(_config: &Config) -> Option<(usize, &'static str)> {
        Some((MOST_KEYS, "sendgrid.limit"))
    }

    fn look(plan: &mut Plan, _run: &Run, account: &Account<'_>, _config: &Config) -> Result<(), Error> {
        let own = account.own_scopes()?;
        for needed in NEEDED.into_iter().filter(|needed| !own.contains(*needed)) {
            let message = format!("the administrator's key lacks the scope {needed}");
            plan.problem("sendgrid.rights", message, Self::WORDS.needs);
        }
        match account.wanted() {
            Ok(wanted) => reach(plan, &own, &wanted),
            Err(problem) => plan.problem("sendgrid.scopes", problem.message, "name the scopes in the configuration"),
        }
        Ok(())
    }

    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let reply = config.api().request("GET", SCOPES)?.bearer(&run.subject()?)?.send()?;
        match issuing::verdict(&reply)? {
            Verdict::Accepted => has_all(run, &scopes_of(&reply.document())),
            verdict => Ok(verdict),
        }
    }
}

/// A key gives no right that it lacks itself.
fn reach(plan: &mut Plan, own: &BTreeSet<String>, wanted: &BTreeSet<String>) {
    let beyond: Vec<&str> = wanted.difference(own).map(String::as_str).collect();
    if let Some(first) = beyond.first() {
        let message = format!("the administrator's key lacks {} of the new key's scopes ({first}, …)", beyond.len());
        plan.warning("sendgrid.reach", message, "give it those too, or name fewer in `scopes`");
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
    use keywheel_sdk::Plugin as _;

    use super::*;

    #[test]
    fn a_key_without_scopes_is_not_asked_for() {
        let config = |scopes: &str| serde_json::from_str(&format!(r#"{{"host":"h","port":443{scopes}}}"#)).unwrap();
        assert_eq!(Exported::check(&config(r#","scopes":[]"#))[0].0, "/scopes");
        assert!(Exported::check(&config("")).is_empty());
        assert!(Exported::check(&config(r#","scopes":["mail.send"]"#)).is_empty());
    }
}
