//! Rotates an access token of GitLab, of a project, a group, a user or a service account: a new one is made with the scopes of the old one, proved, and the
//! old one is revoked. `/rotate` is never called: it kills the old value at once, and when somebody uses that once more, the whole family.

use keywheel_sdk::error::error;
use keywheel_sdk::http::{Call, Reply, segment};
use keywheel_sdk::issuing::{self, Common, Issuing, Service, Words};
use keywheel_sdk::keys::{self, Issuer, Listed};
use keywheel_sdk::{Error, ErrorKind, Plan, Run, Secret, Verdict, dates, runtime};
use serde::Deserialize;
use serde_json::{Value, json};

const PAGE: usize = 100;
const ANSWER: &str = "gitlab.answer";
const SELF: &str = "/api/v4/personal_access_tokens/self";

/// Each as schema.json describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    #[serde(flatten)]
    common: Common,
    owner: Owner,
    id: u64,
    group: Option<u64>,
    scopes: Option<Vec<String>>,
    access_level: Option<u8>,
    days: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Owner {
    Projects,
    Groups,
    Users,
    ServiceAccounts,
}

impl Config {
    /// Where a token is made.
    fn tokens(&self) -> String {
        let id = self.id;
        match self.owner {
            Owner::Projects => format!("/api/v4/projects/{id}/access_tokens"),
            Owner::Groups => format!("/api/v4/groups/{id}/access_tokens"),
            Owner::Users => format!("/api/v4/users/{id}/personal_access_tokens"),
            Owner::ServiceAccounts => {
                let group = self.group.unwrap_or_default();
                format!("/api/v4/groups/{group}/service_accounts/{id}/personal_access_tokens")
            }
        }
    }

    /// Where tokens are listed and revoked.
    fn list(&self) -> String {
        if self.owner == Owner::Users { "/api/v4/personal_access_tokens".to_owned() } else { self.tokens() }
    }

    /// Whether a token has a role: then GitLab makes it a user of its own.
    fn has_level(&self) -> bool {
        matches!(self.owner, Owner::Projects | Owner::Groups)
    }
}

struct Account<'a> {
    config: &'a Config,
    admin: Secret,
    run: &'a Run,
}

impl Account<'_> {
    fn call(&self, method: &str, path: &str) -> Result<Call, Error> {
        self.config.common.api().request(method, path)?.secret_header("private-token", &self.admin)
    }

    /// Those that are neither revoked nor expired.
    fn tokens(&self) -> Result<Vec<Value>, Error> {
        let mut tokens = issuing::pages(ANSWER, PAGE, "", |number| {
            let request = self.call("GET", &self.config.list())?.query("per_page", &PAGE.to_string())?;
            let request = request.query("page", &(number + 1).to_string())?.query("state", "active")?;
            if self.config.owner == Owner::Users {
                return request.query("user_id", &self.config.id.to_string())?.send();
            }
            request.send()
        })?;
        tokens.retain(|token| token["active"] != json!(false));
        Ok(tokens)
    }

    /// Scopes and role of the new token: what the configuration says, or else what the current one has.
    fn wanted(&self) -> Result<Value, Error> {
        let id = keys::id_of(self.run, self, "current")?;
        let current = match (&id, self.config.scopes.is_some() && self.config.access_level.is_some()) {
            (Some(id), false) => self.tokens()?.into_iter().find(|token| issuing::word(token, "/id") == *id),
            _ => None,
        }
        .unwrap_or_default();
        let scopes = self.config.scopes.as_ref().map_or(current["scopes"].clone(), |scopes| json!(scopes));
        if scopes.as_array().is_none_or(Vec::is_empty) {
            let message =
                "there is no current token whose scopes could be copied: name them in the configuration (`scopes`)";
            return Err(error(ErrorKind::Invalid, "gitlab.scopes", message));
        }
        let mut wanted = json!({ "scopes": scopes });
        let level = self.config.access_level.map_or(current["access_level"].clone(), |level| json!(level));
        if self.config.has_level() {
            // Without it GitLab makes a Maintainer.
            if !level.is_u64() {
                let message = "there is no current token whose role could be copied: name it in the configuration (`access-level`)";
                return Err(error(ErrorKind::Invalid, "gitlab.scopes", message));
            }
            wanted["access_level"] = level;
        }
        Ok(wanted)
    }
}

