//! Many rotations that are due at the same moment: what a host does that was away.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keywheel_kit::Postgres;
use keywheel_model::RotationName;

use crate::sample::rate;
use crate::scene::{self, Host, Proof};
use crate::table::Row;
use crate::{Scale, processor};

/// As many at once as the pool has sessions.
const PACE: &str = "[schedule]\nat_once = 32\nat_once_per_target = 16\n\n";

/// Longer than that none of the herds takes on a machine on which the figure means anything.
const DEADLINE: Duration = Duration::from_mins(30);

/// Runs that the schedule began and that are over, in the host's own metrics.
const ENDED: &str = "keywheel_rotation_run_duration_seconds_count{";
const SUCCEEDED: &str = "keywheel_rotation_trigger=\"schedule\",keywheel_rotation_result=\"succeeded\"";

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// All are due when the host starts; it is watched until each has been rotated. One that a person asks for meanwhile is not to wait for them.
pub(crate) async fn run(server: &Postgres, plugin: &Path, scale: Scale) -> Result<Vec<Row>> {
    let roles: Vec<String> = (0..scale.herd).map(|at| format!("herd-{at}")).collect();
    let by_hand = "herd-by-hand".to_owned();
    scene::make_roles(server, roles.iter().cloned().chain([by_hand.clone()]))?;
    let on_start = "schedule = { on_start = true, jitter = \"0s\" }";
    let mut rotations: String = roles
        .iter()
        .map(|role| scene::rotation(server, role, Proof::Login, "1s", on_start))
        .collect();
    rotations += &scene::rotation(server, &by_hand, Proof::Login, "1s", "");
    let host = Host::of(server, plugin, PACE, &rotations).await?;
    let used = processor::of(std::process::id())?;
    let (begun, kept) = (Instant::now(), host.keep());
    while host.counted("keywheel_schedule_lag_seconds_count", "")? < roles.len() / 2 {
        ensure!(begun.elapsed() < DEADLINE, "half of them have not been started");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let asked = Instant::now();
    host.rotate(&by_hand).await?;
    let waited = asked.elapsed();
    while host.counted(ENDED, SUCCEEDED)? < roles.len() {
        ensure!(begun.elapsed() < DEADLINE, "they have not all been rotated");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let took = begun.elapsed();
    let used = processor::of(std::process::id())?.saturating_sub(used);
    kept.ends().await?;
    for role in &roles {
        let rotation: RotationName = role.parse()?;
        let runs = host.engine.runs(Some(&rotation), 10).await?;
        ensure!(runs.len() == 1, "{role} was rotated {} times", runs.len());
    }
    Ok(vec![
        Row::new(
            format!(
                "{} rotations due at the start: until all are over, each once",
                roles.len()
            ),
            format!("{:.1} s, {:.0}/s", took.as_secs_f64(), rate(roles.len(), took)),
        ),
        Row::new(
            "  processor time of the host for each; one asked for by hand amid them took",
            format!(
                "{:.1} ms; {} ms",
                1_000.0 / rate(roles.len(), used),
                waited.as_millis()
            ),
        ),
    ])
}
