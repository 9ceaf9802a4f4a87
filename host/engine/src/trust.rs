//! The files of trust sets: read, and looked at before anything depends on them.

use std::io;
use std::path::Path;

use keywheel_target::tls;

/// Most bytes of one file of certificates.
const PEM_BYTES: u64 = 4 << 20;

/// The bytes of a file of certificates.
///
/// # Errors
/// It cannot be read, is no plain file, or is too large.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a plain file"));
    }
    if metadata.len() > PEM_BYTES {
        return Err(io::Error::other(format!("more than {PEM_BYTES} bytes")));
    }
    std::fs::read(path)
}

/// Whether a file of a trust set verifies anything. For `config check`: what is wrong with it, and the way out.
///
/// # Errors
/// What is wrong: a fragment that goes on from the file's name, and the way out.
pub fn examine_trust_file(path: &Path) -> Result<(), (String, String)> {
    let pem = read(path).map_err(|error| {
        (
            format!("cannot be read: {error}"),
            "a path is relative to the folder of the configuration file".to_owned(),
        )
    })?;
    tls::examine(&pem).map_err(|unfit| (unfit.what().to_owned(), unfit.way_out().to_owned()))
}
