//! What stands in the way, seen from the administrator's session on each node.

use keywheel_sdk::nodes::{Node, look_each};
use keywheel_sdk::resp::Reply;
use keywheel_sdk::{Error, Plan, Run};

use crate::{Config, node::Admin};

pub(crate) fn look(run: &Run, config: &Config) -> Result<Plan, Error> {
    let (mut plan, user) = (Plan::default(), &config.user);
    plan.of_form(run, &config.accounts())?;
    plan.step("create", format!("a random password for {user}"));
    plan.step("apply", format!("ACL SETUSER {user} #<sha256 of the new password> on {} node(s)", config.nodes.len()));
    plan.step("test", format!("AUTH {user} on every node"));
    plan.step("revoke", format!("ACL SETUSER {user} !<sha256 of the old password>"));
    if config.transport.as_deref() == Some("plaintext") {
        plan.warning("redis.plaintext", "connections are without TLS", "give the servers certificates");
    }
    look_each(&mut plan, &config.nodes, ("redis.rights", &all_rights(config)), |plan, node| {
        examine(plan, config, node, &Admin::connect(run, config, node)?)
    })?;
    Ok(plan)
}

fn examine(plan: &mut Plan, config: &Config, node: &Node, admin: &Admin) -> Result<(), Error> {
    let name = &config.user;
    let user = admin.user(config)?;
    if user == Reply::Null {
        let hint = format!("is it this server, and this name? Else there: ACL SETUSER {name} on >… and its rights");
        plan.problem("redis.user-missing", format!("the server at {node} has no user {name}"), hint);
    }
    if user.lists("flags", "off") {
        plan.problem("redis.user-off", format!("{node}: the user {name} is off"), format!("ACL SETUSER {name} on"));
    }
    if user.lists("flags", "nopass") {
        let message = format!("{node}: the user {name} takes any password (nopass)");
        plan.problem("redis.nopass", message, format!("ACL SETUSER {name} resetpass >…, then import that"));
    }
    let held = user.field("passwords").map_or(0, |list| list.items().len());
    plan.others("redis.others", &format!("{node}: the user {name}"), held);
    rights(plan, config, node, admin)?;
    durability(plan, config, node, admin)?;
    topology(plan, config, node, admin)
}

fn all_rights(config: &Config) -> String {
    format!("ACL SETUSER {} +acl +config|get +config|rewrite +info +role", config.admin)
}

fn rights(plan: &mut Plan, config: &Config, node: &Node, admin: &Admin) -> Result<(), Error> {
    let mut needed = vec![vec!["ACL", "SETUSER", &config.user]];
    if config.persist.is_none() && !admin.has_acl_file()? {
        needed.push(vec!["CONFIG", "REWRITE"]);
    }
    for words in needed {
        let dry = admin.0.words(&[&["ACL", "DRYRUN", &config.admin], &words[..]].concat())?;
        if dry.error_word().is_some() {
            let message = format!("{node}: whether {} may change users could not be asked", config.admin);
            plan.warning("redis.rights-unknown", message, "servers from 7.0 on can be asked (ACL DRYRUN)");
            break;
        } else if dry.text() != "OK" {
            let message = format!("{node}: {} may not {}", config.admin, words.join(" "));
            plan.problem("redis.rights", message, all_rights(config));
        }
    }
    Ok(())
}

fn durability(plan: &mut Plan, config: &Config, node: &Node, admin: &Admin) -> Result<(), Error> {
    if admin.has_acl_file()? {
        return Ok(());
    }
    let message = format!("{node}: a restart brings the old passwords back");
    match config.persist.as_deref() {
        Some("none") => plan.warning("redis.not-durable", message, "configure `aclfile`"),
        _ if !admin.0.ask(&["INFO", "server"])?.info("config_file").is_empty() => {}
        _ => plan.problem("redis.not-durable", message, "configure `aclfile` or, in words, `persist = \"none\"`"),
    }
    Ok(())
}

fn topology(plan: &mut Plan, config: &Config, node: &Node, admin: &Admin) -> Result<(), Error> {
    let role = admin.0.ask(&["ROLE"])?;
    let replicas = role.items().get(2).map_or(0, |replicas| replicas.items().len());
    if role.items().first().is_some_and(|kind| kind.text() == "master") && replicas >= config.nodes.len() {
        let message = format!("{node} has {replicas} replica(s), but only {} node(s) are listed", config.nodes.len());
        plan.warning("redis.nodes", message, "list every node: ACLs are not replicated");
    }
    let master_user = admin.0.ask(&["CONFIG", "GET", "masteruser"])?;
    if master_user.field("masteruser").is_some_and(|user| user.text() == config.user) {
        let message = format!("{node} replicates as {}: it would lose its master", config.user);
        plan.problem("redis.master-user", message, "replicate as another user");
    }
    Ok(())
}
