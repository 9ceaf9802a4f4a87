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
/// That it has asked for one, and was not told that there is none.
const ASKED: &str = "asked";

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
    for key in lost(run, iam, &keys)? {
        iam.delete(&key.id)?;
        keys.retain(|other| other.id != key.id);
    }
    let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    if ids.len() >= MOST_KEYS {
        let current = id_of(run, Version::Current)?.unwrap_or_default();
        return Ok(Err(Outcome::Blocked(format!(
            "the user has two keys ({}), and IAM makes no more: delete the one that nobody uses, which is not the current one ({current}), and go on",
            ids.join(", ")
        ))));
    }
    runtime::set_state(BEFORE, ids.join(" ").as_bytes())?;
    runtime::set_state(ASKED, b"1")?;
    let reply = iam.create(keys::KEY)?;
    if (400..500).contains(&reply.status()) {
        // Nothing was made, so no key of later is this run's.
        runtime::set_state(ASKED, b"")?;
    }
    iam::accepted(reply, "making a key").map(Ok)
}

/// Deletes what this run had made, whether its answer came or not.
pub(crate) fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
    let current = id_of(run, Version::Current)?;
    match id_of(run, Version::Pending)? {
        Some(id) if current.as_ref() == Some(&id) => {}
        Some(id) => Iam::open(run, config)?.delete(&id)?,
        None if is_asked()? => {
            let iam = Iam::open(run, config)?;
            lost(run, &iam, &iam.list()?)?.iter().try_for_each(|key| iam.delete(&key.id))?;
        }
        None => {}
    }
    Ok(Outcome::Done)
}

fn is_asked() -> Result<bool, Error> {
    Ok(runtime::get_state(ASKED)?.is_some_and(|asked| !asked.is_empty()))
}

/// Keys that came since this run asked for one of its own, that no version is, and that nobody has used: of a lost answer nobody has the secret.
fn lost(run: &Run, iam: &Iam<'_>, keys: &[Key]) -> Result<Vec<Key>, Error> {
    let before = runtime::get_state(BEFORE)?.and_then(|ids| String::from_utf8(ids).ok());
    let (Some(before), true) = (before, is_asked()?) else { return Ok(Vec::new()) };
    let versions = [Version::Current, Version::Previous, Version::Pending];
    let mut known: Vec<String> =
        versions.into_iter().filter_map(|version| id_of(run, version).transpose()).collect::<Result<_, _>>()?;
    known.extend(before.split_whitespace().map(str::to_owned));
    let mut lost = Vec::new();
    for key in keys.iter().filter(|key| !known.contains(&key.id)) {
        if iam.last_used(&key.id)?.is_none() {
            lost.push(key.clone());
        }
    }
    Ok(lost)
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
