//! What stands in the way, seen from the administrator's session.

use keywheel_sdk::mssql::{Config, Kind};
use keywheel_sdk::sql::{Piece, Session, Table};
use keywheel_sdk::{Error, Plan, Run, Version};

use crate::pair;

/// Whether the database has users with passwords of their own, and this one among them. Azure's have, whatever is said of their containment.
const DATABASE: &str = "SELECT DB_NAME() AS name, d.containment, CAST(SERVERPROPERTY('EngineEdition') AS int) AS edition, \
    CAST(DATABASEPROPERTYEX(DB_NAME(), 'Updateability') AS nvarchar(128)) AS updateability, \
    (SELECT COUNT(*) FROM sys.database_principals p WHERE p.authentication_type = 2 AND p.name IN (";
const OF_DATABASE: &str = ")) AS own FROM sys.databases d WHERE d.name = DB_NAME()";
const LOGIN: &str = "SELECT l.name, CAST(l.is_disabled AS int) AS disabled, CAST(l.is_policy_checked AS int) AS policy, \
    CAST(LOGINPROPERTY(l.name, 'IsLocked') AS int) AS locked, CAST(LOGINPROPERTY(l.name, 'IsExpired') AS int) AS expired, \
    CAST(LOGINPROPERTY(l.name, 'IsMustChange') AS int) AS must_change, \
    CAST(LOGINPROPERTY(l.name, 'HistoryLength') AS int) AS history, IS_SRVROLEMEMBER('sysadmin', l.name) AS super, \
    HAS_PERMS_BY_NAME(QUOTENAME(l.name), 'LOGIN', 'ALTER') AS may FROM sys.sql_logins l WHERE l.name = ";
const USER: &str = "SELECT p.name, HAS_PERMS_BY_NAME(QUOTENAME(p.name), 'USER', 'ALTER') AS may \
    FROM sys.database_principals p WHERE p.authentication_type = 2 AND p.name = ";
const AZURE: i64 = 5;

fn database(admin: &Session, config: &Config) -> Result<Table, Error> {
    let names = config.names();
    let (first, last) = (&names[0], &names[names.len() - 1]);
    let own = [Piece::Param(first), Piece::Text(", "), Piece::Param(last)];
    admin.query(&[&[Piece::Text(DATABASE)], &own[..], &[Piece::Text(OF_DATABASE)]].concat())
}

pub(crate) fn account(admin: &Session, kind: Kind, name: &str) -> Result<Table, Error> {
    let asked = match kind {
        Kind::Login => LOGIN,
        Kind::User => USER,
    };
    admin.query(&[Piece::Text(asked), Piece::Param(name)])
}

/// What has the password: where the database has a user with one of its own, that is who logs in.
pub(crate) fn kind(admin: &Session, config: &Config) -> Result<Kind, Error> {
    database(admin, config).map(|database| kind_in(&database))
}

fn kind_in(database: &Table) -> Kind {
    let has_own = database.number("containment") > 0 || database.number("edition") == AZURE;
    if has_own && database.number("own") > 0 { Kind::User } else { Kind::Login }
}

/// Why no password of the account could be taken; none if one could.
pub(crate) fn why_shut_out(admin: &Session, config: &Config, name: &str) -> Result<Option<String>, Error> {
    let kind = kind(admin, config)?;
    let found = account(admin, kind, name)?.or_missing(kind.as_str(), name)?;
    let why = [
        ("locked", "is locked after wrong passwords"),
        ("disabled", "is disabled"),
        ("expired", "has a password that expired"),
        ("must_change", "has to change its password"),
    ];
    Ok(why.into_iter().find(|(column, _)| found.flag(column)).map(|(_, words)| format!("{name} {words}")))
}

pub(crate) fn of_transport(plan: &mut Plan, config: &Config) {
    if config.server.is_plaintext() {
        let message = "connections are without TLS: whoever is in between can read passwords";
        plan.warning("mssql.plaintext", message, "give the server a certificate");
    }
}

