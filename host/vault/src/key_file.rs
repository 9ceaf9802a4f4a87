use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use keywheel_model::SecretBytes;
use zeroize::Zeroizing;

use crate::Error;
use crate::seal::random_secret;

/// 64 hexadecimal digits and a line feed.
const LENGTH: usize = 65;

/// Makes a key file (0400) with a fresh key, and syncs it. One that is there is not touched.
pub(crate) fn create(path: &Path) -> Result<SecretBytes, Error> {
    let key = random_secret()?;
    let mut text = Zeroizing::new(String::with_capacity(LENGTH));
    for byte in key.expose() {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text.push('\n');
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(failed("create", path))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed("write", path))?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(failed("sync", path))?;
    Ok(key)
}

/// Reads a key file; `None` when there is none. A symbolic link, a file that others may use or that is another's is refused.
pub(crate) fn read(path: &Path) -> Result<Option<SecretBytes>, Error> {
    let refused = |what| Error::KeyFile {
        path: path.to_owned(),
        what,
    };
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(refused("it is a symbolic link"));
        }
        Err(error) => return Err(failed("open", path)(error)),
    };
    let metadata = file.metadata().map_err(failed("inspect", path))?;
    if !metadata.is_file() {
        return Err(refused("it is not a plain file"));
    }
    let (others, is_owned_well) = if is_credential(path) {
        // The service manager gives it to this user by an access list, which shows as rights of the group.
        (0o037, metadata.uid() == 0)
    } else {
        (0o077, false)
    };
    if metadata.mode() & others != 0 {
        return Err(refused("others may use it"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() && !is_owned_well {
        return Err(refused("it belongs to another user"));
    }
    let mut text = Zeroizing::new(vec![0; LENGTH + 1]);
    let mut length = 0;
    while length < text.len() {
        match file.read(&mut text[length..]).map_err(failed("read", path))? {
            0 => break,
            count => length += count,
        }
    }
    let text = text[..length].strip_suffix(b"\n").unwrap_or(&text[..length]);
    digits(text)
        .map(Some)
        .ok_or_else(|| refused("it does not hold 64 hexadecimal digits"))
}

/// Whether the service manager has put it there for this service alone: systemd.exec(5), `LoadCredential=`.
fn is_credential(path: &Path) -> bool {
    let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
        return false;
    };
    let is_closed = std::fs::metadata(&folder).is_ok_and(|folder| folder.mode() & 0o027 == 0);
    is_closed && path.parent() == Some(Path::new(&folder))
}

fn digits(text: &[u8]) -> Option<SecretBytes> {
    if text.len() != LENGTH - 1 {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut key = Zeroizing::new(Vec::with_capacity(32));
    for pair in text.chunks(2) {
        key.push(digit(pair[0])? << 4 | digit(pair[1])?);
    }
    Some(SecretBytes::copy_of(&key))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::KeyFileAccess { what, path, source }
}
