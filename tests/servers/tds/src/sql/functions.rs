//! Functions of the server.

use super::statement::Run;
use super::views::number_of;
use crate::tokens::Problem;
use crate::value::{Value, same};

/// Calls one; its name is in upper case.
pub(super) fn call(run: &Run<'_>, name: &str, arguments: &[Value]) -> Result<Value, Problem> {
    let text = |at: usize| {
        arguments
            .get(at)
            .filter(|value| **value != Value::Null)
            .map(Value::text)
    };
    let some = |text: Option<&str>| text.map_or(Value::Null, Value::of);
    let identity = run.identity();
    Ok(match (name, arguments.len()) {
        ("SUSER_SNAME" | "SUSER_NAME" | "ORIGINAL_LOGIN" | "SYSTEM_USER", 0) => Value::of(&identity.name),
        ("USER_NAME" | "CURRENT_USER" | "SESSION_USER", 0) => some(Some(
            run.books
                .user_in(identity, run.database())
                .map_or("guest", |user| &user.name),
        )),
        ("DB_NAME", 0) => Value::of(&run.session.database),
        ("DB_ID", 0) => Value::Int(1),
        ("APP_NAME", 0) => Value::of(&run.session.program),
        ("SERVERPROPERTY", 1) => server_property(run, &text(0).unwrap_or_default()),
        ("LOGINPROPERTY", 2) => {
            login_property(run, &text(0).unwrap_or_default(), &text(1).unwrap_or_default())
        }
        ("DATABASEPROPERTYEX", 2) => {
            let database = run.books.database(&text(0).unwrap_or_default());
            match (
                database,
                text(1).unwrap_or_default().to_ascii_lowercase().as_str(),
            ) {
                (Some(database), "updateability") => Value::of(if database.read_only {
                    "READ_ONLY"
                } else {
                    "READ_WRITE"
                }),
                (Some(_), "status") => Value::of("ONLINE"),
                _ => Value::Null,
            }
        }
        // A name is shown to who may see what it is of.
        ("OBJECT_NAME" | "SCHEMA_NAME", 1) => some(name_of(run, arguments[0].number()).as_deref()),
        ("OBJECT_SCHEMA_NAME", 1) => some(name_of(run, arguments[0].number()).map(|_| "dbo")),
        ("HAS_PERMS_BY_NAME", 3) => may(run, text(0), text(1).as_deref(), &text(2).unwrap_or_default()),
        ("IS_SRVROLEMEMBER", 1 | 2) => {
            let who = match text(1) {
                Some(name) if run.books.login(&name).is_none() => return Ok(Value::Null),
                Some(name) => crate::policy::Identity {
                    name,
                    contained_in: None,
                },
                None => identity.clone(),
            };
            let role = text(0).unwrap_or_default();
            Value::Int(i64::from(
                same(&role, "public") || run.books.is_in_server_role(&who, &role),
            ))
        }
        ("IS_ROLEMEMBER" | "IS_MEMBER", 1 | 2) => {
            let own = run
                .books
                .user_in(identity, run.database())
                .map(|user| user.name.clone());
            let who = text(1).or(own).unwrap_or_default();
            Value::Int(i64::from(
                run.database().is_member(&text(0).unwrap_or_default(), &who),
            ))
        }
        _ => return of_values(name, arguments),
    })
}

/// What of this number something was granted on.
fn name_of(run: &Run<'_>, number: i64) -> Option<String> {
    let database = run.database();
    let sees = run.books.may_in(run.identity(), database, "VIEW DEFINITION");
    let of_number = |grant: &&crate::books::Grant| number_of(&grant.on) == number;
    let found = database.grants.iter().find(of_number).filter(|_| sees);
    found.map(|grant| grant.on.clone())
}

