//! Targets that are under maintenance: nothing is started on them by itself, and no open run on them is gone on with by itself. What a person wants is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keywheel_audit::Entry;
use keywheel_config::Rotation;
use keywheel_model::Timestamp;
use keywheel_schedule::Zone;
use serde_json::json;

use crate::actor::actor;
use crate::attention::attention;
use crate::engine::{Engine, Inner};
use crate::kept::kept;
use crate::paused::Paused;
use crate::principal::words;
use crate::view::{Attention, MaintenanceView};
use crate::{Error, settings};

/// Where they stand, by the target as leases name it.
const KEY: &str = "maintenance";

type Maintained = BTreeMap<String, Paused>;

impl Engine {
    /// A target is left alone until then, or until [`Engine::end_maintenance`]. What there was of it before is replaced.
    ///
    /// # Errors
    /// [`Error::NoTarget`]; the store.
    pub async fn begin_maintenance(
        &self,
        target: &str,
        until: Timestamp,
        reason: &str,
    ) -> Result<Vec<MaintenanceView>, Error> {
        let named = self.named_targets(target).await?;
        let paused = Paused {
            since: self.inner.clock.now(),
            until: Some(until),
            by: actor(),
            reason: reason.to_owned(),
        };
        let views = named.iter().map(|one| view(one, &paused)).collect();
        let details = json!({"until": until, "reason": reason});
        self.change("schedule.begin-maintenance", named, Some(paused), details)
            .await?;
        Ok(views)
    }

    /// It is like any other again. What was held back is late, and due once. False: it was not under maintenance.
    ///
    /// # Errors
    /// [`Error::NoTarget`]; the store.
    pub async fn end_maintenance(&self, target: &str, reason: &str) -> Result<bool, Error> {
        let maintained = self.inner.maintained().await?;
        // One that nothing is rotated on any more, too: else it would stay for ever.
        let left = maintained.keys().filter(|one| is_called(one, target));
        let left: Vec<String> = left.cloned().collect();
        let named = match self.named_targets(target).await {
            Ok(named) => named
                .into_iter()
                .chain(left)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            Err(Error::NoTarget { .. }) if !left.is_empty() => left,
            Err(error) => return Err(error),
        };
        if named.iter().all(|one| !maintained.contains_key(one)) {
            self.forget_ended(named).await?;
            return Ok(false);
        }
        self.change("schedule.end-maintenance", named, None, json!({"reason": reason}))
            .await?;
        Ok(true)
    }

    /// What has ended by itself would come into force again if the clock were set back.
    async fn forget_ended(&self, targets: Vec<String>) -> Result<(), Error> {
        let now = self.inner.clock.now();
        self.inner
            .store
            .write(move |tx| {
                let mut all = read(tx.meta(KEY)?)?;
                let is_over = |paused: &Paused| paused.until.is_some_and(|until| until <= now);
                all.retain(|target, paused| !(targets.contains(target) && is_over(paused)));
                Ok::<_, Error>(tx.set_meta(KEY, &json!(all).to_string())?)
            })
            .await
    }

    async fn change(
        &self,
        action: &'static str,
        targets: Vec<String>,
        to: Option<Paused>,
        details: serde_json::Value,
    ) -> Result<(), Error> {
        let (by, now) = (actor(), self.inner.clock.now());
        self.inner
            .store
            .write(move |tx| {
                let mut all = read(tx.meta(KEY)?)?;
                all.retain(|_, paused| paused.until.is_none_or(|until| until > now));
                for target in targets {
                    let entry = Entry::of_host(action, words(std::slice::from_ref(&target)), "ok")
                        .by(&by)
                        .with(details.clone());
                    tx.audit(&entry)?;
                    match &to {
                        Some(paused) => drop(all.insert(target, paused.clone())),
                        None => drop(all.remove(&target)),
                    }
                }
                Ok::<_, Error>(tx.set_meta(KEY, &json!(all).to_string())?)
            })
            .await?;
        self.inner.turns.look_again();
        Ok(())
    }

    /// The targets of the configuration that are called that: as leases name them, or as people do (`db.internal:5432`).
    async fn named_targets(&self, name: &str) -> Result<Vec<String>, Error> {
        let rotations = self.inner.config.rotations.iter();
        let mut all: BTreeSet<String> = rotations
            .flat_map(|rotation| self.inner.targets_of(rotation))
            .collect();
        let of_tables = self
            .inner
            .store
            .read(|reader| Ok::<_, Error>(reader.watched_targets()?))
            .await?;
        all.extend(of_tables);
        let named: Vec<String> = all
            .iter()
            .filter(|target| is_called(target, name))
            .cloned()
            .collect();
        if named.is_empty() {
            let known = all.into_iter().map(|target| words(&[target])).collect();
            return Err(Error::NoTarget {
                name: name.to_owned(),
                known,
            });
        }
        Ok(named)
    }

