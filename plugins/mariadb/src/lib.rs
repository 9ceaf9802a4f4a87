//! Rotates the password of a MariaDB user.
//!
//! A user takes each password of a list (`IDENTIFIED VIA … OR …`), so the old one works until it is taken out: no gap. Every statement
//! names the whole list, of what the vault goes on with, so that it can be said again at any time. The list holds hashes, which the host
//! derives: a password itself is only ever sent by its own login, and the server's general log has none.
//!
//! `'user'@'%'` and `'user'@'10.%'` are two accounts: all that the configuration lists are changed, one after the other.

mod plan;

use keywheel_sdk::error::{ErrorExt, admin_refused, missing, refused_because};
use keywheel_sdk::sql::{Connector, Piece, Server, Session};
use keywheel_sdk::{Accounts, Error, Form, Outcome, Plan, Plugin, Run, Secret, Verdict, Version};
use serde::Deserialize;

/// Letters, digits, `-` and `_`: 288 bits. The server keeps unsalted hashes, so the password must not be guessable.
const PASSWORD_LENGTH: u16 = 48;
const HASH: &str = "mysql.native-password";
/// What is no hash is no password's.
const NO_PASSWORD: &[Piece<'_>] = &[Piece::Text(" IDENTIFIED VIA mysql_native_password USING 'invalid'")];
/// The server refused the login.
const ACCESS_DENIED: u16 = 1045;

/// Each as schema.json describes it.
#[derive(Debug, Deserialize)]
struct Config {
    #[serde(flatten)]
    server: Server,
    admin: String,
    user: String,
    from: Vec<String>,
    format: Option<Form>,
}

impl Config {
    fn accounts(&self) -> Accounts<'_> {
        Accounts::one(&self.user, self.format)
    }

    fn connector(&self, user: &str) -> Connector {
        self.server.connector("mysql", user, "")
    }
}

enum MariaDb {}
keywheel_sdk::export!(MariaDb);

impl Plugin for MariaDb {
    type Config = Config;

    fn check(config: &Config) -> Vec<(String, String)> {
        let problem = || ("/admin".to_owned(), "must be another user than the one that is rotated".to_owned());
        (config.user == config.admin).then(problem).into_iter().collect()
    }

    fn plan(run: &Run, config: &Config) -> Result<Plan, Error> {
        plan::look(&administrator(run, config)?, run, config)
    }

    fn create(run: &Run, config: &Config) -> Result<Outcome, Error> {
        config.accounts().create(run, PASSWORD_LENGTH)
    }

    fn apply(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let versions: &[_] = match run.current()? {
            Some(_) => &[Version::Current, Version::Previous, Version::Pending],
            None => &[Version::Pending],
        };
        take_only(run, config, versions, None)
    }

    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let login = config.connector(&config.user);
        login.password(&config.accounts().password(run, Version::Subject)?);
        let Err(refusal) = Session::open(login) else { return Ok(Verdict::Accepted) };
        let said = || format!("{}: {}", refusal.code, refusal.message);
        Ok(match refusal.server_error() {
            // The server says this of a user that is missing, or that may not come from here, too.
            Some(ACCESS_DENIED) => {
                refused_because(administrator(run, config).and_then(|admin| plan::why_shut_out(&admin, config)))?
            }
            // Not from this host; no password at all; expired; must change; locked; shut out for a time.
            Some(1130 | 1698 | 1820 | 1862 | 4150 | 4151) => Verdict::Account(said()),
            _ => Verdict::Unknown(said()),
        })
    }

    fn revoke(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let accounts = config.accounts();
        let subject = accounts.password(run, Version::Subject)?;
        if accounts.is_current(run, &subject)? {
            return Ok(Outcome::Impossible("it is the password that clients use now".to_owned()));
        }
        take_only(run, config, &[Version::Current, Version::Previous], Some(&subject))
    }

    fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
        if run.current()?.is_none() && run.pending()?.is_none() {
            return Ok(Outcome::Done);
        }
        // The one before current may still be in its grace.
        take_only(run, config, &[Version::Current, Version::Previous], None)
    }
}

/// Makes each account take the passwords of these versions and no other; not the one that is revoked.
fn take_only(run: &Run, config: &Config, versions: &[Version], revoked: Option<&Secret>) -> Result<Outcome, Error> {
    let mut hashes = Vec::new();
    for version in versions {
        let Some(password) = config.accounts().password_if_any(run, *version)? else { continue };
        let revoked = revoked.filter(|_| *version == Version::Previous);
        if !revoked.map_or(Ok(false), |revoked| password.matches(revoked))? {
            hashes.push(password.derive(HASH, "")?);
        }
    }
    let mut change = Vec::new();
    for (at, hash) in hashes.iter().enumerate() {
        let before = if at == 0 { " IDENTIFIED VIA " } else { " OR " };
        change.extend([Piece::Text(before), Piece::Text("mysql_native_password USING "), Piece::Secret(hash)]);
    }
    on_each(run, config, if change.is_empty() { NO_PASSWORD } else { &change })
}

/// Changes each account, one after the other.
fn on_each(run: &Run, config: &Config, change: &[Piece<'_>]) -> Result<Outcome, Error> {
    let admin = administrator(run, config)?;
    for (changed, from) in config.from.iter().enumerate() {
        let account =
            [Piece::Text("ALTER USER "), Piece::Literal(&config.user), Piece::Text("@"), Piece::Literal(from)];
        admin.execute(&[&account, change].concat()).map_err(|problem| {
            let problem = match problem.server_error() {
                // An account that is missing is no account to make here.
                Some(1396) => missing("the user", &format!("'{}'@'{from}'", config.user)),
                _ => problem.at(&format!("ALTER USER '{}'@'{from}'", config.user)),
            };
            if changed > 0 { problem.after_an_effect() } else { problem }
        })?;
    }
    Ok(Outcome::Done)
}

fn administrator(run: &Run, config: &Config) -> Result<Session, Error> {
    let login = config.connector(&config.admin);
    login.password(&run.input("admin")?);
    Session::open(login).map_err(|problem| {
        let is_refused = problem.server_error() == Some(ACCESS_DENIED);
        if is_refused { admin_refused() } else { problem.at("the administrator's login") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_administrator_does_not_rotate_itself() {
        let text = r#"{"host":"db","port":3306,"user":"app","admin":"app","from":["%"]}"#;
        assert_eq!(MariaDb::check(&serde_json::from_str(text).unwrap())[0].0, "/admin");
        let text = text.replace(r#""admin":"app""#, r#""admin":"rotator""#);
        assert!(MariaDb::check(&serde_json::from_str(&text).unwrap()).is_empty());
    }
}
