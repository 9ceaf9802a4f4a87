//! The attacks, by name. One that the host stops comes back with the host's error; one that gets through says so.

mod bombs;
mod files;
mod oracles;
mod outlets;
mod reads;
mod smuggling;

use std::sync::atomic::{AtomicU32, Ordering};

use keywheel_sdk::account::password;
use keywheel_sdk::error::error;
use keywheel_sdk::{Effect, Error, ErrorKind, Outcome, Plan, Run, Verdict};

use crate::{Config, honest};

type Attack = fn(&Run, &Config) -> Result<(), Error>;

/// Makes an attack that any step can make.
pub(crate) fn make(name: &str, run: &Run, config: &Config) -> Result<(), Error> {
    let all = [reads::ALL, oracles::ALL, outlets::ALL, smuggling::ALL, bombs::ALL, files::ALL].concat();
    let found = all.into_iter().find(|(known, _)| *known == name);
    let unknown = || error(ErrorKind::Invalid, "attack.unknown", name);
    found.map(|(_, attack)| attack).ok_or_else(unknown)?(run, config)
}

/// A step that changes something: attacks and then works, or lies about its end.
pub(crate) fn end(
    name: &str,
    run: &Run,
    config: &Config,
    honest: fn(&Run, &Config) -> Result<Outcome, Error>,
) -> Result<Outcome, Error> {
    match name {
        // Says that it is done and does nothing.
        "idle" => Ok(Outcome::Done),
        "idle-at-a-gate" => make("memory-at-a-gate", run, config).map(|()| Outcome::Done),
        // Does it on the first of several servers.
        "leave-a-server-out" => honest(run, &config.of_one_server()),
        // Does it, and says that nothing has happened.
        "deny" => honest(run, config).and_then(|_| Err(error(ErrorKind::Invalid, "attack.denies", "nothing was done"))),
        "claim" => {
            Err(Error { effect: Effect::Applied, ..error(ErrorKind::Invalid, "attack.claims", "all of it was done") })
        }
        "wait" => Ok(Outcome::Wait(0)),
        // Changes the password in a transaction that it never ends, and says that it is done.
        "leave-a-transaction-open" => make(name, run, config).map(|()| Outcome::Done),
        "blocked" => Ok(Outcome::Blocked(outlets::plain(config))),
        "impossible" => Ok(Outcome::Impossible(outlets::plain(config))),
        _ => make(name, run, config).and_then(|()| honest(run, config)),
    }
}

/// The step `test`: attacks and then asks, or lies about the answer.
pub(crate) fn verdict(name: &str, run: &Run, config: &Config) -> Result<Verdict, Error> {
    // Until there is a new credential it is honest, so that the rotation begins.
    if run.pending()?.is_none() && name != "accepted-at-once" {
        return honest::test(run, config);
    }
    match name {
        "accepted" | "accepted-at-once" => Ok(Verdict::Accepted),
        "rejected" => Ok(Verdict::Rejected),
        "leave-a-server-out" => honest::test(run, &config.of_one_server()),
        // Asks, and says the opposite.
        "invert" => Ok(match honest::test(run, config)? {
            Verdict::Rejected => Verdict::Accepted,
            _ => Verdict::Rejected,
        }),
        // The administrator's login in place of the subject's.
        "other-login" => honest::redis(run, config).map(|_| Verdict::Accepted),
        _ => make(name, run, config).and_then(|()| honest::test(run, config)),
    }
}

pub(crate) fn tell_in_plan(config: &Config) -> Plan {
    let mut plan = Plan::default();
    plan.step("apply", outlets::plain(config));
    plan
}

/// `configuration.check`, which may call nobody.
pub(crate) fn check(name: &str) -> Vec<(String, String)> {
    match name {
        "ask-the-host" => vec![("/with".to_owned(), format!("{:?}", keywheel_sdk::runtime::random_bytes(1)))],
        "ask-the-time" => vec![("/with".to_owned(), keywheel_sdk::runtime::now().to_string())],
        "loop" => bombs::for_ever(),
        "memory" => vec![("/with".to_owned(), format!("{:?}", bombs::memory()))],
        "count-its-calls" => since_the_first_call(),
        "flood" => (0..2_000).map(|at| ("/with".to_owned(), format!("problem {at} {}", "x".repeat(2_000)))).collect(),
        _ => Vec::new(),
    }
}

/// Finds fault from the second call on.
fn since_the_first_call() -> Vec<(String, String)> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let before = CALLS.fetch_add(1, Ordering::Relaxed);
    if before == 0 { Vec::new() } else { vec![("/with".to_owned(), format!("it was called {before} times before"))] }
}

/// A fresh password that is the pending version: nothing else may reach a target.
fn pending(run: &Run) -> Result<keywheel_sdk::Secret, Error> {
    let fresh = password(48)?;
    run.set_pending(&fresh)?;
    Ok(fresh)
}
