//! Sessions against a real MariaDB and a real MySQL: logins, quoting, deadlines.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod caching;
mod logins;
mod statements;

use std::time::Duration;

use keywheel_kit::MariaDb;
use keywheel_model::SecretBytes;
use keywheel_target::dial::{Allow, Dialer};
use keywheel_target::mysql::Session;
use keywheel_target::postgres::{ConnectOptions, Security};
use keywheel_target::statement::{Dialect, Statement};
use keywheel_target::tls::{TlsOptions, TrustStore};
use keywheel_target::{Deadline, Error, Outbound};

fn secret(text: &str) -> SecretBytes {
    SecretBytes::copy_of(text.as_bytes())
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn outbound(server: &MariaDb) -> Outbound {
    let mut trust = TrustStore::new();
    trust.add_pem("db", server.ca_pem().as_bytes()).unwrap();
    Outbound::new(Dialer::system(), trust)
}

fn rules(port: u16) -> Vec<Allow> {
    vec![format!("localhost:{port} tls").parse().unwrap()]
}

fn options(port: u16, user: &str, password: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new("localhost", port, "", user, Some(secret(password)));
    options.security = Security::Tls(TlsOptions::for_name("localhost").trusting("db"));
    options.proof = true;
    options
}

async fn open(server: &MariaDb, user: &str, password: &str) -> Result<Session, Error> {
    let options = options(server.port(), user, password);
    Session::open(&outbound(server), &rules(server.port()), &options, deadline()).await
}

async fn admin(server: &MariaDb) -> Session {
    open(server, server.admin_user(), server.admin_password())
        .await
        .unwrap()
}

fn text(sql: &str) -> Statement {
    let mut statement = Statement::new(Dialect::MariaDb);
    statement.text(sql).unwrap();
    statement
}

/// `verb USER 'user'@'%' IDENTIFIED BY 'secret'`.
fn identified_by(verb: &str, user: &str, password: SecretBytes) -> Statement {
    let mut statement = text(&format!("{verb} USER "));
    statement.literal(user).unwrap();
    statement.text("@").unwrap();
    statement.literal("%").unwrap();
    statement.text(" IDENTIFIED BY ").unwrap();
    statement.secret_literal(password).unwrap();
    statement
}
