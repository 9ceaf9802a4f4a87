//! The grant files of the policies' folder.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keywheel_config::GrantSubject;
use keywheel_policy::Policy;

use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// A larger file is not read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// More files are not looked at.
const FILES_MAX: usize = 1_000;

/// Reads every `.toml` file of the folder. A folder that does not exist grants nothing.
///
/// # Errors
/// A file cannot be read, or is not valid: then nothing of any is in force.
pub(crate) fn read(dir: &Path) -> Result<Policy, Failure> {
    let mut texts = Vec::new();
    for file in toml_files(dir)? {
        texts.push((file.display().to_string(), text(&file)?));
    }
    let texts = texts.iter().map(|(file, text)| (file.as_str(), text.as_str()));
    Policy::load(texts).map_err(|error| failure(&error))
}

/// A grant or a table that is not valid.
pub(crate) fn failure(error: &keywheel_policy::Error) -> Failure {
    Failure::from_error(ExitCode::ConfigInvalid, error.code(), error).maybe_hint(error.hint())
}

/// Whom each grant file is for, by the file's stem.
pub(crate) fn subjects(policy: &Policy) -> BTreeMap<String, GrantSubject> {
    let mut subjects = BTreeMap::new();
    for grant in policy.grants() {
        if let Some(stem) = Path::new(&grant.file).file_stem() {
            let subject = GrantSubject {
                plugin: grant.plugin.clone(),
                rotation: grant.rotation.clone(),
            };
            subjects.insert(stem.to_string_lossy().into_owned(), subject);
        }
    }
    subjects
}

/// The `.toml` files of a folder, sorted; none if it does not exist.
///
/// # Errors
/// It cannot be listed.
pub(crate) fn toml_files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unlisted = |error: &io::Error| {
        let message = format!("cannot list the folder \"{}\"", dir.display());
        Failure::because(ExitCode::Unexpected, "policy.folder", message, error)
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unlisted(&error)),
    };
    let mut files = Vec::new();
    for entry in entries.take(FILES_MAX) {
        let path = entry.map_err(|error| unlisted(&error))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a file, within the limit.
///
/// # Errors
/// It cannot be read, is too large or no UTF-8.
pub(crate) fn text(file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    let unread = |error: &io::Error| {
        let exit = if error.kind() == io::ErrorKind::NotFound {
            ExitCode::NotFound
        } else {
            ExitCode::ConfigInvalid
        };
        Failure::because(exit, "policy.file", format!("cannot read \"{shown}\""), error)
    };
    let length = fs::metadata(file).map_err(|error| unread(&error))?.len();
    if length > FILE_BYTES_MAX {
        let message = format!("\"{shown}\" has {length} bytes, at most {FILE_BYTES_MAX} are read");
        return Err(Failure::new(ExitCode::ConfigInvalid, "policy.too-large", message));
    }
    fs::read_to_string(file).map_err(|error| unread(&error))
}
