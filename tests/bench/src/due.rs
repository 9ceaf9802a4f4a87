//! How late rotations are started that are due by themselves, on a host that is otherwise idle and beside a target that answers nothing.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keywheel_engine::SystemClock;
use keywheel_kit::Postgres;
use keywheel_manifest::Manifest;
use keywheel_model::{Clock as _, RotationName, Timestamp, Trigger};

use crate::Scale;
use crate::scene::{self, Host, Proof};
use crate::table::Row;

/// As many as are due within a minute.
const ROLES: u32 = 200;

const MINUTE: Duration = Duration::from_mins(1);

/// So many of those beside them, each due every second, and each a run that lasts until its deadline.
const NEIGHBOURS: u32 = 20;

/// The plugin that loops.
const HOSTILE: &str = "hostile-postgres";

/// More than is ever under way on the one server: what is measured is the host, not the limit.
const PACE: &str = "[schedule]\nat_once = 32\nat_once_per_target = 16\n\n";

/// Who is there beside the rotations that are watched.
enum Neighbour {
    Nobody,
    /// Rotations of a target at this port, which takes connections and answers nothing.
    Silent(u16),
    /// Rotations by a plugin whose `plan` does not come back: the hostile suite's guest.
    Looping(Vec<u8>),
}

impl Neighbour {
    fn word(&self) -> &'static str {
        match self {
            Self::Nobody => "alone",
            Self::Silent(_) => "silent",
            Self::Looping(_) => "looping",
        }
    }

    fn rotations(&self, server: &Postgres) -> String {
        let every = schedule("1s");
        let rotation = |at: u32| {
            let role = format!("{}-{at}", self.word());
            let rotation = scene::rotation(server, &role, Proof::Login, "1s", &every);
            match self {
                Self::Nobody => String::new(),
                Self::Silent(port) => {
                    rotation.replace(&format!("port = {}", server.port()), &format!("port = {port}"))
                }
                Self::Looping(_) => rotation
                    .replace("plugin = \"postgres\"", &format!("plugin = \"{HOSTILE}\""))
                    .replace(
                        "admin = \"admin/db\" }",
                        "admin = \"admin/db\", planted = \"admin/db\" }",
                    )
                    .replace(
                        "mode = \"role\"",
                        "server = \"postgres\"\nattack = \"loop\"\nstep = \"plan\"",
                    )
                    .replace("\nrole = ", "\nuser = "),
            }
        };
        (0..NEIGHBOURS).map(rotation).collect()
    }
}

/// All three rows.
pub(crate) async fn run(server: &Postgres, plugin: &Path, guest: &Path, scale: Scale) -> Result<Vec<Row>> {
    let silent = TcpListener::bind(("127.0.0.1", 0))?;
    let what = [
        (
            Neighbour::Nobody,
            format!("late, {ROLES} rotations due a minute: p50; p99; most"),
        ),
        (
            Neighbour::Silent(silent.local_addr()?.port()),
            format!("  beside {NEIGHBOURS} rotations of a target that takes connections and answers nothing"),
        ),
        (
            Neighbour::Looping(hostile(guest)?),
            format!("  beside {NEIGHBOURS} rotations by a plugin that computes and does not come back"),
        ),
    ];
    let mut rows = Vec::new();
    for (neighbour, words) in what {
        rows.push(lateness(server, plugin, scale, &neighbour).await?.row(words, 20));
    }
    Ok(rows)
}

/// The guest of the hostile suite under its manifest for PostgreSQL.
fn hostile(guest: &Path) -> Result<Vec<u8>> {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hostile/manifests");
    let read = |name: &str| fs::read_to_string(manifests.join(name));
    let manifest = Manifest::from_toml(&read("postgres.toml")?, &read("schema.json")?)?;
    let guest = fs::read(guest).with_context(|| {
        format!(
            "{} is missing: `cargo xtask plugins --hostile` builds it",
            guest.display()
        )
    })?;
    Ok(keywheel_manifest::pack(&guest, &manifest)?)
}

fn schedule(every: &str) -> String {
    format!("schedule = {{ every = \"{every}\", jitter = \"0s\" }}")
}

/// How late each start was, in milliseconds; and how late the keeper was on average to begin with it.
struct Late(Vec<u64>, f64);

impl Late {
    /// The least that so many percent do not exceed.
    fn percentile(&self, percent: usize) -> u64 {
        let at = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(at).copied().unwrap_or_default()
    }

    fn row(&self, what: String, goal_ms: u64) -> Row {
        let (half, most) = (self.percentile(50), self.percentile(100));
        let tail = self.percentile(99);
        Row::new(
            what,
            format!(
                "{half} ms; {tail} ms; {most} ms, of {} ({:.1} ms until begun with)",
                self.0.len(),
                self.1
            ),
        )
        .target(format!("p99 <= {goal_ms} ms"), tail <= goal_ms)
    }
}

/// Each role is rotated by hand first, one after the other over a minute, so that they are due evenly. The keeper is there already: an interval
/// counts from when it first saw a rotation, or from the last success after that.
async fn lateness(server: &Postgres, plugin: &Path, scale: Scale, beside: &Neighbour) -> Result<Late> {
    let name = |at: u32| format!("due-{}-{at}", beside.word());
    let roles: Vec<String> = (0..ROLES).map(name).collect();
    scene::make_roles(server, roles.iter().cloned())?;
    let every = schedule("1m");
    let mut rotations: String = roles
        .iter()
        .map(|role| scene::rotation(server, role, Proof::Login, "1s", &every))
        .collect();
    rotations += &beside.rotations(server);
    let other = match beside {
        Neighbour::Looping(bytes) => Some((HOSTILE, bytes.as_slice())),
        _ => None,
    };
    let host = Host::beside(server, plugin, other, PACE, &rotations).await?;
    let kept = host.keep();
    let mut pace = tokio::time::interval(MINUTE / ROLES);
    for role in &roles {
        pace.tick().await;
        host.rotate(role).await?;
    }
    let began = SystemClock.now();
    tokio::time::sleep(MINUTE * scale.minutes).await;
    kept.ends().await?;
    let lag_ms = host.mean_lag_ms()?;
    let mut late = Vec::new();
    for role in &roles {
        late.extend(starts_late(&host, role, began).await?);
    }
    ensure!(
        late.len() >= roles.len() * usize::try_from(scale.minutes)? * 9 / 10,
        "only {} of {ROLES} a minute were started in {} min",
        late.len(),
        scale.minutes
    );
    late.sort_unstable();
    Ok(Late(late, lag_ms))
}

/// Between the start of a run and the time that was a minute after the start before, by the journal.
async fn starts_late(host: &Host, role: &str, began: Timestamp) -> Result<Vec<u64>> {
    let rotation: RotationName = role.parse()?;
    let runs = host.engine.runs(Some(&rotation), 1_000).await?;
    let pairs = runs
        .windows(2)
        .filter(|pair| pair[0].trigger == Trigger::Schedule);
    let late = pairs.filter(|pair| pair[0].started_at >= began).map(|pair| {
        let due = pair[1].started_at + MINUTE;
        let late = pair[0].started_at.saturating_since(due);
        u64::try_from(late.as_millis()).unwrap_or(u64::MAX)
    });
    Ok(late.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_measured() {
        let late = Late((1..=200).collect(), 0.0);
        assert_eq!(
            [50, 99, 100].map(|percent| late.percentile(percent)),
            [100, 198, 200]
        );
        assert_eq!(Late(Vec::new(), 0.0).percentile(99), 0);
    }
}
