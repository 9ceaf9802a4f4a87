//! Servers that copy the primary: what they say of a credential, and whether they are what the configuration takes them for.

use crate::config::Config;
use crate::{as_administrator, connector_at, plan};
use keywheel_sdk::error::ErrorExt;
use keywheel_sdk::nodes::{Node, behind};
use keywheel_sdk::sql::{Piece, Session, Table};
use keywheel_sdk::{Error, Plan, Run, Secret, Verdict};

/// Whoever may not look at what its primary sends sees at least that something listens for it.
const STANDBY: &str = "SELECT quote_ident(current_user) AS admin, \
    current_setting('keywheel.backend', true) NOT IN ('0', '', pg_backend_pid()::text) AS pooled, pg_is_in_recovery() AS standby, CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END AS paused, \
    EXISTS (SELECT FROM pg_stat_wal_receiver) AS receives, \
    (SELECT setting::bigint FROM pg_settings WHERE name = 'recovery_min_apply_delay') AS delay";
/// The same on a server and on whatever was copied from its files.
const SYSTEM: &str = "SELECT system_identifier::text AS system FROM pg_control_system()";

/// Whether each replica takes what the primary has just taken. One that does not has not replayed the change yet: that refuses no password, it is
/// asked again.
///
/// # Errors
/// The first that does not take it, or cannot be asked, by its name.
pub(crate) fn ask(config: &Config, role: &str, password: &Secret) -> Result<Verdict, Error> {
    for node in &config.replicas {
        let login = connector_at(config, node, role);
        login.password(password);
        Session::open(login).map_err(|problem| not_yet(node, problem))?;
    }
    Ok(Verdict::Accepted)
}

fn not_yet(node: &Node, problem: Error) -> Error {
    match problem.sqlstate().as_deref() {
        // A wrong password; no login for the role, or not from here; no right to connect.
        Some("28P01" | "28000" | "42501") => behind(node, &problem.message),
        _ => problem.at(&node.to_string()),
    }
}

/// Looks at each replica, as the administrator there.
///
/// # Errors
/// One that cannot be looked at, by its name: the old password would be dead while the run waits for that one.
pub(crate) fn look(plan: &mut Plan, primary: &Session, run: &Run, config: &Config) -> Result<(), Error> {
    if config.replicas.is_empty() {
        return Ok(());
    }
    let system = system(primary);
    for node in &config.replicas {
        let looked = as_administrator(run, connector_at(config, node, &config.admin))
            .and_then(|admin| examine(plan, config, node, &admin, system.as_deref()));
        looked.map_err(|problem| problem.at(&node.to_string()))?;
    }
    Ok(())
}

/// Not everybody may see it.
fn system(admin: &Session) -> Option<String> {
    let seen = admin.query(&[Piece::Text(SYSTEM)]).ok()?;
    Some(seen.text("system").to_owned())
}

fn examine(plan: &mut Plan, config: &Config, node: &Node, admin: &Session, primary: Option<&str>) -> Result<(), Error> {
    let state = admin.query(&[Piece::Text(STANDBY)])?;
    if !state.flag("standby") {
        let message = format!("{node} is no replica: it is not in recovery, and has passwords of its own");
        let hint = "list servers that stream from the primary; give any other one, a subscriber of a publication too, a rotation of its own";
        plan.problem("postgres.not-a-replica", message, hint);
        return Ok(());
    }
    match (primary, system(admin).as_deref()) {
        (Some(primary), Some(own)) if primary != own => {
            let message = format!("{node} is a replica of another primary than {}", config.server.host);
            let hint = "list the replicas of this one (pg_control_system() has the same system_identifier on all)";
            plan.problem("postgres.other-cluster", message, hint);
            return Ok(());
        }
        (Some(_), Some(_)) => {}
        _ => {
            let message = format!("whether {node} is a replica of {} was not looked at", config.server.host);
            let hint =
                format!("GRANT EXECUTE ON FUNCTION pg_control_system() TO {} -- on the primary", state.text("admin"));
            plan.warning("postgres.cluster-unknown", message, hint);
        }
    }
    plan::pooled(plan, &node.to_string(), &state);
    replay(plan, node, &state);
    config.accounts().names().iter().try_for_each(|name| enter(plan, config, node, admin, name))
}

/// What keeps a change of the primary from arriving.
fn replay(plan: &mut Plan, node: &Node, state: &Table) {
    if state.flag("paused") {
        let message = format!("{node} has paused its replay: it would never take the new password");
        plan.problem("postgres.replica-paused", message, "SELECT pg_wal_replay_resume()");
    } else if !state.flag("receives") {
        let message =
            format!("{node} receives nothing from its primary now: nobody knows when it would take the new password");
        let hint = "its log says why (primary_conninfo); one that is fed from an archive alone is not for `replicas`";
        plan.problem("postgres.replica-cut-off", message, hint);
    }
    let delay_s = state.number("delay") / 1000;
    if delay_s > 0 {
        let message = format!("{node} replays {delay_s} s late by its own settings: no run promotes before that");
        let hint =
            "take it out of `replicas` if no client logs in there; else ALTER SYSTEM RESET recovery_min_apply_delay";
        plan.warning("postgres.replica-delayed", message, hint);
    }
}

/// Whether a role could log in there with the right password, and not without one: pg_hba.conf is each server's own.
fn enter(plan: &mut Plan, config: &Config, node: &Node, admin: &Session, name: &str) -> Result<(), Error> {
    let role = plan::role(admin, name, &[])?;
    if !role.flag("login") {
        // The primary says why; or it is behind, and the login that follows waits for it.
        return Ok(());
    }
    plan::limit(plan, name, &format!(" at {node}"), &role);
    match Session::open(connector_at(config, node, name)) {
        Ok(_) => {
            let message = format!("{node} lets {name} in without asking for its password: no login proves one");
            plan.problem("postgres.not-asked", message, "let pg_hba.conf ask for it: scram-sha-256");
        }
        Err(refused) if refused.sqlstate().as_deref() == Some("28000") => {
            let message = format!("{node} lets {name} not in from here, whatever its password is");
            plan.problem(
                "postgres.replica-shut",
                message,
                "give pg_hba.conf of that server a line for it: scram-sha-256",
            );
        }
        Err(_) => {}
    }
    Ok(())
}