/// One that looks at nothing but what it is given.
fn of_values(name: &str, arguments: &[Value]) -> Result<Value, Problem> {
    let text = |at: usize| {
        arguments
            .get(at)
            .filter(|value| **value != Value::Null)
            .map(Value::text)
    };
    Ok(match (name, arguments.len()) {
        ("COALESCE" | "ISNULL", _) => arguments
            .iter()
            .find(|value| **value != Value::Null)
            .cloned()
            .unwrap_or(Value::Null),
        ("IIF", 3) => arguments[if arguments[0].is_true() { 1 } else { 2 }].clone(),
        ("LEN", 1) => text(0).map_or(Value::Null, |text| {
            Value::Int(i64::try_from(text.trim_end_matches(' ').encode_utf16().count()).unwrap_or(i64::MAX))
        }),
        ("QUOTENAME", 1) => text(0).map_or(Value::Null, |text| {
            Value::Text(format!("[{}]", text.replace(']', "]]")))
        }),
        ("UPPER", 1) => text(0).map_or(Value::Null, |text| Value::Text(text.to_uppercase())),
        ("LOWER", 1) => text(0).map_or(Value::Null, |text| Value::Text(text.to_lowercase())),
        ("CONCAT", _) => Value::Text(arguments.iter().map(Value::text).collect()),
        ("REPLICATE", 2) => text(0).map_or(Value::Null, |text| {
            Value::Text(text.repeat(usize::try_from(arguments[1].number().clamp(0, 100_000)).unwrap_or(0)))
        }),
        ("TO BIT", 1) if arguments[0] != Value::Null => Value::Bit(arguments[0].is_true()),
        ("TO VARBINARY", 1) => arguments[0].clone(),
        (to, 1) if to.starts_with("TO ") && arguments[0] != Value::Null => {
            if to.contains("CHAR") || to.contains("TEXT") || to == "TO SYSNAME" {
                Value::Text(arguments[0].text())
            } else {
                Value::Int(arguments[0].number())
            }
        }
        (to, 1) if to.starts_with("TO ") => Value::Null,
        _ => {
            return Err(Problem::new(
                195,
                format!("'{name}' is not a recognized built-in function name."),
            ));
        }
    })
}

fn server_property(run: &Run<'_>, name: &str) -> Value {
    match name.to_ascii_lowercase().as_str() {
        "productversion" => Value::of(crate::VERSION),
        "productmajorversion" => Value::of("16"),
        "productlevel" => Value::of("RTM"),
        "edition" => Value::of(if run.settings.azure.is_some() {
            "SQL Azure"
        } else {
            "Developer Edition (64-bit)"
        }),
        "engineedition" => Value::Int(if run.settings.azure.is_some() { 5 } else { 3 }),
        "servername" | "machinename" => Value::of(crate::SERVER_NAME),
        "isintegratedsecurityonly" => Value::Int(0),
        "collation" => Value::of("SQL_Latin1_General_CP1_CI_AS"),
        _ => Value::Null,
    }
}

fn login_property(run: &Run<'_>, name: &str, property: &str) -> Value {
    let login = run
        .books
        .login(name)
        .filter(|login| run.books.sees_login(run.identity(), &login.name));
    let Some(login) = login else { return Value::Null };
    let flag = |flag: bool| Value::Int(i64::from(flag));
    match property.to_ascii_lowercase().as_str() {
        "islocked" => flag(login.locked),
        "isexpired" => flag(login.expired),
        "ismustchange" => flag(login.must_change),
        "badpasswordcount" => Value::Int(login.bad.into()),
        "historylength" => Value::Int(i64::try_from(login.password.history.len()).unwrap_or(0)),
        "defaultdatabase" => Value::of(&login.default_database),
        _ => Value::Null,
    }
}

/// Null where the thing itself is not seen.
fn may(run: &Run<'_>, on: Option<String>, class: Option<&str>, permission: &str) -> Value {
    let (identity, books, permission) = (run.identity(), &*run.books, permission.to_ascii_uppercase());
    let flag = |may: bool| Value::Int(i64::from(may));
    // A name may stand in brackets.
    let plain = |name: String| match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(inner) => inner.replace("]]", "]"),
        None => name,
    };
    match (class.map(str::to_ascii_uppercase).as_deref(), on.map(plain)) {
        (None, None) => flag(books.may(identity, &permission)),
        (Some("LOGIN"), Some(name))
            if books
                .login(&name)
                .is_some_and(|login| books.sees_login(identity, &login.name)) =>
        {
            flag(books.may_alter_login(identity, &name))
        }
        (Some("USER"), Some(name))
            if run
                .database()
                .user(&name)
                .is_some_and(|user| books.sees_user(identity, run.database(), user)) =>
        {
            flag(books.may_alter_user(identity, run.database(), &name))
        }
        (Some("DATABASE"), Some(name)) => match books.database(&name) {
            Some(database) if permission == "CONNECT" => flag(books.may_enter(identity, database)),
            Some(database) => flag(books.may_in(identity, database, &permission)),
            None => Value::Null,
        },
        _ => Value::Null,
    }
}
