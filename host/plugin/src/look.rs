//! Pinned plugins for a look at a configuration: nothing is written, so that it needs no state.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use keywheel_model::PluginName;
use keywheel_policy::Lock;

use crate::Error;
use crate::plugin::Plugin;
use crate::publisher::{Publishers, delisted};
use crate::registry::read_text;
use crate::runtime::Runtime;
use crate::source::Folder;

impl Plugin {
    /// The plugins of these names whose pinned bytes are in the folder. Files with other bytes are passed over: they do not run. A signature is looked
    /// at before the bytes are compiled. Blocks on files and on the compiler.
    ///
    /// # Errors
    /// The lock file or the folder cannot be read, or a pinned file cannot be loaded; [`Error::Unsigned`] or [`Error::Signature`] where no file with a
    /// plugin's pinned bytes has the signature that it needs.
    pub fn pinned_in(
        runtime: &Arc<Runtime>,
        folder: &Path,
        lock: &Path,
        publishers: &Publishers,
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
        let mut refused = BTreeMap::new();
        for path in folder.candidates()? {
            // What cannot be read is told by whoever lists the folder.
            let Ok(source) = folder.read(&path, runtime.limits().file_bytes) else {
                continue;
            };
            let pinned = pins.plugins.iter().find(|(_, pin)| pin.sha256 == source.digest);
            if let Some((name, pin)) = pinned
                && names.contains(name)
            {
                match publishers.signer_of(&folder, &source) {
                    Err(error) => drop(refused.insert(name.clone(), error)),
                    Ok(None) if !publishers.still_count(pin) => {
                        drop(refused.insert(name.clone(), delisted(&path)));
                    }
                    Ok(_) => drop(found.insert(name.clone(), Self::load(runtime, &source)?)),
                }
            }
        }
        // The same bytes may lie there twice, and be signed in one place.
        refused.retain(|name, _| !found.contains_key(name));
        match refused.into_values().next() {
            Some(error) => Err(error),
            None => Ok(found),
        }
    }
}
