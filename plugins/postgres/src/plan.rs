//! What stands in the way, seen from the administrator's session.

use crate::config::Config;
use crate::{connector, pair, replicas};
use keywheel_sdk::sql::{Piece, Session, Table};
use keywheel_sdk::{Error, Plan, Run, Version};

const SERVER: &str = "SELECT current_setting('server_version_num')::bigint AS version, pg_is_in_recovery() AS standby, \
    r.rolsuper AS super, r.rolcreaterole AS createrole, quote_ident(r.rolname) AS admin, quote_ident(current_database()) AS database, \
    current_setting('keywheel.backend', true) NOT IN ('0', '', pg_backend_pid()::text) AS pooled \
    FROM pg_roles r WHERE r.rolname = current_user";
const ROLE: &str = "SELECT quote_ident(r.rolname) AS quoted, r.rolsuper AS super, r.rolcanlogin AS login, \
    coalesce(r.rolvaliduntil < now(), false) AS expired, coalesce(nullif(r.rolvaliduntil, 'infinity')::text, '') AS until, \
    pg_has_role(current_user, r.oid, 'MEMBER WITH ADMIN OPTION') AS administered, \
    has_database_privilege(r.oid, current_database(), 'CONNECT') AS connect, r.rolconnlimit::bigint AS most, (SELECT \
    count(*) FROM pg_stat_get_activity(NULL) WHERE usesysid = r.oid AND application_name NOT LIKE 'keywheel %') AS sessions";
/// Of two roles that are used in turn.
const PAIR: &str = ", (SELECT count(*) FROM pg_shdepend s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid \
    AND s.deptype = 'o' AND s.classid <> 'pg_default_acl'::regclass) AS owned";
/// What only a superuser sees; at last: no line of `pg_hba.conf` that is loaded lets anybody in unasked, nor does a pooler at another port.
const SUPER: &str = ", (SELECT rolpassword IS NULL FROM pg_authid WHERE oid = r.oid) AS bare, NOT EXISTS (SELECT FROM \
    pg_hba_file_rules h WHERE h.error IS NOT NULL OR to_jsonb(h)->>'file_name' <> current_setting('hba_file') \
    OR h.type <> 'local' AND h.auth_method NOT IN ('scram-sha-256', 'md5', 'password', 'reject')) AND (SELECT \
    greatest(f.modification, f.change) + interval '1 s' < pg_conf_load_time() \
    FROM pg_stat_file(current_setting('hba_file'), true) f) AND inet_server_port()::text = ";

pub(crate) fn role(admin: &Session, name: &str, more: &[Piece<'_>]) -> Result<Table, Error> {
    let from = [Piece::Text(" FROM pg_roles r WHERE r.rolname = "), Piece::Param(name)];
    admin.query(&[&[Piece::Text(ROLE)], more, &from].concat())
}

/// Why a role cannot log in whatever its password is; none if it can.
pub(crate) fn why_locked(admin: &Session, name: &str) -> Result<Option<String>, Error> {
    let role = role(admin, name, &[])?.or_missing("the role", name)?;
    Ok(if role.flag("login") {
        role.flag("expired").then(|| format!("the password of {name} expired at {}", role.text("until")))
    } else {
        Some(format!("the role {name} is locked (NOLOGIN)"))
    })
}

pub(crate) fn look(admin: &Session, run: &Run, config: &Config) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    plan.of_form(run, &config.accounts())?;
    describe(&mut plan, config, config.accounts().name_if_any(run, Version::Current)?);
    let server = admin.query(&[Piece::Text(SERVER)])?;
    if server.flag("standby") {
        plan.problem("postgres.standby", "the server is a read-only standby", "point `host` at the primary");
    }
    pooled(&mut plan, &format!("{}:{}", config.server.host, config.server.port), &server);
    if config.server.is_plaintext() && !config.server.is_socket() {
        plan.warning("postgres.plaintext", "connections are without TLS", "give the server a certificate");
    }
    let (pair, seen) = (config.is_pair(), server.flag("super"));
    let (pair, port) = (Piece::Text(if pair { PAIR } else { "" }), config.server.port.to_string());
    let more = [pair, Piece::Text(if seen { SUPER } else { ", '' = " }), Piece::Param(&port), Piece::Text(" AS asks")];
    let mut owned = Vec::new();
    for name in config.accounts().names() {
        // Some who may do everything else may not read that file.
        let role = role(admin, name, &more).or_else(|_| role(admin, name, &[pair]))?;
        examine(&mut plan, config, &server, name, &role);
        owned.push(role.number("owned"));
        if config.accounts().stranger(run)? == Some(name) {
            plan.replaces(["postgres.replaces", "postgres.in-use"], name, role.flag("bare"), role.number("sessions"));
        }
        // Each time: pg_hba.conf may have changed, and after `apply` it would be too late. Where the file says it, no login is needed.
        let asks = role.flag("asks") && !server.flag("pooled");
        if !asks && Session::open(connector(config, name)).is_ok() {
            let message = format!("the server lets {name} in without asking for its password: no login proves one");
            plan.problem("postgres.not-asked", message, "let pg_hba.conf ask for it: scram-sha-256");
        }
    }
    if let [first, second] = config.accounts().names() {
        let turn = [(first.as_str(), second.as_str()), (second, first)];
        for ((name, other), owned) in turn.into_iter().zip(owned).filter(|(_, owned)| *owned > 0) {
            pair::owns(&mut plan, admin, (name, other), owned);
        }
        let is_second = config.accounts().name_if_any(run, Version::Current)? == Some(second);
        pair::look(&mut plan, admin, turn[usize::from(is_second)]);
    }
    replicas::look(&mut plan, admin, run, config)?;
    Ok(plan)
}

