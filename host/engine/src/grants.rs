//! The grant files, as they are at the moment of asking: what is taken away acts at once (rule P12).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use keywheel_policy::Policy;

use crate::Error;

/// Most bytes of a grant file.
const GRANT_BYTES: u64 = 256 * 1024;

/// File and text of each grant.
type Texts = BTreeMap<String, String>;

/// The folder of the grants. Its files are read each time, and understood anew only when one of them changed.
pub(crate) struct Grants {
    dir: PathBuf,
    last: Mutex<Option<(Texts, Arc<Policy>)>>,
}

impl Grants {
    pub(crate) fn of(dir: PathBuf) -> Self {
        Self {
            dir,
            last: Mutex::default(),
        }
    }

    /// The policy. Blocks on files.
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be read, [`Error::Policy`] when one is wrong: then nothing is granted.
    pub(crate) fn now(&self) -> Result<Arc<Policy>, Error> {
        let texts = read(&self.dir)?;
        // It holds a whole pair or none.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, policy)) = &*last
            && *known == texts
        {
            return Ok(Arc::clone(policy));
        }
        let policy = Policy::load(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())))?;
        let policy = Arc::new(policy);
        *last = Some((texts, Arc::clone(&policy)));
        Ok(policy)
    }
}

fn read(dir: &Path) -> Result<Texts, Error> {
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { what, path, source }
    };
    let mut grants = Texts::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(grants),
        Err(error) => return Err(failed("read the folder of grants", dir)(error)),
    };
    for entry in entries {
        let path: PathBuf = entry.map_err(failed("read the folder of grants", dir))?.path();
        if path.extension().is_some_and(|ext| ext == "toml") && path.is_file() {
            let length = path.metadata().map_err(failed("read the grant", &path))?.len();
            if length > GRANT_BYTES {
                let source = std::io::Error::other(format!("{length} bytes, more than {GRANT_BYTES}"));
                return Err(failed("read the grant", &path)(source));
            }
            let text = std::fs::read_to_string(&path).map_err(failed("read the grant", &path))?;
            grants.insert(path.display().to_string(), text);
        }
    }
    Ok(grants)
}
