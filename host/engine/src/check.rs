//! What the plugins themselves say about a configuration: their own checks are run, with everything denied and without any state.

use std::collections::BTreeSet;

use keywheel_config::Config;
use keywheel_plugin::{Plugin, Runtime, RuntimeOptions};

use crate::Error;
use crate::engine::{blocking, limits, publishers};

/// Has the code of every pinned plugin look at the settings of its rotations. A plugin that is not pinned, or lacks the signature that it needs, runs
/// nothing, here too.
///
/// # Errors
/// [`Error::Config`] with all that they found, [`Error::Plan`] when one was ended before it answered, [`Error::Plugin`], [`Error::Publisher`].
pub async fn check_settings(config: &Config) -> Result<(), Error> {
    let options = RuntimeOptions {
        limits: limits(config),
        cache: None,
    };
    let (folder, lock) = (config.plugins.dir.clone(), config.plugins.lock.clone());
    let names: Vec<_> = config
        .rotations
        .iter()
        .map(|rotation| rotation.plugin.clone())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let publishers = publishers(config)?;
    let plugins = blocking(move || {
        let runtime = Runtime::new(options)?;
        let names: BTreeSet<_> = names.iter().collect();
        Plugin::pinned_in(&runtime, &folder, &lock, &publishers, &names)
    })
    .await??;
    let mut found = Vec::new();
    for rotation in &config.rotations {
        let Some(plugin) = plugins.get(&rotation.plugin) else {
            continue;
        };
        let said = plugin.check_config(&rotation.config).await;
        let said = said.map_err(|error| Error::of_plan(rotation, error))?;
        found.extend(said.into_iter().map(|said| (rotation, said)));
    }
    Ok(config.all_objections(found)?)
}
