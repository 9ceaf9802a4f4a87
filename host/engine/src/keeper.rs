//! Goes on with what waits: the part of a host that needs nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use keywheel_model::{RunId, Timestamp, Trigger};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::actor::acting_as;
use crate::view::RunView;
use crate::{Engine, Error, Left, Order, Silent, Stop, Wait, Wish};

/// Under which the audit trail names what is done without a person.
const ACTOR: &str = "keeper";

/// It is looked at least so often: the wall clock may be set while it is waited.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// So many runs at once.
const AT_ONCE: usize = 16;

/// After an error that is not the run's own it is tried again after this.
const AFTER_ERROR: Duration = Duration::from_secs(30);

/// Drives every open run that needs no person, each from when it is its time.
pub struct Keeper {
    engine: watch::Receiver<Engine>,
    stop: Stop,
    tasks: JoinSet<(RunId, Result<Left, Error>)>,
    /// Of those that are under way, and of those that could not be: not before then.
    not_before: BTreeMap<RunId, Option<Timestamp>>,
}

impl Keeper {
    /// Of the engine as it is now, which may be replaced while it works.
    pub fn new(engine: watch::Receiver<Engine>, stop: Stop) -> Self {
        Self {
            engine,
            stop,
            tasks: JoinSet::new(),
            not_before: BTreeMap::new(),
        }
    }

    /// Works until it is to stop; then waits for what is under way, which heeds the same stop.
    pub async fn run(mut self) {
        self.engine.borrow().inner.turns.set_kept();
        while !self.stop.is_requested() {
            let engine = self.engine.borrow_and_update().clone();
            let mut left = engine.inner.turns.left();
            let wake = match self.look(&engine).await {
                Ok(wake) => wake,
                Err(error) => {
                    tracing::error!(code = error.code(), "the open runs cannot be looked at");
                    None
                }
            };
            let now = engine.inner.clock.now();
            let span = wake.map_or(LOOK_EVERY, |wake| wake.saturating_since(now).min(LOOK_EVERY));
            tokio::select! {
                () = self.stop.requested() => {}
                () = tokio::time::sleep(span) => {}
                _ = left.changed() => {}
                _ = self.engine.changed() => {}
                Some(ended) = self.tasks.join_next() => self.ended(ended, now),
            }
        }
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended, Timestamp::default());
        }
    }

    /// Begins what can be gone on with now; when it is worth looking again.
    async fn look(&mut self, engine: &Engine) -> Result<Option<Timestamp>, Error> {
        if engine.vault().is_sealed() {
            return Ok(None);
        }
        let now = engine.inner.clock.now();
        let mut wake = None;
        for run in engine.open_runs().await? {
            let Some(at) = self.time_of(engine, &run) else {
                continue;
            };
            if at > now {
                wake = Some(wake.map_or(at, |wake: Timestamp| wake.min(at)));
            } else if self.tasks.len() < AT_ONCE {
                self.go_on(engine, run.run);
            }
        }
        Ok(wake)
    }

    /// When it is to be gone on with; none: somebody does, or a person has to.
    fn time_of(&self, engine: &Engine, run: &RunView) -> Option<Timestamp> {
        if run.parked.is_some() || engine.inner.is_driven(&run.run) {
            return None;
        }
        let waits = run.waits_until.unwrap_or_default();
        match self.not_before.get(&run.run) {
            None => Some(waits),
            Some(None) => None,
            Some(Some(not_before)) => Some(waits.max(*not_before)),
        }
    }

    fn go_on(&mut self, engine: &Engine, run: RunId) {
        self.not_before.insert(run.clone(), None);
        let (engine, stop) = (engine.clone(), self.stop.clone());
        self.tasks.spawn(acting_as(ACTOR.to_owned(), async move {
            let order = Order {
                trigger: Trigger::Schedule,
                reason: None,
                wait: Wait::at_most(Duration::ZERO),
                stop,
                observer: &Silent,
            };
            let left = engine.go_on(&run, Wish::GoOn, order).await.map(|(_, left)| left);
            (run, left)
        }));
    }

    fn ended(&mut self, ended: Result<(RunId, Result<Left, Error>), tokio::task::JoinError>, now: Timestamp) {
        match ended {
            Ok((run, Ok(left))) => {
                tracing::info!(%run, ?left, "went on");
                self.not_before.remove(&run);
            }
            Ok((run, Err(Error::Over { .. }))) => {
                self.not_before.remove(&run);
            }
            Ok((run, Err(error))) => {
                tracing::error!(%run, code = error.code(), "a run cannot be gone on with");
                self.not_before.insert(run, Some(now + AFTER_ERROR));
            }
            Err(error) => tracing::error!(%error, "a run's task died"),
        }
    }
}
