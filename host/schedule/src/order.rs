use std::cmp::Reverse;
use std::time::Duration;

use keywheel_model::{RotationName, Timestamp};

/// How long something of a lower class waits until it is treated as one class higher. Nothing becomes an emergency by waiting.
const AGES_AFTER: Duration = Duration::from_hours(6);

/// Who breaks a blackout, and why. There is no other way to break one, so that it is always known; both go into the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// How a run presses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A credential is known to others. May break windows and blackouts, if somebody answers for that.
    Emergency(Option<Override>),
    /// It is due because of its expiry, or near it.
    NearExpiry,
    /// Everything else.
    Routine,
}

impl Priority {
    /// What a due run presses by itself: a tenth of its life or less is left, or it is due because of its life.
    pub fn of_due(
        by_lifetime: bool,
        issued: Option<Timestamp>,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let near = match (issued, expires) {
            (Some(issued), Some(expires)) => {
                expires.saturating_since(now) * 10 <= expires.saturating_since(issued)
            }
            (None, Some(expires)) => expires <= now,
            (_, None) => false,
        };
        if by_lifetime || near {
            Self::NearExpiry
        } else {
            Self::Routine
        }
    }

    fn class(&self) -> u8 {
        match self {
            Self::Emergency(_) => 0,
            Self::NearExpiry => 1,
            Self::Routine => 2,
        }
    }
}

/// Whether a run may start at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is open.
    Open,
    /// It is closed, and this one goes through; who answers for that.
    Overridden(Override),
    /// It is closed; from then on it is not, if that is near enough to be known.
    Closed {
        /// The next opening.
        until: Option<Timestamp>,
    },
}

/// A run that waits for its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whose.
    pub rotation: RotationName,
    /// How it presses.
    pub priority: Priority,
    /// Since when it is due.
    pub due: Timestamp,
    /// When what it replaces expires.
    pub expires: Option<Timestamp>,
}

/// The place in the queue: the smaller one goes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    class: u8,
    // What never expires goes after everything that does.
    expires: Reverse<Option<Reverse<Timestamp>>>,
    due: Timestamp,
    rotation: String,
}

impl Waiting {
    /// Its place in the queue now: class first, and who has waited long goes up by one class, but never to the emergencies; then what expires first;
    /// then what is due longest; then the name, so that two hosts agree.
    pub fn rank(&self, now: Timestamp) -> Rank {
        let class = self.priority.class();
        let aged = class > 1 && now.saturating_since(self.due) >= AGES_AFTER;
        Rank {
            class: class - u8::from(aged),
            expires: Reverse(self.expires.map(Reverse)),
            due: self.due,
            rotation: self.rotation.as_str().to_owned(),
        }
    }
}
