//! What a restore leaves that was ended in the middle. The state itself is whole: the one of before, or the one of the backup.

use std::path::{Path, PathBuf};

use keywheel_config::Config;
use keywheel_model::Epoch;
use keywheel_store::epoch_of;

use crate::backup::{RESTORING, is_state, kept_beside, state_dir, with_suffix};

/// A restore that did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interrupted {
    /// What it had made.
    left: PathBuf,
    /// Whether there is a state: the one of before.
    state_there: bool,
}

impl Interrupted {
    /// One that left something beside the state. One that is at work looks the same; while it replaces a state, nobody can look.
    pub(crate) fn find(config: &Config) -> Option<Self> {
        let dir = state_dir(config);
        let state_there = is_state(&dir);
        let restoring = with_suffix(&dir, RESTORING);
        let left = if restoring.symlink_metadata().is_ok() {
            restoring
        } else {
            made_ready(&dir)?
        };
        Some(Self { left, state_there })
    }

    /// What happened, and which state the host is in.
    pub(crate) fn words(&self) -> String {
        let left = self.left.display();
        if self.state_there {
            format!(
                "a restore was interrupted: nothing of the backup is in use, the state is the one of before; what was made of the backup lies in \"{left}\""
            )
        } else {
            format!(
                "a restore was interrupted before it put a state there; what it had made lies in \"{left}\""
            )
        }
    }

    /// What to do about it.
    pub(crate) fn way_out(&self) -> String {
        let left = self.left.display();
        if self.state_there {
            format!(
                "`keywheel vault restore FILE --force`, if the backup is still to take the place of the state; if not, remove \"{left}\""
            )
        } else {
            "`keywheel vault restore FILE` again: it makes the state anew, and takes away what is left of the first try".to_owned()
        }
    }
}

/// A state that was ready to change places with the one that is there, and did not: it has the name under which that one was to be kept. What is kept
/// after a restore that ended has an older epoch than the state.
fn made_ready(dir: &Path) -> Option<PathBuf> {
    let kept: Vec<_> = kept_beside(dir).collect();
    let now: Epoch = (!kept.is_empty()).then(|| epoch_of(dir)).flatten()?;
    kept.into_iter()
        .find(|kept| epoch_of(kept).is_some_and(|epoch| epoch > now))
}
