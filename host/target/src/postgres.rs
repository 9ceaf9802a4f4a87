//! PostgreSQL: sessions with pinned settings, statements in pieces, errors typed by SQLSTATE, the pool of administrators' sessions.
//!
//! A session pins what changes quoting (`standard_conforming_strings`, the encoding), an empty search path beside `pg_catalog`, and the
//! deadlines on the server's side (rule P1): the server gives up before we do, also when we are dead.

mod asked;
mod connect;
mod failure;
mod gathering;
mod meter;
mod pool;
mod rows;
mod session;
mod settings;
mod tap;
mod wire;

use keywheel_model::SecretBytes;

use crate::Error;
use crate::dial::Dialled;
use crate::tls::{TlsOptions, Verify};

pub use gathering::{Opening, Seat};
pub use pool::{Pool, PoolLimits, Pooled};
pub use rows::{RowLimits, Rows};
pub use session::Session;

/// How the connection is protected.
#[derive(Clone, Debug)]
pub enum Security {
    /// TLS, or no connection. The certificate must be for the host that is dialled (rule H12), whatever `server_name` says;
    /// [`crate::tls::Verify::InspectOnly`] is refused: a login follows.
    Tls(TlsOptions),
    /// None; needs a rule that says `plaintext`.
    Plaintext,
}

impl Security {
    /// What a login on a dialled stream is to do: TLS for the very host that was dialled, or none where the rules allow that in words.
    pub(crate) fn of(&self, dialled: &Dialled, port: u16) -> Result<Option<TlsOptions>, Error> {
        match self {
            Self::Tls(tls) if tls.verify == Verify::InspectOnly => Err(Error::UnsafeStream {
                why: "a server whose certificate is not checked",
            }),
            Self::Tls(tls) => Ok(Some(TlsOptions {
                server_name: dialled.host.clone(),
                ..tls.clone()
            })),
            Self::Plaintext if !dialled.plaintext_allowed => Err(Error::PlaintextDenied {
                host: dialled.host.clone(),
                port,
            }),
            Self::Plaintext => Ok(None),
        }
    }
}

/// Where, as whom, and how.
#[derive(Debug)]
pub struct ConnectOptions {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// Its password. By SCRAM, which every supported server does, it does not leave this machine; a server that asks for it in the
    /// clear gets it, over TLS whose certificate was checked or where plaintext is allowed in words.
    pub password: Option<SecretBytes>,
    /// TLS or not.
    pub security: Security,
    /// What the server shows of us; a takeover ends the sessions of one name. 1 to 63 of `a-z A-Z 0-9 . _ : / -` and spaces.
    pub application_name: String,
    /// Whether the login is to prove the password: then one that the server lets in without asking for it is [`crate::Error::NotAsked`].
    pub proof: bool,
}

impl Clone for ConnectOptions {
    fn clone(&self) -> Self {
        Self {
            host: self.host.clone(),
            port: self.port,
            database: self.database.clone(),
            user: self.user.clone(),
            password: self.password.as_ref().map(SecretBytes::duplicate),
            security: self.security.clone(),
            application_name: self.application_name.clone(),
            proof: self.proof,
        }
    }
}

impl ConnectOptions {
    /// With verification for the host's own name by the operating system's roots.
    pub fn new(host: &str, port: u16, database: &str, user: &str, password: Option<SecretBytes>) -> Self {
        Self {
            host: host.to_owned(),
            port,
            database: database.to_owned(),
            user: user.to_owned(),
            password,
            security: Security::Tls(TlsOptions::for_name(host)),
            application_name: "keywheel".to_owned(),
            proof: false,
        }
    }
}

/// Whether a statement may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It runs in a read-only transaction that is rolled back: settings it changes are rolled back with it.
    Read,
    /// A shape allows it.
    Write,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Ending {
    /// Nothing was open.
    Clean,
    /// A transaction was open; the server rolls it back. A failure of the step (rule H13).
    OpenTransaction,
}
