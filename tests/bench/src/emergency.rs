//! Every role of one server is changed, because others know the passwords: transactions shared, and every run with its own journal.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keywheel_engine::{Fleet, Left, Stop, Wait};
use keywheel_kit::Postgres;
use keywheel_model::Trigger;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::bare::{self, Change, Door};
use crate::sample::{Spread, rate, timed};
use crate::scene::{self, Host, Proof};
use crate::table::Row;
use crate::{Scale, processor};

/// Of the reference.
const CONNECTIONS: usize = 16;

/// The most that the command line takes.
const AT_ONCE: usize = 256;

/// Consumers that read within the hour: the runs stand there when they are promoted, as those of the other rows do.
const CONSUMERS: &str = "consumers = [{ name = \"shop\", staleness = \"1h\" }]";

/// So many at once wait for each other's sessions, above all while these are opened.
const SHORT: &str = "step = \"3s\"";
const PATIENT: &str = "step = \"30s\"";

/// The reference before and after, each with half of the roles, and one connection with some of them.
pub(crate) async fn run(server: &Postgres, plugin: &Path, scale: Scale) -> Result<Vec<Row>> {
    let name = |side: &str, at: usize| format!("emergency-{side}-{at}");
    let ours: Vec<String> = (0..scale.emergency).map(|at| name("ours", at)).collect();
    let bare: Vec<String> = (0..scale.emergency).map(|at| name("bare", at)).collect();
    scene::make_roles(server, ours.iter().chain(&bare).cloned())?;
    let rotations: String = ours
        .iter()
        .map(|role| scene::rotation(server, role, Proof::Deferred, "1h", CONSUMERS).replace(SHORT, PATIENT))
        .collect();
    let host = Host::of(server, plugin, "", &rotations).await?;
    let door = Door::new(server)?;
    let mut administrators = Vec::new();
    for _ in 0..CONNECTIONS {
        administrators.push(door.log_in(server.admin_user(), server.admin_password()).await?);
    }
    let (early, late) = bare.split_at(bare.len() / 2);
    let before = alter(&mut administrators, early).await?;
    let postmaster = server.pid().context("the server is gone")?;
    let used = || {
        Ok::<_, anyhow::Error>([
            processor::of(std::process::id())?,
            processor::with_children(postmaster)?,
        ])
    };
    let used_before = used()?;
    let (rotated, took) = timed(rotate(&host, &ours)).await;
    let used_after = used()?;
    rotated?;
    let after = alter(&mut administrators, late).await?;
    administrators.truncate(1);
    let one = alter(&mut administrators, &bare[..bare.len().min(1_000)]).await?;
    let transactions = server
        .sql("SELECT count(DISTINCT xmin::text) FROM pg_authid WHERE rolname LIKE 'emergency-ours-%'")?;
    let transactions: usize = transactions.trim().parse()?;
    let (many, took_rate) = (Spread::of(vec![before, after]), rate(ours.len(), took));
    let mean = f64::midpoint(many.min, many.max);
    let percent = took_rate / mean * 100.0;
    let each = |at: usize| 1_000.0 / rate(ours.len(), used_after[at].saturating_sub(used_before[at]));
    Ok(vec![
        Row::new(
            format!(
                "emergency: {} roles of one server, transactions shared",
                ours.len()
            ),
            format!("{took_rate:.0}/s, {:.1} s", took.as_secs_f64()),
        )
        .beside(
            format!("{:.0} - {:.0}/s ALTER over {CONNECTIONS}", many.min, many.max),
            format!("{percent:.0} %"),
        )
        .target(">= 95 %", percent >= 95.0),
        Row::new("  beside one connection", format!("{:.2} times", took_rate / one))
            .beside(format!("{one:.0}/s ALTER over 1"), "")
            .target(">= 1.8 times", took_rate / one >= 1.8),
        Row::new(
            "  processor time of each: host, server; roles a transaction",
            format!(
                "{:.1} ms, {:.1} ms; {:.1}",
                each(0),
                each(1),
                rate(ours.len(), Duration::from_secs(1)) / rate(transactions, Duration::from_secs(1))
            ),
        ),
    ])
}

/// As `keywheel rotate --all --compromised --at-once 256` does; each is promoted, durable and told.
async fn rotate(host: &Host, roles: &[String]) -> Result<()> {
    let (_stopper, stop) = Stop::pair();
    let fleet = Fleet {
        rotations: roles.iter().map(|role| role.parse()).collect::<Result<_, _>>()?,
        at_once: NonZeroUsize::new(AT_ONCE).unwrap_or(NonZeroUsize::MIN),
        trigger: Trigger::Compromise,
        reason: Some("measured".to_owned()),
        wait: Wait::at_most(Duration::ZERO),
        ignores_offset: false,
        stop,
    };
    let (mut promoted, mut first) = (0, None);
    Box::pin(host.engine.rotate_many(fleet, |rotation, ended| match ended {
        Ok((run, Left::Waiting(_))) if run.past_no_return => promoted += 1,
        Ok((run, _)) => drop(first.get_or_insert_with(|| format!("{rotation} was not promoted: {run:#?}"))),
        Err(error) => drop(first.get_or_insert_with(|| format!("{rotation}: {error}"))),
    }))
    .await;
    ensure!(promoted == roles.len(), "{}", first.unwrap_or_default());
    Ok(())
}

/// So many a second, on as many connections as there are.
async fn alter(administrators: &mut Vec<Client>, roles: &[String]) -> Result<f64> {
    let changes: Arc<[Change]> = bare::prepare(roles)?.into();
    let (count, lanes) = (changes.len(), administrators.len());
    let mut under_way = JoinSet::new();
    for (lane, administrator) in administrators.drain(..).enumerate() {
        let changes = Arc::clone(&changes);
        under_way.spawn(async move {
            for change in changes.iter().skip(lane).step_by(lanes) {
                administrator.batch_execute(&change.statement).await?;
            }
            Ok::<_, anyhow::Error>(administrator)
        });
    }
    let (back, took) = timed(async {
        let mut back = Vec::new();
        while let Some(done) = under_way.join_next().await {
            back.push(done??);
        }
        Ok::<_, anyhow::Error>(back)
    })
    .await;
    *administrators = back?;
    Ok(rate(count, took))
}
