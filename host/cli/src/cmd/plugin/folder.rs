//! The manifests of the files in the plugin folder. Reads, runs nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keywheel_manifest::{MAX_COMPONENT_BYTES, Manifest};
use keywheel_model::PluginName;

use crate::cmd::plugin::manifest_failure;
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::visible;

/// More files are not looked at.
const FILES_MAX: usize = 1_000;

/// The way out where a file cannot be read.
pub(crate) const FILE_HINT: &str = "correct the path, or look at the file's owner and mode";

/// What is in the plugin folder.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The manifests by name.
    pub(crate) manifests: BTreeMap<PluginName, Manifest>,
    /// The files that they are in.
    pub(crate) files: BTreeMap<PluginName, PathBuf>,
    /// Files that are no plugin.
    pub(crate) broken: Vec<Broken>,
}

/// A file that is no plugin.
#[derive(Debug)]
pub(crate) struct Broken {
    /// The file.
    pub(crate) file: PathBuf,
    /// Why.
    pub(crate) why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is not used: {}", visible::path(&self.file), self.why)
    }
}

/// Reads every `.wasm` file of the folder. A folder that does not exist has none.
///
/// # Errors
/// The folder cannot be listed.
pub(crate) fn read(dir: &Path) -> Result<Found, Failure> {
    let unlisted = |error: &io::Error| {
        let message = format!("cannot list the plugin folder \"{}\"", dir.display());
        Failure::because(ExitCode::Unexpected, "plugin.folder", message, error)
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
        Err(error) => return Err(unlisted(&error)),
    };
    let mut files = Vec::new();
    for entry in entries.take(FILES_MAX) {
        let path = entry.map_err(|error| unlisted(&error))?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            files.push(path);
        }
    }
    files.sort();
    let mut found = Found::default();
    for file in files {
        let added = component(&file).map_err(|failure| failure.to_text(crate::output::Style::PLAIN));
        match added {
            Ok(manifest) if found.manifests.contains_key(&manifest.name) => {
                let why = format!("another file has the plugin `{}` too", manifest.name);
                found.broken.push(Broken { file, why });
            }
            Ok(manifest) => {
                found.files.insert(manifest.name.clone(), file);
                found.manifests.insert(manifest.name.clone(), manifest);
            }
            Err(why) => found.broken.push(Broken {
                file,
                why: why.trim_end().to_owned(),
            }),
        }
    }
    Ok(found)
}

/// The manifest of one file.
///
/// # Errors
/// It cannot be read, or is no component with one valid manifest.
pub(crate) fn component(file: &Path) -> Result<Manifest, Failure> {
    keywheel_manifest::read(&bytes(file)?)
        .map_err(|error| manifest_failure(format!("\"{}\" is no plugin", visible::path(file)), &error))
}

/// The bytes of a component file, within the limit.
///
/// # Errors
/// It is no regular file, cannot be read, or is too large.
pub(crate) fn bytes(file: &Path) -> Result<Vec<u8>, Failure> {
    let shown = visible::path(file);
    let unread = |error: &io::Error| {
        let exit = if error.kind() == io::ErrorKind::NotFound {
            ExitCode::NotFound
        } else {
            ExitCode::Unexpected
        };
        Failure::because(exit, "plugin.file", format!("cannot read \"{shown}\""), error).hint(FILE_HINT)
    };
    let metadata = fs::symlink_metadata(file).map_err(|error| unread(&error))?;
    if !metadata.is_file() {
        let message = format!("\"{shown}\" is not a regular file; links are not followed");
        return Err(
            Failure::new(ExitCode::ConfigInvalid, "plugin.not-a-file", message)
                .hint("name the `.wasm` file itself, and copy it there if it is a link"),
        );
    }
    if metadata.len() > MAX_COMPONENT_BYTES as u64 {
        let message = format!(
            "\"{shown}\" has {} bytes, at most {MAX_COMPONENT_BYTES} are read",
            metadata.len()
        );
        return Err(
            Failure::new(ExitCode::ConfigInvalid, "manifest.too-large", message)
                .hint("build it in release mode and without debug information"),
        );
    }
    fs::read(file).map_err(|error| unread(&error))
}
