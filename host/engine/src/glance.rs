//! A plugin's look at a target, asked by a person or the host outside of any run.

use std::sync::Arc;
use std::time::Duration;

use keywheel_audit::Entry;
use keywheel_capability::Cancel;
use keywheel_config::Rotation;
use keywheel_model::{Effect, ErrorKind, Fence, RunId, StepError, StepName, Trigger, VersionId};
use keywheel_plugin::{Plugin, StepEnd};
use keywheel_vault::{Author, Vault as _};
use keywheel_workflow::{Call, Roles, State};
use serde_json::json;

use crate::Error;
use crate::actor::actor;
use crate::engine::Inner;
use crate::journal::lease_keys;
use crate::perform::head::kept;
use crate::perform::{Performer, costs_nothing};
use crate::pinned::Pinned;
use crate::port::Port;
use crate::settings;

/// A call of a plugin outside of any run: nothing of it is journalled but the audit rows, and it can change nothing.
pub(crate) struct Glance {
    performer: Performer,
    pub(crate) state: State,
}

impl Glance {
    pub(crate) async fn new(
        inner: &Arc<Inner>,
        rotation: &Rotation,
        plugin: &Arc<Plugin>,
    ) -> Result<Self, Error> {
        let epoch = inner
            .store
            .read_here(|reader| Ok::<_, Error>(reader.epoch()?))
            .await?;
        let settings = Inner::settings(rotation, plugin, Trigger::Manual, epoch)?;
        let mut state = State::new(RunId::fresh(inner.clock.now()), settings);
        let principals = settings::principals(rotation, plugin.manifest());
        let head = inner.vault.live(&rotation.secret, &[]).await?;
        let head = inner.without_strangers(head, &principals).await?;
        let versions = keywheel_workflow::Head {
            epoch,
            versions: kept(&head),
        };
        state.roles = Roles {
            current: versions.current().cloned(),
            pending: versions
                .newest(keywheel_model::Stage::Pending)
                .map(|kept| kept.version.clone()),
            previous: versions
                .newest(keywheel_model::Stage::Previous)
                .map(|kept| kept.version.clone()),
        };
        let performer = Performer {
            pinned: Arc::new(Pinned::of(rotation)),
            plugin: Some(Arc::clone(plugin)),
            keys: lease_keys(&state.settings, &principals),
            accounts: principals,
            probes: settings::probes(rotation, plugin.manifest()),
            step_time: rotation.deadlines.step,
            cancel: Cancel::new().1,
        };
        Ok(Self { performer, state })
    }

    pub(crate) async fn ask(
        &self,
        inner: &Arc<Inner>,
        step: StepName,
        subject: Option<VersionId>,
    ) -> Result<StepEnd, Error> {
        let deadline = inner.clock.now() + self.performer.step_time;
        let call = Call {
            step,
            subject,
            roles: self.state.roles.clone(),
            attempt: 1,
            interrupted: false,
            deadline,
        };
        if step == StepName::Test
            && let Some(until) = self.performer.book_login(inner, &self.state).await?
        {
            let wait = until.saturating_since(inner.clock.now()).as_secs() + 1;
            let wait = keywheel_config::show_duration(Duration::from_secs(wait));
            let message = format!("the account's budget of failed logins is used up for another {wait}");
            let error = StepError::new(ErrorKind::Limit, "run.budget", message);
            return Ok(StepEnd {
                result: Err(error),
                effect: Effect::None,
                seen: keywheel_capability::StepReport::default(),
                stop: None,
                cpu: Duration::ZERO,
                guest: Duration::ZERO,
            });
        }
        // What the plugin then uses and does stands under the same id, and in its own name.
        let entry = Entry::of_host("plugin.ask", self.performer.pinned.secret.as_str(), "ok")
            .by(actor())
            .in_run(&self.state.run)
            .with(json!({"rotation": self.performer.pinned.rotation, "step": step.as_str()}));
        inner
            .store
            .write(move |tx| Ok::<_, Error>(tx.audit(&entry).map(|_| ())?))
            .await?;
        let by = Author {
            run: self.state.run.clone(),
            fence: Fence::default(),
        };
        let port = Arc::new(Port::outside(
            Arc::clone(inner),
            Arc::clone(&self.performer.pinned),
            call,
            by,
        ));
        let context = port.context(&self.performer, &self.state, deadline).await?;
        let end = self
            .performer
            .plugin()?
            .run(inner.capabilities.prepare(context))
            .await;
        port.settle().await?;
        if step == StepName::Test && costs_nothing(&end) {
            self.performer.give_login_back(inner, &self.state).await?;
        }
        Ok(end)
    }
}
