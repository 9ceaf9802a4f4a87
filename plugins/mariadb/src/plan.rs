//! What stands in the way, seen from the administrator's session.

use keywheel_sdk::error::ErrorExt;
use keywheel_sdk::mysql::Config;
use keywheel_sdk::sql::{Piece, Session, Table};
use keywheel_sdk::{Error, Plan, Run};

/// `SELECT command denied`.
const SELECT_DENIED: u16 = 1142;
const SERVER: &str = "SELECT @@read_only AS read_only, @@max_password_errors AS errors, \
    @@strict_password_validation AS strict, \
    (SELECT count(*) FROM information_schema.plugins WHERE plugin_type = 'PASSWORD VALIDATION' AND plugin_status = 'ACTIVE') \
    AS validators, \
    (SELECT count(*) FROM information_schema.user_privileges WHERE privilege_type = 'CREATE USER' AND grantee = \
    concat(\"'\", replace(current_user(), '@', \"'@'\"), \"'\")) + \
    (SELECT count(*) FROM information_schema.enabled_roles WHERE role_name IS NOT NULL) AS rights";
/// Each account of a user: nothing of its hashes.
const ACCOUNTS: &str = "SELECT host, coalesce(json_value(priv, '$.account_locked'), '0') IN ('1', 'true') AS locked, \
    coalesce(json_value(priv, '$.plugin'), '') IN ('', 'mysql_native_password') \
    AND coalesce(json_extract(priv, '$.auth_or[*].plugin'), '') NOT REGEXP 'ed25519|parsec|pam|unix_socket|gssapi|old' AS native, \
    coalesce(json_value(priv, '$.password_last_changed') = 0, 0) AS expired, \
    (SELECT greatest(count(DISTINCT coalesce(way.hash, json_value(priv, '$.authentication_string'))), 1) \
    FROM json_table(priv, '$.auth_or[*]' COLUMNS (hash varchar(255) PATH '$.authentication_string')) AS way) AS held, \
    (substring_index(user(), '@', -1) LIKE host OR host LIKE '%/%') AS near FROM mysql.global_priv WHERE user = ";
/// The anonymous account that is nearer to where this session comes from than any of the user's own.
const SHADOW: &str = "SELECT nobody.host AS host, substring_index(user(), '@', -1) AS here FROM mysql.global_priv nobody \
    WHERE nobody.user = '' AND substring_index(user(), '@', -1) LIKE nobody.host AND NOT EXISTS (SELECT 1 \
    FROM mysql.global_priv own WHERE substring_index(user(), '@', -1) LIKE own.host AND (own.host = nobody.host \
    OR length(substring_index(own.host, '%', 1)) > length(substring_index(nobody.host, '%', 1))) AND own.user = ";

fn accounts(admin: &Session, name: &str) -> Result<Table, Error> {
    admin.query(&[Piece::Text(ACCOUNTS), Piece::Param(name), Piece::Text(" ORDER BY host")])
}

/// Why no password of the user could be taken; none if one could.
pub(crate) fn why_shut_out(admin: &Session, config: &Config) -> Result<Option<String>, Error> {
    config.why_shut_out(admin, accounts(admin, &config.user)?, SHADOW)
}

