//! Which rotation is due next, and whose turn it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keywheel_config::Rotation;
use keywheel_model::{PluginName, RotationName, Timestamp};
use keywheel_schedule::{Because, Brake, Planned, Priority, Retry, Waiting, many};

use crate::Error;
use crate::engine::Engine;
use crate::keeper::looks::Looks;
use crate::keeper::suspicion::Suspicion;
use crate::keeper::tries::readable;
use crate::parked::ParkedRotation;

/// What is known of a rotation is looked up anew after this: a person may have rotated it.
pub(super) const KNOWN_FOR: Duration = Duration::from_hours(1);

/// So many are counted for what is told.
const COUNTED_MAX: u32 = 100_000;

/// More that are braked are counted where they are kept.
const BRAKED_MAX: usize = 100;

/// While its last run is open, or its target is busy, it is looked again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A rotation whose turn it is.
pub(super) struct Turn {
    pub(super) rotation: RotationName,
    pub(super) because: Because,
    /// Since when it is.
    pub(super) due: Timestamp,
}

/// When a rotation is due, as was found out at a time.
pub(super) struct Known {
    looked: Timestamp,
    /// None: not by itself.
    pub(super) due: Option<Due>,
    /// It would be, and may not run in time.
    pub(super) blocked: bool,
    /// Failed tries one after the other.
    pub(super) failed: u32,
    /// Its tries are used up.
    pub(super) parked: Option<ParkedRotation>,
    /// It was due then, and only another of its group keeps it waiting.
    kept_apart: Option<Timestamp>,
}

#[derive(Clone, Copy)]
pub(super) struct Due {
    pub(super) at: Timestamp,
    pub(super) because: Because,
    pub(super) issued: Option<Timestamp>,
    pub(super) expires: Option<Timestamp>,
}

/// What one that is under way takes up.
pub(super) struct Busy {
    pub(super) plugin: PluginName,
    pub(super) targets: BTreeSet<String>,
}

/// What is due when. Of rotations that are written out it is kept nowhere: the journal has what it is made of. Of those of tables the store has the time.
#[derive(Default)]
pub(super) struct Queue {
    /// All that are written out; of tables those that are due.
    pub(super) known: BTreeMap<RotationName, Known>,
    /// Which of them are of tables.
    pub(super) fetched: BTreeSet<RotationName>,
    /// Those of tables that are parked because their target could not be reached, once that was looked up.
    pub(super) away: Option<BTreeSet<RotationName>>,
    /// Those that are under way.
    pub(super) busy: BTreeMap<RotationName, Busy>,
    brake: Brake,
    pub(super) looks: Looks,
    /// Why what is late may be a mass, until that was looked at.
    pub(super) suspicion: Option<Suspicion>,
}

/// How what was started came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Well, or it goes on by itself.
    Well,
    /// It failed.
    Failed,
    /// Its target could not be reached.
    Away,
}

