//! Durable rotations through the engine, beside bare `ALTER ROLE`s on the same server, in alternating rounds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use keywheel_kit::Postgres;
use keywheel_model::RunId;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::bare::{self, Change, Door};
use crate::sample::{Spread, rate, timed};
use crate::scene::{self, Host, Proof};
use crate::table::Row;
use crate::{Scale, processor};

/// How many rotations are under way at the same time, and the ratio that design.md asks for: with a deferred proof, with a login.
const IN_FLIGHT: [(usize, f64, f64); 4] = [
    (1, 65.0, 90.0),
    (4, 65.0, 90.0),
    (16, 80.0, 90.0),
    (64, 90.0, 90.0),
];

/// Administrator's connections: the reference has no more, nor has the host's pool.
const CONNECTIONS: usize = 16;

/// The rotations' grace period, and some; a proof that is deferred is not made earlier than five seconds after the promotion.
const GRACE: Duration = Duration::from_millis(1_100);
const PROOF_AFTER: Duration = Duration::from_millis(5_200);

/// All rows of one kind of proof.
pub(crate) async fn run(server: &Postgres, plugin: &Path, scale: Scale, proof: Proof) -> Result<Vec<Row>> {
    let mut lanes = Vec::new();
    let mut roles = Vec::new();
    for (in_flight, ..) in IN_FLIGHT {
        let name = |whose, at| format!("{}-{whose}-{in_flight}-{at}", proof.as_str());
        let lane = Lane {
            in_flight,
            ours: (0..scale.roles).map(|at| name("ours", at)).collect(),
            bare: (0..scale.roles).map(|at| name("bare", at)).collect(),
            measured: Measured::default(),
        };
        roles.extend(lane.ours.iter().chain(&lane.bare).cloned());
        lanes.push(lane);
    }
    scene::make_roles(server, roles.into_iter())?;
    let rotated: Vec<String> = lanes.iter().flat_map(|lane| lane.ours.clone()).collect();
    let host = Arc::new(Host::new(server, plugin, &rotated, proof, "1s").await?);
    let door = Door::new(server)?;
    let mut administrators = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = door.log_in(server.admin_user(), server.admin_password()).await?;
        administrators.push(Arc::new(client));
    }
    let sides = Sides {
        host: &host,
        door: &door,
        administrators: &administrators,
        server: server.pid().context("the server is stopped")?,
    };
    for round in 0..=scale.rounds {
        for lane in &mut lanes {
            lane.round(round, &sides, proof).await?;
        }
        let over = match proof {
            Proof::Deferred => PROOF_AFTER,
            Proof::Login => GRACE,
        };
        tokio::time::sleep(over).await;
        for lane in &mut lanes {
            lane.finish(round, &host).await?;
        }
        tokio::time::sleep(scene::SETTLED).await;
    }
    Ok(lanes
        .iter()
        .zip(IN_FLIGHT)
        .flat_map(|(lane, (_, deferred, login))| {
            let goal = if proof == Proof::Deferred { deferred } else { login };
            lane.rows(proof, goal)
        })
        .collect())
}

/// What both sides of a round need.
struct Sides<'a> {
    host: &'a Arc<Host>,
    door: &'a Door,
    administrators: &'a [Arc<Client>],
    /// The server's first process.
    server: u32,
}

impl Sides<'_> {
    /// The processor time of this process, and of the server.
    fn used(&self) -> Result<[Duration; 2]> {
        Ok([
            processor::of(std::process::id())?,
            processor::with_children(self.server)?,
        ])
    }
}

/// One number in flight, with roles of its own.
struct Lane {
    in_flight: usize,
    ours: Vec<String>,
    bare: Vec<String>,
    measured: Measured,
}

/// Rates of every round, per second; runs of the round that is under way.
#[derive(Default)]
struct Measured {
    ours: Vec<f64>,
    bare: Vec<f64>,
    ratios: Vec<f64>,
    whole: Vec<f64>,
    /// Milliseconds of processor time of a rotation, and of one change of the reference: of this process, of the server.
    ours_ms: [Vec<f64>; 2],
    bare_ms: [Vec<f64>; 2],
    commits: Vec<f64>,
    changes: Vec<f64>,
    reads: Vec<f64>,
    runs: Vec<RunId>,
    took: Duration,
}

impl Lane {
    /// Both sides once; who comes first takes turns. Round 0 only warms up.
    async fn round(&mut self, round: usize, sides: &Sides<'_>, proof: Proof) -> Result<()> {
        let mut changes = Some(bare::prepare(&self.bare)?);
        let host = sides.host;
        let before = host.engine.store_statistics();
        let (mut ours, mut bare) = (Duration::ZERO, Duration::ZERO);
        let order = if round.is_multiple_of(2) {
            [true, false]
        } else {
            [false, true]
        };
        let count = self.ours.len();
        for is_ours in order {
            let used = sides.used()?;
            if is_ours {
                ours = self.rotate(host).await?;
            } else {
                let changes = changes.take().unwrap_or_default();
                bare = self.alter(changes, sides, proof).await?;
            }
            if round > 0 {
                let measured = if is_ours {
                    &mut self.measured.ours_ms
                } else {
                    &mut self.measured.bare_ms
                };
                for ((into, before), after) in measured.iter_mut().zip(used).zip(sides.used()?) {
                    into.push(1_000.0 / rate(count, after.saturating_sub(before)));
                }
            }
        }
        let after = host.engine.store_statistics();
        self.measured.took = ours;
        if round > 0 {
            let (ours, bare) = (rate(count, ours), rate(count, bare));
            self.measured.ours.push(ours);
            self.measured.bare.push(bare);
            self.measured.ratios.push(ours / bare * 100.0);
            let each = |later: u64, earlier: u64| {
                rate(
                    usize::try_from(later - earlier).unwrap_or(0),
                    Duration::from_secs(1),
                ) / rate(count, Duration::from_secs(1))
            };
            self.measured.commits.push(each(after.commits, before.commits));
            self.measured.changes.push(each(after.changes, before.changes));
            self.measured.reads.push(each(after.reads, before.reads));
        }
        Ok(())
    }

