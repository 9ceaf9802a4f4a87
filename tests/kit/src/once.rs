//! What takes long to make or to fetch, kept in the cache folder for all tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result};

use crate::install::cache_folder;

/// A folder of this name in the cache; `make` fills it, once for all test programs. What it makes is named by versions, since it is never made anew.
///
/// # Errors
/// Of `make`, and then the next one tries again; no cache folder.
pub fn made_once(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let cache = cache_folder()?;
    let whole = cache.join(name);
    let complete = whole.join("complete");
    if complete.is_file() {
        return Ok(whole);
    }
    // Other test programs may be at it, too: whoever is done first has made it.
    let lock = fs::File::create(cache.join(format!("{name}.lock")))?;
    lock.lock()?;
    if !complete.is_file() {
        if whole.exists() {
            fs::remove_dir_all(&whole)?;
        }
        fs::create_dir_all(&whole)?;
        make(&whole).with_context(|| format!("cannot make {name}"))?;
        fs::write(complete, "")?;
    }
    Ok(whole)
}
