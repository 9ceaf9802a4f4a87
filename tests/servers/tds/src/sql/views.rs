//! The system's views: what of the books a session is shown.

use super::statement::Run;
use crate::books::{Database, User};
use crate::tokens::Problem;
use crate::value::{Value, same};

type Table = (Vec<String>, Vec<Vec<Value>>);

fn of(columns: &str, rows: Vec<Vec<Value>>) -> Table {
    (columns.split(' ').map(str::to_owned).collect(), rows)
}

fn number(number: usize) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// A view by its name.
pub(super) fn table(run: &Run<'_>, name: &str) -> Result<Table, Problem> {
    let database = run.database();
    Ok(match name.to_ascii_lowercase().as_str() {
        "sys.databases" => databases(run),
        "sys.sql_logins" | "sys.server_principals" => logins(run),
        "sys.database_principals" => of(
            "name principal_id type type_desc authentication_type authentication_type_desc is_fixed_role",
            seen(run, database).map(principal).collect(),
        ),
        "sys.database_role_members" => of("role_principal_id member_principal_id", members(run, database)),
        "sys.database_permissions" => of(
            "class_desc permission_name state_desc grantee_principal_id",
            permissions(run, database),
        ),
        "sys.server_role_members" => of("role_principal_id member_principal_id", Vec::new()),
        "sys.server_permissions" => {
            let own = run.books.grants.iter().filter(|grant| grant.class == "SERVER");
            let row = |grant: &crate::books::Grant| {
                let to = run.books.login(&grant.to)?;
                run.books.sees_login(run.identity(), &to.name).then(|| {
                    vec![
                        Value::of("SERVER"),
                        Value::of(&grant.permission),
                        Value::of("GRANT"),
                        Value::Int(to.id),
                    ]
                })
            };
            of(
                "class_desc permission_name state_desc grantee_principal_id",
                own.filter_map(row).collect(),
            )
        }
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
    let row = |grant: &crate::books::Grant| {
        let to = seen(run, database).find(|user| same(&user.name, &grant.to))?;
        let class = match grant.class.as_str() {
            "OBJECT" => "OBJECT_OR_COLUMN",
            "USER" => "DATABASE_PRINCIPAL",
            other => other,
        };
        Some(vec![
            Value::of(class),
            Value::of(&grant.permission),
            Value::of("GRANT"),
            Value::Int(to.id),
        ])
    };
    database.grants.iter().filter_map(row).collect()
}
