//! What stands in the way, seen from the administrator's session.

use keywheel_sdk::error::ErrorExt;
use keywheel_sdk::mysql::Config;
use keywheel_sdk::sql::{Piece, Session, Table};
use keywheel_sdk::{Error, Plan, Run};

/// `SELECT command denied`.
const SELECT_DENIED: u16 = 1142;
const SERVER: &str = "SELECT @@read_only OR @@super_read_only AS read_only, @@password_history AS history, \
    @@password_reuse_interval AS days, \
    (SELECT count(*) FROM information_schema.user_privileges WHERE privilege_type = 'CREATE USER' AND grantee = \
    concat(\"'\", replace(current_user(), '@', \"'@'\"), \"'\")) + \
    (SELECT count(*) FROM information_schema.enabled_roles WHERE role_name IS NOT NULL) AS rights";
/// Each account of a user: nothing of its hashes.
const ACCOUNTS: &str = "SELECT host, account_locked = 'Y' AS locked, password_expired = 'Y' AS expired, \
    plugin = 'caching_sha2_password' AND ssl_type IN ('', 'ANY') \
    AND json_extract(user_attributes, '$.multi_factor_authentication') IS NULL AS usual, \
    json_extract(user_attributes, '$.additional_password') IS NOT NULL AS second, \
    CAST(coalesce(json_extract(user_attributes, '$.Password_locking.failed_login_attempts'), 0) AS signed) AS attempts, \
    password_reuse_history AS history, password_reuse_time AS days, \
    (substring_index(user(), '@', -1) LIKE host OR host LIKE '%/%') AS near FROM mysql.user WHERE user = ";
/// The anonymous account that is nearer to where this session comes from than any of the user's own.
const SHADOW: &str = "SELECT nobody.host AS host, substring_index(user(), '@', -1) AS here FROM mysql.user nobody \
    WHERE nobody.user = '' AND substring_index(user(), '@', -1) LIKE nobody.host AND NOT EXISTS (SELECT 1 \
    FROM mysql.user own WHERE substring_index(user(), '@', -1) LIKE own.host AND (own.host = nobody.host \
    OR length(substring_index(own.host, '%', 1)) > length(substring_index(nobody.host, '%', 1))) AND own.user = ";

fn accounts(admin: &Session, name: &str) -> Result<Table, Error> {
    admin.query(&[Piece::Text(ACCOUNTS), Piece::Param(name), Piece::Text(" ORDER BY host")])
}

/// Why no password of the user could be taken; none if one could.
pub(crate) fn why_shut_out(admin: &Session, config: &Config) -> Result<Option<String>, Error> {
    config.why_shut_out(admin, accounts(admin, &config.user)?, SHADOW)
}

