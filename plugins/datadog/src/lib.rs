//! Rotates an API key of Datadog: a new one is made beside the old one, proved, and the old one is deleted. A key has no rights of its own: it lets data in.

use keywheel_sdk::http::{Call, Reply, segment};
use keywheel_sdk::issuing::{self, Common, Issuing, Service, Words};
use keywheel_sdk::keys::{self, Issuer, Listed};
use keywheel_sdk::{Error, Plan, Run, Secret, Verdict};
use serde::Deserialize;
use serde_json::json;

const KEYS: &str = "/api/v2/api_keys";
const PAGE: usize = 100;
/// As many as Datadog makes for an organization, if it was not asked for more.
const MOST_KEYS: usize = 50;
const ANSWER: &str = "datadog.answer";

/// Each as schema.json describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    #[serde(flatten)]
    common: Common,
    most_keys: Option<usize>,
}

struct Account<'a> {
    config: &'a Config,
    admin: Secret,
    application: Secret,
}

impl Account<'_> {
    fn call(&self, method: &str, path: &str) -> Result<Call, Error> {
        let request = self.config.common.api().request(method, path)?.secret_header("dd-api-key", &self.admin)?;
        request.secret_header("dd-application-key", &self.application)
    }
}

impl Issuer for Account<'_> {
    fn list(&self) -> Result<Vec<Listed>, Error> {
        let keys = issuing::pages(ANSWER, PAGE, "/data", |number| {
            let request = self.call("GET", KEYS)?.query("page[size]", &PAGE.to_string())?;
            request.query("page[number]", &number.to_string())?.send()
        })?;
        Ok(issuing::listed(&keys, "/id", "/attributes/name"))
    }

    fn issue(&self, name: &str) -> Result<Reply, Error> {
        let key = json!({ "data": { "type": "api_keys", "attributes": { "name": name } } });
        let request = self.call("POST", KEYS)?.json(&key)?.captures(keys::KEY, "/data/attributes/key")?;
        request.send()?.accepted("making a key")
    }

    fn id_in(&self, reply: &Reply) -> Result<String, Error> {
        issuing::id_at(reply, "/data/id", ANSWER)
    }

    fn imported(&self) -> Option<&str> {
        self.config.common.key_id.as_deref()
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        issuing::deleted(self.call("DELETE", &format!("{KEYS}/{}", segment(id)))?.send()?)
    }
}

enum Datadog {}
type Exported = Issuing<Datadog>;
keywheel_sdk::export!(Exported);

impl Service for Datadog {
    type Config = Config;
    type Account<'a> = Account<'a>;

    const WORDS: Words = Words {
        create: "POST /api/v2/api_keys",
        test: "GET /api/v1/validate",
        delete: "DELETE /api/v2/api_keys/…",
        codes: ["datadog.stray", "datadog.key-id"],
        rights: "datadog.rights",
        needs: "api_keys_read, api_keys_write and api_keys_delete for the application key's owner; Datadog says 403 of a key that it does not know, too: look at both inputs",
    };

    fn open<'a>(run: &'a Run, config: &'a Config) -> Result<Account<'a>, Error> {
        Ok(Account { config, admin: run.input("admin")?, application: run.input("application")? })
    }

    fn common(config: &Config) -> &Common {
        &config.common
    }

    fn most(config: &Config) -> Option<(usize, &'static str)> {
        Some((config.most_keys.unwrap_or(MOST_KEYS), "datadog.limit"))
    }

    fn look(_plan: &mut Plan, _run: &Run, _account: &Account<'_>, _config: &Config) -> Result<(), Error> {
        Ok(())
    }

    /// A key has no rights that it could lack: 403 is one that Datadog does not know.
    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let request = config.common.api().request("GET", "/api/v1/validate")?;
        let reply = request.secret_header("dd-api-key", &run.subject()?)?.send()?;
        Ok(match (reply.status(), reply.text("/errors/0").as_deref()) {
            (403, Some("Forbidden")) => Verdict::Rejected,
            (403, _) => Verdict::Unknown("403, and not in Datadog's words: something in between refused".to_owned()),
            _ => issuing::verdict(&reply)?,
        })
    }
}
