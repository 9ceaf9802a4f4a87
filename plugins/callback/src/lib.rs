//! Rotates an API key of a service of one's own: the host makes the key and tells the service.
//!
//! - `old = "kept"` (left out): the service takes both keys until it is told to drop the old one (slot class A);
//! - `old = "replaced"`: the new key takes the old one's place at once (slot class C).
//!
//! What the service is told has an `Idempotency-Key`, the same in each try, and a signature if the configuration names a header for it.

use keywheel_sdk::bindings::keywheel::core::secrets::{Composer, generate_token};
use keywheel_sdk::http::{Api, Reply};
use keywheel_sdk::{Error, Outcome, Plan, Plugin, Run, Secret, Verdict, Version};
use serde::Deserialize;
use serde_json::json;

const TIMEOUT_MS: u32 = 15_000;
/// 256 bits.
const KEY_BYTES: u16 = 32;

/// Each as schema.json describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    host: String,
    port: u16,
    trust: Option<String>,
    path: String,
    verify_path: String,
    revoke_path: Option<String>,
    old: Option<String>,
    signed: Option<bool>,
    prefix: Option<String>,
}

impl Config {
    fn is_replaced(&self) -> bool {
        self.old.as_deref() == Some("replaced")
    }

    fn api(&self) -> Api<'_> {
        let (host, trust) = (self.host.as_str(), self.trust.as_deref());
        Api { host, port: self.port, trust, timeout_ms: TIMEOUT_MS, headers: Vec::new() }
    }

    /// Tells the service a key, by a path. `label`: what for, the same in each try.
    fn tell(&self, run: &Run, path: &str, key: &Secret, label: &str) -> Result<Reply, Error> {
        let document = Composer::new("application/json");
        document.text(r#"{"api_key":""#)?;
        document.secret(key, "json")?;
        document.text("\"}")?;
        let document = Composer::finish(document)?;
        let request = self.api().request("POST", &format!("/{path}"))?.bearer(&run.input("admin")?)?;
        let mut request = request.secret_json(&document)?.idempotent(&run.idempotency_key(label));
        if self.signed == Some(true) {
            let parameters = json!({ "header": "keywheel-signature" });
            request = request.signed("hmac-sha256", &parameters, &run.input("signing")?)?;
        }
        request.send()?.accepted("telling the service")
    }

    /// Has it take a key.
    fn give(&self, run: &Run, key: &Secret, label: &str) -> Result<Outcome, Error> {
        let document = self.tell(run, &self.path, key, label)?.document();
        if document["accepted"].as_bool() == Some(false) {
            return Ok(Outcome::Blocked("the service says that it does not accept the key".to_owned()));
        }
        if let Some(seconds) = document["old_valid_until"].as_u64() {
            run.set_valid_until("current", seconds.saturating_mul(1000))?;
        }
        Ok(Outcome::Done)
    }

    /// Has it take one no more.
    fn drop_key(&self, run: &Run, key: &Secret, label: &str) -> Result<Outcome, Error> {
        match &self.revoke_path {
            Some(path) => self.tell(run, path, key, label).map(|_| Outcome::Done),
            None => Ok(Outcome::Blocked("the service has no way to be told: have it drop the old key".to_owned())),
        }
    }
}

enum Callback {}
keywheel_sdk::export!(Callback);

impl Plugin for Callback {
    type Config = Config;

    fn check(config: &Config) -> Vec<(String, String)> {
        let wrong = match (config.is_replaced(), &config.revoke_path) {
            (false, None) => {
                Some("is needed, for the service keeps the old key until it is told (or say `old = \"replaced\"`)")
            }
            (true, Some(_)) => Some("is of no use where the new key takes the old one's place"),
            _ => None,
        };
        wrong.map(|message| ("/revoke-path".to_owned(), message.to_owned())).into_iter().collect()
    }

    fn plan(_run: &Run, config: &Config) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        plan.step("create", "a random key of 256 bits");
        plan.step("apply", format!("POST /{} with the new key", config.path));
        plan.step("test", format!("GET /{} with the key", config.verify_path));
        match &config.revoke_path {
            Some(path) => plan.step("revoke", format!("POST /{path} with the old key")),
            None => plan.step("revoke", "nothing: the old key is gone since apply"),
        }
        if config.is_replaced() {
            plan.gap("clients that hold only the old key are refused from apply until each has read the new one");
        }
        Ok(plan)
    }

    fn create(run: &Run, config: &Config) -> Result<Outcome, Error> {
        if run.pending()?.is_none() {
            let prefix = config.prefix.as_deref().unwrap_or_default();
            run.set_pending(&generate_token(prefix, KEY_BYTES, "base64url")?)?;
        }
        Ok(Outcome::Done)
    }

    fn apply(run: &Run, config: &Config) -> Result<Outcome, Error> {
        config.give(run, &Version::Pending.get(run)?, "apply")
    }

    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let path = format!("/{}", config.verify_path);
        let reply = config.api().request("GET", &path)?.bearer(&run.subject()?)?.send()?;
        Ok(match reply.status() {
            200..=299 => Verdict::Accepted,
            401 => Verdict::Rejected,
            403 => Verdict::Limited("the service knows the key, and does not let it in here (403)".to_owned()),
            429 | 500..=599 => return Err(reply.problem("asking with the key")),
            status => Verdict::Unknown(format!("the service answered {status}")),
        })
    }

    fn revoke(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let subject = run.subject()?;
        if run.current()?.is_some_and(|current| current.id() == subject.id()) {
            return Ok(Outcome::Impossible("it is the key that clients use now".to_owned()));
        }
        if config.is_replaced() { Ok(Outcome::Done) } else { config.drop_key(run, &subject, "revoke") }
    }

    fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let Some(pending) = run.pending()? else { return Ok(Outcome::Done) };
        match run.current()? {
            Some(current) if current.id() == pending.id() => Ok(Outcome::Done),
            Some(current) if config.is_replaced() => config.give(run, &current, "restore"),
            None if config.is_replaced() => {
                Ok(Outcome::Impossible("there is no older key to put in its place".to_owned()))
            }
            _ => config.drop_key(run, &pending, "rollback"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_keeps_the_old_key_has_to_be_told_of_its_end() {
        let problems = |more: &str| {
            let text = format!(r#"{{"host":"h","port":1,"path":"p","verify-path":"v"{more}}}"#);
            Callback::check(&serde_json::from_str(&text).unwrap()).len()
        };
        assert_eq!(problems(""), 1);
        assert_eq!(problems(r#","revoke-path":"r""#), 0);
        assert_eq!(problems(r#","old":"replaced""#), 0);
        assert_eq!(problems(r#","old":"replaced","revoke-path":"r""#), 1);
    }
}
