//! The administrator's session on one server.

use crate::Config;
use keywheel_sdk::error::{admin_refused, error};
use keywheel_sdk::nodes::Node;
use keywheel_sdk::resp::{Piece, Reply, Session, refused};
use keywheel_sdk::{Error, Run, Secret};

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

    /// Whether it keeps its users in an ACL file, else in its configuration file: the other one is not read when it starts.
    pub(crate) fn has_acl_file(&self) -> Result<bool, Error> {
        Ok(self.0.ask(&["CONFIG", "GET", "aclfile"])?.has_text("aclfile"))
    }

    /// Writes the users where they survive a restart.
    pub(crate) fn persist(&self, config: &Config) -> Result<(), Error> {
        if config.persist.as_deref() == Some("none") {
            return Ok(());
        }
        let command = if self.has_acl_file()? { ["ACL", "SAVE"] } else { ["CONFIG", "REWRITE"] };
        let said = self.0.words(&command)?.accepted().map(drop);
        said.map_err(|no| error(no.kind, "redis.not-saved", format!("{}: {}", command.join(" "), no.message)))
    }
}
