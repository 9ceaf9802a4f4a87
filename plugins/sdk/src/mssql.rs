//! Logins of SQL Server and users of its databases: the configuration of the plugin `mssql`, and its connections.

use crate::sql::{Connector, Server, Session};
use crate::{Accounts, Error, Run, Written};
use serde::Deserialize;

/// The server refused the login.
pub const LOGIN_FAILED: u16 = 18456;

/// As the plugin's schema.json describes it.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// Where the server is.
    #[serde(flatten)]
    pub server: Server,
    database: Option<String>,
    /// The login that rotates.
    pub admin: String,
    /// The account whose password rotates.
    pub user: String,
    login: Option<String>,
    #[serde(flatten)]
    written: Written,
}

/// What has the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A login of the server.
    Login,
    /// A user of the database.
    User,
}

impl Kind {
    /// As messages name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "the login",
            Self::User => "the user",
        }
    }

    /// As a statement begins that changes it.
    pub fn alter(self) -> &'static str {
        match self {
            Self::Login => "ALTER LOGIN ",
            Self::User => "ALTER USER ",
        }
    }
}

impl Config {
    /// What a schema cannot say.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.admin.split('@').next() == self.user.split('@').next() {
            problems.push(("/admin".to_owned(), "must be another login than the one that is rotated".to_owned()));
        }
        let is_own =
            |login: &String| login.strip_prefix(&self.user).is_some_and(|rest| rest.len() > 1 && rest.starts_with('@'));
        if self.login.as_ref().is_some_and(|login| !is_own(login)) {
            problems.push(("/login".to_owned(), format!("must be {}@ and the name of the server", self.user)));
        }
        problems.extend(self.written.problems(1));
        problems
    }

    /// As whom clients log in.
    pub fn login(&self) -> &str {
        self.login.as_ref().unwrap_or(&self.user)
    }

    /// Empty: the login's own.
    pub fn database(&self) -> &str {
        self.database.as_deref().unwrap_or_default()
    }

    /// Whose passwords the versions are.
    pub fn accounts(&self) -> Accounts<'_> {
        Accounts::one(self.login.as_ref().unwrap_or(&self.user)).written(&self.written)
    }

    /// A connection that is described, as this user.
    pub fn connector(&self, user: &str) -> Connector {
        let connector = self.server.connector("mssql", user, self.database());
        if self.server.is_strict() {
            connector.set_option("encrypt", "strict");
        }
        connector
    }

    /// A session of the administrator.
    ///
    /// # Errors
    /// Its login is refused; the host's word.
    pub fn administrator(&self, run: &Run) -> Result<Session, Error> {
        Session::of_administrator(self.connector(&self.admin), run, LOGIN_FAILED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_administrator_does_not_rotate_itself_and_a_login_is_the_users_own() {
        let text = r#"{"host":"db","port":1433,"user":"app","admin":"rotator"}"#;
        let problems = |text: &str| serde_json::from_str::<Config>(text).unwrap().problems();
        assert!(problems(text).is_empty());
        assert_eq!(problems(&text.replace("rotator", "app@server"))[0].0, "/admin");
        let with = |login: &str| problems(&text.replace("\"admin\"", &format!("\"login\":\"{login}\",\"admin\"")));
        assert!(with("app@server").is_empty());
        assert_eq!((with("other@server")[0].0.as_str(), with("app@").len()), ("/login", 1));
    }
}
