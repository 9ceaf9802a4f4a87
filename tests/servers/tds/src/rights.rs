//! Who may do what. Nothing is allowed that was not granted.

use crate::books::{Books, Database, Grant, User};
use crate::policy::Identity;
use crate::value::same;

/// The server's permissions that imply another one.
fn implied_by(permission: &str) -> &'static [&'static str] {
    match permission {
        "VIEW ANY DEFINITION" => &["CONTROL SERVER", "VIEW ANY SECURITY DEFINITION"],
        "VIEW ANY SECURITY DEFINITION" => &["CONTROL SERVER", "VIEW ANY DEFINITION"],
        _ => &["CONTROL SERVER"],
    }
}

fn has(grants: &[Grant], permission: &str, class: &str, on: &str, to: &str) -> bool {
    grants.iter().any(|grant| {
        same(&grant.permission, permission)
            && grant.class == class
            && same(&grant.on, on)
            && same(&grant.to, to)
    })
}

impl Books {
    pub(crate) fn is_in_server_role(&self, identity: &Identity, role: &str) -> bool {
        let login = self
            .login(&identity.name)
            .filter(|_| identity.contained_in.is_none());
        login.is_some_and(|login| login.roles.iter().any(|own| same(own, role)))
    }

    /// A permission of the server.
    pub(crate) fn may(&self, identity: &Identity, permission: &str) -> bool {
        let of_role = match permission {
            "ALTER ANY LOGIN" | "VIEW ANY DEFINITION" | "VIEW ANY SECURITY DEFINITION" => "securityadmin",
            _ => "sysadmin",
        };
        let granted = |permission: &str| has(&self.grants, permission, "SERVER", "", &identity.name);
        let mut implied = implied_by(permission).iter();
        self.is_in_server_role(identity, "sysadmin")
            || self.is_in_server_role(identity, of_role)
            || identity.contained_in.is_none() && (granted(permission) || implied.any(|other| granted(other)))
    }

    /// Whether it may change that login.
    pub(crate) fn may_alter_login(&self, identity: &Identity, name: &str) -> bool {
        let on = |permission| {
            identity.contained_in.is_none() && has(&self.grants, permission, "LOGIN", name, &identity.name)
        };
        let target = Identity {
            name: name.to_owned(),
            contained_in: None,
        };
        if self.is_in_server_role(&target, "sysadmin")
            || has(&self.grants, "CONTROL SERVER", "SERVER", "", name)
        {
            return self.may(identity, "CONTROL SERVER");
        }
        self.may(identity, "ALTER ANY LOGIN") || on("ALTER") || on("CONTROL")
    }

    /// Whether it is shown that login.
    pub(crate) fn sees_login(&self, identity: &Identity, name: &str) -> bool {
        let is_own = identity.contained_in.is_none() && same(&identity.name, name);
        let may_see = ["ALTER ANY LOGIN", "VIEW ANY DEFINITION"]
            .iter()
            .any(|permission| self.may(identity, permission));
        let on = |permission: &&str| has(&self.grants, permission, "LOGIN", name, &identity.name);
        is_own || same(name, "sa") || may_see || ["ALTER", "CONTROL", "VIEW DEFINITION"].iter().any(on)
    }

    /// Its user in a database: the one of its login, `dbo` of who may do everything.
    pub(crate) fn user_in<'d>(&self, identity: &Identity, database: &'d Database) -> Option<&'d User> {
        match &identity.contained_in {
            Some(own) if same(own, &database.name) => database.user(&identity.name),
            Some(_) => None,
            None if self.may(identity, "CONTROL SERVER") => database.user("dbo"),
            None => database.users.iter().find(|user| {
                user.login
                    .as_deref()
                    .is_some_and(|login| same(login, &identity.name))
            }),
        }
    }

    pub(crate) fn may_enter(&self, identity: &Identity, database: &Database) -> bool {
        // Everybody is a guest there.
        let is_open = ["master", "tempdb"].iter().any(|open| same(open, &database.name));
        (is_open && identity.contained_in.is_none()) || self.user_in(identity, database).is_some()
    }

    /// A permission of a database.
    pub(crate) fn may_in(&self, identity: &Identity, database: &Database, permission: &str) -> bool {
        let Some(user) = self.user_in(identity, database) else {
            return false;
        };
        let of_roles: &[&str] = match permission {
            "ALTER ANY USER" => &["db_owner", "db_accessadmin"],
            "ALTER ANY ROLE" | "VIEW DEFINITION" => &["db_owner", "db_securityadmin"],
            _ => &["db_owner"],
        };
        let granted = |permission| {
            let to = |name: &str| has(&database.grants, permission, "DATABASE", "", name);
            to(&user.name)
                || database
                    .users
                    .iter()
                    .any(|role| to(&role.name) && database.is_member(&role.name, &user.name))
        };
        same(&user.name, "dbo")
            || of_roles.iter().any(|role| database.is_member(role, &user.name))
            || granted(permission)
            || granted("CONTROL")
    }

    pub(crate) fn may_alter_user(&self, identity: &Identity, database: &Database, name: &str) -> bool {
        let own = self.user_in(identity, database).map_or("", |user| &user.name);
        let on = |permission| has(&database.grants, permission, "USER", name, own);
        self.may_in(identity, database, "ALTER ANY USER") || on("ALTER") || on("CONTROL")
    }

    pub(crate) fn sees_user(&self, identity: &Identity, database: &Database, user: &User) -> bool {
        let own = self.user_in(identity, database).map_or("", |user| &user.name);
        let is_fixed = user.id < 5 || user.id >= 16384;
        is_fixed
            || same(own, &user.name)
            || self.may_alter_user(identity, database, &user.name)
            || self.may_in(identity, database, "VIEW DEFINITION")
            || has(&database.grants, "VIEW DEFINITION", "USER", &user.name, own)
    }
}
