//! Rotates the password of a PostgreSQL role.
//!
//! - mode `role`: one role. The server keeps one password for it, so clients that hold only the old one are refused until
//!   they have the new one (slot class C).
//! - mode `alternating`: two roles with the same rights, used in turn. The one that clients use now keeps its password
//!   until the grace period is over: no gap. The secret has the user name beside the password: a JSON document or a connection string.
//!
//! A password is only ever sent by its own login: `ALTER ROLE` gets a SCRAM verifier that the host derives. It always sets
//! `VALID UNTIL` too, because the server answers an expired password as it answers a wrong one.
//!
//! Statements go to the primary alone. Its replicas (`replicas`) have each change when they have replayed it: a new password counts as
//! accepted once all of them take it, and as refused by the primary's word alone.

mod config;
mod pair;
mod plan;
mod replicas;

use keywheel_sdk::error::{ErrorExt, refused_because};
use keywheel_sdk::nodes::Node;
use keywheel_sdk::sql::{Connector, Piece, Session};
use keywheel_sdk::{Accounts, Back, Error, Outcome, Plan, Plugin, Run, Verdict, Version};

use config::{Config, Mode};

/// Letters, digits, `-` and `_`: 192 bits.
const PASSWORD_LENGTH: u16 = 32;
const NO_PASSWORD: &[Piece<'_>] = &[Piece::Text(" PASSWORD NULL")];

enum Postgres {}
keywheel_sdk::export!(Postgres);

impl Plugin for Postgres {
    type Config = Config;

    fn check(config: &Config) -> Vec<(String, String)> {
        config.problems()
    }

    fn plan(run: &Run, config: &Config) -> Result<Plan, Error> {
        plan::look(&administrator(run, config)?, run, config)
    }

    fn create(run: &Run, config: &Config) -> Result<Outcome, Error> {
        config.accounts().create(run, PASSWORD_LENGTH)
    }

    fn apply(run: &Run, config: &Config) -> Result<Outcome, Error> {
        set_password(run, config, Version::Pending)
    }

    fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
        let accounts = config.accounts();
        let role = accounts.name(run, Version::Subject)?;
        let password = accounts.password(run, Version::Subject)?;
        let login = connector(config, role);
        login.password(&password);
        let Err(refusal) = Session::open(login) else { return replicas::ask(config, role, &password) };
        Ok(match refusal.sqlstate().as_deref() {
            // The server says this of a role that is missing or expired, too. Only the password of a role that could
            // have logged in was refused.
            Some("28P01") => {
                refused_because(administrator(run, config).and_then(|admin| plan::why_locked(&admin, role)))?
            }
            Some("28000") => Verdict::Account(format!("{role} may not log in, or not from here (pg_hba.conf)")),
            Some("42501") => Verdict::Limited(format!("{role} may not connect to the database {}", config.database())),
            _ => Verdict::Unknown(format!("{}: {}", refusal.code, refusal.message)),
        })
    }

    fn revoke(run: &Run, config: &Config) -> Result<Outcome, Error> {
        let shut = config.accounts().to_revoke(run)?;
        shut.map_or(Ok(Outcome::Done), |role| alter(run, config, role, NO_PASSWORD))
    }

    fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
        match config.accounts().to_roll_back(run)? {
            Back::Nothing => Ok(Outcome::Done),
            Back::Restore => set_password(run, config, Version::Current),
            Back::Shut(role) => alter(run, config, role, NO_PASSWORD),
        }
    }
}

fn set_password(run: &Run, config: &Config, version: Version) -> Result<Outcome, Error> {
    let accounts = config.accounts();
    let verifier = accounts.password(run, version)?.derive("postgres.scram-sha-256", "")?;
    let password = [Piece::Text(" PASSWORD "), Piece::Secret(&verifier), Piece::Text(" VALID UNTIL 'infinity'")];
    alter(run, config, accounts.name(run, version)?, &password)
}

fn alter(run: &Run, config: &Config, role: &str, change: &[Piece<'_>]) -> Result<Outcome, Error> {
    let statement = [&[Piece::Text("ALTER ROLE "), Piece::Name(role)], change].concat();
    let done = administrator(run, config)?.execute(&statement).map(|_| Outcome::Done);
    done.map_err(|problem| problem.at(&format!("ALTER ROLE {role}")))
}

fn administrator(run: &Run, config: &Config) -> Result<Session, Error> {
    as_administrator(run, connector(config, &config.admin))
}

fn as_administrator(run: &Run, login: Connector) -> Result<Session, Error> {
    login.password(&run.input("admin")?);
    Session::open(login).map_err(|problem| problem.at("the administrator's login"))
}

fn connector(config: &Config, user: &str) -> Connector {
    config.server.connector("postgres", user, config.database())
}

fn connector_at(config: &Config, node: &Node, user: &str) -> Connector {
    config.server.connector_at(node, "postgres", user, config.database())
}

impl Config {
    fn accounts(&self) -> Accounts<'_> {
        match &self.mode {
            Mode::Role { role } => Accounts::one(role).written(&self.written),
            Mode::Alternating { roles } => Accounts::two(roles).written(&self.written),
        }
    }
}
