//! Rotates the password of an ACL user of Redis or Valkey, on every server that is listed.
//!
//! A user has a set of passwords, so the old one works until it is removed: no gap. The set is changed by hashes, the
//! password itself is only ever sent by its own login. ACLs are not replicated: each node is changed, and each must
//! accept (or refuse) before the answer is `accepted` (or `rejected`). `requirepass` is never touched: it replaces every
//! password of the user `default` at once.

mod node;
mod plan;

use keywheel_sdk::error::{ErrorExt, not_asked};
use keywheel_sdk::nodes::{Node, ask_each, change_each};
use keywheel_sdk::resp::{Reply, Session, refused};
use keywheel_sdk::{Accounts, Error, Outcome, Plan, Plugin, Run, Secret, Verdict, Version, Written};
use node::Admin;
use serde::Deserialize;

/// Letters, digits, `-` and `_`: 288 bits. The server keeps unsalted hashes, so the password must not be guessable.
const PASSWORD_LENGTH: u16 = 48;
const HASH: &str = "redis.sha256";
const TIMEOUT_MS: u32 = 10_000;

/// Each as schema.json describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    nodes: Vec<Node>,
    transport: Option<String>,
    trust: Option<String>,
    user: String,
    admin: String,
    #[serde(flatten)]
    written: Written,
    persist: Option<String>,
    #[serde(default)]
    kill_connections: bool,
}

impl Config {
    fn accounts(&self) -> Accounts<'_> {
        Accounts::one(&self.user).written(&self.written)
    }

    fn connect(&self, node: &Node) -> Result<Session, Error> {
        Session::connect(node, self.transport.as_deref() == Some("plaintext"), self.trust.as_deref(), TIMEOUT_MS)
    }
}

enum Redis {}
keywheel_sdk::export!(Redis);

impl Plugin for Redis {
    type Config = Config;

    fn check(config: &Config) -> Vec<(String, String)> {
        config.written.problems_of(&config.user, &config.admin)
    }

    fn plan(run: &Run, config: &Config) -> Result<Plan, Error> {
        plan::look(run, config)
    }

    fn create(run: &Run, config: &Config) -> Result<Outcome, Error> {
        config.accounts().create(run, PASSWORD_LENGTH)
    }

    fn apply(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let hash = config.accounts().password(run, Version::Pending)?.derive(HASH, "")?;
        on_each(run, config, |admin| {
            // `ACL SETUSER` would make a user that does not exist, with the new password and no rights.
            admin.user(config)?.or_missing("the user", &config.user)?;
            admin.set_user(config, "#", &hash)?.accepted().map(drop)
        })
    }

    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let subject = config.accounts().password(run, Version::Subject)?;
        ask_each(&config.nodes, |node| ask(run, config, node, &subject))
    }

    fn revoke(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let subject = config.accounts().password(run, Version::Subject)?;
        if config.accounts().is_current(run, &subject)? {
            return Ok(Outcome::Impossible("it is the password that clients use now".to_owned()));
        }
        let hash = subject.derive(HASH, "")?;
        on_each(run, config, |admin| {
            remove(admin, config, &hash)?;
            let kill = ["CLIENT", "KILL", "USER", &config.user];
            if config.kill_connections { admin.0.ask(&kill).map(drop) } else { Ok(()) }
        })
    }

    fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let password = |version| config.accounts().password_if_any(run, version);
        let Some(pending) = password(Version::Pending)? else { return Ok(Outcome::Done) };
        let keep = config.accounts().is_current(run, &pending)?;
        let pending = pending.derive(HASH, "")?;
        let current = password(Version::Current)?.map(|current| current.derive(HASH, "")).transpose()?;
        on_each(run, config, |admin| {
            if admin.user(config)? == Reply::Null {
                return Ok(());
            }
            current.iter().try_for_each(|current| admin.set_user(config, "#", current)?.accepted().map(drop))?;
            if keep { Ok(()) } else { remove(admin, config, &pending) }
        })
    }
}

/// Makes the same change on every node, and has it written where it survives a restart.
fn on_each(run: &Run, config: &Config, change: impl Fn(&Admin) -> Result<(), Error>) -> Result<Outcome, Error> {
    change_each(&config.nodes, |node| {
        let admin = Admin::connect(run, config, node)?;
        // A server that cannot write is left as it is.
        admin.persist(config)?;
        change(&admin)?;
        admin.persist(config).map_err(ErrorExt::after_an_effect)
    })?;
    Ok(Outcome::Done)
}

/// Removes a password. The server calls it an error when there is no such password: then it is done.
fn remove(admin: &Admin, config: &Config, hash: &Secret) -> Result<(), Error> {
    match admin.set_user(config, "!", hash)?.error_word() {
        // The shown word is the same for other errors; the host asks with `test` whether the password is dead.
        None | Some("ERR") => Ok(()),
        Some(word) => Err(refused(word)),
    }
}

/// One fresh login with the subject on one node, and what the administrator sees of its user: what the answer is worth.
fn ask(run: &Run, config: &Config, node: &Node, subject: &Secret) -> Result<Verdict, Error> {
    let (session, name) = (config.connect(node)?, &config.user);
    let answer = session.authenticate(name, subject)?;
    let is_accepted = match answer.error_word() {
        // The connection is of use: what the user may do is not a matter of its password, so `NOPERM` is as good as PONG.
        None => session.words(&["PING"]).map(|_| true)?,
        // The server says this of a user that is missing or off, too.
        Some("WRONGPASS") => false,
        Some(word) => return Ok(Verdict::Unknown(format!("the server answered {word}"))),
    };
    let user = Admin::connect(run, config, node).and_then(|admin| admin.user(config)?.or_missing("the user", name));
    Ok(match user {
        Ok(user) if user.lists("flags", "off") => Verdict::Account(format!("the user {name} is off")),
        Ok(user) if is_accepted && user.lists("flags", "nopass") => {
            return Err(not_asked(format!("the user {name} takes any password (nopass), so a login proves none")));
        }
        Ok(_) if is_accepted => Verdict::Accepted,
        Ok(_) => Verdict::Rejected,
        // An administrator that is not let in stops the next rotation, and not what is proved today.
        Err(problem) if is_accepted && problem.is_refusal() => Verdict::Accepted,
        Err(problem) if problem.is_missing() || problem.is_refusal() => return Err(problem),
        Err(problem) => Verdict::Unknown(format!("the user {name} could not be looked at: {}", problem.message)),
    })
}
