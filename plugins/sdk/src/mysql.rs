//! Users of MySQL and MariaDB: what the plugins of the two have in common.
//!
//! `'user'@'%'` and `'user'@'10.%'` are two accounts: all that the configuration lists are changed, one after the other.

use crate::error::{ErrorExt, missing, refused_because};
use crate::sql::{Connector, Piece, Server, Session, Table};
use crate::{Accounts, Error, Outcome, Run, Verdict, Version, Written};
use serde::Deserialize;

/// The server refused the login.
const ACCESS_DENIED: u16 = 1045;

/// Each as the plugins' schema.json describes it.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// Where the server is.
    #[serde(flatten)]
    pub server: Server,
    /// The user that rotates.
    pub admin: String,
    /// The user whose password rotates.
    pub user: String,
    /// The part after the `@` of each account of that user.
    pub from: Vec<String>,
    /// How the secret is written.
    #[serde(flatten)]
    written: Written,
}

impl Config {
    /// What a schema cannot say.
    pub fn problems(&self) -> Vec<(String, String)> {
        self.written.problems_of(&self.user, &self.admin)
    }

    /// Whose passwords the versions are.
    pub fn accounts(&self) -> Accounts<'_> {
        Accounts::one(&self.user).written(&self.written)
    }

    /// Each account as a statement names it.
    pub fn whole(&self, from: &str) -> String {
        format!("'{}'@'{from}'", self.user)
    }

    /// All of them.
    pub fn all(&self) -> String {
        self.from.iter().map(|from| self.whole(from)).collect::<Vec<_>>().join(", ")
    }

    fn connector(&self, user: &str) -> Connector {
        self.server.connector("mysql", user, "")
    }

    /// A session of the administrator.
    ///
    /// # Errors
    /// Its login is refused; the host's word.
    pub fn administrator(&self, run: &Run) -> Result<Session, Error> {
        Session::of_administrator(self.connector(&self.admin), run, ACCESS_DENIED).map_err(|mut problem| {
            if problem.is_admin_refused() {
                let shadow = "an anonymous user (''@'…') that is nearer to this host than the administrator's account would take its logins, too";
                problem.message = format!("{}; {shadow}", problem.message);
            }
            problem
        })
    }

    /// The step `test`: a login of its own. `why_shut_out`: why no password of the user could be taken, if so.
    ///
    /// # Errors
    /// As a plugin's `test`.
    pub fn test(
        &self,
        run: &Run,
        why_shut_out: impl Fn(&Session) -> Result<Option<String>, Error>,
    ) -> Result<Verdict, Error> {
        let login = self.connector(&self.user);
        login.password(&self.accounts().password(run, Version::Subject)?);
        let Err(refusal) = Session::open(login) else { return Ok(Verdict::Accepted) };
        let said = || format!("{}: {}", refusal.code, refusal.message);
        Ok(match refusal.server_error() {
            // The server says this of a user that is missing, or that may not come from here, too.
            Some(ACCESS_DENIED) => refused_because(self.administrator(run).and_then(|admin| why_shut_out(&admin)))?,
            // Not from this host; no password at all; expired; must change; locked; shut out for a time.
            Some(1130 | 1698 | 1820 | 1862 | 3118 | 3955 | 4150 | 4151) => Verdict::Account(said()),
            _ => Verdict::Unknown(said()),
        })
    }

    /// Why no password of the user could be taken, by its accounts: each with `host`, and whether it is `near`, one that fits where this
    /// session comes from. `shadow` asks for the anonymous account that is nearer than any of the user whose name and `)` come next.
    ///
    /// # Errors
    /// There is no such user; the host's word.
    pub fn why_shut_out(
        &self,
        admin: &Session,
        accounts: Table,
        shadow: &'static str,
    ) -> Result<Option<String>, Error> {
        let name = &self.user;
        if !accounts.or_missing("the user", name)?.each().any(|account| account.flag("near")) {
            return Ok(Some(format!("no account of {name} may log in from here")));
        }
        let end = Piece::Text(") ORDER BY length(host) DESC LIMIT 1");
        let nearer = admin.query(&[Piece::Text(shadow), Piece::Param(name), end])?;
        let (here, host) = (nearer.text("here"), nearer.text("host"));
        let why =
            || format!("from {here} the server takes {name} for the anonymous user ''@'{host}', whatever the password");
        Ok((!nearer.is_empty()).then(why))
    }

    /// Makes these changes to each account, one account after the other.
    ///
    /// # Errors
    /// An account is missing; the host's word.
    pub fn alter_each(&self, run: &Run, changes: &[&[Piece<'_>]]) -> Result<Outcome, Error> {
        let admin = self.administrator(run)?;
        let mut done = false;
        for from in &self.from {
            let account =
                [Piece::Text("ALTER USER "), Piece::Literal(&self.user), Piece::Text("@"), Piece::Literal(from)];
            for change in changes {
                admin.execute(&[&account, *change].concat()).map_err(|problem| {
                    let whole = self.whole(from);
                    let problem = match problem.server_error() {
                        // An account that is missing is no account to make here.
                        Some(1396) => missing("the user", &whole),
                        // MySQL says so of a system user, too.
                        Some(1227) => problem.at(&format!(
                            "ALTER USER {whole}; of a system user it takes GRANT SYSTEM_USER ON *.* TO {}",
                            self.admin
                        )),
                        _ => problem.at(&format!("ALTER USER {whole}")),
                    };
                    if done { problem.after_an_effect() } else { problem }
                })?;
                done = true;
            }
        }
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_administrator_does_not_rotate_itself() {
        let text = r#"{"host":"db","port":3306,"user":"app","admin":"app","from":["%"]}"#;
        let problems = |text: &str| serde_json::from_str::<Config>(text).unwrap().problems();
        assert_eq!(problems(text)[0].0, "/admin");
        assert!(problems(&text.replace(r#""admin":"app""#, r#""admin":"rotator""#)).is_empty());
    }
}
