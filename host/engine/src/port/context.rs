//! What the plugin sees of its run.

use std::sync::Arc;

use keywheel_capability::StepContext;
use keywheel_model::Timestamp;
use keywheel_workflow::State;

use super::Port;
use crate::Error;
use crate::perform::Performer;

impl Port {
    /// The context of this call.
    ///
    /// # Errors
    /// The vault is sealed, the grants cannot be read.
    pub(crate) async fn context(
        self: &Arc<Self>,
        performer: &Performer,
        state: &State,
        deadline: Timestamp,
    ) -> Result<StepContext, Error> {
        Ok(StepContext {
            run: state.run.clone(),
            rotation: self.pinned.rotation.clone(),
            secret: self.pinned.secret.clone(),
            trigger: state.settings.trigger,
            step: self.call.step,
            attempt: self.call.attempt,
            interrupted: self.call.interrupted,
            epoch: state.epoch,
            restored: state.epoch != state.settings.epoch
                || state.settings.trigger == keywheel_model::Trigger::Restore,
            deadline,
            config: Arc::new(self.pinned.config.clone()),
            public_parts: self.pinned.public.clone(),
            manifest: Arc::clone(performer.plugin()?.manifest()),
            policy: self.inner.policy().await?,
            inputs: self.pinned.inputs.clone(),
            sub_key: self.inner.vault.sub_key("plugin-derivations")?,
            watched: self.watched().await,
            port: Arc::clone(self) as Arc<dyn keywheel_capability::RunPort>,
            clock: Arc::clone(&self.inner.clock),
            cancel: performer.cancel.clone(),
        })
    }
}
