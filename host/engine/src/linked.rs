//! Rotations that are linked: never two of a group are open at once, and some time lies between the end of one and the start of another.

use keywheel_config::Rotation;
use keywheel_model::{RotationName, RunId, SecretName, Timestamp, Trigger};
use keywheel_schedule::Zone;

use crate::Error;
use crate::engine::Inner;
use crate::journal::read_state;

/// So many runs of another rotation are looked through for the last one that has changed something.
const RUNS_MAX: u32 = 20;

/// What a rotation waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// The group.
    pub group: String,
    /// The other rotation.
    pub other: RotationName,
    /// Its run that is not over.
    pub open: Option<RunId>,
    /// Else until when.
    pub until: Option<Timestamp>,
}

impl Apart {
    /// In words.
    pub fn words(&self) -> String {
        let (group, other) = (&self.group, &self.other);
        match (&self.open, self.until) {
            (Some(run), _) => {
                format!("it is linked with {other} in group {group}, of which run {run} is open")
            }
            (None, Some(until)) => format!(
                "it is linked with {other} in group {group}, which has ended its last run: not before {}",
                Zone::UTC.show(until)
            ),
            (None, None) => format!("it is linked with {other} in group {group}"),
        }
    }
}

/// Whether a run for that reason makes or sets a credential. Others only look at one, take one over or mend one.
pub(crate) fn rotates(trigger: Trigger) -> bool {
    !matches!(trigger, Trigger::Adopt | Trigger::Drift | Trigger::Restore)
}

impl Inner {
    /// What a rotation has to wait for because it is linked: an open run before all, else the last end.
    pub(crate) async fn apart(&self, rotation: &Rotation) -> Result<Option<Apart>, Error> {
        let Some(group) = self.config.linked(&rotation.name) else {
            return Ok(None);
        };
        let apart = |other: &Rotation, open, until| Apart {
            group: group.name.clone(),
            other: other.name.clone(),
            open,
            until,
        };
        let mut latest: Option<Apart> = None;
        for other in self.others(rotation) {
            let secret = other.secret.clone();
            let open = self
                .store
                .read_here(move |reader| Ok::<_, Error>(reader.open_run_of(&secret)?))
                .await?;
            if open.is_some() {
                return Ok(Some(apart(other, open, None)));
            }
            let Some(ended) = self.ended(&other.name).await? else {
                continue;
            };
            let until = ended + group.offset;
            if latest.as_ref().is_none_or(|latest| latest.until < Some(until)) {
                latest = Some(apart(other, None, Some(until)));
            }
        }
        let now = self.clock.now();
        Ok(latest.filter(|latest| latest.until.is_some_and(|until| until > now)))
    }

    /// That nothing keeps a rotation waiting, or that a person answers for what can be answered for.
    ///
    /// # Errors
    /// [`Error::Linked`].
    pub(crate) async fn check_apart(&self, rotation: &Rotation, ignores_offset: bool) -> Result<(), Error> {
        match self.apart(rotation).await? {
            Some(apart) if apart.open.is_some() || !ignores_offset => Err(Error::Linked {
                rotation: rotation.name.clone(),
                apart,
            }),
            _ => Ok(()),
        }
    }

    /// The others of its group.
    pub(crate) fn others(&self, rotation: &Rotation) -> impl Iterator<Item = &Rotation> {
        let group = self.config.linked(&rotation.name);
        let others = group.into_iter().flat_map(|group| &group.rotations);
        let own = rotation.name.clone();
        others
            .filter(move |name| **name != own)
            .filter_map(|name| self.config.written(name))
            .map(AsRef::as_ref)
    }

    /// The secrets of which no run may be open when one of the rotation begins.
    pub(crate) fn kept_apart(
        &self,
        rotation: &Rotation,
        trigger: Trigger,
    ) -> Vec<(RotationName, SecretName)> {
        let others = self.others(rotation).filter(|_| rotates(trigger));
        others
            .map(|other| (other.name.clone(), other.secret.clone()))
            .collect()
    }

    /// When the last run of a rotation ended that has changed something on its target.
    async fn ended(&self, rotation: &RotationName) -> Result<Option<Timestamp>, Error> {
        let rotation = rotation.clone();
        let rows = self
            .store
            .read_here(move |reader| Ok::<_, Error>(reader.runs(Some(&rotation), RUNS_MAX)?))
            .await?;
        let mut last = None;
        for row in rows {
            let state = read_state(&row)?;
            if rotates(state.settings.trigger) && !state.is_untouched() {
                last = last.max(row.finished);
            }
        }
        Ok(last)
    }
}
