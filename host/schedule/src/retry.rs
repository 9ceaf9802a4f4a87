use std::time::Duration;

use keywheel_model::{RotationName, Timestamp};

use crate::hash::spread;

const LEAST: Duration = Duration::from_secs(1);
/// Into how many parts what is left of a life is cut: a pause takes one at most, so that several tries fit.
const PARTS_OF_LIFE: u32 = 8;

/// How failed runs are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The first pause.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
    /// How many times it is tried again, before a person is asked.
    pub tries: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_mins(1),
            longest: Duration::from_hours(1),
            tries: 8,
        }
    }
}

impl Retry {
    /// How long to wait after failed try number `failed` (from 1): twice as long each time, half of it decided by the rotation's name, so that not
    /// all come at once; never more than an eighth of the life that is left. `None` when the tries are used up.
    pub fn pause(
        &self,
        rotation: &RotationName,
        failed: u32,
        now: Timestamp,
        expires: Option<Timestamp>,
    ) -> Option<Duration> {
        if failed > self.tries {
            return None;
        }
        let full = self.longest_pause(failed);
        let half_ms = u64::try_from(full.as_millis() / 2).unwrap_or(u64::MAX);
        let spread_ms = spread("retry", rotation.as_str(), failed.into()) % half_ms.saturating_add(1);
        let pause = full.saturating_sub(Duration::from_millis(spread_ms));
        let most = expires.map_or(pause, |expires| expires.saturating_since(now) / PARTS_OF_LIFE);
        Some(pause.min(most).max(LEAST))
    }

    fn longest_pause(&self, failed: u32) -> Duration {
        let doubled = 2_u32.checked_pow(failed.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(doubled).min(self.longest).max(LEAST)
    }

    /// How long all tries after `failed` ones may take together, each of which takes `run` at most.
    pub fn time_needed(&self, failed: u32, run: Duration) -> Duration {
        let left = self.tries.saturating_sub(failed);
        // Past the longest pause they are all alike; nobody counts to four thousand million.
        let growing = left.min(40);
        let pauses: Duration = (failed..failed.saturating_add(growing))
            .map(|tried| self.longest_pause(tried.saturating_add(1)))
            .fold(Duration::ZERO, Duration::saturating_add);
        let rest = self.longest.saturating_mul(left - growing);
        pauses
            .saturating_add(rest)
            .saturating_add(run.saturating_mul(left.saturating_add(1)))
    }

    /// From when on a person must know: later than that, the tries that are left may not succeed before the credential expires.
    pub fn alarm_at(&self, failed: u32, run: Duration, expires: Timestamp) -> Timestamp {
        expires - self.time_needed(failed, run)
    }
}
