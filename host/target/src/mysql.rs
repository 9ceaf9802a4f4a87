//! MySQL and MariaDB: sessions with pinned settings, statements in pieces, errors typed by the server's own number.
//!
//! The protocol is spoken here, over the very stream that the host dialled and checked: drivers dial and shake hands by themselves, with
//! trust of their own. What is spoken of it is little: a login, text statements, their rows; no file of this machine is ever sent, and one
//! statement at a time.
//!
//! Nothing runs in a transaction but what reads: account statements commit by themselves, and the tables of accounts know no rollback.

mod auth;
mod connect;
mod crypt;
mod failure;
mod greeting;
mod packet;
mod reply;
mod rsa;
mod session;
mod settings;

pub use auth::native_password_hash;
pub use crypt::caching_sha2_hash;
/// A logged-in connection. Dropping it closes it.
pub type Session = crate::session::Session<session::Text>;

pub(crate) use failure::is_before_login;
