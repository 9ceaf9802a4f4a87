//! Two accounts that take turns: the one whose turn it is is made if it is missing, and made as the one that clients use.
//!
//! Only what the configuration names is changed: the accounts' users in `databases`, and their membership of `roles` there. What else the two do
//! not have in common stops a run before it begins, with the lines to run: who could grant anything could grant itself anything.

use std::collections::BTreeSet;

use keywheel_sdk::error::ErrorExt;
use keywheel_sdk::mssql::{Config, Kind, LOGIN_FAILED};
use keywheel_sdk::sql::{Piece, Session, Table};
use keywheel_sdk::{Error, Outcome, Plan, Run, Version};

use crate::own::log_in;
use crate::{HISTORY, plan, put};

const USER: &str = "SELECT HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'ALTER ANY USER') AS users, \
    HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'ALTER ANY ROLE') AS roles, \
    (SELECT COUNT(*) FROM sys.database_principals u WHERE u.name = ";
const AND_USER: &str = ") AS has, (SELECT COUNT(*) FROM sys.database_principals u WHERE u.name = ";
const USERS: &str = ") AS gets";
/// Who of the two is in which role.
const MEMBERS: &str = "SELECT r.name AS role, u.name AS member FROM sys.database_role_members m \
    JOIN sys.database_principals r ON r.principal_id = m.role_principal_id \
    JOIN sys.database_principals u ON u.principal_id = m.member_principal_id WHERE u.name IN (";
const GRANTS: &str = "SELECT u.name AS member, p.class_desc AS class, p.permission_name AS permission, p.state_desc AS state, \
    p.major_id AS major, p.minor_id AS minor, CASE WHEN p.class_desc = 'SCHEMA' THEN QUOTENAME(SCHEMA_NAME(p.major_id)) \
    WHEN p.class_desc = 'OBJECT_OR_COLUMN' THEN QUOTENAME(OBJECT_SCHEMA_NAME(p.major_id)) + '.' + QUOTENAME(OBJECT_NAME(p.major_id)) \
    END AS thing FROM sys.database_permissions p \
    JOIN sys.database_principals u ON u.principal_id = p.grantee_principal_id WHERE u.name IN (";
/// The same of the server.
const SERVER_MEMBERS: &str = "SELECT r.name AS role, u.name AS member FROM sys.server_role_members m \
    JOIN sys.server_principals r ON r.principal_id = m.role_principal_id \
    JOIN sys.server_principals u ON u.principal_id = m.member_principal_id WHERE u.name IN (";
const SERVER_GRANTS: &str = "SELECT u.name AS member, p.class_desc AS class, p.permission_name AS permission, p.state_desc AS state, \
    p.major_id AS major, p.minor_id AS minor FROM sys.server_permissions p \
    JOIN sys.server_principals u ON u.principal_id = p.grantee_principal_id WHERE u.name IN (";

const JOINS: &str = " ADD MEMBER ";
const LEAVES: &str = " DROP MEMBER ";

/// The account that clients use, and the one that is made like it.
type Pair<'a> = (&'a str, &'a str);

fn of_both(admin: &Session, asked: &'static str, (from, to): Pair<'_>) -> Result<Table, Error> {
    let names = [Piece::Param(from), Piece::Text(", "), Piece::Param(to), Piece::Text(")")];
    admin.query(&[&[Piece::Text(asked)], &names[..]].concat())
}

pub(crate) fn apply(run: &Run, config: &Config) -> Result<Outcome, Error> {
    let accounts = config.accounts();
    let (admin, name) = (config.administrator(run)?, accounts.name(run, Version::Pending)?);
    let kind = plan::kind(&admin, config)?;
    let is_there = !plan::account(&admin, kind, name)?.is_empty();
    let begin = if is_there { kind.alter() } else { kind.create() };
    put(run, &admin, config, (begin, kind, name), Version::Pending)?;
    if let Some(current) = accounts.name_if_any(run, Version::Current)?.filter(|current| *current != name) {
        copy(run, config, kind, (current, name)).map_err(ErrorExt::after_an_effect)?;
    }
    Ok(Outcome::Done)
}

/// The account gets the password of the one that clients use, which nobody looks for there: what it took before it refuses, and no other
/// password is about than those of the vault. `own`: the version that it is to refuse.
pub(crate) fn shut(
    run: &Run,
    admin: &Session,
    config: &Config,
    (kind, name): (Kind, &str),
    own: Version,
) -> Result<Outcome, Error> {
    if plan::account(admin, kind, name)?.is_empty() {
        return Ok(Outcome::Done);
    }
    let done = put(run, admin, config, (kind.alter(), kind, name), Version::Current);
    match done {
        // It has that one already, or had it once and does not take it again.
        Err(problem) if problem.server_error() == Some(HISTORY) => match log_in(run, config, own) {
            Err(refusal) if refusal.server_error() == Some(LOGIN_FAILED) => Ok(Outcome::Done),
            Err(problem) => Err(problem),
            Ok(_) => Ok(Outcome::Blocked(format!(
                "{name} has had the password of the other one before, and the server's rule of history refuses it: set any other one by hand"
            ))),
        },
        done => done,
    }
}