impl Queue {
    /// Another configuration counts from now on.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.fetched.clear();
        self.away = None;
    }

    /// What is known may be so no more; pauses between tries are kept to.
    pub(super) fn doubt(&mut self) {
        self.drop_fetched();
        self.away = None;
        for known in self.known.values_mut() {
            known.looked = Timestamp::from_unix_ms(0);
        }
    }

    /// The one whose turn it is, if any is due on a target that is free.
    pub(super) async fn next(&mut self, engine: &Engine, now: Timestamp) -> Result<Option<Turn>, Error> {
        self.learn(engine, now).await?;
        if let Some(suspicion) = self.suspicion.take() {
            self.hold_back(engine, suspicion, now).await?;
        }
        self.let_tables_go(engine).await?;
        self.fetch(engine, now).await?;
        let pace = engine.config().pace;
        let all = engine.config().count();
        let most = pace.brake.map_or(usize::MAX, |share| many(all, share));
        let standing = &engine.inner.standing;
        let maintained = engine.inner.maintained().await?;
        let mut braked = 0;
        let mut due: Vec<(Waiting, Because)> = self.due(now).collect();
        due.sort_by_cached_key(|(waiting, _)| waiting.rank(now));
        for (waiting, because) in due {
            let Ok(rotation) = engine.inner.rotation(&waiting.rotation) else {
                continue;
            };
            let rotation = &*rotation;
            let targets = engine.inner.targets_of(rotation);
            if self.is_parked(&rotation.name, now)
                || targets.iter().any(|target| maintained.contains_key(target))
            {
                continue;
            }
            if standing.is_held(&rotation.name) || !standing.breaker().admits(&targets, now) {
                continue;
            }
            // Also on a target that has no room: else a busy one would hide that they are held back.
            if !self.brake.admits(&rotation.name, most, now) {
                braked += 1;
                continue;
            }
            if !self.has_room(&targets, pace.at_once_per_target)
                || !self.has_room_of_plugin(rotation, pace.at_once_per_plugin)
                || self.is_behind_linked(engine, rotation, waiting.due)
            {
                continue;
            }
            // What was known may be an hour old.
            let since = self.kept_apart(&rotation.name);
            let failed = Some(self.failed(engine, &rotation.name));
            let Some(known) = readable(&rotation.name, look(engine, rotation, now, failed).await) else {
                continue;
            };
            let is_due = known.due.is_some_and(|due| due.at <= now);
            let is_open = engine.open_run_of(&rotation.secret).await?.is_some();
            self.known.insert(rotation.name.clone(), known);
            if is_open {
                self.put_off(engine, &rotation.name, now + LOOK_AGAIN).await?;
            } else if is_due && let Some(apart) = engine.inner.apart(rotation).await? {
                self.put_off(engine, &rotation.name, apart.until.unwrap_or(now + LOOK_AGAIN))
                    .await?;
                if let Some(known) = self.known.get_mut(&rotation.name) {
                    known.kept_apart = Some(since.unwrap_or(waiting.due));
                }
            } else if is_due && !self.is_parked(&rotation.name, now) {
                self.brake.started(&rotation.name, now);
                let plugin = rotation.plugin.clone();
                self.busy.insert(rotation.name.clone(), Busy { plugin, targets });
                return Ok(Some(Turn {
                    due: waiting.due,
                    rotation: waiting.rotation,
                    because,
                }));
            } else if self.fetched.remove(&rotation.name)
                && let Some(known) = self.known.remove(&rotation.name)
            {
                // Somebody has rotated it meanwhile.
                self.settle(engine, rotation, &known, now).await?;
            }
        }
        // Of so many not all were asked for.
        if braked > BRAKED_MAX {
            braked = braked.max(self.late_of_tables(engine, now, COUNTED_MAX).await?);
        }
        standing.set_braked(braked);
        Ok(None)
    }

    fn has_room(&self, targets: &BTreeSet<String>, most: usize) -> bool {
        targets.iter().all(|target| {
            let on_it = self.busy.values().filter(|busy| busy.targets.contains(target));
            on_it.count() < most
        })
    }

    fn has_room_of_plugin(&self, rotation: &Rotation, most: Option<usize>) -> bool {
        let of_it = self.busy.values().filter(|busy| busy.plugin == rotation.plugin);
        most.is_none_or(|most| of_it.count() < most)
    }

    /// Whether another one of its group was started, and may not stand in the journal yet; or is due for longer, and waits for its turn: one that is due
    /// again and again would keep it waiting for ever.
    fn is_behind_linked(&self, engine: &Engine, rotation: &Rotation, due: Timestamp) -> bool {
        let mut others = engine.inner.others(rotation);
        let due = self.kept_apart(&rotation.name).unwrap_or(due);
        others.any(|other| {
            let waits = self.kept_apart(&other.name).is_some_and(|since| since < due);
            self.busy.contains_key(&other.name) || waits
        })
    }

    fn kept_apart(&self, rotation: &RotationName) -> Option<Timestamp> {
        self.known.get(rotation).and_then(|known| known.kept_apart)
    }

    /// Whether its tries are used up. One whose credential is about to expire, with a tenth of its life left or less, is tried all the same.
    fn is_parked(&self, rotation: &RotationName, now: Timestamp) -> bool {
        self.known.get(rotation).is_some_and(|known| {
            let due = known.due.as_ref();
            let priority = Priority::of_due(
                false,
                due.and_then(|due| due.issued),
                due.and_then(|due| due.expires),
                now,
            );
            known.parked.is_some() && priority != Priority::NearExpiry
        })
    }

    /// When it is worth looking again. What is due and waits for its target is woken by the end of what is in its way.
    pub(super) fn wake(&self, engine: &Engine, now: Timestamp) -> Option<Timestamp> {
        let waiting = self
            .known
            .iter()
            .filter(|(name, _)| !self.busy.contains_key(*name));
        let due = waiting.filter_map(|(_, known)| known.due).map(|due| due.at);
        let down = engine.inner.standing.breaker().wake(now);
        let braked = engine.config().pace.brake.and_then(|_| self.brake.wake());
        let held_up = [down, braked, self.looks.wake()].into_iter().flatten();
        due.chain(held_up).filter(|at| *at > now).min()
    }

    /// What was started has come to its end, or goes on by itself.
    pub(super) async fn ended(
        &mut self,
        engine: &Engine,
        rotation: &RotationName,
        outcome: Outcome,
        code: &str,
        now: Timestamp,
    ) {
        self.busy.remove(rotation);
        let is_fetched = self.fetched.remove(rotation);
        let failed = outcome != Outcome::Well;
        let Ok(configured) = engine.inner.rotation(rotation) else {
            self.known.remove(rotation);
            return;
        };
        let configured = &*configured;
        let is_of_table = is_fetched || engine.config().written(rotation).is_none();
        let tries = if failed {
            self.failed(engine, rotation).saturating_add(1)
        } else {
            0
        };
        engine.note_tries(rotation, tries, now).await;
        let is_used_up = failed && tries > engine.config().pace.retry.tries;
        let was_parked = self
            .known
            .get(rotation)
            .is_some_and(|known| known.parked.is_some());
        if is_used_up && !was_parked {
            let parked = ParkedRotation {
                since: now,
                tries,
                last: code.to_owned(),
                away: outcome == Outcome::Away,
            };
            if let Err(error) = engine.park(rotation, parked).await {
                tracing::error!(%rotation, code = error.code(), "that it is parked cannot be kept");
            }
            if let Some(away) = self
                .away
                .as_mut()
                .filter(|_| is_of_table && outcome == Outcome::Away)
            {
                away.insert(rotation.clone());
            }
        }
        match look(engine, configured, now, Some(tries)).await {
            Ok(mut known) => {
                if failed {
                    let retry = engine.config().pace.retry;
                    known.due = after_failure(configured, known.due, retry, tries, now);
                } else if known.due.is_some_and(|due| due.at <= now) {
                    // Its run is open, and has not succeeded yet.
                    known.due = known.due.map(|due| Due {
                        at: now + LOOK_AGAIN,
                        ..due
                    });
                }
                if !is_of_table {
                    self.known.insert(rotation.clone(), known);
                    return;
                }
                self.known.remove(rotation);
                if let Err(error) = self.settle(engine, configured, &known, now).await {
                    tracing::error!(%rotation, code = error.code(), "when it is due next cannot be kept");
                }
            }
            Err(error) => {
                tracing::error!(%rotation, code = error.code(), "when it is due next cannot be found out");
                self.known.remove(rotation);
            }
        }
    }

    pub(super) fn failed(&self, engine: &Engine, rotation: &RotationName) -> u32 {
        let known = self.known.get(rotation).map(|known| known.failed);
        known.unwrap_or_else(|| engine.inner.standing.failed(rotation))
    }

    async fn put_off(
        &mut self,
        engine: &Engine,
        rotation: &RotationName,
        until: Timestamp,
    ) -> Result<(), Error> {
        if self.fetched.remove(rotation) {
            self.known.remove(rotation);
            return engine.set_look(rotation, Some(until), None).await;
        }
        if let Some(due) = self.known.get_mut(rotation).and_then(|known| known.due.as_mut()) {
            due.at = due.at.max(until);
        }
        Ok(())
    }

    pub(super) fn due(&self, now: Timestamp) -> impl Iterator<Item = (Waiting, Because)> {
        let free = self
            .known
            .iter()
            .filter(|(name, _)| !self.busy.contains_key(*name));
        free.filter_map(move |(name, known)| {
            let due = known.due.filter(|due| due.at <= now)?;
            let waiting = Waiting {
                rotation: name.clone(),
                priority: Priority::of_due(due.because.is_lifetime(), due.issued, due.expires, now),
                due: due.at,
                expires: due.expires,
            };
            Some((waiting, due.because))
        })
    }

    /// Looks up what is not known, or was looked up too long ago.
    async fn learn(&mut self, engine: &Engine, now: Timestamp) -> Result<(), Error> {
        for rotation in &engine.config().rotations {
            let name = &rotation.name;
            let is_known =
                |known: &Known| now.saturating_since(known.looked) < KNOWN_FOR && known.looked <= now;
            if rotation.schedule.is_manual()
                || self.busy.contains_key(name)
                || self.known.get(name).is_some_and(is_known)
            {
                continue;
            }
            engine.note_seen(name).await?;
            let failed = self.known.get(name).map(|known| known.failed);
            let Some(mut known) = readable(name, look(engine, rotation, now, failed).await) else {
                continue;
            };
            if known.due.is_none_or(|due| due.at > now) {
                // A person has rotated it.
                engine.inner.standing.let_go(name);
            }
            let before = self.known.get(name).filter(|before| before.failed > 0);
            if let (Some(due), Some(before)) = (known.due.as_mut(), before.and_then(|before| before.due)) {
                // A pause between tries is kept to.
                due.at = due.at.max(before.at);
            }
            self.known.insert(name.clone(), known);
        }
        Ok(())
    }
}

