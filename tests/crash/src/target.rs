//! A kind of server to be tried on: how it is started, how its accounts are made and how a rotation of one is configured.

pub(crate) mod mariadb;
pub(crate) mod mssql;
pub(crate) mod mysql;
pub(crate) mod openldap;
pub(crate) mod postgres;
pub(crate) mod redis;

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::dialect::{Carried, Make};
use crate::record::Said;

/// How long the witness waits for a server.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What one rotation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// Its name in the record, and the first part of the other names.
    pub(crate) name: String,
    /// The rotation.
    pub(crate) rotation: String,
    /// The secret.
    pub(crate) secret: String,
    /// Who changes it, and the secret of that.
    pub(crate) admin: (String, String),
    /// Its accounts on the server: one, or two that take turns.
    pub(crate) accounts: Vec<String>,
    /// Whether the first rotation sets over what is there.
    pub(crate) sets_first: bool,
}

/// What a login needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) account: String,
    pub(crate) password: String,
}

/// A running server.
pub(crate) trait Target: Send {
    fn name(&self) -> &'static str;
    /// The plugin that rotates it.
    fn plugin(&self) -> &'static str;
    /// Whether these accounts take the old and the new credential at once.
    fn is_two_slot(&self, accounts: &[String]) -> bool;
    /// Whether a statement can be made to wait on the server.
    fn has_row_locks(&self) -> bool {
        false
    }
    fn dialect(&self) -> Make;
    /// Where the server listens without TLS.
    fn port(&self) -> u16;
    /// The account that may do everything, which nobody rotates.
    fn root(&self) -> Credential;
    /// The accounts of a subject.
    fn accounts(&self, name: &str) -> Vec<String> {
        vec![name.replace('-', "_")]
    }
    /// The account that rotates the others, and is rotated itself.
    fn administrator(&self) -> String {
        "rotator".to_owned()
    }
    /// Makes the accounts of a subject; the first gets the password. An administrator may change the others.
    fn create(&self, accounts: &[String], password: &str, is_admin: bool) -> Result<()>;
    /// Makes the server take a credential, as a person would; what it took before may die of it.
    fn set_by_hand(&self, credential: &Credential) -> Result<()>;
    /// What the server's own books say that these accounts take.
    fn accepts(&self, accounts: &[String]) -> Result<Vec<Carried>>;
    /// Gives accounts a password that nobody knows, and no other.
    fn spoil(&self, accounts: &[String]) -> Result<()>;
    /// The lines of `[rotation.config]`, where the server is reached at this port.
    fn config(&self, subject: &Subject, port: u16) -> String;
    /// A secret's value as a login needs it.
    fn credential(&self, accounts: &[String], value: &str) -> Result<Credential>;
    /// The reverse.
    fn value(&self, _accounts: &[String], credential: &Credential) -> String {
        credential.password.clone()
    }
    fn client(&self) -> Box<dyn Client>;
    /// Locks what a change of these accounts needs; until [`Target::release`].
    fn hold(&self, _accounts: &[String]) -> Result<()> {
        bail!("{} has no row locks", self.name())
    }
    fn release(&self) -> Result<()> {
        Ok(())
    }
    /// As a power cut of the server's process would.
    fn kill(&mut self) -> Result<()>;
    fn restart(&mut self) -> Result<()>;
}

/// The witness's own way to log in. Nothing of it is the product's.
pub(crate) trait Client: Send {
    fn login(&mut self, port: u16, credential: &Credential) -> Said;
    /// Whether a statement carries the credential of this password.
    fn carries(&mut self, carried: &Carried, password: &str) -> bool;
}

/// A connection that gives up.
pub(crate) fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(crate) fn read_exact(mut stream: &TcpStream, count: usize) -> std::io::Result<Vec<u8>> {
    if count > 1 << 20 {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The secret of two accounts: a document with the user name beside the password.
pub(crate) fn document(credential: &Credential) -> String {
    json!({"username": credential.account, "password": credential.password}).to_string()
}

pub(crate) fn of_document(value: &str) -> Result<Credential> {
    let document: Value = serde_json::from_str(value).context("the secret is no JSON document")?;
    let part = |name: &str| {
        let part = document[name].as_str().map(str::to_owned);
        part.with_context(|| format!("the secret has no {name}"))
    };
    Ok(Credential {
        account: part("username")?,
        password: part("password")?,
    })
}
