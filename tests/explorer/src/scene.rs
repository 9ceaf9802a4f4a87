//! What is explored: a class of slots, a vault, and the circumstances.

use keywheel_model::{Proof, SlotClass, Strategy, Trigger};
use keywheel_workflow::{BackOff, Consumer, First, Mutation, Mutations, Principal, ProofPolicy, Settings};

/// Spans of the model's clock. Small and all different, so that a mix-up shows.
pub mod span {
    /// After this an effect cannot land any more.
    pub const EFFECT_DEADLINE: u64 = 11;
    /// A lease that is not renewed lapses after this: before what was sent under it can no longer land.
    pub const LEASE: u64 = 7;
    /// What a slow target takes to believe.
    pub const BELIEF: u64 = 5;
    /// A consumer may be this far behind.
    pub const STALE: u64 = 40;
    /// The pause between retries.
    pub const PAUSE: u64 = 2;
    /// How long class F's target keeps the old credential.
    pub const GRACE: u64 = 2_000;
    /// The same where two hosts wait for each other through it.
    pub const SHORT_GRACE: u64 = 160;
    /// How long class E's regeneration takes.
    pub const LONG_OPERATION: u64 = 3;
    /// After this the account's failed logins are forgotten.
    pub const LOCKOUT_WINDOW: u64 = 50;
    /// Failed logins that the account allows in it.
    pub const LOCKOUT_BUDGET: u8 = 5;
    /// How long a host that does not let the previous version be revoked waits before it is asked again.
    pub const HELD_BACK: u64 = 3;
    /// How long material is kept.
    pub const HORIZON: u64 = 100_000;
}

/// The mistake of a fake, where a rule is for the plugin, the driver, the vault or the configuration to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// P1: the vault deletes an abandoned version at once.
    AbandonedForgotten,
    /// P10: the vault deletes a revoked version at once.
    RevokedForgotten,
    /// P5: the plugin leaves the orphan of a lost create on the target.
    OrphanKept,
    /// P6: the plugin hands out the key it reads during the long operation.
    OldKeyCaptured,
    /// Azure: the plugin regenerates the slot in use.
    SlotInUseRegenerated,
    /// P12: the lock is on the secret's name; the other run's secret is of the same account.
    LockedByName,
    /// P13: user name and password are two names in the vault, promoted one after the other.
    PairSplit,
    /// P14: the driver keeps no budget of failed logins.
    NoBudget,
    /// The driver starts effects without looking at the fence, and a host that stood still goes on as if nothing had happened.
    FenceUnchecked,
    /// A lease is taken over before it has lapsed, and without word of when effects of its holder before have landed or never will.
    TakeoverAtOnce,
    /// P1: a lease that has lapsed is taken over without word of when effects of its holder before can no longer land.
    DeadlineForgotten,
    /// P1: at a takeover the old sessions are said to have ended, and have not.
    SessionsLeft,
    /// The plugin of class B shifts without looking whether it has shifted already.
    AppliedBlindly,
    /// The plugin changes the target before its value is stored.
    SetBeforeStored,
    /// The vault keeps no previous version.
    PreviousForgotten,
    /// Nobody looks after the other name of a version that became current while its host died.
    OtherNameForgotten,
    /// The other name is written before the secret's own.
    OtherNameFirst,
}

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    /// In the machine.
    pub machine: Mutations,
    /// In a fake.
    pub fake: Option<Fault>,
}

impl Wrong {
    /// A mistake of the machine.
    pub const fn machine(mutation: Mutation) -> Self {
        Self {
            machine: Mutations::only(mutation),
            fake: None,
        }
    }

    /// A mistake of a fake.
    pub const fn fake(fault: Fault) -> Self {
        Self {
            machine: Mutations::none(),
            fake: Some(fault),
        }
    }

    /// Whether a fake is wrong in this way.
    pub fn has(self, fault: Fault) -> bool {
        self.fake == Some(fault)
    }
}

/// Which kinds of faults a search may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each kind is switched on its own")]
pub struct Kinds {
    /// Crashes before and after effects and journal writes.
    pub crashes: bool,
    /// Failures, lost replies, errors although applied, effects that land late or twice, traps.
    pub effects: bool,
    /// A late effect that lands even after the deadline of the server's side.
    pub beyond_deadline: bool,
    /// Cancel, roll back, a withdrawn grant.
    pub people: bool,
    /// Changed by hand, restored, a lost disk.
    pub outside: bool,
    /// A host that stands still while its lease lapses.
    pub stalls: bool,
}

impl Kinds {
    /// All that one host can meet.
    pub const ALL: Self = Self {
        crashes: true,
        effects: true,
        beyond_deadline: true,
        people: true,
        outside: true,
        stalls: false,
    };
    /// Two hosts: crashes and takeovers.
    pub const TAKEOVER: Self = Self {
        crashes: true,
        effects: false,
        beyond_deadline: false,
        people: false,
        outside: false,
        stalls: true,
    };
}

