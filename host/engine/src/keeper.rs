//! The part of a host that needs nobody: it goes on with what waits, and starts what is due.

mod away;
mod held;
mod looks;
mod queue;
mod suspicion;
mod tables;
mod told;
pub(crate) mod tries;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use keywheel_model::{RotationName, RunId, Timestamp, Trigger};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use crate::actor::acting_as;
use crate::alarm::Jump;
use crate::keeper::queue::{Outcome, Queue, Turn};
use crate::keeper::suspicion::Suspicion;
use crate::view::RunView;
use crate::{Engine, Error, Left, Order, RunWord, Silent, Stop, Wait, Wish};

/// Under which the audit trail names what is done without a person.
const ACTOR: &str = "keeper";

/// It is looked at least so often: the wall clock may be set while it is waited.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// After an error that is not the run's own it is tried again after this.
const AFTER_ERROR: Duration = Duration::from_secs(30);

/// A run that is kept while the keeper looks is no sign of a clock that was set back.
const SLACK: Duration = Duration::from_secs(1);

/// Drives every open run that needs no person, each from when it is its time, and starts each rotation when it is due.
pub struct Keeper {
    engine: watch::Receiver<Engine>,
    stop: Stop,
    tasks: JoinSet<Ended>,
    queue: Queue,
    /// What each task is for.
    doing: HashMap<Id, Doing>,
    /// Runs that could not be gone on with: not before then.
    not_before: BTreeMap<RunId, Timestamp>,
    /// Runs that were kept by a clock that has been set back since: when, by that clock, and until when they wait by the one of now.
    set_back: BTreeMap<RunId, (Timestamp, Timestamp)>,
}

/// What is under way.
#[derive(Clone, Debug)]
enum Doing {
    /// A run is gone on with, on these targets.
    Run(RunId, BTreeSet<String>),
    /// A rotation that was due was started.
    Rotation(RotationName),
    /// The target of a rotation that is parked is looked at.
    Look(RotationName),
}

/// How that came to its end.
enum Ended {
    WentOn(Result<(RunView, Left), Error>),
    Started(Result<RunView, Error>),
    /// Whether it still cannot be reached.
    Looked(bool),
}

impl Keeper {
    /// Of the engine as it is now, which may be replaced while it works.
    pub fn new(engine: watch::Receiver<Engine>, stop: Stop) -> Self {
        Self {
            engine,
            stop,
            tasks: JoinSet::new(),
            queue: Queue::default(),
            doing: HashMap::new(),
            not_before: BTreeMap::new(),
            set_back: BTreeMap::new(),
        }
    }

