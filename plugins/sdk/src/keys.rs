//! Keys that a service issues, several at once (slot class D): a new one is made, proved and used, and the old one is deleted.
//!
//! The name of a new key has a marker of this run, written down before the key is asked for. Where the answer was lost, a key of that very name is nobody's:
//! it is deleted by the next try, or by the rollback. No other key is ever deleted but the one that a version says is its own.

use crate::http::{Reply, recalled};
use crate::{Error, ErrorKind, Outcome, Plan, Run, Secret, runtime};

/// The annotation by which a version knows its key on the service.
pub const KEY_ID: &str = "key-id";
/// What the new key is captured as.
pub const KEY: &str = "key";
const MARKER: &str = "marker";
const MADE: &str = "made";
const EXPIRES: &str = "expires";
/// Of an idempotency key: 64 bits tell the runs of one rotation apart.
const MARKER_DIGITS: usize = 16;

/// A key as the service lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The service's own identifier.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A service that issues keys.
pub trait Issuer {
    /// All keys that there are.
    ///
    /// # Errors
    /// Of the host or the service.
    fn list(&self) -> Result<Vec<Listed>, Error>;

    /// Has a key of this name made; it is captured as [`KEY`].
    ///
    /// # Errors
    /// Of the host or the service.
    fn issue(&self, name: &str) -> Result<Reply, Error>;

    /// The identifier in the answer of [`Issuer::issue`].
    ///
    /// # Errors
    /// It has none.
    fn id_in(&self, reply: &Reply) -> Result<String, Error>;

    /// The identifier of the key that a person imported, where the configuration has it: no version says so of it.
    fn imported(&self) -> Option<&str>;

    /// The identifier that a version has in itself.
    ///
    /// # Errors
    /// It is not of the form that has one.
    fn id_inside(&self, _version: &Secret) -> Result<Option<String>, Error> {
        Ok(None)
    }

    /// What clients get of a new key: the captured value, where the service has nothing beside it that they need.
    ///
    /// # Errors
    /// Of the host.
    fn version(&self, _run: &Run, _id: &str, reply: &Reply) -> Result<Secret, Error> {
        reply.captured(KEY)
    }

    /// Deletes a key. One that is gone is no error.
    ///
    /// # Errors
    /// Of the host or the service.
    fn delete(&self, id: &str) -> Result<(), Error>;
}

/// Has a key made, and hands it over. Called again it finds what the first try was given, or deletes what it has lost.
///
/// # Errors
/// Of the host or the service.
pub fn create(run: &Run, issuer: &impl Issuer, prefix: &str) -> Result<Outcome, Error> {
    if run.pending()?.is_some() {
        return Ok(Outcome::Done);
    }
    let reply = if let Some(reply) = recalled(KEY)? {
        reply
    } else {
        let name = marker(run, prefix)?;
        if run.interrupted() || run.attempt() > 1 {
            delete_named(issuer, &name)?;
        }
        issue(issuer, &name)?
    };
    let id = issuer.id_in(&reply)?;
    runtime::set_state(MADE, id.as_bytes())?;
    run.annotate(KEY_ID, &id)?;
    if let Some(at) = noted(EXPIRES)?.and_then(|at| at.parse().ok()) {
        run.set_expiry(at)?;
    }
    run.set_pending(&issuer.version(run, &id, &reply)?)?;
    Ok(Outcome::Done)
}

/// Where names are unique, one of ours that is taken is a key whose answer was lost without anybody knowing: a proxy has asked twice.
fn issue(issuer: &impl Issuer, name: &str) -> Result<Reply, Error> {
    match issuer.issue(name) {
        Err(taken) if taken.kind == ErrorKind::Conflict => {
            delete_named(issuer, name)?;
            issuer.issue(name)
        }
        answer => answer,
    }
}

/// Notes when the key that is about to be asked for ends by itself, in milliseconds since the epoch: the version says so then. To be called by
/// [`Issuer::issue`].
///
/// # Errors
/// The journal cannot be written.
pub fn ends_at(at: u64) -> Result<(), Error> {
    runtime::set_state(EXPIRES, at.to_string().as_bytes())
}

/// Deletes the key of the subject.
///
/// # Errors
/// Of the host or the service.
pub fn revoke(run: &Run, issuer: &impl Issuer) -> Result<Outcome, Error> {
    let Some(id) = id_of(run, issuer, "subject")? else {
        return Ok(Outcome::Blocked(
            "which key of the service this version is nobody has noted: delete the old key there, and go on".to_owned(),
        ));
    };
    if id_of(run, issuer, "current")?.as_ref() == Some(&id) {
        return Ok(Outcome::Impossible("it is the key that clients use now".to_owned()));
    }
    issuer.delete(&id)?;
    Ok(Outcome::Done)
}

