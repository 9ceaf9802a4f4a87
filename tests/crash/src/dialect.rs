//! Enough of each protocol to find where a login or a change begins and where its answer ends.

pub(crate) mod ldap;
pub(crate) mod mssql;
pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod redis;

use crate::proxy::Kind;

/// A credential as it stands in a statement: what the values that are held are compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// A SCRAM verifier.
    Scram(String),
    /// The SHA-256 of a password, in hexadecimal.
    Sha256(String),
    /// The SHA-1 of the SHA-1, `*` before it.
    Native(String),
    /// What `caching_sha2_password` keeps: SHA-crypt, with rounds and salt before the sum.
    Caching(String),
    /// A value of `userPassword`: a hash, or a password as it is.
    Directory(String),
    /// As it is.
    Plain(String),
}

/// What begins with a frame of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) kind: Kind,
    /// The account; empty where the statement is for all.
    pub(crate) account: String,
    pub(crate) carried: Option<Carried>,
}

/// A whole frame of the client at the start of the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) length: usize,
    /// The server answers up to here with one group of frames.
    pub(crate) ends_group: bool,
    pub(crate) asked: Option<Asked>,
}

/// A whole frame of the server at the start of the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) length: usize,
    /// It is the last of its group.
    pub(crate) ends_group: bool,
    /// Whether the group says that it was done; meant where it ends.
    pub(crate) well: bool,
}

/// One connection of a protocol. `None`: the frame is not whole yet.
pub(crate) trait Dialect: Send {
    fn request(&mut self, bytes: &[u8]) -> Option<Request>;
    fn answer(&mut self, bytes: &[u8]) -> Option<Answer>;
}

/// The dialect's two halves are used by two threads; they share nothing.
pub(crate) type Make = fn() -> (Box<dyn Dialect>, Box<dyn Dialect>);