    /// Works until it is to stop; then waits for what is under way, which heeds the same stop.
    pub async fn run(mut self) {
        {
            let engine = self.engine.borrow();
            engine.inner.turns.set_kept(engine.inner.clock.now());
        }
        let mut due = self.engine.borrow().inner.turns.due();
        self.queue.suspect(Suspicion::Started);
        let mut looked: Option<(Instant, Timestamp)> = None;
        while !self.stop.is_requested() {
            let replaced = self.engine.has_changed().unwrap_or(false);
            let engine = self.engine.borrow_and_update().clone();
            let mut left = engine.inner.turns.left();
            if replaced {
                self.queue.forget();
            }
            let (here, there) = (Instant::now(), engine.inner.clock.now());
            let jump = looked.and_then(|(then, at)| Jump::between(at, here.duration_since(then), there));
            if let Some(jump) = jump {
                tracing::warn!(
                    ahead = jump.ahead,
                    by_s = jump.by.as_secs(),
                    "the clock has jumped"
                );
                engine.inner.standing.set_jump(jump);
                if jump.ahead {
                    self.queue.suspect(Suspicion::Jumped);
                }
            }
            looked = Some((here, there));
            let wake = self.look(&engine).await.unwrap_or_else(|error| {
                tracing::error!(code = error.code(), "what is to be done cannot be looked at");
                None
            });
            let now = engine.inner.clock.now();
            let span = wake.map_or(LOOK_EVERY, |wake| wake.saturating_since(now).min(LOOK_EVERY));
            tokio::select! {
                () = self.stop.requested() => {}
                () = tokio::time::sleep(span) => {}
                _ = left.changed() => {}
                _ = due.changed() => self.queue.doubt(),
                _ = self.engine.changed() => self.queue.forget(),
                Some(ended) = self.tasks.join_next_with_id() => self.ended(&engine, ended).await,
            }
        }
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let engine = self.engine.borrow().clone();
            self.ended(&engine, ended).await;
        }
    }

    /// Begins what can be begun now; when it is worth looking again.
    async fn look(&mut self, engine: &Engine) -> Result<Option<Timestamp>, Error> {
        let now = engine.inner.clock.now();
        engine.metrics().looked(now);
        // Sessions that nobody asks for again: an administrator's is not to stay on a server until the next rotation, a week away.
        engine.inner.retire(None);
        if engine.vault().is_sealed() {
            return Ok(None);
        }
        let at_once = engine.config().pace.at_once;
        let mut wakes = Vec::new();
        for run in engine.open_runs().await? {
            match self.time_of(engine, &run) {
                None => {}
                Some(at) if at > now => wakes.push(at),
                Some(_) if self.tasks.len() >= at_once => {}
                Some(_) => {
                    let targets = targets_of(engine, &run);
                    if !self.is_crowded(engine, &targets) {
                        self.go_on(engine, run.run, targets);
                    }
                }
            }
        }
        while self.tasks.len() < at_once {
            let Some(turn) = self.queue.next(engine, now).await? else {
                break;
            };
            self.start(engine, turn);
        }
        for rotation in self.queue.looks_due(now) {
            self.look_at_target(engine, rotation);
        }
        wakes.extend(self.queue.wake(engine, now));
        wakes.extend(engine.next_look()?);
        Ok(wakes.into_iter().min())
    }

    /// When it is to be gone on with; none: somebody does, or a person has to.
    fn time_of(&self, engine: &Engine, run: &RunView) -> Option<Timestamp> {
        let is_ours = |doing: &Doing| matches!(doing, Doing::Run(ours, _) if *ours == run.run);
        if engine.inner.is_driven(&run.run) || self.doing.values().any(is_ours) {
            return None;
        }
        let not_before = self.not_before.get(&run.run).copied().unwrap_or_default();
        if run.parked.is_some() && !run.is_decided() {
            // At the latest the time that it may wait for its approval ends it.
            return run.awaits_approval()?.until.map(|until| until.max(not_before));
        }
        let waits = self.waits_until(run, engine.inner.clock.now());
        Some(
            waits
                .max(run.maintained_until)
                .unwrap_or_default()
                .max(not_before),
        )
    }

    /// How long a run waits. Of one that was kept by a clock that is set back the run itself says what is left of its wait, as soon as it is gone on with.
    fn waits_until(&self, run: &RunView, now: Timestamp) -> Option<Timestamp> {
        if run.kept_at <= now + SLACK {
            return run.waits_until;
        }
        let known = self.set_back.get(&run.run);
        let (_, until) = known.filter(|(kept_at, _)| *kept_at == run.kept_at)?;
        Some(*until)
    }

    /// Remembers what is left of the wait of a run that was kept by a clock that is set back: each later look would find as much left.
    fn note_wait(&mut self, view: &RunView, left: &Left, now: Timestamp) {
        match left {
            Left::Waiting(until) if view.kept_at > now + SLACK => {
                self.set_back.insert(view.run.clone(), (view.kept_at, *until));
            }
            _ => drop(self.set_back.remove(&view.run)),
        }
    }

    /// Whether so many runs on one of these targets are gone on with already that one more would leave no room for others, should it be silent: half of all
    /// that are done at once. On those that are known not to answer one at a time is tried on each, and no more than that half on all of them.
    fn is_crowded(&self, engine: &Engine, targets: &BTreeSet<String>) -> bool {
        let most = engine.config().pace.at_once.div_ceil(2);
        let breaker = engine.inner.standing.breaker();
        let down: BTreeSet<String> = breaker.down().map(|(target, _)| target.to_owned()).collect();
        let count = |on_it: &dyn Fn(&BTreeSet<String>) -> bool| {
            let doing = self.doing.values();
            let counts = |doing: &&Doing| matches!(doing, Doing::Run(_, targets) if on_it(targets));
            doing.filter(counts).count()
        };
        let is_down = !down.is_disjoint(targets);
        let of_the_dead = is_down && count(&|others| !down.is_disjoint(others)) >= most;
        let full = |target: &String| {
            let most = if down.contains(target) { 1 } else { most };
            count(&|others| others.contains(target)) >= most
        };
        of_the_dead || targets.iter().any(full)
    }

    fn go_on(&mut self, engine: &Engine, run: RunId, targets: BTreeSet<String>) {
        let (engine, stop) = (engine.clone(), self.stop.clone());
        let doing = Doing::Run(run.clone(), targets);
        let task = self.tasks.spawn(acting_as(ACTOR.to_owned(), async move {
            let order = order(Trigger::Schedule, stop);
            Ended::WentOn(engine.go_on(&run, Wish::GoOn, order).await)
        }));
        self.doing.insert(task.id(), doing);
    }

    fn start(&mut self, engine: &Engine, turn: Turn) {
        let (engine, stop) = (engine.clone(), self.stop.clone());
        let doing = Doing::Rotation(turn.rotation.clone());
        let late = engine.inner.clock.now().saturating_since(turn.due);
        engine.metrics().started_late(late);
        tracing::info!(rotation = %turn.rotation, because = turn.because.word(), "due");
        let task = self.tasks.spawn(acting_as(ACTOR.to_owned(), async move {
            let trigger = if turn.because.is_lifetime() {
                Trigger::Expiry
            } else {
                Trigger::Schedule
            };
            let went = engine.rotate(&turn.rotation, order(trigger, stop)).await;
            Ended::Started(went.map(|(view, _)| view))
        }));
        self.doing.insert(task.id(), doing);
    }

    /// Asks what is parked for a target that cannot be reached whether that answers: nothing is begun, and nothing is changed.
    fn look_at_target(&mut self, engine: &Engine, rotation: RotationName) {
        let (engine, doing) = (engine.clone(), Doing::Look(rotation.clone()));
        let task = self.tasks.spawn(acting_as(ACTOR.to_owned(), async move {
            let planned = engine.plan(&rotation).await;
            Ended::Looked(matches!(planned, Err(Error::Plan { code, .. }) if means_away(&code)))
        }));
        self.doing.insert(task.id(), doing);
    }

    async fn ended(&mut self, engine: &Engine, ended: Result<(Id, Ended), JoinError>) {
        let now = engine.inner.clock.now();
        let (id, ended) = match ended {
            Ok((id, ended)) => (id, Some(ended)),
            Err(error) => {
                tracing::error!(%error, "a task died");
                (error.id(), None)
            }
        };
        match (self.doing.remove(&id), ended) {
            (Some(Doing::Run(run, _)), Some(Ended::WentOn(end))) => self.went_on(engine, run, end, now).await,
            (Some(Doing::Run(run, _)), _) => {
                self.not_before.insert(run, now + AFTER_ERROR);
            }
            (Some(Doing::Rotation(rotation)), Some(Ended::Started(end))) => {
                match &end {
                    Ok(view) => told::tell(view),
                    Err(error) => told::tell_refused(&rotation, error),
                }
                let (outcome, code) = outcome_of(&end);
                // Else nothing was asked of it.
                if matches!(end, Ok(_) | Err(Error::Plan { .. })) {
                    let is_away = outcome == Outcome::Away;
                    self.queue.met(engine, &rotation, is_away, now).await;
                }
                self.queue.ended(engine, &rotation, outcome, &code, now).await;
            }
            (Some(Doing::Rotation(rotation)), _) => {
                let code = "host.defect";
                self.queue
                    .ended(engine, &rotation, Outcome::Failed, code, now)
                    .await;
            }
            (Some(Doing::Look(rotation)), ended) => {
                let is_away = !matches!(ended, Some(Ended::Looked(false)));
                self.queue.looked(engine, &rotation, is_away, now).await;
            }
            (None, _) => {}
        }
    }

    async fn went_on(
        &mut self,
        engine: &Engine,
        run: RunId,
        end: Result<(RunView, Left), Error>,
        now: Timestamp,
    ) {
        self.not_before.remove(&run);
        match end {
            // Somebody else has it, or has ended it.
            Ok((_, Left::Stopped)) | Err(Error::Over { .. }) => {}
            Ok((view, left)) => {
                self.note_wait(&view, &left, now);
                told::tell(&view);
                self.queue.met(engine, &view.rotation, is_away(&view), now).await;
                let is_by_itself = matches!(view.trigger, Trigger::Schedule | Trigger::Expiry);
                if left == Left::Ended && is_by_itself {
                    let rotation = view.rotation.clone();
                    let (outcome, code) = outcome_of(&Ok(view));
                    self.queue.ended(engine, &rotation, outcome, &code, now).await;
                }
            }
            Err(error) => {
                tracing::error!(%run, code = error.code(), "a run cannot be gone on with");
                self.not_before.insert(run, now + AFTER_ERROR);
            }
        }
    }
}

