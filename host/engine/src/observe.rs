use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keywheel_workflow::State;

/// Is told of every new state of a run: for progress on a terminal. Must not block.
pub trait Observer: Send + Sync {
    /// The run stands here now.
    fn changed(&self, state: &State);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn changed(&self, _state: &State) {}
}

/// How long a caller waits for runs that sleep (a grace period, pauses between retries). Clones share what is left.
#[derive(Clone, Debug)]
pub enum Wait {
    /// Until the run is over or parked.
    ToTheEnd,
    /// Sleeps that are longer than what is left are left to a later `resume`.
    AtMost(Patience),
}

impl Wait {
    /// So long in all, however many sleeps it takes.
    pub fn at_most(span: Duration) -> Self {
        Self::AtMost(Patience(Arc::new(Mutex::new(span))))
    }

    /// Whether a sleep of this length fits into what is left.
    pub(crate) fn allows(&self, span: Duration) -> bool {
        match self {
            Self::ToTheEnd => true,
            Self::AtMost(Patience(left)) => span <= *left.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// A sleep of this length is behind.
    pub(crate) fn spend(&self, span: Duration) {
        if let Self::AtMost(Patience(left)) = self {
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            *left = left.saturating_sub(span);
        }
    }
}

/// What is left of the time that a caller waits.
#[derive(Clone, Debug)]
pub struct Patience(Arc<Mutex<Duration>>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_short_sleeps_cost_as_much_as_a_long_one_and_clones_share_what_is_left() {
        let wait = Wait::at_most(Duration::from_secs(3));
        let other = wait.clone();
        for second in 0..3 {
            assert!(other.allows(Duration::from_secs(1)), "{second}");
            wait.spend(Duration::from_secs(1));
        }
        assert!(!other.allows(Duration::from_millis(1)) && other.allows(Duration::ZERO));
        assert!(Wait::ToTheEnd.allows(Duration::MAX));
    }
}
