use std::sync::Arc;
use std::time::Duration;

use keywheel_model::{Epoch, PluginName, Proof, RotationName, SecretName, SlotClass, Strategy, Trigger};
use serde::{Deserialize, Serialize};

/// Everything a run needs to know of its configuration, pinned when it starts and journalled once with it (rule P12): what is changed in the
/// configuration afterwards concerns the next run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The configured rotation.
    pub rotation: RotationName,
    /// The secret it rotates.
    pub secret: SecretName,
    /// The plugin that does it.
    pub plugin: PluginName,
    /// SHA-256 of the component that the run started with, in lower-case hex. The run finishes on it.
    pub plugin_digest: String,
    /// What the lock is on.
    pub principal: Principal,
    /// Why the run exists.
    pub trigger: Trigger,
    /// How the target keeps the credential.
    pub class: SlotClass,
    /// How consumers are kept going.
    pub strategy: Strategy,
    /// What `test` is able to show on this target.
    pub evidence: Proof,
    /// What the operator asks for before anything is promoted.
    pub proof: ProofPolicy,
    /// The operator accepts the gap of a one-slot target in words (`gap = "accept"`, rule P8).
    pub gap_accepted: bool,
    /// What a first run without any current version does (rule P15).
    pub first: First,
    /// Who uses the secret.
    pub consumers: Vec<Consumer>,
    /// Further time between the last consumer's staleness and `revoke`.
    pub grace_ms: u64,
    /// How long the target may say `rejected` of a credential that it has already taken (rule P9).
    pub belief_delay_ms: u64,
    /// After this time no effect of an attempt can land any more: the deadline given to the server's side, plus slack. Counted from the start of
    /// the attempt.
    pub effect_deadline_ms: u64,
    /// How long revoked and abandoned material is kept (rules P1, P10).
    pub horizon_ms: u64,
    /// With a deferred proof: how long after the promotion the login is made at the earliest.
    pub deferred_proof_ms: u64,
    /// How long the target itself keeps accepting the old credential after it made the new one (class F).
    pub server_grace_ms: Option<u64>,
    /// The vault is on another machine: a pending version is mirrored there and read back before it is applied (rule P4).
    pub remote_vault: bool,
    /// Retries of one step before the run parks.
    pub max_attempts: u32,
    /// The pauses between retries.
    pub back_off: BackOff,
    /// The restore epoch in which the run was started (rule P2).
    pub epoch: Epoch,
    /// Where the jitter of the pauses comes from.
    pub seed: u64,
}

impl Settings {
    /// The longest time for which a consumer may go on using what it has.
    pub fn longest_staleness(&self) -> Duration {
        Duration::from_millis(
            self.consumers
                .iter()
                .map(|consumer| consumer.stale_ms)
                .max()
                .unwrap_or(0),
        )
    }

    /// Whether the new credential overwrites the old one in its only slot.
    pub fn overwrites(&self) -> bool {
        self.class.has_gap() && self.strategy == Strategy::OneSlot
    }

    /// Whether consumers that can hold two are given the pending credential before it is applied (rule P8).
    pub fn announces(&self) -> bool {
        self.overwrites() && self.consumers.iter().any(|consumer| consumer.announce)
    }

    /// Whether consumers may find their credential refused for a while (rule P8). Its extent: those that cannot hold two, from `apply` until
    /// they have read the version that `promote` made current, so at most the time from `apply` to `promote` plus their declared staleness.
    pub fn has_gap(&self) -> bool {
        self.overwrites() && self.consumers.iter().any(|consumer| !consumer.announce)
    }

    /// Whether the target can be asked at all.
    pub fn can_ask(&self) -> bool {
        self.evidence != Proof::None
    }

    pub(crate) fn effect_deadline(&self) -> Duration {
        Duration::from_millis(self.effect_deadline_ms)
    }

    pub(crate) fn belief_delay(&self) -> Duration {
        Duration::from_millis(self.belief_delay_ms)
    }

    pub(crate) fn horizon(&self) -> Duration {
        Duration::from_millis(self.horizon_ms)
    }
}

/// The account a run changes. Two rotations of one account exclude each other, whatever their secrets are called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Principal {
    /// The target: host and port, or the service's name.
    pub target: String,
    /// The account on it.
    pub account: String,
}

/// Who uses the secret, and how far behind the vault it may be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Consumer {
    /// Its name in the configuration.
    pub name: String,
    /// For this long after a promotion it may still use the previous version, unless it reports the new one.
    pub stale_ms: u64,
    /// It can hold current and pending at once, and says so when told (rule P8).
    pub announce: bool,
}

/// What has to be seen before a pending version is promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofPolicy {
    /// `test` said accepted.
    Login,
    /// The host saw `apply` succeed. The version stays *unproved* until a login has proved it, and nothing is revoked before that.
    Deferred,
    /// Nothing can be asked (evidence `none`), and the operator said that this is acceptable.
    Accept,
}

/// What a first run does when the vault holds no current version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum First {
    /// Parks: the credential in use has to be imported first.
    Adopt,
    /// Sets a new one; the unknown one dies. Only by `first = "set"` in words.
    Set,
}

/// Pauses between retries: `first_ms` doubled each time up to `cap_ms`, minus up to a quarter by jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BackOff {
    /// The first pause.
    pub first_ms: u64,
    /// The longest pause.
    pub cap_ms: u64,
}

impl BackOff {
    /// The pause before retry number `attempt` (1 for the first). The same seed gives the same pauses.
    pub fn pause(&self, attempt: u32, seed: u64) -> Duration {
        let doubled = self
            .first_ms
            .saturating_mul(1u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX));
        let whole = doubled.min(self.cap_ms);
        let share = mix(seed ^ u64::from(attempt)) % 256;
        Duration::from_millis(whole - whole / 4 * share / 256)
    }
}

/// `splitmix64`'s finaliser: spreads a counter over 64 bits.
fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The settings of a run, shared: they never change while it lives, so a state copies only the pointer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pinned(Arc<Settings>);

/// Settings never change within a run, so they tell its states apart by nothing.
impl std::hash::Hash for Pinned {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        self.0.seed.hash(hasher);
    }
}

impl Pinned {
    /// Pins the settings.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(settings))
    }
}

impl std::ops::Deref for Pinned {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_stay_below_the_cap_and_repeat_with_their_seed() {
        let back_off = BackOff {
            first_ms: 1_000,
            cap_ms: 60_000,
        };
        let pauses: Vec<_> = (1..=70).map(|attempt| back_off.pause(attempt, 7)).collect();
        assert_eq!(
            pauses,
            (1..=70)
                .map(|attempt| back_off.pause(attempt, 7))
                .collect::<Vec<_>>()
        );
        assert!(pauses[0] >= Duration::from_millis(750) && pauses[0] <= Duration::from_secs(1));
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_mins(1)));
        assert!(pauses[69] >= Duration::from_secs(45));
        assert_ne!(back_off.pause(9, 1), back_off.pause(9, 2));
    }
}
