//! Logins of SQL Server and users of its databases: the configuration of the plugin `mssql`, and its connections.

use crate::sql::{Connector, Server, Session};
use crate::{Accounts, Error, Run, Written};
use serde::Deserialize;

/// The server refused the login.
pub const LOGIN_FAILED: u16 = 18456;

/// Who changes whose password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Mode {
    /// An administrator, of one account.
    #[default]
    #[serde(rename = "account")]
    Account,
    /// An administrator, of two accounts that take turns.
    #[serde(rename = "alternating")]
    Alternating,
    /// The account itself.
    #[serde(rename = "self")]
    Own,
}

/// As the plugin's schema.json describes it.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// Where the server is.
    #[serde(flatten)]
    pub server: Server,
    /// Who changes whose password.
    #[serde(default)]
    pub mode: Mode,
    database: Option<String>,
    service: Option<String>,
    /// The login that rotates; empty where there is none.
    #[serde(default)]
    pub admin: String,
    #[serde(default)]
    user: String,
    users: Option<[String; 2]>,
    #[serde(default)]
    databases: Vec<String>,
    /// The roles of databases in which the second of two accounts is to be as the first is.
    #[serde(default)]
    pub roles: Vec<String>,
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

    /// As one begins that makes it.
    pub fn create(self) -> &'static str {
        match self {
            Self::Login => "CREATE LOGIN ",
            Self::User => "CREATE USER ",
        }
    }
}

impl Config {
    /// What a schema cannot say.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let own = |name: &str| name.split('@').next().unwrap_or_default().to_lowercase();
        if self.names().iter().any(|name| own(name) == own(&self.admin)) {
            problems.push(("/admin".to_owned(), "must be another login than the one that is rotated".to_owned()));
        }
        if let [first, second] = self.names()
            && own(first) == own(second)
        {
            problems.push(("/users/1".to_owned(), "must be another login: each keeps one password".to_owned()));
        }
        let is_own =
            |login: &String| login.strip_prefix(&self.user).is_some_and(|rest| rest.len() > 1 && rest.starts_with('@'));
        if self.login.as_ref().is_some_and(|login| !is_own(login)) {
            problems.push(("/login".to_owned(), format!("must be {}@ and the name of the server", self.user)));
        }
        problems.extend(self.written.problems(self.names().len()));
        problems
    }

    /// The accounts as the server calls them.
    pub fn names(&self) -> &[String] {
        self.users.as_ref().map_or(std::slice::from_ref(&self.user), |pair| pair)
    }

    /// Whether two take turns.
    pub fn is_pair(&self) -> bool {
        self.users.is_some()
    }

    /// The account as the server calls it, of a name of [`Config::accounts`].
    pub fn own<'a>(&'a self, name: &'a str) -> &'a str {
        if self.is_pair() { name } else { &self.user }
    }

    /// Whether it is Azure SQL, which has other rights.
    pub fn is_azure(&self) -> bool {
        self.service.as_deref() == Some("azure")
    }

    /// The database to log in to; empty: the login's own.
    pub fn database(&self) -> &str {
        self.database.as_deref().unwrap_or_default()
    }

    /// The databases in which two accounts are to be the same.
    pub fn databases(&self) -> impl Iterator<Item = &str> {
        let own = self.database.as_deref().filter(|_| self.databases.is_empty());
        self.databases.iter().map(String::as_str).chain(own)
    }

    /// Whose passwords the versions are, by the names that clients log in with.
    pub fn accounts(&self) -> Accounts<'_> {
        match &self.users {
            Some(pair) => Accounts::two(pair),
            None => Accounts::one(self.login.as_ref().unwrap_or(&self.user)),
        }
        .written(&self.written)
    }

    /// A connection that is described, as this user.
    pub fn connector(&self, user: &str) -> Connector {
        self.connector_to(user, self.database())
    }

    fn connector_to(&self, user: &str, database: &str) -> Connector {
        let connector = self.server.connector("mssql", user, database);
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
        self.administrator_in(run, self.database())
    }

    /// The same in this database.
    ///
    /// # Errors
    /// As [`Config::administrator`].
    pub fn administrator_in(&self, run: &Run, database: &str) -> Result<Session, Error> {
        Session::of_administrator(self.connector_to(&self.admin, database), run, LOGIN_FAILED)
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

    #[test]
    fn two_accounts_are_two_and_none_of_them_is_the_administrator() {
        let of = |users: &str| {
            let text =
                format!(r#"{{"host":"db","port":1433,"mode":"alternating","admin":"rotator","users":[{users}]}}"#);
            serde_json::from_str::<Config>(&text).unwrap()
        };
        let pair = of(r#""a","b""#);
        assert!(pair.problems().is_empty() && pair.is_pair() && pair.own("b") == "b" && pair.databases().count() == 0);
        assert_eq!(of(r#""a","A""#).problems()[0].0, "/users/1");
        assert_eq!(of(r#""a","rotator""#).problems()[0].0, "/admin");
        let with = |template: &str| {
            of(&format!(r#""a","b"],"format":"connection-string","template":"{template}","databases":["c""#)).problems()
        };
        assert!(with("User Id={user};Password={password}").is_empty());
        assert_eq!(with("Password={password}")[0].0, "/template");
    }
}
