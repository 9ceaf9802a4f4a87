//! When people are told that something stops to be valid.

use std::time::Duration;

use super::Resolver;
use crate::expiry::ExpiryLadder;
use crate::raw;

/// Whoever wants to know earlier has a calendar.
const RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(10 * 366 * 24));

impl Resolver {
    pub(super) fn expiry(&mut self) -> ExpiryLadder {
        let raw: raw::Expiry = self.section("/expiry").unwrap_or_default();
        let default = ExpiryLadder::default();
        let left = raw.left.map(|spans| {
            let spans = spans.iter().enumerate();
            let read = spans.map(|(at, span)| {
                self.duration(&format!("/expiry/left/{at}"), Some(span), Duration::ZERO, RANGE)
            });
            read.collect()
        });
        ExpiryLadder {
            percent: raw.percent.unwrap_or(default.percent),
            left: left.unwrap_or(default.left),
        }
    }
}
