//! Durable rotations on every other kind of server, sixteen at once, beside the bare statements of the same server, alone and with a login, in
//! alternating rounds.

mod door;
mod kind;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use keywheel_model::RunId;
use tokio::sync::Mutex;

use crate::Scale;
use crate::rotations::at_once;
use crate::sample::{Spread, rate, timed};
use crate::scene::{self, Host};
use crate::table::Row;
use door::{Change, Door};
use kind::{KINDS, Kind, Start};

/// How many rotations are under way at the same time; the reference has as many connections.
const IN_FLIGHT: usize = 16;

/// The rotations' grace period, and some.
const GRACE: Duration = Duration::from_millis(1_100);

/// Of each server its rows. One that cannot be started or measured does not keep the others from it.
pub(crate) async fn run(plugins: &Path, scale: Scale) -> Vec<(&'static str, Result<Vec<Row>>)> {
    let mut all = Vec::new();
    for (label, start) in KINDS {
        all.push((label, Box::pin(measure(label, start, plugins, scale)).await));
    }
    all
}

async fn measure(label: &str, start: Start, plugins: &Path, scale: Scale) -> Result<Vec<Row>> {
    let kind = Arc::new(tokio::task::spawn_blocking(start).await??);
    let name = |whose: &str, at: usize| format!("{whose}-{at}");
    let ours: Vec<String> = (0..scale.roles).map(|at| name("ours", at)).collect();
    let bare: Vec<String> = (0..scale.roles).map(|at| name("bare", at)).collect();
    let (made, names) = (Arc::clone(&kind), [ours.clone(), bare.clone()].concat());
    tokio::task::spawn_blocking(move || made.make(&names)).await??;
    let rotations: String = ours.iter().map(|account| kind.rotation(account)).collect();
    let host = Host::at(&kind.place(plugins), None, "", &rotations).await?;
    let mut administrators = Vec::new();
    for _ in 0..IN_FLIGHT {
        let (account, password) = kind.administrator();
        let door = Door::log_in(&kind, &account, &password).await;
        administrators.push(door.context("the administrator of the reference")?);
    }
    let mut lane = Lane {
        kind,
        host: Arc::new(host),
        ours,
        bare,
        administrators: Arc::new(Mutex::new(administrators)),
        measured: Measured::default(),
    };
    for round in 0..=scale.rounds {
        lane.round(round).await?;
        tokio::time::sleep(GRACE).await;
        lane.finish(round).await?;
        tokio::time::sleep(scene::SETTLED).await;
    }
    Ok(lane.rows(label))
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Statement,
    WithLogin,
}

struct Lane {
    kind: Arc<Kind>,
    host: Arc<Host>,
    ours: Vec<String>,
    bare: Vec<String>,
    administrators: Arc<Mutex<Vec<Door>>>,
    measured: Measured,
}

/// Rates of every round, per second; runs of the round that is under way.
#[derive(Default)]
struct Measured {
    ours: Vec<f64>,
    statement: Vec<f64>,
    with_login: Vec<f64>,
    /// Percent of the reference of the same round.
    of_statement: Vec<f64>,
    of_login: Vec<f64>,
    whole: Vec<f64>,
    runs: Vec<RunId>,
    took: Duration,
}

impl Lane {
    /// Each side once; who comes first takes turns. Round 0 only warms up, and takes the accounts over.
    async fn round(&mut self, round: usize) -> Result<()> {
        let mut order = [Side::Ours, Side::Statement, Side::WithLogin];
        let sides = order.len();
        order.rotate_left(round % sides);
        let count = self.ours.len();
        let [mut ours, mut statement, mut with_login] = [0.0; 3];
        for side in order {
            match side {
                Side::Ours => {
                    self.measured.took = self.rotate().await?;
                    ours = rate(count, self.measured.took);
                }
                Side::Statement => statement = rate(count, self.alter(false).await?),
                Side::WithLogin => with_login = rate(count, self.alter(true).await?),
            }
        }
        if round > 0 {
            let measured = &mut self.measured;
            measured.ours.push(ours);
            measured.statement.push(statement);
            measured.with_login.push(with_login);
            measured.of_statement.push(ours / statement * 100.0);
            measured.of_login.push(ours / with_login * 100.0);
        }
        Ok(())
    }

    async fn rotate(&mut self) -> Result<Duration> {
        let runs = Arc::new(Mutex::new(Vec::new()));
        let (host, accounts, found) = (
            Arc::clone(&self.host),
            Arc::new(self.ours.clone()),
            Arc::clone(&runs),
        );
        let work = at_once(IN_FLIGHT, accounts.len(), move |at| {
            let (host, accounts, found) = (Arc::clone(&host), Arc::clone(&accounts), Arc::clone(&found));
            async move {
                let run = host.rotate(&accounts[at]).await?;
                found.lock().await.push(run);
                Ok(())
            }
        });
        let (done, took) = timed(work).await;
        done?;
        self.measured.runs = std::mem::take(&mut *runs.lock().await);
        Ok(took)
    }

    /// The reference. Its passwords and their one-way forms are made outside of the measured time.
    async fn alter(&self, with_login: bool) -> Result<Duration> {
        let changes = self.bare.iter().map(|account| Change::of(&self.kind, account));
        let changes = Arc::new(changes.collect::<Result<Vec<_>>>()?);
        let (free, kind) = (Arc::clone(&self.administrators), Arc::clone(&self.kind));
        let work = at_once(IN_FLIGHT, changes.len(), move |at| {
            let (changes, free, kind) = (Arc::clone(&changes), Arc::clone(&free), Arc::clone(&kind));
            async move {
                let Some(mut administrator) = free.lock().await.pop() else {
                    anyhow::bail!("more in flight than connections");
                };
                let change = &changes[at];
                administrator.send(change).await?;
                free.lock().await.push(administrator);
                if with_login {
                    drop(Door::log_in(&kind, &change.account, &change.password).await?);
                }
                Ok(())
            }
        });
        let (done, took) = timed(work).await;
        done.map(|()| took)
    }

    /// Brings the round's runs to their end, for the next one to begin.
    async fn finish(&mut self, round: usize) -> Result<()> {
        let runs = Arc::new(std::mem::take(&mut self.measured.runs));
        let (host, count) = (Arc::clone(&self.host), runs.len());
        let work = at_once(IN_FLIGHT, count, move |at| {
            let (host, runs) = (Arc::clone(&host), Arc::clone(&runs));
            async move { host.finish(&runs[at]).await }
        });
        let (done, took) = timed(work).await;
        done?;
        if round > 0 {
            self.measured.whole.push(rate(count, self.measured.took + took));
        }
        Ok(())
    }

    fn rows(&self, label: &str) -> Vec<Row> {
        let per_second = |value: f64| format!("{value:.0}/s");
        let percent = |value: f64| format!("{value:.0} %");
        let of = |measured: &[f64]| Spread::of(measured.to_vec());
        let measured = &self.measured;
        vec![
            Row::new(
                format!("{label}: durable rotations, {IN_FLIGHT} in flight"),
                of(&measured.ours).shown(per_second),
            )
            .beside(
                format!(
                    "{} {} + login",
                    of(&measured.with_login).shown(per_second),
                    self.kind.statement()
                ),
                of(&measured.of_login).shown(percent),
            ),
            Row::new(
                "  and with revoke; beside the statement alone",
                of(&measured.whole).shown(per_second),
            )
            .beside(
                format!(
                    "{} {}",
                    of(&measured.statement).shown(per_second),
                    self.kind.statement()
                ),
                of(&measured.of_statement).shown(percent),
            ),
        ]
    }
}
