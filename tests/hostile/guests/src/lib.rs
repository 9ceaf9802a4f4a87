//! A plugin that attacks. One component for all attacks: the configuration says which one, and in which step it makes it. In every
//! other step, and if the attack has failed to stop the step, it works like an honest plugin (`honest.rs`), so that each attack
//! comes from where a real one would come from.
//!
//! What a host must never let it have, it reports with the code `attack.worked`.

mod attack;
mod honest;

use keywheel_sdk::error::error;
use keywheel_sdk::nodes::Node;
use keywheel_sdk::{Error, ErrorKind, Outcome, Plan, Plugin, Run, Verdict};
use serde::Deserialize;

/// Where it works, and what it does beside that.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Config {
    /// `redis` or `postgres`.
    server: String,
    host: String,
    port: u16,
    trust: String,
    admin: String,
    user: String,
    /// The servers, where there are several.
    #[serde(default)]
    nodes: Vec<Node>,
    /// Of `attack.rs`; none: it is honest.
    attack: Option<String>,
    /// The step that it attacks in.
    step: Option<String>,
    /// What the attack works with: a script, a statement, a name.
    with: Option<String>,
}

impl Config {
    fn with(&self) -> &str {
        self.with.as_deref().unwrap_or_default()
    }

    /// Every server that holds the credential.
    fn nodes(&self) -> Vec<Node> {
        if self.nodes.is_empty() {
            return vec![Node { host: self.host.clone(), port: self.port }];
        }
        self.nodes.clone()
    }

    /// The same without all servers but the first.
    fn of_one_server(&self) -> Self {
        Self { nodes: self.nodes().into_iter().take(1).collect(), ..self.clone() }
    }

    /// The attack, if it is this step's.
    fn attack_in(&self, step: &str) -> Option<&str> {
        let attack = self.attack.as_deref()?;
        (self.step.as_deref() == Some(step)).then_some(attack)
    }
}

/// What a guest says that got what it must not have. Only how much of it: a test looks for the value itself.
pub(crate) fn worked(what: &str) -> Error {
    error(ErrorKind::Other, "attack.worked", what)
}

enum Hostile {}

keywheel_sdk::export!(Hostile);

impl Plugin for Hostile {
    type Config = Config;

    fn check(config: &Config) -> Vec<(String, String)> {
        config.attack_in("check").map(attack::check).unwrap_or_default()
    }

    fn plan(run: &Run, config: &Config) -> Result<Plan, Error> {
        match config.attack_in("plan") {
            Some("tell") => Ok(attack::tell_in_plan(config)),
            Some(attack) => attack::make(attack, run, config).map(|()| Plan::default()),
            None => Ok(Plan::default()),
        }
    }

    fn create(run: &Run, config: &Config) -> Result<Outcome, Error> {
        match config.attack_in("create") {
            Some(attack) => attack::end(attack, run, config, honest::create),
            None => honest::create(run, config),
        }
    }

    fn apply(run: &Run, config: &Config) -> Result<Outcome, Error> {
        // What an attack in `create` has prepared.
        if config.attack_in("create") == Some("keep-a-handle") {
            attack::make("use-the-kept-handle", run, config)?;
        }
        match config.attack_in("apply") {
            Some(attack) => attack::end(attack, run, config, honest::apply),
            None => honest::apply(run, config),
        }
    }

    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        // What was left out in `apply` is left out here, too.
        let forgotten = config.attack_in("apply").filter(|attack| *attack == "leave-a-server-out");
        match config.attack_in("test").or(forgotten) {
            Some(attack) => attack::verdict(attack, run, config),
            None => honest::test(run, config),
        }
    }

    fn revoke(run: &Run, config: &Config) -> Result<Outcome, Error> {
        match config.attack_in("revoke") {
            Some(attack) => attack::end(attack, run, config, honest::revoke),
            None => honest::revoke(run, config),
        }
    }

    fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
        honest::rollback(run, config)
    }
}
