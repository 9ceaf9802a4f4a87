mod login;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use keywheel_tds::{Azure, Encryption, Options, Policy, Server};
use tempfile::TempDir;

use crate::{Authority, random_password};

pub use login::tds_login;

/// How a [`SqlServer`] is started.
#[derive(Clone, Debug)]
pub struct SqlServerOptions {
    /// Which encryption it insists on.
    pub encryption: Encryption,
    /// Its rules for passwords.
    pub policy: Policy,
    /// As Azure SQL Database, a server of this name; and how long its cache goes on with the password before.
    pub azure: Option<(&'static str, Duration)>,
}

impl Default for SqlServerOptions {
    fn default() -> Self {
        Self {
            encryption: Encryption::Required,
            policy: Policy::default(),
            azure: None,
        }
    }
}

/// A small server that speaks as SQL Server does (`tests/servers/tds`), since no real one can be had. It runs in this process, and ends with its value.
pub struct SqlServer {
    server: Server,
    password: String,
    authority: Authority,
    _folder: TempDir,
}

impl SqlServer {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// No certificate, no port, no folder.
    pub fn start(options: SqlServerOptions) -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let authority = Authority::new()?;
        let identity = authority.issue_local()?;
        let password = strong_password();
        let server = Server::start(Options {
            port: 0,
            password: password.clone(),
            encryption: options.encryption,
            certificate: (identity.certificate_pem, identity.key_pem),
            policy: options.policy,
            azure: options.azure.map(|(server, cache)| Azure {
                server: server.to_owned(),
                cache,
            }),
            state: Some(folder.path().join("books.json")),
            log: None,
        })?;
        Ok(Self {
            server,
            password,
            authority,
            _folder: folder,
        })
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Who may do everything: `sa`.
    pub fn admin_user(&self) -> &'static str {
        "sa"
    }

    /// Its password.
    pub fn admin_password(&self) -> &str {
        &self.password
    }

    /// The authority that issued its certificate, in PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// The same as a file.
    pub fn ca_file(&self) -> PathBuf {
        self.authority.file()
    }

    /// Runs statements in a database, as who may do everything, past the log.
    ///
    /// # Errors
    /// The server's own number and words.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        self.server.sql(database, sql)
    }

    /// Whether it lets this login in, by a login of the kit's own, without TLS: it must not insist on that. The number of the error if not.
    ///
    /// # Errors
    /// It cannot be reached, or asks for TLS.
    pub fn login(&self, name: &str, password: &str) -> Result<Result<(), u32>> {
        tds_login(self.port(), name, password).context("the server did not say")
    }

    /// Whether it takes this password of a login, or of the database's own user of that name: by its books.
    pub fn accepts(&self, database: &str, name: &str, password: &str) -> bool {
        self.server.password_of(database, name).as_deref() == Some(password)
    }

    /// What it takes of a login, or of the database's own user of that name.
    pub fn password_of(&self, database: &str, name: &str) -> Option<String> {
        self.server.password_of(database, name)
    }

    /// Every login and statement so far, with all that stands in them.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// The password of a login has expired.
    pub fn expire(&self, login: &str) {
        self.server.expire(login);
    }

    /// The next logins are answered by this error.
    pub fn refuse_logins(&self, number: u32, count: u32) {
        self.server.refuse_logins(number, count);
    }

    /// As `kill -9`: every connection is cut, what was not durable is gone.
    ///
    /// # Errors
    /// Its books cannot be read.
    pub fn kill9(&mut self) -> Result<()> {
        self.server.kill()
    }

    /// Starts it again, at its port.
    ///
    /// # Errors
    /// The port is taken.
    pub fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }
}

/// A random password that its rules take: letters of both kinds, and digits.
pub fn strong_password() -> String {
    format!("Aa9{}", random_password())
}
