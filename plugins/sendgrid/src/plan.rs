//! What stands in the way, seen with the administrator's key.

use std::collections::BTreeSet;

use keywheel_sdk::{Error, Plan, Run, keys};

use crate::{Account, Config};

/// As many as SendGrid keeps for an account.
const MOST_KEYS: usize = 100;
const NEEDED: [&str; 3] = ["api_keys.create", "api_keys.delete", "api_keys.read"];
const CODES: [&str; 3] = ["sendgrid.limit", "sendgrid.stray", "sendgrid.key-id"];

pub(crate) fn look(run: &Run, config: &Config) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let account = Account::open(run, config)?;
    let name = keys::prefix_of(run, config.marker());
    plan.step("create", format!("POST /v3/api_keys: a key {name}-…"));
    plan.step("apply", "nothing: a key is good from the moment that it is made");
    plan.step("test", "GET /v3/scopes with the new key: it has all that it was asked to have");
    plan.step("revoke", "DELETE /v3/api_keys/… of the old key");
    let own = account.own_scopes()?;
    for needed in NEEDED.into_iter().filter(|needed| !own.contains(*needed)) {
        let message = format!("the administrator's key lacks the scope {needed}");
        plan.problem("sendgrid.rights", message, "give it api_keys.create, api_keys.read and api_keys.delete");
    }
    if !own.contains("api_keys.read") {
        return Ok(plan);
    }
    keys::examine(&mut plan, run, &account, config.marker(), CODES, MOST_KEYS)?;
    match account.wanted() {
        Ok(wanted) => reach(&mut plan, &own, &wanted),
        Err(problem) => plan.problem("sendgrid.scopes", problem.message, "name the scopes in the configuration"),
    }
    Ok(plan)
}

/// A key gives no right that it lacks itself.
fn reach(plan: &mut Plan, own: &BTreeSet<String>, wanted: &BTreeSet<String>) {
    let beyond: Vec<&str> = wanted.difference(own).map(String::as_str).collect();
    if let Some(first) = beyond.first() {
        let message = format!("the administrator's key lacks {} of the new key's scopes ({first}, …)", beyond.len());
        plan.warning("sendgrid.reach", message, "give it those too, or name fewer in `scopes`");
    }
}
