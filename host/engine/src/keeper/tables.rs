//! The rotations of tables in the queue: the store has the time of each, and what is due of them is asked for as far as it can be started. The others are
//! never looked at.

use std::collections::{BTreeMap, BTreeSet};

use keywheel_config::Rotation;
use keywheel_model::Timestamp;
use keywheel_store::Except;

use crate::Error;
use crate::engine::Engine;
use crate::keeper::queue::{Due, KNOWN_FOR, Known, Queue, look};
use crate::keeper::tries::readable;

/// So many of those that are due are looked at before one is started.
const WINDOW: u32 = 16;

/// So many that are due and cannot be started now are remembered: the store has all of them.
const REMEMBERED_MAX: usize = 1_000;

impl Queue {
    /// Adds those that are due to what is known, as far as there is room for them on their targets.
    pub(super) async fn fetch(&mut self, engine: &Engine, now: Timestamp) -> Result<(), Error> {
        if engine.config().tables().is_empty() {
            return Ok(());
        }
        if self.away.is_none() {
            self.away = Some(engine.parked_away().await?);
        }
        if self.fetched.len() > REMEMBERED_MAX {
            self.drop_fetched();
        }
        let except = self.except(engine, now).await?;
        let limit = WINDOW + u32::try_from(self.busy.len() + self.fetched.len()).unwrap_or(WINDOW);
        let found = engine
            .inner
            .store
            .read_here(move |reader| Ok::<_, Error>(reader.to_look_at(now, &except, limit)?))
            .await?;
        for watched in found {
            let name = watched.rotation;
            if self.busy.contains_key(&name) || self.known.contains_key(&name) {
                continue;
            }
            let Ok(rotation) = engine.inner.rotation(&name) else {
                // Its plugin is lost, or it was taken out just now.
                engine.set_look(&name, Some(now + KNOWN_FOR), None).await?;
                continue;
            };
            let Some(known) = readable(&name, look(engine, &rotation, now, None).await) else {
                engine.set_look(&name, Some(now + KNOWN_FOR), None).await?;
                continue;
            };
            if is_startable(&known, now) {
                self.fetched.insert(name.clone());
                self.known.insert(name, known);
            } else {
                engine.inner.standing.let_go(&name);
                self.settle(engine, &rotation, &known, now).await?;
            }
        }
        Ok(())
    }

    /// What cannot be started now, whatever its rotation.
    async fn except(&self, engine: &Engine, now: Timestamp) -> Result<Except, Error> {
        let pace = engine.config().pace;
        let mut targets: BTreeSet<String> = engine.inner.maintained().await?.into_keys().collect();
        let breaker = engine.inner.standing.breaker().clone();
        let down = breaker.down().filter(|(_, down)| down.until > now);
        targets.extend(down.map(|(target, _)| target.to_owned()));
        let (mut on_target, mut of_plugin) = (BTreeMap::new(), BTreeMap::new());
        for busy in self.busy.values() {
            for target in &busy.targets {
                *on_target.entry(target).or_insert(0) += 1;
            }
            *of_plugin.entry(&busy.plugin).or_insert(0) += 1;
        }
        let full = on_target
            .into_iter()
            .filter(|(_, count)| *count >= pace.at_once_per_target);
        targets.extend(full.map(|(target, _)| target.clone()));
        let most = pace.at_once_per_plugin.unwrap_or(usize::MAX);
        let full = of_plugin.into_iter().filter(|(_, count)| *count >= most);
        let held = engine.inner.standing.held_of_tables();
        Ok(Except {
            targets: targets.into_iter().collect(),
            plugins: full.map(|(plugin, _)| plugin.to_string()).collect(),
            held: held.map(|(by, _)| by),
            pressing_too: held.is_some_and(|(_, all)| all),
        })
    }

    /// What is known of one is kept in the store, and nowhere else.
    pub(super) async fn settle(
        &self,
        engine: &Engine,
        rotation: &Rotation,
        known: &Known,
        now: Timestamp,
    ) -> Result<(), Error> {
        if engine.config().written(&rotation.name).is_some() {
            return Ok(());
        }
        let presses = known.due.and_then(presses);
        let look = match &known.due {
            // Its tries are used up: only its end makes it due.
            Some(due) if known.parked.is_some() => near_end(*due).map(|near| near.max(due.at)),
            Some(due) => Some(due.at),
            None if known.blocked => Some(now + KNOWN_FOR),
            None => None,
        };
        engine.set_look(&rotation.name, look, presses).await
    }

    /// How many were due by then, counted up to `most`.
    pub(super) async fn late_of_tables(
        &self,
        engine: &Engine,
        by: Timestamp,
        most: u32,
    ) -> Result<usize, Error> {
        if engine.config().tables().is_empty() {
            return Ok(0);
        }
        engine
            .inner
            .store
            .read(move |reader| Ok::<_, Error>(reader.waiting_since(by, most)?))
            .await
    }

    /// These targets answer: those of their rotations that wait after a failure go on at once.
    pub(super) async fn hurry(&self, engine: &Engine, targets: &BTreeSet<String>) {
        for name in engine.inner.standing.failing() {
            if engine.config().written(&name).is_some() {
                continue;
            }
            let Ok(rotation) = engine.inner.rotation(&name) else {
                continue;
            };
            if engine.inner.targets_of(&rotation).is_disjoint(targets) {
                continue;
            }
            let failing = name.clone();
            let hurried = engine.inner.store.write(move |tx| tx.look_at(&failing)).await;
            if let Err(error) = hurried {
                tracing::error!(rotation = %name, %error, "it cannot be hurried");
            }
        }
    }

    /// Forgets those that were asked for: the store is asked again.
    pub(super) fn drop_fetched(&mut self) {
        for name in std::mem::take(&mut self.fetched) {
            if !self.busy.contains_key(&name) {
                self.known.remove(&name);
            }
        }
    }
}

/// From when it goes before all that does not press: its end is near, or its life is what makes it due.
fn presses(due: Due) -> Option<Timestamp> {
    if due.because.is_lifetime() {
        Some(due.at)
    } else {
        near_end(due)
    }
}

/// From when a tenth of its life is left.
fn near_end(due: Due) -> Option<Timestamp> {
    let expires = due.expires?;
    let life = due.issued.map(|issued| expires.saturating_since(issued));
    Some(expires - life.unwrap_or_default() / 10)
}

fn is_startable(known: &Known, now: Timestamp) -> bool {
    let Some(due) = known.due.filter(|due| due.at <= now) else {
        return false;
    };
    known.parked.is_none() || near_end(due).is_some_and(|near| near <= now)
}