    /// Each target that is under maintenance, and what waits for its end.
    pub(crate) async fn attention_of_maintenance(&self) -> Result<Vec<Attention>, Error> {
        let mut list = Vec::new();
        for (target, paused) in self.inner.maintained().await? {
            let rotations = self.inner.config.rotations.iter();
            let on_it: Vec<&Arc<Rotation>> = rotations
                .filter(|rotation| self.inner.targets_of(rotation).contains(&target))
                .collect();
            let now = self.inner.clock.now();
            let asked = target.clone();
            let (listed, mut due) = self
                .inner
                .store
                .read(move |reader| Ok::<_, Error>(reader.watched_on(&asked, now)?))
                .await?;
            let mut open = 0;
            for rotation in &on_it {
                if self.open_run_of(&rotation.secret).await?.is_some() {
                    open += 1;
                } else if self.inner.config.usable(rotation).is_ok()
                    && self.next_due(rotation).await?.is_some_and(|due| due <= now)
                {
                    due += 1;
                }
            }
            let shown = words(&[target]);
            let until = paused
                .until
                .map_or_else(|| "somebody ends that".to_owned(), |until| Zone::UTC.show(until));
            let what = format!(
                "{} has it left alone until {until} ({}): of its {} rotations {due} are due and {open} have an open run, and none goes on by itself",
                paused.by,
                paused.reason,
                on_it.len() + listed
            );
            list.push(Attention {
                harm_at: paused.until,
                ..attention(
                    "target-maintenance",
                    &format!("target {shown}"),
                    &what,
                    &format!("keywheel schedule unpause --target {shown}"),
                )
            });
        }
        Ok(list)
    }
}

impl Inner {
    /// What is under maintenance now.
    pub(crate) async fn maintained(&self) -> Result<Maintained, Error> {
        let kept = self
            .store
            .read_here(|reader| Ok::<_, Error>(reader.meta(KEY)?))
            .await?;
        let mut all = read(kept)?;
        let now = self.clock.now();
        all.retain(|_, paused| paused.until.is_none_or(|until| until > now));
        Ok(all)
    }

    /// Until when one of the targets, as a run has pinned them, is under maintenance.
    pub(crate) async fn maintained_until(&self, targets: &str) -> Result<Option<Timestamp>, Error> {
        let maintained = self.maintained().await?.into_iter();
        let of_these = maintained.filter(|(target, _)| names(targets, target));
        Ok(of_these
            .map(|(_, paused)| paused.until.unwrap_or(Timestamp::from_unix_ms(u64::MAX)))
            .max())
    }

    /// What a rotation works on; of a plugin that is not there nobody knows.
    pub(crate) fn targets_of(&self, rotation: &Rotation) -> BTreeSet<String> {
        let plugin = self.plugin(&rotation.plugin);
        let targets = plugin.map(|plugin| settings::targets(rotation, plugin.manifest()));
        targets.unwrap_or_default().into_iter().collect()
    }
}

/// Whether a person's name for a target is that one's.
fn is_called(target: &str, name: &str) -> bool {
    target == name || words(&[target.to_owned()]) == name
}

/// Whether a target is one of several in a text, between the others' spaces.
fn names(targets: &str, target: &str) -> bool {
    targets == target
        || targets.starts_with(&format!("{target} "))
        || targets.ends_with(&format!(" {target}"))
        || targets.contains(&format!(" {target} "))
}

fn read(text: Option<String>) -> Result<Maintained, Error> {
    Ok(kept(KEY, text)?.unwrap_or_default())
}

fn view(target: &str, paused: &Paused) -> MaintenanceView {
    MaintenanceView {
        target: words(&[target.to_owned()]),
        paused: paused.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_found_among_several_and_not_in_the_name_of_another() {
        let (one, two) = (r#"redis["a","1"]"#, r#"redis["b","2"]"#);
        let both = format!("{one} {two}");
        assert!(names(one, one) && names(&both, one) && names(&both, two));
        assert!(!names(&format!("my{one}"), one) && !names(two, one));
    }
}
