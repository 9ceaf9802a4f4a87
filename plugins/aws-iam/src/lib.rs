//! Rotates an access key of an IAM user: a second one is made, proved and used, and the first one is deleted.
//!
//! - mode `user` (left out): an administrator's key makes and deletes those of the user;
//! - mode `self`: the key makes its own successor, which deletes it.
//!
//! IAM keeps two keys for a user, shows a secret once, and gives keys no names (slot class D). Which keys the user had before its own was asked for is
//! written down first: where the answer is lost, a key that was not there, that no version is and that nobody has used is the lost one. No other key is
//! ever deleted or switched off but the one that a version says is its own, and the one in use never.
//!
//! The secret is a document, `{"access_key_id": …, "secret_access_key": …}`: the host signs by it, and the id in it says which key a version is.

mod iam;
mod issue;
mod plan;

use keywheel_sdk::error::error;
use keywheel_sdk::{Error, ErrorKind, Outcome, Plan, Plugin, Run, Secret, Verdict, Version};
use serde::Deserialize;

use iam::Iam;

/// Each as schema.json describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    host: String,
    sts_host: String,
    port: u16,
    trust: Option<String>,
    region: Option<String>,
    account: String,
    user: String,
    mode: Option<String>,
}

impl Config {
    fn is_own(&self) -> bool {
        self.mode.as_deref() == Some("self")
    }
}

enum AwsIam {}
keywheel_sdk::export!(AwsIam);

impl Plugin for AwsIam {
    type Config = Config;

    fn plan(run: &Run, config: &Config) -> Result<Plan, Error> {
        plan::look(run, config)
    }

    fn create(run: &Run, config: &Config) -> Result<Outcome, Error> {
        issue::create(run, config)
    }

    /// A key is good from the moment that it is made, wherever that is known.
    fn apply(_run: &Run, _config: &Config) -> Result<Outcome, Error> {
        Ok(Outcome::Done)
    }

    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let reply = iam::who(config, &run.subject()?)?;
        let code = iam::code(&reply);
        Ok(match (reply.status(), code.as_str()) {
            (200, _) => {
                let arn = reply.text(&format!("{}/Arn", iam::WHO)).unwrap_or_default();
                if !is_of(&arn, config) {
                    let message = format!("the key is of {arn}, not of the user {} of {}", config.user, config.account);
                    return Err(error(ErrorKind::Invalid, "aws-iam.other-user", message));
                }
                Verdict::Accepted
            }
            // Deleted, switched off, or not known yet: for how long it may not be the manifest says.
            (403, "InvalidClientTokenId") => Verdict::Rejected,
            (403, "SignatureDoesNotMatch") if !iam::is_of_the_clock(&reply) => Verdict::Rejected,
            (403, "SignatureDoesNotMatch" | "RequestExpired") => {
                Verdict::Unknown("AWS says that the request is of another time: the host's clock is wrong".to_owned())
            }
            (400 | 429 | 500..=599, _) => return Err(iam::problem(&reply, "asking whose the key is")),
            (status, code) => Verdict::Unknown(format!("STS answered {status} {code}")),
        })
    }

    fn revoke(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let id = id_in(&run.subject()?)?;
        if id_of(run, Version::Current)?.as_ref() == Some(&id) {
            return Ok(Outcome::Impossible("it is the key that clients use now".to_owned()));
        }
        Iam::open(run, config)?.delete(&id)?;
        Ok(Outcome::Done)
    }

    fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
        issue::rollback(run, config)
    }
}

/// `arn:aws:iam::123456789012:user/path/name`
fn is_of(arn: &str, config: &Config) -> bool {
    let mut parts = arn.splitn(6, ':').skip(4);
    let (account, name) = (parts.next(), parts.next().unwrap_or_default());
    account == Some(&config.account)
        && name.starts_with("user/")
        && name.rsplit('/').next() == Some(config.user.as_str())
}

/// Which key a version is.
fn id_of(run: &Run, version: Version) -> Result<Option<String>, Error> {
    version.find(run)?.map(|secret| id_in(&secret)).transpose()
}

fn id_in(secret: &Secret) -> Result<String, Error> {
    secret.public_part("json", "/access_key_id").map_err(|mut problem| {
        problem.message = format!(
            "{}; the value is to be a JSON document like {{\"access_key_id\": \"AKIA…\", \"secret_access_key\": \"…\"}}",
            problem.message
        );
        problem
    })
}

/// The key that asks IAM.
fn key_of(run: &Run, config: &Config) -> Result<Secret, Error> {
    if config.is_own() { Version::Current.get(run) } else { run.input("admin") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_another_user_or_account_is_told_from_its_own() {
        let config: Config =
            serde_json::from_str(r#"{"host":"h","sts-host":"s","port":443,"account":"123456789012","user":"app"}"#)
                .unwrap();
        for (arn, is) in [
            ("arn:aws:iam::123456789012:user/app", true),
            ("arn:aws-cn:iam::123456789012:user/shop/eu/app", true),
            ("arn:aws:iam::123456789012:user/app2", false),
            ("arn:aws:iam::123456789013:user/app", false),
            ("arn:aws:iam::123456789012:root", false),
            ("arn:aws:sts::123456789012:assumed-role/x/app", false),
            ("", false),
        ] {
            assert_eq!(is_of(arn, &config), is, "{arn}");
        }
    }
}