pub(crate) fn look(admin: &Session, run: &Run, config: &Config) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let database = database(admin, config)?;
    let kind = kind_in(&database);
    let accounts = config.accounts();
    plan.of_form(run, &accounts)?;
    let current = accounts.name_if_any(run, Version::Current)?;
    let login = accounts.next(current);
    let next = config.own(login);
    plan.step("create", format!("a random password for {next}"));
    let mut is_there = true;
    for name in config.names() {
        let found = account(admin, kind, name)?;
        if !found.is_empty() {
            examine(&mut plan, config, kind, name, &found);
        } else if config.is_pair() && current != Some(name.as_str()) {
            // It is made when its turn comes.
            is_there &= name != next;
        } else {
            plan_missing(&mut plan, config, kind, name, database.text("name"));
        }
    }
    let begin = if is_there { kind.alter() } else { kind.create() };
    let mut apply = vec![format!("{begin}{next} WITH PASSWORD = N'…'")];
    if let Some(current) = current.filter(|_| config.is_pair()) {
        apply.extend(pair::look(&mut plan, run, admin, config, kind, (current, next, is_there))?);
    }
    plan.step("apply", apply.join("; "));
    plan.step("test", format!("log in as {login}"));
    of_transport(&mut plan, config);
    if kind == Kind::User && database.text("updateability") == "READ_ONLY" {
        let message = format!("the database {} is read-only here", database.text("name"));
        plan.problem("mssql.read-only", message, "point `host` at the primary replica");
    }
    if is_there && config.is_pair() && accounts.stranger(run)? == Some(next) {
        let message = format!("whatever password {next} has now is not in the vault: it is replaced");
        plan.warning("mssql.replaces", message, "name a login that nobody uses yet");
    }
    Ok(plan)
}

fn plan_missing(plan: &mut Plan, config: &Config, kind: Kind, name: &str, database: &str) {
    let at = format!("the server at {}:{}", config.server.host, config.server.port);
    let message = format!(
        "{at} has no login {name}, its database {database} no user with a password of that name, or {} may not see it",
        config.admin
    );
    let hint = format!("is it this server, this name, and this `database`? Then {}", rights(kind, config));
    plan.problem("mssql.account-missing", message, hint);
}

pub(crate) fn rights(kind: Kind, config: &Config) -> String {
    let admin = config.admin.split('@').next().unwrap_or_default();
    match kind {
        Kind::Login if config.is_azure() => format!("in master: ALTER ROLE loginmanager ADD MEMBER [{admin}]"),
        Kind::Login => format!("GRANT ALTER ANY LOGIN TO [{admin}]"),
        Kind::User => format!("in {}: GRANT ALTER ANY USER TO [{admin}]", config.database()),
    }
}

fn examine(plan: &mut Plan, config: &Config, kind: Kind, name: &str, found: &Table) {
    if !found.flag("may") {
        let hint = if found.flag("super") {
            format!(
                "give the application a login that is not in sysadmin; or GRANT CONTROL SERVER TO [{}]",
                config.admin
            )
        } else {
            rights(kind, config)
        };
        plan.problem("mssql.rights", format!("{} may not alter {} {name}", config.admin, kind.as_str()), hint);
    }
    if found.flag("disabled") {
        plan.problem("mssql.disabled", format!("{name} is disabled"), format!("ALTER LOGIN [{name}] ENABLE"));
    }
    if found.flag("locked") {
        let message = format!("{name} is locked after wrong passwords: a new one does not unlock it");
        let hint = format!("find out who tries, then ALTER LOGIN [{name}] WITH PASSWORD = N'…' UNLOCK");
        plan.problem("mssql.locked", message, hint);
    }
    if found.flag("expired") || found.flag("must_change") {
        let message = format!(
            "{name} cannot log in with the password that it has (expired, or to be changed): a rotation gives it a new one"
        );
        plan.warning("mssql.expired", message, "CHECK_EXPIRATION = OFF: the schedule takes its place");
    }
    if found.number("history") > 0 {
        let message = format!(
            "the server keeps passwords of {name} (CHECK_POLICY): where its rules refuse older ones, a rollback cannot put the old one back"
        );
        plan.warning(
            "mssql.history",
            message,
            "no history rule for service logins; or know that a rollback may need a person",
        );
    }
}
