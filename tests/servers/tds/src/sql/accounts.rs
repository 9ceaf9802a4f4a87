//! Statements that change accounts, databases and rights.

use super::lexer::{Cursor, Token};
use super::rights;
use super::statement::Run;
use crate::books::{Database, Password, User};
use crate::tokens::Problem;
use crate::value::same;

/// What stands behind `WITH`.
#[derive(Default)]
struct Options {
    password: Option<String>,
    old: Option<String>,
    must_change: bool,
    unlock: bool,
    policy: Option<bool>,
    expiration: Option<bool>,
    database: Option<String>,
    name: Option<String>,
}

pub(super) fn none_or_forbidden(verb: &str, kind: &str, name: &str) -> Problem {
    Problem::new(
        15151,
        format!(
            "Cannot {verb} the {kind} '{name}', because it does not exist or you do not have permission."
        ),
    )
}

pub(super) fn no_permission() -> Problem {
    Problem::new(15247, "User does not have permission to perform this action.")
}

fn exists(name: &str) -> Problem {
    Problem::new(15025, format!("The server principal '{name}' already exists."))
}

/// By the words that it begins with.
type Change = fn(&mut Run<'_>, &mut Cursor) -> Result<(), Problem>;

const CHANGES: [(&str, Change); 15] = [
    ("ALTER LOGIN", alter_login),
    ("CREATE LOGIN", create_login),
    ("DROP LOGIN", drop_login),
    ("ALTER USER", alter_user),
    ("CREATE USER", create_user),
    ("DROP USER", drop_user),
    ("DROP ROLE", drop_user),
    ("CREATE ROLE", rights::create_role),
    ("ALTER ROLE", rights::alter_role),
    ("ALTER SERVER ROLE", rights::alter_server_role),
    ("CREATE DATABASE", create_database),
    ("ALTER DATABASE", alter_database),
    ("DBCC FLUSHAUTHCACHE", flush),
    ("GRANT", |run, cursor| rights::grant(run, cursor, true)),
    ("REVOKE", |run, cursor| rights::grant(run, cursor, false)),
];

pub(super) fn change(run: &mut Run<'_>, cursor: &mut Cursor) -> Result<(), Problem> {
    match CHANGES.iter().find(|(words, _)| cursor.words(words)) {
        Some((_, change)) => change(run, cursor),
        None => Err(cursor.wrong()),
    }
}

/// Roles, too.
fn drop_user(run: &mut Run<'_>, cursor: &mut Cursor) -> Result<(), Problem> {
    let name = cursor.name()?;
    let may = run
        .books
        .may_alter_user(&run.session.identity, run.database(), &name);
    let database = own_database(run)?;
    if !may || database.user(&name).is_none() {
        return Err(none_or_forbidden("drop", "user", &name));
    }
    database.users.retain(|user| !same(&user.name, &name));
    database.grants.retain(|grant| !same(&grant.to, &name));
    Ok(())
}

fn create_database(run: &mut Run<'_>, cursor: &mut Cursor) -> Result<(), Problem> {
    let name = cursor.name()?;
    let contained = cursor.words("CONTAINMENT") && cursor.sign("=") && cursor.words("PARTIAL");
    if !run.books.may(&run.session.identity, "CONTROL SERVER") {
        let message = "CREATE DATABASE permission denied in database 'master'.";
        return Err(Problem::new(262, message));
    }
    if run.books.database(&name).is_some() {
        let message = format!("Database '{name}' already exists. Choose a different database name.");
        return Err(Problem::new(1801, message));
    }
    run.books.databases.push(Database::new(&name, contained));
    Ok(())
}

fn alter_database(run: &mut Run<'_>, cursor: &mut Cursor) -> Result<(), Problem> {
    let name = cursor.name()?;
    cursor.expect_words("SET")?;
    let read_only = cursor.words("READ_ONLY");
    if !read_only {
        cursor.expect_words("READ_WRITE")?;
    }
    if !run.books.may(&run.session.identity, "CONTROL SERVER") {
        let message = format!("User does not have permission to alter database '{name}'.");
        return Err(Problem::new(5011, message));
    }
    let missing = || Problem::new(911, format!("Database '{name}' does not exist."));
    run.books.database_mut(&name).ok_or_else(missing)?.read_only = read_only;
    Ok(())
}

/// Whoever may log in may do this here.
#[expect(clippy::unnecessary_wraps, reason = "as the other changes")]
fn flush(run: &mut Run<'_>, _cursor: &mut Cursor) -> Result<(), Problem> {
    for login in &mut run.books.logins {
        login.password.cached = None;
    }
    let users = run
        .books
        .databases
        .iter_mut()
        .flat_map(|database| &mut database.users);
    for password in users.filter_map(|user| user.password.as_mut()) {
        password.cached = None;
    }
    Ok(())
}

fn options(cursor: &mut Cursor) -> Result<Options, Problem> {
    let mut options = Options::default();
    cursor.expect_words("WITH")?;
    loop {
        let key = cursor.name()?.to_ascii_uppercase();
        cursor.expect("=")?;
        let on = |cursor: &mut Cursor| {
            let on = cursor.words("ON");
            if on || cursor.words("OFF") {
                Ok(on)
            } else {
                Err(cursor.wrong())
            }
        };
        match key.as_str() {
            "PASSWORD" => {
                options.password = Some(cursor.text()?);
                loop {
                    // The old one follows without a comma.
                    match cursor.peek() {
                        Some(Token::Word(word)) if same(word, "MUST_CHANGE") => options.must_change = true,
                        Some(Token::Word(word)) if same(word, "UNLOCK") => options.unlock = true,
                        _ => break,
                    }
                    cursor.next();
                }
                if cursor.words("OLD_PASSWORD") {
                    cursor.expect("=")?;
                    options.old = Some(cursor.text()?);
                }
            }
            "CHECK_POLICY" => options.policy = Some(on(cursor)?),
            "CHECK_EXPIRATION" => options.expiration = Some(on(cursor)?),
            "DEFAULT_DATABASE" => options.database = Some(cursor.name()?),
            "NAME" => options.name = Some(cursor.name()?),
            "DEFAULT_SCHEMA" | "DEFAULT_LANGUAGE" | "SID" => drop(cursor.next()),
            _ => return Err(super::lexer::syntax(&key)),
        }
        if !cursor.sign(",") {
            return Ok(options);
        }
    }
}

fn alter_login(run: &mut Run<'_>, cursor: &mut Cursor) -> Result<(), Problem> {
    let name = cursor.name()?;
    let switch = [("ENABLE", false), ("DISABLE", true)]
        .into_iter()
        .find(|(word, _)| cursor.words(word));
    let given = if switch.is_some() {
        Options::default()
    } else {
        options(cursor)?
    };
    if run.settings.azure.is_some() && !same(&run.session.database, "master") {
        return Err(Problem::new(5001, "User must be in the master database."));
    }
    let identity = run.session.identity.clone();
    let (may, is_self) = (
        run.books.may_alter_login(&identity, &name),
        identity.contained_in.is_none() && same(&identity.name, &name),
    );
    let delay = run.settings.azure.as_ref().map(|azure| azure.cache);
    let policy = run.settings.policy.clone();
    let forbidden = || none_or_forbidden("alter", "login", &name);
    let may_now = may || is_self && given.password.is_some() && given.old.is_some();
    let login = run
        .books
        .login_mut(&name)
        .filter(|_| may_now)
        .ok_or_else(forbidden)?;
    if given.old.as_ref().is_some_and(|old| *old != login.password.value) {
        return Err(forbidden());
    }
    if let Some((_, disable)) = switch {
        login.disabled = disable;
        return Ok(());
    }
    login.check_policy = given.policy.unwrap_or(login.check_policy);
    login.check_expiration = given.expiration.unwrap_or(login.check_expiration);
    if login.check_expiration && !login.check_policy {
        return Err(Problem::new(
            15122,
            "The CHECK_EXPIRATION option cannot be used when CHECK_POLICY is OFF.",
        ));
    }
    if given.must_change && !(login.check_expiration && login.check_policy) {
        return Err(Problem::new(
            15128,
            "The CHECK_POLICY and CHECK_EXPIRATION options cannot be turned OFF when MUST_CHANGE is ON.",
        ));
    }
    if let Some(password) = &given.password {
        if login.check_policy {
            policy.admits(&login.name, password, Some(&login.password), false)?;
        }
        login.password.set(password, login.check_policy, delay);
        (login.must_change, login.expired) = (given.must_change, false);
    }
    if given.unlock || !login.check_policy {
        (login.locked, login.bad) = (false, 0);
    }
    login.default_database = given.database.unwrap_or_else(|| login.default_database.clone());
    if let Some(new) = given.name {
        login.name = new;
    }
    Ok(())
}

fn create_login(run: &mut Run<'_>, cursor: &mut Cursor) -> Result<(), Problem> {
    let (name, given) = (cursor.name()?, options(cursor)?);
    if !run.books.may(&run.session.identity, "ALTER ANY LOGIN") {
        return Err(no_permission());
    }
    if run.books.login(&name).is_some() {
        return Err(exists(&name));
    }
    let password = given.password.ok_or_else(|| super::lexer::syntax(&name))?;
    let check_policy = given.policy.unwrap_or(true);
    if check_policy {
        run.settings.policy.admits(&name, &password, None, false)?;
    }
    let login = run.books.add_login(&name, &password, check_policy);
    login.check_expiration = given.expiration.unwrap_or(false);
    login.must_change = given.must_change;
    login.default_database = given.database.unwrap_or_else(|| "master".to_owned());
    Ok(())
}

fn drop_login(run: &mut Run<'_>, cursor: &mut Cursor) -> Result<(), Problem> {
    let name = cursor.name()?;
    if run.books.login(&name).is_none() || !run.books.may_alter_login(&run.session.identity, &name) {
        return Err(none_or_forbidden("drop", "login", &name));
    }
    run.books.logins.retain(|login| !same(&login.name, &name));
    run.books
        .grants
        .retain(|grant| !(same(&grant.to, &name) || grant.class == "LOGIN" && same(&grant.on, &name)));
    Ok(())
}

fn alter_user(run: &mut Run<'_>, cursor: &mut Cursor) -> Result<(), Problem> {
    let (name, given) = (cursor.name()?, options(cursor)?);
    let identity = run.session.identity.clone();
    let own = run
        .books
        .user_in(&identity, run.database())
        .map(|user| user.name.clone())
        .unwrap_or_default();
    let may = run.books.may_alter_user(&identity, run.database(), &name)
        || same(&own, &name) && given.old.is_some();
    let (policy, delay) = (
        run.settings.policy.clone(),
        run.settings.azure.as_ref().map(|azure| azure.cache),
    );
    let forbidden = || none_or_forbidden("alter", "user", &name);
    let user = own_database(run)?
        .user_mut(&name)
        .filter(|_| may)
        .ok_or_else(forbidden)?;
    if let Some(new) = &given.password {
        let password = user.password.as_mut().ok_or_else(|| {
            Problem::new(
                33234,
                "The parameter PASSWORD cannot be provided for users that cannot authenticate in a database.",
            )
        })?;
        if given.old.as_ref().is_some_and(|old| *old != password.value) {
            return Err(forbidden());
        }
        policy.admits(&user.name, new, Some(password), true)?;
        password.set(new, true, delay);
    }
    if let Some(new) = given.name {
        user.name = new;
    }
    Ok(())
}

fn create_user(run: &mut Run<'_>, cursor: &mut Cursor) -> Result<(), Problem> {
    let name = cursor.name()?;
    let login = if cursor.words("FOR LOGIN") || cursor.words("FROM LOGIN") {
        Some(cursor.name()?)
    } else {
        None
    };
    let without = cursor.words("WITHOUT LOGIN");
    let given = if cursor.is_word("WITH") {
        options(cursor)?
    } else {
        Options::default()
    };
    if !run
        .books
        .may_in(&run.session.identity, run.database(), "ALTER ANY USER")
    {
        return Err(no_permission());
    }
    if run.database().user(&name).is_some() {
        return Err(Problem::new(
            15023,
            format!("User, group, or role '{name}' already exists in the current database."),
        ));
    }
    if given.password.is_some() && !run.database().contained && run.settings.azure.is_none() {
        return Err(Problem::new(
            33233,
            "You can only create a user with a password in a contained database.",
        ));
    }
    if let Some(password) = &given.password {
        run.settings.policy.admits(&name, password, None, true)?;
    }
    let login = login.or_else(|| (given.password.is_none() && !without).then(|| name.clone()));
    if let Some(login) = login.as_ref().filter(|login| run.books.login(login).is_none()) {
        return Err(Problem::new(
            15007,
            format!("'{login}' is not a valid login or you do not have permission."),
        ));
    }
    let password = given.password.map(|value| Password {
        value,
        ..Password::default()
    });
    let user = User {
        id: run.books.id(),
        name,
        login,
        password,
        members: None,
    };
    own_database(run)?.users.push(user);
    Ok(())
}

pub(super) fn own_database<'r>(run: &'r mut Run<'_>) -> Result<&'r mut Database, Problem> {
    let name = run.session.database.clone();
    let database = run
        .books
        .database_mut(&name)
        .ok_or_else(|| Problem::new(911, "no database"))?;
    if database.read_only {
        return Err(Problem::new(
            3906,
            format!("Failed to update database \"{name}\" because the database is read-only."),
        ));
    }
    Ok(database)
}
