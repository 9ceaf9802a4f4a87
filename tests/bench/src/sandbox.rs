//! What the sandbox costs of a whole rotation: the engine tells of each call of a plugin how long the instance computed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use keywheel_kit::Postgres;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::Scale;
use crate::sample::{Spread, as_microseconds, microseconds, timed};
use crate::scene::{self, Host, Proof};
use crate::table::Row;

const TARGET_PERCENT: f64 = 2.0;

/// Sums what the engine's events say of the time in plugins.
#[derive(Clone, Default)]
pub(crate) struct Computed(Arc<AtomicU64>);

impl Computed {
    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl<S: Subscriber> Layer<S> for Computed {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Add(&self.0));
    }
}

struct Add<'a>(&'a AtomicU64);

impl Visit for Add<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "computed_us" {
            self.0.fetch_add(value, Ordering::Relaxed);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// Whole rotations, one at a time, from the start of the run to the proof that the old credential is dead.
pub(crate) async fn run(
    server: &Postgres,
    plugin: &Path,
    scale: Scale,
    computed: &Computed,
) -> Result<Vec<Row>> {
    let roles: Vec<String> = (0..scale.wholes).map(|at| format!("whole-{at}")).collect();
    scene::make_roles(server, roles.iter().cloned())?;
    let host = Host::new(server, plugin, &roles, Proof::Login, "0s").await?;
    for role in &roles {
        host.rotate_whole(role).await?;
    }
    tokio::time::sleep(scene::SETTLED).await;
    let (mut walls, mut inside, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for role in &roles {
        computed.take();
        let (done, wall) = timed(host.rotate_whole(role)).await;
        done?;
        let wall = as_microseconds(wall);
        let spent = rate_of(computed.take());
        ensure!(spent > 0.0, "the engine told nothing of its plugins");
        walls.push(wall);
        inside.push(spent);
        shares.push(spent / wall * 100.0);
    }
    let (walls, inside, shares) = (Spread::of(walls), Spread::of(inside), Spread::of(shares));
    Ok(vec![
        Row::new(
            "in the plugin's instances, of a whole PostgreSQL rotation",
            inside.shown(microseconds),
        )
        .beside(
            format!("{} wall", walls.shown(microseconds)),
            shares.shown(|share| format!("{share:.1} %")),
        )
        .target("<= 2 %", shares.median <= TARGET_PERCENT),
    ])
}

fn rate_of(microseconds: u64) -> f64 {
    f64::from(u32::try_from(microseconds).unwrap_or(u32::MAX))
}