/// How often it has failed is looked up where that is not known.
pub(super) async fn look(
    engine: &Engine,
    rotation: &Rotation,
    now: Timestamp,
    failed: Option<u32>,
) -> Result<Known, Error> {
    let facts = engine.facts_of(rotation).await?;
    let failed = match failed {
        Some(failed) => failed,
        None => engine.tries_of(&rotation.name, &facts).await?,
    };
    let planned = rotation.schedule.plan(&rotation.name).next(&facts, now);
    let blocked = matches!(planned, Planned::Blocked(_));
    let due = match planned {
        Planned::Due(next) => Some(Due {
            at: next.due,
            because: next.because,
            issued: facts.issued,
            expires: facts.expires,
        }),
        // `status` tells what may not run in time.
        Planned::Idle(_) | Planned::Blocked(_) => None,
    };
    Ok(Known {
        looked: now,
        due,
        blocked,
        failed,
        parked: engine.parked(&rotation.name, &facts).await?,
        kept_apart: None,
    })
}

/// After the last try it is parked; where it is tried all the same, its credential is about to expire, and the pauses are those of more tries.
fn after_failure(
    rotation: &Rotation,
    due: Option<Due>,
    retry: Retry,
    failed: u32,
    now: Timestamp,
) -> Option<Due> {
    let due = due?;
    let retry = Retry {
        tries: u32::MAX,
        ..retry
    };
    let pause = retry.pause(&rotation.name, failed, now, due.expires);
    let at = pause.map_or_else(|| now + retry.longest, |pause| now + pause);
    Some(Due {
        at: at.max(due.at),
        ..due
    })
}
