//! Rotations as they stand in a configuration.

use std::path::Path;

use crate::{MariaDb, MySql, OpenLdap, Postgres, Redis, SqlServer};

/// The configuration of a rotation of one PostgreSQL role, `app`, whose secret is `app/db` and whose administrator's is `admin/db`.
pub fn postgres_role(server: &Postgres, grace: &str) -> String {
    rotation(&Rotation {
        name: "app-db",
        plugin: "postgres",
        secret: "app/db",
        admin_secret: "admin/db",
        grace,
        ca: &server.ca_file(),
        config: &format!(
            "mode = \"role\"\nhost = \"localhost\"\nport = {}\ntrust = \"app-db\"\nadmin = \"{}\"\nrole = \"app\"",
            server.port(),
            server.admin_user()
        ),
    })
}

/// The same for two roles that alternate, `app_a` and `app_b`: rotation `pair-db`, secret `pair/db`.
pub fn postgres_pair(server: &Postgres, grace: &str) -> String {
    rotation(&Rotation {
        name: "pair-db",
        plugin: "postgres",
        secret: "pair/db",
        admin_secret: "admin/db",
        grace,
        ca: &server.ca_file(),
        config: &format!(
            "mode = \"alternating\"\nhost = \"localhost\"\nport = {}\ntrust = \"pair-db\"\nadmin = \"{}\"\nroles = [\"app_a\", \"app_b\"]",
            server.port(),
            server.admin_user()
        ),
    })
}

/// The configuration of a rotation of one Redis user, `app`: rotation `app-redis`, secret `app/redis`, administrator `admin/redis`.
pub fn redis_user(server: &Redis, grace: &str) -> String {
    rotation(&Rotation {
        name: "app-redis",
        plugin: "redis",
        secret: "app/redis",
        admin_secret: "admin/redis",
        grace,
        ca: &server.ca_file(),
        config: &format!(
            "nodes = [{{ host = \"localhost\", port = {} }}]\ntrust = \"app-redis\"\nadmin = \"{}\"\nuser = \"app\"",
            server.port(),
            server.admin_user()
        ),
    })
}

/// The configuration of a rotation of one MariaDB user, `app` from everywhere: rotation `app-maria`, secret `app/maria`, administrator
/// `admin/maria`.
pub fn mariadb_user(server: &MariaDb, grace: &str) -> String {
    user_from_everywhere(
        server,
        grace,
        ["app-maria", "mariadb", "app/maria", "admin/maria"],
    )
}

/// The same of a MySQL user: rotation `app-mysql`, secret `app/mysql`, administrator `admin/mysql`.
pub fn mysql_user(server: &MySql, grace: &str) -> String {
    user_from_everywhere(server, grace, ["app-mysql", "mysql", "app/mysql", "admin/mysql"])
}

/// An account of SQL Server: rotation `app-mssql`, secret `app/mssql`, administrator `admin/mssql`.
pub fn mssql_account(server: &SqlServer, grace: &str) -> String {
    rotation(&Rotation {
        name: "app-mssql",
        plugin: "mssql",
        secret: "app/mssql",
        admin_secret: "admin/mssql",
        grace,
        ca: &server.ca_file(),
        config: &format!(
            "host = \"localhost\"\nport = {}\ntrust = \"app-mssql\"\nadmin = \"{}\"\nuser = \"app\"",
            server.port(),
            server.admin_user()
        ),
    })
}

/// An entry of OpenLDAP, `cn=app,dc=kw`: rotation `app-ldap`, secret `app/ldap`, and `cn=rotator,dc=kw` with `admin/ldap` as its administrator. `more`:
/// further lines of its configuration.
pub fn openldap_entry(server: &OpenLdap, grace: &str, more: &str) -> String {
    rotation(&Rotation {
        name: "app-ldap",
        plugin: "openldap",
        secret: "app/ldap",
        admin_secret: "admin/ldap",
        grace,
        ca: &server.ca_file(),
        config: &format!(
            "host = \"localhost\"\nport = {}\ntrust = \"app-ldap\"\nadmin = \"cn=rotator,dc=kw\"\nentry = \"cn=app,dc=kw\"\n{more}",
            server.port()
        ),
    })
}

fn user_from_everywhere(server: &MariaDb, grace: &str, names: [&str; 4]) -> String {
    let [name, plugin, secret, admin_secret] = names;
    rotation(&Rotation {
        name,
        plugin,
        secret,
        admin_secret,
        grace,
        ca: &server.ca_file(),
        config: &format!(
            "host = \"localhost\"\nport = {}\ntrust = \"{name}\"\nadmin = \"{}\"\nuser = \"app\"\nfrom = [\"%\"]",
            server.port(),
            server.admin_user()
        ),
    })
}

/// What is written into a `[[rotation]]` table.
#[derive(Debug)]
pub struct Rotation<'a> {
    /// Its name; its trust set has the same.
    pub name: &'a str,
    /// The plugin.
    pub plugin: &'a str,
    /// The secret that rotates.
    pub secret: &'a str,
    /// The administrator's.
    pub admin_secret: &'a str,
    /// How long the old credential lives on, like `1s`.
    pub grace: &'a str,
    /// The authority to trust.
    pub ca: &'a Path,
    /// The lines of `[rotation.config]`.
    pub config: &'a str,
}

/// As TOML, with a trust set, short deadlines, one consumer, and room for the logins of many runs within an hour.
pub fn rotation(rotation: &Rotation<'_>) -> String {
    let Rotation {
        name,
        plugin,
        secret,
        admin_secret,
        grace,
        ca,
        config,
    } = rotation;
    format!(
        r#"[trust.{name}]
pem = ["{}"]

[[rotation]]
name = "{name}"
plugin = "{plugin}"
secret = "{secret}"
inputs = {{ admin = "{admin_secret}" }}
grace = "{grace}"
gap = "accept"
deadlines = {{ step = "3s" }}
probes = {{ logins = 100, per = "1h" }}
consumers = [{{ name = "shop", staleness = "1s" }}]

[rotation.config]
{config}
"#,
        ca.display()
    )
}
