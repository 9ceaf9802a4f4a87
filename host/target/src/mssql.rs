//! SQL Server and Azure SQL: sessions with pinned settings, statements in pieces, errors typed by the server's own number.
//!
//! The protocol (MS-TDS) is spoken here, over the very stream that the host dialled and checked, as with [`crate::mysql`]. What is spoken of it
//! is little: PRELOGIN, TLS inside of packets or before the first of them, a login by name and password, batches and their rows.

mod connect;
mod failure;
mod fields;
mod in_packets;
mod login;
mod packet;
mod reply;
mod session;
mod settings;
mod types;

/// A logged-in connection. Dropping it closes it.
pub type Session = crate::session::Session<session::Tds>;

/// What TLS has to agree on for TDS 8.0, where it comes before everything else. Set as the only ALPN protocol of the options it asks for that.
pub const STRICT: &[u8] = b"tds/8.0";

pub(crate) use failure::is_before_login;
