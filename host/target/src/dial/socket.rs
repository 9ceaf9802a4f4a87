//! Unix sockets: what the rules name, and nothing beside it. No name is resolved, and there are no addresses to check.

use std::os::unix::fs::MetadataExt as _;

use keywheel_model::{Effect, SocketFolder};
use tokio::net::UnixStream;

use super::{Allow, Dialer};
use crate::{Deadline, Error};

/// The bit of a folder's mode by which everybody may put something into it.
const WRITTEN_BY_OTHERS: u32 = 0o002;

impl Dialer {
    /// Connects to the socket of a PostgreSQL server, if one of `rules` names it. Who listens there is not looked at but by the folder: nobody but the
    /// server's account, its group and root may put one there.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] (nothing is looked at), [`Error::OpenFolder`], [`Error::Unreachable`], [`Error::Timeout`]; all without effect.
    pub async fn dial_socket(
        &self,
        rules: &[Allow],
        folder: &SocketFolder,
        port: u16,
        deadline: Deadline,
    ) -> Result<UnixStream, Error> {
        self.recheck_socket(rules, folder, port)?;
        let unreachable = |source| Error::Unreachable {
            host: folder.to_string(),
            port,
            source,
        };
        let mode = std::fs::metadata(folder.as_str()).map_err(unreachable)?.mode();
        if mode & WRITTEN_BY_OTHERS != 0 {
            return Err(Error::OpenFolder {
                folder: folder.to_string(),
            });
        }
        let connecting = UnixStream::connect(folder.of_postgres(port));
        let stream = deadline
            .run(crate::error::CONNECTING, Effect::None, connecting)
            .await?
            .map_err(unreachable)?;
        tracing::debug!(%folder, port, "connected");
        Ok(stream)
    }

    /// Whether `rules` would have opened the socket of a kept connection.
    ///
    /// # Errors
    /// [`Error::NotAllowed`].
    pub fn recheck_socket(&self, rules: &[Allow], folder: &SocketFolder, port: u16) -> Result<(), Error> {
        if rules.iter().any(|rule| rule.names_socket(folder, port)) {
            return Ok(());
        }
        Err(Error::NotAllowed {
            host: folder.to_string(),
            port,
        })
    }
}
