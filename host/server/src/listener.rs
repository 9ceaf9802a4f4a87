use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
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
    /// Whether it is this process's own user, or root.
    pub fn is_trusted(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }
}

/// The host's socket. Removed when dropped.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    socket: UnixListener,
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
        fs::set_permissions(&made, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&made, path))
            .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            socket,
        })
    }

    /// Whether users other than this process's own and root reach the socket, too. Which of them is heard, [`accept`](Self::accept) is told.
    ///
    /// # Errors
    /// [`Error::Listen`]: its mode cannot be set.
    pub fn open_to_others(&self, is_open: bool) -> Result<(), Error> {
        let mode = if is_open { 0o666 } else { 0o600 };
        let set = fs::set_permissions(&self.path, fs::Permissions::from_mode(mode));
        set.map_err(|source| Error::Listen {
            path: self.path.clone(),
            source,
        })
    }

    /// The next command, of this process's own user, of root, or of one who `may`; errors of one peer are told to that peer and logged.
    pub async fn accept(&self, may: impl Fn(Peer) -> bool) -> (Session, Peer) {
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
                Ok(session) if peer.is_trusted() || may(peer) => return (session, peer),
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
        // Whoever comes next replaces it.
        let _ = fs::remove_file(&self.path);
    }
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
