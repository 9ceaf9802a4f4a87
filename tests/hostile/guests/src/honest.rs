//! What an honest plugin would do: the password of one user of Redis, or of one role of PostgreSQL.

use keywheel_sdk::error::ErrorExt;
use keywheel_sdk::nodes::{Node, ask_each, change_each};
use keywheel_sdk::resp::{Piece, Reply, Session};
use keywheel_sdk::sql::{Piece as Part, Session as Database, connector};
use keywheel_sdk::{Accounts, Error, Outcome, Run, Secret, Verdict};

use crate::Config;

const TIMEOUT_MS: u32 = 10_000;
const PASSWORD_LENGTH: u16 = 48;

pub(crate) fn create(run: &Run, config: &Config) -> Result<Outcome, Error> {
    Accounts::one(&config.user).create(run, PASSWORD_LENGTH)
}

pub(crate) fn apply(run: &Run, config: &Config) -> Result<Outcome, Error> {
    match run.pending()? {
        Some(pending) => set(run, config, &pending),
        None => Ok(Outcome::Done),
    }
}

/// Adds a password on Redis, replaces it on PostgreSQL.
pub(crate) fn set(run: &Run, config: &Config, password: &Secret) -> Result<Outcome, Error> {
    if config.server == "postgres" {
        let verifier = password.derive("postgres.scram-sha-256", "")?;
        let pieces =
            [Part::Text("ALTER ROLE "), Part::Name(&config.user), Part::Text(" PASSWORD "), Part::Secret(&verifier)];
        database(run, config)?.execute(&pieces)?;
    } else {
        let hash = password.derive("redis.sha256", "")?;
        change_each(&config.nodes(), |node| {
            set_user(&redis_at(run, config, node)?, config, "#", &hash)?.accepted().map(drop)
        })?;
    }
    Ok(Outcome::Done)
}

pub(crate) fn test(run: &Run, config: &Config) -> Result<Verdict, Error> {
    let subject = run.subject()?;
    if config.server == "postgres" {
        return Ok(match database_as(config, &config.user, &subject) {
            Ok(_) => Verdict::Accepted,
            Err(refusal) if refusal.sqlstate().as_deref() == Some("28P01") => Verdict::Rejected,
            Err(refusal) => Verdict::Unknown(refusal.message),
        });
    }
    ask_each(&config.nodes(), |node| {
        let answer = connect_to(config, node)?.authenticate(&config.user, &subject)?;
        Ok(if answer.error_word().is_none() { Verdict::Accepted } else { Verdict::Rejected })
    })
}

pub(crate) fn revoke(run: &Run, config: &Config) -> Result<Outcome, Error> {
    if config.server == "redis" {
        remove(run, config, &run.subject()?)?;
    }
    Ok(Outcome::Done)
}

pub(crate) fn rollback(run: &Run, config: &Config) -> Result<Outcome, Error> {
    match (run.pending()?, run.current()?) {
        (Some(pending), _) if config.server == "redis" => remove(run, config, &pending).map(|()| Outcome::Done),
        (Some(_), Some(current)) => set(run, config, &current),
        _ => Ok(Outcome::Done),
    }
}

fn remove(run: &Run, config: &Config, password: &Secret) -> Result<(), Error> {
    let hash = password.derive("redis.sha256", "")?;
    // The server calls it an error where there is no such password: then it is done.
    change_each(&config.nodes(), |node| set_user(&redis_at(run, config, node)?, config, "!", &hash).map(drop))
}

pub(crate) fn set_user(admin: &Session, config: &Config, sign: &str, hash: &Secret) -> Result<Reply, Error> {
    let (user, change) = ([Piece::Text(&config.user)], [Piece::Text(sign), Piece::Secret(hash)]);
    admin.call::<&[_]>(&[&[Piece::Text("ACL")], &[Piece::Text("SETUSER")], &user, &change])
}

pub(crate) fn connect(config: &Config) -> Result<Session, Error> {
    connect_to(config, &Node { host: config.host.clone(), port: config.port })
}

fn connect_to(config: &Config, node: &Node) -> Result<Session, Error> {
    Session::connect(node, false, Some(&config.trust), TIMEOUT_MS)
}

/// The administrator's session.
pub(crate) fn redis(run: &Run, config: &Config) -> Result<Session, Error> {
    redis_at(run, config, &Node { host: config.host.clone(), port: config.port })
}

fn redis_at(run: &Run, config: &Config, node: &Node) -> Result<Session, Error> {
    let session = connect_to(config, node)?;
    session.authenticate(&config.admin, &run.input("admin")?)?.accepted()?;
    Ok(session)
}

/// The same on PostgreSQL.
pub(crate) fn database(run: &Run, config: &Config) -> Result<Database, Error> {
    database_as(config, &config.admin, &run.input("admin")?)
}

fn database_as(config: &Config, user: &str, password: &Secret) -> Result<Database, Error> {
    let login = connector("postgres", (&config.host, config.port), false, Some(&config.trust), (user, "postgres"));
    login.password(password);
    Database::open(login)
}
