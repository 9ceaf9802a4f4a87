//! What stands in the way, seen with the key that asks.

use keywheel_sdk::{Error, ErrorKind, Plan, Run, Version};

use crate::iam::{Iam, Key};
use crate::issue::MOST_KEYS;
use crate::{Config, id_of};

pub(crate) fn look(run: &Run, config: &Config) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let user = &config.user;
    plan.step("create", format!("CreateAccessKey for the user {user}"));
    plan.step("apply", "nothing: a key is good from the moment that it is made, everywhere within seconds");
    plan.step("test", "GetCallerIdentity with the new key");
    plan.step("revoke", format!("DeleteAccessKey of the old key of {user}"));
    if config.is_own() {
        // What the rotated key asks is a login, and a plan makes none.
        let message = format!(
            "the key of {user} changes itself, so nothing is looked at before: with two keys already a run waits for a person, and makes none"
        );
        plan.warning("aws-iam.alone", message, "mode = \"user\" with an administrator's key finds that before");
        return Ok(plan);
    }
    let iam = Iam::open(run, config)?;
    let keys = match iam.list() {
        Ok(keys) => keys,
        Err(problem) if problem.kind == ErrorKind::Denied => {
            plan.problem("aws-iam.rights", problem.message, rights(config));
            return Ok(plan);
        }
        Err(problem) => return Err(problem),
    };
    let current = id_of(run, Version::Current)?;
    if let Some(id) = &current {
        match keys.iter().find(|key| key.id == *id) {
            None => {
                let message = format!("the user {user} has no key {id}, which the current version is");
                plan.problem(
                    "aws-iam.key-missing",
                    message,
                    "is it this user, and this account? Import the key that is in use",
                );
            }
            Some(key) if !key.is_active => {
                let message = format!("the key {id} is switched off");
                let hint = format!("aws iam update-access-key --user-name {user} --access-key-id {id} --status Active");
                plan.problem("aws-iam.inactive", message, hint);
            }
            Some(_) => {}
        }
    }
    if keys.len() >= MOST_KEYS {
        let previous = id_of(run, Version::Previous)?;
        for key in keys.iter().filter(|key| current.as_ref() != Some(&key.id)) {
            full(&mut plan, &iam, config, key, previous.as_ref() == Some(&key.id));
        }
    }
    Ok(plan)
}

/// There is no room for a new key beside the current one and this one.
fn full(plan: &mut Plan, iam: &Iam<'_>, config: &Config, key: &Key, is_previous: bool) {
    let (user, id) = (&config.user, &key.id);
    if is_previous {
        let message =
            format!("the user {user} has two keys, and IAM makes no more: {id} is the one before the current one");
        plan.problem("aws-iam.limit", message, "the run that left it has not ended: `keywheel run list`");
        return;
    }
    // Who may not look is not told: what has to be done is the same.
    let last = match iam.last_used(id) {
        Ok(Some(when)) => format!("last used {when}"),
        Ok(None) => "never used".to_owned(),
        Err(_) => "when it was used could not be asked".to_owned(),
    };
    let state = if key.is_active { "active" } else { "switched off" };
    let message = format!(
        "the user {user} has two keys, and IAM makes no more: {id} is neither the current one nor of an earlier version (made {}, {state}, {last})",
        key.made
    );
    let hint = format!(
        "look who uses it; where nobody does: aws iam delete-access-key --user-name {user} --access-key-id {id}"
    );
    plan.problem("aws-iam.limit", message, hint);
}

fn rights(config: &Config) -> String {
    format!(
        "allow the administrator iam:CreateAccessKey, iam:DeleteAccessKey, iam:ListAccessKeys and iam:GetAccessKeyLastUsed on arn:aws:iam::{}:user/{}",
        config.account, config.user
    )
}
