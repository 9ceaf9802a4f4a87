//! Rotates the password of a login of SQL Server, or of a user of a database that has a password of its own (contained databases, Azure SQL).
//!
//! The server keeps one password for it, so clients that hold only the old one are refused until they have the new one (slot class C).
//! It takes passwords as they are: a hash is refused where a policy is checked, and on Azure. So they are in the statement, over TLS.

mod plan;

use keywheel_sdk::account::password_without_name;
use keywheel_sdk::error::{ErrorExt, missing, refused_because};
use keywheel_sdk::mssql::{Config, Kind, LOGIN_FAILED};
use keywheel_sdk::sql::{Piece, Session};
use keywheel_sdk::{Back, Error, Outcome, Plan, Plugin, Run, Verdict, Version};

/// Of four kinds of characters: more than 180 bits.
const PASSWORD_LENGTH: u16 = 32;
/// There is no such account, or no right to it: the server does not say which.
const NOT_FOUND: u16 = 15151;
/// The server's rules for passwords: of Windows, and its own.
const RULES: [u16; 8] = [15114, 15115, 15116, 15117, 15118, 33062, 33063, 33064];

enum MsSql {}
keywheel_sdk::export!(MsSql);

impl Plugin for MsSql {
    type Config = Config;

    fn check(config: &Config) -> Vec<(String, String)> {
        config.problems()
    }

    fn plan(run: &Run, config: &Config) -> Result<Plan, Error> {
        plan::look(&config.administrator(run)?, run, config)
    }

    fn create(run: &Run, config: &Config) -> Result<Outcome, Error> {
        config.accounts().create_of(run, || password_without_name(PASSWORD_LENGTH, &config.user))
    }

    fn apply(run: &Run, config: &Config) -> Result<Outcome, Error> {
        set_password(run, config, Version::Pending)
    }

    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let login = config.connector(config.login());
        login.password(&config.accounts().password(run, Version::Subject)?);
        let Err(refusal) = Session::open(login) else { return Ok(Verdict::Accepted) };
        let said = || format!("{}: {}", refusal.code, refusal.message);
        Ok(match refusal.server_error() {
            // The server says this of an account that is missing, too.
            Some(LOGIN_FAILED) => {
                refused_because(config.administrator(run).and_then(|admin| plan::why_shut_out(&admin, config)))?
            }
            Some(916 | 4060 | 4064) => Verdict::Limited(said()),
            // By Windows alone; disabled; locked; expired; must change; not from here, not at this server (Azure).
            Some(18452 | 18470 | 18486 | 18487 | 18488 | 40532 | 40615 | 40914) => Verdict::Account(said()),
            _ => Verdict::Unknown(said()),
        })
    }

    fn revoke(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let shut = config.accounts().to_revoke(run)?;
        shut.map_or(Ok(Outcome::Done), |_| disable(run, config))
    }

    fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
        match config.accounts().to_roll_back(run)? {
            Back::Nothing => Ok(Outcome::Done),
            Back::Restore => set_password(run, config, Version::Current),
            Back::Shut(_) => disable(run, config),
        }
    }
}

fn set_password(run: &Run, config: &Config, version: Version) -> Result<Outcome, Error> {
    let password = config.accounts().password(run, version)?;
    let admin = config.administrator(run)?;
    let kind = plan::kind(&admin, config)?;
    let end = [Piece::Text(" WITH PASSWORD = "), Piece::Secret(&password)];
    alter(&admin, config, kind, &end).map_err(|problem| match problem.server_error() {
        Some(number) if RULES.contains(&number) && version == Version::Current => {
            problem.at("the server's rules for passwords refuse the one that was good before: set it by hand")
        }
        Some(number) if RULES.contains(&number) => {
            problem.at("the server's rules for passwords refuse a generated one")
        }
        _ => problem,
    })
}

fn disable(run: &Run, config: &Config) -> Result<Outcome, Error> {
    let admin = config.administrator(run)?;
    match plan::kind(&admin, config)? {
        kind @ Kind::Login => alter(&admin, config, kind, &[Piece::Text(" DISABLE")]),
        Kind::User => {
            Ok(Outcome::Impossible(format!("{} has no password that could be put back: set one by hand", config.user)))
        }
    }
}

fn alter(admin: &Session, config: &Config, kind: Kind, change: &[Piece<'_>]) -> Result<Outcome, Error> {
    let begin = [Piece::Text(kind.alter()), Piece::Name(&config.user)];
    let done = admin.execute(&[&begin, change].concat()).map(|_| Outcome::Done);
    done.map_err(|problem| match problem.server_error() {
        // Whether it is there the administrator has just seen.
        Some(NOT_FOUND) => missing(kind.as_str(), &config.user),
        _ => problem.at(&format!("{}{}", kind.alter(), config.user)),
    })
}
