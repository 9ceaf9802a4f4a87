//! The reference: what the server can do when nobody keeps a journal. Prepared statements of prepared verifiers, over
//! connections that are open already, with the same transport as the engine's.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use keywheel_kit::Postgres;
use keywheel_model::SecretBytes;
use keywheel_target::scram::{DEFAULT_ROUNDS, verifier};
use keywheel_target::tls::TrustStore;
use rustls::ClientConfig;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Dials and logs in like any client.
#[derive(Clone)]
pub(crate) struct Door {
    base: Config,
    tls: MakeRustlsConnect,
}

impl Door {
    pub(crate) fn new(server: &Postgres) -> Result<Self> {
        let mut trust = TrustStore::new();
        trust.add_pem("bench", server.ca_pem().as_bytes())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trust.roots(Some("bench"))?)
            .with_no_client_auth();
        let mut base = Config::new();
        base.host(server.host())
            .port(server.port())
            .dbname("postgres")
            .ssl_mode(SslMode::Require);
        base.hostaddr(std::net::Ipv4Addr::LOCALHOST.into());
        Ok(Self {
            base,
            tls: MakeRustlsConnect::new(tls),
        })
    }

    pub(crate) async fn log_in(&self, user: &str, password: &str) -> Result<Client> {
        let mut config = self.base.clone();
        config.user(user).password(password);
        let (client, connection) = config
            .connect(self.tls.clone())
            .await
            .with_context(|| format!("{user} cannot log in"))?;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// A role, the password it gets, and the statement that sets it.
pub(crate) struct Change {
    pub(crate) role: String,
    pub(crate) password: String,
    pub(crate) statement: String,
}

/// Fresh changes of these roles. Made outside of the measured time: the reference derives nothing.
pub(crate) fn prepare(roles: &[String]) -> Result<Vec<Change>> {
    let change = |role: &String| {
        let password = keywheel_kit::random_password();
        let salt: [u8; 16] = std::array::from_fn(|at| password.as_bytes()[at]);
        let verifier = verifier(&SecretBytes::copy_of(password.as_bytes()), &salt, DEFAULT_ROUNDS)?;
        let verifier = std::str::from_utf8(verifier.expose())?;
        let statement = format!("ALTER ROLE \"{role}\" PASSWORD '{verifier}' VALID UNTIL 'infinity'");
        Ok(Change {
            role: role.clone(),
            password,
            statement,
        })
    };
    roles.iter().map(change).collect()
}
