//! Rotates an API token of Cloudflare, a user's or an account's: a new one is made with the policies and conditions of the old one, proved, and the old one is
//! deleted. `PUT …/value` is never called: it kills the old value at once.

use keywheel_sdk::error::error;
use keywheel_sdk::http::{Call, Reply, segment};
use keywheel_sdk::issuing::{self, Common, Issuing, Service, Words};
use keywheel_sdk::keys::{self, Issuer, Listed};
use keywheel_sdk::{Error, ErrorKind, Plan, Run, Secret, Verdict, dates, runtime};
use serde::Deserialize;
use serde_json::{Value, json};

const PAGE: usize = 50;
/// As many tokens as Cloudflare keeps of a user, and of an account.
const MOST: [usize; 2] = [50, 500];
const ANSWER: &str = "cloudflare.answer";

/// Each as schema.json describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    #[serde(flatten)]
    common: Common,
    account_id: Option<String>,
    days: Option<u32>,
}

impl Config {
    fn request(&self, method: &str, rest: &str) -> Result<Call, Error> {
        let owner = self.account_id.as_ref().map_or("user".to_owned(), |id| format!("accounts/{id}"));
        self.common.api().request(method, &format!("/client/v4/{owner}/tokens{rest}"))
    }
}

struct Account<'a> {
    config: &'a Config,
    admin: Secret,
    run: &'a Run,
}

impl Account<'_> {
    fn call(&self, method: &str, rest: &str) -> Result<Call, Error> {
        self.config.request(method, rest)?.bearer(&self.admin)
    }

    /// What the new token is to have: policies and conditions of the current one.
    fn wanted(&self) -> Result<Value, Error> {
        let failed = |words: &str| error(ErrorKind::Invalid, "cloudflare.policies", words);
        let id = keys::id_of(self.run, self, "current")?
            .ok_or_else(|| failed("there is no current token whose policies could be copied"))?;
        let reply = self.call("GET", &format!("/{}", segment(&id)))?.send()?.accepted("reading the current token")?;
        let token = &reply.document()["result"];
        let policies: Vec<Value> = token["policies"].as_array().into_iter().flatten().map(copied).collect();
        if policies.is_empty() {
            return Err(failed("the current token has no policies to copy"));
        }
        let mut wanted = json!({ "policies": policies });
        if token["condition"].is_object() {
            wanted["condition"] = token["condition"].clone();
        }
        Ok(wanted)
    }
}

/// A policy as it is asked for: Cloudflare gives it an id of its own, and shows the names of what it allows.
fn copied(policy: &Value) -> Value {
    let groups = policy["permission_groups"].as_array().into_iter().flatten();
    let groups: Vec<Value> = groups.map(|group| json!({ "id": group["id"] })).collect();
    json!({ "effect": policy["effect"], "resources": policy["resources"], "permission_groups": groups })
}

impl Issuer for Account<'_> {
    fn list(&self) -> Result<Vec<Listed>, Error> {
        let tokens = issuing::pages(ANSWER, PAGE, "/result", |number| {
            let request = self.call("GET", "")?.query("per_page", &PAGE.to_string())?;
            request.query("page", &(number + 1).to_string())?.send()
        })?;
        Ok(issuing::listed(&tokens, "/id", "/name"))
    }

    fn issue(&self, name: &str) -> Result<Reply, Error> {
        let mut token = self.wanted()?;
        token["name"] = json!(name);
        if let Some(days) = self.config.days {
            let end = dates::after(runtime::now(), days);
            token["expires_on"] = json!(dates::instant(end));
            keys::ends_at(end)?;
        }
        self.call("POST", "")?.json(&token)?.captures(keys::KEY, "/result/value")?.send()?.accepted("making a token")
    }

    fn id_in(&self, reply: &Reply) -> Result<String, Error> {
        issuing::id_at(reply, "/result/id", ANSWER)
    }

    fn imported(&self) -> Option<&str> {
        self.config.common.key_id.as_deref()
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        issuing::deleted(self.call("DELETE", &format!("/{}", segment(id)))?.send()?)
    }
}

enum Cloudflare {}
type Exported = Issuing<Cloudflare>;
keywheel_sdk::export!(Exported);

impl Service for Cloudflare {
    type Config = Config;
    type Account<'a> = Account<'a>;

    const WORDS: Words = Words {
        create: "POST …/tokens",
        test: "GET …/tokens/verify",
        delete: "DELETE …/tokens/…",
        codes: ["cloudflare.stray", "cloudflare.key-id"],
        rights: "cloudflare.rights",
        needs: "a user's: User > API Tokens > Edit (the template `Create additional tokens`); an account's: Account API Tokens Write",
    };

    fn open<'a>(run: &'a Run, config: &'a Config) -> Result<Account<'a>, Error> {
        Ok(Account { config, admin: run.input("admin")?, run })
    }

    fn common(config: &Config) -> &Common {
        &config.common
    }

    fn most(config: &Config) -> Option<(usize, &'static str)> {
        Some((MOST[usize::from(config.account_id.is_some())], "cloudflare.limit"))
    }

    fn look(plan: &mut Plan, run: &Run, account: &Account<'_>, _config: &Config) -> Result<(), Error> {
        if keys::id_of(run, account, "current")?.is_none() {
            return Ok(());
        }
        match account.wanted() {
            Err(problem) if problem.kind == ErrorKind::Invalid || problem.kind == ErrorKind::NotFound => {
                plan.problem("cloudflare.policies", problem.message, "import a token that is in use, and its id");
                Ok(())
            }
            seen => seen.map(drop),
        }
    }

    /// A token that is disabled or expired is answered with 200.
    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let reply = config.request("GET", "/verify")?.bearer(&run.subject()?)?.send()?;
        Ok(match (issuing::verdict(&reply)?, reply.text("/result/status").as_deref()) {
            (Verdict::Accepted, Some("active")) => Verdict::Accepted,
            (Verdict::Accepted, Some(status)) => {
                Verdict::Limited(format!("Cloudflare says that the token is {status}"))
            }
            (Verdict::Accepted, None) => {
                Verdict::Unknown("Cloudflare does not say whether the token is active".to_owned())
            }
            (verdict, _) => verdict,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_asked_for_without_what_cloudflare_adds() {
        let policy = json!({
            "id": "p", "effect": "allow", "resources": { "zone": "*" },
            "permission_groups": [{ "id": "g", "name": "DNS Write", "meta": {} }],
        });
        let expected = json!({ "effect": "allow", "resources": { "zone": "*" }, "permission_groups": [{ "id": "g" }] });
        assert_eq!(copied(&policy), expected);
    }
}
