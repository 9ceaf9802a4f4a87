//! The file that a new recovery identity is written into, before anything is made that it opens.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use keywheel_model::SecretBytes;

use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// Writes the identity into a new file that only its owner can read.
///
/// # Errors
/// The file is there already, or cannot be written; then nothing of it is left.
pub(crate) fn write(path: &Path, identity: &SecretBytes) -> Result<(), Failure> {
    let mut file = new_private_file(path)?;
    let written = file
        .write_all(identity.expose())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_folder_of(path));
    written.map_err(|error| {
        // The error that is told is the first one.
        let _ = remove_file(path);
        unwritten(path, &error)
    })
}

fn new_private_file(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.map_err(|error| unwritten(path, &error))
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let (exit, way_out) = match error.kind() {
        io::ErrorKind::AlreadyExists => (ExitCode::Conflict, "name a file that is not there yet"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (ExitCode::Unexpected, "name a file in a folder that you may write")
        }
        io::ErrorKind::NotFound => (ExitCode::Unexpected, "name a file in a folder that is there"),
        _ => (ExitCode::Unexpected, "name a file on a disk with room"),
    };
    let message = format!("cannot write \"{}\"", path.display());
    Failure::because(exit, "vault.recovery-file", message, error).hint(format!("nothing was made; {way_out}"))
}