/// What a run works on. Of a rotation that the configuration does not have any more nobody knows.
fn targets_of(engine: &Engine, run: &RunView) -> BTreeSet<String> {
    let configured = engine.inner.configured(&run.rotation);
    configured.map_or_else(|_| BTreeSet::new(), |rotation| engine.inner.targets_of(&rotation))
}

/// How it ended, and the code of what it met.
fn outcome_of(end: &Result<RunView, Error>) -> (Outcome, String) {
    let code = match end {
        Ok(view) => view.last_failure().map(|failure| failure.code),
        Err(Error::Plan { code, .. }) => Some(code.clone()),
        Err(error) => Some(error.code().to_owned()),
    };
    let outcome = match end {
        Ok(view) if is_away(view) => Outcome::Away,
        Ok(view) if matches!(view.state, RunWord::Failed | RunWord::RolledBack) => Outcome::Failed,
        Err(Error::Plan { code, .. }) if means_away(code) => Outcome::Away,
        // Also of a run that is under way already the end is waited for.
        Ok(_) | Err(Error::OpenRun { .. } | Error::Linked { .. }) => Outcome::Well,
        Err(_) => Outcome::Failed,
    };
    (outcome, code.unwrap_or_default())
}

/// Whether the last thing that a run met was that its target cannot be reached.
fn is_away(view: &RunView) -> bool {
    view.last_failure()
        .is_some_and(|failure| means_away(&failure.code))
}

/// Nobody is there, or nobody answers (PostgreSQL: class 08, `57P01` to `57P03`).
fn means_away(code: &str) -> bool {
    let is_state = |state: &str| state.starts_with("08") || state.starts_with("57p0");
    matches!(
        code,
        "net.unresolved" | "net.unreachable" | "net.timeout" | "net.lost"
    ) || code.strip_prefix("sql.").is_some_and(is_state)
}

fn order(trigger: Trigger, stop: Stop) -> Order<'static> {
    Order {
        trigger,
        reason: None,
        wait: Wait::at_most(Duration::ZERO),
        ignores_offset: false,
        stop,
        observer: &Silent,
    }
}
