//! Real servers and fixtures for tests and the demo: found or installed, started on free ports, stopped again; and their rotations.
//!
//! Everything here blocks: call it from a test's own thread, or from `spawn_blocking`. A server stops when its value is dropped, on a
//! panic too; and when the process dies without dropping it (`kill -9`, a `static`), a watcher stops it and removes its folder.

#![forbid(unsafe_code)]

mod account;
mod cargo;
mod certificates;
mod collector;
mod command;
mod disk;
mod forms;
mod install;
mod mariadb;
mod moto;
mod mssql;
mod mysql;
mod once;
mod openldap;
mod pgbouncer;
mod postgres;
mod process;
mod proxy;
mod rabbitmq;
mod redis;
mod rotations;
mod search;

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result};

pub use cargo::cargo;
pub use certificates::{Authority, Identity};
pub use collector::Collector;
pub use disk::SmallDisk;
pub use install::{Installed, Server, faketime, unpack};
pub use keywheel_tds::{Encryption, Policy};
pub use mariadb::{MariaDb, MariaDbOptions};
pub use moto::{AccessKey, Moto};
pub use mssql::{SqlServer, SqlServerOptions, strong_password, tds_login};
pub use mysql::MySql;
pub use once::made_once;
pub use openldap::{OpenLdap, OpenLdapOptions};
pub use pgbouncer::PgBouncer;
pub use postgres::{Postgres, PostgresOptions};
pub use proxy::{BlackHole, Proxy};
pub use rabbitmq::RabbitMq;
pub use redis::{AclStore, Redis, RedisOptions};
pub use rotations::{
    Rotation, mariadb_user, mssql_account, mysql_user, openldap_entry, postgres_pair, postgres_role,
    redis_user, rotation,
};
pub use search::Search;

/// How long a server may take to come up or to stop.
pub(crate) const SERVER_DEADLINE: Duration = Duration::from_mins(2);

/// What a server's own client said about a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// It opens the server.
    Accepted,
    /// The server refused it; its words.
    Refused(String),
    /// Nobody could say; the client's words.
    Unreachable(String),
}

impl Login {
    /// Whether it is [`Login::Accepted`].
    pub fn is_accepted(&self) -> bool {
        *self == Self::Accepted
    }

    /// Whether it is [`Login::Refused`]: never true for a server that is away.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// A port on 127.0.0.1 that was free a moment ago.
///
/// # Errors
/// When no port can be bound.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// A random password of 32 letters and digits.
pub fn random_password() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    (0..32)
        .map(|_| char::from(ALPHABET[usize::from(rand::random::<u8>() % 32)]))
        .collect()
}
