//! Rotates the password of a MariaDB user.
//!
//! A user takes each password of a list (`IDENTIFIED VIA … OR …`), so the old one works until it is taken out: no gap. Every statement
//! names the whole list, of what the vault goes on with, so that it can be said again at any time. The list holds hashes, which the host
//! derives: a password itself is only ever sent by its own login, and the server's general log has none.
//!
//! `'user'@'%'` and `'user'@'10.%'` are two accounts: all that the configuration lists are changed, one after the other.

mod plan;

use keywheel_sdk::mysql::Config;
use keywheel_sdk::sql::Piece;
use keywheel_sdk::{Error, Outcome, Plan, Plugin, Run, Secret, Verdict, Version};

/// Letters, digits, `-` and `_`: 288 bits. The server keeps unsalted hashes, so the password must not be guessable.
const PASSWORD_LENGTH: u16 = 48;
const HASH: &str = "mysql.native-password";
/// What is no hash is no password's.
const NO_PASSWORD: &[Piece<'_>] = &[Piece::Text(" IDENTIFIED VIA mysql_native_password USING 'invalid'")];

enum MariaDb {}
keywheel_sdk::export!(MariaDb);

impl Plugin for MariaDb {
    type Config = Config;

    fn check(config: &Config) -> Vec<(String, String)> {
        config.problems()
    }

    fn plan(run: &Run, config: &Config) -> Result<Plan, Error> {
        plan::look(&config.administrator(run)?, run, config)
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
        config.test(run, |admin| plan::why_shut_out(admin, config))
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
    config.alter_each(run, &[if change.is_empty() { NO_PASSWORD } else { &change }])
}
