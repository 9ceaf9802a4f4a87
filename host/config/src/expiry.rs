//! When people are told that something in use stops to be valid.

use std::time::Duration;

use keywheel_model::Timestamp;

/// The rungs of a ladder: how much is left of a life when it is told, again at each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiryLadder {
    /// Hundredths of the whole life.
    pub percent: Vec<u8>,
    /// Spans. Those of more than half of a life are not for that one.
    pub left: Vec<Duration>,
}

impl Default for ExpiryLadder {
    fn default() -> Self {
        let day = Duration::from_hours(24);
        Self {
            percent: vec![33, 10],
            left: [30, 14, 7, 3, 1].map(|days| day * days).to_vec(),
        }
    }
}

impl ExpiryLadder {
    /// The rung that is reached now, as so much that was left at it; none before the first.
    pub fn rung(&self, since: Timestamp, expires: Timestamp, now: Timestamp) -> Option<Duration> {
        let (life, left) = (expires.saturating_since(since), expires.saturating_since(now));
        let of_life = self
            .percent
            .iter()
            .map(|percent| life * u32::from(*percent) / 100);
        let spans = self.left.iter().copied().filter(|span| *span <= life / 2);
        of_life.chain(spans).filter(|rung| left <= *rung).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn rung(life_days: u32, left_hours: u64) -> Option<Duration> {
        let since = Timestamp::from_unix_ms(1_000_000);
        let expires = since + DAY * life_days;
        let now = Timestamp::from_unix_ms(expires.as_unix_ms() - left_hours * 3_600_000);
        ExpiryLadder::default().rung(since, expires, now)
    }

    #[test]
    fn each_rung_is_reached_in_its_turn_and_a_short_life_has_short_ones() {
        assert_eq!(rung(365, 365 * 24), None);
        assert_eq!(rung(365, 120 * 24), Some(DAY * 365 * 33 / 100));
        assert_eq!(rung(365, 36 * 24), Some(DAY * 365 / 10));
        for (left, reached) in [
            (30, 30),
            (29, 30),
            (14, 14),
            (7, 7),
            (4, 7),
            (3, 3),
            (1, 1),
            (0, 1),
        ] {
            assert_eq!(rung(365, left * 24), Some(DAY * reached), "{left}");
        }
        // Of seven days half is less than a week.
        assert_eq!(rung(7, 7 * 24), None);
        assert_eq!(rung(7, 72), Some(DAY * 3));
        assert_eq!(rung(7, 1), Some(DAY * 7 / 10));
        assert_eq!(rung(0, 0), Some(Duration::ZERO));
    }
}
