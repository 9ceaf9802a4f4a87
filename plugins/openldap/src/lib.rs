//! Rotates the password of an entry of an LDAP directory: `userPassword` of OpenLDAP.
//!
//! - `values = "several"` (left out): an entry takes each of its values, so the new one is added and the old one is taken away after the grace:
//!   no gap (slot class A). A value is a hash whose salt the host makes of the version's identity, so that the very same value can be
//!   added again and found again; values that were set by hand stay as long as they can.
//! - `values = "one"`: the new one replaces whatever there is (slot class C), for servers that allow no second value.
//!
//! A password is only ever sent by its own bind, unless `hash = "none"` says that the server hashes by itself.

mod admin;
mod config;
mod plan;

use keywheel_sdk::error::{ErrorExt, not_asked, refused_because};
use keywheel_sdk::ldap::{Change, Session};
use keywheel_sdk::{Error, Outcome, Plan, Plugin, Run, Verdict, Version};

use admin::Admin;
use config::{Config, same_name};

/// Letters, digits, `-` and `_`, at least one of each kind: 270 bits and more. `{SSHA}` is fast to compute, so the password must not be guessable.
const PASSWORD_LENGTH: u16 = 48;
const TIMEOUT_MS: u32 = 10_000;
/// A password policy's history cannot be written twice within a second.
const LATER: Outcome = Outcome::Wait(1_000);

enum OpenLdap {}
keywheel_sdk::export!(OpenLdap);

impl Plugin for OpenLdap {
    type Config = Config;

    fn check(config: &Config) -> Vec<(String, String)> {
        config.problems()
    }

    fn plan(run: &Run, config: &Config) -> Result<Plan, Error> {
        plan::look(run, config)
    }

    fn create(run: &Run, config: &Config) -> Result<Outcome, Error> {
        config.note_hash(run)?;
        config.accounts().create_of(run, || {
            keywheel_sdk::account::password_without_names(PASSWORD_LENGTH, &[first_value(&config.entry)])
        })
    }

    fn apply(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let pending = config.value(run, Version::Pending)?;
        let admin = Admin::connect(run, config)?;
        let change = if config.is_one() { Change::Replace } else { Change::Add };
        Ok(match admin.each(change, pending.iter())? {
            // What was made here is in no history but by an earlier try of this step.
            Outcome::Impossible(_) => Outcome::Done,
            outcome => outcome,
        })
    }

    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let subject = config.accounts().password(run, Version::Subject)?;
        let session = Session::connect(&config.server, TIMEOUT_MS)?;
        let bound = session.bind(&config.entry, &subject)?;
        match (bound.code, bound.policy) {
            (0, Some(2)) => Ok(Verdict::Limited("it has to be changed before anything else (pwdReset)".to_owned())),
            (0, _) => taken_as(&session, &config.entry),
            (49, Some(0)) => Ok(Verdict::Account(format!("the password of {} has expired", config.entry))),
            (49, Some(1)) => Ok(Verdict::Account(format!("{} is locked (pwdAccountLockedTime)", config.entry))),
            // The server says this of an entry that is missing or locked, too.
            (49, _) => refused_because(Admin::connect(run, config).and_then(|admin| admin.why_shut_out())),
            _ => Ok(Verdict::Unknown(bound.problem("the bind").message)),
        }
    }

    fn revoke(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let subject = config.accounts().password(run, Version::Subject)?;
        if config.accounts().is_current(run, &subject)? {
            return Ok(Outcome::Impossible("it is the password that clients use now".to_owned()));
        }
        if config.is_one() {
            // The newer one took its place.
            return Ok(Outcome::Done);
        }
        let admin = Admin::connect(run, config)?;
        if Config::hash_of(run, Version::Subject)?.is_some()
            && let Some(own) = config.value(run, Version::Subject)?
        {
            let outcome = admin.each(Change::Delete, std::iter::once(&own))?;
            // A value that was not there: taken away before, or a person has put the password there in another form since.
            let elsewhere = admin.missed()
                && Session::connect(&config.server, TIMEOUT_MS)?.bind(&config.entry, &subject)?.code == 0;
            if !elsewhere {
                return Ok(outcome);
            }
        }
        // What a person set has a salt of its own, or none: which value it is nobody can say. All are told that stay.
        let mut stay: Vec<_> = config.value(run, Version::Current)?.into_iter().collect();
        if let Some(previous) = config.accounts().password_if_any(run, Version::Previous)?
            && !previous.matches(&subject)?
        {
            stay.extend(config.value(run, Version::Previous)?);
        }
        admin.each(Change::Keep, stay.iter())
    }

    fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let Some(password) = config.accounts().password_if_any(run, Version::Pending)? else {
            return Ok(Outcome::Done);
        };
        let keep = config.accounts().is_current(run, &password)?;
        let (current, pending) = (config.value(run, Version::Current)?, config.value(run, Version::Pending)?);
        let undone = Admin::connect(run, config).and_then(|admin| match (&current, config.is_one()) {
            (Some(_), true) => admin.each(Change::Replace, current.iter()),
            (None, true) => admin.each(Change::Replace, [].into_iter()),
            (_, false) => {
                let put = admin.each(Change::Add, current.iter())?;
                if keep || !matches!(put, Outcome::Done) { Ok(put) } else { admin.each(Change::Delete, pending.iter()) }
            }
        });
        // Of an entry that is gone no password is good.
        undone.or_else(|problem| if problem.is_missing() { Ok(Outcome::Done) } else { Err(problem) })
    }
}

/// A bind was taken: as whom. A server that does not tell has said enough.
fn taken_as(session: &Session, entry: &str) -> Result<Verdict, Error> {
    let Some(name) = session.who_am_i()? else { return Ok(Verdict::Accepted) };
    match name.strip_prefix("dn:").unwrap_or(&name) {
        "" => Err(not_asked(format!("the server let {entry} in as nobody (anonymous), so a login proves none"))),
        same if same_name(same, entry) => Ok(Verdict::Accepted),
        other => Ok(Verdict::Unknown(format!("the server takes {entry} for {other}: name the entry as it does"))),
    }
}

/// `app` of `cn=app,dc=example`: what a password policy may not want in a password.
fn first_value(name: &str) -> &str {
    let first = name.split(',').next().unwrap_or_default();
    first.split_once('=').map_or("", |(_, value)| value.trim())
}
