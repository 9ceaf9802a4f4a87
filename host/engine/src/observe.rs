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

/// How long a caller waits for a run that sleeps (a grace period, a pause between retries).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until the run is over or parked.
    ToTheEnd,
    /// A sleep longer than this is left to a later `resume`.
    AtMost(Duration),
}