pub(crate) fn look(admin: &Session, run: &Run, config: &Config) -> Result<Plan, Error> {
    let (mut plan, name) = (Plan::default(), &config.user);
    let all = config.all();
    let via = "IDENTIFIED VIA mysql_native_password USING";
    plan.step("create", format!("a random password for {name}"));
    let set = "'*<hash of the old>' OR mysql_native_password USING '*<hash of the new>'";
    plan.step("apply", format!("ALTER USER {all} {via} {set}"));
    plan.step("test", format!("log in as {name}"));
    plan.step("revoke", format!("ALTER USER {all} {via} '*<hash of the new>'"));
    if config.server.is_plaintext() {
        plan.warning("mariadb.plaintext", "connections are without TLS", "give the server a certificate");
    }
    if admin.dialect() != "mariadb" {
        let message = format!("the server at {}:{} is no MariaDB", config.server.host, config.server.port);
        plan.problem("mariadb.other-server", message, "point `host` at a MariaDB server");
        return Ok(plan);
    }
    examine_server(&mut plan, config, &admin.query(&[Piece::Text(SERVER)])?);
    let found = match accounts(admin, name) {
        Err(problem) if problem.server_error() == Some(SELECT_DENIED) => {
            let hint = format!("GRANT SELECT ON mysql.global_priv TO {}", config.admin);
            plan.problem("mariadb.rights", format!("{} may not read mysql.global_priv", config.admin), hint);
            return Ok(plan);
        }
        found => found?,
    };
    plan.of_form(run, &config.accounts())?;
    let known = 1 + i64::from(run.previous()?.is_some());
    for from in &config.from {
        let whole = config.whole(from);
        if let Some(account) = found.each().find(|account| account.text("host") == from) {
            examine(&mut plan, &whole, &account, known);
        } else {
            let message = format!("the server at {}:{} has no user {whole}", config.server.host, config.server.port);
            let hint = format!("is it this server, and this name? Else there: CREATE USER {whole} …, and its rights");
            plan.problem("mariadb.user-missing", message, hint);
        }
    }
    for other in found.each().filter(|account| !config.from.iter().any(|from| account.text("host") == from)) {
        let from = other.text("host");
        let message = format!("there is '{name}'@'{from}' too, which would keep its password");
        plan.problem("mariadb.accounts", message, format!("add {from:?} to `from`, or drop that account"));
    }
    if !found.is_empty()
        && let Some(why) = why_shut_out(admin, config)?
    {
        let hint = "make an account of the user that fits this host, and list it; drop an anonymous one that is nearer";
        plan.problem("mariadb.shut-out", why, hint);
    }
    Ok(plan)
}

fn examine_server(plan: &mut Plan, config: &Config, server: &Table) {
    if server.flag("read_only") {
        plan.problem("mariadb.read-only", "the server is read-only", "point `host` at the primary");
    }
    if server.number("rights") == 0 {
        let hint = format!("GRANT CREATE USER ON *.* TO {}", config.admin);
        plan.problem("mariadb.rights", format!("{} may not alter other users", config.admin), hint);
    }
    if server.flag("strict") && server.number("validators") > 0 {
        let message = "the server validates passwords, and refuses the hashes that it would be given";
        let hint = "SET GLOBAL strict_password_validation = OFF, and in its configuration: a plugin goes on to see the passwords that people set";
        plan.problem("mariadb.validation", message, hint);
    }
    if server.number("errors") < 1000 {
        let message = format!("the server shuts a user out after {} wrong passwords", server.number("errors"));
        plan.warning("mariadb.lockout", message, "keep `probes` of the rotation below that (max_password_errors)");
    }
}

fn examine(plan: &mut Plan, whole: &str, account: &Table, known: i64) {
    if account.flag("locked") {
        let hint = format!("ALTER USER {whole} ACCOUNT UNLOCK");
        plan.problem("mariadb.user-locked", format!("{whole} is locked"), hint);
    }
    if !account.flag("native") {
        let message = format!("{whole} logs in by another plugin than mysql_native_password");
        let hint = "rotations are of mysql_native_password alone: give the user that, or rotate another";
        plan.problem("mariadb.method", message, hint);
    }
    if account.flag("expired") {
        let message = format!("the password of {whole} has expired: a rotation gives it a new time");
        plan.warning("mariadb.expired", message, "nothing, or ALTER USER … PASSWORD EXPIRE again afterwards");
    }
    if account.number("held") > known {
        let held = account.number("held");
        let message = format!("{whole} has {held} ways in: those that the vault does not know are taken away");
        plan.warning("mariadb.others", message, "import what is still used, or have its clients changed first");
    }
}
