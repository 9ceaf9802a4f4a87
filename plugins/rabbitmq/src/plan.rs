//! What stands in the way, seen as the administrator.

use keywheel_sdk::error::ErrorExt;
use keywheel_sdk::{Error, ErrorKind, Plan, Run, Version};

use crate::Config;
use crate::api::{Admin, Permission};

/// More lines than these help nobody.
const SHOWN: usize = 10;
/// Of a password that is replaced and that the vault never had. The second is of sessions, which are not looked at here.
const REPLACES: [&str; 2] = ["rabbitmq.replaces", "rabbitmq.replaces"];

pub(crate) fn look(run: &Run, config: &Config) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let accounts = config.accounts();
    let current = accounts.name_if_any(run, Version::Current)?;
    let next = accounts.next(current);
    plan.step("create", format!("a random password for {next}"));
    plan.step("apply", format!("PUT /api/users/{next} with its hash, and with the tags that it has"));
    plan.step("test", format!("GET /api/whoami as {next}"));
    if let (true, Some(current)) = (config.is_pair(), current) {
        plan.step(
            "revoke",
            format!("PUT /api/users/{current} with an empty hash: it has no password until its turn comes"),
        );
    }
    let admin = Admin::open(run, config)?;
    let mut missing = false;
    for name in accounts.names() {
        match admin.user(name) {
            Ok(_) => {}
            Err(problem) if problem.is_missing() => {
                missing = true;
                absent(&mut plan, config, name);
            }
            Err(problem) if problem.kind == ErrorKind::Denied => {
                let hint = format!("rabbitmqctl set_user_tags {} administrator", config.admin);
                plan.problem("rabbitmq.rights", problem.message, hint);
                return Ok(plan);
            }
            Err(problem) => return Err(problem),
        }
    }
    if missing {
        return Ok(plan);
    }
    let bare = !admin.has_password(next)?;
    match (config.is_pair(), current) {
        (true, current) => {
            if accounts.stranger(run)? == Some(next) && !bare {
                plan.replaces(REPLACES, next, false, 0);
            }
            let other = accounts.names().iter().map(String::as_str).find(|name| *name != next);
            alike(&mut plan, &admin, (current.or(other).unwrap_or(next), next))?;
        }
        (false, _) if bare => {
            let message = format!("{next} has no password now: it gets one, and with it a way to log in");
            plan.warning(
                "rabbitmq.no-password",
                message,
                "is it this user? One that comes in by a certificate needs none",
            );
        }
        (false, _) => {}
    }
    Ok(plan)
}

fn absent(plan: &mut Plan, config: &Config, name: &str) {
    let message = format!("the server at {}:{} has no user {name} of its own", config.host, config.port);
    let hint = "is it this server, and this name? Users of another backend (LDAP, OAuth, HTTP) have their passwords there; else rabbitmqctl add_user";
    plan.problem("rabbitmq.user-missing", message, hint);
}

/// What the one whose turn it is has not as the other one has it: clients go from one to the other.
fn alike(plan: &mut Plan, admin: &Admin<'_>, (from, to): (&str, &str)) -> Result<(), Error> {
    let (has, gets) = (admin.user(from)?.tags(), admin.user(to)?.tags());
    if has != gets {
        let message = format!("{from} has the tags [{}], and {to} has [{}]", has.join(" "), gets.join(" "));
        plan.problem("rabbitmq.tags", message, format!("rabbitmqctl set_user_tags {to} {}", has.join(" ")));
    }
    for (kind, set, clear) in [
        ("permissions", "set_permissions", "clear_permissions"),
        ("topic-permissions", "set_topic_permissions", "clear_topic_permissions"),
    ] {
        let (has, gets) = (admin.permissions(from, kind)?, admin.permissions(to, kind)?);
        let lacks = has.iter().filter(|own| !gets.contains(own)).map(|(place, words)| {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            format!("rabbitmqctl {set} -p {} {to} {}", quoted(place), words.join(" "))
        });
        // Of topics an exchange has its own.
        let exchange = |entry: &Permission| (kind != "permissions").then(|| entry.1[0].clone());
        let beyond =
            gets.iter().filter(|own| !has.iter().any(|other| other.0 == own.0 && exchange(other) == exchange(own)));
        let beyond = beyond.map(|own| {
            let exchange = exchange(own).map(|name| format!(" {}", quoted(&name))).unwrap_or_default();
            format!("rabbitmqctl {clear} -p {} {to}{exchange}", quoted(&own.0))
        });
        let lines: Vec<String> = lacks.chain(beyond).collect();
        if !lines.is_empty() {
            let message = format!("{to} has not the {kind} of {from} ({} of them)", lines.len());
            plan.problem("rabbitmq.permissions", message, lines[..lines.len().min(SHOWN)].join("; "));
        }
    }
    Ok(())
}

/// As a shell takes it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
