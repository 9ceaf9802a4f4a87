//! The administrator's session on one server.

use keywheel_sdk::error::admin_refused;
use keywheel_sdk::nodes::Node;
use keywheel_sdk::resp::{Piece, Reply, Session, refused};
use keywheel_sdk::{Error, Run, Secret};

use crate::Config;

/// A session that the administrator opened.
pub(crate) struct Admin(pub(crate) Session);

impl Admin {
    pub(crate) fn connect(run: &Run, config: &Config, node: &Node) -> Result<Self, Error> {
        let session = config.connect(node)?;
        match session.authenticate(&config.admin, &run.input("admin")?)?.error_word() {
            None => Ok(Self(session)),
            Some("WRONGPASS") => Err(admin_refused()),
            Some(word) => Err(refused(word)),
        }
    }

    /// What the server knows of the rotated user; null if there is none.
    pub(crate) fn user(&self, config: &Config) -> Result<Reply, Error> {
        self.0.ask(&["ACL", "GETUSER", &config.user])
    }

    /// `#` adds a hash to the user's set, `!` removes it.
    pub(crate) fn set_user(&self, config: &Config, sign: &str, hash: &Secret) -> Result<Reply, Error> {
        let (user, change) = ([Piece::Text(&config.user)], [Piece::Text(sign), Piece::Secret(hash)]);
        self.0.call::<&[_]>(&[&[Piece::Text("ACL")], &[Piece::Text("SETUSER")], &user, &change])
    }

    /// Writes the users where they survive a restart: the ACL file, or, without one, the configuration file.
    pub(crate) fn persist(&self, config: &Config) -> Result<(), Error> {
        if config.persist.as_deref() == Some("none") || self.0.words(&["ACL", "SAVE"])?.error_word().is_none() {
            return Ok(());
        }
        self.0.ask(&["CONFIG", "REWRITE"]).map(drop)
    }
}
