//! Rotates the password of a user of RabbitMQ, by its management API.
//!
//! - mode `account` (left out): one user. The server keeps one password for it, so clients that hold only the old one are refused until they have the
//!   new one (slot class C).
//! - mode `alternating`: two users with the same rights, used in turn. The one that clients use now keeps its password until the grace is over: no gap.
//!   The secret has the user name beside the password.
//!
//! The server is given the hash that it would make of a password, with a salt of the host's. It replaces all of a user at once, so the tags are read
//! first and go with it. The proof is `GET /api/whoami`: the API says of a right password whose user may not use the API that it is no management user.

mod api;
mod plan;

use keywheel_sdk::error::refused_because;
use keywheel_sdk::{Accounts, Back, Error, Outcome, Plan, Plugin, Run, Verdict, Version, Written};
use serde::Deserialize;

use api::{Admin, HASH};

/// Letters, digits, `-` and `_`: 192 bits.
const PASSWORD_LENGTH: u16 = 32;

/// Each as schema.json describes it.
#[derive(Debug, Deserialize)]
struct Config {
    host: String,
    port: u16,
    trust: Option<String>,
    admin: String,
    user: Option<String>,
    users: Option<[String; 2]>,
    #[serde(flatten)]
    written: Written,
}

impl Config {
    fn accounts(&self) -> Accounts<'_> {
        static NOBODY: String = String::new();
        match &self.users {
            Some(users) => Accounts::two(users).written(&self.written),
            None => Accounts::one(self.user.as_ref().unwrap_or(&NOBODY)).written(&self.written),
        }
    }

    fn is_pair(&self) -> bool {
        self.users.is_some()
    }
}

enum RabbitMq {}
keywheel_sdk::export!(RabbitMq);

impl Plugin for RabbitMq {
    type Config = Config;

    fn check(config: &Config) -> Vec<(String, String)> {
        let problem = |place: &str, message: &str| vec![(place.to_owned(), message.to_owned())];
        match config.accounts().names() {
            [first, second] if first == second => problem("/users/1", "must be another user: each keeps one password"),
            names if names.contains(&config.admin) => problem("/admin", "must be another user than what is rotated"),
            names => config.written.problems(names.len()),
        }
    }

    fn plan(run: &Run, config: &Config) -> Result<Plan, Error> {
        plan::look(run, config)
    }

    fn create(run: &Run, config: &Config) -> Result<Outcome, Error> {
        config.accounts().create(run, PASSWORD_LENGTH)
    }

    fn apply(run: &Run, config: &Config) -> Result<Outcome, Error> {
        set_password(run, config, Version::Pending)
    }

    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let accounts = config.accounts();
        let name = accounts.name(run, Version::Subject)?;
        let password = accounts.password(run, Version::Subject)?;
        let reply = api::whoami(config, name, &password)?;
        let reason = reply.text("/reason").unwrap_or_default();
        Ok(match (reply.status(), reason.as_str()) {
            (200, _) | (401, "Not management user") => Verdict::Accepted,
            // Older servers say the first, newer ones the second.
            (401, "Login failed" | "Not_Authorized") => {
                let user = Admin::open(run, config).and_then(|admin| admin.user(name));
                refused_because(user.map(|_| None))?
            }
            (401, "User can only log in via localhost") => {
                Verdict::Account(format!("{name} may log in on the server's own machine alone (loopback_users)"))
            }
            (429 | 500..=599, _) => return Err(reply.problem("asking as the user")),
            (status, _) => Verdict::Unknown(format!("the server answered {status}")),
        })
    }

    fn revoke(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let shut = config.accounts().to_revoke(run)?;
        shut.map_or(Ok(Outcome::Done), |name| Admin::open(run, config)?.clear(name))
    }

    fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
        match config.accounts().to_roll_back(run)? {
            Back::Nothing => Ok(Outcome::Done),
            Back::Restore => set_password(run, config, Version::Current),
            Back::Shut(name) => Admin::open(run, config)?.clear(name),
        }
    }
}

fn set_password(run: &Run, config: &Config, version: Version) -> Result<Outcome, Error> {
    let accounts = config.accounts();
    let hash = accounts.password(run, version)?.derive(HASH, "")?;
    Admin::open(run, config)?.set(accounts.name(run, version)?, &hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_users_are_two_and_the_administrator_is_none_of_them() {
        let places = |more: &str| {
            let text = format!(r#"{{"host":"h","port":1,"admin":"rotator",{more}}}"#);
            let problems = RabbitMq::check(&serde_json::from_str(&text).unwrap());
            problems.into_iter().map(|(place, _)| place).collect::<Vec<_>>()
        };
        assert_eq!(places(r#""user":"app""#), [""; 0]);
        assert_eq!(places(r#""user":"rotator""#), ["/admin"]);
        assert_eq!(places(r#""users":["a","b"]"#), [""; 0]);
        assert_eq!(places(r#""users":["a","a"]"#), ["/users/1"]);
        assert_eq!(places(r#""users":["a","rotator"]"#), ["/admin"]);
    }
}
