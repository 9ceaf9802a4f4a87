//! A key is made, and found again or deleted where its answer was lost.

use keywheel_sdk::bindings::keywheel::core::secrets::Composer;
use keywheel_sdk::http::{Reply, recalled};
use keywheel_sdk::{Error, Outcome, Run, Secret, Version, keys, runtime};

use crate::iam::{self, Iam, Key};
use crate::{Config, id_of};

/// As many as IAM keeps for a user.
pub(crate) const MOST_KEYS: usize = 2;
/// The keys that the user had before this run asked for its own.
const BEFORE: &str = "before";

/// What became of a key whose answer was lost.
enum Lost {
    Deleted,
    /// Somebody has its secret, so it is none of ours.
    Used(String),
}

pub(crate) fn create(run: &Run, config: &Config) -> Result<Outcome, Error> {
    if run.pending()?.is_some() {
        return Ok(Outcome::Done);
    }
    let reply = match recalled(keys::KEY)? {
        Some(reply) => reply,
        None => match issue(run, &Iam::open(run, config)?)? {
            Ok(reply) => reply,
            Err(blocked) => return Ok(blocked),
        },
    };
    let id = iam::id_in(&reply)?;
    run.annotate(keys::KEY_ID, &id)?;
    run.set_pending(&document(&id, &reply.captured(keys::KEY)?)?)?;
    Ok(Outcome::Done)
}

/// Never a request that would be a third key.
fn issue(run: &Run, iam: &Iam<'_>) -> Result<Result<Reply, Outcome>, Error> {
    let mut keys = iam.list()?;
    match noted()? {
        None => {
            let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
            runtime::set_state(BEFORE, ids.join(" ").as_bytes())?;
        }
        Some(before) => {
            for key in lost(run, &keys, &before)? {
                match delete_lost(iam, &key)? {
                    Lost::Deleted => keys.retain(|other| other.id != key.id),
                    Lost::Used(when) => return Ok(Err(in_use(&key, &when))),
                }
            }
        }
    }
    if keys.len() >= MOST_KEYS {
        let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        return Ok(Err(Outcome::Blocked(format!(
            "the user has two keys ({}), and IAM makes no more: delete the one that nobody uses, and go on",
            ids.join(", ")
        ))));
    }
    iam.create(keys::KEY).map(Ok)
}

/// Deletes what this run had made, whether its answer came or not.
pub(crate) fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
    let current = id_of(run, Version::Current)?;
    match (id_of(run, Version::Pending)?, noted()?) {
        (Some(id), _) if current.as_ref() == Some(&id) => {}
        (Some(id), _) => Iam::open(run, config)?.delete(&id)?,
        (None, Some(before)) => {
            let iam = Iam::open(run, config)?;
            for key in lost(run, &iam.list()?, &before)? {
                if let Lost::Used(when) = delete_lost(&iam, &key)? {
                    return Ok(in_use(&key, &when));
                }
            }
        }
        (None, None) => {}
    }
    Ok(Outcome::Done)
}

fn noted() -> Result<Option<Vec<String>>, Error> {
    let ids = runtime::get_state(BEFORE)?.and_then(|ids| String::from_utf8(ids).ok());
    Ok(ids.map(|ids| ids.split_whitespace().map(str::to_owned).collect()))
}

/// Keys that were not there when this run began to ask, and that no version is.
fn lost(run: &Run, keys: &[Key], before: &[String]) -> Result<Vec<Key>, Error> {
    let versions = [Version::Current, Version::Previous, Version::Pending];
    let known: Vec<String> =
        versions.into_iter().filter_map(|version| id_of(run, version).transpose()).collect::<Result<_, _>>()?;
    let is_lost = |key: &&Key| !before.contains(&key.id) && !known.contains(&key.id);
    Ok(keys.iter().filter(is_lost).cloned().collect())
}

/// The secret of a lost key is nobody's, so it was never used.
fn delete_lost(iam: &Iam<'_>, key: &Key) -> Result<Lost, Error> {
    if let Some(when) = iam.last_used(&key.id)? {
        return Ok(Lost::Used(when));
    }
    iam.delete(&key.id)?;
    Ok(Lost::Deleted)
}

fn in_use(key: &Key, when: &str) -> Outcome {
    Outcome::Blocked(format!(
        "the key {} was made while this run asked for its own, and somebody uses it ({when}): look whose it is, delete it or its other one, and go on",
        key.id
    ))
}

/// What applications read.
fn document(id: &str, secret: &Secret) -> Result<Secret, Error> {
    let id = serde_json::to_string(id).unwrap_or_default();
    let document = Composer::new("application/json");
    document.text(&format!(r#"{{"access_key_id":{id},"secret_access_key":""#))?;
    document.secret(secret, "json")?;
    document.text("\"}")?;
    Composer::finish(document)
}
