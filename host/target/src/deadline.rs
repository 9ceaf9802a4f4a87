use std::future::Future;
use std::time::Duration;

use keywheel_model::Effect;
use tokio::time::Instant;

use crate::Error;

/// The instant at which a wait ends. Made once at the start of a step and passed down, so that nested waits share one budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now. Spans beyond a year count as a year.
    pub fn after(span: Duration) -> Self {
        const YEAR: Duration = Duration::from_hours(366 * 24);
        Self(Instant::now() + span.min(YEAR))
    }

    /// At an instant of the runtime's clock.
    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// What is left; zero when it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The instant.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// The earlier of this and so long from now: a call's own time-out inside a step's deadline.
    #[must_use]
    pub fn within(self, span: Duration) -> Self {
        self.min(Self::after(span))
    }

    /// When a server has to give up (rule P1): before we do, so that its answer still reaches us.
    pub(crate) fn for_server(self) -> Duration {
        let left = self.remaining();
        let margin = (left / 10).clamp(Duration::from_millis(20), Duration::from_secs(1));
        left.saturating_sub(margin)
    }

    /// Runs `work` until the deadline.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the given words and effect when the deadline comes first; `work` is dropped then.
    pub async fn run<T>(
        self,
        doing: &'static str,
        effect: Effect,
        work: impl Future<Output = T>,
    ) -> Result<T, Error> {
        tokio::time::timeout_at(self.0, work)
            .await
            .map_err(|_| Error::Timeout { doing, effect })
    }
}
