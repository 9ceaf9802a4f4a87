//! A day of a service, in minutes: its clock runs faster. Whether it grows.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use keywheel_kit::{Postgres, faketime};
use serde_json::Value;

use crate::idle::{Serving, command, text};
use crate::scene::{self, Proof};
use crate::table::Row;

const ROLES: u32 = 20;

/// So much faster than ours is the clock of the host: a day takes twelve minutes.
const SPEED: u32 = 120;

const HOUR: Duration = Duration::from_hours(1);
const DAY_HOURS: u32 = 24;

/// After so many of its hours the host is ended, and another one started.
const LIFE_HOURS: u32 = 4;

/// It listens within so much of our time.
const LISTENS_WITHIN: Duration = Duration::from_mins(1);

/// What is older is forgotten, but for the newest fifty runs and ten versions of each.
const RETENTION: &str = "[retention]\nruns = \"2h\"\naudit = \"2h\"\nnotices = \"2h\"\nversions = \"2h\"\n\n";

/// Each role every ten minutes of the host's, with verify login, grace, revoke and its proof.
pub(crate) fn run(binary: &Path, plugin: &Path, server: &Postgres) -> Result<Vec<Row>> {
    let library = faketime()?;
    let folder = tempfile::tempdir()?;
    let host = made(binary, plugin, server, folder.path())?;
    let mut samples = Vec::new();
    let began = Instant::now();
    for life in 0..DAY_HOURS / LIFE_HOURS {
        let mut serving = started(binary, &host, &library, life)?;
        for hour in 1..=LIFE_HOURS {
            let until = HOUR * (life * LIFE_HOURS + hour) / SPEED;
            thread::sleep(until.saturating_sub(began.elapsed()));
            samples.push(Sample::take(&mut serving, &host)?);
        }
        serving.ends_well()?;
    }
    let rotated = (0..ROLES)
        .map(|at| rotations(binary, &host, at))
        .sum::<Result<u64>>()?;
    let planned = u64::from(ROLES * DAY_HOURS * 6);
    ensure!(
        rotated >= planned * 9 / 10,
        "only {rotated} of {planned} rotations were made"
    );
    rows(&samples, rotated)
}

fn rows(samples: &[Sample], rotated: u64) -> Result<Vec<Row>> {
    let life = LIFE_HOURS as usize;
    let (first, last) = (samples.get(life - 1), samples.last());
    let (first, last) = first.zip(last).context("nothing was looked at")?;
    let half = samples.get(samples.len() / 2).unwrap_or(last);
    let all = |of: &dyn Fn(&Sample) -> u64| {
        let figures: Vec<String> = samples
            .chunks(life)
            .filter_map(|life| life.last())
            .map(|at| of(at).to_string())
            .collect();
        figures.join(", ")
    };
    let row = |what: &str, of: &dyn Fn(&Sample) -> u64, unit: &str, then: &Sample, more: u64| {
        let grows = of(last) > of(then) + (of(then) / 10).max(more);
        Row::new(what, format!("{} {unit}", all(of))).target("does not grow", !grows)
    };
    Ok(vec![
        row(
            &format!(
                "a day of {rotated} rotations, a start every {LIFE_HOURS} h of it: resident memory before each end"
            ),
            &|sample| sample.resident_mb,
            "MB",
            first,
            4,
        ),
        row(
            "  and open descriptors",
            &|sample| sample.descriptors,
            "",
            first,
            4,
        ),
        // Until then there is nothing to be forgotten.
        row("  and database", &|sample| sample.database_kb, "KB", half, 512),
    ])
}

/// The host's folder, with the roles and what it needs to rotate them.
fn made(binary: &Path, plugin: &Path, server: &Postgres, folder: &Path) -> Result<PathBuf> {
    let name = |at: u32| format!("day-{at}");
    scene::make_roles(server, (0..ROLES).map(name))?;
    let host = folder.join("host");
    let recovery = folder.join("recovery");
    command(
        binary,
        folder,
        &["init", &text(&host)?, "--recovery-to", &text(&recovery)?],
    )?;
    fs::copy(plugin, host.join("plugins/postgres.wasm"))?;
    let rule = format!("localhost:{} tls", server.port());
    command(
        binary,
        &host,
        &["plugin", "add", "postgres", "--yes", "--host", &rule],
    )?;
    let file = host.join("keywheel.toml");
    let mut config = format!("{RETENTION}{}", fs::read_to_string(&file)?);
    write!(
        config,
        "\n[trust.bench]\npem = [\"{}\"]\n",
        server.ca_file().display()
    )?;
    let every = "schedule = { every = \"10m\", jitter = \"0s\" }\nconsumers = [{ name = \"app\", staleness = \"1m\" }]";
    for at in 0..ROLES {
        let rotation = scene::rotation(server, &name(at), Proof::Login, "1m", every);
        // Three seconds of the host's are no time at all.
        config += &rotation.replace("step = \"3s\"", "step = \"15m\", run = \"2h\"");
    }
    fs::write(&file, config)?;
    let mut import = Command::new(binary);
    import.args(["secret", "import", "admin/db"]).current_dir(&host);
    let mut import = import
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = import.stdin.take().context("no standard input")?;
    stdin.write_all(server.admin_password().as_bytes())?;
    drop(stdin);
    let done = import.wait_with_output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(
        done.status.success(),
        "the administrator's password was not imported: {said}"
    );
    Ok(host)
}

/// A host whose day goes on where that of the one before ended.
fn started(binary: &Path, host: &Path, library: &Path, life: u32) -> Result<Serving> {
    let lived = HOUR * life * LIFE_HOURS;
    let ahead = lived.saturating_sub(lived / SPEED).as_secs();
    let mut serve = Command::new(binary);
    serve
        .env("LD_PRELOAD", library)
        .env("FAKETIME", format!("+{ahead} x{SPEED}"));
    let mut serving = Serving::start_by(serve, host)?;
    let began = Instant::now();
    while UnixStream::connect(host.join("state/socket")).is_err() {
        ensure!(began.elapsed() < LISTENS_WITHIN, "the host does not listen");
        serving.status("VmRSS:")?;
        thread::sleep(Duration::from_millis(10));
    }
    Ok(serving)
}

struct Sample {
    resident_mb: u64,
    descriptors: u64,
    database_kb: u64,
}

impl Sample {
    fn take(serving: &mut Serving, host: &Path) -> Result<Self> {
        let mut bytes = 0;
        for entry in fs::read_dir(host.join("state"))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(".db") {
                bytes += entry.metadata()?.len();
            }
        }
        Ok(Self {
            resident_mb: serving.status("VmRSS:")? / 1024,
            descriptors: u64::try_from(fs::read_dir(format!("/proc/{}/fd", serving.id()))?.count())?,
            database_kb: bytes / 1024,
        })
    }
}

/// How often a role was rotated: so many versions has its secret had. Few of them are kept.
fn rotations(binary: &Path, host: &Path, at: u32) -> Result<u64> {
    let mut show = Command::new(binary);
    show.args(["secret", "history", &format!("bench/day-{at}"), "-o", "json"]);
    let shown = show.current_dir(host).output()?;
    let shown: Value = serde_json::from_slice(&shown.stdout).context("`secret history` gave no JSON")?;
    shown[0]["number"].as_u64().context("a secret without versions")
}
