//! Which rotation is due next, and whose turn it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keywheel_config::Rotation;
use keywheel_model::{RotationName, Timestamp};
use keywheel_schedule::{Because, Brake, Planned, Priority, Retry, Waiting, many};

use crate::Error;
use crate::engine::Engine;
use crate::keeper::looks::Looks;
use crate::keeper::suspicion::Suspicion;
use crate::keeper::tries::readable;
use crate::parked::ParkedRotation;

/// What is known of a rotation is looked up anew after this: a person may have rotated it.
const KNOWN_FOR: Duration = Duration::from_hours(1);

/// What is late by more was missed.
const LATE: Duration = Duration::from_mins(10);

/// More than this share of all rotations, in thousandths, is a mass.
const MASS: u16 = 250;

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
struct Known {
    looked: Timestamp,
    /// None: not by itself.
    due: Option<Due>,
    /// Failed tries one after the other.
    failed: u32,
    /// Its tries are used up.
    parked: Option<ParkedRotation>,
    /// It was due then, and only another of its group keeps it waiting.
    kept_apart: Option<Timestamp>,
}

#[derive(Clone, Copy)]
struct Due {
    at: Timestamp,
    because: Because,
    issued: Option<Timestamp>,
    expires: Option<Timestamp>,
}

/// What is due when. It is kept nowhere: the journal has what it is made of.
#[derive(Default)]
pub(super) struct Queue {
    known: BTreeMap<RotationName, Known>,
    /// Those that are under way, and the targets that they are on: one at a time on each.
    busy: BTreeMap<RotationName, BTreeSet<String>>,
    brake: Brake,
    looks: Looks,
    /// Why what is late may be a mass, until that was looked at.
    suspicion: Option<Suspicion>,
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
    }

    /// What is known may be so no more; pauses between tries are kept to.
    pub(super) fn doubt(&mut self) {
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
        let pace = engine.config().pace;
        let all = engine.config().rotations.len();
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
                || !self.has_room_of_plugin(engine, rotation, pace.at_once_per_plugin)
                || self.is_behind_linked(engine, rotation, waiting.due)
            {
                continue;
            }
            // What was known may be an hour old.
            let since = self.kept_apart(&rotation.name);
            let failed = Some(self.failed(&rotation.name));
            let Some(known) = readable(&rotation.name, look(engine, rotation, now, failed).await) else {
                continue;
            };
            let is_due = known.due.is_some_and(|due| due.at <= now);
            let is_open = engine.open_run_of(&rotation.secret).await?.is_some();
            self.known.insert(rotation.name.clone(), known);
            if is_open {
                self.put_off(&rotation.name, now + LOOK_AGAIN);
            } else if is_due && let Some(apart) = engine.inner.apart(rotation).await? {
                self.put_off(&rotation.name, apart.until.unwrap_or(now + LOOK_AGAIN));
                if let Some(known) = self.known.get_mut(&rotation.name) {
                    known.kept_apart = Some(since.unwrap_or(waiting.due));
                }
            } else if is_due && !self.is_parked(&rotation.name, now) {
                self.brake.started(&rotation.name, now);
                self.busy.insert(rotation.name.clone(), targets);
                return Ok(Some(Turn {
                    due: waiting.due,
                    rotation: waiting.rotation,
                    because,
                }));
            }
        }
        standing.set_braked(braked);
        Ok(None)
    }

    fn has_room(&self, targets: &BTreeSet<String>, most: usize) -> bool {
        targets.iter().all(|target| {
            let on_it = self.busy.values().filter(|busy| busy.contains(target));
            on_it.count() < most
        })
    }

    fn has_room_of_plugin(&self, engine: &Engine, rotation: &Rotation, most: Option<usize>) -> bool {
        let is_of_it = |name: &&RotationName| {
            let configured = engine.config().rotation(name);
            configured.is_some_and(|other| other.plugin == rotation.plugin)
        };
        most.is_none_or(|most| self.busy.keys().filter(is_of_it).count() < most)
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

    /// What is late may be a mass from now on.
    pub(super) fn suspect(&mut self, suspicion: Suspicion) {
        self.suspicion = Some(suspicion);
    }

    /// Many that are late together are held back until a person says so. One whose credential is about to expire is not, unless it is the clock that is not
    /// to be believed.
    async fn hold_back(&self, engine: &Engine, suspicion: Suspicion, now: Timestamp) -> Result<(), Error> {
        let late: BTreeSet<RotationName> = self
            .due(now)
            .filter(|(waiting, _)| {
                let presses = waiting.priority == Priority::NearExpiry && suspicion == Suspicion::Started;
                now.saturating_since(waiting.due) > LATE && !presses && self.failed(&waiting.rotation) == 0
            })
            .map(|(waiting, _)| waiting.rotation)
            .collect();
        if late.len() <= many(engine.config().rotations.len(), MASS) || engine.was_released().await? {
            return Ok(());
        }
        tracing::warn!(
            rotations = late.len(),
            because = suspicion.words(),
            "held back until `schedule release`"
        );
        engine.inner.standing.hold(now, suspicion.words(), late);
        Ok(())
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
        let failed = outcome != Outcome::Well;
        let Ok(configured) = engine.inner.rotation(rotation) else {
            self.known.remove(rotation);
            return;
        };
        let tries = if failed {
            self.failed(rotation).saturating_add(1)
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
                self.known.insert(rotation.clone(), known);
            }
            Err(error) => {
                tracing::error!(%rotation, code = error.code(), "when it is due next cannot be found out");
                self.known.remove(rotation);
            }
        }
    }

    /// What a run met of its target: one that cannot be reached is tried by one rotation at a time, and when it answers again all go on at once. Of several
    /// targets nobody knows which one it was.
    pub(super) async fn met(
        &mut self,
        engine: &Engine,
        rotation: &RotationName,
        is_away: bool,
        now: Timestamp,
    ) {
        let Ok(configured) = engine.inner.rotation(rotation) else {
            return;
        };
        let met = engine.inner.targets_of(configured);
        if is_away {
            if let (Some(target), 1) = (met.first(), met.len()) {
                engine.inner.standing.breaker().failed(target, now);
            }
            return;
        }
        self.release(engine, &met).await;
        if !engine.inner.standing.breaker().reached(&met) {
            return;
        }
        for (name, known) in &mut self.known {
            let waits = known.failed > 0 && known.due.is_some_and(|due| due.at > now);
            if waits
                && let Ok(configured) = engine.inner.rotation(name)
                && !engine.inner.targets_of(configured).is_disjoint(&met)
                && let Some(due) = known.due.as_mut()
            {
                due.at = now;
            }
        }
    }

    /// These targets answer: what is parked because they did not, goes by its schedule again.
    async fn release(&mut self, engine: &Engine, targets: &BTreeSet<String>) {
        let away = self.known.iter().filter(|(_, known)| is_away(known));
        let away: Vec<RotationName> = away.map(|(name, _)| name.clone()).collect();
        for name in away {
            let is_theirs = engine
                .inner
                .rotation(&name)
                .is_ok_and(|rotation| !engine.inner.targets_of(rotation).is_disjoint(targets));
            if !is_theirs {
                continue;
            }
            if let Err(error) = engine.unpark(&name, "its target answers again").await {
                tracing::error!(rotation = %name, code = error.code(), "it cannot be released");
                continue;
            }
            self.known.remove(&name);
        }
    }

    /// What is parked for a target's sake whose time to look at that has come.
    pub(super) fn looks_due(&mut self, now: Timestamp) -> Vec<RotationName> {
        let away = self.known.iter().filter(|(_, known)| is_away(known));
        let away: Vec<RotationName> = away.map(|(name, _)| name.clone()).collect();
        self.looks.due(&away, now)
    }

    /// The target of what is parked was looked at.
    pub(super) async fn looked(
        &mut self,
        engine: &Engine,
        rotation: &RotationName,
        is_away: bool,
        now: Timestamp,
    ) {
        if !is_away {
            self.met(engine, rotation, false, now).await;
        }
    }

    fn failed(&self, rotation: &RotationName) -> u32 {
        self.known.get(rotation).map_or(0, |known| known.failed)
    }

    fn put_off(&mut self, rotation: &RotationName, until: Timestamp) {
        if let Some(due) = self.known.get_mut(rotation).and_then(|known| known.due.as_mut()) {
            due.at = due.at.max(until);
        }
    }

    fn due(&self, now: Timestamp) -> impl Iterator<Item = (Waiting, Because)> {
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
async fn look(
    engine: &Engine,
    rotation: &Rotation,
    now: Timestamp,
    failed: Option<u32>,
) -> Result<Known, Error> {
    let facts = engine.facts(&rotation.name).await?;
    let failed = match failed {
        Some(failed) => failed,
        None => engine.tries_of(&rotation.name, &facts).await?,
    };
    let due = match engine.planned(rotation).await? {
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
        failed,
        parked: engine.parked(&rotation.name, &facts).await?,
        kept_apart: None,
    })
}

fn is_away(known: &Known) -> bool {
    known.parked.as_ref().is_some_and(|parked| parked.away)
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
