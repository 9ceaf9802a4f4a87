//! What the server knows: logins, databases, their users, what was granted. Written to its file before a statement is answered.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::value::same;

/// Passwords are kept as they are: this is a server for tests, and says to its owner what it takes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Password {
    pub(crate) value: String,
    /// The ones before, the newest last; empty without a policy.
    pub(crate) history: Vec<String>,
    /// What a cache of authentications takes in its place, and until when.
    #[serde(skip)]
    pub(crate) cached: Option<(String, Instant)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the columns of the server's own table"
)]
pub(crate) struct Login {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) password: Password,
    pub(crate) default_database: String,
    pub(crate) disabled: bool,
    pub(crate) check_policy: bool,
    pub(crate) check_expiration: bool,
    pub(crate) must_change: bool,
    pub(crate) expired: bool,
    pub(crate) locked: bool,
    pub(crate) bad: u32,
    pub(crate) roles: Vec<String>,
}

/// A user of a database, or a role of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
    /// The login that it is the user of.
    pub(crate) login: Option<String>,
    /// Of one who logs in to the database itself.
    pub(crate) password: Option<Password>,
    /// Of a role: who is in it.
    pub(crate) members: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) permission: String,
    /// `SERVER`, `LOGIN`, `DATABASE`, `USER`, `OBJECT`, `SCHEMA`.
    pub(crate) class: String,
    /// What it is on; empty for the server and the database themselves.
    pub(crate) on: String,
    pub(crate) to: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) contained: bool,
    pub(crate) read_only: bool,
    pub(crate) users: Vec<User>,
    pub(crate) grants: Vec<Grant>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Books {
    pub(crate) logins: Vec<Login>,
    pub(crate) databases: Vec<Database>,
    pub(crate) grants: Vec<Grant>,
    next_id: i64,
}

const ROLES: [&str; 9] = [
    "public",
    "db_owner",
    "db_accessadmin",
    "db_securityadmin",
    "db_ddladmin",
    "db_backupoperator",
    "db_datareader",
    "db_datawriter",
    "db_denydatareader",
];

impl Database {
    pub(crate) fn new(name: &str, contained: bool) -> Self {
        let role = |(at, name): (i64, &str)| User {
            id: if at == 0 { 0 } else { 16383 + at },
            name: name.to_owned(),
            login: None,
            password: None,
            members: Some(Vec::new()),
        };
        let dbo = User {
            id: 1,
            name: "dbo".to_owned(),
            login: Some("sa".to_owned()),
            password: None,
            members: None,
        };
        Self {
            name: name.to_owned(),
            contained,
            read_only: false,
            users: (0..).zip(ROLES).map(role).chain([dbo]).collect(),
            grants: Vec::new(),
        }
    }

    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| same(&user.name, name))
    }

    pub(crate) fn user_mut(&mut self, name: &str) -> Option<&mut User> {
        self.users.iter_mut().find(|user| same(&user.name, name))
    }

    /// Whether somebody is in a role, by itself or by another role.
    pub(crate) fn is_member(&self, role: &str, name: &str) -> bool {
        let members = self.user(role).and_then(|role| role.members.as_ref());
        let inside =
            |member: &String| same(member, name) || !same(member, role) && self.is_member(member, name);
        members.is_some_and(|members| members.iter().any(inside))
    }
}

impl Books {
    /// With `sa` and `master`.
    pub(crate) fn new(password: &str) -> Self {
        let mut books = Self {
            logins: Vec::new(),
            databases: vec![Database::new("master", false), Database::new("tempdb", false)],
            grants: Vec::new(),
            next_id: 1,
        };
        books.add_login("sa", password, true);
        books.logins[0].roles.push("sysadmin".to_owned());
        books.next_id = 256;
        books
    }

    pub(crate) fn add_login(&mut self, name: &str, password: &str, check_policy: bool) -> &mut Login {
        let id = self.id();
        self.logins.push(Login {
            id,
            name: name.to_owned(),
            password: Password {
                value: password.to_owned(),
                ..Password::default()
            },
            default_database: "master".to_owned(),
            disabled: false,
            check_policy,
            check_expiration: false,
            must_change: false,
            expired: false,
            locked: false,
            bad: 0,
            roles: Vec::new(),
        });
        let last = self.logins.len() - 1;
        &mut self.logins[last]
    }

    pub(crate) fn id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn login(&self, name: &str) -> Option<&Login> {
        self.logins.iter().find(|login| same(&login.name, name))
    }

    pub(crate) fn login_mut(&mut self, name: &str) -> Option<&mut Login> {
        self.logins.iter_mut().find(|login| same(&login.name, name))
    }

    pub(crate) fn database(&self, name: &str) -> Option<&Database> {
        self.databases.iter().find(|database| same(&database.name, name))
    }

    pub(crate) fn database_mut(&mut self, name: &str) -> Option<&mut Database> {
        self.databases
            .iter_mut()
            .find(|database| same(&database.name, name))
    }

    pub(crate) fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whole or not at all, and durable when it returns.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_data()?;
        Ok(fs::rename(&beside, path)?)
    }
}
