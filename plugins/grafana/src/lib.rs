//! Rotates a token of a Grafana service account: a new one is made beside the old one, proved, and the old one is deleted. A token has what its account has.

use keywheel_sdk::error::error;
use keywheel_sdk::http::{Call, Reply, segment};
use keywheel_sdk::issuing::{self, Common, Issuing, Service, Words};
use keywheel_sdk::keys::{self, Issuer, Listed};
use keywheel_sdk::{Error, ErrorKind, Plan, Run, Secret, Verdict, dates, runtime};
use serde::Deserialize;
use serde_json::json;

const ANSWER: &str = "grafana.answer";
/// What Grafana 10 and later says of a name that is taken, with 400; before it was 409.
const TAKEN: &str = "serviceaccounts.ErrTokenAlreadyExists";

/// Each as schema.json describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    #[serde(flatten)]
    common: Common,
    service_account: u64,
    days: Option<u32>,
}

struct Account<'a> {
    config: &'a Config,
    admin: Secret,
}

impl Account<'_> {
    fn call(&self, method: &str, rest: &str) -> Result<Call, Error> {
        let path = format!("/api/serviceaccounts/{}{rest}", self.config.service_account);
        self.config.common.api().request(method, &path)?.bearer(&self.admin)
    }
}

impl Issuer for Account<'_> {
    fn list(&self) -> Result<Vec<Listed>, Error> {
        // All of them: there are no pages.
        let tokens = issuing::pages(ANSWER, usize::MAX, "", |_| self.call("GET", "/tokens")?.send())?;
        Ok(issuing::listed(&tokens, "/id", "/name"))
    }

    fn issue(&self, name: &str) -> Result<Reply, Error> {
        let mut token = json!({ "name": name });
        if let Some(days) = self.config.days {
            let now = runtime::now();
            let end = dates::after(now, days);
            token["secondsToLive"] = json!((end - now) / 1000);
            keys::ends_at(end)?;
        }
        let reply = self.call("POST", "/tokens")?.json(&token)?.captures(keys::KEY, "/key")?.send()?;
        if reply.status() == 400 && reply.text("/messageId").as_deref() == Some(TAKEN) {
            let message = format!("the organization has a token named {name}, and this service account has none");
            return Err(error(ErrorKind::Conflict, "grafana.taken", message));
        }
        reply.accepted("making a token")
    }

    fn id_in(&self, reply: &Reply) -> Result<String, Error> {
        issuing::id_at(reply, "/id", ANSWER)
    }

    fn imported(&self) -> Option<&str> {
        self.config.common.key_id.as_deref()
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        issuing::deleted(self.call("DELETE", &format!("/tokens/{}", segment(id)))?.send()?)
    }
}

enum Grafana {}
type Exported = Issuing<Grafana>;
keywheel_sdk::export!(Exported);

impl Service for Grafana {
    type Config = Config;
    type Account<'a> = Account<'a>;

    const WORDS: Words = Words {
        create: "POST /api/serviceaccounts/…/tokens",
        test: "GET /api/org",
        delete: "DELETE /api/serviceaccounts/…/tokens/…",
        codes: ["grafana.stray", "grafana.key-id"],
        rights: "grafana.rights",
        needs: "serviceaccounts:read and serviceaccounts:write, on serviceaccounts:id:… of this account; or the role Admin",
    };

    fn open<'a>(run: &'a Run, config: &'a Config) -> Result<Account<'a>, Error> {
        Ok(Account { config, admin: run.input("admin")? })
    }

    fn common(config: &Config) -> &Common {
        &config.common
    }

    fn look(plan: &mut Plan, _run: &Run, account: &Account<'_>, _config: &Config) -> Result<(), Error> {
        let found = account.call("GET", "")?.send()?.accepted("looking at the service account")?.document();
        if found["isDisabled"] == true {
            plan.problem("grafana.disabled", "the service account is disabled", "enable it");
        }
        if found["role"] == "None" {
            let message =
                "the service account has no role: unless it is given orgs:read, no login proves a token of it";
            plan.warning("grafana.role", message, "give it the role Viewer, or the permission orgs:read");
        }
        Ok(())
    }

    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        issuing::verdict(&config.common.api().request("GET", "/api/org")?.bearer(&run.subject()?)?.send()?)
    }
}
