//! An account that changes its own password: it logs in with the one that it has, and names it as the old one.

use keywheel_sdk::error::ErrorExt;
use keywheel_sdk::mssql::{Config, Kind, LOGIN_FAILED};
use keywheel_sdk::sql::{Piece, Session};
use keywheel_sdk::{Error, Outcome, Plan, Run, Version};

use crate::{change as alter, of_rules, plan};

pub(crate) const NO_FIRST: &str =
    "the account changes its own password, so the one that it has must be known: an administrator has to set it";
const NEITHER: &str = "the account takes neither the password that it had nor the new one: an administrator has to set one of them, or `secret import` the one that it takes";

/// As the account that a version is of.
pub(crate) fn log_in(run: &Run, config: &Config, version: Version) -> Result<Session, Error> {
    let accounts = config.accounts();
    let login = config.connector(accounts.name(run, version)?);
    login.password(&accounts.password(run, version)?);
    Session::open(login)
}

/// From one version's password to the other's. Which of the two it has now a login says, so that this may be called again.
pub(crate) fn change(run: &Run, config: &Config, from: Version, to: Version) -> Result<Outcome, Error> {
    let accounts = config.accounts();
    // The target has lost the current one: it is the pending one then, and there is none to begin with.
    let Some(old) = accounts.password_if_any(run, from)? else { return Ok(Outcome::Impossible(NO_FIRST.to_owned())) };
    let session = match log_in(run, config, from) {
        Ok(session) => session,
        Err(refusal) if refusal.server_error() == Some(LOGIN_FAILED) => {
            return match log_in(run, config, to) {
                Err(problem) if problem.server_error() == Some(LOGIN_FAILED) => {
                    Ok(Outcome::Blocked(NEITHER.to_owned()))
                }
                done => done.map(|_| Outcome::Done),
            };
        }
        Err(problem) => return Err(problem),
    };
    let kind = plan::kind(&session, config)?;
    let new = accounts.password(run, to)?;
    let end =
        [Piece::Text(" WITH PASSWORD = "), Piece::Secret(&new), Piece::Text(" OLD_PASSWORD = "), Piece::Secret(&old)];
    let name = config.own(accounts.name(run, to)?);
    alter(&session, (kind.alter(), kind, name), &end).map_err(|problem| of_rules(problem, to))
}

/// Nobody but the account itself looks, so nothing of it can be found that it does not find by logging in.
pub(crate) fn look(run: &Run, config: &Config) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    plan.of_form(run, &config.accounts())?;
    let name = &config.names()[0];
    plan.step("create", format!("a random password for {name}"));
    plan.step("apply", format!("{}{name} WITH PASSWORD = N'…' OLD_PASSWORD = N'…', as {name}", Kind::Login.alter()));
    plan.step("test", format!("log in as {}", config.accounts().names()[0]));
    plan::of_transport(&mut plan, config);
    let message = format!(
        "{name} changes its own password: if it is locked, disabled or expired, or somebody else changes its password, no rotation can go on"
    );
    plan.warning("mssql.alone", message, "mode = \"account\" with an administrator finds and mends that");
    Ok(plan)
}
