//! Rotates the password of a login of SQL Server, or of a user of a database that has a password of its own (contained databases, Azure SQL).
//!
//! - mode `account`: the server keeps one password for it, so clients that hold only the old one are refused until they have the new one (slot
//!   class C).
//! - mode `alternating`: two accounts, used in turn, of which the second is made as the first. The one that clients use now keeps its password
//!   until the grace period is over: no gap.
//! - mode `self`: one account that changes its own password, without an administrator.
//!
//! The server takes passwords as they are: a hash is refused where a policy is checked, and on Azure. So they are in the statement, over TLS.

mod own;
mod pair;
mod plan;

use keywheel_sdk::account::password_without_names;
use keywheel_sdk::error::{ErrorExt, missing, refused_because};
use keywheel_sdk::mssql::{Config, Kind, LOGIN_FAILED, Mode};
use keywheel_sdk::sql::{Piece, Session};
use keywheel_sdk::{Back, Error, Outcome, Plan, Plugin, Run, Verdict, Version};

/// Of four kinds of characters: more than 180 bits.
const PASSWORD_LENGTH: u16 = 32;
/// There is no such account, or no right to it: the server does not say which.
const NOT_FOUND: u16 = 15151;
/// The server's rules for passwords: of Windows, and its own.
const RULES: [u16; 8] = [15114, 15115, 15116, 15117, 15118, 33062, 33063, 33064];
/// The one of them on passwords that were used before.
const HISTORY: u16 = 15115;

enum MsSql {}
keywheel_sdk::export!(MsSql);

impl Plugin for MsSql {
    type Config = Config;

    fn check(config: &Config) -> Vec<(String, String)> {
        config.problems()
    }

    fn plan(run: &Run, config: &Config) -> Result<Plan, Error> {
        match config.mode {
            Mode::Own => own::look(run, config),
            _ => plan::look(&config.administrator(run)?, run, config),
        }
    }

    fn create(run: &Run, config: &Config) -> Result<Outcome, Error> {
        config.accounts().create_of(run, || password_without_names(PASSWORD_LENGTH, config.names()))
    }

    fn apply(run: &Run, config: &Config) -> Result<Outcome, Error> {
        match config.mode {
            Mode::Account => set_password(run, config, Version::Pending),
            Mode::Alternating => pair::apply(run, config),
            Mode::Own => own::change(run, config, Version::Current, Version::Pending),
        }
    }

    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let accounts = config.accounts();
        let name = accounts.name(run, Version::Subject)?;
        let login = config.connector(name);
        login.password(&accounts.password(run, Version::Subject)?);
        let Err(refusal) = Session::open(login) else { return Ok(Verdict::Accepted) };
        let said = || format!("{}: {}", refusal.code, refusal.message);
        Ok(match refusal.server_error() {
            // Nobody is there to ask why.
            Some(LOGIN_FAILED) if config.mode == Mode::Own => Verdict::Rejected,
            // The server says this of an account that is missing, too.
            Some(LOGIN_FAILED) => {
                let why = |admin| plan::why_shut_out(&admin, config, config.own(name));
                // Until its turn comes the other one takes no password.
                let is_made = config.is_pair() && accounts.name_if_any(run, Version::Current)? != Some(name);
                match config.administrator(run).and_then(why) {
                    Err(problem) if is_made && problem.is_missing() => Verdict::Rejected,
                    why => refused_because(why)?,
                }
            }
            Some(916 | 4060 | 4064) => Verdict::Limited(said()),
            // By Windows alone; disabled; locked; expired; must change; not from here, not at this server (Azure).
            Some(18452 | 18470 | 18486 | 18487 | 18488 | 40532 | 40615 | 40914) => Verdict::Account(said()),
            _ => Verdict::Unknown(said()),
        })
    }

    fn revoke(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let shut = config.accounts().to_revoke(run)?;
        shut.map_or(Ok(Outcome::Done), |name| self::shut(run, config, name, Version::Subject))
    }

    fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
        match config.accounts().to_roll_back(run)? {
            Back::Nothing => Ok(Outcome::Done),
            Back::Restore if config.mode == Mode::Own => own::change(run, config, Version::Pending, Version::Current),
            Back::Restore => set_password(run, config, Version::Current),
            Back::Shut(name) => shut(run, config, name, Version::Pending),
        }
    }
}

fn set_password(run: &Run, config: &Config, version: Version) -> Result<Outcome, Error> {
    let admin = config.administrator(run)?;
    let kind = plan::kind(&admin, config)?;
    let name = config.own(config.accounts().name(run, version)?);
    put(run, &admin, config, (kind.alter(), kind, name), version)
}

/// Gives the account this version's password, by a statement that begins so.
fn put(
    run: &Run,
    admin: &Session,
    config: &Config,
    (begin, kind, name): (&'static str, Kind, &str),
    version: Version,
) -> Result<Outcome, Error> {
    let password = config.accounts().password(run, version)?;
    let end = [Piece::Text(" WITH PASSWORD = "), Piece::Secret(&password)];
    change(admin, (begin, kind, name), &end).map_err(|problem| of_rules(problem, version))
}

fn of_rules(problem: Error, version: Version) -> Error {
    match problem.server_error() {
        Some(number) if RULES.contains(&number) && version == Version::Current => {
            problem.at("the server's rules for passwords refuse the one that was good before: set it by hand")
        }
        Some(number) if RULES.contains(&number) => {
            problem.at("the server's rules for passwords refuse a generated one")
        }
        _ => problem,
    }
}

/// Makes an account that clients do not use refuse this version.
fn shut(run: &Run, config: &Config, name: &str, own: Version) -> Result<Outcome, Error> {
    if config.mode == Mode::Own {
        return Ok(Outcome::Impossible(own::NO_FIRST.to_owned()));
    }
    let admin = config.administrator(run)?;
    let (kind, name) = (plan::kind(&admin, config)?, config.own(name));
    if config.is_pair() && run.current()?.is_some() {
        return pair::shut(run, &admin, config, (kind, name), own);
    }
    match kind {
        Kind::Login => change(&admin, (kind.alter(), kind, name), &[Piece::Text(" DISABLE")]),
        Kind::User => {
            Ok(Outcome::Impossible(format!("{name} has no password that could be put back: set one by hand")))
        }
    }
}

fn change(
    admin: &Session,
    (begin, kind, name): (&'static str, Kind, &str),
    end: &[Piece<'_>],
) -> Result<Outcome, Error> {
    let statement = [&[Piece::Text(begin), Piece::Name(name)], end].concat();
    let done = admin.execute(&statement).map(|_| Outcome::Done);
    done.map_err(|problem| match problem.server_error() {
        // Whether it is there the administrator has just seen.
        Some(NOT_FOUND) => missing(kind.as_str(), name),
        _ => problem.at(&format!("{begin}{name}")),
    })
}
