//! How fast a sink is told: no faster than its vendor takes it, and ever slower while it takes nothing.

use std::time::Duration;

use keywheel_config::{NotifyKind, Way};
use tokio::time::Instant;

use super::LOOK_EVERY;

/// After the first failure it is tried again after this, and then after twice as long each time.
const FIRST: Duration = Duration::from_secs(2);

/// No longer than this.
const LONGEST: Duration = Duration::from_mins(5);

/// The pace of one sink.
pub(super) struct Pace {
    /// Between two messages.
    every: Duration,
    takes_many_in_one: bool,
    last: Option<Instant>,
    /// How many tries have failed, one after the other.
    failed: u32,
}

impl Pace {
    /// What the vendors say: Slack and Teams a message a second, PagerDuty 120 a minute. A mail server is spared, too.
    pub(super) fn of(kind: &NotifyKind) -> Self {
        let (every, takes_many_in_one) = match kind {
            NotifyKind::Log | NotifyKind::Command { .. } => (0, false),
            NotifyKind::Channel { way, .. } => match way {
                Way::Slack { .. } | Way::Teams { .. } | Way::Email(_) => (1000, true),
                Way::PagerDuty { .. } => (500, false),
                Way::Webhook { .. } => (0, false),
            },
        };
        Self {
            every: Duration::from_millis(every),
            takes_many_in_one,
            last: None,
            failed: 0,
        }
    }

    /// Whether people read it: they are told of many in one.
    pub(super) fn takes_many_in_one(&self) -> bool {
        self.takes_many_in_one
    }

    /// Until the next message may go.
    pub(super) async fn wait(&mut self) {
        let at = self.next(Instant::now());
        tokio::time::sleep_until(at).await;
    }

    /// When it may go, which is noted.
    fn next(&mut self, now: Instant) -> Instant {
        let next = self.last.map_or(now, |last| now.max(last + self.every));
        self.last = Some(next);
        next
    }

    /// It has taken the last one.
    pub(super) fn is_taken(&mut self) {
        self.failed = 0;
    }

    /// How long it is left alone now; `asked`: what it has asked for itself.
    pub(super) fn after(&mut self, error: &keywheel_notify::Error, asked: Option<Duration>) -> Duration {
        // That is no fault of its own, and over at once.
        if matches!(error, keywheel_notify::Error::Sealed { .. }) {
            return LOOK_EVERY;
        }
        let pause = FIRST.saturating_mul(1 << self.failed.min(16)).min(LONGEST);
        self.failed = self.failed.saturating_add(1);
        pause.max(asked.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use keywheel_notify::Error;

    use super::*;

    fn slack() -> Pace {
        Pace::of(&NotifyKind::Channel {
            way: Way::Slack {
                url: "notify/slack".parse().unwrap(),
            },
            trust: None,
            timeout: Duration::from_secs(30),
        })
    }

    #[test]
    fn it_is_left_alone_for_ever_longer_and_no_longer_than_it_asks_for() {
        let mut pace = slack();
        let busy = Error::Busy {
            status: 503,
            retry_after: None,
        };
        let pauses: Vec<u64> = (0..10).map(|_| pace.after(&busy, None).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        pace.is_taken();
        assert_eq!(pace.after(&busy, None).as_secs(), 2);
        assert_eq!(pace.after(&busy, Some(Duration::from_secs(90))).as_secs(), 90);
        let sealed = Error::Sealed {
            secret: "notify/slack".to_owned(),
        };
        assert_eq!(pace.after(&sealed, None), LOOK_EVERY);
    }

    #[test]
    fn no_two_messages_go_within_a_second() {
        let (mut pace, begun) = (slack(), Instant::now());
        for sent in 0..5 {
            assert_eq!(pace.next(begun), begun + Duration::from_secs(sent));
        }
        // What was long ago keeps nothing waiting.
        let later = begun + Duration::from_mins(1);
        assert_eq!(pace.next(later), later);
    }
}
