use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use keywheel_kit::{
    MariaDb, MariaDbOptions, MySql, OpenLdap, OpenLdapOptions, Redis, RedisOptions, SqlServer,
    SqlServerOptions, random_password, strong_password,
};

use crate::scene::Place;

pub(crate) type Start = fn() -> Result<Kind>;

/// In the order of the table. PostgreSQL has parts of its own.
pub(crate) const KINDS: [(&str, Start); 5] = [
    ("MySQL", || MySql::start(durable()).map(Kind::MySql)),
    ("MariaDB", || MariaDb::start(durable()).map(Kind::MariaDb)),
    ("SQL Server (tests/servers/tds)", || {
        SqlServer::start(SqlServerOptions::default()).map(Kind::Mssql)
    }),
    ("Redis", || Redis::start(RedisOptions::default()).map(Kind::Redis)),
    ("OpenLDAP", || {
        let server = OpenLdap::start(OpenLdapOptions::default())?;
        let password = random_password();
        server.create(ROTATOR, &password, true)?;
        Ok(Kind::Ldap(server, password))
    }),
];

const ROTATOR: &str = "rotator";

/// As in production: what is committed reaches the disk.
fn durable() -> MariaDbOptions {
    let argument = "--innodb-flush-log-at-trx-commit=1".to_owned();
    MariaDbOptions {
        arguments: vec![argument],
        ..MariaDbOptions::default()
    }
}

/// A running server.
pub(crate) enum Kind {
    MySql(MySql),
    MariaDb(MariaDb),
    Mssql(SqlServer),
    Redis(Redis),
    /// And the password of its administrator's entry.
    Ldap(OpenLdap, String),
}

impl Kind {
    /// What the reference sends, in words.
    pub(crate) fn statement(&self) -> &'static str {
        match self {
            Self::MySql(_) | Self::MariaDb(_) => "ALTER USER",
            Self::Mssql(_) => "ALTER LOGIN",
            Self::Redis(_) => "ACL SETUSER, ACL SAVE",
            Self::Ldap(..) => "modify",
        }
    }

    fn plugin(&self) -> &'static str {
        match self {
            Self::MySql(_) => "mysql",
            Self::MariaDb(_) => "mariadb",
            Self::Mssql(_) => "mssql",
            Self::Redis(_) => "redis",
            Self::Ldap(..) => "openldap",
        }
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::MySql(server) => server.port(),
            Self::MariaDb(server) => server.port(),
            Self::Mssql(server) => server.port(),
            Self::Redis(server) => server.port(),
            Self::Ldap(server, _) => server.port(),
        }
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        match self {
            Self::MySql(server) => server.ca_file(),
            Self::MariaDb(server) => server.ca_file(),
            Self::Mssql(server) => server.ca_file(),
            Self::Redis(server) => server.ca_file(),
            Self::Ldap(server, _) => server.ca_file(),
        }
    }

    /// Who changes the accounts, and its password.
    pub(crate) fn administrator(&self) -> (String, String) {
        let (user, password) = match self {
            Self::MySql(server) => (server.admin_user(), server.admin_password()),
            Self::MariaDb(server) => (server.admin_user(), server.admin_password()),
            Self::Mssql(server) => (server.admin_user(), server.admin_password()),
            Self::Redis(server) => (server.admin_user(), server.admin_password()),
            Self::Ldap(_, password) => return (OpenLdap::name_of(ROTATOR), password.clone()),
        };
        (user.to_owned(), password.to_owned())
    }

    /// What the measured host needs to know of it.
    pub(crate) fn place(&self, plugins: &Path) -> Place {
        let plugin = self.plugin();
        Place {
            plugin,
            file: plugins.join(format!("{plugin}.wasm")),
            port: self.port(),
            ca_file: self.ca_file(),
            admin_password: self.administrator().1,
        }
    }

    /// A password that the server's rules take.
    pub(crate) fn password(&self) -> String {
        match self {
            Self::Mssql(_) => strong_password(),
            _ => random_password(),
        }
    }

    /// Makes accounts that may log in, with passwords that nobody remembers.
    pub(crate) fn make(&self, names: &[String]) -> Result<()> {
        let each = |statement: &dyn Fn(&str, &str) -> String| {
            names.iter().fold(String::new(), |mut all, name| {
                let _ = writeln!(all, "{};", statement(name, &self.password()));
                all
            })
        };
        let create =
            |name: &str, password: &str| format!("CREATE USER '{name}'@'%' IDENTIFIED BY '{password}'");
        match self {
            Self::MySql(server) => server.sql(&each(&create)).map(drop),
            Self::MariaDb(server) => server.sql(&each(&create)).map(drop),
            Self::Mssql(server) => names.iter().try_for_each(|name| {
                let statement = format!("CREATE LOGIN [{name}] WITH PASSWORD = '{}'", self.password());
                server.sql("master", &statement).map(drop)
            }),
            Self::Redis(server) => names
                .iter()
                .try_for_each(|name| server.create_user(name, &self.password())),
            Self::Ldap(server, _) => names
                .iter()
                .try_for_each(|name| server.create(name, &self.password(), false)),
        }
    }

    /// A rotation of an account, named like it.
    pub(crate) fn rotation(&self, account: &str) -> String {
        let (plugin, port, (admin, _)) = (self.plugin(), self.port(), self.administrator());
        let at = format!("host = \"localhost\"\nport = {port}\n");
        let config = match self {
            Self::MySql(_) | Self::MariaDb(_) => format!("{at}user = \"{account}\"\nfrom = [\"%\"]"),
            Self::Mssql(_) => format!("{at}user = \"{account}\""),
            Self::Redis(_) => {
                format!("nodes = [{{ host = \"localhost\", port = {port} }}]\nuser = \"{account}\"")
            }
            Self::Ldap(..) => format!("{at}entry = \"{}\"", OpenLdap::name_of(account)),
        };
        format!(
            r#"
[[rotation]]
name = "{account}"
plugin = "{plugin}"
secret = "bench/{account}"
inputs = {{ admin = "admin/db" }}
grace = "1s"
gap = "accept"
first = "set"
deadlines = {{ step = "3s" }}
probes = {{ logins = 100, per = "1m" }}

[rotation.config]
trust = "bench"
admin = "{admin}"
{config}
"#
        )
    }
}
