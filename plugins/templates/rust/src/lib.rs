//! Rotates the password of one PostgreSQL role: the smallest plugin that is whole. Copy this folder to begin with.

use keywheel_sdk::error::ErrorExt;
use keywheel_sdk::sql::{Connector, Piece, Session};
use keywheel_sdk::{Accounts, Error, Outcome, Plan, Plugin, Run, Secret, Verdict, Version};
use serde::Deserialize;

/// Fits schema.json: the host has checked that before a step sees it.
#[derive(Debug, Deserialize)]
struct Config {
    host: String,
    port: u16,
    trust: Option<String>,
    admin: String,
    role: String,
}

enum Example {}

keywheel_sdk::export!(Example);

impl Plugin for Example {
    type Config = Config;

    fn check(config: &Config) -> Vec<(String, String)> {
        let problem = || ("/admin".to_owned(), "must be another role than the one that is rotated".to_owned());
        (config.admin == config.role).then(problem).into_iter().collect()
    }

    fn plan(run: &Run, config: &Config) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        plan.step("apply", format!("ALTER ROLE {} PASSWORD 'SCRAM-SHA-256$…'", config.role));
        plan.gap("clients with only the old password are refused from `apply` until they have read the new one");
        let found = administrator(run, config)?.query(&[
            Piece::Text("SELECT rolcanlogin AS login FROM pg_roles WHERE rolname = "),
            Piece::Param(&config.role),
        ])?;
        if !found.flag("login") {
            let hint = format!("CREATE ROLE {} LOGIN", config.role);
            plan.problem("example.role", format!("there is no role {} that may log in", config.role), hint);
        }
        Ok(plan)
    }

    fn create(run: &Run, config: &Config) -> Result<Outcome, Error> {
        Accounts::one(&config.role).create(run, 32)
    }

    fn apply(run: &Run, config: &Config) -> Result<Outcome, Error> {
        set_password(run, config, &Version::Pending.get(run)?)
    }

    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let Err(refusal) = login(config, &config.role, &run.subject()?) else { return Ok(Verdict::Accepted) };
        Ok(match refusal.sqlstate().as_deref() {
            Some("28P01") => Verdict::Rejected,
            _ => Verdict::Unknown(refusal.message),
        })
    }

    /// PostgreSQL keeps one password for a role: the newer one has overwritten it. The host asks `test` for the proof.
    fn revoke(_: &Run, _: &Config) -> Result<Outcome, Error> {
        Ok(Outcome::Done)
    }

    fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
        match run.current()? {
            Some(current) => set_password(run, config, &current),
            None => Ok(Outcome::Impossible("the password before this run is not known".to_owned())),
        }
    }
}

/// Setting the same password twice brings about the same state, so a repeated step needs no care.
fn set_password(run: &Run, config: &Config, password: &Secret) -> Result<Outcome, Error> {
    let verifier = password.derive("postgres.scram-sha-256", "")?;
    administrator(run, config)?.execute(&[
        Piece::Text("ALTER ROLE "),
        Piece::Name(&config.role),
        Piece::Text(" PASSWORD "),
        Piece::Secret(&verifier),
    ])?;
    Ok(Outcome::Done)
}

fn administrator(run: &Run, config: &Config) -> Result<Session, Error> {
    login(config, &config.admin, &run.input("admin")?).map_err(|problem| problem.at("the administrator's login"))
}

fn login(config: &Config, user: &str, password: &Secret) -> Result<Session, Error> {
    let connector = Connector::new("postgres");
    connector.host(&config.host, config.port);
    connector.database("postgres");
    connector.user(user);
    connector.password(password);
    if let Some(trust) = &config.trust {
        connector.trust(trust);
    }
    Session::open(connector)
}
