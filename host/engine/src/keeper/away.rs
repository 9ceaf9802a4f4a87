//! Targets that cannot be reached, and what waits for them.

use std::collections::BTreeSet;

use keywheel_model::{RotationName, Timestamp};

use crate::engine::Engine;
use crate::keeper::queue::{Known, Queue};

impl Queue {
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
        let met = engine.inner.targets_of(&configured);
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
        self.hurry(engine, &met).await;
        for (name, known) in &mut self.known {
            let waits = known.failed > 0 && known.due.is_some_and(|due| due.at > now);
            if waits
                && let Ok(configured) = engine.inner.rotation(name)
                && !engine.inner.targets_of(&configured).is_disjoint(&met)
                && let Some(due) = known.due.as_mut()
            {
                due.at = now;
            }
        }
    }

    /// These targets answer: what is parked because they did not, goes by its schedule again.
    async fn release(&mut self, engine: &Engine, targets: &BTreeSet<String>) {
        for name in self.all_away() {
            let is_theirs = engine
                .inner
                .rotation(&name)
                .is_ok_and(|rotation| !engine.inner.targets_of(&rotation).is_disjoint(targets));
            if !is_theirs {
                continue;
            }
            if let Err(error) = engine.unpark(&name, "its target answers again").await {
                tracing::error!(rotation = %name, code = error.code(), "it cannot be released");
                continue;
            }
            self.known.remove(&name);
            if let Some(away) = &mut self.away {
                away.remove(&name);
            }
        }
    }

    /// All that are parked because their target could not be reached.
    fn all_away(&self) -> Vec<RotationName> {
        let away = self.known.iter().filter(|(_, known)| is_away(known));
        let away: BTreeSet<&RotationName> = away
            .map(|(name, _)| name)
            .chain(self.away.iter().flatten())
            .collect();
        away.into_iter().cloned().collect()
    }

    /// What is parked for a target's sake whose time to look at that has come.
    pub(super) fn looks_due(&mut self, now: Timestamp) -> Vec<RotationName> {
        self.looks.due(&self.all_away(), now)
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
}

fn is_away(known: &Known) -> bool {
    known.parked.as_ref().is_some_and(|parked| parked.away)
}
