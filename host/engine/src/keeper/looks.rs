//! When the targets of rotations are looked at that are parked because those could not be reached.

use std::collections::BTreeMap;
use std::time::Duration;

use keywheel_model::{RotationName, Timestamp};

/// The first look; then after twice as long, three times, and so on.
const FIRST: Duration = Duration::from_mins(1);

/// At least so often.
const LONGEST: Duration = Duration::from_mins(15);

/// When the next look is, and how many there were.
#[derive(Debug, Default)]
pub(super) struct Looks(BTreeMap<RotationName, (Timestamp, u32)>);

impl Looks {
    /// Of these, which are all that are parked so, those whose time has come.
    pub(super) fn due(&mut self, parked: &[RotationName], now: Timestamp) -> Vec<RotationName> {
        self.0.retain(|name, _| parked.contains(name));
        for name in parked {
            self.0.entry(name.clone()).or_insert((now + FIRST, 0));
        }
        let mut due = Vec::new();
        for (name, (at, looks)) in &mut self.0 {
            if *at <= now {
                *looks = looks.saturating_add(1);
                *at = now + FIRST.saturating_mul(looks.saturating_add(1)).min(LONGEST);
                due.push(name.clone());
            }
        }
        due
    }

    pub(super) fn wake(&self) -> Option<Timestamp> {
        self.0.values().map(|(at, _)| *at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_grow_apart_and_end_with_what_they_are_for() {
        let (mut looks, mut now) = (Looks::default(), Timestamp::from_unix_ms(0));
        let parked: Vec<RotationName> = vec!["app".parse().unwrap()];
        assert!(looks.due(&parked, now).is_empty());
        let mut pauses = Vec::new();
        for _ in 0..17 {
            let next = looks.wake().unwrap();
            pauses.push(next.saturating_since(now).as_secs() / 60);
            now = next;
            assert_eq!(looks.due(&parked, now), parked);
        }
        assert_eq!(pauses[..4], [1, 2, 3, 4]);
        assert_eq!(pauses[15..], [15, 15]);
        assert!(looks.due(&[], now).is_empty() && looks.wake().is_none());
    }
}
