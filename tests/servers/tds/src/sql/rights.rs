//! Members of roles, and what is granted.

use super::accounts::{no_permission, none_or_forbidden, own_database};
use super::lexer::Cursor;
use super::statement::Run;
use crate::books::{Grant, User};
use crate::tokens::Problem;
use crate::value::same;

pub(super) fn create_role(run: &mut Run<'_>, cursor: &mut Cursor) -> Result<(), Problem> {
    let name = cursor.name()?;
    if !run
        .books
        .may_in(&run.session.identity, run.database(), "ALTER ANY ROLE")
    {
        return Err(no_permission());
    }
    let role = User {
        id: run.books.id(),
        name,
        login: None,
        password: None,
        members: Some(Vec::new()),
    };
    own_database(run)?.users.push(role);
    Ok(())
}

pub(super) fn alter_role(run: &mut Run<'_>, cursor: &mut Cursor) -> Result<(), Problem> {
    let role = cursor.name()?;
    let adds = cursor.words("ADD MEMBER");
    if !adds {
        cursor.expect_words("DROP MEMBER")?;
    }
    let member = cursor.name()?;
    // The fixed ones are given by who owns the database.
    let is_fixed = run.database().user(&role).is_some_and(|role| role.id >= 16384);
    let right = if is_fixed { "CONTROL" } else { "ALTER ANY ROLE" };
    let may = run.books.may_in(&run.session.identity, run.database(), right);
    let database = own_database(run)?;
    let known = database.user(&member).is_some();
    let members = database
        .user_mut(&role)
        .filter(|_| may)
        .and_then(|role| role.members.as_mut());
    let members = members
        .filter(|_| known)
        .ok_or_else(|| none_or_forbidden("alter", "role", &role))?;
    members.retain(|own| !same(own, &member));
    if adds {
        members.push(member);
    }
    Ok(())
}

pub(super) fn alter_server_role(run: &mut Run<'_>, cursor: &mut Cursor) -> Result<(), Problem> {
    let role = cursor.name()?;
    let adds = cursor.words("ADD MEMBER");
    if !adds {
        cursor.expect_words("DROP MEMBER")?;
    }
    let member = cursor.name()?;
    let may = run.books.may(&run.session.identity, "CONTROL SERVER");
    let login = run
        .books
        .login_mut(&member)
        .filter(|_| may)
        .ok_or_else(|| none_or_forbidden("alter", "server role", &role))?;
    login.roles.retain(|own| !same(own, &role));
    if adds {
        login.roles.push(role);
    }
    Ok(())
}

/// `permission, …`, up to what they are given on or whom.
fn permissions(cursor: &mut Cursor) -> Result<Vec<String>, Problem> {
    let mut permissions = vec![Vec::new()];
    while !cursor.is_word("ON") && !cursor.is_word("TO") && !cursor.is_word("FROM") {
        if cursor.sign(",") {
            permissions.push(Vec::new());
        }
        let word = cursor.name()?.to_ascii_uppercase();
        permissions
            .last_mut()
            .into_iter()
            .for_each(|words: &mut Vec<String>| words.push(word.clone()));
    }
    Ok(permissions.iter().map(|words| words.join(" ")).collect())
}

/// `GRANT|REVOKE permission, … [ON LOGIN::|USER::|OBJECT::|DATABASE::|SCHEMA::name] TO|FROM name`.
pub(super) fn grant(run: &mut Run<'_>, cursor: &mut Cursor, grants: bool) -> Result<(), Problem> {
    const OF_SERVER: [&str; 7] = [
        "ALTER ANY LOGIN",
        "CONTROL SERVER",
        "VIEW ANY DEFINITION",
        "VIEW ANY SECURITY DEFINITION",
        "VIEW SERVER STATE",
        "VIEW ANY DATABASE",
        "CONNECT SQL",
    ];
    let permissions = permissions(cursor)?;
    let of_server = permissions
        .iter()
        .any(|permission| OF_SERVER.contains(&permission.as_str()));
    let (mut class, mut on) = (
        if of_server { "SERVER" } else { "DATABASE" }.to_owned(),
        String::new(),
    );
    if cursor.words("ON") {
        let first = cursor.name()?;
        if cursor.sign("::") {
            (class, on) = (first.to_ascii_uppercase(), cursor.name()?);
        } else {
            (class, on) = ("OBJECT".to_owned(), first);
        }
        while cursor.sign(".") {
            on = cursor.name()?;
        }
    }
    if !cursor.words("TO") {
        cursor.expect_words("FROM")?;
    }
    let to = cursor.name()?;
    if class == "DATABASE" {
        on = String::new();
    }
    let is_server = matches!(class.as_str(), "SERVER" | "LOGIN");
    let may = if is_server {
        run.books.may(&run.session.identity, "CONTROL SERVER")
    } else {
        run.books.may_in(&run.session.identity, run.database(), "CONTROL")
    };
    if !may {
        return Err(Problem::new(4613, "Grantor does not have GRANT permission."));
    }
    let known = if is_server {
        run.books.login(&to).is_some()
    } else {
        run.database().user(&to).is_some()
    };
    if !known {
        return Err(Problem::new(
            15151,
            format!(
                "Cannot find the principal '{to}', because it does not exist or you do not have permission."
            ),
        ));
    }
    let all = if is_server {
        &mut run.books.grants
    } else {
        &mut own_database(run)?.grants
    };
    for permission in permissions {
        let own = Grant {
            permission,
            class: class.clone(),
            on: on.clone(),
            to: to.clone(),
        };
        all.retain(|grant| *grant != own);
        if grants {
            all.push(own);
        }
    }
    Ok(())
}