/// The process that a login was told is not the one that works for it: something in between has logged in by itself. A port that is only passed on
/// changes nothing of that.
pub(crate) fn pooled(plan: &mut Plan, place: &str, server: &Table) {
    if server.flag("pooled") {
        let message = format!("{place} is a pooler, and not the server behind it");
        let hint = "name the server itself here, and give the pooler the new password by auth_query: a userlist.txt keeps the old one, and with \
            pool_mode = transaction or statement the server's deadlines are not those of Keywheel's own statements";
        plan.warning("postgres.pooler", message, hint);
    }
}

fn examine(plan: &mut Plan, config: &Config, server: &Table, name: &str, role: &Table) {
    if role.is_empty() {
        let message = format!("the server at {}:{} has no role {name}", config.server.host, config.server.port);
        let quoted = name.replace('"', "\"\"");
        let hint = format!(
            "is it this server, and this name? Else CREATE ROLE \"{quoted}\" LOGIN there, and import its password"
        );
        return plan.problem("postgres.role-missing", message, hint);
    }
    let (quoted, admin) = (role.text("quoted"), server.text("admin"));
    if !role.flag("login") {
        let hint = format!("ALTER ROLE {quoted} LOGIN");
        plan.problem("postgres.role-locked", format!("{name} is locked (NOLOGIN)"), hint);
    }
    if !role.flag("connect") {
        let hint = format!("GRANT CONNECT ON DATABASE {} TO {quoted}", server.text("database"));
        plan.problem("postgres.connect", format!("{name} may not connect to the database"), hint);
    }
    limit(plan, name, "", role);
    if role.flag("super") {
        let hint = "give the application a role without SUPERUSER and rotate that";
        plan.problem("postgres.superuser", format!("the role {name} is a superuser"), hint);
    } else if !server.flag("super") && !server.flag("createrole") {
        // Once is enough, of whichever of the roles.
        if config.accounts().names().first().is_some_and(|first| first == name) {
            let hint = format!("ALTER ROLE {admin} CREATEROLE");
            plan.problem("postgres.createrole", format!("{} may not alter other roles", config.admin), hint);
        }
    } else if !server.flag("super") && server.number("version") >= 160_000 && !role.flag("administered") {
        let hint = format!("GRANT {quoted} TO {admin} WITH ADMIN OPTION");
        plan.problem("postgres.admin-option", format!("{} has no ADMIN OPTION on {name}", config.admin), hint);
    }
    if !role.text("until").is_empty() {
        let message = format!("the password of {name} is valid until {}", role.text("until"));
        plan.warning("postgres.valid-until", message, "the new one has no end: the schedule takes its place");
    }
}

/// Each server counts its own sessions. `place`: where, unless it is the primary.
pub(crate) fn limit(plan: &mut Plan, name: &str, place: &str, role: &Table) {
    let (sessions, most) = (role.number("sessions"), role.number("most"));
    if most >= 0 && sessions >= most {
        let message =
            format!("{name} has {sessions} sessions{place} and CONNECTION LIMIT {most}: no login is left to prove one");
        let hint = format!("end one of them, or ALTER ROLE {} CONNECTION LIMIT {}", role.text("quoted"), sessions + 2);
        plan.problem("postgres.connection-limit", message, hint);
    }
}

fn describe(plan: &mut Plan, config: &Config, current: Option<&str>) {
    let next = config.accounts().next(current);
    let replicas = match config.replicas.len() {
        0 => String::new(),
        count => format!(", and at each of {count} replica(s)"),
    };
    plan.step("create", format!("a random password for {next}"));
    plan.step("apply", format!("ALTER ROLE {next} PASSWORD 'SCRAM-SHA-256$…' VALID UNTIL 'infinity'"));
    plan.step("test", format!("log in as {next}{replicas}"));
    // Of one role the host knows what becomes of the old password: it is overwritten.
    if let (true, Some(current)) = (config.is_pair(), current) {
        plan.step("revoke", format!("ALTER ROLE {current} PASSWORD NULL"));
    }
}
