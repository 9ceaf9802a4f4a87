//! Fake targets: real slot semantics of each class.

use crate::vault::{Cred, value_of};

/// A credential that a target has issued under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The credential.
    pub cred: Cred,
    /// The marker in its name: the run that asked for it.
    pub run: Option<u8>,
    /// Logins succeed from here on.
    pub from: u64,
}

/// A regeneration that takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// Of this slot.
    pub slot: usize,
    /// Its end.
    pub until: u64,
}

/// What the target keeps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A: the accepted set, stated as a whole.
    Set(Vec<Cred>),
    /// B: a primary and a retained one; each set shifts.
    Pair(Cred, Option<Cred>),
    /// C: one slot.
    One(Cred),
    /// C with alternating accounts: one slot each.
    Alternate([Option<Cred>; 2]),
    /// D: issued keys. G too, where a person clicks.
    Keys(Vec<Key>),
    /// E: two fixed slots that can be read, one may be in the middle of a regeneration.
    Fixed {
        /// What is accepted and read now.
        slots: [Cred; 2],
        /// The regeneration in progress.
        operation: Option<Operation>,
    },
    /// F: the newest, and those that die by the server's clock.
    Clock {
        /// The newest.
        newest: Key,
        /// Older ones with the end of their validity.
        dying: Vec<(Cred, u64)>,
    },
    /// H: what the server shows, and what is valid.
    Served {
        /// Shown in a handshake.
        served: Cred,
        /// Issued and not expired.
        valid: Vec<Cred>,
    },
}

impl Target {
    /// Whether the credential opens the target: for good, whatever a slow replica says at the moment.
    pub fn accepts(&self, cred: Cred, now: u64) -> bool {
        let cred = value_of(cred);
        match self {
            Self::Set(set) => set.contains(&cred),
            Self::Pair(primary, retained) => *primary == cred || *retained == Some(cred),
            Self::One(only) => *only == cred,
            Self::Alternate(slots) => slots.contains(&Some(cred)),
            Self::Keys(keys) => keys.iter().any(|key| key.cred == cred),
            Self::Fixed { slots, .. } => slots.contains(&cred),
            Self::Clock { newest, dying } => {
                newest.cred == cred || dying.iter().any(|(old, until)| *old == cred && now < *until)
            }
            Self::Served { valid, .. } => valid.contains(&cred),
        }
    }

    /// What `test` sees.
    pub fn shows(&self, cred: Cred, now: u64) -> bool {
        let cred = value_of(cred);
        match self {
            Self::Keys(keys) => keys.iter().any(|key| key.cred == cred && key.from <= now),
            Self::Served { served, .. } => *served == cred,
            _ => self.accepts(cred, now),
        }
    }

    /// What time alone does: regenerations end. The new key gets the given number.
    pub fn ripen(&mut self, now: u64, fresh: Cred) {
        if let Self::Fixed { slots, operation } = self
            && operation.is_some_and(|running| running.until <= now)
            && let Some(ended) = operation.take()
        {
            slots[ended.slot] = fresh;
        }
    }

    /// The next instant at which time alone changes it.
    pub fn next_change(&self, now: u64) -> Option<u64> {
        match self {
            Self::Fixed { operation, .. } => operation.map(|running| running.until),
            Self::Clock { dying, .. } => dying
                .iter()
                .map(|(_, until)| *until)
                .filter(|until| *until > now)
                .min(),
            _ => None,
        }
    }

    /// Every credential it knows.
    pub fn creds(&self) -> Vec<Cred> {
        match self {
            Self::Set(set) => set.clone(),
            Self::Pair(primary, retained) => std::iter::once(*primary).chain(*retained).collect(),
            Self::One(only) => vec![*only],
            Self::Alternate(slots) => slots.iter().flatten().copied().collect(),
            Self::Keys(keys) => keys.iter().map(|key| key.cred).collect(),
            Self::Fixed { slots, .. } => slots.to_vec(),
            Self::Clock { newest, dying } => std::iter::once(newest.cred)
                .chain(dying.iter().map(|(old, _)| *old))
                .collect(),
            Self::Served { served, valid } => std::iter::once(*served).chain(valid.iter().copied()).collect(),
        }
    }

    /// The target is restored. What has been issued for it elsewhere stays valid.
    pub fn set_back_to(&mut self, backup: &Self) {
        match (self, backup) {
            (Self::Served { served, .. }, Self::Served { served: old, .. }) => *served = *old,
            (Self::Fixed { slots, operation }, Self::Fixed { slots: old, .. }) => {
                *slots = *old;
                *operation = None;
            }
            (now, then) => now.clone_from(then),
        }
    }

    /// The target has silently taken another value than it was given: cut short, or bent to its password rules (rule P11).
    pub fn mangle(&mut self, given: Cred, unknown: Cred) {
        let given = value_of(given);
        let bend = |cred: &mut Cred| {
            if *cred == given {
                *cred = unknown;
            }
        };
        match self {
            Self::Set(set) => set.iter_mut().for_each(bend),
            Self::Pair(primary, _) => bend(primary),
            Self::One(only) => bend(only),
            Self::Alternate(slots) => slots.iter_mut().flatten().for_each(bend),
            Self::Keys(_) | Self::Fixed { .. } | Self::Clock { .. } | Self::Served { .. } => {}
        }
    }

    /// The runs whose markers it bears.
    pub fn runs(&self) -> Vec<u8> {
        match self {
            Self::Keys(keys) => keys.iter().filter_map(|key| key.run).collect(),
            Self::Clock { newest, .. } => newest.run.into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the credential is not only accepted but also stands where the next run expects the current one: it is not the retained one of a pair, and
    /// does not die by the target's clock.
    pub fn is_settled_on(&self, cred: Cred) -> bool {
        let cred = value_of(cred);
        match self {
            Self::Pair(primary, _) => *primary == cred,
            Self::Clock { newest, .. } => newest.cred == cred,
            _ => true,
        }
    }

    /// Somebody changes the credential in use on the target; nobody here knows the new one.
    pub fn change_by_hand(&mut self, current: Cred, unknown: Cred) {
        let current = value_of(current);
        match self {
            Self::Set(set) => *set = vec![unknown],
            Self::Pair(primary, retained) => (*primary, *retained) = (unknown, None),
            Self::One(only) => *only = unknown,
            Self::Alternate(slots) => slots
                .iter_mut()
                .flatten()
                .filter(|cred| **cred == current)
                .for_each(|cred| *cred = unknown),
            Self::Keys(keys) => keys.retain(|key| key.cred != current),
            Self::Fixed { slots, .. } => slots
                .iter_mut()
                .filter(|cred| **cred == current)
                .for_each(|cred| *cred = unknown),
            Self::Clock { newest, dying } => {
                newest.cred = if newest.cred == current {
                    unknown
                } else {
                    newest.cred
                };
                dying.retain(|(old, _)| *old != current);
            }
            Self::Served { served, valid } => {
                *served = unknown;
                valid.push(unknown);
            }
        }
    }
}
