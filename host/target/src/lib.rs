//! Connections to targets: checked dialling, TLS, sessions of PostgreSQL, MySQL, MariaDB and SQL Server, requests of HTTP, byte channels, frames. Knows no plugin and no policy: what may be dialled is passed in.
//!
//! | module | what |
//! |---|---|
//! | [`dial`] | rules of what may be dialled, one resolution, every address checked, exactly the checked address dialled |
//! | [`tls`] | trust sets by name, client identities, handshakes |
//! | [`postgres`] | sessions, the pool of administrators' sessions |
//! | [`mysql`] | sessions of MySQL and MariaDB |
//! | [`mssql`] | sessions of SQL Server and Azure SQL |
//! | [`http`] | one request of HTTP/1.1 and its answer |
//! | [`statement`] | statements in pieces that the host quotes |
//! | [`channel`], [`received`] | a bounded byte stream: TCP, TLS, STARTTLS; how much of what came may be shown |
//! | [`frame`], [`resp`], [`ldap`] | whole messages with lengths written by the host; replies of RESP and LDAP |
//! | [`scram`] | one-way forms of passwords |
//!
//! Every wait takes a [`Deadline`]; every error says by [`Error::effect`] whether the target may have changed.

#![forbid(unsafe_code)]

pub mod channel;
mod deadline;
pub mod dial;
mod error;
pub mod frame;
pub mod http;
pub mod ldap;
pub mod mssql;
pub mod mysql;
mod outbound;
pub mod postgres;
pub mod rabbitmq;
pub mod received;
pub mod resp;
pub mod scram;
mod session;
pub mod statement;
pub mod tls;

pub use deadline::Deadline;
pub use error::{Error, SqlError};
pub use outbound::Outbound;
