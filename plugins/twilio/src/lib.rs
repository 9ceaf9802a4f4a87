//! Rotates a Standard API key of Twilio: a new one is made beside the old one, proved, and the old one is deleted. A key is two parts, a SID and a secret; the
//! vault has both in one document, so that no client ever reads the SID of one and the secret of another.

use keywheel_sdk::account::credential;
use keywheel_sdk::http::{Call, Reply, segment};
use keywheel_sdk::issuing::{self, Common, Issuing, Service, Words};
use keywheel_sdk::keys::{self, Issuer, Listed};
use keywheel_sdk::{Error, Plan, Run, Secret, Verdict};
use serde::Deserialize;

const PAGE: usize = 1000;
const ANSWER: &str = "twilio.answer";
/// As long as a key's name may be.
const LONGEST_NAME: usize = 64;
/// A hyphen and 16 digits, behind the name of the rotation.
const MARKER_LENGTH: usize = 17;

/// Each as schema.json describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    #[serde(flatten)]
    common: Common,
    account_sid: String,
    admin_sid: String,
}

impl Config {
    fn request(&self, method: &str, rest: &str) -> Result<Call, Error> {
        self.common.api().request(method, &format!("/2010-04-01/Accounts/{}/{rest}", self.account_sid))
    }
}

struct Account<'a> {
    config: &'a Config,
    admin: Secret,
}

impl Account<'_> {
    fn call(&self, method: &str, rest: &str) -> Result<Call, Error> {
        self.config.request(method, rest)?.basic(&self.config.admin_sid, &self.admin)
    }
}

/// The SID in a version.
fn sid_in(version: &Secret) -> Result<String, Error> {
    version.public_part("json", "/username")
}

impl Issuer for Account<'_> {
    fn list(&self) -> Result<Vec<Listed>, Error> {
        let keys = issuing::pages(ANSWER, PAGE, "/keys", |number| {
            let request = self.call("GET", "Keys.json")?.query("PageSize", &PAGE.to_string())?;
            request.query("Page", &number.to_string())?.send()
        })?;
        Ok(issuing::listed(&keys, "/sid", "/friendly_name"))
    }

    fn issue(&self, name: &str) -> Result<Reply, Error> {
        let request = self.call("POST", "Keys.json")?.form(&[("FriendlyName", name)])?;
        request.captures(keys::KEY, "/secret")?.send()?.accepted("making a key")
    }

    fn id_in(&self, reply: &Reply) -> Result<String, Error> {
        issuing::id_at(reply, "/sid", ANSWER)
    }

    fn imported(&self) -> Option<&str> {
        self.config.common.key_id.as_deref()
    }

    fn id_inside(&self, version: &Secret) -> Result<Option<String>, Error> {
        sid_in(version).map(Some)
    }

    fn version(&self, run: &Run, id: &str, reply: &Reply) -> Result<Secret, Error> {
        credential(id, &reply.captured(keys::KEY)?, run.current()?.as_ref())
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        issuing::deleted(self.call("DELETE", &format!("Keys/{}.json", segment(id)))?.send()?)
    }
}

enum Twilio {}
type Exported = Issuing<Twilio>;
keywheel_sdk::export!(Exported);

impl Service for Twilio {
    type Config = Config;
    type Account<'a> = Account<'a>;

    const WORDS: Words = Words {
        create: "POST …/Keys.json",
        test: "GET …/Calls.json?PageSize=1",
        delete: "DELETE …/Keys/….json",
        codes: ["twilio.stray", "twilio.key-id"],
        rights: "twilio.rights",
        needs: "the secret of a Main key, with its SID as `admin-sid`; or the account's auth token, with the account's SID",
    };

    fn open<'a>(run: &'a Run, config: &'a Config) -> Result<Account<'a>, Error> {
        Ok(Account { config, admin: run.input("admin")? })
    }

    fn common(config: &Config) -> &Common {
        &config.common
    }

    fn look(plan: &mut Plan, run: &Run, _account: &Account<'_>, config: &Config) -> Result<(), Error> {
        let marker = config.common.marker.as_deref().unwrap_or("keywheel");
        let length = keys::prefix_of(run, marker).len() + MARKER_LENGTH;
        if length > LONGEST_NAME {
            let message = format!("the name of a new key has {length} characters, and Twilio takes {LONGEST_NAME}");
            plan.problem("twilio.name", message, "a shorter `marker`, or a shorter name of the rotation");
        }
        Ok(())
    }

    /// The account itself may be looked at by Main keys alone, and others are told 401, as a dead one is. Calls may be listed by any Standard key.
    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let subject = run.subject()?;
        let request = config.request("GET", "Calls.json")?.query("PageSize", "1")?;
        issuing::verdict(&request.basic(&sid_in(&subject)?, &subject.part("json", "/password")?)?.send()?)
    }
}
