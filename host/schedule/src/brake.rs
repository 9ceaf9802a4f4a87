use std::collections::BTreeMap;
use std::time::Duration;

use keywheel_model::{RotationName, Timestamp};

/// What is counted together.
const HOUR: Duration = Duration::from_hours(1);

/// So few are never too many.
const FEW: usize = 20;

/// How many rotations are more than a host does by itself without asking: a share of all, in thousandths, and never fewer than twenty.
pub fn many(all: usize, share: u16) -> usize {
    (all.saturating_mul(share.into()) / 1000).max(FEW)
}

/// Lets no more than a share of all rotations start within an hour. One that runs often counts once.
#[derive(Clone, Debug, Default)]
pub struct Brake {
    started: BTreeMap<RotationName, Timestamp>,
}

impl Brake {
    /// Whether the rotation may start now, if `most` may within an hour.
    pub fn admits(&self, rotation: &RotationName, most: usize, now: Timestamp) -> bool {
        let is_recent = |at: &&Timestamp| now.saturating_since(**at) < HOUR && **at <= now;
        self.started.get(rotation).as_ref().is_some_and(is_recent)
            || self.started.values().filter(is_recent).count() < most
    }

    /// It was started.
    pub fn started(&mut self, rotation: &RotationName, now: Timestamp) {
        self.started
            .retain(|_, at| now.saturating_since(*at) < HOUR && *at <= now);
        self.started.insert(rotation.clone(), now);
    }

    /// When the first of them counts no more.
    pub fn wake(&self) -> Option<Timestamp> {
        self.started.values().min().map(|at| *at + HOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> RotationName {
        format!("r{number}").parse().expect("a name")
    }

    #[test]
    fn within_an_hour_no_more_than_so_many_others_are_started() {
        let mut brake = Brake::default();
        let start = Timestamp::from_unix_ms(1_000);
        for number in 0..3 {
            assert!(brake.admits(&name(number), 3, start));
            brake.started(&name(number), start + Duration::from_mins(number as u64));
        }
        let now = start + Duration::from_mins(30);
        assert!(!brake.admits(&name(3), 3, now));
        assert!(brake.admits(&name(1), 3, now), "it counts already");
        assert_eq!(brake.wake(), Some(start + HOUR));
        assert!(brake.admits(&name(3), 3, start + HOUR));
        // The clock was set back: what was started later than now is not believed.
        assert!(brake.admits(&name(3), 3, Timestamp::from_unix_ms(0)));
    }

    #[test]
    fn few_are_never_too_many() {
        assert_eq!(many(10, 250), 20);
        assert_eq!(many(1_000, 250), 250);
    }
}
