//! Pinned plugins for a look at a configuration: nothing is written, so that it needs no state.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use keywheel_model::PluginName;
use keywheel_policy::Lock;

use crate::Error;
use crate::plugin::Plugin;
use crate::registry::read_text;
use crate::runtime::Runtime;
use crate::source::Folder;

impl Plugin {
    /// The plugins of these names whose pinned bytes are in the folder. Files with other bytes are passed over: they do not run. Blocks on
    /// files and on the compiler.
    ///
    /// # Errors
    /// The lock file or the folder cannot be read, or a pinned file cannot be loaded.
    pub fn pinned_in(
        runtime: &Arc<Runtime>,
        folder: &Path,
        lock: &Path,
        names: &BTreeSet<&PluginName>,
    ) -> Result<BTreeMap<PluginName, Self>, Error> {
        let mut found = BTreeMap::new();
        let Some(text) = read_text(lock)? else {
            return Ok(found);
        };
        let pins = Lock::from_toml(&lock.display().to_string(), &text).map_err(|source| Error::Policy {
            path: lock.to_owned(),
            source,
        })?;
        let folder = Folder::open(folder)?;
        for path in folder.candidates()? {
            // What cannot be read is told by whoever lists the folder.
            let Ok(source) = folder.read(&path, runtime.limits().file_bytes) else {
                continue;
            };
            let pinned = pins.plugins.iter().find(|(_, pin)| pin.sha256 == source.digest);
            if let Some((name, _)) = pinned
                && names.contains(name)
            {
                found.insert(name.clone(), Self::load(runtime, &source)?);
            }
        }
        Ok(found)
    }
}
