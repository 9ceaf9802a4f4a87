//! What a run sees of its secret.

use keywheel_model::{Epoch, Trigger};
use keywheel_store::Reader;
use keywheel_vault::{Head as VaultHead, Origin};
use keywheel_workflow::{Head, Kept, Phase, Report, State};

use super::{Performer, identity, vault_error};
use crate::Error;
use crate::engine::Inner;
use crate::untried::without_strangers;

impl Performer {
    pub(super) async fn read_head(&self, inner: &Inner, state: &State) -> Result<Report, Error> {
        let (vault, accounts) = (inner.vault.clone(), self.accounts.clone());
        let (name, state) = (state.settings.secret.clone(), state.clone());
        let look = move |reader: &Reader<'_>| {
            let epoch = reader.epoch()?;
            let head = if checks(&state, epoch) {
                vault.head_in(reader, &name)
            } else {
                let roles = &state.roles;
                let also: Vec<_> = [&roles.current, &roles.pending, &roles.previous]
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect();
                vault.live_in(reader, &name, &also)
            };
            let ours = head.map(|head| without_strangers(reader, head, &accounts));
            Ok::<_, Error>((epoch, ours))
        };
        Ok(match inner.store.read(look).await? {
            (epoch, Ok(head)) => Report::Head(Head {
                epoch,
                versions: kept(&head?),
            }),
            (_, Err(error)) => Report::HeadUnreadable(vault_error(&error)),
        })
    }
}

/// The versions of a head as the machine sees them: one that points at older material is that material, and what a person has imported belongs to nobody.
pub(crate) fn kept(head: &VaultHead) -> Vec<Kept> {
    let mut seen: Vec<Kept> = Vec::new();
    for version in &head.versions {
        let identity = identity(version);
        if seen.iter().all(|kept| kept.version != *identity) {
            let imported =
                version.metadata.labels.origin == Origin::Imported && version.material_of.is_none();
            seen.push(Kept {
                version: identity.clone(),
                stage: version.stage,
                run: if imported { None } else { Some(version.run.clone()) },
            });
        }
    }
    seen
}

/// Whether what the run looks for may be any version that there ever was, such as one that the target has been set back to (rules P2, P10). Every other run
/// needs those that live, and its own.
fn checks(state: &State, epoch: Epoch) -> bool {
    let begins_with_it = matches!(
        state.settings.trigger,
        Trigger::Drift | Trigger::Restore | Trigger::Adopt
    );
    let is_at_it = matches!(
        state.phase,
        Phase::Verify | Phase::RollForward | Phase::Repair | Phase::ProveRepair | Phase::Parked
    );
    let check = &state.check;
    begins_with_it || is_at_it || epoch > state.epoch || check.begun || check.restored || check.head_accepted
}
