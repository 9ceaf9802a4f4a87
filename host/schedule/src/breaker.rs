use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keywheel_model::Timestamp;

/// The first pause of a target that cannot be reached.
const FIRST: Duration = Duration::from_mins(1);
/// No pause is longer: a target that is back is found soon, by one try.
const LONGEST: Duration = Duration::from_mins(15);

/// A target that cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Down {
    /// Since when.
    pub since: Timestamp,
    /// When one rotation tries it again; the others wait for how that ends.
    pub until: Timestamp,
    /// Tries that failed.
    pub tries: u32,
    /// Pauses, this one included.
    pauses: u32,
}

/// Which targets cannot be reached: nothing is started on them but one try after each pause, however many rotations they have.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    down: BTreeMap<String, Down>,
}

impl Breaker {
    /// Whether something may be started on these targets.
    pub fn admits(&self, targets: &BTreeSet<String>, now: Timestamp) -> bool {
        let down = targets.iter().filter_map(|target| self.down.get(target));
        down.into_iter().all(|down| down.until <= now)
    }

    /// A target could not be reached. When it is tried again: a pause that is not over is made no longer by those who had begun before.
    pub fn failed(&mut self, target: &str, now: Timestamp) -> Timestamp {
        let down = self.down.entry(target.to_owned()).or_insert(Down {
            since: now,
            until: now,
            tries: 0,
            pauses: 0,
        });
        down.tries = down.tries.saturating_add(1);
        if down.until <= now {
            let doubled = 2_u32.checked_pow(down.pauses).unwrap_or(u32::MAX);
            down.pauses = down.pauses.saturating_add(1);
            down.until = now + FIRST.saturating_mul(doubled).min(LONGEST);
        }
        down.until
    }

    /// These answer. Whether one of them was down.
    pub fn reached(&mut self, targets: &BTreeSet<String>) -> bool {
        let before = self.down.len();
        self.down.retain(|target, _| !targets.contains(target));
        self.down.len() < before
    }

    /// When one of them is tried again, if one is down.
    pub fn wake(&self, now: Timestamp) -> Option<Timestamp> {
        let waiting = self.down.values().map(|down| down.until);
        waiting.filter(|until| *until > now).min()
    }

    /// Those that are down.
    pub fn down(&self) -> impl Iterator<Item = (&str, Down)> {
        self.down.iter().map(|(target, down)| (target.as_str(), *down))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(target: &str) -> BTreeSet<String> {
        BTreeSet::from([target.to_owned()])
    }

    #[test]
    fn a_dead_target_is_tried_by_one_and_stops_nobody_elsewhere() {
        let mut breaker = Breaker::default();
        let start = Timestamp::from_unix_ms(0);
        let until = breaker.failed("db", start);
        assert_eq!(until, start + FIRST);
        assert!(!breaker.admits(&one("db"), start));
        assert!(breaker.admits(&one("other"), start));
        assert!(!breaker.admits(&BTreeSet::from(["db".to_owned(), "other".to_owned()]), start));
        assert_eq!(breaker.wake(start), Some(until));
        assert!(breaker.admits(&one("db"), until));
        // What had begun before fails, too, and says nothing new.
        for second in 1..30 {
            assert_eq!(breaker.failed("db", start + Duration::from_secs(second)), until);
        }
        // Each time it is dead still, twice as long, up to a quarter of an hour.
        let (mut now, mut pauses) = (until, Vec::new());
        for _ in 0..6 {
            let next = breaker.failed("db", now);
            pauses.push(next.saturating_since(now).as_secs() / 60);
            now = next;
        }
        assert_eq!(pauses, [2, 4, 8, 15, 15, 15]);
        assert_eq!(
            breaker.down().next().map(|(_, down)| (down.since, down.tries)),
            Some((start, 36))
        );
        // It answers: everybody at once.
        assert!(breaker.reached(&one("db")));
        assert!(!breaker.reached(&one("db")));
        assert!(breaker.admits(&one("db"), now));
        assert_eq!(breaker.wake(now), None);
    }
}