    async fn rotate(&mut self, host: &Arc<Host>) -> Result<Duration> {
        let runs = Arc::new(Mutex::new(Vec::new()));
        let (host, roles) = (Arc::clone(host), Arc::new(self.ours.clone()));
        let found = Arc::clone(&runs);
        let work = at_once(self.in_flight, roles.len(), move |at| {
            let (host, roles, found) = (Arc::clone(&host), Arc::clone(&roles), Arc::clone(&found));
            async move {
                let run = host.rotate(&roles[at]).await?;
                found.lock().await.push(run);
                Ok(())
            }
        });
        let (done, took) = timed(work).await;
        done?;
        self.measured.runs = std::mem::take(&mut *runs.lock().await);
        Ok(took)
    }

    /// The reference: each change on one of as many connections; with a login where ours make one.
    async fn alter(&self, changes: Vec<Change>, sides: &Sides<'_>, proof: Proof) -> Result<Duration> {
        let (count, changes) = (changes.len(), Arc::new(changes));
        let connections = self.in_flight.min(CONNECTIONS);
        let free = Arc::new(Mutex::new(sides.administrators[..connections].to_vec()));
        let door = sides.door.clone();
        let work = at_once(connections, count, move |at| {
            let (changes, free, door) = (Arc::clone(&changes), Arc::clone(&free), door.clone());
            async move {
                let Some(administrator) = free.lock().await.pop() else {
                    anyhow::bail!("more in flight than connections");
                };
                let change = &changes[at];
                administrator.batch_execute(&change.statement).await?;
                free.lock().await.push(administrator);
                if proof == Proof::Login {
                    drop(door.log_in(&change.role, &change.password).await?);
                }
                Ok(())
            }
        });
        let (done, took) = timed(work).await;
        done.map(|()| took)
    }

    /// Brings the round's runs to their end, for the next one to begin.
    async fn finish(&mut self, round: usize, host: &Arc<Host>) -> Result<()> {
        let runs = Arc::new(std::mem::take(&mut self.measured.runs));
        let (host, count) = (Arc::clone(host), runs.len());
        let work = at_once(self.in_flight, count, move |at| {
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

    fn rows(&self, proof: Proof, goal: f64) -> Vec<Row> {
        let per_second = |value: f64| format!("{value:.0}/s");
        let of = |measured: &[f64]| Spread::of(measured.to_vec());
        let ratio = of(&self.measured.ratios);
        let reference = if proof == Proof::Login {
            "ALTER + login"
        } else {
            "ALTER"
        };
        vec![
            Row::new(
                format!(
                    "durable rotations, proof \"{}\", {} in flight",
                    proof.as_str(),
                    self.in_flight
                ),
                of(&self.measured.ours).shown(per_second),
            )
            .beside(
                format!("{} {reference}", of(&self.measured.bare).shown(per_second)),
                ratio.shown(|value| format!("{value:.0} %")),
            )
            .target(format!(">= {goal:.0} %"), ratio.median >= goal),
            Row::new(
                format!(
                    "  and with revoke and its login{}; commits, changes, looks a rotation",
                    if proof == Proof::Deferred { "s" } else { "" }
                ),
                format!(
                    "{}; {:.1}, {:.1}, {:.1}",
                    of(&self.measured.whole).shown(per_second),
                    of(&self.measured.commits).median,
                    of(&self.measured.changes).median,
                    of(&self.measured.reads).median
                ),
            ),
            Row::new(
                "  and processor time of each: host, server; client, server",
                shares(&self.measured.ours_ms),
            )
            .beside(shares(&self.measured.bare_ms), ""),
        ]
    }
}

/// The medians of this process and of the server.
fn shares([mine, servers]: &[Vec<f64>; 2]) -> String {
    let median = |measured: &Vec<f64>| Spread::of(measured.clone()).median;
    format!("{:.1} ms, {:.1} ms", median(mine), median(servers))
}

/// Runs `count` pieces of work, so many at a time. The first failure ends it.
pub(crate) async fn at_once<F, W>(in_flight: usize, count: usize, work: W) -> Result<()>
where
    W: Fn(usize) -> F + Send + Sync + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (next, work) = (Arc::new(AtomicUsize::new(0)), Arc::new(work));
    let mut workers = JoinSet::new();
    for _ in 0..in_flight {
        let (next, work) = (Arc::clone(&next), Arc::clone(&work));
        workers.spawn(async move {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= count {
                    return anyhow::Ok(());
                }
                work(at).await?;
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}
