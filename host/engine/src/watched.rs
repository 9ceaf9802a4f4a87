//! What is known of the rotations of tables without a look at each: when one is to be looked at, and which of them a person may have to know of.

use std::collections::BTreeSet;
use std::sync::Arc;

use keywheel_config::Rotation;
use keywheel_model::{RotationName, Timestamp};

use crate::attention::attention;
use crate::due::OVERDUE;
use crate::engine::Engine;
use crate::kept::kept;
use crate::parked::ParkedRotation;
use crate::view::Attention;
use crate::{Error, parked, paused};

/// So many of each kind are told one by one.
const TOLD_MAX: u32 = 200;

impl Engine {
    /// Those of which `status` may have something to say: late, paused, parked, or with a last run that came to nothing. That there are more is told once.
    pub(crate) async fn troubled(&self, list: &mut Vec<Attention>) -> Result<Vec<Arc<Rotation>>, Error> {
        if self.inner.config.tables().is_empty() {
            return Ok(Vec::new());
        }
        let by = Timestamp::from_unix_ms(
            self.inner
                .clock
                .now()
                .as_unix_ms()
                .saturating_sub(u64::try_from(OVERDUE.as_millis()).unwrap_or(u64::MAX)),
        );
        let (late, names) = self
            .inner
            .store
            .read(move |reader| {
                let mut names = BTreeSet::new();
                names.extend(reader.overdue(by, TOLD_MAX)?);
                names.extend(reader.ill(TOLD_MAX)?);
                for prefix in [parked::PREFIX, paused::PREFIX] {
                    let kept = reader.kept_under(prefix)?;
                    names.extend(kept.iter().filter_map(|name| name.parse().ok()));
                }
                Ok::<_, Error>((reader.waiting_since(by, u32::MAX)?, names))
            })
            .await?;
        let shown = usize::try_from(TOLD_MAX).unwrap_or(usize::MAX);
        if late > shown {
            let what =
                format!("{late} of them were due and have not run; the first {shown} stand here one by one");
            let way_out = "`keywheel schedule list` shows what they wait for";
            list.push(attention(
                "schedule-overdue",
                "rotations of tables",
                &what,
                way_out,
            ));
        }
        let config = &self.inner.config;
        let of_tables = names.iter().filter(|name| config.written(name).is_none());
        Ok(of_tables.filter_map(|name| config.rotation(name)).collect())
    }

    /// Those that are parked because their target could not be reached.
    pub(crate) async fn parked_away(&self) -> Result<BTreeSet<RotationName>, Error> {
        if self.inner.config.tables().is_empty() {
            return Ok(BTreeSet::new());
        }
        let names = self
            .inner
            .store
            .read(|reader| {
                let mut away = BTreeSet::new();
                for name in reader.kept_under(parked::PREFIX)? {
                    let key = format!("{}{name}", parked::PREFIX);
                    let parked: Option<ParkedRotation> = kept(&key, reader.meta(&key)?)?;
                    if parked.is_some_and(|parked| parked.away) {
                        away.extend(name.parse::<RotationName>().ok());
                    }
                }
                Ok::<_, Error>(away)
            })
            .await?;
        let config = &self.inner.config;
        Ok(names
            .into_iter()
            .filter(|name| config.written(name).is_none())
            .collect())
    }

    /// When a rotation of a table is to be looked at next, after now.
    ///
    /// # Errors
    /// The store.
    pub fn next_look(&self) -> Result<Option<Timestamp>, Error> {
        if self.inner.config.tables().is_empty() {
            return Ok(None);
        }
        let now = self.inner.clock.now();
        let next = self.inner.store.glance(|reader| reader.next_look(now));
        Ok(next?)
    }

    /// When one is to be looked at next, and from when its end is near.
    pub(crate) async fn set_look(
        &self,
        rotation: &RotationName,
        look: Option<Timestamp>,
        presses: Option<Timestamp>,
    ) -> Result<(), Error> {
        let rotation = rotation.clone();
        self.inner
            .store
            .write(move |tx| Ok::<_, Error>(tx.set_look(&rotation, look, presses)?))
            .await
    }
}