/// Deletes what this run had made, whether its answer came or not.
///
/// # Errors
/// Of the host or the service.
pub fn rollback(run: &Run, issuer: &impl Issuer) -> Result<Outcome, Error> {
    let current = id_of(run, issuer, "current")?;
    match run.annotation("pending", KEY_ID)? {
        Some(id) if current.as_ref() == Some(&id) => {}
        Some(id) => issuer.delete(&id)?,
        None => {
            if let Some(name) = noted(MARKER)? {
                delete_named(issuer, &name)?;
            }
        }
    }
    Ok(Outcome::Done)
}

/// What a plan says of the keys that there are. `codes`: of too many, of those whose answer was lost, of a current key that is not known; `most`: as many
/// as the service keeps.
///
/// # Errors
/// Of the host or the service.
pub fn examine(
    plan: &mut Plan,
    run: &Run,
    issuer: &impl Issuer,
    prefix: &str,
    codes: [&'static str; 3],
    most: usize,
) -> Result<(), Error> {
    let keys = issuer.list()?;
    if keys.len() >= most {
        let message = format!("the service has {} keys, and makes no more than {most}", keys.len());
        plan.problem(codes[0], message, "delete those that nobody uses");
    }
    let known: Vec<String> = ["current", "previous", "pending"]
        .into_iter()
        .map(|of| id_of(run, issuer, of))
        .filter_map(Result::transpose)
        .collect::<Result<_, _>>()?;
    let ours = format!("{}-", prefix_of(run, prefix));
    let stray = keys.iter().filter(|key| key.name.starts_with(&ours) && !known.contains(&key.id)).count();
    if stray > 0 {
        let message = format!(
            "{stray} key(s) named {ours}… are not in the vault: earlier runs have lost them, or other hosts have them"
        );
        plan.warning(codes[1], message, "look who uses them, and delete those that nobody does");
    }
    if run.current()?.is_some() {
        match id_of(run, issuer, "current")? {
            None => {
                let message =
                    "which key of the service the current version is nobody has noted, so it could not be deleted";
                plan.problem(
                    codes[2],
                    message,
                    "`key-id` in the configuration; or `--fact key-id=ID` when it is imported",
                );
            }
            Some(id) if !keys.iter().any(|key| key.id == id) => {
                let message = format!("the service has no key {id}, which the current version is said to be");
                plan.warning(codes[2], message, "is it this account? Else import the key that is in use");
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Whether the subject is the key that this run has had made.
///
/// # Errors
/// The journal or the vault cannot be read.
pub fn is_made_here(run: &Run) -> Result<bool, Error> {
    let made = runtime::get_state(MADE)?;
    Ok(made.is_some() && run.annotation("subject", KEY_ID)?.map(String::into_bytes) == made)
}

/// Which key of the service a version is: what was noted with it, or else what the configuration says of the imported one.
///
/// # Errors
/// The vault cannot be read.
pub fn id_of(run: &Run, issuer: &impl Issuer, of: &str) -> Result<Option<String>, Error> {
    let version = match of {
        "current" => run.current()?,
        "previous" => run.previous()?,
        "pending" => run.pending()?,
        _ => Some(run.subject()?),
    };
    let Some(version) = version else { return Ok(None) };
    match run.annotation(of, KEY_ID)? {
        Some(id) => Ok(Some(id)),
        None => Ok(issuer.id_inside(&version)?.or_else(|| issuer.imported().map(str::to_owned))),
    }
}

/// The name that every key of this rotation begins with.
pub fn prefix_of(run: &Run, prefix: &str) -> String {
    format!("{prefix}-{}", run.rotation_id())
}

/// The name of this run's key, the same in each of its tries; in the journal before a key can have it.
fn marker(run: &Run, prefix: &str) -> Result<String, Error> {
    if let Some(name) = noted(MARKER)? {
        return Ok(name);
    }
    let key = run.idempotency_key(KEY);
    let name = format!("{}-{}", prefix_of(run, prefix), &key[..MARKER_DIGITS.min(key.len())]);
    runtime::set_state(MARKER, name.as_bytes())?;
    Ok(name)
}

fn noted(key: &str) -> Result<Option<String>, Error> {
    Ok(runtime::get_state(key)?.and_then(|text| String::from_utf8(text).ok()))
}

fn delete_named(issuer: &impl Issuer, name: &str) -> Result<(), Error> {
    let lost = issuer.list()?.into_iter().filter(|key| key.name == name);
    lost.map(|key| key.id).try_for_each(|id| issuer.delete(&id))
}
