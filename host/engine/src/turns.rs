//! Who drives which run within this host: one at a time. Whoever else wants to asks the one that does to leave it at the next journalled point.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use keywheel_model::{RunId, Timestamp};
use tokio::sync::watch;

use crate::Stop;

/// The runs that are driven now, each with what asks its driver to leave it.
#[derive(Debug)]
pub(crate) struct Turns {
    driven: Mutex<BTreeMap<RunId, watch::Sender<bool>>>,
    /// Grows when a run is left.
    left: watch::Sender<u64>,
    /// Somebody goes on with every run that needs no person.
    kept: OnceLock<Timestamp>,
    /// Grows when what is due may have changed.
    due: watch::Sender<u64>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            driven: Mutex::default(),
            left: watch::Sender::new(0),
            kept: OnceLock::new(),
            due: watch::Sender::new(0),
        }
    }
}

impl Turns {
    pub(crate) fn is_driven(&self, run: &RunId) -> bool {
        self.lock().contains_key(run)
    }

    /// From now on every run that needs no person is gone on with by this host itself.
    pub(crate) fn set_kept(&self, since: Timestamp) {
        self.kept.get_or_init(|| since);
    }

    /// Since when that is so.
    pub(crate) fn kept_since(&self) -> Option<Timestamp> {
        self.kept.get().copied()
    }

    /// What is due may be something else from now on.
    pub(crate) fn look_again(&self) {
        self.due.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes when that is so.
    pub(crate) fn due(&self) -> watch::Receiver<u64> {
        self.due.subscribe()
    }

    /// The turn on a run that nobody knows yet: whoever begins it has it before it stands in the journal, where the keeper would see it.
    pub(crate) fn begin(&self, now: Timestamp) -> Turn<'_> {
        let run = RunId::fresh(now);
        let asked = Self::insert(&mut self.lock(), &run);
        Turn {
            turns: self,
            run,
            asked,
        }
    }

    /// The turn, if nobody has it.
    pub(crate) fn try_take(&self, run: &RunId) -> Option<Turn<'_>> {
        let mut driven = self.lock();
        if driven.contains_key(run) {
            return None;
        }
        let asked = Self::insert(&mut driven, run);
        Some(Turn {
            turns: self,
            run: run.clone(),
            asked,
        })
    }

    fn insert(driven: &mut BTreeMap<RunId, watch::Sender<bool>>, run: &RunId) -> watch::Receiver<bool> {
        let (ask, asked) = watch::channel(false);
        driven.insert(run.clone(), ask);
        asked
    }

    /// Waits until nobody else drives the run; whoever does is asked to leave it. A step in flight is brought to its end first: it has its deadline.
    pub(crate) async fn take(&self, run: &RunId) -> Turn<'_> {
        loop {
            let mut left = self.left.subscribe();
            if let Some(turn) = self.try_take(run) {
                return turn;
            }
            let asks = self.lock().get(run).map(|ask| ask.send_replace(true));
            if asks.is_some() {
                // The sender lives as long as these turns.
                let _ = left.changed().await;
            }
        }
    }

    /// Is told whenever a run is left.
    pub(crate) fn left(&self) -> watch::Receiver<u64> {
        self.left.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, watch::Sender<bool>>> {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That a run is driven, until this is dropped.
pub(crate) struct Turn<'t> {
    turns: &'t Turns,
    run: RunId,
    asked: watch::Receiver<bool>,
}

impl Turn<'_> {
    /// Whose turn it is.
    pub(crate) fn run(&self) -> &RunId {
        &self.run
    }

    /// What the driver was given to heed, and that somebody else wants the run.
    pub(crate) fn stop(&self, stop: Stop) -> Stop {
        stop.or(self.asked.clone())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.run);
        self.turns.left.send_modify(|left| *left = left.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_run_is_driven_before_anybody_knows_it_and_is_not_taken_from_its_driver_without_need() {
        let turns = Turns::default();
        let turn = turns.begin(Timestamp::from_unix_ms(1));
        let run = turn.run().clone();
        assert!(turns.is_driven(&run) && turns.try_take(&run).is_none());
        assert!(!turn.stop(Stop::pair().1).is_requested());
        drop(turn);
        assert!(turns.try_take(&run).is_some() && !turns.is_driven(&run));
    }

    #[tokio::test]
    async fn one_at_a_time_drives_a_run_and_is_asked_to_leave_it() {
        let (turns, run) = (
            Arc::new(Turns::default()),
            RunId::fresh(Timestamp::from_unix_ms(1)),
        );
        let drivers = Arc::new(AtomicU32::new(0));
        let mut all = Vec::new();
        for _ in 0..20 {
            let (turns, run, drivers) = (Arc::clone(&turns), run.clone(), Arc::clone(&drivers));
            all.push(tokio::spawn(async move {
                let turn = turns.take(&run).await;
                assert_eq!(drivers.fetch_add(1, Ordering::SeqCst), 0);
                // The last one is asked by nobody.
                let stop = turn.stop(Stop::pair().1);
                let _ = tokio::time::timeout(std::time::Duration::from_millis(50), stop.requested()).await;
                assert_eq!(drivers.fetch_sub(1, Ordering::SeqCst), 1);
            }));
        }
        for one in all {
            one.await.unwrap();
        }
        assert!(!turns.is_driven(&run));
    }
}
