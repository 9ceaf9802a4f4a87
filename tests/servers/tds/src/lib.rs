//! A small SQL Server to test against: stateful, strict, and no more than rotations need. `README.md` says what it is like and what it is not.
//!
//! It speaks TDS 7.2 to 7.4 with and without TLS, and TDS 8.0; it keeps logins, databases, users and rights, holds passwords against a
//! policy, and writes every statement into a log that masks nothing.

#![forbid(unsafe_code)]

mod books;
mod connection;
mod login;
mod policy;
mod rights;
mod rpc;
mod server;
mod sql;
mod tokens;
mod value;
mod wire;

pub use policy::Policy;
pub use server::{Azure, Encryption, Options, Server};

const VERSION: &str = "16.0.1000.6";
/// The same as PRELOGIN and LOGINACK have it.
const VERSION_BYTES: [u8; 4] = [16, 0, 0x03, 0xE8];
const SERVER_NAME: &str = "KEYWHEEL-TDS";