/// In each database a user for the login, and the roles that the other one is in.
fn copy(run: &Run, config: &Config, kind: Kind, pair: Pair<'_>) -> Result<(), Error> {
    for database in config.databases() {
        let admin = config.administrator_in(run, database)?;
        let found = users(&admin, pair)?;
        if !found.flag("has") {
            continue;
        }
        if kind == Kind::Login && !found.flag("gets") {
            let make =
                [Piece::Text("CREATE USER "), Piece::Name(pair.1), Piece::Text(" FOR LOGIN "), Piece::Name(pair.1)];
            admin.execute(&make).map_err(|problem| problem.at(&format!("CREATE USER {} in {database}", pair.1)))?;
        }
        for (role, verb) in members(&of_both(&admin, MEMBERS, pair)?, pair) {
            if config.roles.contains(&role) {
                let change = [Piece::Text("ALTER ROLE "), Piece::Name(&role), Piece::Text(verb), Piece::Name(pair.1)];
                admin
                    .execute(&change)
                    .map_err(|problem| problem.at(&format!("ALTER ROLE {role}{verb}{} in {database}", pair.1)))?;
            }
        }
    }
    Ok(())
}

fn users(admin: &Session, (from, to): Pair<'_>) -> Result<Table, Error> {
    let asked = [Piece::Text(USER), Piece::Param(from), Piece::Text(AND_USER), Piece::Param(to), Piece::Text(USERS)];
    admin.query(&asked)
}

/// The roles in which one of the two is alone, with what makes the second as the first.
fn members(rows: &Table, (from, to): Pair<'_>) -> Vec<(String, &'static str)> {
    let of = |name: &str| -> BTreeSet<String> {
        rows.each().filter(|row| same(row.text("member"), name)).map(|row| row.text("role").to_owned()).collect()
    };
    let (has, gets) = (of(from), of(to));
    let missing = has.difference(&gets).map(|role| (role.clone(), JOINS));
    missing.chain(gets.difference(&has).map(|role| (role.clone(), LEAVES))).collect()
}

fn same(left: &str, right: &str) -> bool {
    left.to_lowercase() == right.to_lowercase()
}