pub(crate) fn look(admin: &Session, run: &Run, config: &Config) -> Result<Plan, Error> {
    let (mut plan, name, all) = (Plan::default(), &config.user, config.all());
    if admin.dialect() != "mysql" {
        let message = format!("the server at {}:{} is no MySQL", config.server.host, config.server.port);
        plan.problem("mysql.other-server", message, "point `host` at a MySQL server, or use the plugin of this one");
        return Ok(plan);
    }
    let server = admin.query(&[Piece::Text(SERVER)])?;
    let found = match accounts(admin, name) {
        Err(problem) if problem.server_error() == Some(SELECT_DENIED) => {
            let hint = format!("GRANT SELECT ON mysql.user TO {}", config.admin);
            plan.problem("mysql.rights", format!("{} may not read mysql.user", config.admin), hint);
            return Ok(plan);
        }
        found => found?,
    };
    let by_hash = |what| format!("ALTER USER {all} IDENTIFIED WITH caching_sha2_password AS '<hash of the {what}>'");
    let (old, new, rules) = (by_hash("old"), by_hash("new"), rules(&found, &server));
    plan.step("create", format!("a random password for {name}"));
    plan.step("apply", format!("{old}; {new} RETAIN CURRENT PASSWORD{rules}"));
    plan.step("test", format!("log in as {name}"));
    plan.step("revoke", format!("{new}; ALTER USER {all} DISCARD OLD PASSWORD"));
    if config.server.is_plaintext() {
        let message = "connections are without TLS: whoever is in between can read passwords";
        plan.warning("mysql.plaintext", message, "give the server a certificate");
    }
    examine_server(&mut plan, config, &server);
    plan.of_form(run, &config.accounts())?;
    let in_grace = run.previous()?.is_some();
    for from in &config.from {
        let whole = config.whole(from);
        if let Some(account) = found.each().find(|account| account.text("host") == from) {
            examine(&mut plan, &whole, &account, in_grace);
        } else {
            let message = format!("the server at {}:{} has no user {whole}", config.server.host, config.server.port);
            let hint = format!("is it this server, and this name? Else there: CREATE USER {whole} …, and its rights");
            plan.problem("mysql.user-missing", message, hint);
        }
    }
    for other in found.each().filter(|account| !config.from.iter().any(|from| account.text("host") == from)) {
        let from = other.text("host");
        let message = format!("there is {} too, which would keep its password", config.whole(from));
        plan.problem("mysql.accounts", message, format!("add {from:?} to `from`, or drop that account"));
    }
    if !found.is_empty()
        && let Some(why) = why_shut_out(admin, config)?
    {
        let hint = "make an account of the user that fits this host, and list it; drop an anonymous one that is nearer";
        plan.problem("mysql.shut-out", why, hint);
    }
    Ok(plan)
}

fn examine_server(plan: &mut Plan, config: &Config, server: &Table) {
    if server.flag("read_only") {
        plan.problem("mysql.read-only", "the server is read-only", "point `host` at the primary");
    }
    if server.number("rights") == 0 {
        let hint = format!("GRANT CREATE USER ON *.* TO {}", config.admin);
        plan.problem("mysql.rights", format!("{} may not alter other users", config.admin), hint);
    }
}

fn examine(plan: &mut Plan, whole: &str, account: &Table, in_grace: bool) {
    if account.flag("locked") {
        let hint = format!("ALTER USER {whole} ACCOUNT UNLOCK");
        plan.problem("mysql.user-locked", format!("{whole} is locked"), hint);
    }
    if !account.flag("usual") {
        let message = format!("{whole} logs in by something else than a password of caching_sha2_password");
        let hint = "rotations are of that alone, without further factors or certificates: give the user that, or rotate another";
        plan.problem("mysql.method", message, hint);
    }
    if account.flag("expired") {
        let message = format!("the password of {whole} has expired: a rotation gives it a new time");
        plan.warning("mysql.expired", message, "nothing, or ALTER USER … PASSWORD EXPIRE again afterwards");
    }
    if account.flag("second") && !in_grace {
        let message = format!("{whole} has a second password that the vault does not know: it is taken away");
        plan.warning("mysql.others", message, "have its clients changed first");
    }
    let attempts = account.number("attempts");
    let message = format!("the server locks {whole} after {attempts} wrong password(s) (FAILED_LOGIN_ATTEMPTS)");
    if attempts == 1 {
        let hint = format!(
            "ALTER USER {whole} FAILED_LOGIN_ATTEMPTS 3: each rotation proves by one that the old password is dead"
        );
        plan.problem("mysql.lockout", message, hint);
    } else if attempts > 1 {
        plan.warning("mysql.lockout", message, "keep `probes` of the rotation below that");
    }
}

/// The rules that a hash is not held against, if there are any.
fn rules(found: &Table, server: &Table) -> String {
    let strictest = |column| found.each().map(|account| account.number(column)).fold(server.number(column), i64::max);
    let words = [("PASSWORD HISTORY", strictest("history")), ("PASSWORD REUSE INTERVAL", strictest("days"))];
    let words: Vec<_> =
        words.iter().filter(|(_, most)| *most > 0).map(|(rule, most)| format!("{rule} {most}")).collect();
    if words.is_empty() { String::new() } else { format!(" (hashes are not held against {})", words.join(", ")) }
}