impl Issuer for Account<'_> {
    fn list(&self) -> Result<Vec<Listed>, Error> {
        Ok(issuing::listed(&self.tokens()?, "/id", "/name"))
    }

    fn issue(&self, name: &str) -> Result<Reply, Error> {
        let mut token = self.wanted()?;
        // A token is good until the midnight with which that day begins.
        let end = dates::midnight_after(runtime::now(), self.config.days);
        token["name"] = json!(name);
        token["expires_at"] = json!(dates::day(end));
        keys::ends_at(end)?;
        let request = self.call("POST", &self.config.tokens())?.json(&token)?;
        request.captures(keys::KEY, "/token")?.send()?.accepted("making a token")
    }

    fn id_in(&self, reply: &Reply) -> Result<String, Error> {
        issuing::id_at(reply, "/id", ANSWER)
    }

    fn imported(&self) -> Option<&str> {
        self.config.common.key_id.as_deref()
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        issuing::deleted(self.call("DELETE", &format!("{}/{}", self.config.list(), segment(id)))?.send()?)
    }
}

enum Gitlab {}
type Exported = Issuing<Gitlab>;
keywheel_sdk::export!(Exported);

impl Service for Gitlab {
    type Config = Config;
    type Account<'a> = Account<'a>;

    const WORDS: Words = Words {
        create: "POST …/access_tokens",
        test: "GET /api/v4/personal_access_tokens/self",
        delete: "DELETE …/access_tokens/…",
        codes: ["gitlab.stray", "gitlab.key-id"],
        rights: "gitlab.rights",
        needs: "a token with the scope `api`: of a Maintainer of the project, an Owner of the group, or for tokens of users an administrator",
    };

    fn open<'a>(run: &'a Run, config: &'a Config) -> Result<Account<'a>, Error> {
        Ok(Account { config, admin: run.input("admin")?, run })
    }

    fn common(config: &Config) -> &Common {
        &config.common
    }

    fn check(config: &Config) -> Vec<(String, String)> {
        let of_a_group = config.owner == Owner::ServiceAccounts;
        let group = match (of_a_group, config.group.is_some()) {
            (true, false) => Some(("/group", "is needed: the group that the service account belongs to")),
            (false, true) => Some(("/group", "is for owner = \"service-accounts\"")),
            _ => None,
        };
        let level = (config.access_level.is_some() && !config.has_level())
            .then_some(("/access-level", "is for tokens of projects and groups"));
        group.into_iter().chain(level).map(|(place, words)| (place.to_owned(), words.to_owned())).collect()
    }

    fn look(plan: &mut Plan, _run: &Run, account: &Account<'_>, _config: &Config) -> Result<(), Error> {
        let own = account.call("GET", SELF)?.send()?.accepted("looking at the administrator's token")?.document();
        if own["scopes"].as_array().is_none_or(|scopes| !scopes.contains(&json!("api"))) {
            plan.problem("gitlab.rights", "the administrator's token lacks the scope `api`", Self::WORDS.needs);
        }
        if let Err(problem) = account.wanted() {
            plan.problem("gitlab.scopes", problem.message, "name them in the configuration");
        }
        Ok(())
    }

    /// Any token may look at itself, whatever its scopes are.
    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        issuing::verdict(
            &config.common.api().request("GET", SELF)?.secret_header("private-token", &run.subject()?)?.send()?,
        )
    }
}

#[cfg(test)]
mod tests {
    use keywheel_sdk::Plugin as _;

    use super::*;

    fn problems(more: &str) -> Vec<String> {
        let config = format!(r#"{{"host":"h","port":443,"id":7,"days":90,{more}}}"#);
        let found = Exported::check(&serde_json::from_str(&config).unwrap());
        found.into_iter().map(|(place, _)| place).collect()
    }

    #[test]
    fn a_service_account_has_a_group_and_no_role() {
        assert!(problems(r#""owner":"projects""#).is_empty());
        assert!(problems(r#""owner":"groups","access-level":30"#).is_empty());
        assert_eq!(problems(r#""owner":"service-accounts""#), ["/group"]);
        assert_eq!(problems(r#""owner":"users","group":1,"access-level":30"#), ["/group", "/access-level"]);
    }
}
