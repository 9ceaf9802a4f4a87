//! The system's views: what of the books a session is shown.

use super::statement::Run;
use crate::books::{Database, Grant, User};
use crate::tokens::Problem;
use crate::value::{Value, same};

type Table = (Vec<String>, Vec<Vec<Value>>);

fn of(columns: &str, rows: Vec<Vec<Value>>) -> Table {
    (columns.split(' ').map(str::to_owned).collect(), rows)
}

fn number(number: usize) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

const PERMISSIONS: &str = "class_desc permission_name state_desc grantee_principal_id major_id minor_id";

const SERVER_ROLES: [(i64, &str); 8] = [
    (3, "sysadmin"),
    (4, "securityadmin"),
    (5, "serveradmin"),
    (6, "setupadmin"),
    (7, "processadmin"),
    (8, "diskadmin"),
    (9, "dbcreator"),
    (10, "bulkadmin"),
];

/// The number of a thing that something was granted on: always the same of one name.
pub(super) fn number_of(thing: &str) -> i64 {
    let hash = |sum: i64, byte: u8| (sum * 31 + i64::from(byte)) % 2_147_483_647;
    thing.to_lowercase().bytes().fold(7, hash)
}

/// A view by its name.
pub(super) fn table(run: &Run<'_>, name: &str) -> Result<Table, Problem> {
    let database = run.database();
    Ok(match name.to_ascii_lowercase().as_str() {
        "sys.databases" => databases(run),
        "sys.sql_logins" => logins(run),
        "sys.server_principals" => {
            let (columns, mut rows) = logins(run);
            rows.extend(SERVER_ROLES.iter().map(|(id, name)| server_role(*id, name)));
            (columns, rows)
        }
        "sys.database_principals" => of(
            "name principal_id type type_desc authentication_type authentication_type_desc is_fixed_role",
            seen(run, database).map(principal).collect(),
        ),
        "sys.database_role_members" => of("role_principal_id member_principal_id", members(run, database)),
        "sys.database_permissions" => of(PERMISSIONS, permissions(run, database)),
        "sys.server_role_members" => of("role_principal_id member_principal_id", server_members(run)),
        "sys.server_permissions" => of(PERMISSIONS, server_permissions(run)),
        _ => return Err(Problem::new(208, format!("Invalid object name '{name}'."))),
    })
}

fn databases(run: &Run<'_>) -> Table {
    let row = |(at, database): (usize, &Database)| {
        vec![
            Value::of(&database.name),
            number(at + 1),
            Value::Int(i64::from(database.contained)),
            Value::of(if database.contained { "PARTIAL" } else { "NONE" }),
            Value::of("ONLINE"),
            Value::Bit(database.read_only),
        ]
    };
    of(
        "name database_id containment containment_desc state_desc is_read_only",
        run.books.databases.iter().enumerate().map(row).collect(),
    )
}

fn logins(run: &Run<'_>) -> Table {
    // Azure has them in `master` alone.
    let are_here = run.settings.azure.is_none() || same(&run.session.database, "master");
    let seen = run
        .books
        .logins
        .iter()
        .filter(|login| are_here && run.books.sees_login(run.identity(), &login.name));
    let row = |login: &crate::books::Login| {
        vec![
            Value::of(&login.name),
            Value::Int(login.id),
            Value::of("S"),
            Value::of("SQL_LOGIN"),
            Value::Bit(login.disabled),
            Value::Bit(login.check_policy),
            Value::Bit(login.check_expiration),
            Value::of(&login.default_database),
        ]
    };
    of(
        "name principal_id type type_desc is_disabled is_policy_checked is_expiration_checked default_database_name",
        seen.map(row).collect(),
    )
}

/// With the columns of a login.
fn server_role(id: i64, name: &str) -> Vec<Value> {
    let no = Value::Bit(false);
    let head = [
        Value::of(name),
        Value::Int(id),
        Value::of("R"),
        Value::of("SERVER_ROLE"),
    ];
    [&head[..], &[no.clone(), no.clone(), no, Value::Null]].concat()
}

fn server_members(run: &Run<'_>) -> Vec<Vec<Value>> {
    let seen = run
        .books
        .logins
        .iter()
        .filter(|login| run.books.sees_login(run.identity(), &login.name));
    let roles = seen.flat_map(|login| login.roles.iter().map(move |role| (role, login.id)));
    let row = |(role, login): (&String, i64)| {
        let (id, _) = SERVER_ROLES.iter().find(|(_, name)| same(name, role))?;
        Some(vec![Value::Int(*id), Value::Int(login)])
    };
    roles.filter_map(row).collect()
}

fn server_permissions(run: &Run<'_>) -> Vec<Vec<Value>> {
    let row = |grant: &Grant| {
        let to = run.books.login(&grant.to)?;
        let class = if grant.class == "LOGIN" {
            "SERVER_PRINCIPAL"
        } else {
            "SERVER"
        };
        run.books
            .sees_login(run.identity(), &to.name)
            .then(|| permission(grant, class, to.id))
    };
    run.books.grants.iter().filter_map(row).collect()
}

fn permission(grant: &Grant, class: &str, to: i64) -> Vec<Value> {
    let on = if grant.on.is_empty() {
        0
    } else {
        number_of(&grant.on)
    };
    vec![
        Value::of(class),
        Value::of(&grant.permission),
        Value::of("GRANT"),
        Value::Int(to),
        Value::Int(on),
        Value::Int(0),
    ]
}

fn seen<'r>(run: &'r Run<'_>, database: &'r Database) -> impl Iterator<Item = &'r User> {
    database
        .users
        .iter()
        .filter(|user| run.books.sees_user(run.identity(), database, user))
}

fn principal(user: &User) -> Vec<Value> {
    let is_role = user.members.is_some();
    let (kind, kind_words) = if is_role {
        ("R", "DATABASE_ROLE")
    } else {
        ("S", "SQL_USER")
    };
    let (way, way_words) = match user {
        User {
            password: Some(_), ..
        } => (2, "DATABASE"),
        User { login: Some(_), .. } => (1, "INSTANCE"),
        _ => (0, "NONE"),
    };
    vec![
        Value::of(&user.name),
        Value::Int(user.id),
        Value::of(kind),
        Value::of(kind_words),
        Value::Int(way),
        Value::of(way_words),
        Value::Bit(is_role && user.id >= 16384),
    ]
}

fn members(run: &Run<'_>, database: &Database) -> Vec<Vec<Value>> {
    let roles = seen(run, database).filter_map(|role| Some((role.id, role.members.as_ref()?)));
    let each = roles.flat_map(|(id, members)| members.iter().map(move |member| (id, member)));
    let row = |(id, member): (i64, &String)| {
        let member = seen(run, database).find(|user| same(&user.name, member))?;
        Some(vec![Value::Int(id), Value::Int(member.id)])
    };
    each.filter_map(row).collect()
}

fn permissions(run: &Run<'_>, database: &Database) -> Vec<Vec<Value>> {
    let row = |grant: &Grant| {
        let to = seen(run, database).find(|user| same(&user.name, &grant.to))?;
        let class = match grant.class.as_str() {
            "OBJECT" => "OBJECT_OR_COLUMN",
            "USER" => "DATABASE_PRINCIPAL",
            other => other,
        };
        Some(permission(grant, class, to.id))
    };
    database.grants.iter().filter_map(row).collect()
}
