//! An older version becomes current again, as a new version: history is not rewritten. What the target still takes needs the vault alone; what it does
//! not take any more is put on it again by a run like any other, where the host can set what it holds.

use std::collections::BTreeSet;

use keywheel_config::Rotation;
use keywheel_failpoint::{Point, reach};
use keywheel_model::{RunId, SecretName, Stage, StepError, Trigger, Verdict, VersionId};
use keywheel_store::LeaseKey;
use keywheel_vault::{Head, Vault as _, VersionInfo};
use keywheel_workflow::Event;

use crate::engine::{Engine, Inner};
use crate::secrets::{audited, verdict_words};
use crate::view::RunView;
use crate::words::way_past;
use crate::{Error, Left, Order};

/// What became of a rollback.
#[derive(Debug)]
pub enum RolledBack {
    /// The target takes it: it is current, as this version.
    Current(VersionId),
    /// A run puts it on the target.
    Run(Box<RunView>, Left),
}

impl Engine {
    /// Makes an older version current again: a new version that points at its material. Where a rotation has the secret, the target must
    /// accept it first; a run has it accepted where it does not and the value is the host's to set.
    ///
    /// # Errors
    /// [`Error::NotBack`] for a name that is written with another secret, and when the target does not accept it and cannot be made to, or cannot be asked; [`Error::OpenRun`]; what [`Engine::rotate`] refuses.
    pub async fn roll_back(
        &self,
        name: &SecretName,
        to: &VersionId,
        order: Order<'_>,
    ) -> Result<RolledBack, Error> {
        let inner = &self.inner;
        self.check_no_open_run(name).await?;
        let head = inner.vault.live(name, std::slice::from_ref(to)).await?;
        let Some(version) = head.version(to) else {
            return Err(Error::NoVersion {
                secret: name.clone(),
                version: to.clone(),
            });
        };
        if let Some(writer) = inner.config.writer_of(name) {
            return Err(Error::NotBack {
                rotation: writer.name.clone(),
                version: to.clone(),
                found: format!(
                    "{name} changes with {}, and would hold what is revoked",
                    writer.secret
                ),
                way_out: format!(
                    "`keywheel secret rollback {} VERSION` puts both back",
                    writer.secret
                ),
            });
        }
        if let Some(rotation) = inner.config.rotation_of(name).as_deref() {
            self.check_may_go_back(rotation, to, &head).await?;
            match inner.test_version(rotation, to).await? {
                Ok(Verdict::Accepted) => {}
                Ok(Verdict::Rejected) if inner.can_put_back(rotation, version).await? => {
                    return self.put_back(rotation, to, order).await;
                }
                answer => return Err(not_back(rotation, to, answer)),
            }
        }
        inner
            .roll_back_in_vault(name, to, &head, order.reason)
            .await
            .map(RolledBack::Current)
    }

    /// Whether the vault may be taken for what it was, and nothing is under way that a run would take up instead.
    async fn check_may_go_back(&self, rotation: &Rotation, to: &VersionId, head: &Head) -> Result<(), Error> {
        let name = &rotation.name;
        let refused = |found: String, way_out: String| Error::NotBack {
            rotation: name.clone(),
            version: to.clone(),
            found,
            way_out,
        };
        if self.is_to_be_verified(&rotation.secret).await? {
            return Err(refused(
                "the state was restored, and this secret has not been verified since".to_owned(),
                format!("`keywheel drift check {name}` verifies it"),
            ));
        }
        if let Some(pending) = head.at(Stage::Pending) {
            return Err(refused(
                format!(
                    "version {} is pending: a run that is over has left it",
                    pending.id
                ),
                format!("`keywheel rotate {name}` takes it over, or gives it up; then go back"),
            ));
        }
        Ok(())
    }

