//! What stands in the way, seen from the administrator's session.

use keywheel_sdk::ldap::Entry;
use keywheel_sdk::{Error, Plan, Run};

use crate::PASSWORD_LENGTH;
use crate::admin::{Admin, Would};
use crate::config::{Config, Hash};

const CONSTRAINT: u32 = 19;
/// Active Directory says so of itself.
const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";

pub(crate) fn look(run: &Run, config: &Config) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    plan.of_form(run, &config.accounts())?;
    describe(&mut plan, config);
    let admin = Admin::connect(run, config)?;
    let server = admin.server()?;
    if server.has("supportedCapabilities", ACTIVE_DIRECTORY) {
        let hint = "it keeps passwords in unicodePwd, which this plugin does not set";
        plan.problem("openldap.other-server", "the server is an Active Directory", hint);
        return Ok(plan);
    }
    let is_own = server.has("objectClass", "OpenLDAProotDSE");
    if !is_own {
        let message = "the server does not call itself OpenLDAP: what it makes of several passwords is not known";
        plan.warning(
            "openldap.other-server",
            message,
            "try it with an entry that nobody uses, or say `values = \"one\"`",
        );
    }
    let Some(entry) = admin.entry()? else {
        let message = format!("the server has no entry {}, or {} may not see it", config.entry, config.admin);
        let hint = format!("is it this server, and this name? Else an ACL: to dn.exact=\"{}\" by … read", config.entry);
        plan.problem("openldap.entry-missing", message, hint);
        return Ok(plan);
    };
    examine(&mut plan, config, &entry);
    policy(&mut plan, config, &admin, &entry)?;
    rights(&mut plan, config, &admin, is_own)?;
    Ok(plan)
}

fn describe(plan: &mut Plan, config: &Config) {
    let (name, form) = (&config.entry, form(config.hash()));
    plan.step("create", format!("a random password for {name}"));
    if config.is_one() {
        plan.step("apply", format!("modify {name}: replace userPassword by {form} of the new password"));
        plan.step("revoke", "nothing: the old password is gone since apply");
        plan.gap("clients that hold only the old password are refused from apply until each has read the new one");
    } else {
        plan.step("apply", format!("modify {name}: add userPassword {form} of the new password"));
        let other = "where a person set it, replace all values by the new one";
        plan.step("revoke", format!("modify {name}: delete userPassword {form} of the old password; {other}"));
    }
    plan.step("test", format!("bind as {name}, and ask as whom"));
    if config.server.is_plaintext() {
        plan.warning("openldap.plaintext", "connections are without TLS", "give the server a certificate");
    }
}

fn form(hash: Hash) -> &'static str {
    match hash {
        Hash::Ssha => "{SSHA}",
        Hash::Ssha512 => "{SSHA512}",
        Hash::None => "(hashed by the server)",
    }
}

fn examine(plan: &mut Plan, config: &Config, entry: &Entry) {
    let name = &config.entry;
    if entry.has("objectClass", "alias") || entry.has("objectClass", "referral") {
        let message = format!("{name} is an alias or a referral");
        plan.problem("openldap.entry-kind", message, "name the entry that it leads to");
    }
    if !entry.text("pwdAccountLockedTime").is_empty() {
        let hint = "delete pwdAccountLockedTime of it, once it is known who guessed";
        plan.problem("openldap.locked", format!("{name} is locked"), hint);
    }
    if entry.has("pwdReset", "TRUE") {
        let message = format!("{name} has to change its password before anything else (pwdReset)");
        plan.problem("openldap.must-change", message, "delete pwdReset of it");
    }
}

/// The one that the entry names, or else the one that the configuration does: the server tells nobody which is the default.
fn policy(plan: &mut Plan, config: &Config, admin: &Admin<'_>, entry: &Entry) -> Result<(), Error> {
    let own = entry.text("pwdPolicySubentry");
    let name = if own.is_empty() { config.policy.as_deref().unwrap_or_default() } else { own };
    if name.is_empty() {
        return Ok(());
    }
    let Some(policy) = admin.policy(name)? else {
        let message = format!("the password policy {name} cannot be read");
        plan.warning("openldap.policy", message, format!("let {} read it", config.admin));
        return Ok(());
    };
    if policy.has("pwdMustChange", "TRUE") {
        let message = format!("{name} asks for a change after each one that another made (pwdMustChange)");
        let hint = "give the entry a policy of its own without it (pwdPolicySubentry)";
        plan.problem("openldap.must-change", message, hint);
    }
    if policy.number("pwdCheckQuality") > 1 && config.hash() != Hash::None {
        let message = format!("{name} wants to see each password (pwdCheckQuality 2), and would be given a hash");
        plan.problem("openldap.quality", message, "`hash = \"none\"` with `values = \"one\"`, or pwdCheckQuality 1");
    }
    let least = policy.number("pwdMinAge");
    if least > 0 {
        let message = format!("{name} keeps a password as it is for {least} s after a change (pwdMinAge)");
        let hint = "give the entry a policy of its own without it (pwdPolicySubentry): within that time neither a rollback nor the revoke would be taken";
        plan.problem("openldap.min-age", message, hint);
    }
    let most = policy.number("pwdMaxLength");
    if (1..u64::from(PASSWORD_LENGTH)).contains(&most) {
        let message =
            format!("{name} allows passwords of {most} characters, and those made here have {PASSWORD_LENGTH}");
        plan.problem("openldap.length", message, "raise pwdMaxLength");
    }
    if policy.number("pwdInHistory") > 0 && config.is_one() && config.hash() == Hash::None {
        let message = format!("{name} keeps old passwords from coming back (pwdInHistory): a rollback is refused");
        plan.warning("openldap.history", message, "give the administrator's entry the right to manage, or use a hash");
    }
    Ok(())
}

fn rights(plan: &mut Plan, config: &Config, admin: &Admin<'_>, is_own: bool) -> Result<(), Error> {
    let hint = || format!("to dn.exact=\"{}\" attrs=userPassword by dn.exact=\"{}\" =wc …", config.entry, config.admin);
    match if is_own { admin.would_add()? } else { Would::Unknown } {
        Would::Done => {}
        Would::Unknown => {
            let message = format!("whether {} may change userPassword could not be asked", config.admin);
            plan.warning("openldap.rights-unknown", message, "servers with the no-op control can be asked");
        }
        Would::Refused(CONSTRAINT, _) if config.is_one() => {}
        Would::Refused(CONSTRAINT, problem) => {
            plan.problem(
                "openldap.one-value",
                problem.message,
                "`values = \"one\"`, if it is one value that is allowed; or is it a password policy (pwdMinAge)? Name it as `policy`",
            );
        }
        Would::Refused(50, problem) => plan.problem("openldap.rights", problem.message, hint()),
        Would::Refused(_, problem) => plan.problem("openldap.refused", problem.message, "the server's log says more"),
    }
    if !config.is_one() && !admin.may_compare()? {
        let message = format!("{} may not compare userPassword", config.admin);
        plan.problem("openldap.rights", message, hint());
    }
    Ok(())
}
