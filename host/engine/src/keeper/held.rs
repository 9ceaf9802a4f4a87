//! Many that are late together: they are held back until a person says so.

use std::collections::BTreeSet;
use std::time::Duration;

use keywheel_model::{RotationName, Timestamp};
use keywheel_schedule::{Priority, many};

use crate::Error;
use crate::engine::Engine;
use crate::keeper::queue::Queue;
use crate::keeper::suspicion::Suspicion;

/// What is late by more was missed.
const LATE: Duration = Duration::from_mins(10);

/// More than this share of all rotations, in thousandths, is a mass.
const MASS: u16 = 250;

impl Queue {
    /// What is late may be a mass from now on.
    pub(super) fn suspect(&mut self, suspicion: Suspicion) {
        self.suspicion = Some(suspicion);
        self.drop_fetched();
    }

    /// Many that are late together are held back until a person says so. One whose credential is about to expire is not, unless it is the clock that is not
    /// to be believed.
    pub(super) async fn hold_back(
        &self,
        engine: &Engine,
        suspicion: Suspicion,
        now: Timestamp,
    ) -> Result<(), Error> {
        let late: BTreeSet<RotationName> = self
            .due(now)
            .filter(|(waiting, _)| {
                let presses = waiting.priority == Priority::NearExpiry && suspicion == Suspicion::Started;
                now.saturating_since(waiting.due) > LATE
                    && !presses
                    && self.failed(engine, &waiting.rotation) == 0
            })
            .map(|(waiting, _)| waiting.rotation)
            .collect();
        let by = now - LATE;
        let of_tables = self.late_of_tables(engine, by, u32::MAX).await?;
        let count = late.len() + of_tables;
        if count <= many(engine.config().count(), MASS) || engine.was_released().await? {
            return Ok(());
        }
        tracing::warn!(
            rotations = count,
            because = suspicion.words(),
            "held back until `schedule release`"
        );
        let of_tables = (of_tables > 0).then_some((by, suspicion == Suspicion::Jumped, of_tables));
        let standing = &engine.inner.standing;
        standing.hold(now, suspicion.words(), late, of_tables);
        Ok(())
    }

    /// Those of tables that are held back may all have been rotated by hand.
    pub(super) async fn let_tables_go(&self, engine: &Engine) -> Result<(), Error> {
        if let Some((by, _)) = engine.inner.standing.held_of_tables()
            && self.late_of_tables(engine, by, 1).await? == 0
        {
            engine.inner.standing.let_tables_go();
        }
        Ok(())
    }
}
