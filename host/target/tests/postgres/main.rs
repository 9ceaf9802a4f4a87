//! Sessions against a real PostgreSQL: logins, quoting, deadlines, the pool.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod deadlines;
mod gathering;
mod logins;
mod pool;
mod sockets;
mod statements;

use std::time::Duration;

use keywheel_kit::Postgres;
use keywheel_model::SecretBytes;
use keywheel_target::dial::{Allow, Dialer};
use keywheel_target::postgres::{ConnectOptions, Security, Session};
use keywheel_target::statement::{Dialect, Statement};
use keywheel_target::tls::{TlsOptions, TrustStore};
use keywheel_target::{Deadline, Error, Outbound};

fn secret(text: &str) -> SecretBytes {
    SecretBytes::copy_of(text.as_bytes())
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn outbound(server: &Postgres) -> Outbound {
    let mut trust = TrustStore::new();
    trust.add_pem("db", server.ca_pem().as_bytes()).unwrap();
    Outbound::new(Dialer::system(), trust)
}

fn rules(port: u16) -> Vec<Allow> {
    vec![format!("localhost:{port} tls").parse().unwrap()]
}

fn options(port: u16, user: &str, password: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new("localhost", port, "postgres", user, Some(secret(password)));
    options.security = Security::Tls(TlsOptions::for_name("localhost").trusting("db"));
    options
}

async fn open(server: &Postgres, user: &str, password: &str) -> Result<Session, Error> {
    let port = server.port();
    Session::open(
        &outbound(server),
        &rules(port),
        &options(port, user, password),
        deadline(),
    )
    .await
}

async fn admin(server: &Postgres) -> Session {
    open(server, server.admin_user(), server.admin_password())
        .await
        .unwrap()
}

fn text(sql: &str) -> Statement {
    let mut statement = Statement::new(Dialect::Postgres);
    statement.text(sql).unwrap();
    statement
}

/// `ALTER ROLE role PASSWORD secret VALID UNTIL 'infinity'`.
fn set_password(role: &str, password: SecretBytes) -> Statement {
    let mut statement = text("ALTER ROLE ");
    statement.identifier(role).unwrap();
    statement.text(" PASSWORD ").unwrap();
    statement.secret_literal(password).unwrap();
    statement.text(" VALID UNTIL 'infinity'").unwrap();
    statement
}
