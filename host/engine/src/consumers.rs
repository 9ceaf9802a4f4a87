//! Who reads a secret, as a person sees it: how far behind each may be, and what it said last.

use std::time::Duration;

use keywheel_config::Rotation;
use keywheel_model::{RotationName, VersionId};
use keywheel_workflow::State;

use crate::Error;
use crate::engine::Inner;
use crate::hooks::Said;
use crate::view::ConsumerView;

impl Inner {
    /// The consumers of a rotation as it is configured, held against the current version.
    pub(crate) async fn consumers(
        &self,
        rotation: &Rotation,
        current: Option<&VersionId>,
    ) -> Result<Vec<ConsumerView>, Error> {
        let consumers = rotation.consumers.iter().map(|consumer| {
            let hook = consumer.hook.as_ref();
            ConsumerView {
                name: consumer.name.clone(),
                staleness_ms: ms(consumer.staleness),
                reports: hook.is_some(),
                announces: hook.is_some_and(|hook| hook.announce),
                said: None,
                said_at: None,
                holds_current: None,
            }
        });
        self.with_said(&rotation.name, consumers.collect(), current).await
    }

    /// Those that a run has pinned, held against the version that is current for it.
    pub(crate) async fn consumers_of_run(&self, state: &State) -> Result<Vec<ConsumerView>, Error> {
        let settings = &state.settings;
        let configured = self.config.rotation(&settings.rotation);
        let has_hook = |name: &str| {
            let mut consumers = configured.iter().flat_map(|rotation| &rotation.consumers);
            consumers.any(|consumer| consumer.name == name && consumer.hook.is_some())
        };
        let consumers = settings.consumers.iter().map(|consumer| ConsumerView {
            name: consumer.name.clone(),
            staleness_ms: consumer.stale_ms,
            reports: state.reported.contains(&consumer.name) || has_hook(&consumer.name),
            announces: consumer.announce,
            said: None,
            said_at: None,
            holds_current: None,
        });
        let current = state.roles.current.as_ref();
        self.with_said(&settings.rotation, consumers.collect(), current)
            .await
    }

    async fn with_said(
        &self,
        rotation: &RotationName,
        mut consumers: Vec<ConsumerView>,
        current: Option<&VersionId>,
    ) -> Result<Vec<ConsumerView>, Error> {
        let reporting = consumers.iter_mut().filter(|consumer| consumer.reports);
        for consumer in reporting {
            let key = Said::key(rotation, &consumer.name);
            let said = self
                .store
                .read_here(move |reader| Ok::<_, Error>(reader.meta(&key)?))
                .await?;
            let said = said.and_then(|said| serde_json::from_str::<Said>(&said).ok());
            consumer.holds_current = Some(said.as_ref().is_some_and(|said| Some(&said.version) == current));
            consumer.said_at = said.as_ref().map(|said| said.at);
            consumer.said = said.map(|said| said.version);
        }
        Ok(consumers)
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
