//! What the sandbox costs of a whole rotation: the engine tells of each call of a plugin how long it computed, and which part of that was
//! the guest's.

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

/// Sums what the engine's events say of the time in plugins, in microseconds.
#[derive(Clone, Default)]
pub(crate) struct Computed(Arc<Sums>);

#[derive(Default)]
struct Sums {
    guest: AtomicU64,
    all: AtomicU64,
}

impl Computed {
    /// The guests' part, and all of it; from here on it is counted anew.
    fn take(&self) -> (f64, f64) {
        let taken = |sum: &AtomicU64| {
            let microseconds = sum.swap(0, Ordering::Relaxed);
            f64::from(u32::try_from(microseconds).unwrap_or(u32::MAX))
        };
        (taken(&self.0.guest), taken(&self.0.all))
    }
}

impl<S: Subscriber> Layer<S> for Computed {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Add(&self.0));
    }
}

struct Add<'a>(&'a Sums);

impl Visit for Add<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "guest_us" => self.0.guest.fetch_add(value, Ordering::Relaxed),
            "computed_us" => self.0.all.fetch_add(value, Ordering::Relaxed),
            _ => 0,
        };
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
    let (mut walls, mut guest, mut all) = (Vec::new(), Part::default(), Part::default());
    for role in &roles {
        computed.take();
        let (done, wall) = timed(host.rotate_whole(role)).await;
        done?;
        let wall = as_microseconds(wall);
        let (in_guest, in_calls) = computed.take();
        ensure!(in_guest > 0.0, "the engine told nothing of its plugins");
        walls.push(wall);
        guest.push(in_guest, wall);
        all.push(in_calls, wall);
    }
    let wall = format!("{} wall", Spread::of(walls).shown(microseconds));
    let (guest_row, share) = guest.row("instances and guest code, of a whole PostgreSQL rotation", &wall);
    let (all_row, _) = all.row("  and what the host functions computed for them", &wall);
    Ok(vec![guest_row.target("<= 2 %", share <= TARGET_PERCENT), all_row])
}

/// Of every rotation the time, and its share of the whole.
#[derive(Default)]
struct Part {
    spent: Vec<f64>,
    shares: Vec<f64>,
}

impl Part {
    fn push(&mut self, spent: f64, wall: f64) {
        self.spent.push(spent);
        self.shares.push(spent / wall * 100.0);
    }

    /// The row, and the median share.
    fn row(self, name: &str, wall: &str) -> (Row, f64) {
        let (spent, shares) = (Spread::of(self.spent), Spread::of(self.shares));
        let row = Row::new(name, spent.shown(microseconds))
            .beside(wall.to_owned(), shares.shown(|share| format!("{share:.2} %")));
        (row, shares.median)
    }
}
