use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::{Error, Session};

/// The longest path of a socket on Linux, without the byte that ends it and the one of the name under which it is made.
const PATH_BYTES_MAX: usize = 106;

/// Who is on the other side of the socket, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user.
    pub uid: u32,
}

impl Peer {
    /// Whether it is this process's user or root.
    pub fn is_trusted(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }
}

/// The host's socket. Removed when dropped, if it is there still.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    socket: UnixListener,
    /// By which it is told from what others put in its place.
    own: Identity,
}

impl Listener {
    /// Listens at a path, for this process's user and root only (0600). A socket that a dead host has left is replaced.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::NotASocket`], [`Error::InUse`], [`Error::Listen`].
    pub fn bind(path: &Path) -> Result<Self, Error> {
        check_length(path)?;
        let failed = |source| Error::Listen {
            path: path.to_owned(),
            source,
        };
        clear(path)?;
        // Under its own name it has its own mode from the beginning.
        let mut made = path.as_os_str().to_owned();
        made.push("~");
        clear(Path::new(&made))?;
        let socket = UnixListener::bind(&made).map_err(failed)?;
        fs::set_permissions(&made, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let own = identity(Path::new(&made)).map_err(failed)?;
        fs::rename(&made, path).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            socket,
            own,
        })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there still. One that was removed, or replaced, hears nobody any more. May block.
    pub fn is_there(&self) -> bool {
        identity(&self.path).is_ok_and(|there| there == self.own)
    }

    /// Lets every user connect (0666), or its own and root alone (0600). Who is heard is decided by [`Self::accept`]. What others have put in the
    /// socket's place is left as it is.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub fn admit_others(&self, admits: bool) -> Result<(), Error> {
        if !self.is_there() {
            return Ok(());
        }
        let mode = if admits { 0o666 } else { 0o600 };
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode)).map_err(|source| Error::Listen {
            path: self.path.clone(),
            source,
        })
    }

    /// The next command of this process's user, of root, or of whom the caller knows; errors of one peer are told to that peer and logged.
    pub async fn accept(&self, is_known: impl Fn(Peer) -> bool) -> (Session, Peer) {
        loop {
            let stream = match self.socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    // Of file descriptors there are none left: somebody has to end first.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(credentials) = stream.peer_cred() else {
                continue;
            };
            let peer = Peer {
                uid: credentials.uid(),
            };
            let stream = match stream.into_std() {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    continue;
                }
            };
            match Session::of(stream) {
                Ok(session) if peer.is_trusted() || is_known(peer) => return (session, peer),
                Ok(session) => {
                    let error = Error::Peer { uid: peer.uid };
                    tracing::warn!(uid = peer.uid, "refused a connection of another user");
                    session.refuse(&error);
                }
                Err(error) => tracing::warn!(%error, "a connection was not accepted"),
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.is_there() {
            // Whoever comes next replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode: no other file has them as long as the socket is open.
type Identity = (u64, u64);

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Takes a socket away that a dead host has left; whatever else is there stays.
fn clear(path: &Path) -> Result<(), Error> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    let path = path.to_owned();
    if !metadata.file_type().is_socket() {
        return Err(Error::NotASocket { path });
    }
    if Blocking::connect(&path).is_ok() {
        return Err(Error::InUse { path });
    }
    fs::remove_file(&path).map_err(|source| Error::Listen { path, source })
}

/// # Errors
/// [`Error::TooLong`].
pub(crate) fn check_length(path: &Path) -> Result<(), Error> {
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(Error::TooLong {
            path: path.to_owned(),
        });
    }
    Ok(())
}