/// One search.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent circumstances")]
pub struct Scene {
    /// For the table.
    pub name: &'static str,
    /// The class.
    pub class: SlotClass,
    /// The strategy: alternating accounts make two slots of a one-slot target.
    pub strategy: Strategy,
    /// The vault: on another machine, without compare-and-set, current = newest.
    pub weak_vault: bool,
    /// Whether another name shows the current value in a form of its own, and the vault has no transaction over names: the secret's own is written first, and says what is
    /// current; whoever reads it under the lease brings the other one after it (`docs/adr/0014-forms.md`).
    pub two_names: bool,
    /// Whether the target can end sessions.
    pub ends_sessions: bool,
    /// How long the target takes to believe.
    pub belief: u64,
    /// The proof asked for.
    pub proof: ProofPolicy,
    /// Consumers can hold two.
    pub announce: bool,
    /// Consumers report at once what they use.
    pub reports: bool,
    /// Why the run is made.
    pub trigger: Trigger,
    /// What is imported and pending at the start, instead of a current version.
    pub adopting: bool,
    /// No version at all is in the vault at the start, though the target has a credential in use.
    pub nothing_imported: bool,
    /// In so many answers to parked runs, the first ones, a person may say whatever the product takes; later what the way out says.
    pub free_choices: u8,
    /// Hosts.
    pub workers: usize,
    /// Faults in one history.
    pub faults: u8,
    /// Their kinds.
    pub kinds: Kinds,
}

impl Scene {
    /// One host, three faults of all kinds.
    pub fn one(name: &'static str, class: SlotClass) -> Self {
        Self {
            name,
            class,
            strategy: match class {
                SlotClass::C => Strategy::OneSlot,
                SlotClass::A | SlotClass::B => Strategy::TwoSlot,
                _ => Strategy::IssueAndRevoke,
            },
            weak_vault: false,
            two_names: false,
            ends_sessions: matches!(class, SlotClass::B | SlotClass::C),
            belief: if class == SlotClass::D { span::BELIEF } else { 0 },
            proof: ProofPolicy::Login,
            announce: class == SlotClass::C,
            reports: false,
            trigger: Trigger::Manual,
            adopting: false,
            nothing_imported: false,
            free_choices: 1,
            workers: 1,
            faults: 3,
            kinds: Kinds::ALL,
        }
    }

    /// Two hosts on one vault, two faults.
    pub fn two(name: &'static str, class: SlotClass) -> Self {
        Self {
            workers: 2,
            faults: 2,
            kinds: Kinds::TAKEOVER,
            ..Self::one(name, class)
        }
    }

    /// On the weak vault.
    #[must_use]
    pub fn weak(mut self) -> Self {
        self.weak_vault = true;
        self
    }

    /// With two names on the weak vault.
    #[must_use]
    pub fn named_twice(self) -> Self {
        Self {
            two_names: true,
            ..self.weak()
        }
    }

    /// Whether consumers are refused for a while by the nature of the target.
    pub fn has_gap(&self) -> bool {
        self.class == SlotClass::C && self.strategy == Strategy::OneSlot && !self.announce
    }

    /// How long class F's target keeps the old credential.
    pub fn server_grace(&self) -> u64 {
        if self.workers > 1 {
            span::SHORT_GRACE
        } else {
            span::GRACE
        }
    }

    /// The settings of a run in this scene.
    ///
    /// # Panics
    ///
    /// Never: the names are constants.
    pub fn settings(&self, trigger: Trigger) -> Settings {
        #[expect(clippy::expect_used, reason = "constants that are names")]
        let (rotation, secret, plugin) = (
            "fake".parse().expect("a rotation's name"),
            "fake".parse().expect("a secret's name"),
            "fake".parse().expect("a plugin's name"),
        );
        Settings {
            rotation,
            secret,
            plugin,
            plugin_digest: String::new(),
            principal: Principal {
                target: String::new(),
                account: String::new(),
            },
            trigger,
            class: self.class,
            strategy: self.strategy,
            evidence: if self.class == SlotClass::H {
                Proof::Handshake
            } else {
                Proof::Login
            },
            proof: self.proof,
            gap_accepted: self.has_gap(),
            first: First::Adopt,
            consumers: vec![Consumer {
                name: String::new(),
                stale_ms: span::STALE,
                announce: self.announce,
            }],
            grace_ms: 0,
            belief_delay_ms: self.belief,
            effect_deadline_ms: span::EFFECT_DEADLINE,
            horizon_ms: span::HORIZON,
            deferred_proof_ms: 0,
            server_grace_ms: (self.class == SlotClass::F).then_some(self.server_grace()),
            remote_vault: self.weak_vault,
            max_attempts: 3,
            back_off: BackOff {
                first_ms: span::PAUSE,
                cap_ms: span::PAUSE,
            },
            epoch: keywheel_model::Epoch(0),
            seed: 0,
        }
    }
}