    /// A run that finds the older value pending, and has the target accept it.
    async fn put_back(
        &self,
        rotation: &Rotation,
        to: &VersionId,
        mut order: Order<'_>,
    ) -> Result<RolledBack, Error> {
        let inner = &self.inner;
        let plugin = inner.plugin(&rotation.plugin)?;
        inner.check_settings(rotation, &plugin).await?;
        inner.check_fitness(rotation, &plugin).await?;
        inner.check_untried(rotation).await?;
        // As a rotation would be: its own run does not plan, for it begins with what is pending.
        let problems = self.plan(&rotation.name).await?.problems;
        if !problems.is_empty() {
            return Err(Error::Refused {
                rotation: rotation.name.clone(),
                problems,
            });
        }
        let also = inner.forms_of_older(rotation, to).await?;
        order.trigger = Trigger::Rollback;
        let turn = inner.turns.begin(inner.clock.now());
        let run = turn.run().clone();
        let (saved, performer) = inner.begin(&turn, rotation, &plugin, &order).await?;
        let by = inner.hold(&run, performer.keys.clone()).await?;
        let rider = audited(
            "secret.rollback",
            &rotation.secret,
            Some(&run),
            order.reason.as_deref(),
        );
        reach(Point::PendingBefore);
        let stored = inner.vault.put_back(&by, &rotation.secret, to, also, rider).await;
        reach(Point::PendingAfter);
        inner.journal.release(&run, by.fence).await?;
        if let Err(error) = stored {
            // The run has nothing to put back. Where not even this can be kept, the run finds that out by itself.
            if let Err(failure) = inner.drop_unbegun(saved).await {
                tracing::warn!(%run, %failure, "the run of a failed rollback stays open");
            }
            return Err(error.into());
        }
        let (view, left) = inner
            .drive(turn, saved, performer, vec![Event::Start], order)
            .await?;
        Ok(RolledBack::Run(Box::new(view), left))
    }
}

impl Inner {
    /// Whether a run can put an older value on the target again: not one that the target makes by itself, nor another account's, nor one that may belong
    /// to the account that is in use now, of two that are used in turn.
    async fn can_put_back(&self, rotation: &Rotation, version: &VersionInfo) -> Result<bool, Error> {
        let plugin = self.plugin(&rotation.plugin)?;
        let epoch = keywheel_model::Epoch(0);
        let class = Self::settings(rotation, &plugin, Trigger::Rollback, epoch)?.class;
        let principals = plugin.manifest().principals(&rotation.config);
        let accounts: BTreeSet<_> = principals.iter().map(|principal| &principal.account).collect();
        let in_turn = accounts.len() > 1;
        Ok(!class.target_issues() && !in_turn && !self.is_of_others(rotation, version).await?)
    }

    async fn roll_back_in_vault(
        &self,
        name: &SecretName,
        to: &VersionId,
        head: &Head,
        reason: Option<String>,
    ) -> Result<VersionId, Error> {
        let also = match self.config.rotation_of(name) {
            Some(rotation) => self.forms_of_older(&rotation, to).await?,
            None => Vec::new(),
        };
        let run = RunId::fresh(self.clock.now());
        let by = self.hold(&run, vec![LeaseKey::Secret(name.clone())]).await?;
        let current = head.current().map(|version| version.id.clone());
        let rider = audited("secret.rollback", name, Some(&run), reason.as_deref());
        reach(Point::RollbackBefore);
        let rolled = self
            .vault
            .roll_back(&by, name, to, current.as_ref(), also, rider)
            .await;
        reach(Point::RollbackAfter);
        self.journal.release(&run, by.fence).await?;
        let version = rolled?;
        self.retire(current.as_ref());
        if let Some(rotation) = self.config.rotation_of(name).as_deref() {
            self.note_tried(rotation, &version).await?;
        }
        Ok(version)
    }
}

/// Why a version does not become current again.
fn not_back(rotation: &Rotation, version: &VersionId, answer: Result<Verdict, StepError>) -> Error {
    let (name, secret) = (&rotation.name, &rotation.secret);
    let refused = format!(
        "a credential that the target makes by itself, one of another account, or of two that are used in turn, is not put there again once it was revoked or \
         overwritten (`keywheel secret history {secret}` has each one's stage). `keywheel rotate {name}` makes a new credential"
    );
    let (found, way_out) = match answer {
        Ok(Verdict::Unknown(why)) => (
            format!("the target did not say whether it takes it: {why}"),
            "try again when it answers".to_owned(),
        ),
        Ok(verdict) => (
            format!("the target does not take it: {}", verdict_words(&verdict)),
            refused,
        ),
        Err(error) => (
            format!("the target could not be asked: {}: {}", error.code, error.message),
            way_past(&error.code, &error.message, Some(rotation))
                .unwrap_or_else(|| "try again when it can be asked".to_owned()),
        ),
    };
    Error::NotBack {
        rotation: name.clone(),
        version: version.clone(),
        found,
        way_out,
    }
}
