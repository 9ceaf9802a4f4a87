//! Rotates the password of a MySQL user.
//!
//! A user takes two passwords: the first, and the second that a change retained (`RETAIN CURRENT PASSWORD`), until it is discarded: no gap.
//! That statement shifts: said twice, the new password is both, and the one that clients use is dead. So it never comes alone. Each change
//! begins by making the first one what clients use now; together the two come to the same from wherever they begin, however often they
//! are said and wherever they are cut off, and the password that clients use is taken throughout.
//!
//! The statements hold hashes, which the host derives: a password itself is only ever sent by its own login. The server does not hold a
//! hash against its rules for passwords (history, reuse).

mod plan;

use keywheel_sdk::mysql::Config;
use keywheel_sdk::sql::Piece;
use keywheel_sdk::{Error, Outcome, Plan, Plugin, Run, Secret, Verdict, Version};

/// Letters, digits, `-` and `_`: 288 bits, as much as the hash can tell apart.
const PASSWORD_LENGTH: u16 = 48;
const HASH: &str = "mysql.caching-sha2";
const BY_HASH: Piece<'_> = Piece::Text(" IDENTIFIED WITH caching_sha2_password AS ");
const RETAIN: Piece<'_> = Piece::Text(" RETAIN CURRENT PASSWORD");
const DISCARD: &[Piece<'_>] = &[Piece::Text(" DISCARD OLD PASSWORD")];
/// What is no password's hash: MySQL's own accounts that nobody logs in to have it.
const NO_PASSWORD: &[Piece<'_>] = &[Piece::Text(
    " IDENTIFIED WITH caching_sha2_password AS '$A$005$THISISACOMBINATIONOFINVALIDSALTANDPASSWORDTHATMUSTNEVERBRBEUSED'",
)];

enum MySql {}
keywheel_sdk::export!(MySql);

impl Plugin for MySql {
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
        let accounts = config.accounts();
        let pending = accounts.password(run, Version::Pending)?;
        let new = pending.derive(HASH, "")?;
        let set = [BY_HASH, Piece::Secret(&new)];
        let Some(current) = hash(run, config, Version::Current)? else {
            return config.alter_each(run, &[&set, DISCARD]);
        };
        if accounts.is_current(run, &pending)? {
            // The target has lost it. The second stays: it may be in its grace.
            return config.alter_each(run, &[&set]);
        }
        config.alter_each(run, &[&[BY_HASH, Piece::Secret(&current)], &[BY_HASH, Piece::Secret(&new), RETAIN]])
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
        // Of an older version; the second is then the one that is in its grace, and goes with that.
        let previous = accounts.password_if_any(run, Version::Previous)?;
        let keeps = previous.map_or(Ok(false), |previous| previous.matches(&subject).map(|same| !same))?;
        take_current(run, config, keeps)
    }

    fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
        if run.current()?.is_none() && run.pending()?.is_none() {
            return Ok(Outcome::Done);
        }
        // The one before current may still be in its grace. A pending one is never the second.
        take_current(run, config, run.previous()?.is_some())
    }
}

fn hash(run: &Run, config: &Config, version: Version) -> Result<Option<Secret>, Error> {
    config.accounts().password_if_any(run, version)?.map(|password| password.derive(HASH, "")).transpose()
}

/// Makes each account take what clients use now, and nothing else but the second, if that is kept.
fn take_current(run: &Run, config: &Config, keeps_second: bool) -> Result<Outcome, Error> {
    let Some(current) = hash(run, config, Version::Current)? else {
        return config.alter_each(run, &[NO_PASSWORD, DISCARD]);
    };
    let changes: [&[_]; 2] = [&[BY_HASH, Piece::Secret(&current)], DISCARD];
    config.alter_each(run, if keeps_second { &changes[..1] } else { &changes })
}
