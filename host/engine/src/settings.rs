//! From configuration and manifest to what a run pins when it starts (rule P12).

use std::time::Duration;

use keywheel_config::{FirstRun, Gap, ProofChoice, Rotation};
use keywheel_manifest::Manifest;
use keywheel_model::{Epoch, Trigger};
use keywheel_workflow::{BackOff, Consumer, First, Principal, ProofPolicy, Settings};

use crate::Error;

/// How long revoked and abandoned material is kept: longer than any restore of a target is likely to reach back (rules P1, P10).
const HORIZON: Duration = Duration::from_hours(30 * 24);

/// Between the deadline given to the server's side and the time from which nothing is expected to land any more.
pub(crate) const EFFECT_SLACK: Duration = Duration::from_millis(500);

/// How long after an unproved promotion the login is made at the earliest: an emergency first gets all its changes out.
const DEFERRED_PROOF: Duration = Duration::from_secs(5);

const BACK_OFF: BackOff = BackOff {
    first_ms: 500,
    cap_ms: 60_000,
};

pub(crate) fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The settings of a new run.
///
/// # Errors
/// [`Error::Mode`]: no mode of the plugin fits the configuration.
pub(crate) fn pin(
    rotation: &Rotation,
    manifest: &Manifest,
    digest: &str,
    trigger: Trigger,
    epoch: Epoch,
    seed: u64,
) -> Result<Settings, Error> {
    let mode = manifest.mode(&rotation.config).ok_or_else(|| Error::Mode {
        rotation: rotation.name.clone(),
        plugin: rotation.plugin.clone(),
    })?;
    let staleness = rotation
        .consumers
        .iter()
        .map(|consumer| consumer.staleness)
        .max()
        .unwrap_or_default();
    // What others know is not kept alive for anybody's comfort, only for consumers that cannot have read the new one yet.
    let grace = if trigger == Trigger::Compromise {
        staleness
    } else {
        rotation.grace
    };
    Ok(Settings {
        rotation: rotation.name.clone(),
        secret: rotation.secret.clone(),
        plugin: rotation.plugin.clone(),
        plugin_digest: digest.to_owned(),
        principal: principal(rotation, manifest),
        trigger,
        class: mode.class,
        strategy: mode.strategy,
        evidence: mode.proof,
        proof: match rotation.proof {
            ProofChoice::Login => ProofPolicy::Login,
            ProofChoice::Deferred => ProofPolicy::Deferred,
            ProofChoice::Accept => ProofPolicy::Accept,
        },
        gap_accepted: rotation.gap == Gap::Accept,
        first: match rotation.first {
            FirstRun::Adopt => First::Adopt,
            FirstRun::Set => First::Set,
        },
        consumers: rotation
            .consumers
            .iter()
            .map(|consumer| Consumer {
                name: consumer.name.clone(),
                stale_ms: ms(consumer.staleness),
                announce: consumer.hook.as_ref().is_some_and(|hook| hook.announce),
            })
            .collect(),
        grace_ms: ms(grace.saturating_sub(staleness)),
        belief_delay_ms: ms(mode.belief),
        effect_deadline_ms: ms(rotation.deadlines.step + EFFECT_SLACK),
        horizon_ms: ms(HORIZON),
        deferred_proof_ms: ms(DEFERRED_PROOF),
        server_grace_ms: None,
        remote_vault: false,
        max_attempts: attempts_within(rotation.deadlines.run, seed),
        back_off: BACK_OFF,
        epoch,
        seed,
    })
}

/// Failed logins that may be spent on an account within a time (rule P14).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probes {
    pub(crate) logins: u32,
    pub(crate) per: Duration,
}

impl Probes {
    /// A rotation and its rollback cost four. Targets are commonly made to lock after five in a row, and a login that is accepted in between begins their count anew.
    const CAREFUL: u32 = 5;
    /// Where the target locks nothing: a bound all the same, against a run that goes in circles.
    const NOTHING_LOCKS: u32 = 60;

    /// For a run whose rotation is gone from the configuration.
    pub(crate) fn careful() -> Self {
        Self {
            logins: Self::CAREFUL,
            per: Duration::from_hours(1),
        }
    }
}

/// The budget of a rotation: what the operator says, else what fits the target.
pub(crate) fn probes(rotation: &Rotation, manifest: &Manifest) -> Probes {
    let never_locks = manifest
        .mode(&rotation.config)
        .is_some_and(|mode| mode.never_locks);
    let fitting = if never_locks {
        Probes::NOTHING_LOCKS
    } else {
        Probes::CAREFUL
    };
    Probes {
        logins: rotation.probes.logins.unwrap_or(fitting),
        per: rotation.probes.per,
    }
}

/// The principals of a rotation as one text each: the leases are taken on all of them.
pub(crate) fn principals(rotation: &Rotation, manifest: &Manifest) -> Vec<String> {
    manifest
        .principals(&rotation.config)
        .into_iter()
        .map(|one| format!("{} {}", one.target, one.account))
        .collect()
}

/// The targets that a rotation works on.
pub(crate) fn targets(rotation: &Rotation, manifest: &Manifest) -> Vec<String> {
    let principals = manifest.principals(&rotation.config);
    principals.into_iter().map(|one| one.target).collect()
}

fn principal(rotation: &Rotation, manifest: &Manifest) -> Principal {
    let all = manifest.principals(&rotation.config);
    let mut targets: Vec<String> = all.iter().map(|one| one.target.clone()).collect();
    let mut accounts: Vec<String> = all.iter().map(|one| one.account.clone()).collect();
    targets.dedup();
    accounts.sort();
    accounts.dedup();
    Principal {
        target: targets.join(" "),
        account: accounts.join(" "),
    }
}

/// How many tries fit into the time that a rotation may spend on one step.
fn attempts_within(time: Duration, seed: u64) -> u32 {
    let mut spent = Duration::ZERO;
    let mut attempts = 1;
    while spent < time && attempts < 1_000 {
        spent += BACK_OFF.pause(attempts, seed);
        attempts += 1;
    }
    attempts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_time_allows_more_tries_and_none_allows_one() {
        assert_eq!(attempts_within(Duration::ZERO, 3), 1);
        let short = attempts_within(Duration::from_secs(10), 3);
        let long = attempts_within(Duration::from_hours(1), 3);
        assert!(1 < short && short < long, "{short} {long}");
    }
}
