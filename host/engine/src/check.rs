//! What the plugins themselves say about a configuration: their own checks are run, with everything denied and without any state.

use std::collections::BTreeSet;

use keywheel_config::Config;
use keywheel_model::PluginName;
use keywheel_plugin::{Plugin, Runtime, RuntimeOptions};

use crate::Error;
use crate::engine::{blocking, limits, publishers};

/// Has the code of every pinned plugin look at the settings of its rotations; of those of a table at the first. A plugin that is not pinned, or lacks the signature that it needs, runs
/// nothing, here too: the plugins whose code did not look are given back.
///
/// # Errors
/// [`Error::Config`] with all that they found, [`Error::Plan`] when one was ended before it answered, [`Error::Plugin`], [`Error::Publisher`].
pub async fn check_settings(config: &Config) -> Result<BTreeSet<PluginName>, Error> {
    let options = RuntimeOptions {
        limits: limits(config),
        cache: None,
    };
    let (folder, lock) = (config.plugins.dir.clone(), config.plugins.lock.clone());
    let names: Vec<_> = config.samples().map(|rotation| rotation.plugin.clone()).collect();
    let publishers = publishers(config)?;
    if names.is_empty() {
        return Ok(BTreeSet::new());
    }
    let plugins = blocking(move || {
        let runtime = Runtime::new(options)?;
        let names: BTreeSet<_> = names.iter().collect();
        Plugin::pinned_in(&runtime, &folder, &lock, &publishers, &names)
    })
    .await??;
    let mut found = Vec::new();
    for rotation in config.samples() {
        let Some(plugin) = plugins.get(&rotation.plugin) else {
            continue;
        };
        let said = plugin.check_config(&rotation.config).await;
        let said = said.map_err(|error| Error::of_plan(rotation, error))?;
        found.extend(said.into_iter().map(|said| (&**rotation, said)));
    }
    config.all_objections(found)?;
    let wanted = config.samples().map(|rotation| &rotation.plugin);
    Ok(wanted
        .filter(|name| !plugins.contains_key(*name))
        .cloned()
        .collect())
}
