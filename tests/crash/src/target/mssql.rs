use anyhow::Result;
use keywheel_kit::{Encryption, Policy, SqlServer, SqlServerOptions, strong_password, tds_login};

use crate::dialect::{self, Carried, Make};
use crate::record::Said;
use crate::target::{Client, Credential, Subject, Target, document, of_document};

/// SQL Server, as the one of `tests/servers/tds` is, with one login, or with two that take turns.
pub(crate) struct Server {
    server: SqlServer,
    alternating: bool,
}

impl Server {
    pub(crate) fn start(alternating: bool) -> Result<Self> {
        let server = SqlServer::start(SqlServerOptions {
            encryption: Encryption::None,
            // Nobody's password is looked at but the one of a rotation, which has all kinds of characters.
            policy: Policy {
                complexity: false,
                ..Policy::default()
            },
            ..SqlServerOptions::default()
        })?;
        Ok(Self { server, alternating })
    }

    fn run(&self, verb: &str, account: &str, password: &str) -> Result<()> {
        let sql = format!("{verb} LOGIN [{account}] WITH PASSWORD = N'{password}'");
        self.server.sql("master", &sql).map(drop)
    }
}

impl Target for Server {
    fn name(&self) -> &'static str {
        if self.alternating { "mssql-pair" } else { "mssql" }
    }

    fn plugin(&self) -> &'static str {
        "mssql"
    }

    fn is_two_slot(&self, accounts: &[String]) -> bool {
        accounts.len() == 2
    }

    fn dialect(&self) -> Make {
        dialect::mssql::make
    }

    fn port(&self) -> u16 {
        self.server.port()
    }

    fn root(&self) -> Credential {
        Credential {
            account: self.server.admin_user().to_owned(),
            password: self.server.admin_password().to_owned(),
        }
    }

    fn accounts(&self, name: &str) -> Vec<String> {
        let name = name.replace('-', "_");
        if self.alternating {
            vec![format!("{name}_a"), format!("{name}_b")]
        } else {
            vec![name]
        }
    }

    /// Of two the second one is the plugin's to make.
    fn create(&self, accounts: &[String], password: &str, is_admin: bool) -> Result<()> {
        let Some(account) = accounts.first() else {
            return Ok(());
        };
        self.run("CREATE", account, password)?;
        if is_admin {
            let grant = format!("GRANT ALTER ANY LOGIN TO [{account}]");
            self.server.sql("master", &grant)?;
        }
        Ok(())
    }

    fn set_by_hand(&self, credential: &Credential) -> Result<()> {
        self.run("ALTER", &credential.account, &credential.password)
    }

    /// A disabled login keeps its password, and takes none.
    fn accepts(&self, accounts: &[String]) -> Result<Vec<Carried>> {
        let mut taken = Vec::new();
        for account in accounts {
            let asked = format!("SELECT is_disabled FROM sys.sql_logins WHERE name = '{account}'");
            if self.server.sql("master", &asked)? == "0" {
                taken.extend(self.server.password_of("master", account).map(Carried::Plain));
            }
        }
        Ok(taken)
    }

    fn spoil(&self, accounts: &[String]) -> Result<()> {
        let there = |account: &&String| self.server.password_of("master", account).is_some();
        accounts
            .iter()
            .filter(there)
            .try_for_each(|account| self.run("ALTER", account, &strong_password()))
    }

    fn config(&self, subject: &Subject, port: u16) -> String {
        let accounts = match subject.accounts.as_slice() {
            [first, second] => format!("mode = \"alternating\"\nusers = [\"{first}\", \"{second}\"]"),
            accounts => format!("user = \"{}\"", accounts.concat()),
        };
        let admin = &subject.admin.0;
        format!(
            "host = \"localhost\"\nport = {port}\ntransport = \"plaintext\"\nadmin = \"{admin}\"\n{accounts}\n"
        )
    }

    fn credential(&self, accounts: &[String], value: &str) -> Result<Credential> {
        match accounts {
            [account] => Ok(Credential {
                account: account.clone(),
                password: value.to_owned(),
            }),
            _ => of_document(value),
        }
    }

    fn value(&self, accounts: &[String], credential: &Credential) -> String {
        match accounts {
            [_] => credential.password.clone(),
            _ => document(credential),
        }
    }

    fn client(&self) -> Box<dyn Client> {
        Box::new(Tds)
    }

    fn kill(&mut self) -> Result<()> {
        self.server.kill9()
    }

    fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }
}

struct Tds;

impl Client for Tds {
    fn login(&mut self, port: u16, credential: &Credential) -> Said {
        match tds_login(port, &credential.account, &credential.password) {
            Some(Ok(())) => Said::Accepted,
            // Login failed; the password is right, and the login disabled.
            Some(Err(18456 | 18470)) => Said::Refused,
            _ => Said::Unreachable,
        }
    }

    fn carries(&mut self, carried: &Carried, password: &str) -> bool {
        *carried == Carried::Plain(password.to_owned())
    }
}
