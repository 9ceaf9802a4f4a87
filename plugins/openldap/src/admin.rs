//! The administrator's session.

use std::cell::Cell;

use keywheel_sdk::error::{admin_refused, error, missing};
use keywheel_sdk::ldap::{Change, Entry, Session, Value};
use keywheel_sdk::{Error, ErrorKind, Outcome, Run, Secret};

use crate::config::Config;
use crate::{LATER, TIMEOUT_MS};

const PASSWORD: &str = "userPassword";
/// Never the values of the password: a server that keeps them as they are would show them.
const LOOKED_AT: [&str; 5] = ["objectClass", "pwdAccountLockedTime", "pwdReset", "pwdPolicySubentry", "pwdEndTime"];
const OF_A_POLICY: [&str; 6] =
    ["objectClass", "pwdMustChange", "pwdCheckQuality", "pwdMaxLength", "pwdInHistory", "pwdMinAge"];
const OF_THE_SERVER: [&str; 2] = ["objectClass", "supportedCapabilities"];
/// No sum of SHA-1: it is no password's.
const NO_PASSWORD: &str = "{SSHA}bm8gcGFzc3dvcmQ=";

/// What the server said of a change that it was only asked about.
pub(crate) enum Would {
    /// It would be made.
    Done,
    /// The server cannot be asked.
    Unknown,
    /// It would not.
    Refused(u32, Error),
}

/// A session that the administrator opened.
pub(crate) struct Admin<'a> {
    session: Session,
    config: &'a Config,
    missed: Cell<bool>,
}

impl<'a> Admin<'a> {
    pub(crate) fn connect(run: &Run, config: &'a Config) -> Result<Self, Error> {
        let session = Session::connect(&config.server, TIMEOUT_MS)?;
        let bound = session.bind(&config.admin, &run.input("admin")?)?;
        match (bound.code, bound.policy) {
            (0, Some(2)) => Err(refused("has to change its password before anything else (pwdReset)")),
            (0, _) => Ok(Self { session, config, missed: Cell::new(false) }),
            (49, Some(0)) => Err(refused("has a password that has expired")),
            (49, Some(1)) => Err(refused("is locked")),
            (49, _) => Err(admin_refused()),
            _ => Err(bound.problem("the administrator's bind")),
        }
    }

    /// Makes one change with all of these values, or is done where it was made before. Without a value there is nothing to add or to take away.
    pub(crate) fn each<'v>(&self, change: Change, values: impl Iterator<Item = &'v Secret>) -> Result<Outcome, Error> {
        let values: Vec<&Secret> = values.collect();
        if values.is_empty() && matches!(change, Change::Add | Change::Delete) {
            return Ok(Outcome::Done);
        }
        let secrets: Vec<Value<'_>> = values.iter().map(|value| Value::Secret(value)).collect();
        let done = self.session.modify(&self.config.entry, change, PASSWORD, &secrets)?;
        match (done.code, change) {
            (0, _) => Ok(Outcome::Done),
            // "Value exists", "no such value": said of the password policy's own history as well, which then kept it from being made.
            (16 | 20, Change::Add | Change::Delete) => {
                let holds = self.session.holds(&self.config.entry, PASSWORD, secrets[0])?;
                self.missed.set(!holds && change == Change::Delete);
                Ok(if holds == (change == Change::Add) { Outcome::Done } else { LATER })
            }
            (20, Change::Replace | Change::Keep) => Ok(LATER),
            (19, Change::Replace) if done.policy == Some(8) => {
                Ok(Outcome::Impossible("the password policy has it in its history (pwdInHistory)".to_owned()))
            }
            _ => Err(done.about(&self.config.entry, "changing userPassword")),
        }
    }

    /// Whether what was to be taken away was not there.
    pub(crate) fn missed(&self) -> bool {
        self.missed.get()
    }

    /// What would become of a second password.
    pub(crate) fn would_add(&self) -> Result<Would, Error> {
        let done = self.session.would(&self.config.entry, Change::Add, PASSWORD, NO_PASSWORD)?;
        Ok(match done.code {
            _ if done.would_be_done() => Would::Done,
            2 | 12 | 16 | 20 => Would::Unknown,
            code => Would::Refused(code, done.about(&self.config.entry, "changing userPassword")),
        })
    }

    /// Whether the server may be asked for a value, as a step that comes again has to.
    pub(crate) fn may_compare(&self) -> Result<bool, Error> {
        match self.session.holds(&self.config.entry, PASSWORD, Value::Text(NO_PASSWORD)) {
            Err(problem) if problem.kind == ErrorKind::Denied => Ok(false),
            asked => asked.map(|_| true),
        }
    }

    pub(crate) fn entry(&self) -> Result<Option<Entry>, Error> {
        self.session.read(&self.config.entry, &LOOKED_AT)
    }

    pub(crate) fn policy(&self, name: &str) -> Result<Option<Entry>, Error> {
        self.session.read(name, &OF_A_POLICY)
    }

    /// What the server says of itself.
    pub(crate) fn server(&self) -> Result<Entry, Error> {
        Ok(self.session.read("", &OF_THE_SERVER)?.unwrap_or_default())
    }

    /// Why no password of the entry could be taken; none if one could.
    pub(crate) fn why_shut_out(&self) -> Result<Option<String>, Error> {
        let name = &self.config.entry;
        let entry = self.entry()?.ok_or_else(|| missing("the entry", name))?;
        let locked = entry.text("pwdAccountLockedTime");
        Ok((!locked.is_empty()).then(|| format!("{name} is locked (pwdAccountLockedTime: {locked})")))
    }
}

fn refused(why: &str) -> Error {
    error(ErrorKind::Unauthenticated, "admin.refused", format!("the administrator {why}"))
}