/// What one of the two has, as it would be given to another one: what stands before the name, and after it.
type Given = (String, &'static str);

/// What `from` has that `to` has not, and the reverse. Whoever may log in at all has the first of all permissions.
fn given(grants: &Table, (from, to): Pair<'_>) -> (Vec<Given>, Vec<Given>) {
    let of = |name: &str| -> BTreeSet<Given> {
        let own = grants.each().filter(|row| same(row.text("member"), name));
        own.filter(|row| !matches!(row.text("permission"), "CONNECT" | "CONNECT SQL"))
            .map(|row| as_given(&row))
            .collect()
    };
    let (has, gets) = (of(from), of(to));
    (has.difference(&gets).cloned().collect(), gets.difference(&has).cloned().collect())
}

fn as_given(row: &Table) -> Given {
    let class = match row.text("class") {
        "OBJECT_OR_COLUMN" => "OBJECT",
        "DATABASE_PRINCIPAL" => "USER",
        "SERVER_PRINCIPAL" => "LOGIN",
        class => class,
    };
    let column = if row.number("minor") > 0 { format!(" (column {})", row.number("minor")) } else { String::new() };
    let on = match (class, row.text("thing")) {
        ("DATABASE" | "SERVER", _) => String::new(),
        // Its name is not shown to everybody.
        (class, "") => format!(" ON {class}::[number {}]", row.number("major")),
        (class, thing) => format!(" ON {class}::{thing}"),
    };
    let (verb, end) = match row.text("state") {
        "DENY" => ("DENY", ""),
        "GRANT_WITH_GRANT_OPTION" => ("GRANT", " WITH GRANT OPTION"),
        _ => ("GRANT", ""),
    };
    (format!("{verb} {}{column}{on} TO ", row.text("permission")), end)
}

/// What is made alike, as it is returned, and what is not.
pub(crate) fn look(
    plan: &mut Plan,
    run: &Run,
    admin: &Session,
    config: &Config,
    kind: Kind,
    (from, to, is_there): (&str, &str, bool),
) -> Result<Vec<String>, Error> {
    let (pair, mut made) = ((from, to), Vec::new());
    // Nothing can be granted to what is not there.
    let login = if kind == Kind::User || is_there { String::new() } else { with_password(kind, to) };
    if kind == Kind::Login {
        if !is_there && !may_create(admin)? {
            plan.problem("mssql.rights", format!("{} may not make logins", config.admin), plan::rights(kind, config));
        }
        let (mut lacks, mut more) = given(&of_both(admin, SERVER_GRANTS, pair)?, pair);
        for (role, verb) in members(&of_both(admin, SERVER_MEMBERS, pair)?, pair) {
            let whose = if verb == JOINS { &mut lacks } else { &mut more };
            whose.push((format!("ALTER SERVER ROLE [{role}]{JOINS}"), ""));
        }
        differ(plan, "the server", pair, (&login, &lacks), &more);
    }
    for database in config.databases() {
        match config.administrator_in(run, database) {
            Ok(admin) => made.extend(look_in(plan, &admin, config, kind, (database, pair, &login))?),
            Err(problem) if matches!(problem.server_error(), Some(916 | 4060)) => {
                let hint = format!("in {database}: CREATE USER [{0}] FOR LOGIN [{0}]", config.admin);
                plan.problem("mssql.rights", format!("{} may not enter the database {database}", config.admin), hint);
            }
            Err(problem) => return Err(problem),
        }
    }
    plan.step("revoke", format!("{}{from} WITH PASSWORD = the one of {to}", kind.alter()));
    Ok(made)
}

fn with_password(kind: Kind, name: &str) -> String {
    format!("{}[{name}] WITH PASSWORD = N'…'; ", kind.create())
}

fn may_create(admin: &Session) -> Result<bool, Error> {
    let asked = "SELECT HAS_PERMS_BY_NAME(NULL, NULL, 'ALTER ANY LOGIN') AS may";
    Ok(admin.query(&[Piece::Text(asked)])?.flag("may"))
}

fn look_in(
    plan: &mut Plan,
    admin: &Session,
    config: &Config,
    kind: Kind,
    (database, pair, login): (&str, Pair<'_>, &str),
) -> Result<Vec<String>, Error> {
    let ((from, to), mut made) = (pair, Vec::new());
    let found = users(admin, pair)?;
    if !found.flag("has") {
        let message = format!("{from} has no user in the database {database}, or {} may not see it", config.admin);
        let hint = format!("in {database}: GRANT ALTER ANY USER TO [{}]; or leave it out of `databases`", config.admin);
        plan.warning("mssql.no-user", message, hint);
        return Ok(made);
    }
    let mut needs = Vec::new();
    if !found.flag("gets") {
        if kind == Kind::Login {
            made.push(format!("in {database}: CREATE USER {to} FOR LOGIN {to}"));
        }
        needs.extend((!found.flag("users")).then_some("ALTER ANY USER"));
    }
    let (mut lacks, mut more) = given(&of_both(admin, GRANTS, pair)?, pair);
    for (role, verb) in members(&of_both(admin, MEMBERS, pair)?, pair) {
        if config.roles.contains(&role) {
            made.push(format!("in {database}: ALTER ROLE {role}{verb}{to}"));
            if !found.flag("roles") && !needs.contains(&"ALTER ANY ROLE") {
                needs.push("ALTER ANY ROLE");
            }
        } else {
            let whose = if verb == JOINS { &mut lacks } else { &mut more };
            whose.push((format!("ALTER ROLE [{role}]{JOINS}"), ""));
        }
    }
    if !needs.is_empty() {
        let message = format!("{} may not make {to} as {from} in the database {database}", config.admin);
        let hint = format!("in {database}: GRANT {} TO [{}]", needs.join(", "), config.admin);
        plan.problem("mssql.rights", message, hint);
    }
    let first = match kind {
        _ if found.flag("gets") => String::new(),
        Kind::Login => format!("{login}CREATE USER [{to}] FOR LOGIN [{to}]; "),
        Kind::User => with_password(kind, to),
    };
    differ(plan, &format!("the database {database}"), pair, (&first, &lacks), &more);
    Ok(made)
}

/// Clients go from one to the other: what the other lacks they would miss. `first`: what has to be there before it can be given.
fn differ(plan: &mut Plan, place: &str, (from, to): Pair<'_>, (first, lacks): (&str, &[Given]), more: &[Given]) {
    let lines = |given: &[Given], name: &str| {
        let line = |(head, tail): &Given| format!("{head}[{name}]{tail}");
        given.iter().map(line).collect::<Vec<_>>().join("; ")
    };
    if !lacks.is_empty() {
        let message = format!("in {place} {from} has what {to} lacks: its clients would miss that");
        plan.problem(
            "mssql.lacks",
            message,
            format!("{first}{}; a role can be listed in `roles` instead", lines(lacks, to)),
        );
    }
    if !more.is_empty() {
        let message = format!("in {place} {to} has what {from} lacks");
        plan.warning("mssql.more", message, format!("{}; or take it from {to}", lines(more, from)));
    }
}
